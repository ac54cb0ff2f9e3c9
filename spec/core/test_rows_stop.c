/* Results of which not everything is wanted, over a real server: stopped by the caller, or
 * larger than was allowed. The connection is as good afterwards as it was before. All of it
 * runs twice, by tp_drive and stepped by hand. */
#include "live_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op_impl.h"

/* On whose connection. */
enum where { ON_POOL, ON_LEASE, IN_TRANSACTION, WHERES };

/* The ways that rows can take. */
static const struct way {
    const char *setting;
    bool stream;
} ways[] = {{"prepare=true", false},
            {"prepare=true", true},
            {"prepare=false", false},
            {"prepare=false", true}};
enum { WAYS = sizeof ways / sizeof ways[0] };

struct place {
    enum where where;
    tp_pool *pool;
    tp_op *op;
    tp_lease lease;
    const tp_lease *on; /* NULL: the pool's connection */
    long pid;
};

static void open_place(struct place *place, enum where where, const char *setting)
{
    memset(place, 0, sizeof *place);
    place->where = where;
    place->pool = LIVE_OPEN(setting);
    place->op = tp_op_new(place->pool);
    place->pid = live_value(place->op, NULL, "select pg_backend_pid()");
    if (where != ON_POOL) {
        place->lease = live_acquire(place->op);
        place->on = &place->lease;
    }
    if (where == IN_TRANSACTION) {
        DO(place->op, place->on, .sql = "begin");
        DO(place->op, place->on,
           .sql = "create temp table rows_stop on commit drop as select 7 as i");
    }
}

/* The connection is the same, is in the state that it was in, and has nothing left of before. */
static void expect_unharmed(struct place *place)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(live_value(place->op, place->on, "select pg_backend_pid()"), place->pid);
    if (place->where == IN_TRANSACTION) {
        assert_int_equal(tp_lease_transaction(&place->lease), TP_TX_OPEN);
        assert_int_equal(live_value(place->op, place->on, "select i from rows_stop"), 7);
    } else if (place->where == ON_LEASE) {
        assert_int_equal(tp_lease_transaction(&place->lease), TP_TX_IDLE);
    }
}

static void close_place(struct place *place)
{
    if (place->where == IN_TRANSACTION)
        DO(place->op, place->on, .sql = "commit");
    if (place->where != ON_POOL)
        live_release(&place->lease);
    assert_int_equal(live_value(place->op, NULL, "select pg_backend_pid()"), place->pid);
    assert_int_equal(live_stats(place->pool).closed[TP_CLOSE_DEAD], 0);
    tp_op_free(place->op);
    tp_pool_release(place->pool);
}

/* ----------------------------------------------------------------------- stopping */

/* Where in the answer it is stopped. */
enum when { BEFORE_ROWS, AT_ROWS, BEHIND_SOME_ROWS, AT_RESULT, WHENS };

/* Moves on to that point. */
static void move_to(tp_op *op, struct ask *ask, enum when when)
{
    struct tp_row row;
    enum tp_step step = TP_WAIT;
    if (when == BEFORE_ROWS) {
        int64_t until = tp_now() + FAKE_AT_MOST_US;
        while (op->state != OP_EXECUTING && tp_now() < until)
            assert_int_equal(tp_op_step(op, TP_READ), TP_WAIT);
        return;
    }
    do
        step = live_move(op, ask);
    while (step == TP_ROWS && when == AT_RESULT);
    assert_int_equal(step, when == AT_RESULT ? TP_RESULT : TP_ROWS);
    if (when == BEHIND_SOME_ROWS)
        assert_true(tp_op_next_row(op, &row));
}

/* Stops, and ends in an orderly way. */
static void stop(struct place *place, struct ask *ask)
{
    struct tp_row row;
    tp_op_stop(place->op);
    assert_false(tp_op_next_row(place->op, &row));
    if (place->where == ON_POOL) /* does not wait for anything */
        assert_int_equal(tp_op_step(place->op, 0), TP_DONE);
    else
        assert_int_equal(live_move(place->op, ask), TP_DONE);
    assert_int_equal(tp_op_fd(place->op), -1);
    tp_op_stop(place->op); /* does nothing more */
    assert_int_equal(tp_op_step(place->op, TP_READ), TP_DONE);
}

static void a_result_can_be_stopped_at_any_point(void **state)
{
    (void)state;
    for (int i = 0; i < WAYS * WHERES * WHENS; i++) {
        const struct way *way = &ways[i % WAYS];
        enum when when = (enum when)(i / WAYS / WHERES);
        struct ask ask = {.sql = "select g, repeat('x', g % 90) from generate_series(1, 30000) g",
                          .stream = way->stream};
        struct place place;
        open_place(&place, (enum where)(i / WAYS % WHERES), way->setting);
        for (int again = 0; again < 2; again++) {
            live_begin(place.op, place.on, &ask);
            move_to(place.op, &ask, when);
            stop(&place, &ask);
            expect_unharmed(&place);
            assert_int_equal(live_stats(place.pool).query_failures, 0);
        }
        close_place(&place);
    }
}

