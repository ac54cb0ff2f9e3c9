/* catalog.c: types that are looked up, from answers as the server gives them and from the
 * server itself; types that shall be text; what is forgotten. */
#include "codec_case.h"

#include <stdlib.h>
#include <string.h>

#include "catalog.h"

/* The columns of an answer. */
struct row {
    const char *oid, *name, *schema, *kind, *element, *delimiter, *names, *types;
};

/* Lets the catalog learn the rows, and `oids` that may have none; 0 ends them. */
static void learn(struct tp_catalog *catalog, const struct row *rows, size_t count,
                  const uint32_t *oids)
{
    int noids = 0;
    struct tp_catalog_answer *answer = tp__catalog_answer_new();
    assert_non_null(answer);
    for (size_t i = 0; i < count; i++) {
        const char *texts[TP_CATALOG_COLUMNS];
        memcpy(texts, &rows[i], sizeof texts);
        assert_true(tp__catalog_answer_add(answer, texts));
    }
    while (oids != NULL && oids[noids] != 0)
        noids++;
    assert_true(tp__catalog_learn(catalog, answer, oids, noids));
}

static const struct tp_type *find(struct tp_catalog *catalog, uint32_t oid)
{
    const struct tp_type *type = tp__catalog_find(catalog, oid);
    assert_non_null(type);
    assert_int_equal(type->oid, oid);
    return type;
}

/* ----------------------------------------------------------------- one by one */

static void built_in_types_need_no_looking_up(void **state)
{
    (void)state;
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    assert_ptr_equal(find(&catalog, 23), tp_type_builtin(23));
    assert_null(tp__catalog_find(&catalog, 16384));
    assert_null(tp__catalog_find(&catalog, 0));
    tp__catalog_deinit(&catalog);
}

static const struct row each_kind[] = {
    {"101", "mood", "public", "e", "0", ",", NULL, NULL},
    {"102", "_mood", "public", "a", "101", ",", NULL, NULL},
    {"103", "positive", "public", "d", "1700", ",", NULL, NULL},
    {"104", "pair", "public", "c", "0", ",", "a\001b", "23,25"},
    {"105", "span", "public", "r", "1082", ",", NULL, NULL},
    {"106", "spans", "public", "m", "105", ",", NULL, NULL},
    {"107", "hstore", "ext", "b", "0", ",", NULL, NULL},
    {"108", "vector", "ext", "b", "0", ",", NULL, NULL},
    {"109", "citext", "ext", "b", "0", ",", NULL, NULL},
    {"110", "ltree", "ext", "b", "0", ",", NULL, NULL},
    {"111", "record2", "pg_catalog", "p", "0", ",", NULL, NULL},
    {"112", "_box2", "public", "a", "603", ";", NULL, NULL},
    {"113", "nothing", "public", "c", "0", ",", NULL, NULL},
};

