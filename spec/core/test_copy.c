/* COPY in the engine, over a real server. All of it runs twice, by tp_drive and stepped by
 * hand. */
#include "live_server.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------- driving */

static int wait_by_hand(tp_op *op)
{
    int events = tp_op_events(op);
    struct pollfd on = {.fd = tp_op_fd(op)};
    on.events =
        (short)(((events & TP_READ) != 0 ? POLLIN : 0) | ((events & TP_WRITE) != 0 ? POLLOUT : 0));
    if (on.fd < 0 || poll(&on, 1, 5) <= 0)
        return 0;
    return ((on.revents & ~POLLOUT) != 0 ? TP_READ : 0) |
           ((on.revents & POLLOUT) != 0 ? TP_WRITE : 0);
}

/* To the next step that is the caller's. */
static enum tp_step move(tp_op *op)
{
    int ready = 0;
    if (!live_by_hand)
        return tp_drive(op);
    for (int64_t deadline = tp_now() + 30 * 1000 * MS; tp_now() < deadline;) {
        enum tp_step step = tp_op_step(op, ready);
        if (step != TP_WAIT)
            return step;
        ready = wait_by_hand(op);
    }
    fail_msg("no step within 30 s");
    return TP_FAILED;
}

static enum tp_step begin(tp_op *op, const tp_lease *lease, struct tp_copy copy)
{
    if (copy.deadline == 0)
        copy.deadline = tp_deadline_in_ms(20000);
    tp_op_copy(op, lease, &copy);
    return move(op);
}
#define COPY(op, lease, ...) begin(op, lease, (struct tp_copy){__VA_ARGS__})

static enum tp_step put(tp_op *op, const char *text)
{
    tp_op_copy_data(op, text, strlen(text));
    return move(op);
}

/* Ends a COPY that has to succeed; returns the count. */
static long end(tp_op *op)
{
    tp_op_copy_end(op);
    if (move(op) != TP_RESULT)
        live_print_error(op);
    assert_string_equal(tp_op_command(op), "COPY");
    long count = (long)tp_op_count(op);
    assert_int_equal(move(op), TP_DONE);
    return count;
}

/* Takes rows until another step comes; the bytes go to *len, the number is returned. */
static long take_all(tp_op *op, enum tp_step *step, size_t *len)
{
    const char *data;
    size_t size;
    long count = 0;
    for (*len = 0, *step = TP_DATA; *step == TP_DATA; *step = move(op)) {
        for (; tp_op_copy_chunk(op, &data, &size); count++)
            *len += size;
    }
    return count;
}

static tp_pool *open_with_table(tp_op **op)
{
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    *op = tp_op_new(pool);
    assert_non_null(*op);
    DO(*op, NULL, .sql = "create temp table kept (id int, name text)");
    return pool;
}

static void close_pool(tp_pool *pool, tp_op *op)
{
    tp_op_free(op);
    tp_pool_release(pool);
}

/* -------------------------------------------------------------------- the way in */

static void data_is_stored_wherever_it_is_cut(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    assert_int_equal(COPY(op, NULL, .sql = "copy kept from stdin", .in = true), TP_SEND);
    assert_null(tp_op_columns(op));
    assert_int_equal(put(op, "1\to"), TP_SEND);
    assert_int_equal(put(op, ""), TP_SEND);
    assert_int_equal(put(op, "ne\n2\ttwo"), TP_SEND);
    assert_int_equal(put(op, "\n"), TP_SEND);
    assert_int_equal(move(op), TP_SEND); /* nothing given, nothing done */
    assert_int_equal(end(op), 2);
    assert_int_equal(live_value(op, NULL, "select sum(id * 10 + length(name)) from kept"), 36);
    assert_int_equal(live_stats(pool).queries, 3);
    close_pool(pool, op);
}

static void columns_are_described_or_listed_first(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    DO(op, NULL,
       .sql = "create temp table \"it's\" (a int, b int generated always as (a) stored, "
              "c text[])");
    const struct tp_copy copies[] = {
        {.sql = "copy kept(name) from stdin", .columns = "select name from kept", .in = true},
        {.sql = "copy \"it's\" from stdin", .table = "\"it's\"", .in = true},
    };
    assert_int_equal(begin(op, NULL, copies[0]), TP_SEND);
    assert_int_equal(tp_op_columns(op)->count, 1);
    assert_string_equal(tp_op_columns(op)->list[0].name, "name");
    assert_false(tp_op_rows_are_binary(op));
    assert_int_equal(end(op), 0);
    assert_int_equal(begin(op, NULL, copies[1]), TP_SEND);
    assert_int_equal(tp_op_columns(op)->count, 2);
    assert_string_equal(tp_op_columns(op)->list[1].name, "c");
    assert_int_equal(tp_op_columns(op)->list[1].type->oid, 1009);
    assert_int_equal(put(op, "5\t{x}\n"), TP_SEND);
    assert_int_equal(end(op), 1);
    assert_int_equal(live_value(op, NULL, "select b from \"it's\""), 5);
    assert_int_equal(live_value(op, NULL,
                                "select count(*) from pg_prepared_statements "
                                "where statement ~ '^select name'"),
                     0);
    close_pool(pool, op);
}

