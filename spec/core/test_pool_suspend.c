/* Pools that are suspended and resumed, and whose connections are evicted. */
#include "fake_pool.h"

#include <pthread.h>
#include <string.h>

static struct fake fake;

static void start(int min, int max)
{
    struct tp_pool_limits limits = fake_limits(min, max);
    fake_start(&fake, &limits);
}

static enum tp_pool_state state_now(void)
{
    return tp_pool_get_state(fake.pool, NULL, NULL);
}

static void pass_time(int64_t us)
{
    int64_t until = tp_now() + us;
    AWAIT(tp_now() >= until);
}

static void nobody_is_lent_a_connection_while_it_is_suspended(void **state)
{
    (void)state;
    struct tp_waiter waiters[3];
    struct held held[3];
    struct tp_error err;
    tp_lease lease;
    bool scarce;
    start(0, 2);
    held[0] = fake_take(&fake);
    held[1] = fake_take(&fake);
    fake_give(held[0], TP_FATE_KEEP);
    tp_pool_suspend(fake.pool);
    assert_int_equal(state_now(), TP_POOL_SUSPENDED);
    for (int i = 0; i < 3; i++)
        fake_queue(&fake, &waiters[i]);
    assert_false(tp_pool_try_acquire(fake.pool, &lease, &scarce));
    fake_give(held[1], TP_FATE_KEEP); /* they go on, and come back */
    pass_time(50 * MS);
    for (int i = 0; i < 3; i++)
        assert_false(fake_served(&fake, &waiters[i], &held[0]));
    assert_int_equal(fake_stats(&fake).idle, 2);
    tp_pool_resume(fake.pool);
    assert_true(fake_served(&fake, &waiters[0], &held[0]));
    assert_true(fake_served(&fake, &waiters[1], &held[1]));
    assert_false(fake_served(&fake, &waiters[2], &held[2]));
    fake_give(held[0], TP_FATE_KEEP);
    assert_true(fake_served(&fake, &waiters[2], &held[2]));
    fake_give(held[1], TP_FATE_KEEP);
    fake_give(held[2], TP_FATE_KEEP);
    assert_int_equal(fake.opens, 2);
    assert_int_equal(state_now(), TP_POOL_CONNECTED);
    tp_pool_resume(fake.pool); /* once more does nothing */
    tp_pool_suspend(fake.pool);
    fake_queue(&fake, &waiters[0]);
    struct held none;
    assert_int_equal(fake_wait(&fake, &waiters[0], tp_now() + 20 * MS, &none, &err), TP_REFUSED);
    assert_int_equal(err.kind, TP_ERR_POOL_TIMEOUT);
    assert_non_null(strstr(err.message, "; the pool is suspended"));
    fake_end(&fake);
}

