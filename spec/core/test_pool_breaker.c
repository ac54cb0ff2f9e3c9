/* The circuit breaker: who fails fast, who waits on, and how soon a server that is back is
 * found. */
#include "fake_pool.h"

#include <string.h>

static struct fake fake;

/* Opens after three failures; tries of the housekeeper's own are then far apart. */
static struct tp_pool_limits limits_of(int max)
{
    struct tp_pool_limits limits = fake_limits(0, max);
    limits.breaker_failures = 3;
    limits.breaker_open_us = INT64_C(60) * 1000 * MS;
    return limits;
}

static void start(int max)
{
    struct tp_pool_limits limits = limits_of(max);
    fake_start(&fake, &limits);
    atomic_store(&fake.fail_opens, -1);
}

static enum tp_breaker_state state_of(int64_t *next_try_us)
{
    return tp_pool_breaker(fake.pool, next_try_us);
}

static bool is_due(void)
{
    int64_t us;
    return state_of(&us) == TP_BREAKER_OPEN && us == 0;
}

static enum tp_acquired ask(struct tp_waiter *waiter, struct tp_error *err)
{
    memset(waiter, 0, sizeof *waiter);
    return tp__pool_acquire(fake.pool, waiter, err);
}

/* Whoever waits is refused. */
static void await_refusal(struct tp_waiter *waiter, struct tp_error *err)
{
    struct held held;
    int64_t deadline = tp_now() + FAKE_AT_MOST_US;
    assert_int_equal(fake_wait(&fake, waiter, deadline, &held, err), TP_REFUSED);
    assert_true(tp_now() < deadline);
}

static void open_breaker(void)
{
    struct tp_waiter waiter;
    struct tp_error err;
    fake_queue(&fake, &waiter);
    await_refusal(&waiter, &err);
    assert_int_equal(fake.failures, 3);
}

static void assert_event(const char *text)
{
    struct tp_event event;
    fake_next_event(&fake, TP_EVENT_BREAKER, &event);
    assert_string_equal(event.text, text);
}

static void after_failures_in_a_row_callers_fail_fast(void **state)
{
    (void)state;
    struct tp_waiter waiter;
    struct tp_error err;
    int64_t us;
    start(2);
    fake_queue(&fake, &waiter);
    await_refusal(&waiter, &err);
    assert_int_equal(fake.failures, 3);
    assert_int_equal(err.kind, TP_ERR_CONNECTION);
    assert_true(err.retryable);
    assert_int_equal(err.attempts, 3);
    assert_ptr_equal(strstr(err.message, "could not connect: scripted; next try in "), err.message);
    assert_event("open");
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&waiter, &err), TP_REFUSED);
    assert_ptr_equal(strstr(err.message, "could not connect: scripted; next try in "), err.message);
    assert_int_equal(fake.failures, 3);
    assert_int_equal(fake_stats(&fake).fail_fast, 6);
    assert_int_equal(state_of(&us), TP_BREAKER_OPEN);
    assert_in_range(us, 1, 500 * MS);
    fake_end(&fake);
}

