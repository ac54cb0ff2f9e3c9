/* types_composite.c: the texts of composite values and of hstore, also those that are
 * malformed, and random ones (TIDEPOOL_SEED repeats a run). */
#include "codec_case.h"

#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------- traces */

/* Writes what is visited as "0<a>1N": the number of a field and its text, N for NULL; of
 * hstore "<key><value>". Stops after `limit`. */
struct trace {
    struct tp_buf buf;
    int limit, next;
};

static void put_value(struct tp_buf *out, const char *text, size_t len)
{
    if (text == NULL) {
        tp__buf_putc(out, 'N');
        return;
    }
    tp__buf_putc(out, '<');
    tp__buf_append(out, text, len);
    tp__buf_putc(out, '>');
}

static bool visit_field(void *ctx, int field, const char *text, size_t len)
{
    struct trace *trace = ctx;
    assert_int_equal(field, trace->next++);
    tp__buf_printf(&trace->buf, "%d", field);
    put_value(&trace->buf, text, len);
    return --trace->limit != 0;
}

static bool visit_pair(void *ctx, const char *key, size_t key_len, const char *value, size_t len)
{
    struct trace *trace = ctx;
    assert_non_null(key);
    put_value(&trace->buf, key, key_len);
    put_value(&trace->buf, value, len);
    return --trace->limit != 0;
}

/* Walks a copy in memory of exactly its size, so that the sanitizer sees any step over the
 * end of text or scratch. */
static bool walk(bool hstore, const char *text, size_t len, struct trace *trace)
{
    char *copy = malloc(len + (len == 0)), *scratch = malloc(len + (len == 0));
    assert_non_null(copy);
    assert_non_null(scratch);
    memcpy(copy, text, len);
    bool fine = hstore ? tp_hstore_walk(copy, len, scratch, visit_pair, trace)
                       : tp_composite_walk(copy, len, scratch, visit_field, trace);
    free(copy);
    free(scratch);
    return fine;
}

/* NULL: it is refused. */
static void assert_walk(bool hstore, const char *text, const char *expected)
{
    struct trace trace = {0};
    bool fine = walk(hstore, text, strlen(text), &trace);
    if (fine != (expected != NULL))
        fail_msg("%s was %s", text, fine ? "accepted" : "refused");
    tp__buf_putc(&trace.buf, '\0');
    if (fine)
        assert_string_equal(trace.buf.data, expected);
    tp__buf_free(&trace.buf);
}

/* ------------------------------------------------------------ composite values */

static void fields_come_in_order(void **state)
{
    (void)state;
    assert_walk(false, "(1)", "0<1>");
    assert_walk(false, "(1,b,-3)", "0<1>1<b>2<-3>");
    assert_walk(false, "(a b, c ,)", "0<a b>1< c >2N");
    assert_walk(false, "({1,2},x)", "0<{1>1<2}>2<x>"); /* as the server would not write it */
    assert_walk(false, "(\"{1,2}\",x)", "0<{1,2}>1<x>");
}

static void nothing_is_null_and_quotes_are_the_empty_text(void **state)
{
    (void)state;
    assert_walk(false, "()", "0N");
    assert_walk(false, "(,)", "0N1N");
    assert_walk(false, "(\"\",,\"\")", "0<>1N2<>");
    assert_walk(false, "(NULL,null)", "0<NULL>1<null>");
}

static void quoted_fields_are_unescaped(void **state)
{
    (void)state;
    assert_walk(false, "(\"a,b\",\"(c)\",\" \")", "0<a,b>1<(c)>2< >");
    assert_walk(false, "(\"a\"\"b\",\"\"\"\",\"\\\"\")", "0<a\"b>1<\">2<\">");
    assert_walk(false, "(\"a\\\\b\",\"\\x\")", "0<a\\b>1<x>");
    assert_walk(false, "(\"(1,\"\"(2,\\\\\"\"x\\\\\"\")\"\")\")", "0<(1,\"(2,\\\"x\\\")\")>");
}

/* The server reads these too, though it does not write them. */
static void quoted_and_bare_stretches_may_be_mixed(void **state)
{
    (void)state;
    assert_walk(false, "(a\"b,c\"d,\\,\\))", "0<ab,cd>1<,)>");
}

static void malformed_composite_values_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",     " ",     "1",      "(",        ")",      "(1",
                                        "1)",   "(1,",   "(1,2",   "(1)x",     "(1)(2)", "(1) ",
                                        " (1)", "(\"1)", "(\"1",   "(\"1\\",   "(1\\",   "(a(b))",
                                        "(1))", "((1)",  "(\"a\"", "(\"\"\")", "[1]",    "{1}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_walk(false, texts[i], NULL);
}

