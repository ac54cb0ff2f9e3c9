/* Descriptions that connections share, over a real server: who asks, who need not, and tables
 * that change meanwhile. All of it runs twice, by tp_drive and stepped by hand. */
#include "live_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op_impl.h"

/* Two leases of one pool. */
struct pair {
    tp_pool *pool;
    tp_op *op;
    tp_lease first, second;
};

static void open_pair(struct pair *pair, const char *setting)
{
    pair->pool = LIVE_OPEN("pool.max=3", setting);
    pair->op = tp_op_new(pair->pool);
    pair->first = live_acquire(pair->op);
    pair->second = live_acquire(pair->op);
}

static void close_pair(struct pair *pair)
{
    live_release(&pair->first);
    live_release(&pair->second);
    tp_op_free(pair->op);
    tp_pool_release(pair->pool);
}

/* Asks and counts the round trips until the statement itself is under way, that one too. */
static int round_trips(tp_op *op, const tp_lease *lease, struct ask ask)
{
    enum op_state last = OP_IDLE;
    int trips = 0;
    int64_t until = tp_now() + FAKE_AT_MOST_US;
    struct tp_param params[8];
    for (int i = 0; i < ask.nparams; i++)
        params[i] = (struct tp_param){ask.params[i], strlen(ask.params[i]), false};
    live_begin(op, lease, &ask);
    while (op->state != OP_EXECUTING) {
        trips += op->state != last && (op->state == OP_PREPARING || op->state == OP_LEARNING);
        last = op->state;
        enum tp_step step = tp_op_step(op, TP_READ);
        if (step == TP_ENCODE)
            tp_op_params(op, params);
        assert_true(step == TP_WAIT || step == TP_ENCODE);
        assert_true(tp_now() < until);
        fake_breathe();
    }
    if (live_finish(op, &ask) != TP_DONE)
        live_print_error(op);
    return trips + 1;
}

/* ------------------------------------------------------------------- sharing */

static void the_second_connection_needs_no_description(void **state)
{
    (void)state;
    static const struct ask ask = {
        .sql = "select $1::int + 1 as n, 'x' as t", .params = {"4"}, .nparams = 1};
    struct pair pair;
    open_pair(&pair, "prepare=true");
    assert_int_equal(round_trips(pair.op, &pair.first, ask), 2); /* described, executed */
    assert_int_equal(live_number(pair.op), 5);
    assert_int_equal(round_trips(pair.op, &pair.second, ask), 1); /* all at once */
    assert_int_equal(live_number(pair.op), 5);
    assert_string_equal(live_result(pair.op)->columns[0].name, "n");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(round_trips(pair.op, i ? &pair.first : &pair.second, ask), 1);
        assert_int_equal(live_number(pair.op), 5);
    }
    struct tp_stats stats = live_stats(pair.pool);
    assert_int_equal(stats.statements_prepared, 2);
    assert_int_equal(stats.statement_hits, 2);
    assert_int_equal(
        live_value(pair.op, &pair.second,
                   "select count(*) from pg_prepared_statements where statement like '%as t'"),
        2 - 1);
    close_pair(&pair);
}

static void types_are_learnt_once_for_all_connections(void **state)
{
    (void)state;
    static const struct ask ask = {.sql = "select 'b'::rows_mood as m, null::rows_pair as p"};
    struct pair pair;
    open_pair(&pair, "prepare=true");
    DO(pair.op, NULL, .simple = true,
       .sql = "drop type if exists rows_mood, rows_pair cascade; "
              "create type rows_mood as enum ('a', 'b'); "
              "create type rows_pair as (a rows_mood, b int)");
    assert_int_equal(round_trips(pair.op, &pair.first, ask), 3); /* the catalog is asked, too */
    for (int i = 0; i < 2; i++)
        assert_int_equal(round_trips(pair.op, &pair.second, ask), 1);
    const struct live_result *result = live_result(pair.op);
    assert_string_equal(live_text(pair.op), "b");
    assert_string_equal(result->columns[0].type, "rows_mood");
    assert_string_equal(result->columns[1].type, "rows_pair");
    assert_int_equal(result->columns[1].kind, TP_KIND_COMPOSITE);
    assert_true(result->binary);
    /* Another statement with the same types has no need to ask. */
    assert_int_equal(
        round_trips(pair.op, &pair.first, (struct ask){.sql = "select 'a'::rows_mood"}), 2);
    DO(pair.op, NULL, .sql = "drop type rows_mood, rows_pair");
    close_pair(&pair);
}

