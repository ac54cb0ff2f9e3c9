/* What a pool tells people: why nobody was served, its events and its state. */
#include "fake_pool.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "pool_report.h"

static bool says(const struct tp_error *err, const char *part)
{
    if (strstr(err->message, part) != NULL)
        return true;
    print_error("\"%s\" is not in: %s\n", part, err->message);
    return false;
}

/* Waits in vain for a moment. */
static void time_out(struct fake *fake, const char *sql, struct tp_error *err)
{
    struct tp_waiter waiter;
    struct held unused;
    memset(&waiter, 0, sizeof waiter);
    waiter.sql = sql;
    waiter.sql_len = sql != NULL ? strlen(sql) : 0;
    assert_int_equal(tp__pool_acquire(fake->pool, &waiter, err), TP_QUEUED);
    int64_t deadline = tp_now() + 5 * MS;
    assert_int_equal(fake_wait(fake, &waiter, deadline, &unused, err), TP_REFUSED);
}

/* ------------------------------------------------------------- explanations */

static void a_timeout_tells_who_holds_the_connections(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held[2] = {fake_take(&fake), fake_take(&fake)};
    tp__pool_note_place(held[0].slot, "handlers/orders.lua", 42);
    tp__note_write(&held[0].slot->sql, "select sum(total) from orders", 29);
    tp__pool_note_place(held[1].slot, "jobs/mail.lua", 7);
    atomic_store(&held[1].slot->tx_state, TP_TX_OPEN);
    pthread_mutex_lock(&fake.pool->lock);
    held[1].slot->acquired_at -= 61500 * MS;
    pthread_mutex_unlock(&fake.pool->lock);
    time_out(&fake, NULL, &err);
    assert_int_equal(err.kind, TP_ERR_POOL_TIMEOUT);
    assert_true(err.retryable);
    assert_true(says(&err, "no connection came free within "));
    assert_true(says(&err, "max 2: 2 in use, 0 connecting, 0 being mended; 1 waiting"));
    assert_true(
        says(&err, "held for 0.0 s by handlers/orders.lua:42: select sum(total) from orders"));
    assert_true(says(&err, "held for 61.5 s by jobs/mail.lua:7, in a transaction"));
    /* the longest first: that is where the leak is */
    assert_true(strstr(err.message, "jobs/mail.lua") < strstr(err.message, "handlers/orders.lua"));
    atomic_store(&held[1].slot->tx_state, TP_TX_FAILED);
    time_out(&fake, NULL, &err);
    assert_true(says(&err, "jobs/mail.lua:7, in a failed transaction"));
    fake_give(held[0], TP_FATE_KEEP);
    fake_give(held[1], TP_FATE_KEEP);
    fake_end(&fake);
}

static void the_sql_of_a_waiter_becomes_that_of_the_holder(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiter;
    struct tp_error err;
    struct held next;
    static const char sql[] = "select pg_sleep(60)";
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    tp__pool_note_place(held.slot, "first.lua", 1);
    memset(&waiter, 0, sizeof waiter);
    waiter.sql = sql;
    waiter.sql_len = sizeof sql - 1;
    assert_int_equal(tp__pool_acquire(fake.pool, &waiter, &err), TP_QUEUED);
    fake_give(held, TP_FATE_KEEP);
    assert_true(fake_served(&fake, &waiter, &next));
    time_out(&fake, NULL, &err);
    assert_true(says(&err, ": select pg_sleep(60)"));
    assert_null(strstr(err.message, "first.lua")); /* that was the one before */
    fake_give(next, TP_FATE_KEEP);
    fake_end(&fake);
}

/* The one before left a transaction open, which was rolled back in between. */
static void a_new_holder_is_not_blamed_for_the_last_ones_transaction(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    atomic_store(&held.slot->tx_state, TP_TX_OPEN);
    fake_give(held, TP_FATE_RESET);
    held = fake_take(&fake);
    time_out(&fake, NULL, &err);
    assert_true(says(&err, "held for 0.0 s"));
    assert_null(strstr(err.message, "in a transaction"));
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void of_many_holders_the_first_five_are_told(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 8);
    struct held held[8];
    struct tp_error err;
    int told = 0;
    fake_start(&fake, &limits);
    for (int i = 0; i < 8; i++)
        held[i] = fake_take(&fake);
    time_out(&fake, NULL, &err);
    for (const char *at = err.message; (at = strstr(at, "held for")) != NULL; at++)
        told++;
    assert_int_equal(told, 5);
    assert_true(says(&err, "; and 3 more"));
    for (int i = 0; i < 8; i++)
        fake_give(held[i], TP_FATE_KEEP);
    fake_end(&fake);
}