static void a_try_that_succeeds_closes_it_and_serves_who_made_it_due(void **state)
{
    (void)state;
    struct tp_waiter waiter;
    struct held held;
    int64_t us;
    start(2);
    open_breaker();
    atomic_store(&fake.hold_opens, true);
    AWAIT(is_due());
    assert_int_equal(fake.opens, 3);
    fake_queue(&fake, &waiter);
    AWAIT(fake.connecting == 1);
    assert_int_equal(state_of(&us), TP_BREAKER_HALF_OPEN);
    assert_false(fake_served(&fake, &waiter, &held));
    atomic_store(&fake.fail_opens, 0);
    fake_say(&fake, &fake.hold_opens, false);
    AWAIT(fake_served(&fake, &waiter, &held));
    assert_int_equal(state_of(&us), TP_BREAKER_CLOSED);
    assert_event("open");
    assert_event("closed");
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void nobody_waits_long_for_a_try_that_takes_long(void **state)
{
    (void)state;
    struct tp_waiter waiter;
    struct tp_error err;
    struct held held;
    start(1);
    open_breaker();
    atomic_store(&fake.hold_opens, true);
    atomic_store(&fake.fail_opens, 0);
    AWAIT(is_due());
    int64_t began = tp_now();
    fake_queue(&fake, &waiter);
    await_refusal(&waiter, &err);
    assert_in_range(tp_now() - began, 400 * MS, 5000 * MS);
    assert_non_null(strstr(err.message, "scripted; another try is under way"));
    assert_int_equal(ask(&waiter, &err), TP_REFUSED);
    assert_int_equal(fake.connecting, 1);
    fake_say(&fake, &fake.hold_opens, false);
    AWAIT(fake_stats(&fake).idle == 1);
    held = fake_take(&fake);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

/* And they do not hammer it meanwhile. */
static void callers_who_keep_coming_find_the_server_soon(void **state)
{
    (void)state;
    struct tp_waiter waiter;
    struct tp_error err;
    struct held held;
    start(4);
    open_breaker();
    int64_t until = tp_now() + 1000 * MS, back = 0;
    for (;;) {
        enum tp_acquired how = ask(&waiter, &err);
        if (how == TP_QUEUED)
            how = fake_wait(&fake, &waiter, tp_now() + 100 * MS, &held, &err);
        if (how == TP_ACQUIRED)
            break;
        if (back == 0 && tp_now() >= until) {
            assert_in_range(fake.failures, 4, 3 + 5);
            atomic_store(&fake.fail_opens, 0);
            back = tp_now();
        }
        assert_true(back == 0 || tp_now() < back + FAKE_AT_MOST_US);
        fake_breathe();
    }
    assert_true(back != 0 && tp_now() - back < 700 * MS);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

/* Nobody has asked since: whoever comes first need not wait for the housekeeper's time. */
static void the_first_caller_after_a_while_makes_a_try_due(void **state)
{
    (void)state;
    struct tp_pool_limits limits = limits_of(1);
    int64_t us;
    limits.min = 1;
    fake_start(&fake, &limits);
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    atomic_store(&fake.fail_opens, -1);
    tp__pool_bump_epoch(fake.pool, TP_CLOSE_SERVER_GONE);
    AWAIT(state_of(&us) == TP_BREAKER_OPEN);
    int failures = fake.failures;
    atomic_store(&fake.fail_opens, 0);
    int64_t began = tp_now();
    struct held held = fake_take(&fake);
    assert_true(tp_now() - began < 200 * MS);
    assert_int_equal(fake.failures, failures);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void connections_that_work_go_on_serving(void **state)
{
    (void)state;
    struct tp_waiter first, second;
    struct tp_error err;
    struct held held, next;
    int64_t us;
    start(2);
    atomic_store(&fake.fail_opens, 0);
    held = fake_take(&fake);
    atomic_store(&fake.fail_opens, -1);
    fake_queue(&fake, &first);
    fake_queue(&fake, &second);
    AWAIT(state_of(&us) == TP_BREAKER_OPEN && fake.failures >= 3);
    assert_false(fake_served(&fake, &first, &next));
    fake_give(held, TP_FATE_KEEP);
    assert_true(fake_served(&fake, &first, &next));
    assert_false(fake_served(&fake, &second, &held));
    fake_give(next, TP_FATE_CLOSE); /* the last one that worked */
    await_refusal(&second, &err);
    fake_end(&fake);
}

static void a_connection_that_is_known_to_be_dead_counts_for_nothing(void **state)
{
    (void)state;
    struct tp_waiter waiter;
    struct tp_error err;
    start(2);
    atomic_store(&fake.fail_opens, 0);
    struct held held = fake_take(&fake);
    atomic_store(&fake.fail_opens, -1);
    fake_hang_up(held);
    AWAIT(atomic_load(&held.slot->hangup));
    fake_queue(&fake, &waiter);
    await_refusal(&waiter, &err);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_wrong_password_is_told_to_all_and_tried_again_slowly(void **state)
{
    (void)state;
    struct tp_pool_limits limits = limits_of(4);
    struct tp_waiter waiters[3], patient;
    struct tp_error err;
    int64_t us;
    limits.refused_base_us = 600 * MS;
    fake_start(&fake, &limits);
    atomic_store(&fake.wrong_password, true);
    atomic_store(&fake.hold_opens, true);
    atomic_store(&fake.fail_opens, -1);
    for (int i = 0; i < 3; i++)
        fake_queue(&fake, &waiters[i]);
    AWAIT(fake.connecting == 3);
    fake_say(&fake, &fake.hold_opens, false);
    for (int i = 0; i < 3; i++) {
        await_refusal(&waiters[i], &err);
        assert_string_equal(err.code, "28P01");
        assert_false(err.retryable);
    }
    AWAIT(fake_stats(&fake).connect_failures == 3);
    int64_t until = tp_now() + 90 * MS; /* the first pause is 300 ms at least */
    while (tp_now() < until) {
        memset(&patient, 0, sizeof patient);
        patient.patient = true;
        assert_int_equal(tp__pool_acquire(fake.pool, &patient, &err), TP_REFUSED);
        assert_string_equal(err.code, "28P01");
        assert_non_null(strstr(err.message, "; next try in "));
        fake_breathe();
    }
    assert_int_equal(fake.failures, 3);
    assert_int_equal(state_of(&us), TP_BREAKER_OPEN);
    atomic_store(&fake.fail_opens, 0);
    AWAIT(is_due());
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_server_that_starts_up_is_waited_for(void **state)
{
    (void)state;
    int64_t us;
    start(2);
    atomic_store(&fake.server_gone, true);
    atomic_store(&fake.fail_opens, 10);
    struct held held = fake_take(&fake);
    assert_int_equal(fake.failures, 10);
    assert_int_equal(state_of(&us), TP_BREAKER_CLOSED);
    assert_int_equal(fake_stats(&fake).fail_fast, 0);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void who_is_patient_waits_on(void **state)
{
    (void)state;
    struct tp_waiter patient, waiter;
    struct tp_error err;
    struct held held;
    start(1);
    memset(&patient, 0, sizeof patient);
    patient.patient = true;
    assert_int_equal(tp__pool_acquire(fake.pool, &patient, &err), TP_QUEUED);
    AWAIT(fake.failures == 3);
    AWAIT(tp__pool_poll(fake.pool, &patient, TP_NEVER, &err) == TP_QUEUED);
    assert_int_equal(ask(&waiter, &err), TP_REFUSED);
    AWAIT(fake.failures >= 5);
    atomic_store(&fake.fail_opens, 0);
    AWAIT(fake_served(&fake, &patient, &held));
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_failures_in_a_row_callers_fail_fast),
        cmocka_unit_test(a_try_that_succeeds_closes_it_and_serves_who_made_it_due),
        cmocka_unit_test(nobody_waits_long_for_a_try_that_takes_long),
        cmocka_unit_test(callers_who_keep_coming_find_the_server_soon),
        cmocka_unit_test(the_first_caller_after_a_while_makes_a_try_due),
        cmocka_unit_test(connections_that_work_go_on_serving),
        cmocka_unit_test(a_connection_that_is_known_to_be_dead_counts_for_nothing),
        cmocka_unit_test(a_wrong_password_is_told_to_all_and_tried_again_slowly),
        cmocka_unit_test(a_server_that_starts_up_is_waited_for),
        cmocka_unit_test(who_is_patient_waits_on),
    };
    return cmocka_run_group_tests_name("pool: breaker", tests, NULL, NULL);
}
