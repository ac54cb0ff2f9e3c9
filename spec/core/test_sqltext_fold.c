/* sqltext_fold.c: texts without what differs from call to call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "sqltext_fold.h"

static const char *const pairs[][2] = {
    {"select 1", "select ?"},
    {"SELECT  *\n\tFROM Users -- all\n WHERE id=5;", "select * from users where id = ?"},
    {"select * from users where id = 'x' ; ;", "select * from users where id = ?"},
    {"begin; select 1; commit;", "begin; select ?; commit"},
    {"; select 1", "select ?"},
    {"", ""},
    {" -- nothing\n;", ""},
    /* constants of all kinds */
    {"select 'it''s', 'a'\n'b', E'\\'', e'x', $$ a 'b' $$, $t$ $$ $t$", "select ?, ?, ?, ?, ?, ?"},
    {"select E'it''s \\'no\\' name', E'a' -- b\n '\\'c' \n'd\\'e', 'f'\n'\\', E'g' , 'h'",
     "select ?, ?, ?, ?, ?"},
    {"select E'a''b\\'", "select ?"},
    {"select B'1', X'1F', N'a', U&'\\0041', b'0', 0x1F, 1_000, 0b11",
     "select ?, ?, ?, ?, ?, ?, ?, ?"},
    {"select 1.5, .5, 1., 1e5, 1.5E-5, 1e+5", "select ?, ?, ?, ?, ?, ?"},
    {"select -1, +1, - a, a - 1, a -1, (-1), b[-1], 2*-1",
     "select ?, ?, - a, a - ?, a - ?, (?), b[?], ? * ?"},
    {"select * from t where a = -5 and b > -.5 limit 10 offset 20",
     "select * from t where a = ? and b > ? limit ? offset ?"},
    {"select interval '1 day', date '2020-01-01', '5'::int, cast('5' as numeric(10, 2))",
     "select interval ?, date ?, ?::int, cast(? as numeric(?, ?))"},
    {"create role x password 'secret'", "create role x password ?"},
    /* parameters and names stay */
    {"select $1::int + $2 , \"Name\".\"b\" from \"T\"",
     "select $1::int + $2, \"Name\".\"b\" from \"T\""},
    {"select t.a,t.* from S.T as t", "select t.a, t.* from s.t as t"},
    {"select count( * ) , lower (x) from t", "select count(*), lower (x) from t"},
    {"select a->>'b', a #> '{c}', a ? 'd', a@>b", "select a ->> ?, a #> ?, a ? ?, a @> b"},
    {"select 1 /* traceparent='00-1-2-01' */ , 2", "select ?, ?"},
    {"select a is null, b is true", "select a is null, b is true"},
    {"select x1, a1b2 from t2", "select x1, a1b2 from t2"},
    {"select \xc3\x9c\x62\x65r from caf\xc3\xa9", "select \xc3\x9c\x62\x65r from caf\xc3\xa9"},
    /* lists */
    {"select 1 where a in (1,2, 3) or b in ('x')", "select ? where a in (...) or b in (...)"},
    {"select 1 where a IN($1,$2)", "select ? where a in (...)"},
    {"select 1 where a in (-1, '2'::int, $3::text)", "select ? where a in (...)"},
    {"select 1 where a in (select 1)", "select ? where a in (select ?)"},
    {"select 1 where a in (1, b)", "select ? where a in (?, b)"},
    {"select 1 where a in (", "select ? where a in ("},
    {"select array[1, 2, 3], ARRAY['a'], array[a]", "select array[...], array[...], array[a]"},
    {"insert into t (a, b) values (1, 'x')", "insert into t (a, b) values (?, ?)"},
    {"insert into t values ($1, $2), ($3, $4),\n($5, $6) returning a",
     "insert into t values ($1, $2), ... returning a"},
    {"insert into t values (1, now()), (2, now())", "insert into t values (?, now()), (?, now())"},
    {"insert into t values (1), (2), (now())", "insert into t values (?), ..., (now())"},
};

static void texts_are_folded(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char out[200];
        uint64_t hash;
        size_t len = tp__sql_fold(pairs[i][0], strlen(pairs[i][0]), out, sizeof out, &hash);
        assert_string_equal(out, pairs[i][1]);
        assert_int_equal(len, strlen(out));
    }
}

/* What is folded is folded, so that a text of the statistics is its own. */
static void folding_twice_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char out[200];
        uint64_t hash;
        if (strstr(pairs[i][1], "...") != NULL)
            continue;
        (void)tp__sql_fold(pairs[i][1], strlen(pairs[i][1]), out, sizeof out, &hash);
        assert_string_equal(out, pairs[i][1]);
    }
}

static void long_texts_are_cut_and_told_apart_by_their_hash(void **state)
{
    char sql[3000], other[3000], out[100], again[100];
    uint64_t hash, other_hash, third;
    (void)state;
    memset(sql, 0, sizeof sql);
    for (size_t i = 0; i < 290; i++)
        memcpy(sql + 10 * i, i == 0 ? "select a0," : "column_aa,", 10);
    strcpy(sql + 2900, "b from t where c = 5");
    strcpy(other, sql);
    other[2911] = 'u';
    size_t len = tp__sql_fold(sql, strlen(sql), out, sizeof out, &hash);
    assert_true(len < sizeof out);
    assert_string_equal(out + len - 3, "...");
    (void)tp__sql_fold(other, strlen(other), again, sizeof again, &other_hash);
    assert_string_equal(out, again);
    assert_true(hash != other_hash);
    sql[strlen(sql) - 1] = '7';
    (void)tp__sql_fold(sql, strlen(sql), again, sizeof again, &third);
    assert_true(hash == third);
}

static void a_word_without_room_is_not_cut_in_two(void **state)
{
    char out[16];
    uint64_t hash;
    (void)state;
    (void)tp__sql_fold("select \xc3\x9c\xc3\x9c\xc3\x9c\xc3\x9c\xc3\x9c\xc3\x9c", 19, out,
                       sizeof out, &hash);
    assert_string_equal(out, "select ...");
}

/* Any bytes, and any beginning of a text: nothing is read or written where there is nothing. */
static void no_bytes_do_harm(void **state)
{
    static const char letters[] = "'\"$-/*e.0(),;[]iInN:u&\\ \n\xc3"
                                  "ab1";
    (void)state;
    srand(1);
    for (int i = 0; i < 20000; i++) {
        size_t len = (size_t)rand() % 40;
        char *sql = malloc(len + 1), out[24];
        uint64_t hash;
        for (size_t k = 0; k < len; k++)
            sql[k] = letters[(size_t)rand() % (sizeof letters - 1)];
        char *exact = malloc(len > 0 ? len : 1);
        memcpy(exact, sql, len);
        size_t written = tp__sql_fold(exact, len, out, sizeof out, &hash);
        assert_true(written < sizeof out);
        assert_int_equal(strlen(out), written);
        free(exact);
        free(sql);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_folded),
        cmocka_unit_test(folding_twice_changes_nothing),
        cmocka_unit_test(long_texts_are_cut_and_told_apart_by_their_hash),
        cmocka_unit_test(a_word_without_room_is_not_cut_in_two),
        cmocka_unit_test(no_bytes_do_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