static void nothing_is_connected_or_pinged_meanwhile_nor_fails(void **state)
{
    (void)state;
    struct tp_pool_limits limits = fake_limits(2, 4);
    struct tp_waiter waiters[4];
    struct held held[4];
    limits.health_interval_us = 10 * MS;
    limits.breaker_failures = 1;
    fake_start(&fake, &limits);
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    AWAIT(fake_stats(&fake).idle == 2);
    tp_pool_suspend(fake.pool);
    AWAIT(fake_stats(&fake).idle == 2); /* a ping that was under way has ended */
    int pings = fake.pings;
    atomic_store(&fake.fail_opens, -1); /* the server goes away, and comes back */
    tp__pool_bump_epoch(fake.pool, TP_CLOSE_SERVER_GONE);
    for (int i = 0; i < 4; i++)
        fake_queue(&fake, &waiters[i]);
    AWAIT(fake_stats(&fake).idle == 0);
    pass_time(60 * MS);
    assert_int_equal(fake.failures, 0);
    assert_int_equal(fake.opens, 2);
    assert_int_equal(fake.pings, pings);
    atomic_store(&fake.fail_opens, 0);
    tp_pool_resume(fake.pool);
    for (int i = 0; i < 4; i++)
        AWAIT(fake_served(&fake, &waiters[i], &held[i]));
    for (int i = 0; i < 4; i++)
        fake_give(held[i], TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_connection_that_rested_long_is_asked_before_it_serves(void **state)
{
    (void)state;
    struct tp_waiter waiter;
    struct held held;
    start(0, 1);
    held = fake_take(&fake);
    fake_give(held, TP_FATE_KEEP);
    tp_pool_suspend(fake.pool);
    pthread_mutex_lock(&fake.pool->lock);
    held.slot->idle_since -= INT64_C(3600) * 1000 * MS;
    pthread_mutex_unlock(&fake.pool->lock);
    fake_queue(&fake, &waiter);
    atomic_store(&fake.fail_chores, true);
    tp_pool_resume(fake.pool);
    AWAIT(fake_served(&fake, &waiter, &held));
    assert_int_equal(fake.pings, 1);
    assert_int_equal(fake_id(held), 2);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_connection_that_died_meanwhile_serves_nobody(void **state)
{
    (void)state;
    struct tp_waiter waiter;
    struct held held;
    start(0, 1);
    held = fake_take(&fake);
    tp_pool_suspend(fake.pool);
    fake_queue(&fake, &waiter);
    fake_hang_up(held);
    AWAIT(atomic_load(&held.slot->hangup));
    fake_give(held, TP_FATE_KEEP);
    tp_pool_resume(fake.pool);
    AWAIT(fake_served(&fake, &waiter, &held));
    assert_int_equal(fake_id(held), 2);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void *give_later(void *arg)
{
    struct held *held = arg;
    pass_time(40 * MS);
    fake_give(*held, TP_FATE_KEEP);
    return NULL;
}

static void *take(void *arg)
{
    *(struct held *)arg = fake_take(&fake);
    return NULL;
}

/* As the engine does it, with a thread that waits. */
static enum tp_status suspend_for(int64_t us, struct tp_error *err)
{
    struct tp_waiter waiter = {.queued = false};
    int64_t deadline = tp_now() + us;
    bool waits = tp__pool_begin_suspend(fake.pool, &waiter);
    while (waits && tp_now() < deadline) {
        tp__pool_park(fake.pool, &waiter, deadline);
        waits = tp__pool_is_suspending(fake.pool, &waiter);
    }
    return tp__pool_end_suspend(fake.pool, &waiter, err);
}

static void what_others_hold_is_waited_for(void **state)
{
    (void)state;
    struct tp_error err;
    struct held held;
    pthread_t thread;
    start(0, 2);
    pthread_create(&thread, NULL, take, &held);
    pthread_join(thread, NULL);
    int64_t began = tp_now();
    assert_int_equal(suspend_for(30 * MS, &err), TP_ERR_TIMEOUT);
    assert_in_range(tp_now() - began, 30 * MS, 2000 * MS);
    assert_string_equal(err.message, "1 connection was still in use");
    assert_int_equal(state_now(), TP_POOL_SUSPENDED);
    pthread_create(&thread, NULL, give_later, &held);
    assert_int_equal(suspend_for(FAKE_AT_MOST_US, &err), TP_OK);
    assert_int_equal(fake_stats(&fake).active, 0);
    pthread_join(thread, NULL);
    tp_pool_resume(fake.pool);
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    assert_int_equal(fake.opens, 1);
    fake_end(&fake);
}

static void *resume_later(void *arg)
{
    (void)arg;
    pass_time(40 * MS);
    tp_pool_resume(fake.pool);
    return NULL;
}

static void whoever_waits_for_it_hears_that_it_was_resumed(void **state)
{
    (void)state;
    struct tp_error err;
    struct held held;
    pthread_t thread;
    start(0, 2);
    pthread_create(&thread, NULL, take, &held);
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, resume_later, NULL);
    assert_int_equal(suspend_for(FAKE_AT_MOST_US, &err), TP_ERR_BUSY);
    pthread_join(thread, NULL);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void closing_it_refuses_who_waits(void **state)
{
    (void)state;
    struct tp_waiter waiter;
    struct tp_error err;
    struct held held;
    start(0, 1);
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    tp_pool_suspend(fake.pool);
    fake_queue(&fake, &waiter);
    tp_pool_close(fake.pool);
    assert_int_equal(fake_wait(&fake, &waiter, TP_NEVER, &held, &err), TP_REFUSED);
    assert_int_equal(err.kind, TP_ERR_POOL_CLOSED);
    tp_pool_resume(fake.pool);
    assert_int_equal(state_now(), TP_POOL_CLOSED);
    fake_end(&fake);
}

static void every_connection_is_replaced_by_evict_all(void **state)
{
    (void)state;
    struct held held[3];
    start(1, 3);
    for (int i = 0; i < 3; i++)
        held[i] = fake_take(&fake);
    fake_give(held[0], TP_FATE_KEEP);
    tp_pool_evict_all(fake.pool);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_EVICTED] == 1);
    assert_int_equal(fake.closes, 1);
    fake_give(held[1], TP_FATE_KEEP);
    fake_give(held[2], TP_FATE_RESET);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_EVICTED] == 3);
    AWAIT(fake_stats(&fake).idle == 1); /* the minimum */
    held[0] = fake_take(&fake);
    assert_true(fake_id(held[0]) > 3);
    fake_give(held[0], TP_FATE_KEEP);
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_lent_a_connection_while_it_is_suspended),
        cmocka_unit_test(nothing_is_connected_or_pinged_meanwhile_nor_fails),
        cmocka_unit_test(a_connection_that_rested_long_is_asked_before_it_serves),
        cmocka_unit_test(a_connection_that_died_meanwhile_serves_nobody),
        cmocka_unit_test(what_others_hold_is_waited_for),
        cmocka_unit_test(whoever_waits_for_it_hears_that_it_was_resumed),
        cmocka_unit_test(closing_it_refuses_who_waits),
        cmocka_unit_test(every_connection_is_replaced_by_evict_all),
    };
    return cmocka_run_group_tests_name("pool: suspend", tests, NULL, NULL);
}