static void a_statement_that_was_prepared_on_the_way_is_known_though_it_failed(void **state)
{
    (void)state;
    static const struct ask good = {.sql = "select 10 / $1::int", .params = {"2"}, .nparams = 1};
    static const struct ask bad = {.sql = "select 10 / $1::int", .params = {"0"}, .nparams = 1};
    struct pair pair;
    open_pair(&pair, "prepare=true");
    DO(pair.op, &pair.first, .sql = good.sql, .params = {"2"}, .nparams = 1);
    assert_int_equal(live_try(pair.op, &pair.second, bad), TP_FAILED);
    assert_string_equal(tp_op_error(pair.op)->code, "22012");
    assert_int_equal(live_stats(pair.pool).statements_prepared, 2);
    live_ask(pair.op, &pair.second, good);
    assert_int_equal(live_number(pair.op), 5);
    assert_int_equal(live_stats(pair.pool).statement_hits, 1);
    assert_int_equal(live_value(pair.op, &pair.second,
                                "select count(*) from pg_prepared_statements "
                                "where statement like 'select 10 / %'"),
                     1);
    close_pair(&pair);
}

static void a_statement_that_cannot_be_prepared_any_more_is_not_known(void **state)
{
    (void)state;
    struct pair pair;
    open_pair(&pair, "prepare=true");
    DO(pair.op, NULL, .sql = "drop table if exists rows_gone");
    DO(pair.op, NULL, .sql = "create table rows_gone (i int)");
    DO(pair.op, &pair.first, .sql = "select i from rows_gone");
    DO(pair.op, NULL, .sql = "drop table rows_gone");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(TRY(pair.op, &pair.second, .sql = "select i from rows_gone"), TP_FAILED);
        assert_string_equal(tp_op_error(pair.op)->code, "42P01");
    }
    DO(pair.op, &pair.second, .sql = "begin");
    assert_int_equal(TRY(pair.op, &pair.second, .sql = "select i from rows_gone"), TP_FAILED);
    DO(pair.op, &pair.second, .sql = "rollback");
    DO(pair.op, NULL, .sql = "create table rows_gone as select 7 as i");
    assert_int_equal(live_value(pair.op, &pair.second, "select i from rows_gone"), 7);
    assert_int_equal(live_value(pair.op, &pair.first, "select i from rows_gone"), 7);
    DO(pair.op, NULL, .sql = "drop table rows_gone");
    close_pair(&pair);
}

/* ------------------------------------------------------------ tables that change */

/* How a table is made, changed and what is in it then. The second connection meets the
 * statement only after the change, with the description from before. */
static const struct change {
    const char *create, *alter, *sql, *name, *text, *type;
    int columns;
    bool understood; /* the new type, in binary form and without asking */
} changes[] = {
    {"as select 65 as a", "alter a type text using 'x' || a", "select * from rows_change", "a",
     "x65", "text", 1, true},
    {"as select 'y'::text as a", "alter a type int using 17", "select a from rows_change", "a",
     "17", "int4", 1, true},
    {"as select 18 as a", "alter a type bigint", "select a from rows_change", "a", "18", "int8", 1,
     true},
    {"as select 19 as a", "alter a type money using a::numeric::money", "select a from rows_change",
     "a", "$19.00", "money", 1, false}, /* has no binary form */
    {"as select 20::money as a", "alter a type int using 21", "select a from rows_change", "a",
     "21", "int4", 1, true},
    {"as select 22 as a", "alter a type timestamptz using '2020-02-02 02:02:02+00'",
     "select a from rows_change", "a", "2020-02-02 02:02:02+00", "timestamptz", 1, true},
    {"as select 'so'::text as a", "alter a type rows_how using a::rows_how",
     "select a from rows_change", "a", "so", "rows_how", 1, false}, /* nobody has seen it before */
    {"as select 23 as a, 24 as b", "drop a", "select * from rows_change", "b", "24", "int4", 1,
     true},
    {"as select 25 as a", "add b int", "select * from rows_change", "a", "25", "int4", 2, true},
    {"as select 26 as a", "rename a to b", "select * from rows_change", "b", "26", "int4", 1, true},
};

