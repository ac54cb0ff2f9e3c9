/* sqltext.c: what a text may leave behind in the session that executes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqltext.h"

enum { NONE = 0, STATE = TP_LEAVES_STATE, GOOD = TP_LEAVES_FOR_GOOD };

static const struct text {
    const char *sql;
    unsigned traces;
} texts[] = {
    /* reading and writing */
    {"", NONE},
    {" ;; ", NONE},
    {"select 1", NONE},
    {"SELECT Count(*), lower (name) FROM t WHERE id IN ($1, $2)", NONE},
    {"select t.a, (select max(b) from u) from t where (a = 1) and (b = any($1))", NONE},
    {"insert into t (a, b) values ($1, default)", NONE},
    {"insert into s.t(a) select a from u on conflict (a) do update set (a) = (1)", NONE},
    {"insert into \"T\" . \"U\" (a) values (1)", NONE},
    {"insert into t as x (a) values (1) returning (a)", NONE},
    {"merge into t using (select 1 as a) as u (a) on (true) when matched then delete", NONE},
    {"with q as (select 1), r as materialized (select 2) select * from q", NONE},
    {"select x::numeric(10, 2), cast(y as varchar(3)) from t as z(x, y)", NONE},
    {"select sum(a) over (partition by b) filter (where true) from t window w as (order by a)",
     NONE},
    {"copy t(a, b) from stdin", NONE},
    {"copy s.t (a) to stdout", NONE},
    {"begin; set local work_mem = '1MB'; select 1; commit", NONE},
    {"set transaction read only", NONE},
    {"(select 1) union (select 2)", NONE},
    {"select pg_catalog.lower('A')", NONE},
    /* what only looks like more */
    {"select 'set_config(', \"f\" from t where a = 'it''s f(x)'", NONE},
    {"select 'a\\d', E'a\\'f(x)', e'\\\\', $$ f(x) $$, $a$ $$ f(x) $b$ $a$, $1", NONE},
    {"select 1 -- f(x)\n, 2 /* g(x) /* h(x) */ i(x) */ , 3", NONE},
    {"select '--', lower('x') -- '", NONE},
    /* functions that are not known, however they are written */
    {"select set_config('a', 'b', false)", STATE},
    {"select SET_CONFIG /* a comment */ -- and another\n ('a', 'b', false)", STATE},
    {"select \"set_config\"('a', 'b', false)", STATE},
    {"select U&\"\\0073et_config\"('a', 'b', false)", STATE},
    {"select pg_catalog.set_config('a', 'b', false)", STATE},
    {"select pg_catalog . \"set_config\" ('a', 'b', false)", STATE},
    {"select public.lower('A')", STATE},
    {"select a.pg_catalog.lower('A')", STATE},
    {"select lower(f('A'))", STATE},
    {"select caf\xc3\xa9(1)", STATE},
    {"select f$1(1)", STATE},
    {"select * from f(1)", STATE},
    {"insert into t (a) values (f(1))", STATE},
    {"insert into t(a) select f (1)", STATE},
    {"copy (select f(1)) to stdout", STATE},
    {"select $a$ $b$ $a$, f(1), $a$ $a$", STATE},
    {"select '''', f(1), ''''", STATE},
    {"select E'\\'', f(1), ''", STATE},
    {"select '--', f(1)", STATE},
    {"select '/*', f(1), '*/'", STATE},
    {"select 1 /* /* */ */, f(1)", STATE},
    {"select 1; select f(1)", STATE},
    {"call p()", STATE},
    {"do $$ begin end $$", STATE},
    /* where a string ends is not known here */
    {"select '\\', f(1), '\\'", STATE},
    {"select 'a\\''", STATE},
    /* tables by SELECT */
    {"select 1 as a into temp t", STATE},
    {"with a as (select 1) select * into t from a", STATE},
    /* statements */
    {"set work_mem = '1MB'", STATE},
    {"/* */ SET session work_mem = '1MB'", STATE},
    {"select 1; set role r", STATE},
    {"reset all", STATE},
    {"listen c", STATE},
    {"prepare a as select 1", STATE},
    {"declare c cursor with hold for select 1", STATE},
    {"create temp table t (a int)", STATE},
    {"discard all", STATE},
    {"explain analyze select 1", STATE},
    /* what only a new session is without */
    {"load 'plpgsql'", GOOD},
    {"select 1; load 'plpgsql'", GOOD},
    {"select setseed(0.5)", GOOD},
    {"set seed = 0.5", GOOD},
    {"set session seed = 0.5", STATE | GOOD},
    /* broken off */
    {"select 'f(", NONE},
    {"select \"f(", NONE},
    {"select $a$ f(", NONE},
    {"select /* f(", NONE},
    {"select f(", STATE},
    {"select e'", NONE},
};

static void it_is_known_what_a_text_may_leave(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (tp__sql_traces(texts[i].sql, strlen(texts[i].sql)) != texts[i].traces)
            fail_msg("%s", texts[i].sql);
    }
}

/* Copies without a NUL behind them, so that a sanitizer sees a read past the end. */
static void no_byte_behind_a_text_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (size_t len = 0; len <= strlen(texts[i].sql); len++) {
            char *copy = malloc(len + 1);
            assert_non_null(copy);
            char *exact = copy + 1;
            memcpy(exact, texts[i].sql, len);
            (void)tp__sql_traces(exact, len);
            free(copy);
        }
    }
}

static void it_is_known_what_may_commit_on_its_way(void **state)
{
    static const char *const may[] = {
        "call f(1)",
        " ; -- a comment\n/* another */ CALL f(1)",
        "do $$ begin commit; end $$",
        "Vacuum t",
        "cluster t",
        "reindex table t",
        "create unique index concurrently i on t (a)",
        "alter table t detach partition p CONCURRENTLY",
    };
    static const char *const may_not[] = {
        "",
        "select call, do from t",
        "insert into call values ('concurrently')",
        "select 1 -- concurrently",
        "create index i on t (a)",
        "update \"do\" set a = 1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof may / sizeof *may; i++)
        if (!tp__sql_may_commit(may[i], strlen(may[i])))
            fail_msg("%s", may[i]);
    for (size_t i = 0; i < sizeof may_not / sizeof *may_not; i++)
        if (tp__sql_may_commit(may_not[i], strlen(may_not[i])))
            fail_msg("%s", may_not[i]);
}

/* The words are looked up by halving, so each must be found. */
static void every_known_word_is_found(void **state)
{
    static const char *const words[] = {
#include "sqltext_words.inc"
    };
    char sql[80];
    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        snprintf(sql, sizeof sql, "select %s(1)", words[i]);
        if (tp__sql_traces(sql, strlen(sql)) != 0)
            fail_msg("%s", words[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_known_what_a_text_may_leave),
        cmocka_unit_test(it_is_known_what_may_commit_on_its_way),
        cmocka_unit_test(no_byte_behind_a_text_is_read),
        cmocka_unit_test(every_known_word_is_found),
    };
    return cmocka_run_group_tests_name("sqltext", tests, NULL, NULL);
}