static void the_binary_format_is_taken_where_all_types_have_one(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    struct tp_copy copy = {.sql = "copy kept from stdin",
                           .binary_sql = "copy kept from stdin (format binary)",
                           .table = "kept",
                           .in = true};
    assert_int_equal(begin(op, NULL, copy), TP_SEND);
    assert_true(tp_op_rows_are_binary(op));
    static const char data[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0\0\2\0\0\0\4\0\0\0\7\377\377\377"
                               "\377\377\377";
    tp_op_copy_data(op, data, sizeof data - 1);
    assert_int_equal(move(op), TP_SEND);
    assert_int_equal(end(op), 1);
    DO(op, NULL, .sql = "alter table kept alter id type int4range using null");
    assert_int_equal(begin(op, NULL, copy), TP_SEND); /* none that could be sent */
    assert_false(tp_op_rows_are_binary(op));
    assert_int_equal(end(op), 0);
    copy = (struct tp_copy){.sql = "copy kept to stdout",
                            .binary_sql = "copy kept to stdout (format binary)",
                            .table = "kept"};
    assert_int_equal(begin(op, NULL, copy), TP_DATA); /* but they can be read */
    assert_true(tp_op_rows_are_binary(op));
    close_pool(pool, op);
}

static void what_is_failed_is_not_stored(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    struct tp_error why = {.kind = TP_ERR_VALIDATION, .message = "no more of it"};
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    for (int leased = 0; leased < 2; leased++) {
        tp_lease lease = live_acquire(op);
        const tp_lease *mine = leased != 0 ? &lease : NULL;
        if (leased == 0)
            live_release(&lease);
        assert_int_equal(COPY(op, mine, .sql = "copy kept from stdin", .in = true), TP_SEND);
        assert_int_equal(put(op, "1\tone\n2\tt"), TP_SEND);
        tp_op_copy_fail(op, &why);
        assert_int_equal(move(op), TP_FAILED);
        assert_string_equal(tp_op_error(op)->message, "no more of it");
        assert_string_equal(tp_op_error(op)->query, "copy kept from stdin");
        if (leased != 0)
            live_release(&lease);
        assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
        assert_int_equal(live_value(op, NULL, "select count(*) from kept"), 0);
    }
    close_pool(pool, op);
}

/* What the server says first counts, though the program has found something as well. */
static void the_servers_error_comes_before_the_programs(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    struct tp_error why = {.kind = TP_ERR_VALIDATION, .message = "no more of it"};
    assert_int_equal(COPY(op, NULL, .sql = "copy kept from stdin", .in = true), TP_SEND);
    tp_op_copy_data(op, "x\tone\n", 6);
    assert_int_equal(tp_op_step(op, 0), TP_SEND);
    fake_breathe();
    tp_op_copy_fail(op, &why);
    assert_int_equal(move(op), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "22P02");
    assert_non_null(strstr(tp_op_error(op)->where, "COPY kept, line 1"));
    close_pool(pool, op);
}

static void an_error_of_the_server_ends_an_endless_source(void **state)
{
    (void)state;
    enum { LARGE = 300 * 1000 };
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    char *large = malloc(LARGE + 1);
    assert_non_null(large);
    for (int i = 0; i < LARGE; i += 6)
        memcpy(large + i, "1\tabc\n", 7);
    const char *const chunks[] = {"1\tone\n", large};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(COPY(op, NULL, .sql = "copy kept from stdin", .in = true), TP_SEND);
        assert_int_equal(put(op, large), TP_SEND);
        enum tp_step step = put(op, "2\tno\tgood\n");
        while (step == TP_SEND)
            step = put(op, chunks[i]);
        assert_int_equal(step, TP_FAILED);
        assert_string_equal(tp_op_error(op)->code, "22P04");
        assert_int_equal(live_value(op, NULL, "select count(*) from kept"), 0);
    }
    free(large);
    close_pool(pool, op);
}