static void make_table(tp_op *op, const struct change *change)
{
    char sql[400];
    snprintf(sql, sizeof sql,
             "drop table if exists rows_change; drop type if exists rows_how; "
             "create type rows_how as enum ('so', 'else'); create table rows_change %s",
             change->create);
    DO(op, NULL, .sql = sql, .simple = true);
}

static void alter_table(tp_op *op, const struct change *change)
{
    char sql[400];
    snprintf(sql, sizeof sql, "alter table rows_change %s", change->alter);
    DO(op, NULL, .sql = sql, .simple = true);
}

/* Without a prepared statement the server does not notice; rows that have come in a form that
 * is not understood are then an error, once. */
static bool is_refused(const struct pair *pair, const struct change *change, bool prepared)
{
    return !prepared && !change->understood &&
           strstr(tp_op_error(pair->op)->message, "columns have changed") != NULL;
}

static void expect_changed(struct pair *pair, const tp_lease *lease, const struct change *change,
                           bool prepared)
{
    for (int i = 0; i < 3; i++) { /* prepared, then known */
        if (TRY(pair->op, lease, .sql = change->sql) != TP_DONE) {
            if (i == 0 && is_refused(pair, change, prepared))
                continue;
            live_print_error(pair->op);
            fail_msg("%s %s, time %d", change->create, change->alter, i);
        }
        const struct live_result *result = live_result(pair->op);
        assert_int_equal(result->ncolumns, change->columns);
        assert_int_equal(result->nrows, 1);
        assert_int_equal(result->count, 1);
        if (strcmp(live_text(pair->op), change->text) != 0)
            fail_msg("%s %s, time %d: %s", change->create, change->alter, i, live_text(pair->op));
        assert_string_equal(result->columns[0].name, change->name);
        if (change->understood || i > 0) /* else nobody has asked for it yet */
            assert_string_equal(result->columns[0].type, change->type);
    }
}

static void expect_changes(const char *setting, int first_to_ask)
{
    bool prepared = strcmp(setting, "prepare=true") == 0;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct pair pair;
        open_pair(&pair, setting);
        make_table(pair.op, &changes[i]);
        DO(pair.op, &pair.first, .sql = changes[i].sql);
        alter_table(pair.op, &changes[i]);
        const tp_lease *first = first_to_ask == 1 ? &pair.first : &pair.second;
        const tp_lease *second = first_to_ask == 1 ? &pair.second : &pair.first;
        expect_changed(&pair, first, &changes[i], prepared);
        expect_changed(&pair, second, &changes[i], prepared);
        expect_changed(&pair, NULL, &changes[i], prepared);
        if (!prepared)
            assert_true(live_stats(pair.pool).query_failures <= !changes[i].understood);
        close_pair(&pair);
    }
}

static void columns_that_changed_come_right_to_who_knew_them_before(void **state)
{
    (void)state;
    expect_changes("prepare=true", 1);
}

static void columns_that_changed_come_right_to_who_has_heard_of_them(void **state)
{
    (void)state;
    expect_changes("prepare=true", 2);
}

static void columns_that_changed_come_right_without_prepared_statements(void **state)
{
    (void)state;
    expect_changes("prepare=false", 1);
    expect_changes("prepare=false", 2);
}

/* Whatever happened to the table, a row is inserted once. */
static void a_statement_with_effects_is_not_executed_twice(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct pair pair;
        static const char sql[] = "insert into rows_change select * from rows_change returning *";
        open_pair(&pair, "prepare=true");
        make_table(pair.op, &changes[i]);
        DO(pair.op, &pair.first, .sql = sql);
        alter_table(pair.op, &changes[i]);
        for (int k = 0; k < 2; k++) {
            DO(pair.op, &pair.second, .sql = sql);
            assert_int_equal(live_result(pair.op)->count, k == 0 ? 2 : 4);
            assert_string_equal(live_text(pair.op), changes[i].text);
        }
        assert_int_equal(live_value(pair.op, NULL, "select count(*) from rows_change"), 8);
        DO(pair.op, NULL, .sql = "drop table rows_change");
        close_pair(&pair);
    }
}