static const char endless[] =
    "select g, repeat('x', 9000), pg_sleep(0.005) from generate_series(1, 100000) g";

/* Nobody can wait for the rest, so the server is asked to stop. */
static void what_would_not_end_is_cancelled_outside_of_a_transaction(void **state)
{
    (void)state;
    for (int i = 0; i < WAYS * 2 * AT_RESULT; i++) {
        const struct way *way = &ways[i % WAYS];
        enum when when = (enum when)(i / WAYS / 2);
        struct ask ask = {.sql = endless, .stream = way->stream};
        struct place place;
        if (when != BEFORE_ROWS && strcmp(way->setting, "prepare=false") == 0 && !way->stream)
            continue; /* no rows come before the end */
        open_place(&place, i / WAYS % 2 == 0 ? ON_POOL : ON_LEASE, way->setting);
        int64_t began = tp_now();
        live_begin(place.op, place.on, &ask);
        move_to(place.op, &ask, when);
        stop(&place, &ask);
        expect_unharmed(&place);
        assert_true(tp_now() - began < 3000 * MS);
        close_place(&place);
    }
}

static void a_cancel_hits_nothing_that_comes_after(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, ON_LEASE, "prepare=true");
    for (int i = fake_rounds(60); i > 0; i--) {
        /* Some of these end at about the time of the cancel. */
        struct ask ask = {.sql = i % 2 == 0 ? "select 1 from pg_sleep(0.021)"
                                            : "select 1 from pg_sleep(0.019)"};
        live_begin(place.op, place.on, &ask);
        move_to(place.op, &ask, BEFORE_ROWS);
        stop(&place, &ask);
        for (int k = 0; k < 3; k++)
            assert_int_equal(live_value(place.op, place.on, "select 17"), 17);
    }
    close_place(&place);
}

/* In a transaction a cancel would undo what came before, so the rest is read; for ever is too
 * long. */
