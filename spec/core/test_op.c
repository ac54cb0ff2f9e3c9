/* The engine over a real server: statements, results, retries. All of it runs twice, by
 * tp_drive and stepped by hand. */
#include "live_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op_impl.h"

/* --------------------------------------------------------------- statements */

static void a_statement_without_parameters_returns_its_rows(void **state)
{
    (void)state;
    size_t len = 0;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    DO(op, NULL,
       .sql = "select g as n, 'x' || g as name, null as nothing "
              "from generate_series(1, 3) g");
    const struct live_result *result = live_result(op);
    assert_int_equal(result->nrows, 3);
    assert_int_equal(result->ncolumns, 3);
    assert_int_equal(result->count, 3);
    assert_string_equal(result->command, "SELECT");
    assert_string_equal(result->columns[1].name, "name");
    assert_int_equal(result->columns[0].oid, 23);
    assert_string_equal(live_result_text(result, 2, 1, &len), "x3");
    assert_int_equal(len, 2);
    assert_null(live_result_text(result, 0, 2, &len));
    assert_null(result->next);
    assert_true(tp_op_elapsed(op) > 0);
    assert_string_equal(live_result_text(result, 0, 0, &len), "1");
    tp_op_free(op);
    tp_pool_release(pool);
}

static void parameters_are_asked_for_by_their_types(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    struct ask ask = {.sql = "select $1::int8 + 1, $2::text, $3::bool",
                      .params = {"41", NULL, "t"},
                      .nparams = 3};
    for (int round = 0; round < 3; round++) { /* prepared, then known */
        live_begin(op, NULL, &ask);
        enum tp_step step;
        while ((step = tp_op_step(op, TP_READ)) == TP_WAIT)
            fake_breathe();
        assert_int_equal(step, TP_ENCODE);
        assert_int_equal(tp_op_param_count(op), 3);
        assert_int_equal(tp_op_param_type(op, 0)->oid, 20);
        assert_int_equal(tp_op_param_type(op, 1)->oid, 25);
        assert_int_equal(tp_op_param_type(op, 2)->oid, 16);
        assert_int_equal(live_finish(op, &ask), TP_DONE);
        assert_int_equal(live_number(op), 42);
        assert_null(live_result_text(live_result(op), 0, 1, NULL));
    }
    struct tp_stats stats = live_stats(pool);
    assert_int_equal(stats.statements_prepared, 1);
    assert_int_equal(stats.statement_hits, 2);
    assert_int_equal(stats.queries, 3);
    assert_int_equal(stats.query.count, 3);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void parameters_may_be_binary(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    struct ask ask = {.sql = "select $1::int4 + octet_length($2::bytea)", .nparams = 2};
    struct tp_param params[2] = {{"\0\0\1\2", 4, true}, {"a\0b", 3, true}};
    live_begin(op, NULL, &ask);
    assert_int_equal(tp_drive(op), TP_ENCODE);
    tp_op_params(op, params);
    assert_int_equal(live_finish(op, &ask), TP_DONE);
    assert_int_equal(live_number(op), 258 + 3);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_wrong_number_of_parameters_is_refused_and_harms_nothing(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    assert_int_equal(TRY(op, NULL, .sql = "select $1::int", .nparams = 0), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_VALIDATION);
    assert_non_null(strstr(tp_op_error(op)->message, "1 parameter, 0 were given"));
    assert_string_equal(tp_op_error(op)->query, "select $1::int");
    assert_int_equal(TRY(op, NULL, .sql = "select 1", .nparams = 2), TP_FAILED);
    assert_non_null(strstr(tp_op_error(op)->message, "0 parameters, 2 were given"));
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void parameters_that_cannot_be_encoded_harm_nothing(void **state)
{
    (void)state;
    struct tp_error why;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    struct ask ask = {.sql = "select $1::int", .nparams = 1};
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    memset(&why, 0, sizeof why);
    why.kind = TP_ERR_VALIDATION;
    strcpy(why.message, "not a number");
    live_begin(op, NULL, &ask);
    assert_int_equal(tp_drive(op), TP_ENCODE);
    tp_op_refuse(op, &why);
    assert_int_equal(tp_op_step(op, 0), TP_FAILED);
    assert_string_equal(tp_op_error(op)->message, "not a number");
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    tp_op_free(op);
    tp_pool_release(pool);
}

static char *list_of_parameters(int count)
{
    char *sql = malloc((size_t)count * 8 + 64), *at = sql;
    at += sprintf(at, "select cardinality(array[");
    for (int i = 1; i <= count; i++)
        at += sprintf(at, "%s$%d", i > 1 ? "," : "", i);
    sprintf(at, "]::int[])");
    return sql;
}

static enum tp_step ask_with(tp_op *op, int count)
{
    char *sql = list_of_parameters(count);
    struct ask ask = {.sql = sql, .nparams = count};
    struct tp_param *params = calloc((size_t)count, sizeof *params);
    live_begin(op, NULL, &ask);
    enum tp_step step = tp_drive(op);
    for (int i = 0; step == TP_ENCODE && i < count; i++)
        params[i] = (struct tp_param){.data = "7", .len = 1};
    if (step == TP_ENCODE) {
        tp_op_params(op, params);
        step = live_finish(op, &ask);
    }
    free(params);
    free(sql);
    return step;
}

static void a_statement_may_have_very_many_parameters(void **state)
{
    (void)state;
    static const int counts[] = {100, TP_DESCRIBED_PARAMS_MAX, TP_DESCRIBED_PARAMS_MAX + 1, 65535};
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        if (ask_with(op, counts[i]) != TP_DONE) {
            live_print_error(op);
            fail_msg("%d parameters", counts[i]);
        }
        assert_int_equal(live_number(op), counts[i]);
    }
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void an_error_of_the_server_has_all_its_fields(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    DO(op, NULL, .sql = "drop table if exists op_fields");
    DO(op, NULL, .sql = "create table op_fields (id int constraint positive check (id > 0))");
    assert_int_equal(
        TRY(op, NULL, .sql = "insert into op_fields values ($1)", .params = {"-1"}, .nparams = 1),
        TP_FAILED);
    const struct tp_error *err = tp_op_error(op);
    assert_int_equal(err->kind, TP_ERR_DATABASE);
    assert_string_equal(err->code, "23514");
    assert_string_equal(err->severity, "ERROR");
    assert_string_equal(err->table, "op_fields");
    assert_string_equal(err->constraint, "positive");
    assert_int_equal(err->attempts, 1);
    assert_false(err->retryable);
    assert_int_equal(TRY(op, NULL, .sql = "select nonsense from nowhere"), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "42P01");
    assert_int_equal(tp_op_error(op)->position, 22);
    assert_string_equal(tp_op_error(op)->constraint, "");
    assert_int_equal(live_stats(pool).query_failures, 2);
    assert_int_equal(live_stats(pool).errors_by_kind[TP_ERR_DATABASE], 2);
    DO(op, NULL, .sql = "drop table op_fields");
    tp_op_free(op);
    tp_pool_release(pool);
}

static void an_empty_text_is_an_error_that_harms_nothing(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    static const char *const texts[] = {"", "   ", "-- nothing", ";"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (int simple = 0; simple < 2; simple++) {
            assert_int_equal(TRY(op, NULL, .sql = texts[i], .simple = simple == 1), TP_FAILED);
            assert_int_equal(tp_op_error(op)->kind, TP_ERR_VALIDATION);
        }
    }
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_script_returns_the_result_of_each_statement(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    DO(op, NULL,
       .sql = "create temp table s(i int); insert into s values (1), (2); "
              "select count(*) from s; drop table s",
       .simple = true);
    const struct live_result *result = live_result(op);
    static const char *const commands[] = {"CREATE TABLE", "INSERT", "SELECT", "DROP TABLE"};
    for (int i = 0; i < 4; i++) {
        assert_non_null(result);
        assert_string_equal(result->command, commands[i]);
        if (i == 1)
            assert_int_equal(result->count, 2);
        if (i == 2)
            assert_string_equal(live_result_text(result, 0, 0, NULL), "2");
        result = result->next;
    }
    assert_null(result);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_script_that_fails_leaves_no_trace(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    assert_int_equal(TRY(op, NULL, .sql = "select 1; select 1/0; select 3", .simple = true),
                     TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "22012");
    assert_null(live_result(op));
    assert_int_equal(live_value(op, NULL, "select 5"), 5);
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void much_data_goes_through_in_both_directions(void **state)
{
    (void)state;
    enum { BYTES = 6 * 1000 * 1000 };
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    char *big = malloc(BYTES + 1);
    memset(big, 'y', BYTES);
    big[BYTES] = '\0';
    DO(op, NULL, .sql = "select length($1::text)", .params = {big}, .nparams = 1);
    assert_int_equal(live_number(op), BYTES);
    DO(op, NULL, .sql = "select $1::text || 'z'", .params = {big}, .nparams = 1);
    size_t len = 0;
    assert_int_equal(live_result_text(live_result(op), 0, 0, &len)[BYTES], 'z');
    assert_int_equal(len, BYTES + 1);
    DO(op, NULL, .sql = "select g from generate_series(1, 200000) g");
    assert_int_equal(live_result(op)->nrows, 200000);
    free(big);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_ping_is_a_round_trip_outside_of_the_statistics(void **state)
{
    (void)state;
    struct ask none = {.sql = ""};
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    tp_op_ping(op, NULL, tp_now() + FAKE_AT_MOST_US);
    assert_int_equal(live_finish(op, &none), TP_DONE);
    tp_lease lease = live_acquire(op);
    tp_op_ping(op, &lease, tp_now() + FAKE_AT_MOST_US);
    assert_int_equal(live_finish(op, &none), TP_DONE);
    live_release(&lease);
    assert_int_equal(live_stats(pool).queries, 0);
    assert_int_equal(live_stats(pool).idle, 1);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void copy_is_refused_politely(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    DO(op, NULL, .sql = "create temp table c(i int)");
    for (int simple = 0; simple < 2; simple++) {
        assert_int_equal(TRY(op, NULL, .sql = "copy c from stdin", .simple = simple == 1),
                         TP_FAILED);
        assert_int_equal(tp_op_error(op)->kind, TP_ERR_VALIDATION);
        assert_non_null(strstr(tp_op_error(op)->message, "COPY FROM STDIN"));
        assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    }
    for (int simple = 0; simple < 2; simple++) {
        assert_int_equal(TRY(op, NULL, .sql = "copy (select 1) to stdout", .simple = simple == 1,
                             .idempotent = true),
                         TP_FAILED);
        assert_int_equal(tp_op_error(op)->kind, TP_ERR_VALIDATION);
        assert_non_null(strstr(tp_op_error(op)->message, "COPY TO STDOUT"));
        assert_int_equal(tp_op_error(op)->attempts, 1); /* would be no better the next time */
        assert_int_equal(live_value(op, NULL, "select 7"), 7);
    }
    tp_op_free(op);
    tp_pool_release(pool);
}

static void notices_become_events(void **state)
{
    (void)state;
    struct tp_event event;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    DO(op, NULL, .sql = "do $$ begin raise warning 'mind the %', 'gap'; end $$");
    assert_true(live_event(pool, TP_EVENT_NOTICE, &event));
    assert_string_equal(event.text, "mind the gap");
    assert_string_equal(event.code, "01000");
    assert_int_equal(event.backend_pid, live_value(op, NULL, "select pg_backend_pid()"));
    tp_op_free(op);
    tp_pool_release(pool);
}

/* --------------------------------------------------- prepared statements */

static void statements_that_are_forgotten_are_deallocated(void **state)
{
    (void)state;
    char sql[64];
    tp_pool *pool = LIVE_OPEN("statement_cache_size=3");
    tp_op *op = tp_op_new(pool);
    for (int i = 0; i < 40; i++) {
        snprintf(sql, sizeof sql, "select %d", i);
        assert_int_equal(live_value(op, NULL, sql), i);
        assert_int_equal(live_value(op, NULL, sql), i);
    }
    struct tp_stats stats = live_stats(pool);
    assert_int_equal(stats.statement_evictions, 37);
    assert_int_equal(stats.statements_prepared, 40);
    assert_int_equal(stats.statement_hits, 40);
    /* Three, this one, and those that wait to ride along with the next. */
    assert_true(live_value(op, NULL, "select count(*) from pg_prepared_statements") <= 5);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void in_a_failed_transaction_nothing_is_deallocated(void **state)
{
    (void)state;
    char sql[64];
    tp_pool *pool = LIVE_OPEN("statement_cache_size=2");
    tp_op *op = tp_op_new(pool);
    tp_lease lease = live_acquire(op);
    for (int i = 0; i < 4; i++) {
        snprintf(sql, sizeof sql, "select %d", i);
        DO(op, &lease, .sql = sql);
    }
    DO(op, &lease, .sql = "begin");
    assert_int_equal(TRY(op, &lease, .sql = "select 1/0"), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "22012");
    assert_int_equal(TRY(op, &lease, .sql = "select 99"), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "25P02"); /* and not that of a DEALLOCATE */
    DO(op, &lease, .sql = "rollback");
    DO(op, &lease, .sql = "select 99");
    live_release(&lease);
    assert_true(live_value(op, NULL, "select count(*) from pg_prepared_statements") <= 4);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void without_prepared_statements_the_server_keeps_none(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("prepare=false");
    tp_op *op = tp_op_new(pool);
    for (int i = 0; i < 3; i++) {
        DO(op, NULL, .sql = "select $1::int + 1", .params = {"4"}, .nparams = 1);
        assert_int_equal(live_number(op), 5);
    }
    assert_int_equal(live_value(op, NULL, "select count(*) from pg_prepared_statements"), 0);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void statements_that_the_server_has_forgotten_are_prepared_again(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("statement_cache_size=4");
    tp_op *op = tp_op_new(pool);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(live_value(op, NULL, "select 12"), 12);
        assert_int_equal(live_value(op, NULL, "select 13"), 13);
        DO(op, NULL, .sql = "deallocate all", .simple = true);
    }
    assert_int_equal(live_value(op, NULL, "select 12"), 12);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_stale_plan_is_prepared_again_on_every_connection(void **state)
{
    (void)state;
    static const char sql[] = "select * from op_stale";
    tp_pool *pool = LIVE_OPEN("pool.max=3");
    tp_op *op = tp_op_new(pool);
    tp_lease leases[2] = {live_acquire(op), live_acquire(op)};
    DO(op, NULL, .sql = "drop table if exists op_stale");
    DO(op, NULL, .sql = "create table op_stale as select 1 as a");
    for (int i = 0; i < 2; i++)
        DO(op, &leases[i], .sql = sql);
    DO(op, NULL, .sql = "alter table op_stale add column b int");
    DO(op, &leases[0], .sql = sql);
    assert_int_equal(live_result(op)->ncolumns, 2);
    assert_int_equal(live_stats(pool).retries, 1);
    DO(op, &leases[1], .sql = sql); /* has heard of it: no second failure */
    assert_int_equal(live_result(op)->ncolumns, 2);
    assert_int_equal(live_stats(pool).retries, 1);
    for (int i = 0; i < 2; i++)
        live_release(&leases[i]);
    DO(op, NULL, .sql = "drop table op_stale");
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_stale_plan_inside_a_transaction_is_an_error_once(void **state)
{
    (void)state;
    static const char sql[] = "select * from op_stale_tx";
    tp_pool *pool = LIVE_OPEN("pool.max=2");
    tp_op *op = tp_op_new(pool);
    tp_lease lease = live_acquire(op);
    DO(op, NULL, .sql = "drop table if exists op_stale_tx");
    DO(op, NULL, .sql = "create table op_stale_tx as select 1 as a");
    DO(op, &lease, .sql = sql);
    DO(op, NULL, .sql = "alter table op_stale_tx add column b int");
    DO(op, &lease, .sql = "begin");
    assert_int_equal(TRY(op, &lease, .sql = sql), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "0A000");
    assert_int_equal(tp_op_error(op)->attempts, 1);
    DO(op, &lease, .sql = "rollback");
    DO(op, &lease, .sql = "begin");
    DO(op, &lease, .sql = sql);
    DO(op, &lease, .sql = "commit");
    assert_int_equal(live_stats(pool).retries, 0);
    live_release(&lease);
    DO(op, NULL, .sql = "drop table op_stale_tx");
    tp_op_free(op);
    tp_pool_release(pool);
}

/* ------------------------------------------------------------------- retries */

/* A function that fails with 40001 as often as `left` says; sequences are not rolled
 * back, so it can count. */
static void make_flaky(tp_op *op, int failures)
{
    char sql[600];
    snprintf(sql, sizeof sql,
             "drop function if exists op_flaky(); drop sequence if exists op_flaky_calls; "
             "create sequence op_flaky_calls; "
             "create function op_flaky() returns bigint language plpgsql as $$ "
             "declare n bigint := nextval('op_flaky_calls'); begin "
             "if n <= %d then raise exception 'try again' using errcode = '40001'; end if; "
             "return n; end $$",
             failures);
    DO(op, NULL, .sql = sql, .simple = true);
}

static void drop_flaky(tp_op *op)
{
    DO(op, NULL, .sql = "drop function op_flaky(); drop sequence op_flaky_calls", .simple = true);
}

static void what_the_server_rolled_back_is_repeated(void **state)
{
    (void)state;
    struct tp_event event;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    make_flaky(op, 2);
    assert_int_equal(live_value(op, NULL, "select op_flaky()"), 3);
    assert_int_equal(live_stats(pool).retries, 2);
    assert_int_equal(live_stats(pool).query_failures, 0);
    for (int attempt = 1; attempt <= 2; attempt++) {
        assert_true(live_event(pool, TP_EVENT_RETRY, &event));
        assert_int_equal(event.attempt, attempt);
        assert_string_equal(event.code, "40001");
        assert_string_equal(event.text, "serialization_failure");
    }
    make_flaky(op, 9);
    assert_int_equal(TRY(op, NULL, .sql = "select op_flaky()"), TP_FAILED);
    assert_int_equal(tp_op_error(op)->attempts, 3); /* retry.attempts */
    assert_true(tp_op_error(op)->retryable);
    drop_flaky(op);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void on_a_lease_it_is_repeated_outside_of_a_transaction_only(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    make_flaky(op, 1);
    tp_lease lease = live_acquire(op);
    assert_int_equal(live_value(op, &lease, "select op_flaky()"), 2);
    live_release(&lease);
    make_flaky(op, 1);
    lease = live_acquire(op);
    DO(op, &lease, .sql = "begin");
    assert_int_equal(TRY(op, &lease, .sql = "select op_flaky()"), TP_FAILED);
    assert_int_equal(tp_op_error(op)->attempts, 1);
    DO(op, &lease, .sql = "rollback");
    live_release(&lease);
    assert_int_equal(live_stats(pool).retries, 1);
    drop_flaky(op);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void no_attempt_is_made_past_the_deadline(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("retry.attempts=1000", "retry.base_ms=20", "retry.max_ms=20");
    tp_op *op = tp_op_new(pool);
    make_flaky(op, 100000);
    int64_t began = tp_now();
    assert_int_equal(TRY(op, NULL, .sql = "select op_flaky()", .ms = 200), TP_FAILED);
    /* Either there is no time for another attempt, or it was up during the last one. */
    if (tp_op_error(op)->kind != TP_ERR_TIMEOUT)
        assert_string_equal(tp_op_error(op)->code, "40001");
    assert_true(tp_op_error(op)->attempts > 2);
    assert_true(tp_now() - began < 2000 * MS);
    drop_flaky(op);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void who_cannot_be_repeated_in_time_hears_of_it_at_once(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("retry.base_ms=60000", "retry.max_ms=60000");
    tp_op *op = tp_op_new(pool);
    make_flaky(op, 1);
    int64_t began = tp_now();
    assert_int_equal(TRY(op, NULL, .sql = "select op_flaky()", .ms = 5000), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "40001");
    assert_int_equal(tp_op_error(op)->attempts, 1);
    assert_true(tp_now() - began < 4000 * MS);
    drop_flaky(op);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* The transaction is gone: repeating COMMIT would "succeed" with nothing committed. */
static void a_commit_that_failed_is_not_repeated(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    DO(op, NULL, .simple = true,
       .sql = "drop table if exists op_commit; create table op_commit (i int); "
              "create or replace function op_commit_fails() returns trigger language plpgsql as "
              "$$ begin raise exception 'not now' using errcode = '40001'; end $$; "
              "create constraint trigger late after insert on op_commit deferrable initially "
              "deferred for each row execute function op_commit_fails()");
    tp_lease lease = live_acquire(op);
    DO(op, &lease, .sql = "begin");
    DO(op, &lease, .sql = "insert into op_commit values (1)");
    assert_int_equal(TRY(op, &lease, .sql = "commit"), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "40001");
    assert_int_equal(tp_op_error(op)->attempts, 1);
    assert_int_equal(tp_lease_transaction(&lease), TP_TX_IDLE);
    live_release(&lease);
    assert_int_equal(live_value(op, NULL, "select count(*) from op_commit"), 0);
    assert_int_equal(live_stats(pool).retries, 0);
    DO(op, NULL, .simple = true, .sql = "drop table op_commit; drop function op_commit_fails()");
    tp_op_free(op);
    tp_pool_release(pool);
}

/* -------------------------------------------------------------- transactions */

static void a_transaction_left_open_is_rolled_back_and_reported(void **state)
{
    (void)state;
    struct tp_event event;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    DO(op, NULL, .sql = "create temp table t(i int)");
    tp_lease lease = live_acquire(op);
    tp_lease_set_place(&lease, "here.lua", 12);
    assert_int_equal(tp_lease_transaction(&lease), TP_TX_IDLE);
    DO(op, &lease, .sql = "begin");
    assert_int_equal(tp_lease_transaction(&lease), TP_TX_OPEN);
    DO(op, &lease, .sql = "insert into t values (1)");
    assert_int_equal(tp_lease_backend_pid(&lease), pid);
    live_release(&lease);
    assert_int_equal(live_value(op, NULL, "select count(*) from t"), 0);
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid); /* and kept */
    assert_int_equal(live_stats(pool).rollbacks, 1);
    assert_true(live_event(pool, TP_EVENT_ROLLBACK, &event));
    assert_non_null(strstr(event.text, "here.lua:12"));
    lease = live_acquire(op);
    DO(op, &lease, .sql = "begin");
    assert_int_equal(TRY(op, &lease, .sql = "select 1/0"), TP_FAILED);
    assert_int_equal(tp_lease_transaction(&lease), TP_TX_FAILED);
    live_release(&lease);
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    DO(op, NULL, .sql = "begin"); /* not on a lease at all */
    lease = live_acquire(op);
    assert_int_equal(tp_lease_transaction(&lease), TP_TX_IDLE);
    live_release(&lease);
    assert_int_equal(live_stats(pool).rollbacks, 3);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void an_operation_can_be_begun_again_from_any_state(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=2");
    tp_op *op = tp_op_new(pool);
    struct ask with = {.sql = "select $1::int", .params = {"1"}, .nparams = 1};
    for (int round = 0; round < 20; round++) {
        live_begin(op, NULL, &with); /* to be prepared, or to be encoded */
        (void)tp_op_step(op, 0);
        tp_op_acquire(op, tp_now() + FAKE_AT_MOST_US); /* and never taken */
        (void)tp_drive(op);
    }
    assert_int_equal(live_value(op, NULL, "select 3"), 3);
    AWAIT(live_stats(pool).active == 0 && live_stats(pool).mending == 0);
    tp_op_free(op);
    tp_pool_release(pool);
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_statement_without_parameters_returns_its_rows),
        cmocka_unit_test(parameters_are_asked_for_by_their_types),
        cmocka_unit_test(parameters_may_be_binary),
        cmocka_unit_test(a_wrong_number_of_parameters_is_refused_and_harms_nothing),
        cmocka_unit_test(parameters_that_cannot_be_encoded_harm_nothing),
        cmocka_unit_test(a_statement_may_have_very_many_parameters),
        cmocka_unit_test(an_error_of_the_server_has_all_its_fields),
        cmocka_unit_test(an_empty_text_is_an_error_that_harms_nothing),
        cmocka_unit_test(a_script_returns_the_result_of_each_statement),
        cmocka_unit_test(a_script_that_fails_leaves_no_trace),
        cmocka_unit_test(much_data_goes_through_in_both_directions),
        cmocka_unit_test(a_ping_is_a_round_trip_outside_of_the_statistics),
        cmocka_unit_test(copy_is_refused_politely),
        cmocka_unit_test(notices_become_events),
        cmocka_unit_test(statements_that_are_forgotten_are_deallocated),
        cmocka_unit_test(in_a_failed_transaction_nothing_is_deallocated),
        cmocka_unit_test(without_prepared_statements_the_server_keeps_none),
        cmocka_unit_test(statements_that_the_server_has_forgotten_are_prepared_again),
        cmocka_unit_test(a_stale_plan_is_prepared_again_on_every_connection),
        cmocka_unit_test(a_stale_plan_inside_a_transaction_is_an_error_once),
        cmocka_unit_test(what_the_server_rolled_back_is_repeated),
        cmocka_unit_test(on_a_lease_it_is_repeated_outside_of_a_transaction_only),
        cmocka_unit_test(no_attempt_is_made_past_the_deadline),
        cmocka_unit_test(who_cannot_be_repeated_in_time_hears_of_it_at_once),
        cmocka_unit_test(a_commit_that_failed_is_not_repeated),
        cmocka_unit_test(a_transaction_left_open_is_rolled_back_and_reported),
        cmocka_unit_test(an_operation_can_be_begun_again_from_any_state),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    if (!live_is_there())
        return 0;
    int failed = run("op, driven");
    live_by_hand = true;
    return failed + run("op, by hand");
}