/* ---------------------------------------------------------------------- hstore */

static void pairs_come_in_order(void **state)
{
    (void)state;
    assert_walk(true, "", "");
    assert_walk(true, " ", "");
    assert_walk(true, "\"a\"=>\"1\"", "<a><1>");
    assert_walk(true, "\"a\"=>\"1\", \"b\"=>NULL", "<a><1><b>N");
    assert_walk(true, "\"a\"=>NULL,\"b\"=>\"\",\"\"=>\"NULL\"", "<a>N<b><><><NULL>");
    assert_walk(true, " \"a\"=>\"1\" ,\n\"b\"=>\"2\" ", "<a><1><b><2>");
}

static void keys_and_values_are_unescaped(void **state)
{
    (void)state;
    assert_walk(true, "\"a\\\"b\"=>\"c\\\\d\"", "<a\"b><c\\d>");
    assert_walk(true, "\"=>\"=>\",\", \"NULL\"=>\"x y\"", "<=>><,><NULL><x y>");
}

static void malformed_hstores_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"a",
                                        "\"a\"",
                                        "\"a",
                                        "\"a\"=",
                                        "\"a\"=>",
                                        "\"a\">\"b\"",
                                        "\"a\"=>\"b",
                                        "\"a\"=>\"b\\",
                                        "\"a\"=>b",
                                        "a=>\"b\"",
                                        "\"a\"=>NUL",
                                        "\"a\"=>NULLS",
                                        "\"a\"=>null",
                                        "\"a\"=>\"b\"\"c\"=>\"d\"",
                                        "\"a\"=>\"b\" \"c\"=>\"d\"",
                                        "\"a\"=>\"b\",",
                                        "\"a\"=>\"b\",,\"c\"=>\"d\"",
                                        ",\"a\"=>\"b\"",
                                        ",",
                                        "\"a\" => \"b\"",
                                        "\"a\"\"b\"=>\"c\"",
                                        "NULL=>\"a\""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_walk(true, texts[i], NULL);
}

static void the_visitor_can_stop_the_walk(void **state)
{
    (void)state;
    static const char *const texts[2] = {"(a,,b)", "\"a\"=>\"b\", \"c\"=>NULL, \"d\"=>\"e\""};
    static const char *const seen[2][3] = {{"0<a>", "0<a>1N", "0<a>1N2<b>"},
                                           {"<a><b>", "<a><b><c>N", "<a><b><c>N<d><e>"}};
    for (int i = 0; i < 6; i++) {
        struct trace trace = {.limit = i / 2 + 1};
        assert_false(walk(i % 2 == 1, texts[i % 2], strlen(texts[i % 2]), &trace));
        assert_string_equal(tp__buf_cstr(&trace.buf), seen[i % 2][i / 2]);
        tp__buf_free(&trace.buf);
    }
}

/* ---------------------------------------------------------------- random values */

static int draw(uint64_t *seed, int below)
{
    return (int)codec_draw(seed, 0, below - 1);
}

/* In quotes, with what has to be escaped. */
static void put_quoted(uint64_t *seed, bool hstore, struct tp_buf *text, struct tp_buf *expected)
{
    static const char special[] = "\"\\(),=> \n{}N";
    tp__buf_putc(text, '"');
    tp__buf_putc(expected, '<');
    for (int n = draw(seed, 8); n > 0; n--) {
        char c = draw(seed, 2) == 0 ? special[draw(seed, 12)] : (char)('a' + draw(seed, 26));
        bool doubled = !hstore && c == '"' && draw(seed, 2) == 0;
        if (doubled)
            tp__buf_putc(text, '"');
        else if (c == '"' || c == '\\')
            tp__buf_putc(text, '\\');
        tp__buf_putc(text, c);
        tp__buf_putc(expected, c);
    }
    tp__buf_putc(text, '"');
    tp__buf_putc(expected, '>');
}

static void put_bare(uint64_t *seed, struct tp_buf *text, struct tp_buf *expected)
{
    tp__buf_putc(expected, '<');
    for (int n = 1 + draw(seed, 6); n > 0; n--) {
        char c = " {}=>abcN1"[draw(seed, 10)];
        tp__buf_putc(text, c);
        tp__buf_putc(expected, c);
    }
    tp__buf_putc(expected, '>');
}