/* What FETCH returns is the cursor's business, and the server does not look whether it is what
 * it was. So it is with EXECUTE and CALL. */
static void statements_whose_columns_may_differ_each_time_come_right(void **state)
{
    (void)state;
    static const struct {
        const char *made_of, *text;
    } made[] = {{"select 65", "65"}, {"select 'x'::text", "x"},      {"select 66, 67", "66"},
                {"select 68", "68"}, {"select 69::money", "$69.00"}, {"select 70::int8", "70"}};
    for (int way = 0; way < 4; way++) {
        struct pair pair;
        open_pair(&pair, way % 2 == 0 ? "prepare=true" : "prepare=false");
        for (size_t i = 0; i < 2 * sizeof made / sizeof made[0]; i++) {
            tp_lease *lease = i % 5 == 4 ? &pair.second : &pair.first;
            char sql[120];
            DO(pair.op, lease, .sql = "begin");
            snprintf(sql, sizeof sql, "%s %s", way < 2 ? "declare c cursor for" : "prepare c as",
                     made[i / 2].made_of);
            DO(pair.op, lease, .sql = sql, .simple = true);
            DO(pair.op, lease, .sql = way < 2 ? "fetch all from c" : "execute c");
            assert_string_equal(live_text(pair.op), made[i / 2].text);
            assert_int_equal(live_result(pair.op)->nrows, 1);
            DO(pair.op, lease, .sql = way < 2 ? "close c" : "deallocate c", .simple = true);
            DO(pair.op, lease, .sql = "commit");
        }
        close_pair(&pair);
    }
}

/* Statements that a pipeline has found must not go before it has executed them. */
static void news_that_come_while_a_pipeline_is_prepared_wait_for_its_end(void **state)
{
    (void)state;
    static const struct tp_item items[] = {
        {"select 1", 8, 0}, {"select 2", 8, 0}, {"select 3", 8, 0}, {"select 4", 8, 0}};
    enum tp_step step;
    struct pair pair;
    open_pair(&pair, "prepare=true");
    tp_op_pipeline(pair.op, &pair.first, items, 4, false, tp_deadline_in_ms(20000));
    while ((step = tp_op_step(pair.op, TP_READ)) != TP_DONE && step != TP_FAILED) {
        if (pair.op->state == OP_PREPARING && tp_op_item(pair.op) > 0)
            tp_pool_forget_types(pair.pool);
        fake_breathe();
    }
    if (step == TP_FAILED)
        live_print_error(pair.op);
    assert_int_equal(step, TP_DONE);
    assert_int_equal(live_value(pair.op, &pair.first, "select 1"), 1);
    assert_int_equal(live_stats(pair.pool).statements_prepared, 5); /* the news has come */
    close_pair(&pair);
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_connection_needs_no_description),
        cmocka_unit_test(types_are_learnt_once_for_all_connections),
        cmocka_unit_test(a_statement_that_was_prepared_on_the_way_is_known_though_it_failed),
        cmocka_unit_test(a_statement_that_cannot_be_prepared_any_more_is_not_known),
        cmocka_unit_test(columns_that_changed_come_right_to_who_knew_them_before),
        cmocka_unit_test(columns_that_changed_come_right_to_who_has_heard_of_them),
        cmocka_unit_test(columns_that_changed_come_right_without_prepared_statements),
        cmocka_unit_test(a_statement_with_effects_is_not_executed_twice),
        cmocka_unit_test(statements_whose_columns_may_differ_each_time_come_right),
        cmocka_unit_test(news_that_come_while_a_pipeline_is_prepared_wait_for_its_end),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    if (!live_is_there())
        return 0;
    int failed = run("rows of changing tables, driven");
    live_by_hand = true;
    return failed + run("rows of changing tables, by hand");
}