static void each_kind_becomes_what_it_is(void **state)
{
    (void)state;
    static const struct {
        uint32_t oid;
        enum tp_type_kind kind;
        bool binary;
        unsigned needs;
        uint32_t base;
    } expected[] = {
        {101, TP_KIND_TEXT, true, 0, 101},
        {102, TP_KIND_ARRAY, true, 0, 102},
        {103, TP_KIND_NUMERIC, true, 0, 1700},
        {104, TP_KIND_COMPOSITE, true, 0, 104},
        {105, TP_KIND_RANGE, true, TP_NEEDS_ISO_DATES, 105},
        {106, TP_KIND_MULTIRANGE, true, TP_NEEDS_ISO_DATES, 106},
        {107, TP_KIND_HSTORE, true, 0, 107},
        {108, TP_KIND_VECTOR, true, 0, 108},
        {109, TP_KIND_TEXT, true, 0, 109},
        {110, TP_KIND_TEXT, false, 0, 110},
        {111, TP_KIND_TEXT, false, 0, 111},
        {112, TP_KIND_ARRAY, true, 0, 112},
        {113, TP_KIND_COMPOSITE, true, 0, 113},
    };
    enum { ROWS = sizeof each_kind / sizeof each_kind[0] };
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    learn(&catalog, each_kind, ROWS, NULL);
    for (size_t i = 0; i < ROWS; i++) {
        const struct tp_type *type = find(&catalog, expected[i].oid);
        assert_string_equal(type->name, each_kind[i].name);
        assert_int_equal(type->kind, expected[i].kind);
        assert_int_equal(type->binary, expected[i].binary);
        assert_int_equal(type->needs, expected[i].needs);
        assert_int_equal(type->base, expected[i].base);
        assert_int_equal(type->delimiter, each_kind[i].delimiter[0]);
    }
    assert_ptr_equal(find(&catalog, 102)->element, find(&catalog, 101));
    assert_ptr_equal(find(&catalog, 106)->element, find(&catalog, 105));
    assert_ptr_equal(find(&catalog, 105)->element, tp_type_builtin(1082));
    const struct tp_type *pair = find(&catalog, 104);
    assert_int_equal(pair->nfields, 2);
    assert_string_equal(pair->fields[0].name, "a");
    assert_ptr_equal(pair->fields[0].type, tp_type_builtin(23));
    assert_string_equal(pair->fields[1].name, "b");
    assert_ptr_equal(pair->fields[1].type, tp_type_builtin(25));
    assert_int_equal(find(&catalog, 113)->nfields, 0);
    tp__catalog_deinit(&catalog);
}

static void names_of_fields_may_have_anything_in_them(void **state)
{
    (void)state;
    static const struct row row = {"120",
                                   "odd",
                                   "public",
                                   "c",
                                   "0",
                                   ",",
                                   "a,b\001\"q\"\001it's\001{x}\001 \001\303\244",
                                   "23,25,16,17,114,20"};
    static const char *const names[] = {"a,b", "\"q\"", "it's", "{x}", " ", "\303\244"};
    static const uint32_t types[] = {23, 25, 16, 17, 114, 20};
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    learn(&catalog, &row, 1, NULL);
    const struct tp_type *odd = find(&catalog, 120);
    assert_int_equal(odd->nfields, 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(odd->fields[i].name, names[i]);
        assert_int_equal(odd->fields[i].type->oid, types[i]);
    }
    tp__catalog_deinit(&catalog);
}

static void types_without_a_row_are_texts_without_a_name(void **state)
{
    (void)state;
    static const uint32_t oids[] = {130, 131, 132, 0};
    static const struct row rows[] = {
        {"131", "mood", "public", "e", "0", ",", NULL, NULL},
        {"133", "of_lost", "public", "a", "134", ",", NULL, NULL}, /* its element has gone */
        {"135", "few", "public", "d", "134", ",", NULL, NULL},
        {"136", "pair", "public", "c", "0", ",", "a\001b", "23,134"},
        {"137", "span", "public", "r", "0", ",", NULL, NULL},
    };
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    learn(&catalog, rows, sizeof rows / sizeof rows[0], oids);
    for (uint32_t oid = 130; oid <= 132; oid += 2) {
        assert_string_equal(find(&catalog, oid)->name, "");
        assert_int_equal(find(&catalog, oid)->kind, TP_KIND_TEXT);
        assert_false(find(&catalog, oid)->binary);
    }
    assert_string_equal(find(&catalog, 131)->name, "mood");
    assert_ptr_equal(find(&catalog, 133)->element, tp__type_unknown());
    assert_false(find(&catalog, 133)->binary);
    assert_int_equal(find(&catalog, 135)->kind, TP_KIND_TEXT);
    assert_false(find(&catalog, 135)->binary);
    assert_ptr_equal(find(&catalog, 136)->fields[1].type, tp__type_unknown());
    assert_false(find(&catalog, 136)->binary);
    assert_int_equal(find(&catalog, 137)->kind, TP_KIND_TEXT);
    tp__catalog_deinit(&catalog);
}