/* Long texts of the borrower's are cut at a character, wherever the cut falls. */
static void an_explanation_is_valid_utf8_whatever_the_borrowers_say(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 5);
    struct held held[5];
    struct tp_error err;
    char sql[200], place[100];
    fake_start(&fake, &limits);
    for (int i = 0; i < 5; i++)
        held[i] = fake_take(&fake);
    for (size_t shift = 0; shift < 8; shift++) {
        memset(sql, 'x', shift);
        for (size_t i = shift; i + 4 <= sizeof sql; i += 4)
            memcpy(sql + i, "\xf0\x9f\x90\x98", 4);
        for (size_t i = 0; i + 4 <= sizeof place; i += 2)
            memcpy(place + i, "\xc3\xa9", 3);
        for (int i = 0; i < 5; i++) {
            tp__note_write(&held[i].slot->sql, sql, sizeof sql - 4);
            tp__pool_note_place(held[i].slot, place, 1);
            atomic_store(&held[i].slot->tx_state, TP_TX_FAILED);
        }
        time_out(&fake, NULL, &err);
        assert_true(tp_utf8_valid(err.message, strlen(err.message)));
    }
    tp__note_write(&held[0].slot->sql, "a\0b\xff\x01", 5);
    tp__pool_note_place(held[0].slot, "a\xff\nb", 1);
    time_out(&fake, NULL, &err);
    assert_true(tp_utf8_valid(err.message, strlen(err.message)));
    for (int i = 0; i < 5; i++)
        fake_give(held[i], TP_FATE_KEEP);
    fake_end(&fake);
}

