/* The question which loans wait for locks: when it is asked, and on what connection. */
#include "fake_pool.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool_inquiry.h"

enum { SECOND = 1000 * MS };

/* Waits in vain for so many milliseconds. */
static void time_out(struct fake *fake, int ms, struct tp_error *err)
{
    struct tp_waiter waiter;
    struct held unused;
    memset(&waiter, 0, sizeof waiter);
    waiter.deadline = tp_now() + (int64_t)ms * MS;
    waiter.patience_us = TP_NEVER;
    assert_int_equal(tp__pool_acquire(fake->pool, &waiter, err), TP_QUEUED);
    assert_int_equal(fake_wait(fake, &waiter, waiter.deadline, &unused, err), TP_REFUSED);
}

static void who_has_waited_for_half_of_its_time_leads_to_one_question_a_second(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_blocked blocked;
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    tp__pool_note_place(held.slot, "app.lua", 12);
    assert_int_equal(tp_pool_blocked(fake.pool, &blocked, 1), -1);
    atomic_store(&fake.blocked, fake_id(held));
    int64_t began = tp_now();
    time_out(&fake, 700, &err);
    assert_int_equal(fake.inquiries, 1);
    assert_int_equal(fake.opens, 2);
    assert_int_equal(fake_stats(&fake).total, 1);
    assert_int_equal(fake_stats(&fake).connects, 1);
    assert_int_equal(tp_pool_blocked(fake.pool, &blocked, 1), 1);
    assert_int_equal(blocked.by, 4711);
    assert_non_null(strstr(err.message,
                           "; backend 1 (in this pool, acquired at app.lua:12) waits for "
                           "a lock of backend 4711 (application without a name)"));
    time_out(&fake, 200, &err);
    assert_true(fake.inquiries == 1 || tp_now() - began > SECOND);
    assert_non_null(strstr(err.message, "waits for a lock"));
    time_out(&fake, 700, &err); /* half of it is over before it may be asked again */
    assert_true(fake.inquiries >= 2 && fake.inquiries <= 1 + (tp_now() - began) / SECOND);
    assert_int_equal(fake.opens, 2);
    fake_give(held, TP_FATE_KEEP);
    assert_int_equal(tp_pool_blocked(fake.pool, &blocked, 1), 0); /* it does not wait any more */
    fake_end(&fake);
}

static void nothing_is_asked_for_a_moments_wait_or_none_that_ends(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiter;
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    memset(&waiter, 0, sizeof waiter);
    waiter.deadline = waiter.patience_us = TP_NEVER;
    assert_int_equal(tp__pool_acquire(fake.pool, &waiter, &err), TP_QUEUED);
    for (int i = 0; i < 10; i++)
        time_out(&fake, 50, &err);
    assert_int_equal(fake.opens, 1);
    tp__pool_leave(fake.pool, &waiter);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_connection_for_those_who_wait_comes_first(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    atomic_store(&fake.hold_opens, true);
    time_out(&fake, 200, &err); /* another is being made */
    assert_int_equal(fake.opens, 2);
    assert_int_equal(fake.inquiries, 0);
    fake_say(&fake, &fake.hold_opens, false);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void that_it_cannot_be_asked_is_no_failure_of_the_pool(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_blocked blocked;
    struct tp_error err;
    for (int at_once = 0; at_once < 2; at_once++) {
        fake_start(&fake, &limits);
        struct held held = fake_take(&fake);
        atomic_store(&fake.fail_at_once, at_once == 1);
        atomic_store(&fake.fail_opens, -1);
        time_out(&fake, 700, &err);
        time_out(&fake, 200, &err);
        assert_int_equal(err.kind, TP_ERR_POOL_TIMEOUT);
        assert_int_equal(fake.failures, 1); /* the next try is later */
        assert_int_equal(fake_stats(&fake).connect_failures, 0);
        assert_int_equal(tp_pool_blocked(fake.pool, &blocked, 1), -1);
        fake_give(held, TP_FATE_KEEP);
        fake_end(&fake);
    }
}

static void its_connection_is_let_go_of_when_connections_cannot_be_made(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiter;
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    time_out(&fake, 700, &err);
    assert_int_equal(fake.alive, 2);
    atomic_store(&fake.fail_opens, -1);
    int64_t began = tp_now();
    fake_give(held, TP_FATE_CLOSE);
    fake_queue(&fake, &waiter);
    AWAIT(fake.alive == 0);
    assert_true(tp_now() - began < 5 * SECOND); /* else it is closed after ten */
    tp__pool_leave(fake.pool, &waiter);
    fake_end(&fake);
}

static void a_question_without_an_answer_is_given_up(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_blocked blocked;
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    atomic_store(&fake.hold_chores, true);
    time_out(&fake, 700, &err);
    assert_int_equal(tp_pool_blocked(fake.pool, &blocked, 1), -1);
    AWAIT(fake.closes == 1);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_child_closes_only_the_descriptor_of_it(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    time_out(&fake, 700, &err);
    AWAIT(fake.inquiries == 1);
    pid_t child = fork();
    if (child == 0) {
        (void)fake_stats(&fake);
        _exit(fake.forked_closes == 2 && fake.closes == 0 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_waited_for_half_of_its_time_leads_to_one_question_a_second),
        cmocka_unit_test(nothing_is_asked_for_a_moments_wait_or_none_that_ends),
        cmocka_unit_test(a_connection_for_those_who_wait_comes_first),
        cmocka_unit_test(that_it_cannot_be_asked_is_no_failure_of_the_pool),
        cmocka_unit_test(its_connection_is_let_go_of_when_connections_cannot_be_made),
        cmocka_unit_test(a_question_without_an_answer_is_given_up),
        cmocka_unit_test(a_child_closes_only_the_descriptor_of_it),
    };
    return cmocka_run_group_tests_name("pool: inquiry", tests, NULL, NULL);
}
