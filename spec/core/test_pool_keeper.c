/* The housekeeper: connecting and failing to, reaping, pinging, mending, replacing. */
#include "fake_pool.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "stats.h"

/* All at once, so that they are different ones. */
static void take_all(struct fake *fake, struct held *held, int count)
{
    for (int i = 0; i < count; i++)
        held[i] = fake_take(fake);
}

static void give_all(struct held *held, int count)
{
    for (int i = 0; i < count; i++)
        fake_give(held[i], TP_FATE_KEEP);
}

static void fill(struct fake *fake, int count)
{
    struct held held[FAKE_MOST];
    take_all(fake, held, count);
    give_all(held, count);
}

/* CPU time of the housekeeper's thread while `us` of wall time pass. */
static int64_t keeper_cpu_during(struct fake *fake, int64_t us)
{
    clockid_t clock;
    struct timespec before, after;
    assert_int_equal(pthread_getcpuclockid(fake->pool->keeper, &clock), 0);
    clock_gettime(clock, &before);
    int64_t until = tp_now() + us;
    AWAIT(tp_now() >= until);
    clock_gettime(clock, &after);
    return (int64_t)(after.tv_sec - before.tv_sec) * 1000000 +
           (after.tv_nsec - before.tv_nsec) / 1000;
}

/* --------------------------------------------------------------- connecting */

static void it_connects_again_after_failures_and_serves_who_waited(void **state)
{
    (void)state;
    for (int at_once = 0; at_once < 2; at_once++) {
        static struct fake fake;
        struct tp_pool_limits limits = fake_limits(0, 4);
        uint64_t failed;
        fake_start(&fake, &limits);
        atomic_store(&fake.fail_opens, 3);
        atomic_store(&fake.fail_at_once, at_once == 1);
        struct held held = fake_take(&fake);
        assert_int_equal(fake.failures, 3);
        assert_int_equal(fake_stats(&fake).connect_failures, 3);
        assert_int_equal(fake_stats(&fake).connects, 1);
        assert_int_equal(tp_pool_get_state(fake.pool, &failed, NULL), TP_POOL_CONNECTED);
        assert_int_equal(failed, 0);
        fake_give(held, TP_FATE_KEEP);
        fake_end(&fake);
    }
}

static void while_connecting_fails_one_attempt_is_made_at_a_time(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 8);
    struct tp_waiter waiters[6];
    struct held held;
    fake_start(&fake, &limits);
    atomic_store(&fake.fail_opens, 1);
    held = fake_take(&fake); /* one failure, then it works */
    atomic_store(&fake.fail_opens, -1);
    fake_give(held, TP_FATE_CLOSE);
    fake_queue(&fake, &waiters[0]);
    AWAIT(fake.failures >= 2);
    atomic_store(&fake.hold_opens, true);
    for (int i = 1; i < 6; i++)
        fake_queue(&fake, &waiters[i]);
    AWAIT(fake.connecting >= 1);
    int64_t later = tp_now() + 100 * MS; /* the backoff is 20 ms at most */
    AWAIT(tp_now() >= later);
    assert_int_equal(fake.connecting, 1);
    fake_say(&fake, &fake.hold_opens, false);
    AWAIT(fake.failures >= 6);
    atomic_store(&fake.fail_opens, 0);
    for (int i = 0; i < 6; i++) {
        AWAIT(fake_served(&fake, &waiters[i], &held));
        fake_give(held, TP_FATE_KEEP);
    }
    fake_end(&fake);
}

/* The backoff has grown to minutes, but a server that came back is found soon. */
static void a_caller_who_waits_sees_another_attempt_within_a_second(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    limits.connect_base_us = limits.connect_max_us = INT64_C(300) * 1000 * MS;
    fake_start(&fake, &limits);
    atomic_store(&fake.fail_opens, 2);
    int64_t began = tp_now();
    struct held held = fake_take(&fake);
    assert_true(tp_now() - began >= 900 * MS); /* and not in a tight loop either */
    assert_int_equal(fake.failures, 2);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

/* They failed for one reason at one time. */
static void connects_that_fail_together_count_once_for_the_backoff(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 8);
    struct tp_waiter waiters[8];
    limits.connect_base_us = 20 * MS;
    limits.connect_max_us = 60 * 1000 * MS;
    fake_start(&fake, &limits);
    atomic_store(&fake.hold_opens, true);
    atomic_store(&fake.fail_opens, 8);
    for (int i = 0; i < 8; i++)
        fake_queue(&fake, &waiters[i]);
    AWAIT(fake.connecting == 8);
    pthread_mutex_lock(&fake.pool->lock); /* all fail before any attempt can follow */
    fake_say(&fake, &fake.hold_opens, false);
    pthread_mutex_unlock(&fake.pool->lock);
    AWAIT(fake.failures == 8 && fake_stats(&fake).connect_failures == 8);
    pthread_mutex_lock(&fake.pool->lock);
    int64_t pause = fake.pool->breaker.next_at - fake.pool->breaker.failed_at;
    pthread_mutex_unlock(&fake.pool->lock);
    assert_true(pause <= 20 * MS);
    for (int i = 0; i < 8; i++)
        tp__pool_leave(fake.pool, &waiters[i]);
    fake_end(&fake);
}

