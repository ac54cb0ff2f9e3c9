/* Rows over a real server, by every way that they can take: read from the socket itself, by
 * libpq as a whole or one by one, as text or binary. All of it runs twice, by tp_drive and
 * stepped by hand. */
#include "live_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conn_impl.h"
#include "op_impl.h"

/* ---------------------------------------------------------------------- flows */

/* What came of a question when each row is looked at and let go. */
struct flow {
    int64_t rows, bytes;
    uint64_t digest; /* of all cells */
    int row_steps, results;
    char command[64];
    int64_t count;
};

static void add_row(struct flow *flow, const struct tp_row *row)
{
    flow->rows++;
    flow->bytes += (int64_t)row->len;
    for (size_t i = 0; i < row->len; i++)
        flow->digest = (flow->digest ^ row->cells[i]) * 0x100000001b3u;
}

static enum tp_step run_flow(tp_op *op, struct ask *ask, struct flow *flow)
{
    enum tp_step step;
    struct tp_row row;
    memset(flow, 0, sizeof *flow);
    while ((step = live_move(op, ask)) == TP_ROWS || step == TP_RESULT) {
        if (step == TP_ROWS) {
            flow->row_steps++;
            while (tp_op_next_row(op, &row))
                add_row(flow, &row);
            assert_false(tp_op_next_row(op, &row));
            continue;
        }
        flow->results++;
        flow->count = tp_op_count(op);
        snprintf(flow->command, sizeof flow->command, "%s", tp_op_command(op));
        assert_false(tp_op_next_row(op, &row));
    }
    return step;
}

static struct flow flow_of(tp_op *op, const tp_lease *lease, struct ask ask)
{
    struct flow flow;
    live_begin(op, lease, &ask);
    if (run_flow(op, &ask, &flow) != TP_DONE) {
        live_print_error(op);
        fail_msg("%s", ask.sql);
    }
    return flow;
}
#define FLOW(op, lease, ...) flow_of(op, lease, (struct ask){__VA_ARGS__})

/* A digest of all texts of a result. */
static uint64_t digest_texts(const struct live_result *result)
{
    uint64_t digest = 0;
    for (size_t row = 0; row < result->nrows; row++) {
        for (int i = 0; i < result->ncolumns; i++) {
            size_t len = 0;
            const char *text = live_result_text(result, row, i, &len);
            digest = (digest ^ (text == NULL) ^ (len << 8)) * 0x100000001b3u;
            for (size_t k = 0; text != NULL && k < len; k++)
                digest = (digest ^ (unsigned char)text[k]) * 0x100000001b3u;
        }
    }
    return digest;
}

/* --------------------------------------------------------------------- all ways */