static void in_a_transaction_the_rest_is_read_for_so_long(void **state)
{
    (void)state;
    struct ask ask = {.sql = endless};
    if (live_by_hand) /* once is enough: it takes its time */
        return;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    tp_lease lease = live_acquire(op);
    DO(op, &lease, .sql = "begin");
    int64_t began = tp_now();
    live_begin(op, &lease, &ask);
    move_to(op, &ask, AT_ROWS);
    tp_op_stop(op);
    enum tp_step step = live_move(op, &ask);
    assert_true(tp_now() - began > 2000 * MS);
    assert_true(tp_now() - began < 15000 * MS);
    assert_true(step == TP_DONE || step == TP_FAILED);
    assert_int_equal(tp_lease_transaction(&lease), TP_TX_UNKNOWN);
    assert_int_equal(TRY(op, &lease, .sql = "select 1"), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_CONNECTION);
    live_release(&lease);
    assert_int_equal(live_value(op, NULL, "select 1"), 1);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_lease_is_busy_until_the_rest_is_read(void **state)
{
    (void)state;
    struct ask ask = {.sql = "select g from generate_series(1, 100000) g"};
    struct place place;
    open_place(&place, IN_TRANSACTION, "prepare=true");
    tp_op *other = tp_op_new(place.pool);
    live_begin(place.op, place.on, &ask);
    move_to(place.op, &ask, AT_ROWS);
    assert_int_equal(TRY(other, place.on, .sql = "select 1"), TP_FAILED);
    assert_int_equal(tp_op_error(other)->kind, TP_ERR_BUSY);
    tp_op_stop(place.op);
    assert_int_equal(TRY(other, place.on, .sql = "select 1"), TP_FAILED);
    assert_int_equal(tp_op_error(other)->kind, TP_ERR_BUSY);
    assert_int_equal(live_move(place.op, &ask), TP_DONE);
    assert_int_equal(live_value(other, place.on, "select 1"), 1);
    tp_op_free(other);
    expect_unharmed(&place);
    close_place(&place);
}

/* Whoever gives up without a word costs the pool its connection, and nothing else. */
static void an_operation_may_be_given_up_between_rows(void **state)
{
    (void)state;
    for (int i = 0; i < WAYS * WHENS; i++) {
        const struct way *way = &ways[i % WAYS];
        struct ask ask = {.sql = "select g, repeat('x', g % 90) from generate_series(1, 30000) g",
                          .stream = way->stream};
        tp_pool *pool = LIVE_OPEN(way->setting);
        tp_op *op = tp_op_new(pool);
        for (int ending = 0; ending < 3; ending++) {
            live_begin(op, NULL, &ask);
            move_to(op, &ask, (enum when)(i / WAYS));
            if (ending == 0)
                tp_op_abandon(op);
            if (ending == 1)
                assert_int_equal(live_value(op, NULL, "select 4"), 4); /* begun again */
        }
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

/* ------------------------------------------------------------------------- limits */

/* Asks and counts the rows that it gets. */
static enum tp_step count_rows(struct place *place, struct ask *ask, int64_t *rows, int64_t *bytes)
{
    struct tp_row row;
    enum tp_step step;
    *rows = *bytes = 0;
    live_begin(place->op, place->on, ask);
    while ((step = live_move(place->op, ask)) == TP_ROWS || step == TP_RESULT) {
        while (tp_op_next_row(place->op, &row)) {
            *rows += 1;
            *bytes += (int64_t)row.len;
        }
    }
    return step;
}

static void expect_too_large(struct place *place, struct ask *ask, int64_t rows, const char *word)
{
    int64_t got, bytes;
    assert_int_equal(count_rows(place, ask, &got, &bytes), TP_FAILED);
    const struct tp_error *err = tp_op_error(place->op);
    assert_int_equal(err->kind, TP_ERR_VALIDATION);
    if (strstr(err->message, word) == NULL)
        fail_msg("%s", err->message);
    assert_int_equal(err->attempts, 1);
    assert_string_equal(err->query, ask->sql);
    assert_int_equal(got, rows);
    expect_unharmed(place);
}

static void expect_limits(struct place *place, const char *sql, int64_t rows)
{
    int64_t got, bytes, got_bytes;
    char word[64];
    struct ask ask = {.sql = sql, .max_rows = rows};
    assert_int_equal(count_rows(place, &ask, &got, &bytes), TP_DONE); /* exactly so many */
    assert_int_equal(got, rows);
    ask.max_bytes = bytes;
    assert_int_equal(count_rows(place, &ask, &got, &got_bytes), TP_DONE);
    assert_int_equal(got_bytes, bytes);
    snprintf(word, sizeof word, "max_result_bytes = %lld allows", (long long)bytes - 1);
    ask.max_bytes = bytes - 1;
    expect_too_large(place, &ask, rows - 1, word);
    ask.max_bytes = 1;
    expect_too_large(place, &ask, 0, "max_result_bytes = 1 allows");
    if (rows == 1)
        return;
    ask = (struct ask){.sql = sql, .max_rows = rows - 1};
    snprintf(word, sizeof word, "max_rows = %lld allows", (long long)rows - 1);
    expect_too_large(place, &ask, rows - 1, word);
    ask.max_rows = 1;
    expect_too_large(place, &ask, 1, "max_rows = 1 allows");
}

static void limits_are_exact(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 1000, 20000};
    for (int i = 0; i < WHERES * 2; i++) {
        struct place place;
        char sql[100];
        open_place(&place, (enum where)(i / 2), i % 2 == 0 ? "prepare=true" : "prepare=false");
        for (int k = 0; k < 4; k++) {
            snprintf(sql, sizeof sql, "select g, repeat('x', 30) from generate_series(1, %d) g",
                     sizes[k]);
            expect_limits(&place, sql, sizes[k]);
        }
        close_place(&place);
    }
}

static void a_limit_is_no_matter_to_fewer_rows(void **state)
{
    (void)state;
    struct place place;
    int64_t rows, bytes;
    open_place(&place, ON_POOL, "prepare=true");
    struct ask ask = {.sql = "select 1 where false", .max_rows = 1, .max_bytes = 1};
    assert_int_equal(count_rows(&place, &ask, &rows, &bytes), TP_DONE);
    assert_int_equal(rows, 0);
    ask.sql = "create temp table rows_none (i int)";
    assert_int_equal(count_rows(&place, &ask, &rows, &bytes), TP_DONE);
    ask.sql = "insert into rows_none select generate_series(1, 50)";
    assert_int_equal(count_rows(&place, &ask, &rows, &bytes), TP_DONE);
    assert_int_equal(live_value(place.op, NULL, "select count(*) from rows_none"), 50);
    close_place(&place);
}

/* The limit is there so that this is over soon, and takes little memory. */
static void a_result_without_end_is_over_at_its_limit(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct place place;
        struct ask ask = {.sql = "select generate_series(1, 2000000000), repeat('x', 500)",
                          .max_rows = 10};
        open_place(&place, i / 2 == 0 ? ON_POOL : ON_LEASE,
                   i % 2 == 0 ? "prepare=true" : "prepare=false");
        int64_t began = tp_now();
        expect_too_large(&place, &ask, 10, "max_rows = 10 allows");
        assert_true(tp_now() - began < 4000 * MS);
        close_place(&place);
    }
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_can_be_stopped_at_any_point),
        cmocka_unit_test(what_would_not_end_is_cancelled_outside_of_a_transaction),
        cmocka_unit_test(a_cancel_hits_nothing_that_comes_after),
        cmocka_unit_test(in_a_transaction_the_rest_is_read_for_so_long),
        cmocka_unit_test(a_lease_is_busy_until_the_rest_is_read),
        cmocka_unit_test(an_operation_may_be_given_up_between_rows),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(a_limit_is_no_matter_to_fewer_rows),
        cmocka_unit_test(a_result_without_end_is_over_at_its_limit),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    if (!live_is_there())
        return 0;
    int failed = run("stopped rows, driven");
    live_by_hand = true;
    return failed + run("stopped rows, by hand");
}