/* --------------------------------------------------------------------- together */

/* Deep enough that no order has everything in front of what is made of it. */
static const struct row deep[] = {
    {"201", "day", "s", "d", "1082", ",", NULL, NULL},
    {"202", "workday", "s", "d", "201", ",", NULL, NULL},
    {"203", "_workday", "s", "a", "202", ",", NULL, NULL},
    {"204", "week", "s", "d", "203", ",", NULL, NULL}, /* a domain over an array of domains */
    {"205", "shift", "s", "c", "0", ",", "who\001when", "25,202"},
    {"206", "_shift", "s", "a", "205", ",", NULL, NULL},
    {"207", "plan", "s", "c", "0", ",", "shifts\001week\001next", "206,204,209"},
    {"208", "days", "s", "r", "202", ",", NULL, NULL},
    {"209", "_days", "s", "a", "208", ",", NULL, NULL},
    {"210", "best_plan", "s", "d", "207", ",", NULL, NULL},
    {"211", "_best_plan", "s", "a", "210", ",", NULL, NULL},
};
enum { DEEP = sizeof deep / sizeof deep[0] };

static void assert_deep(struct tp_catalog *catalog)
{
    for (size_t i = 0; i < DEEP; i++) {
        const struct tp_type *type = find(catalog, (uint32_t)(201 + i));
        assert_string_equal(type->name, deep[i].name);
        assert_true(type->binary);
        assert_int_equal(type->needs, TP_NEEDS_ISO_DATES);
    }
    assert_int_equal(find(catalog, 202)->base, 1082);
    assert_int_equal(find(catalog, 202)->kind, TP_KIND_TEXT);
    assert_ptr_equal(find(catalog, 202)->codec, tp_type_builtin(1082)->codec);
    assert_int_equal(find(catalog, 204)->kind, TP_KIND_ARRAY);
    assert_int_equal(find(catalog, 204)->base, 203);
    assert_ptr_equal(find(catalog, 204)->element, find(catalog, 202));
    assert_ptr_equal(find(catalog, 206)->element, find(catalog, 205));
    assert_ptr_equal(find(catalog, 207)->fields[0].type, find(catalog, 206));
    assert_ptr_equal(find(catalog, 207)->fields[1].type, find(catalog, 204));
    assert_ptr_equal(find(catalog, 208)->element, find(catalog, 202));
    assert_int_equal(find(catalog, 210)->kind, TP_KIND_COMPOSITE);
    assert_int_equal(find(catalog, 210)->nfields, 3);
    assert_string_equal(find(catalog, 210)->fields[2].name, "next");
    assert_ptr_equal(find(catalog, 211)->element, find(catalog, 210));
}

static void an_answer_may_have_any_order(void **state)
{
    (void)state;
    uint64_t seed = codec_seed();
    for (int round = 0; round < 200; round++) {
        struct tp_catalog catalog;
        struct row rows[DEEP];
        memcpy(rows, deep, sizeof rows);
        for (size_t i = DEEP - 1; i > 0; i--) {
            size_t k = (size_t)codec_draw(&seed, 0, (int64_t)i);
            struct row row = rows[i];
            rows[i] = rows[k];
            rows[k] = row;
        }
        tp__catalog_init(&catalog);
        learn(&catalog, rows, DEEP, NULL);
        assert_deep(&catalog);
        tp__catalog_deinit(&catalog);
    }
}