/* The ways that rows can take. */
static const struct way {
    const char *name, *setting;
    struct ask how;
    bool binary;
    bool aside; /* as over TLS */
} ways[] = {
    {"from the socket", "prepare=true", {.sql = NULL}, true, false},
    {"from the socket, bounded", "prepare=true", {.max_rows = 1 << 30}, true, false},
    {"as a stream", "prepare=true", {.stream = true}, true, false},
    {"by libpq", "prepare=false", {.sql = NULL}, true, false},
    {"by libpq, one by one", "prepare=false", {.max_rows = 1 << 30}, true, false},
    {"as a script", "prepare=true", {.simple = true}, false, false},
    {"by libpq, prepared", "prepare=true", {.sql = NULL}, true, true},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* To be called before each question: a connection is not read from the socket once libpq has
 * read from it aside. */
static void keep_to(const struct way *way, tp_pool *pool)
{
    for (int i = 0; way->aside && i < pool->limits.max; i++) {
        if (pool->slots[i].connection != NULL)
            ((struct tp_conn *)pool->slots[i].connection)->read_aside = true;
    }
}

static void rows_are_the_same_by_every_way(void **state)
{
    (void)state;
    static const int sizes[] = {0, 1, 2, 700, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t digest = 0;
        char sql[300];
        snprintf(sql, sizeof sql,
                 "select g, 'row ' || g, case when g %% 3 = 0 then null else g / 7.0 end, "
                 "g * 1.5::float8, g %% 2 = 0, date '2000-01-01' + g %% 30000, "
                 "repeat('x', g %% 50) from generate_series(1, %d) g",
                 sizes[i]);
        for (int way = 0; way < WAYS; way++) {
            tp_pool *pool = LIVE_OPEN(ways[way].setting);
            tp_op *op = tp_op_new(pool);
            struct ask ask = ways[way].how;
            ask.sql = sql;
            for (int again = sizes[i] > 1000; again < 2; again++) {
                keep_to(&ways[way], pool);
                live_ask(op, NULL, ask);
                const struct live_result *result = live_result(op);
                assert_int_equal(result->nrows, sizes[i]);
                assert_int_equal(result->ncolumns, 7);
                assert_int_equal(result->count, sizes[i]);
                assert_string_equal(result->command, "SELECT");
                if (sizes[i] > 0)
                    assert_int_equal(result->binary, ways[way].binary);
                uint64_t now = digest_texts(result);
                digest = digest == 0 ? now : digest;
                if (now != digest)
                    fail_msg("%d rows %s differ", sizes[i], ways[way].name);
            }
            tp_op_free(op);
            tp_pool_release(pool);
        }
    }
}

static void rows_may_be_very_large_by_every_way(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 8192, 3000000, 0, 131072, 100000, 1048576, 7};
    for (int way = 0; way < WAYS; way++) {
        tp_pool *pool = LIVE_OPEN(ways[way].setting);
        tp_op *op = tp_op_new(pool);
        struct ask ask = ways[way].how;
        ask.sql = "select n, repeat('y', n) from unnest('{1,8192,3000000,0,131072,100000,1048576,"
                  "7}'::int[]) n";
        live_ask(op, NULL, ask);
        const struct live_result *result = live_result(op);
        assert_int_equal(result->nrows, 8);
        for (size_t i = 0; i < 8; i++) {
            size_t len = 0;
            const char *text = live_result_text(result, i, 1, &len);
            assert_int_equal(len, sizes[i]);
            assert_true(len == 0 || (text[0] == 'y' && text[len - 1] == 'y'));
        }
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

static void rows_that_are_not_taken_are_dropped(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        tp_pool *pool = LIVE_OPEN(ways[way].setting);
        tp_op *op = tp_op_new(pool);
        struct tp_row row;
        for (int taken = 0; taken < 2; taken++) {
            struct ask ask = ways[way].how;
            int results = 0;
            enum tp_step step;
            ask.sql = "select g, 'x' from generate_series(1, 20000) g";
            keep_to(&ways[way], pool);
            live_begin(op, NULL, &ask);
            while ((step = live_move(op, &ask)) == TP_ROWS || step == TP_RESULT) {
                if (step == TP_ROWS && taken == 1)
                    assert_true(tp_op_next_row(op, &row));
                if (step == TP_RESULT) {
                    assert_int_equal(tp_op_count(op), 20000);
                    results++;
                }
            }
            assert_int_equal(step, TP_DONE);
            assert_int_equal(results, 1);
        }
        assert_int_equal(live_value(op, NULL, "select 5"), 5);
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

static void statements_without_rows_have_no_columns(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *command;
        int count, columns, rows;
    } cases[] = {
        {"create temp table r (i int)", "CREATE TABLE", 0, 0, 0},
        {"insert into r select generate_series(1, 5)", "INSERT", 5, 0, 0},
        {"insert into r values (6), (7) returning i", "INSERT", 2, 1, 2},
        {"update r set i = i + 1 where i > 5", "UPDATE", 2, 0, 0},
        {"delete from r where i > 100 returning i, 1", "DELETE", 0, 2, 0},
        {"with a as (delete from r where i = 1 returning i) select i from a", "SELECT", 1, 1, 1},
        {"select", "SELECT", 1, 0, 1},
        {"select from r", "SELECT", 6, 0, 6},
        {"values (1, 2), (3, 4)", "SELECT", 2, 2, 2},
        {"table r", "SELECT", 6, 1, 6},
        {"show timezone", "SHOW", 0, 1, 1},
        {"explain select 1", "EXPLAIN", 0, 1, 1},
        {"set application_name = 'rows'", "SET", 0, 0, 0},
        {"drop table r", "DROP TABLE", 0, 0, 0},
    };
    tp_pool *pool = LIVE_OPEN("prepare=true"), *unprepared = LIVE_OPEN("prepare=false");
    tp_op *ops[2] = {tp_op_new(pool), tp_op_new(unprepared)};
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        tp_op *op = ops[i % 2];
        DO(op, NULL, .sql = cases[i / 2].sql);
        const struct live_result *result = live_result(op);
        assert_string_equal(result->command, cases[i / 2].command);
        assert_int_equal(result->count, cases[i / 2].count);
        assert_int_equal(result->ncolumns, cases[i / 2].columns);
        assert_int_equal(result->nrows, cases[i / 2].rows);
        assert_null(result->next);
    }
    for (int i = 0; i < 2; i++)
        tp_op_free(ops[i]);
    tp_pool_release(pool);
    tp_pool_release(unprepared);
}

static void there_may_be_as_many_columns_as_the_server_allows(void **state)
{
    (void)state;
    enum { COLUMNS = 1664 };
    struct tp_buf sql = {0};
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    for (int i = 0; i < COLUMNS; i++)
        tp__buf_printf(&sql, "%s %d as c%d", i == 0 ? "select" : ",", i, i);
    for (int round = 0; round < 2; round++) {
        DO(op, NULL, .sql = tp__buf_cstr(&sql));
        assert_int_equal(live_result(op)->ncolumns, COLUMNS);
        assert_string_equal(live_result(op)->columns[COLUMNS - 1].name, "c1663");
        assert_string_equal(live_result_text(live_result(op), 0, COLUMNS - 1, NULL), "1663");
    }
    tp__buf_free(&sql);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* ------------------------------------------------------------- between the rows */

static void notices_between_rows_become_events(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        struct tp_event event;
        tp_pool *pool = LIVE_OPEN(ways[way].setting);
        tp_op *op = tp_op_new(pool);
        struct ask ask = ways[way].how;
        DO(op, NULL, .simple = true,
           .sql = "create or replace function rows_says(i int) returns int language plpgsql as $$ "
                  "begin if i % 5000 = 0 then raise warning 'row %', i; end if; return i; end $$");
        while (live_event(pool, TP_EVENT_NOTICE, &event)) {
        }
        ask.sql = "select rows_says(g), repeat('x', 20) from generate_series(1, 20000) g";
        struct flow flow = flow_of(op, NULL, ask);
        assert_int_equal(flow.rows, 20000);
        assert_int_equal(flow.count, 20000);
        for (int i = 5000; i <= 20000; i += 5000) {
            char text[32];
            snprintf(text, sizeof text, "row %d", i);
            assert_true(live_event(pool, TP_EVENT_NOTICE, &event));
            assert_string_equal(event.text, text);
            assert_string_equal(event.code, "01000");
            assert_true(event.backend_pid > 0);
        }
        assert_false(live_event(pool, TP_EVENT_NOTICE, &event));
        DO(op, NULL, .sql = "drop function rows_says");
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

static void an_error_between_rows_leaves_the_connection_as_it_was(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        tp_pool *pool = LIVE_OPEN(ways[way].setting);
        tp_op *op = tp_op_new(pool);
        struct ask ask = ways[way].how;
        struct flow flow;
        long pid = live_value(op, NULL, "select pg_backend_pid()");
        ask.sql = "select 1 / (g - 50000), g from generate_series(1, 100000) g";
        for (int i = 0; i < 2; i++) {
            keep_to(&ways[way], pool);
            live_begin(op, NULL, &ask);
            assert_int_equal(run_flow(op, &ask, &flow), TP_FAILED);
            assert_int_equal(tp_op_error(op)->kind, TP_ERR_DATABASE);
            assert_string_equal(tp_op_error(op)->code, "22012");
            assert_int_equal(tp_op_error(op)->attempts, 1);
            assert_int_equal(flow.results, 0);
            assert_true(flow.rows < 50000);
            assert_true(flow.rows > 10000 || !ways[way].how.stream);
            assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
        }
        tp_lease lease = live_acquire(op);
        DO(op, &lease, .sql = "begin");
        live_begin(op, &lease, &ask);
        assert_int_equal(run_flow(op, &ask, &flow), TP_FAILED);
        assert_int_equal(tp_lease_transaction(&lease), TP_TX_FAILED);
        DO(op, &lease, .sql = "rollback");
        assert_int_equal(tp_lease_transaction(&lease), TP_TX_IDLE);
        live_release(&lease);
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

/* With many rows sent before: the answer is 8 KB long before it begins to come. */
static const char slow_rows[] =
    "select g, repeat('x', 9000), pg_sleep(0.02) from generate_series(1, 1000) g";

static void a_deadline_between_rows_costs_no_connection(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        tp_pool *pool = LIVE_OPEN(ways[way].setting);
        tp_op *op = tp_op_new(pool);
        struct ask ask = ways[way].how;
        struct flow flow;
        long pid = live_value(op, NULL, "select pg_backend_pid()");
        ask.sql = slow_rows;
        ask.ms = 150;
        int64_t began = tp_now();
        live_begin(op, NULL, &ask);
        assert_int_equal(run_flow(op, &ask, &flow), TP_FAILED);
        assert_int_equal(tp_op_error(op)->kind, TP_ERR_TIMEOUT);
        assert_true(tp_now() - began >= 150 * MS);
        assert_int_equal(flow.results, 0);
        assert_true(flow.rows < 200);
        assert_true(flow.rows > 0 || !ways[way].how.stream);
        assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

static void the_end_of_a_backend_between_rows_is_an_error_with_its_reason(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        tp_pool *pool = LIVE_OPEN(ways[way].setting);
        tp_op *op = tp_op_new(pool);
        struct ask ask = ways[way].how;
        struct flow flow;
        long pid = live_value(op, NULL, "select pg_backend_pid()");
        ask.sql = "select g, case when g = 30000 then pg_terminate_backend(pg_backend_pid()) end "
                  "from generate_series(1, 100000) g";
        live_begin(op, NULL, &ask);
        assert_int_equal(run_flow(op, &ask, &flow), TP_FAILED);
        assert_int_equal(tp_op_error(op)->kind, TP_ERR_CONNECTION);
        assert_string_equal(tp_op_error(op)->code, "57P01");
        assert_int_equal(tp_op_error(op)->attempts, 1);
        assert_true(live_value(op, NULL, "select pg_backend_pid()") != pid);
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

/* ----------------------------------------------------------------- repeated rows */

static void make_flaky(tp_op *op)
{
    DO(op, NULL, .simple = true,
       .sql = "drop function if exists rows_flaky; drop sequence if exists rows_calls; "
              "create sequence rows_calls; "
              "create function rows_flaky(i int) returns int language plpgsql as $$ begin "
              "if i = 15000 and nextval('rows_calls') = 1 then "
              "raise exception 'try again' using errcode = '40001'; end if; return i; end $$");
}

static const char flaky_rows[] = "select rows_flaky(g), 'x' from generate_series(1, 20000) g";

static void rows_that_were_taken_before_a_repetition_do_not_count(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        if (ways[way].how.stream || ways[way].how.simple)
            continue;
        tp_pool *pool = LIVE_OPEN(ways[way].setting);
        tp_op *op = tp_op_new(pool);
        struct ask ask = ways[way].how;
        make_flaky(op);
        ask.sql = flaky_rows;
        ask.max_rows = ask.max_rows > 0 ? 20000 : 0; /* nor for this */
        live_ask(op, NULL, ask);
        assert_int_equal(live_result(op)->nrows, 20000);
        assert_int_equal(tp_op_attempts(op), 2);
        assert_int_equal(live_stats(pool).retries, 1);
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

static void a_stream_is_not_repeated_once_there_were_rows(void **state)
{
    (void)state;
    struct ask ask = {.sql = flaky_rows, .stream = true, .idempotent = true};
    struct flow flow;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    make_flaky(op);
    live_begin(op, NULL, &ask);
    assert_int_equal(run_flow(op, &ask, &flow), TP_FAILED);
    assert_true(flow.rows > 0);
    assert_string_equal(tp_op_error(op)->code, "40001");
    assert_int_equal(tp_op_error(op)->attempts, 1);
    assert_int_equal(live_stats(pool).retries, 0);
    make_flaky(op);
    ask.sql = "select rows_flaky(15000)"; /* before the first row it is as any other */
    assert_int_equal(live_try(op, NULL, ask), TP_DONE);
    assert_int_equal(live_number(op), 15000);
    assert_int_equal(live_stats(pool).retries, 1);
    DO(op, NULL, .simple = true, .sql = "drop function rows_flaky; drop sequence rows_calls");
    tp_op_free(op);
    tp_pool_release(pool);
}

/* ----------------------------------------------------------------------- streams */

static void rows_of_a_stream_come_as_they_are_made(void **state)
{
    (void)state;
    for (int prepared = 0; prepared < 2; prepared++) {
        tp_pool *pool = LIVE_OPEN(prepared ? "prepare=true" : "prepare=false");
        tp_op *op = tp_op_new(pool);
        struct ask ask = {.sql = "select g, repeat('x', 9000), pg_sleep(0.05) "
                                 "from generate_series(1, 12) g",
                          .stream = true};
        struct tp_row row;
        int64_t began = tp_now();
        live_begin(op, NULL, &ask);
        assert_int_equal(live_move(op, &ask), TP_ROWS);
        assert_true(tp_op_next_row(op, &row));
        assert_true(tp_now() - began < 500 * MS); /* of the 600 that it takes */
        enum tp_step step;
        int steps = 1;
        while ((step = live_move(op, &ask)) == TP_ROWS)
            steps++;
        assert_int_equal(step, TP_RESULT);
        assert_int_equal(tp_op_count(op), 12);
        assert_true(steps > 4);
        assert_int_equal(live_move(op, &ask), TP_DONE);
        assert_true(tp_now() - began >= 550 * MS);
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

static void a_stream_waits_so_long_for_more_and_no_longer(void **state)
{
    (void)state;
    struct ask ask = {.sql = slow_rows, .stream = true, .ms = 1000, .wait_us = 900 * MS};
    struct tp_row row;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    int64_t began = tp_now();
    live_begin(op, NULL, &ask);
    while (tp_now() - began < 1300 * MS) { /* longer than the deadline of the first row */
        assert_int_equal(live_move(op, &ask), TP_ROWS);
        while (tp_op_next_row(op, &row)) {
        }
    }
    tp_op_stop(op);
    ask.sql = "select g, repeat('x', 9000), pg_sleep(case when g = 5 then 30 else 0.01 end) "
              "from generate_series(1, 10) g";
    ask.wait_us = 200 * MS;
    struct flow flow;
    began = tp_now();
    ask.ms = 20000;
    live_begin(op, NULL, &ask);
    assert_int_equal(run_flow(op, &ask, &flow), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_TIMEOUT);
    assert_true(flow.rows > 0);
    assert_true(tp_now() - began < 5000 * MS);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* ---------------------------------------------------------------------- settings */

/* A text that is made here has to be what the server would write. */
static void values_follow_the_sessions_settings(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "set timezone = 'Europe/Berlin'",
        "set datestyle = 'German'",
        "set intervalstyle = 'sql_standard'",
        "reset datestyle",
        "set timezone = 'UTC'",
        "set intervalstyle = 'postgres'",
        "select set_config('TimeZone', 'Asia/Tokyo', false)", /* libpq does not hear of it */
        "select set_config('DateStyle', 'SQL, DMY', false), set_config('TimeZone', 'UTC', false)",
        "select set_config('DateStyle', 'ISO, MDY', false)",
        "select set_config('IntervalStyle', 'iso_8601', false)",
        "begin",
        "set local timezone = 'America/New_York'",
        "select set_config('IntervalStyle', 'postgres', true)",
        "rollback",
        "begin",
        "select set_config('TimeZone', 'Asia/Tokyo', true)",
        "rollback",
        "discard all",
        "set timezone = 'Europe/Berlin'",
        "select set_config('TimeZone', 'UTC', false)",
        "reset all",
    };
    for (int way = 0; way < WAYS; way++) {
        tp_pool *pool = LIVE_OPEN(ways[way].setting);
        tp_op *op = tp_op_new(pool);
        tp_lease lease = live_acquire(op);
        for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
            struct ask ask = ways[way].how;
            ask.sql = "select t, t::text, t::date, t::date::text, t - t0, (t - t0)::text, "
                      "array[t]::text, t::timestamp, t::timestamp::text "
                      "from (values (timestamptz '2020-07-01 23:30:00.5+00', "
                      "timestamptz '2019-03-01 01:00:00+00')) v(t, t0)";
            DO(op, &lease, .sql = changes[i]);
            keep_to(&ways[way], pool);
            live_ask(op, &lease, ask);
            for (int column = 0; column < 8; column += column == 4 ? 3 : 2) {
                const char *made = live_result_text(live_result(op), 0, column, NULL);
                const char *text = live_result_text(live_result(op), 0, column + 1, NULL);
                if (strcmp(made, text) != 0)
                    fail_msg("%s after %s: %s", made, changes[i], text);
            }
        }
        live_release(&lease);
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

static void types_that_are_forced_come_as_text(void **state)
{
    (void)state;
    struct tp_error err;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    for (int i = 0; i < 2; i++) {
        DO(op, NULL, .sql = "select 4::int4, $1::int4", .params = {"5"}, .nparams = 1);
        assert_true(live_result(op)->binary);
        assert_int_equal(live_result(op)->columns[0].kind, TP_KIND_INT);
    }
    assert_int_equal(tp_pool_force_text(pool, "int4", &err), TP_OK);
    for (int i = 0; i < 2; i++) {
        DO(op, NULL, .sql = "select 4::int4, $1::int4", .params = {"5"}, .nparams = 1);
        assert_false(live_result(op)->binary);
        assert_int_equal(live_result(op)->columns[0].kind, TP_KIND_TEXT);
        assert_string_equal(live_result(op)->columns[0].type, "int4");
        assert_string_equal(live_text(op), "4");
        DO(op, NULL, .sql = "select array[1, 2]");
        assert_false(live_result(op)->binary);
        assert_string_equal(live_text(op), "{1,2}");
        DO(op, NULL, .sql = "select 6::int8");
        assert_true(live_result(op)->binary);
    }
    tp_op_free(op);
    tp_pool_release(pool);
}

/* What the server says unasked reaches libpq or us, and nobody is confused. */
static void what_comes_while_a_connection_rests_confuses_nobody(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=2");
    tp_op *op = tp_op_new(pool);
    tp_lease lease = live_acquire(op);
    int pid = tp_lease_backend_pid(&lease);
    DO(op, &lease, .sql = "listen rows_news");
    for (int i = 0; i < 30; i++) {
        DO(op, NULL, .sql = "select pg_notify('rows_news', repeat('n', 5000))");
        if (i % 3 != 0)
            assert_true(tp_lease_look(&lease));
        assert_int_equal(FLOW(op, &lease, .sql = "select g from generate_series(1, 3000) g").rows,
                         3000);
        assert_int_equal(live_value(op, &lease, "select 8"), 8);
        DO(op, &lease, .sql = "set application_name = 'rows'");
    }
    assert_int_equal(live_value(op, &lease, "select pg_backend_pid()"), pid);
    live_release(&lease);
    tp_op_free(op);
    tp_pool_release(pool);
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_same_by_every_way),
        cmocka_unit_test(rows_may_be_very_large_by_every_way),
        cmocka_unit_test(rows_that_are_not_taken_are_dropped),
        cmocka_unit_test(statements_without_rows_have_no_columns),
        cmocka_unit_test(there_may_be_as_many_columns_as_the_server_allows),
        cmocka_unit_test(notices_between_rows_become_events),
        cmocka_unit_test(an_error_between_rows_leaves_the_connection_as_it_was),
        cmocka_unit_test(a_deadline_between_rows_costs_no_connection),
        cmocka_unit_test(the_end_of_a_backend_between_rows_is_an_error_with_its_reason),
        cmocka_unit_test(rows_that_were_taken_before_a_repetition_do_not_count),
        cmocka_unit_test(a_stream_is_not_repeated_once_there_were_rows),
        cmocka_unit_test(rows_of_a_stream_come_as_they_are_made),
        cmocka_unit_test(a_stream_waits_so_long_for_more_and_no_longer),
        cmocka_unit_test(values_follow_the_sessions_settings),
        cmocka_unit_test(types_that_are_forced_come_as_text),
        cmocka_unit_test(what_comes_while_a_connection_rests_confuses_nobody),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    if (!live_is_there())
        return 0;
    int failed = run("rows, driven");
    live_by_hand = true;
    return failed + run("rows, by hand");
}