/* A message that was begun when the deadline came is brought to an end by whoever mends the
 * connection, without the caller's memory. */
static void a_late_copy_leaves_a_connection_that_is_mended(void **state)
{
    (void)state;
    enum { LARGE = 4 * 1000 * 1000 };
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    for (int leased = 0; leased < 2; leased++) {
        char *large = calloc(1, LARGE);
        assert_non_null(large);
        memset(large, '\n', LARGE - 1);
        memcpy(large, "1\tone\n", 6);
        tp_lease lease = live_acquire(op);
        const tp_lease *mine = leased != 0 ? &lease : NULL;
        if (leased == 0)
            live_release(&lease);
        assert_int_equal(COPY(op, mine, .in = true, .deadline = tp_deadline_in_ms(150),
                              .sql = "copy kept from stdin where pg_sleep(1) is not null"),
                         TP_SEND);
        assert_int_equal(put(op, large), TP_FAILED);
        assert_int_equal(tp_op_error(op)->kind, TP_ERR_TIMEOUT);
        memset(large, 'x', LARGE - 1);
        free(large);
        if (leased != 0)
            live_release(&lease);
        assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
        assert_int_equal(live_value(op, NULL, "select count(*) from kept"), 0);
    }
    close_pool(pool, op);
}

static void a_program_that_is_late_has_stored_nothing(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    assert_int_equal(COPY(op, NULL, .sql = "copy kept from stdin", .in = true,
                          .deadline = tp_deadline_in_ms(30)),
                     TP_SEND);
    assert_int_equal(put(op, "1\tone\n"), TP_SEND);
    while (tp_now() <= tp_op_deadline(op))
        fake_breathe();
    assert_int_equal(put(op, "2\ttwo\n"), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_TIMEOUT);
    assert_int_equal(live_value(op, NULL, "select count(*) from kept"), 0);
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    close_pool(pool, op);
}

static void a_copy_that_is_abandoned_costs_its_connection(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    DO(op, NULL, .sql = "create table if not exists abandoned (id int)");
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    assert_int_equal(COPY(op, NULL, .sql = "copy abandoned from stdin", .in = true), TP_SEND);
    assert_int_equal(put(op, "1\n2\n"), TP_SEND);
    tp_op_abandon(op);
    assert_true(live_value(op, NULL, "select pg_backend_pid()") != pid);
    assert_int_equal(COPY(op, NULL, .sql = "copy (select 1) to stdout"), TP_DATA);
    tp_op_free(op);
    op = tp_op_new(pool);
    assert_int_equal(live_value(op, NULL, "select count(*) from abandoned"), 0);
    DO(op, NULL, .sql = "drop table abandoned");
    close_pool(pool, op);
}

/* ------------------------------------------------------------------- the way out */

static void rows_come_one_by_one(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    const char *data;
    size_t len;
    enum tp_step step;
    assert_int_equal(COPY(op, NULL, .sql = "copy (values (1, 'x'), (2, null)) to stdout",
                          .columns = "values (1, 'x')"),
                     TP_DATA);
    assert_int_equal(tp_op_columns(op)->count, 2);
    while (!tp_op_copy_chunk(op, &data, &len))
        assert_int_equal(move(op), TP_DATA);
    assert_int_equal(len, 4);
    assert_memory_equal(data, "1\tx\n", 4);
    assert_int_equal(take_all(op, &step, &len), 1);
    assert_int_equal(len, 5);
    assert_int_equal(step, TP_RESULT);
    assert_int_equal(tp_op_count(op), 2);
    assert_int_equal(move(op), TP_DONE);
    assert_false(tp_op_copy_chunk(op, &data, &len));
    close_pool(pool, op);
}

static void rows_that_are_left_come_with_the_next_step(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    const char *data;
    size_t len;
    long count = 0;
    enum tp_step step = COPY(op, NULL, .sql = "copy (select generate_series(1, 50000)) to stdout");
    for (; step == TP_DATA; step = move(op))
        count += tp_op_copy_chunk(op, &data, &len); /* one of those that are there */
    assert_int_equal(step, TP_RESULT);
    assert_int_equal(count, 50000);
    close_pool(pool, op);
}

static void an_error_after_rows_is_an_error(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    enum tp_step step;
    size_t len;
    assert_int_equal(
        COPY(op, NULL, .sql = "copy (select 1 / (9 - g) from generate_series(1, 20) g) to stdout"),
        TP_DATA);
    assert_int_equal(take_all(op, &step, &len), 8);
    assert_int_equal(step, TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "22012");
    assert_int_equal(tp_op_attempts(op), 1);
    close_pool(pool, op);
}