static void a_domain_may_be_over_many_domains(void **state)
{
    (void)state;
    struct tp_catalog catalog;
    static const struct row rows[] = {
        {"228", "h", "s", "d", "227", ",", NULL, NULL},
        {"227", "g", "s", "d", "226", ",", NULL, NULL},
        {"226", "f", "s", "d", "225", ",", NULL, NULL},
        {"225", "e", "s", "d", "224", ",", NULL, NULL},
        {"224", "d", "s", "d", "223", ",", NULL, NULL},
        {"223", "c", "s", "d", "222", ",", NULL, NULL},
        {"222", "b", "s", "d", "221", ",", NULL, NULL},
        {"221", "a", "s", "d", "20", ",", NULL, NULL},
    };
    for (int reversed = 0; reversed < 2; reversed++) {
        struct row order[8];
        for (int i = 0; i < 8; i++)
            order[i] = rows[reversed ? 7 - i : i];
        tp__catalog_init(&catalog);
        learn(&catalog, order, 8, NULL);
        for (uint32_t oid = 221; oid <= 228; oid++) {
            assert_int_equal(find(&catalog, oid)->kind, TP_KIND_INT);
            assert_int_equal(find(&catalog, oid)->base, 20);
            assert_true(find(&catalog, oid)->binary);
        }
        tp__catalog_deinit(&catalog);
    }
}

/* Two connections may have asked at the same time; types that were found stay the same. */
static void what_is_known_already_stays_as_it_is(void **state)
{
    (void)state;
    static const uint32_t lost[] = {240, 0};
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    learn(&catalog, deep, 6, NULL);
    const struct tp_type *workday = find(&catalog, 202), *shift = find(&catalog, 205);
    learn(&catalog, deep, DEEP, lost);
    assert_ptr_equal(find(&catalog, 202), workday);
    assert_ptr_equal(find(&catalog, 205), shift);
    assert_deep(&catalog);
    learn(&catalog, deep, 0, lost);
    learn(&catalog, &(struct row){"240", "late", "s", "e", "0", ",", NULL, NULL}, 1, NULL);
    assert_string_equal(find(&catalog, 240)->name, ""); /* until it is forgotten */
    struct tp_catalog_answer *answer = tp__catalog_answer_new();
    assert_true(tp__catalog_answer_add(
        answer, (const char *[]){"23", "int4", "pg_catalog", "b", "0", ",", NULL, NULL}));
    assert_true(tp__catalog_learn(&catalog, answer, NULL, 0));
    assert_ptr_equal(find(&catalog, 23), tp_type_builtin(23));
    tp__catalog_deinit(&catalog);
}

static void an_answer_may_be_given_up(void **state)
{
    (void)state;
    struct tp_catalog_answer *answer = tp__catalog_answer_new();
    for (size_t i = 0; i < DEEP; i++) {
        const char *texts[TP_CATALOG_COLUMNS];
        memcpy(texts, &deep[i], sizeof texts);
        assert_true(tp__catalog_answer_add(answer, texts));
    }
    tp__catalog_answer_free(answer);
    tp__catalog_answer_free(NULL);
}

/* ---------------------------------------------------------- forced and forgotten */

static void assert_forced(const struct tp_type *type, const char *name)
{
    assert_string_equal(type->name, name);
    assert_int_equal(type->kind, TP_KIND_TEXT);
    assert_false(type->binary);
    assert_int_equal(type->needs, 0);
    assert_null(type->element);
    assert_null(type->codec);
    assert_int_equal(type->nfields, 0);
}

static void a_type_that_is_forced_is_text_and_what_is_made_of_it_is_not_binary(void **state)
{
    (void)state;
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    assert_true(tp__catalog_force_text(&catalog, "workday"));
    learn(&catalog, deep, DEEP, NULL);
    assert_forced(find(&catalog, 202), "workday");
    assert_true(find(&catalog, 201)->binary); /* what it is over is not forced */
    for (uint32_t oid = 203; oid <= 211; oid++)
        assert_false(find(&catalog, oid)->binary);
    assert_int_equal(find(&catalog, 203)->kind, TP_KIND_ARRAY);
    assert_ptr_equal(find(&catalog, 203)->element, find(&catalog, 202));
    assert_int_equal(find(&catalog, 208)->kind, TP_KIND_RANGE);
    assert_int_equal(find(&catalog, 205)->kind, TP_KIND_COMPOSITE);
    tp__catalog_deinit(&catalog);
}