static void generate_composite(uint64_t *seed, struct tp_buf *text, struct tp_buf *expected)
{
    int fields = 1 + draw(seed, 6);
    for (int i = 0; i < fields; i++) {
        tp__buf_putc(text, i == 0 ? '(' : ',');
        tp__buf_printf(expected, "%d", i);
        switch (draw(seed, 3)) {
        case 0:
            tp__buf_putc(expected, 'N');
            break;
        case 1:
            put_bare(seed, text, expected);
            break;
        default:
            put_quoted(seed, false, text, expected);
        }
    }
    tp__buf_putc(text, ')');
}

static void generate_hstore(uint64_t *seed, struct tp_buf *text, struct tp_buf *expected)
{
    int pairs = 1 + draw(seed, 5);
    for (int i = 0; i < pairs; i++) {
        tp__buf_puts(text, i == 0 ? "" : ", ");
        put_quoted(seed, true, text, expected);
        tp__buf_puts(text, "=>");
        if (draw(seed, 4) == 0) {
            tp__buf_puts(text, "NULL");
            tp__buf_putc(expected, 'N');
        } else {
            put_quoted(seed, true, text, expected);
        }
    }
}

/* Every beginning lacks its end, but for a hstore's that ends between two pairs. */
static void expect_beginning_refused(uint64_t *seed, bool hstore, const struct tp_buf *text)
{
    struct trace trace = {0};
    size_t cut = (size_t)draw(seed, (int)text->len);
    bool fine = walk(hstore, text->data, cut, &trace);
    if (!hstore)
        assert_false(fine);
    tp__buf_free(&trace.buf);
}

static void random_values_are_read_back(void **state)
{
    (void)state;
    uint64_t seed = codec_seed();
    struct tp_buf text = {0}, expected = {0};
    for (int i = 0; i < 20000; i++) {
        bool hstore = i % 2 == 1;
        struct trace trace = {0};
        tp__buf_clear(&text);
        tp__buf_clear(&expected);
        if (hstore)
            generate_hstore(&seed, &text, &expected);
        else
            generate_composite(&seed, &text, &expected);
        if (!walk(hstore, text.data, text.len, &trace) ||
            strcmp(tp__buf_cstr(&trace.buf), tp__buf_cstr(&expected)) != 0)
            fail_msg("%s", tp__buf_cstr(&text));
        tp__buf_free(&trace.buf);
        expect_beginning_refused(&seed, hstore, &text);
        text.data[draw(&seed, (int)text.len)] ^= (char)(1 << draw(&seed, 8));
        trace.next = 0;
        (void)walk(hstore, text.data, text.len, &trace); /* whatever it says */
        tp__buf_free(&trace.buf);
    }
    tp__buf_free(&text);
    tp__buf_free(&expected);
}

/* ---------------------------------------------------------------- the server's own */

static void what_the_server_writes_is_read(void **state)
{
    (void)state;
    static const struct {
        bool hstore;
        const char *sql, *expected;
    } cases[] = {
        {false, "select row(1, null, '', 'a b', 'q\"q', 'b\\b', 'c,d', '(e)')",
         "0<1>1N2<>3<a b>4<q\"q>5<b\\b>6<c,d>7<(e)>"},
        {false, "select row(row(1, 'x\"y'), array['a', null], null::text)",
         "0<(1,\"x\"\"y\")>1<{a,NULL}>2N"},
        {false, "select row(null)", "0N"},
        {true,
         "create extension if not exists hstore; "
         "select 'a=>1, b=>null, \"q\\\"\\\\ ,=>\"=>\"NULL\"'::hstore",
         "<a><1><b>N<q\"\\ ,=>><NULL>"},
        {true, "select ''::hstore", ""},
    };
    PGconn *conn = codec_connect();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        PGresult *result = PQexec(conn, cases[i].sql);
        if (PQresultStatus(result) != PGRES_TUPLES_OK)
            fail_msg("%s", PQresultErrorMessage(result));
        assert_walk(cases[i].hstore, PQgetvalue(result, 0, 0), cases[i].expected);
        PQclear(result);
    }
    codec_do(conn, "drop extension hstore");
    PQfinish(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_in_order),
        cmocka_unit_test(nothing_is_null_and_quotes_are_the_empty_text),
        cmocka_unit_test(quoted_fields_are_unescaped),
        cmocka_unit_test(quoted_and_bare_stretches_may_be_mixed),
        cmocka_unit_test(malformed_composite_values_are_refused),
        cmocka_unit_test(pairs_come_in_order),
        cmocka_unit_test(keys_and_values_are_unescaped),
        cmocka_unit_test(malformed_hstores_are_refused),
        cmocka_unit_test(the_visitor_can_stop_the_walk),
        cmocka_unit_test(random_values_are_read_back),
        cmocka_unit_test(what_the_server_writes_is_read),
    };
    return cmocka_run_group_tests_name("composite types", tests, NULL, NULL);
}
