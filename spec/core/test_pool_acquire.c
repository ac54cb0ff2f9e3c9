/* Taking connections from a pool and giving them back: growth, the queue, deadlines. */
#include "fake_pool.h"
#include "pool_stats.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "stats.h"

enum { CROWD = 200 };

/* ------------------------------------------------------------------- growth */

static void the_first_acquire_fills_the_pool_to_its_minimum(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(3, 5);
    fake_start(&fake, &limits);
    assert_int_equal(fake.opens, 0); /* a pool that nobody asks does nothing */
    struct held held = fake_take(&fake);
    AWAIT(fake_stats(&fake).idle == 2);
    assert_int_equal(fake.opens, 3);
    fake_give(held, TP_FATE_KEEP);
    assert_int_equal(fake_stats(&fake).idle, 3);
    fake_end(&fake);
}

static void it_grows_on_demand_and_never_past_its_maximum(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 4);
    struct held held[4], last;
    struct tp_waiter waiter;
    fake_start(&fake, &limits);
    for (int i = 0; i < 4; i++) {
        held[i] = fake_take(&fake);
        assert_int_equal(fake.opens, i + 1); /* not one more than was asked for */
    }
    fake_queue(&fake, &waiter);
    tp__wake_ring(fake.pool->wake);
    fake_give(held[2], TP_FATE_KEEP);
    assert_true(fake_served(&fake, &waiter, &last));
    assert_int_equal(fake.opens, 4);
    assert_int_equal(fake.most_alive, 4);
    assert_int_equal(fake_stats(&fake).total, 4);
    fake_give(last, TP_FATE_KEEP);
    for (int i = 0; i < 4; i++) {
        if (i != 2)
            fake_give(held[i], TP_FATE_KEEP);
    }
    fake_end(&fake);
}

static void several_callers_are_connected_for_at_once(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 6);
    struct tp_waiter waiters[5];
    struct held held;
    fake_start(&fake, &limits);
    atomic_store(&fake.hold_opens, true);
    for (int i = 0; i < 5; i++)
        fake_queue(&fake, &waiters[i]);
    AWAIT(fake.connecting == 5); /* none of them waits for another to be through */
    assert_int_equal(fake_stats(&fake).connecting, 5);
    assert_int_equal(fake_stats(&fake).waiting, 5);
    fake_say(&fake, &fake.hold_opens, false);
    for (int i = 0; i < 5; i++) {
        AWAIT(fake_served(&fake, &waiters[i], &held));
        fake_give(held, TP_FATE_KEEP);
    }
    assert_int_equal(fake.opens, 5);
    fake_end(&fake);
}

static void the_most_recently_used_connection_is_lent_first(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 3);
    struct held held[3];
    fake_start(&fake, &limits);
    for (int i = 0; i < 3; i++)
        held[i] = fake_take(&fake);
    static const int order[] = {1, 2, 0};
    for (int i = 0; i < 3; i++)
        fake_give(held[order[i]], TP_FATE_KEEP);
    for (int i = 2; i >= 0; i--)
        assert_ptr_equal(fake_take(&fake).slot, held[order[i]].slot);
    for (int i = 0; i < 3; i++) {
        held[i].generation = atomic_load(&held[i].slot->generation);
        fake_give(held[i], TP_FATE_KEEP);
    }
    fake_end(&fake);
}

/* -------------------------------------------------------------------- queue */