static void any_kind_can_be_forced_by_either_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * DEEP; i++) {
        struct tp_catalog catalog;
        char name[64];
        const struct row *row = &deep[i / 2];
        snprintf(name, sizeof name, "%s%s", i % 2 == 1 ? "s." : "", row->name);
        tp__catalog_init(&catalog);
        assert_true(tp__catalog_force_text(&catalog, "other.workday"));
        assert_true(tp__catalog_force_text(&catalog, name));
        assert_true(tp__catalog_force_text(&catalog, name));
        learn(&catalog, deep, DEEP, NULL);
        for (uint32_t oid = 201; oid < 201 + DEEP; oid++) {
            if (oid == 201 + i / 2) /* under the name that the caller gave */
                assert_forced(find(&catalog, oid), name);
            else
                assert_string_equal(find(&catalog, oid)->name, deep[oid - 201].name);
        }
        tp__catalog_deinit(&catalog);
    }
}

static void built_in_types_can_be_forced_with_what_is_made_of_them(void **state)
{
    (void)state;
    static const uint32_t made[] = {1007, 3904, 3905, 4451, 6150}; /* int4's, up to 4 deep */
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    learn(&catalog, deep, DEEP, NULL);
    const struct tp_type *before = find(&catalog, 201);
    assert_true(tp__catalog_force_text(&catalog, "int4"));
    assert_forced(find(&catalog, 23), "int4");
    assert_int_equal(find(&catalog, 23)->base, 23);
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        const struct tp_type *type = find(&catalog, made[i]), *builtin = tp_type_builtin(made[i]);
        assert_string_equal(type->name, builtin->name);
        assert_int_equal(type->kind, builtin->kind);
        assert_int_equal(type->delimiter, builtin->delimiter);
        assert_false(type->binary);
        assert_ptr_equal(type->element, find(&catalog, builtin->element->oid));
    }
    assert_ptr_equal(find(&catalog, 20), tp_type_builtin(20));
    assert_ptr_equal(find(&catalog, 1016), tp_type_builtin(1016));
    assert_true(tp_type_builtin(23)->binary); /* other pools have it as before */
    assert_null(tp__catalog_find(&catalog, 201));
    assert_string_equal(before->name, "day"); /* may still be in use */
    learn(&catalog,
          (struct row[]){{"250", "few", "s", "d", "23", ",", NULL, NULL},
                         {"251", "pair", "s", "c", "0", ",", "a\001b", "23,20"}},
          2, NULL);
    assert_int_equal(find(&catalog, 250)->kind, TP_KIND_TEXT);
    assert_false(find(&catalog, 250)->binary);
    assert_false(find(&catalog, 251)->binary);
    assert_ptr_equal(find(&catalog, 251)->fields[0].type, find(&catalog, 23));
    tp__catalog_deinit(&catalog);
}

static void several_types_can_be_forced_one_after_another(void **state)
{
    (void)state;
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    assert_true(tp__catalog_force_text(&catalog, "jsonb"));
    assert_true(tp__catalog_force_text(&catalog, "_int4"));
    assert_true(tp__catalog_force_text(&catalog, "no_such_type"));
    assert_true(tp__catalog_force_text(&catalog, "timestamptz"));
    assert_forced(find(&catalog, 3802), "jsonb");
    assert_forced(find(&catalog, 1007), "_int4");
    assert_forced(find(&catalog, 1184), "timestamptz");
    assert_false(find(&catalog, 3807)->binary); /* jsonb[] */
    assert_true(find(&catalog, 23)->binary);
    assert_true(find(&catalog, 3904)->binary);
    tp__catalog_deinit(&catalog);
}