static void a_caller_who_blocks_itself_hears_what_it_holds(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    tp__pool_note_place(held.slot, "nested.lua", 3);
    tp__report_self_blocked(fake.pool, &err);
    assert_int_equal(err.kind, TP_ERR_BUSY);
    assert_true(says(&err, "nested.lua:3"));
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void without_a_server_the_timeout_says_why_there_is_none(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    struct tp_error err;
    fake_start(&fake, &limits);
    atomic_store(&fake.fail_opens, -1);
    struct tp_waiter waiter;
    struct held unused;
    fake_queue(&fake, &waiter);
    AWAIT(fake_stats(&fake).connect_failures >= 2);
    assert_int_equal(fake_wait(&fake, &waiter, tp_now(), &unused, &err), TP_REFUSED);
    assert_int_equal(err.kind, TP_ERR_CONNECTION);
    assert_string_equal(err.message, "could not connect: scripted");
    assert_true(err.retryable);
    assert_true(err.attempts >= 2);
    fake_end(&fake);
}

static void an_unconfigured_pool_refuses_at_once_and_says_what_to_do(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(2, 2);
    struct tp_waiter waiter;
    struct tp_error err;
    fake_start(&fake, &limits);
    fake.pool->configured = false;
    memset(&waiter, 0, sizeof waiter);
    assert_int_equal(tp__pool_acquire(fake.pool, &waiter, &err), TP_REFUSED);
    assert_int_equal(err.kind, TP_ERR_NOT_CONFIGURED);
    assert_true(says(&err, "DATABASE_URL"));
    assert_int_equal(tp_pool_get_state(fake.pool, NULL, NULL), TP_POOL_UNCONFIGURED);
    assert_int_equal(fake.opens, 0);
    fake_end(&fake);
}

/* ------------------------------------------------------------ state, events */

static void the_state_follows_what_is_known_of_the_server(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_error err;
    uint64_t failures = 99;
    fake_start(&fake, &limits);
    assert_int_equal(tp_pool_get_state(fake.pool, &failures, &err), TP_POOL_STARTING);
    assert_int_equal(failures, 0);
    assert_int_equal(err.kind, TP_OK);
    struct tp_waiter waiter;
    struct held held;
    atomic_store(&fake.fail_opens, -1);
    fake_queue(&fake, &waiter);
    AWAIT(tp_pool_get_state(fake.pool, &failures, &err) == TP_POOL_UNREACHABLE && failures > 1);
    assert_int_equal(err.kind, TP_ERR_CONNECTION);
    atomic_store(&fake.fail_opens, 0);
    AWAIT(fake_served(&fake, &waiter, &held));
    assert_int_equal(tp_pool_get_state(fake.pool, &failures, &err), TP_POOL_CONNECTED);
    assert_int_equal(failures, 0);
    fake_give(held, TP_FATE_CLOSE);
    AWAIT(fake.alive == 0);
    /* It has shrunk to nothing, but the server was fine when last heard of. */
    AWAIT(tp_pool_get_state(fake.pool, NULL, NULL) == TP_POOL_CONNECTED);
    tp_pool_close(fake.pool);
    assert_int_equal(tp_pool_get_state(fake.pool, NULL, NULL), TP_POOL_CLOSED);
    fake_end(&fake);
}

static void the_events_tell_the_life_of_a_pool(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_event event;
    fake_start(&fake, &limits);
    assert_false(tp_pool_has_events(fake.pool));
    assert_false(tp_pool_next_event(fake.pool, &event, NULL));
    atomic_store(&fake.server_gone, true);
    atomic_store(&fake.fail_opens, 2);
    struct held held = fake_take(&fake);
    for (int attempt = 1; attempt <= 2; attempt++) {
        fake_next_event(&fake, TP_EVENT_ERROR, &event);
        assert_int_equal(event.attempt, attempt);
        assert_string_equal(event.code, "57P03");
        assert_string_equal(event.text, "could not connect: scripted");
        assert_true(event.wall_us > INT64_C(1700000000) * 1000000);
    }
    fake_next_event(&fake, TP_EVENT_CONNECT, &event);
    assert_int_equal(event.backend_pid, 3);
    fake_next_event(&fake, TP_EVENT_STATE, &event);
    assert_string_equal(event.text, "connected");
    fake_give(held, TP_FATE_CLOSE);
    fake_next_event(&fake, TP_EVENT_REMOVE, &event);
    assert_int_equal(event.backend_pid, 3);
    assert_string_equal(event.text, "discarded");
    tp_pool_close(fake.pool);
    fake_next_event(&fake, TP_EVENT_STATE, &event);
    assert_string_equal(event.text, "closed");
    assert_false(tp_pool_has_events(fake.pool));
    fake_end(&fake);
}

static void a_change_of_state_is_told_once(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_event event;
    static const char *const expected[] = {"unreachable", "connected", "draining", "closed"};
    size_t next = 0;
    struct tp_error err;
    fake_start(&fake, &limits);
    atomic_store(&fake.fail_opens, 4);
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    assert_int_equal(tp_pool_drain(fake.pool, tp_now(), &err), TP_OK);
    while (tp_pool_next_event(fake.pool, &event, NULL)) {
        if (event.type == TP_EVENT_STATE) {
            assert_true(next < 4);
            assert_string_equal(event.text, expected[next++]);
        }
    }
    assert_int_equal(next, 4);
    fake_end(&fake);
}

static void a_retry_outside_of_the_engine_is_counted_and_told(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_event event;
    fake_start(&fake, &limits);
    assert_true(tp_pool_take_retry(fake.pool, 2, "40P01", "deadlock_detected"));
    assert_true(tp_pool_has_events(fake.pool));
    fake_next_event(&fake, TP_EVENT_RETRY, &event);
    assert_int_equal(event.attempt, 2);
    assert_string_equal(event.code, "40P01");
    assert_string_equal(event.text, "deadlock_detected");
    assert_int_equal(fake_stats(&fake).retries, 1);
    assert_true(tp_pool_take_retry(fake.pool, 1, NULL, "lost"));
    fake_next_event(&fake, TP_EVENT_RETRY, &event);
    assert_string_equal(event.code, "");
    fake_end(&fake);
}

static void every_reason_and_state_has_a_word(void **state)
{
    (void)state;
    for (int i = 0; i < TP_CLOSE_REASONS; i++)
        assert_true(strlen(tp_close_reason_name((enum tp_close_reason)i)) > 3);
    for (int i = 0; i <= TP_POOL_CLOSED; i++)
        assert_true(strlen(tp_pool_state_name((enum tp_pool_state)i)) > 3);
    for (int i = 0; i <= TP_EVENT_ROLLBACK; i++)
        assert_true(strlen(tp_event_name((enum tp_event_type)i)) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timeout_tells_who_holds_the_connections),
        cmocka_unit_test(the_sql_of_a_waiter_becomes_that_of_the_holder),
        cmocka_unit_test(a_new_holder_is_not_blamed_for_the_last_ones_transaction),
        cmocka_unit_test(of_many_holders_the_first_five_are_told),
        cmocka_unit_test(an_explanation_is_valid_utf8_whatever_the_borrowers_say),
        cmocka_unit_test(a_caller_who_blocks_itself_hears_what_it_holds),
        cmocka_unit_test(without_a_server_the_timeout_says_why_there_is_none),
        cmocka_unit_test(an_unconfigured_pool_refuses_at_once_and_says_what_to_do),
        cmocka_unit_test(the_state_follows_what_is_known_of_the_server),
        cmocka_unit_test(the_events_tell_the_life_of_a_pool),
        cmocka_unit_test(a_change_of_state_is_told_once),
        cmocka_unit_test(a_retry_outside_of_the_engine_is_counted_and_told),
        cmocka_unit_test(every_reason_and_state_has_a_word),
    };
    return cmocka_run_group_tests_name("pool: reports", tests, NULL, NULL);
}