static void a_copy_that_is_stopped_leaves_its_connection(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    for (int leased = 0; leased < 2; leased++) {
        tp_lease lease = live_acquire(op);
        if (leased == 0)
            live_release(&lease);
        assert_int_equal(COPY(op, leased != 0 ? &lease : NULL,
                              .sql = "copy (select generate_series(1, 20000000)) to stdout"),
                         TP_DATA);
        tp_op_stop(op);
        assert_int_equal(move(op), TP_DONE);
        if (leased != 0) {
            assert_int_equal(live_value(op, &lease, "select 5"), 5);
            live_release(&lease);
        }
        assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    }
    close_pool(pool, op);
}

/* ------------------------------------------------------------------------ mistakes */

static void what_is_no_such_copy_is_refused(void **state)
{
    (void)state;
    tp_op *op;
    tp_pool *pool = open_with_table(&op);
    assert_int_equal(COPY(op, NULL, .sql = "copy kept to stdout", .in = true), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_VALIDATION);
    DO(op, NULL, .sql = "create temp table kept (id int, name text)"); /* it took the first */
    assert_int_equal(COPY(op, NULL, .sql = "copy kept from stdin"), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_VALIDATION);
    assert_int_equal(
        COPY(op, NULL, .sql = "copy kept from stdin", .columns = "set a.b = ''", .in = true),
        TP_FAILED);
    assert_non_null(strstr(tp_op_error(op)->message, "has no columns"));
    assert_int_equal(COPY(op, NULL, .sql = "copy kept from stdin",
                          .columns = "select name from kept", .in = true),
                     TP_FAILED);
    assert_non_null(strstr(tp_op_error(op)->message, "2 columns where 1"));
    assert_int_equal(
        COPY(op, NULL, .sql = "copy kept to stdout", .columns = "select name from kept"),
        TP_FAILED);
    assert_non_null(strstr(tp_op_error(op)->message, "2 columns where 1"));
    assert_int_equal(
        COPY(op, NULL, .sql = "copy nothing from stdin", .columns = "select x.y", .in = true),
        TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "42P01");
    assert_int_equal(tp_op_error(op)->position, 0);
    assert_int_equal(live_value(op, NULL, "select count(*) from kept"), 0);
    close_pool(pool, op);
}

static void a_connection_that_was_dead_before_is_replaced(void **state)
{
    (void)state;
    const struct tp_copy copies[] = {
        {.sql = "copy kept from stdin", .in = true},
        {.sql = "copy kept from stdin", .table = "kept", .in = true},
        {.sql = "copy kept from stdin", .columns = "select * from kept", .in = true},
    };
    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++) {
        tp_op *op;
        tp_pool *pool = open_with_table(&op);
        live_terminate((int)live_value(op, NULL, "select pg_backend_pid()"));
        /* On the new one there is no such table, which shows that it was asked. */
        assert_int_equal(begin(op, NULL, copies[i]), TP_FAILED);
        assert_string_equal(tp_op_error(op)->code, "42P01");
        close_pool(pool, op);
    }
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_is_stored_wherever_it_is_cut),
        cmocka_unit_test(columns_are_described_or_listed_first),
        cmocka_unit_test(the_binary_format_is_taken_where_all_types_have_one),
        cmocka_unit_test(what_is_failed_is_not_stored),
        cmocka_unit_test(the_servers_error_comes_before_the_programs),
        cmocka_unit_test(an_error_of_the_server_ends_an_endless_source),
        cmocka_unit_test(a_late_copy_leaves_a_connection_that_is_mended),
        cmocka_unit_test(a_program_that_is_late_has_stored_nothing),
        cmocka_unit_test(a_copy_that_is_abandoned_costs_its_connection),
        cmocka_unit_test(rows_come_one_by_one),
        cmocka_unit_test(rows_that_are_left_come_with_the_next_step),
        cmocka_unit_test(an_error_after_rows_is_an_error),
        cmocka_unit_test(a_copy_that_is_stopped_leaves_its_connection),
        cmocka_unit_test(what_is_no_such_copy_is_refused),
        cmocka_unit_test(a_connection_that_was_dead_before_is_replaced),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    if (!live_is_there())
        return 0;
    int failed = run("copy, driven");
    live_by_hand = true;
    return failed + run("copy, by hand");
}