static void what_was_looked_up_can_be_forgotten(void **state)
{
    (void)state;
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    assert_true(tp__catalog_force_text(&catalog, "bool"));
    learn(&catalog, deep, DEEP, NULL);
    const struct tp_type *plan = find(&catalog, 207);
    for (int i = 0; i < 3; i++)
        tp__catalog_forget(&catalog);
    for (uint32_t oid = 201; oid < 201 + DEEP; oid++)
        assert_null(tp__catalog_find(&catalog, oid));
    assert_forced(find(&catalog, 16), "bool");                         /* but not what is forced */
    assert_string_equal(plan->fields[0].type->element->name, "shift"); /* while it is in use */
    learn(&catalog, (struct row[]){{"207", "plan", "s", "e", "0", ",", NULL, NULL}}, 1, NULL);
    assert_int_equal(find(&catalog, 207)->kind, TP_KIND_TEXT); /* it is not what it was */
    tp__catalog_deinit(&catalog);
}

/* ------------------------------------------------------------- the server's own */

static const char types_of_test[] =
    "drop schema if exists catalog_test cascade; create schema catalog_test; "
    "set search_path = catalog_test; "
    "create type mood as enum ('sad', 'so, so'); "
    "create domain day as date check (value > '2000-01-01'); create domain workday as day; "
    "create domain week as workday[]; "
    "create type shift as (who text, \"when, and\" workday, \"q\"\"q\" mood); "
    "create type plan as (shifts shift[], week week, gone int, empty int4multirange); "
    "alter type plan drop attribute gone; "
    "create domain best_plan as plan; "
    "create type span as range (subtype = numeric, multirange_type_name = spans); "
    "create type nothing as (); "
    "create table kept (a int, b plan, c spans); "
    "alter table kept drop column a; "
    "drop extension if exists hstore cascade; create extension hstore schema catalog_test; "
    "drop extension if exists citext cascade; create extension citext schema catalog_test";

/* What is known of a type, in brackets what it is made of. */
static void describe(const struct tp_type *type, struct tp_buf *out)
{
    static const char kinds[] = "tbifNBjarmchv"; /* in the order of enum tp_type_kind */
    tp__buf_printf(out, "%s:%c%s", type->name, kinds[type->kind], type->binary ? "" : "!");
    if (type->element == NULL && type->nfields == 0)
        return;
    tp__buf_putc(out, '(');
    if (type->element != NULL)
        describe(type->element, out);
    for (int i = 0; i < type->nfields; i++) {
        tp__buf_printf(out, "%s%s ", i > 0 ? "; " : "", type->fields[i].name);
        describe(type->fields[i].type, out);
    }
    tp__buf_putc(out, ')');
}

static void take_answer(PGconn *conn, struct tp_catalog *catalog, const uint32_t *oids, int count)
{
    struct tp_buf sql = {0};
    struct tp_catalog_answer *answer = tp__catalog_answer_new();
    tp__catalog_ask(&sql, oids, count, PQserverVersion(conn));
    PGresult *result = PQexec(conn, tp__buf_cstr(&sql));
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s", PQresultErrorMessage(result));
    assert_int_equal(PQnfields(result), TP_CATALOG_COLUMNS);
    for (int row = 0; row < PQntuples(result); row++) {
        const char *texts[TP_CATALOG_COLUMNS];
        for (int i = 0; i < TP_CATALOG_COLUMNS; i++)
            texts[i] = PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
        assert_true(tp__catalog_answer_add(answer, texts));
    }
    PQclear(result);
    tp__buf_free(&sql);
    assert_true(tp__catalog_learn(catalog, answer, oids, count));
}