static void a_failure_that_will_not_pass_is_told_to_all_who_wait(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    struct tp_waiter waiters[5];
    limits.connect_base_us = limits.connect_max_us = INT64_C(300) * 1000 * MS;
    fake_start(&fake, &limits);
    atomic_store(&fake.hold_opens, true);
    atomic_store(&fake.permanent, true);
    atomic_store(&fake.fail_opens, -1);
    for (int i = 0; i < 5; i++)
        fake_queue(&fake, &waiters[i]);
    AWAIT(fake.connecting == 2);
    int64_t began = tp_now();
    fake_say(&fake, &fake.hold_opens, false);
    for (int i = 0; i < 5; i++) {
        struct tp_error err;
        struct held held;
        assert_int_equal(fake_wait(&fake, &waiters[i], TP_NEVER, &held, &err), TP_REFUSED);
        assert_int_equal(err.kind, TP_ERR_CONNECTION);
        assert_ptr_equal(strstr(err.message, "could not connect: scripted"), err.message);
        assert_false(err.retryable);
        assert_in_range(err.attempts, 1, 2);
    }
    assert_true(tp_now() - began < 5000 * MS); /* nobody waited for a backoff */
    fake_end(&fake);
}

static void nobody_is_refused_while_a_connection_that_works_is_out(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    struct tp_waiter waiter;
    struct held next;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    atomic_store(&fake.permanent, true);
    atomic_store(&fake.fail_opens, -1);
    fake_queue(&fake, &waiter);
    AWAIT(fake.failures >= 2);
    assert_false(fake_served(&fake, &waiter, &next));
    fake_give(held, TP_FATE_KEEP);
    assert_true(fake_served(&fake, &waiter, &next));
    fake_give(next, TP_FATE_KEEP);
    fake_end(&fake);
}

/* As with "localhost", where ::1 refuses and 127.0.0.1 answers. */
static void a_first_address_that_refuses_does_not_spoil_the_second(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    fake_start(&fake, &limits);
    atomic_store(&fake.refuse_first, true);
    struct held held = fake_take(&fake);
    assert_int_equal(fake.opens, 1);
    fake_give(held, TP_FATE_KEEP);
    assert_int_equal(fake_stats(&fake).idle, 1);
    assert_int_equal(fake_stats(&fake).closed[TP_CLOSE_DEAD], 0);
    fake_end(&fake);
}

/* ------------------------------------------------------------------ reaping */

static void idle_connections_end_after_a_while_down_to_the_minimum(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(2, 6);
    limits.idle_timeout_us = 60 * MS;
    fake_start(&fake, &limits);
    fill(&fake, 6);
    assert_int_equal(fake_stats(&fake).idle, 6);
    AWAIT(fake_stats(&fake).idle == 2);
    AWAIT(fake.closes == 4);
    int64_t until = tp_now() + 200 * MS;
    AWAIT(tp_now() >= until);
    assert_int_equal(fake_stats(&fake).idle, 2);
    assert_int_equal(fake.opens, 6);
    assert_int_equal(fake_stats(&fake).closed[TP_CLOSE_IDLE_TIMEOUT], 4);
    fake_end(&fake);
}

static void pings_do_not_keep_an_unused_connection_in_the_pool(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(1, 3);
    limits.idle_timeout_us = 150 * MS;
    limits.health_interval_us = 30 * MS;
    fake_start(&fake, &limits);
    fill(&fake, 3);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_IDLE_TIMEOUT] == 2);
    assert_true(fake.pings > 0);
    assert_int_equal(fake_stats(&fake).total, 1);
    fake_end(&fake);
}