static void connections_are_handed_over_in_the_order_of_asking(void **state)
{
    (void)state;
    static struct tp_waiter waiters[CROWD];
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    fake_start(&fake, &limits);
    struct held held[2] = {fake_take(&fake), fake_take(&fake)};
    for (int i = 0; i < CROWD; i++)
        fake_queue(&fake, &waiters[i]);
    for (int i = 0; i < CROWD; i++) {
        struct held next;
        int which = (i * 7 / 3) % 2;
        fake_give(held[which], TP_FATE_KEEP);
        if (i + 1 < CROWD)
            assert_false(fake_served(&fake, &waiters[i + 1], &next));
        assert_true(fake_served(&fake, &waiters[i], &next));
        assert_ptr_equal(next.slot, held[which].slot); /* the one that came back, directly */
        held[which] = next;
    }
    assert_int_equal(fake_stats(&fake).waiting, 0);
    fake_give(held[0], TP_FATE_KEEP);
    fake_give(held[1], TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_newcomer_does_not_overtake_those_who_wait(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter first, second;
    struct held next;
    tp_lease lease;
    bool scarce;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    fake_queue(&fake, &first);
    fake_give(held, TP_FATE_KEEP);
    /* It belongs to the first already, who has not looked yet. */
    assert_false(tp_pool_try_acquire(fake.pool, &lease, &scarce));
    fake_queue(&fake, &second);
    assert_true(fake_served(&fake, &first, &next));
    assert_false(fake_served(&fake, &second, &held));
    fake_give(next, TP_FATE_KEEP);
    assert_true(fake_served(&fake, &second, &held));
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_full_queue_refuses_at_once(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiters[3];
    struct tp_error err;
    limits.max_waiting = 2;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    fake_queue(&fake, &waiters[0]);
    fake_queue(&fake, &waiters[1]);
    memset(&waiters[2], 0, sizeof waiters[2]);
    assert_int_equal(tp__pool_acquire(fake.pool, &waiters[2], &err), TP_REFUSED);
    assert_int_equal(err.kind, TP_ERR_BUSY);
    assert_non_null(strstr(err.message, "max_waiting"));
    tp__pool_leave(fake.pool, &waiters[0]);
    fake_queue(&fake, &waiters[2]); /* a place has come free */
    tp__pool_leave(fake.pool, &waiters[1]);
    tp__pool_leave(fake.pool, &waiters[2]);
    assert_int_equal(fake_stats(&fake).waiting, 0);
    assert_int_equal(fake_stats(&fake).acquire_cancels, 3);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void who_leaves_the_queue_is_not_waited_for(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiters[3];
    struct held next;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    for (int i = 0; i < 3; i++)
        fake_queue(&fake, &waiters[i]);
    tp__pool_leave(fake.pool, &waiters[1]);
    fake_give(held, TP_FATE_KEEP);
    assert_true(fake_served(&fake, &waiters[0], &next));
    fake_give(next, TP_FATE_KEEP);
    assert_true(fake_served(&fake, &waiters[2], &next));
    fake_give(next, TP_FATE_KEEP);
    fake_end(&fake);
}

static void who_leaves_when_served_already_passes_the_connection_on(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter first, second;
    struct held next;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    fake_queue(&fake, &first);
    fake_queue(&fake, &second);
    fake_give(held, TP_FATE_KEEP);
    tp__pool_leave(fake.pool, &first);
    assert_true(fake_served(&fake, &second, &next));
    assert_ptr_equal(next.slot, held.slot);
    fake_give(next, TP_FATE_KEEP);
    assert_int_equal(fake_stats(&fake).idle, 1);
    fake_end(&fake);
}

struct race {
    struct fake *fake;
    struct held held;
    atomic_bool go;
};

static void *give_back(void *arg)
{
    struct race *race = arg;
    while (!atomic_load(&race->go)) {
    }
    fake_give(race->held, TP_FATE_KEEP);
    return NULL;
}

/* The connection comes back at the same time as the only waiter goes away: it must be
 * idle afterwards, whoever was first. */
static void leaving_while_being_served_loses_nothing(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    int rounds = fake_rounds(500);
    fake_start(&fake, &limits);
    for (int i = 0; i < rounds; i++) {
        struct race race = {.fake = &fake, .held = fake_take(&fake), .go = false};
        struct tp_waiter waiter;
        pthread_t thread;
        fake_queue(&fake, &waiter);
        assert_int_equal(pthread_create(&thread, NULL, give_back, &race), 0);
        atomic_store(&race.go, true);
        if (i % 3 == 0)
            tp__pool_park(fake.pool, &waiter, tp_now() + i % 50);
        tp__pool_leave(fake.pool, &waiter);
        pthread_join(thread, NULL);
        assert_int_equal(fake_stats(&fake).idle, 1);
        assert_int_equal(fake_stats(&fake).waiting, 0);
    }
    assert_int_equal(fake.opens, 1);
    fake_end(&fake);
}

/* ---------------------------------------------------------------- deadlines */

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void an_acquire_never_gives_up_before_its_deadline(void **state)
{
    (void)state;
    static int64_t late[1000];
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    int rounds = fake_rounds(1000);
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    for (int i = 0; i < rounds; i++) {
        struct tp_waiter waiter;
        struct held unused;
        struct tp_error err;
        fake_queue(&fake, &waiter);
        int64_t deadline = tp_now() + 100 + i * 3;
        assert_int_equal(fake_wait(&fake, &waiter, deadline, &unused, &err), TP_REFUSED);
        late[i] = tp_now() - deadline;
        assert_true(late[i] >= 0);
        assert_int_equal(err.kind, TP_ERR_POOL_TIMEOUT);
        assert_true(err.retryable);
    }
    qsort(late, (size_t)rounds, sizeof late[0], compare);
    print_message("# acquire deadline of %d: late by p50 %lld us, p99 %lld us, max %lld us\n",
                  rounds, (long long)late[rounds / 2], (long long)late[rounds * 99 / 100],
                  (long long)late[rounds - 1]);
    assert_int_equal(fake_stats(&fake).acquire_timeouts, rounds);
    assert_int_equal(fake_stats(&fake).waiting, 0);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

/* As somebody does who cannot park: looks again and again. */
static void a_poll_never_gives_up_before_its_deadline(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    for (int i = 0; i < 20; i++) {
        struct tp_waiter waiter;
        struct tp_error err;
        fake_queue(&fake, &waiter);
        int64_t deadline = tp_now() + 2 * MS;
        while (tp__pool_poll(fake.pool, &waiter, deadline, &err) == TP_QUEUED) {
        }
        assert_true(tp_now() >= deadline);
    }
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_connection_that_was_handed_over_is_taken_even_past_the_deadline(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiter;
    struct tp_error err;
    struct held next;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    fake_queue(&fake, &waiter);
    fake_give(held, TP_FATE_KEEP);
    assert_int_equal(fake_wait(&fake, &waiter, tp_now() - 1, &next, &err), TP_ACQUIRED);
    fake_give(next, TP_FATE_KEEP);
    fake_end(&fake);
}

/* ------------------------------------------------------------------- return */

static void a_connection_is_given_back_once(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    fake_give(held, TP_FATE_KEEP);
    assert_false(tp__pool_return(held.slot, held.generation, TP_FATE_KEEP, 0, NULL));
    assert_false(tp__pool_return(held.slot, held.generation, TP_FATE_CLOSE, 0, NULL));
    assert_int_equal(fake_stats(&fake).idle, 1);
    fake_end(&fake);
}

static void who_gave_it_back_has_no_say_when_somebody_else_holds_it(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    fake_start(&fake, &limits);
    struct held old = fake_take(&fake);
    fake_give(old, TP_FATE_KEEP);
    struct held held = fake_take(&fake);
    assert_ptr_equal(held.slot, old.slot);
    assert_false(tp__pool_return(old.slot, old.generation, TP_FATE_CLOSE, 0, NULL));
    assert_int_equal(fake_stats(&fake).active, 1);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_connection_handed_on_directly_has_another_generation(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiter;
    struct held next;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    tp_lease lease = {held.slot, held.generation};
    assert_true(tp_lease_valid(&lease));
    fake_queue(&fake, &waiter);
    fake_give(held, TP_FATE_KEEP);
    assert_false(tp_lease_valid(&lease)); /* although the slot is leased */
    assert_false(tp__pool_return(held.slot, held.generation, TP_FATE_KEEP, 0, NULL));
    assert_true(fake_served(&fake, &waiter, &next));
    fake_give(next, TP_FATE_KEEP);
    fake_end(&fake);
}

static void what_is_discarded_is_replaced_for_the_next_in_the_queue(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiter;
    struct held next;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    assert_int_equal(fake_id(held), 1);
    fake_queue(&fake, &waiter);
    fake_give(held, TP_FATE_CLOSE);
    AWAIT(fake_served(&fake, &waiter, &next));
    assert_int_equal(fake_id(next), 2);
    assert_int_equal(fake.closes, 1);
    assert_int_equal(fake.most_alive, 1); /* the old one is closed before */
    assert_int_equal(fake_stats(&fake).closed[TP_CLOSE_DISCARDED], 1);
    fake_give(next, TP_FATE_KEEP);
    fake_end(&fake);
}

/* -------------------------------------------------------------- try_acquire */

static void try_acquire_takes_only_what_was_used_a_moment_ago(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    tp_lease lease = {NULL, 0};
    bool scarce = false;
    fake_start(&fake, &limits);
    assert_false(tp_pool_try_acquire(fake.pool, &lease, &scarce));
    assert_int_equal(fake.opens, 0);
    struct held held = fake_take(&fake);
    assert_false(tp_pool_try_acquire(fake.pool, &lease, &scarce));
    fake_give(held, TP_FATE_KEEP);
    AWAIT(tp_pool_try_acquire(fake.pool, &lease, &scarce) ||
          (fake_give(fake_take(&fake), TP_FATE_KEEP), false));
    assert_true(tp_lease_valid(&lease));
    assert_true(scarce); /* one of one */
    held.generation = lease.generation;
    fake_give(held, TP_FATE_KEEP);
    int64_t rested = tp_now() + 2 * TP_LOOK_AFTER_US;
    AWAIT(tp_now() >= rested);
    assert_false(tp_pool_try_acquire(fake.pool, &lease, &scarce)); /* it is to be looked at */
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    fake_end(&fake);
}

/* ------------------------------------------------------------ self-deadlock */

static void a_caller_who_holds_everything_is_told_so(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    fake_start(&fake, &limits);
    struct held first = fake_take(&fake);
    assert_false(tp__pool_all_held_by_caller(fake.pool));
    struct held second = fake_take(&fake);
    assert_true(tp__pool_all_held_by_caller(fake.pool));
    fake_give(first, TP_FATE_KEEP);
    assert_false(tp__pool_all_held_by_caller(fake.pool));
    fake_give(second, TP_FATE_KEEP);
    fake_end(&fake);
}

static void *wait_and_give(void *arg)
{
    struct race *race = arg;
    struct tp_waiter waiter;
    struct tp_error err;
    memset(&waiter, 0, sizeof waiter);
    if (tp__pool_acquire(race->fake->pool, &waiter, &err) != TP_QUEUED)
        return NULL;
    while (!atomic_load(&race->go))
        fake_breathe();
    if (fake_wait(race->fake, &waiter, tp_now() + FAKE_AT_MOST_US, &race->held, &err) !=
        TP_ACQUIRED)
        return NULL;
    fake_give(race->held, TP_FATE_KEEP);
    return race;
}

/* It was handed to somebody who has not woken up yet: whoever gave it away does not
 * hold it any more. */
static void a_connection_given_to_another_thread_is_not_the_callers(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    pthread_t thread;
    void *served = NULL;
    fake_start(&fake, &limits);
    struct race race = {.fake = &fake, .go = false};
    struct held held = fake_take(&fake);
    assert_int_equal(pthread_create(&thread, NULL, wait_and_give, &race), 0);
    AWAIT(fake_stats(&fake).waiting == 1);
    fake_give(held, TP_FATE_KEEP);
    assert_int_equal(fake_stats(&fake).active, 1);
    assert_false(tp__pool_all_held_by_caller(fake.pool));
    atomic_store(&race.go, true);
    pthread_join(thread, &served);
    assert_non_null(served);
    fake_end(&fake);
}

/* -------------------------------------------------------------------- stats */

static void the_statistics_count_what_happened(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(1, 3);
    struct tp_usage good = {.query_us = 1500}, bad = {.query_us = 2500,
                                                      .slow = true,
                                                      .failed = true,
                                                      .kind = TP_ERR_DATABASE,
                                                      .code = "23505",
                                                      .rollback = true};
    fake_start(&fake, &limits);
    struct held held[2] = {fake_take(&fake), fake_take(&fake)};
    assert_true(tp__pool_return(held[0].slot, held[0].generation, TP_FATE_KEEP, 0, &good));
    assert_true(tp__pool_return(held[1].slot, held[1].generation, TP_FATE_RESET, 0, &bad));
    struct held again = fake_take(&fake);
    tp__slot_count(again.slot, &good);
    tp__slot_count_statement(again.slot, TP_STATEMENT_HIT);
    tp__slot_count_statement(again.slot, TP_STATEMENT_PREPARED);
    tp__slot_count_statement(again.slot, TP_STATEMENT_EVICTED);
    assert_true(tp_pool_take_retry(fake.pool, 1, "40001", "serialization_failure"));
    tp__slot_count_leak(again.slot);
    fake_give(again, TP_FATE_KEEP);
    AWAIT(fake_stats(&fake).idle == 2);
    struct tp_stats stats = fake_stats(&fake);
    assert_int_equal(stats.total, 2);
    assert_int_equal(stats.active, 0);
    assert_int_equal(stats.min, 1);
    assert_int_equal(stats.max, 3);
    assert_int_equal(stats.acquires, 3);
    assert_int_equal(stats.leaks, 1);
    assert_int_equal(stats.connects, 2);
    assert_int_equal(stats.queries, 3);
    assert_int_equal(stats.query_failures, 1);
    assert_int_equal(stats.rollbacks, 1);
    assert_int_equal(stats.errors_by_kind[TP_ERR_DATABASE], 1);
    assert_string_equal(stats.errors_by_class[0].code, "23");
    assert_int_equal(stats.errors_by_class[0].count, 1);
    assert_string_equal(stats.errors_by_class[1].code, "");
    assert_int_equal(stats.slow_queries, 1);
    assert_int_equal(stats.retries, 1);
    assert_int_equal(stats.statement_hits, 1);
    assert_int_equal(stats.statements_prepared, 1);
    assert_int_equal(stats.statement_evictions, 1);
    assert_int_equal(stats.wait.count, 3);
    assert_int_equal(stats.held.count, 3);
    assert_int_equal(stats.connect.count, 2);
    assert_int_equal(stats.query.count, 3);
    assert_int_equal(stats.query.max, 2500);
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_acquire_fills_the_pool_to_its_minimum),
        cmocka_unit_test(it_grows_on_demand_and_never_past_its_maximum),
        cmocka_unit_test(several_callers_are_connected_for_at_once),
        cmocka_unit_test(the_most_recently_used_connection_is_lent_first),
        cmocka_unit_test(connections_are_handed_over_in_the_order_of_asking),
        cmocka_unit_test(a_newcomer_does_not_overtake_those_who_wait),
        cmocka_unit_test(a_full_queue_refuses_at_once),
        cmocka_unit_test(who_leaves_the_queue_is_not_waited_for),
        cmocka_unit_test(who_leaves_when_served_already_passes_the_connection_on),
        cmocka_unit_test(leaving_while_being_served_loses_nothing),
        cmocka_unit_test(an_acquire_never_gives_up_before_its_deadline),
        cmocka_unit_test(a_poll_never_gives_up_before_its_deadline),
        cmocka_unit_test(a_connection_that_was_handed_over_is_taken_even_past_the_deadline),
        cmocka_unit_test(a_connection_is_given_back_once),
        cmocka_unit_test(who_gave_it_back_has_no_say_when_somebody_else_holds_it),
        cmocka_unit_test(a_connection_handed_on_directly_has_another_generation),
        cmocka_unit_test(what_is_discarded_is_replaced_for_the_next_in_the_queue),
        cmocka_unit_test(try_acquire_takes_only_what_was_used_a_moment_ago),
        cmocka_unit_test(a_caller_who_holds_everything_is_told_so),
        cmocka_unit_test(a_connection_given_to_another_thread_is_not_the_callers),
        cmocka_unit_test(the_statistics_count_what_happened),
    };
    return cmocka_run_group_tests_name("pool: acquire", tests, NULL, NULL);
}