static uint32_t oid_of(PGconn *conn, const char *name)
{
    char sql[128];
    snprintf(sql, sizeof sql, "select '%s'::regtype::oid", name);
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s", PQresultErrorMessage(result));
    uint32_t oid = (uint32_t)strtoul(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return oid;
}

#define SHIFT "shift:c(who text:t; when, and workday:t; q\"q mood:t)"
#define PLAN                                                 \
    "c(shifts _shift:a(" SHIFT "); week week:a(workday:t); " \
    "empty int4multirange:m(int4range:r(int4:i)))"

static const struct {
    const char *name, *description;
} expected[] = {
    {"mood", "mood:t"},
    {"mood[]", "_mood:a(mood:t)"},
    {"workday", "workday:t"},
    {"workday[]", "_workday:a(workday:t)"},
    {"week", "week:a(workday:t)"},
    {"week[]", "_week:a(week:a(workday:t))"},
    {"shift", SHIFT},
    {"plan", "plan:" PLAN},
    {"best_plan", "best_plan:" PLAN},
    {"best_plan[]", "_best_plan:a(best_plan:" PLAN ")"},
    {"span", "span:r(numeric:N)"},
    {"spans[]", "_spans:a(spans:m(span:r(numeric:N)))"},
    {"nothing", "nothing:c"},
    {"kept", "kept:c(b plan:" PLAN "; c spans:m(span:r(numeric:N)))"},
    {"kept[]", "_kept:a(kept:c(b plan:" PLAN "; c spans:m(span:r(numeric:N))))"},
    {"hstore", "hstore:h"},
    {"citext[]", "_citext:a(citext:t)"},
    {"int4", "int4:i"},
    {"int4[]", "_int4:a(int4:i)"},
    {"regclass", "regclass:t!"},
    {"information_schema.sql_identifier", "sql_identifier:t"},
};
enum { EXPECTED = sizeof expected / sizeof expected[0] };

static void assert_described(PGconn *conn, struct tp_catalog *catalog, size_t i)
{
    struct tp_buf out = {0};
    describe(find(catalog, oid_of(conn, expected[i].name)), &out);
    assert_string_equal(tp__buf_cstr(&out), expected[i].description);
    tp__buf_free(&out);
}

static void the_servers_types_are_understood_each_alone_and_together(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint32_t oids[EXPECTED + 1];
    struct tp_catalog all;
    codec_do(conn, types_of_test);
    for (size_t i = 0; i < EXPECTED; i++) {
        struct tp_catalog alone;
        oids[i] = oid_of(conn, expected[i].name);
        tp__catalog_init(&alone);
        take_answer(conn, &alone, &oids[i], 1);
        assert_described(conn, &alone, i);
        tp__catalog_deinit(&alone);
    }
    oids[EXPECTED] = 4000000000u; /* there is none */
    tp__catalog_init(&all);
    take_answer(conn, &all, oids, EXPECTED + 1);
    for (size_t i = 0; i < EXPECTED; i++)
        assert_described(conn, &all, i);
    assert_string_equal(find(&all, 4000000000u)->name, "");
    tp__catalog_deinit(&all);
    PQfinish(conn);
}

/* A session may have made anything of the names that the question uses. */
static void the_question_is_not_led_astray_by_other_names(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    codec_do(conn, types_of_test);
    codec_do(conn, "create table catalog_test.pg_type (oid int); "
                   "create table catalog_test.pg_attribute (oid int); "
                   "create function catalog_test.unnest(oid[]) returns setof oid language sql "
                   "as 'select 0::oid'; "
                   "create function catalog_test.array_to_string(anyarray, text) returns text "
                   "language sql as 'select ''wrong''::text'; "
                   "set search_path = catalog_test, pg_catalog");
    for (size_t i = 0; i < EXPECTED; i++) {
        struct tp_catalog catalog;
        uint32_t oid = oid_of(conn, expected[i].name);
        tp__catalog_init(&catalog);
        take_answer(conn, &catalog, &oid, 1);
        assert_described(conn, &catalog, i);
        tp__catalog_deinit(&catalog);
    }
    codec_do(conn, "drop schema catalog_test cascade");
    PQfinish(conn);
}

/* Reading a value would recur for as long as there are bytes. */
static void a_type_that_is_said_to_be_in_itself_is_text(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"300", "_own", "public", "a", "300", ",", NULL, NULL},
        {"301", "own", "public", "c", "0", ",", "a\001b", "23,301"},
        {"302", "ownrange", "public", "r", "302", ",", NULL, NULL},
        {"303", "there", "public", "c", "0", ",", "a", "304"},
        {"304", "_back", "public", "a", "305", ",", NULL, NULL},
        {"305", "back", "public", "d", "303", ",", NULL, NULL},
        {"306", "above", "public", "c", "0", ",", "a", "303"},
        {"307", "beside", "public", "c", "0", ",", "a\001b", "23,1007"},
    };
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    learn(&catalog, rows, sizeof rows / sizeof rows[0], NULL);
    for (uint32_t oid = 300; oid <= 306; oid++) {
        assert_int_equal(find(&catalog, oid)->kind, TP_KIND_TEXT);
        assert_false(find(&catalog, oid)->binary);
        assert_null(find(&catalog, oid)->element);
        assert_int_equal(find(&catalog, oid)->nfields, 0);
    }
    assert_int_equal(find(&catalog, 307)->kind, TP_KIND_COMPOSITE);
    assert_true(find(&catalog, 307)->binary);
    assert_int_equal(find(&catalog, 307)->depth, 2);
    tp__catalog_deinit(&catalog);
}