static void pings_do_not_change_which_connection_is_lent_next(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 3);
    struct held held[3];
    limits.health_interval_us = 10 * MS;
    fake_start(&fake, &limits);
    take_all(&fake, held, 3);
    for (int i = 0; i < 3; i++) {
        int64_t later = tp_now() + 20 * MS; /* the clock of idle times ticks coarsely */
        AWAIT(tp_now() >= later);
        fake_give(held[i], TP_FATE_KEEP);
    }
    AWAIT(fake.pings >= 9);
    pthread_mutex_lock(&fake.pool->lock);
    fake.pool->limits.health_interval_us = 0;
    pthread_mutex_unlock(&fake.pool->lock);
    AWAIT(fake_stats(&fake).idle == 3);
    for (int i = 2; i >= 0; i--)
        assert_ptr_equal(fake_take(&fake).slot, held[i].slot);
    for (int i = 0; i < 3; i++)
        held[i].generation = atomic_load(&held[i].slot->generation);
    give_all(held, 3);
    fake_end(&fake);
}

static void lifetimes_are_spread_over_their_last_tenth(void **state)
{
    (void)state;
    enum { MANY = 48 };
    const int64_t life = INT64_C(1000) * 1000 * MS;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(MANY, MANY);
    int64_t earliest = INT64_MAX, latest = 0;
    limits.max_lifetime_us = life;
    fake_start(&fake, &limits);
    int64_t before = tp_now();
    fill(&fake, MANY);
    int64_t after = tp_now();
    pthread_mutex_lock(&fake.pool->lock);
    for (int i = 0; i < MANY; i++) {
        int64_t expires = fake.pool->slots[i].expires_at;
        assert_true(expires > before + life - life / 10);
        assert_true(expires <= after + life);
        earliest = expires < earliest ? expires : earliest;
        latest = expires > latest ? expires : latest;
    }
    pthread_mutex_unlock(&fake.pool->lock);
    assert_true(latest - earliest > life / 20); /* 48 draws leave no half of it empty */
    fake_end(&fake);
}

static void old_connections_are_replaced(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(2, 2);
    limits.max_lifetime_us = 80 * MS;
    fake_start(&fake, &limits);
    fill(&fake, 2);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_MAX_LIFETIME] >= 4);
    assert_true(fake.most_alive <= 2);
    AWAIT(fake_stats(&fake).idle == 2);
    fake_end(&fake);
}

static void an_old_connection_ends_when_it_comes_back(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    limits.max_lifetime_us = 30 * MS;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    int64_t old = tp_now() + 60 * MS;
    AWAIT(tp_now() >= old);
    assert_int_equal(fake.closes, 0); /* not while it is out */
    fake_give(held, TP_FATE_KEEP);
    AWAIT(fake.closes == 1);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_MAX_LIFETIME] == 1);
    fake_end(&fake);
}

/* It came back without a ring while the housekeeper slept. */
static void a_connection_that_was_out_grows_old_in_time(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    limits.max_lifetime_us = 500 * MS;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    int64_t asleep = tp_now() + 50 * MS;
    AWAIT(tp_now() >= asleep);
    fake_give(held, TP_FATE_KEEP);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_MAX_LIFETIME] == 1);
    fake_end(&fake);
}

static void a_connection_serves_so_often_and_no_more(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    static const int served_by[] = {1, 1, 1, 2, 2, 2, 3};
    limits.max_uses = 3;
    fake_start(&fake, &limits);
    for (int i = 0; i < 7; i++) {
        struct held held = fake_take(&fake);
        assert_int_equal(fake_id(held), served_by[i]);
        fake_give(held, TP_FATE_KEEP);
    }
    assert_int_equal(fake_stats(&fake).closed[TP_CLOSE_MAX_USES], 2);
    fake_end(&fake);
}

/* ------------------------------------------------------------------- health */

static void idle_connections_are_pinged_and_stay(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 3);
    limits.health_interval_us = 15 * MS;
    fake_start(&fake, &limits);
    fill(&fake, 3);
    AWAIT(fake.pings >= 9);
    assert_int_equal(fake.opens, 3);
    assert_int_equal(fake.closes, 0);
    fake_end(&fake);
}

static void a_connection_that_does_not_answer_a_ping_is_closed(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(2, 2);
    limits.health_interval_us = 15 * MS;
    fake_start(&fake, &limits);
    atomic_store(&fake.fail_chores, true);
    fill(&fake, 2);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_DEAD] >= 2);
    atomic_store(&fake.fail_chores, false);
    AWAIT(fake_stats(&fake).idle == 2); /* filled up again */
    fake_end(&fake);
}

static void a_slow_ping_leaves_the_other_connections_at_hand(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    limits.health_interval_us = 15 * MS;
    fake_start(&fake, &limits);
    atomic_store(&fake.hold_chores, true);
    fill(&fake, 2);
    AWAIT(fake.pings == 1);
    int64_t later = tp_now() + 100 * MS;
    AWAIT(tp_now() >= later);
    assert_int_equal(fake.pings, 1);
    assert_int_equal(fake_stats(&fake).idle, 1);
    struct held held = fake_take(&fake);
    fake_give(held, TP_FATE_KEEP);
    assert_int_equal(fake.opens, 2);
    fake_end(&fake);
}

static void the_housekeeper_sleeps_while_it_waits_for_a_slow_ping(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 3);
    limits.health_interval_us = 10 * MS;
    fake_start(&fake, &limits);
    atomic_store(&fake.hold_chores, true);
    fill(&fake, 3);
    AWAIT(fake.pings == 1);
    int64_t due = tp_now() + 30 * MS; /* the others are due by then */
    AWAIT(tp_now() >= due);
    assert_true(keeper_cpu_during(&fake, 200 * MS) < 60 * MS);
    fake_say(&fake, &fake.hold_chores, false);
    AWAIT(fake.pings >= 4); /* and it gets to them */
    fake_end(&fake);
}

static void the_housekeeper_sleeps_while_there_is_nothing_to_do(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(1, 4);
    limits.health_interval_us = 60 * 1000 * MS;
    limits.idle_timeout_us = 60 * 1000 * MS;
    limits.max_lifetime_us = 60 * 1000 * MS;
    fake_start(&fake, &limits);
    struct held held[4];
    take_all(&fake, held, 4);
    fake_give(held[0], TP_FATE_KEEP);
    fake_give(held[1], TP_FATE_KEEP);
    assert_true(keeper_cpu_during(&fake, 150 * MS) < 40 * MS);
    fake_give(held[2], TP_FATE_KEEP);
    fake_give(held[3], TP_FATE_KEEP);
    fake_end(&fake);
}

/* ------------------------------------------------------------------ hang-up */

static void an_idle_connection_that_hangs_up_is_closed_and_not_lent(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    struct held second;
    assert_int_equal(fake_id(held), 1);
    fake_give(held, TP_FATE_KEEP);
    fake_hang_up(held);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_DEAD] == 1);
    second = fake_take(&fake);
    assert_int_equal(fake_id(second), 2);
    fake_give(second, TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_connection_that_hung_up_while_it_was_out_is_not_lent_again(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiter;
    struct held next;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    fake_hang_up(held);
    AWAIT(atomic_load(&held.slot->hangup));
    fake_queue(&fake, &waiter);
    fake_give(held, TP_FATE_KEEP);
    AWAIT(fake_served(&fake, &waiter, &next));
    assert_int_equal(fake_id(next), 2);
    assert_int_equal(fake_stats(&fake).closed[TP_CLOSE_DEAD], 1);
    fake_give(next, TP_FATE_KEEP);
    fake_end(&fake);
}

/* ------------------------------------------------------------------ mending */

static void a_connection_is_mended_before_anybody_gets_it(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiter;
    struct held next;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    atomic_store(&fake.hold_chores, true);
    fake_queue(&fake, &waiter);
    fake_give(held, TP_FATE_RESET);
    AWAIT(fake.resets == 1);
    assert_int_equal(fake_stats(&fake).mending, 1);
    assert_false(fake_served(&fake, &waiter, &next));
    fake_say(&fake, &fake.hold_chores, false);
    AWAIT(fake_served(&fake, &waiter, &next));
    assert_int_equal(fake_id(next), 1); /* the same one */
    assert_int_equal(fake.resets, 1);
    fake_give(next, TP_FATE_KEEP);
    fake_end(&fake);
}

static void mending_goes_on_when_its_time_has_come(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    atomic_store(&fake.chore_takes_us, 50 * MS);
    int64_t began = tp_now();
    fake_give(held, TP_FATE_RESET);
    held = fake_take(&fake); /* nobody rings */
    assert_true(tp_now() - began >= 50 * MS);
    assert_int_equal(fake_id(held), 1);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_connection_that_cannot_be_mended_is_replaced(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    atomic_store(&fake.fail_chores, true);
    fake_give(held, TP_FATE_RESET);
    held = fake_take(&fake);
    assert_int_equal(fake_id(held), 2);
    assert_int_equal(fake_stats(&fake).closed[TP_CLOSE_DEAD], 1);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

/* -------------------------------------------------------------------- epoch */

static void a_new_epoch_replaces_every_connection(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 4);
    struct held held[4];
    fake_start(&fake, &limits);
    take_all(&fake, held, 4);
    give_all(held, 3);
    tp__pool_bump_epoch(fake.pool, TP_CLOSE_SERVER_GONE);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_SERVER_GONE] == 3);
    assert_int_equal(fake_stats(&fake).active, 1);
    fake_give(held[3], TP_FATE_KEEP);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_SERVER_GONE] == 4);
    held[0] = fake_take(&fake);
    assert_int_equal(fake_id(held[0]), 5);
    fake_give(held[0], TP_FATE_KEEP);
    assert_int_equal(fake_stats(&fake).idle, 1);
    fake_end(&fake);
}