/* NULL where there has to be something, which no server says. */
static void nothing_is_known_of_a_type_with_half_a_row(void **state)
{
    (void)state;
    static const uint32_t oids[] = {310, 311, 312, 313, 314, 315, 0};
    static const struct row rows[] = {
        {NULL, "a", "public", "e", "0", ",", NULL, NULL},
        {"311", NULL, "public", "e", "0", ",", NULL, NULL},
        {"312", "a", NULL, "e", "0", ",", NULL, NULL},
        {"313", "a", "public", NULL, "0", ",", NULL, NULL},
        {"314", "a", "public", "e", NULL, NULL, NULL, NULL},
        {"315", "a", "public", "c", "0", ",", NULL, "23,25"},
    };
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    learn(&catalog, rows, sizeof rows / sizeof rows[0], oids);
    for (int i = 0; oids[i] != 0; i++)
        assert_string_equal(find(&catalog, oids[i])->name, "");
    tp__catalog_deinit(&catalog);
}

/* Servers before version 14 have no multiranges, and no such column. */
static void older_servers_are_asked_for_what_they_have(void **state)
{
    (void)state;
    static const uint32_t oid = 23;
    struct tp_buf sql = {0};
    tp__catalog_ask(&sql, &oid, 1, 130012);
    assert_null(strstr(tp__buf_cstr(&sql), "multi"));
    tp__buf_clear(&sql);
    tp__catalog_ask(&sql, &oid, 1, 140000);
    assert_non_null(strstr(tp__buf_cstr(&sql), "rngmultitypid"));
    tp__buf_free(&sql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in_types_need_no_looking_up),
        cmocka_unit_test(each_kind_becomes_what_it_is),
        cmocka_unit_test(names_of_fields_may_have_anything_in_them),
        cmocka_unit_test(types_without_a_row_are_texts_without_a_name),
        cmocka_unit_test(an_answer_may_have_any_order),
        cmocka_unit_test(a_domain_may_be_over_many_domains),
        cmocka_unit_test(what_is_known_already_stays_as_it_is),
        cmocka_unit_test(an_answer_may_be_given_up),
        cmocka_unit_test(a_type_that_is_forced_is_text_and_what_is_made_of_it_is_not_binary),
        cmocka_unit_test(any_kind_can_be_forced_by_either_name),
        cmocka_unit_test(built_in_types_can_be_forced_with_what_is_made_of_them),
        cmocka_unit_test(several_types_can_be_forced_one_after_another),
        cmocka_unit_test(what_was_looked_up_can_be_forgotten),
        cmocka_unit_test(the_servers_types_are_understood_each_alone_and_together),
        cmocka_unit_test(the_question_is_not_led_astray_by_other_names),
        cmocka_unit_test(a_type_that_is_said_to_be_in_itself_is_text),
        cmocka_unit_test(nothing_is_known_of_a_type_with_half_a_row),
        cmocka_unit_test(older_servers_are_asked_for_what_they_have),
    };
    return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