static void a_server_that_says_it_is_starting_ends_the_epoch(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    struct held held[2];
    fake_start(&fake, &limits);
    held[0] = fake_take(&fake);
    fake_give(held[0], TP_FATE_KEEP);
    held[0] = fake_take(&fake);
    atomic_store(&fake.server_gone, true);
    atomic_store(&fake.fail_opens, 1);
    held[1] = fake_take(&fake);
    fake_give(held[0], TP_FATE_KEEP);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_SERVER_GONE] == 1);
    fake_give(held[1], TP_FATE_KEEP);
    assert_int_equal(fake_stats(&fake).idle, 1);
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_connects_again_after_failures_and_serves_who_waited),
        cmocka_unit_test(while_connecting_fails_one_attempt_is_made_at_a_time),
        cmocka_unit_test(a_caller_who_waits_sees_another_attempt_within_a_second),
        cmocka_unit_test(connects_that_fail_together_count_once_for_the_backoff),
        cmocka_unit_test(a_failure_that_will_not_pass_is_told_to_all_who_wait),
        cmocka_unit_test(nobody_is_refused_while_a_connection_that_works_is_out),
        cmocka_unit_test(a_first_address_that_refuses_does_not_spoil_the_second),
        cmocka_unit_test(idle_connections_end_after_a_while_down_to_the_minimum),
        cmocka_unit_test(pings_do_not_keep_an_unused_connection_in_the_pool),
        cmocka_unit_test(pings_do_not_change_which_connection_is_lent_next),
        cmocka_unit_test(lifetimes_are_spread_over_their_last_tenth),
        cmocka_unit_test(old_connections_are_replaced),
        cmocka_unit_test(an_old_connection_ends_when_it_comes_back),
        cmocka_unit_test(a_connection_that_was_out_grows_old_in_time),
        cmocka_unit_test(a_connection_serves_so_often_and_no_more),
        cmocka_unit_test(idle_connections_are_pinged_and_stay),
        cmocka_unit_test(a_connection_that_does_not_answer_a_ping_is_closed),
        cmocka_unit_test(a_slow_ping_leaves_the_other_connections_at_hand),
        cmocka_unit_test(the_housekeeper_sleeps_while_it_waits_for_a_slow_ping),
        cmocka_unit_test(the_housekeeper_sleeps_while_there_is_nothing_to_do),
        cmocka_unit_test(an_idle_connection_that_hangs_up_is_closed_and_not_lent),
        cmocka_unit_test(a_connection_that_hung_up_while_it_was_out_is_not_lent_again),
        cmocka_unit_test(a_connection_is_mended_before_anybody_gets_it),
        cmocka_unit_test(mending_goes_on_when_its_time_has_come),
        cmocka_unit_test(a_connection_that_cannot_be_mended_is_replaced),
        cmocka_unit_test(a_new_epoch_replaces_every_connection),
        cmocka_unit_test(a_server_that_says_it_is_starting_ends_the_epoch),
    };
    return cmocka_run_group_tests_name("pool: housekeeper", tests, NULL, NULL);
}
