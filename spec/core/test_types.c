/* types.c and types_array.c: built-in types, bytea's text forms, and arrays
 * against a generator of random ones (TIDEPOOL_SEED repeats a run). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h" /* for its random numbers */
#include "catalog.h"
#include "clock.h"
#include "types.h"

/* ------------------------------------------------------------------- types */

static uint32_t element_of(const struct tp_type *type)
{
    return type->element != NULL ? type->element->oid : 0;
}

static void assert_type(uint32_t oid, const char *name, enum tp_type_kind kind, uint32_t element)
{
    const struct tp_type *type = tp_type_builtin(oid);
    assert_non_null(type);
    assert_int_equal(type->oid, oid);
    assert_int_equal(type->base, oid);
    assert_string_equal(type->name, name);
    assert_int_equal(type->kind, kind);
    assert_int_equal(element_of(type), element);
}

static void common_types_are_known_by_oid(void **state)
{
    (void)state;
    assert_type(16, "bool", TP_KIND_BOOL, 0);
    assert_type(17, "bytea", TP_KIND_BYTEA, 0);
    assert_type(20, "int8", TP_KIND_INT, 0);
    assert_type(21, "int2", TP_KIND_INT, 0);
    assert_type(23, "int4", TP_KIND_INT, 0);
    assert_type(25, "text", TP_KIND_TEXT, 0);
    assert_type(26, "oid", TP_KIND_INT, 0);
    assert_type(114, "json", TP_KIND_JSON, 0);
    assert_type(700, "float4", TP_KIND_FLOAT, 0);
    assert_type(701, "float8", TP_KIND_FLOAT, 0);
    assert_type(1184, "timestamptz", TP_KIND_TEXT, 0);
    assert_type(1700, "numeric", TP_KIND_NUMERIC, 0);
    assert_type(2950, "uuid", TP_KIND_TEXT, 0);
    assert_type(3802, "jsonb", TP_KIND_JSON, 0);
    assert_type(1007, "_int4", TP_KIND_ARRAY, 23);
    assert_type(1009, "_text", TP_KIND_ARRAY, 25);
    assert_type(6157, "_int8multirange", TP_KIND_ARRAY, 4536);
}

static void types_with_an_element_but_no_braces_are_text(void **state)
{
    (void)state;
    assert_type(22, "int2vector", TP_KIND_TEXT, 0);
    assert_type(600, "point", TP_KIND_TEXT, 0);
}

static void a_type_that_is_not_built_in_is_text_without_a_name(void **state)
{
    (void)state;
    static const uint32_t oids[] = {0, 1, 15, 16384, UINT32_MAX};
    const struct tp_type *unknown = tp__type_unknown();
    for (size_t i = 0; i < sizeof oids / sizeof oids[0]; i++)
        assert_null(tp_type_builtin(oids[i]));
    assert_int_equal(unknown->oid, 0);
    assert_string_equal(unknown->name, "");
    assert_int_equal(unknown->kind, TP_KIND_TEXT);
    assert_null(unknown->element);
    assert_int_equal(unknown->delimiter, ',');
    assert_false(unknown->binary);
}

static void boxes_are_delimited_by_semicolons(void **state)
{
    (void)state;
    const struct tp_type *type;
    for (size_t i = 0; (type = tp__type_builtin_at(i)) != NULL; i++)
        assert_int_equal(type->delimiter, type->oid == 603 || type->oid == 1020 ? ';' : ',');
}

static void every_array_has_an_element_that_is_known(void **state)
{
    (void)state;
    int arrays = 0;
    const struct tp_type *array;
    for (size_t i = 0; (array = tp__type_builtin_at(i)) != NULL; i++) {
        assert_ptr_equal(tp_type_builtin(array->oid), array);
        if (array->kind == TP_KIND_ARRAY) {
            assert_ptr_equal(array->element, tp_type_builtin(element_of(array)));
            assert_int_equal(array->name[0], '_');
            assert_string_equal(array->name + 1, array->element->name);
            assert_int_equal(array->delimiter, array->element->delimiter);
            arrays++;
        }
    }
    assert_in_range(arrays, 70, 90);
}

/* One row of pg_type as initdb loads it: OID, name, eight columns, type,
 * category, preferred, defined, delimiter, relation, subscript, element. */
static int check_type_row(const char *line)
{
    unsigned oid, element;
    char name[64], type, category, delimiter;
    if (sscanf(line, "insert ( %u %63s %*s %*s %*s %*s %c %c %*s %*s '%c' %*s %*s %u", &oid, name,
               &type, &category, &delimiter, &element) != 6) {
        return 0;
    }
    const struct tp_type *known = tp_type_builtin(oid);
    if (known == NULL) { /* left out on purpose: rows of catalogues, pseudo-types */
        assert_true(type == 'c' || type == 'p' || strncmp(name, "_pg_", 4) == 0);
        return 0;
    }
    assert_string_equal(known->name, name);
    assert_int_equal(known->delimiter, delimiter);
    assert_int_equal(known->kind == TP_KIND_ARRAY, name[0] == '_');
    assert_int_equal(known->kind == TP_KIND_RANGE, type == 'r');
    assert_int_equal(known->kind == TP_KIND_MULTIRANGE, type == 'm');
    if (type != 'r' && type != 'm') /* of those pg_range has the element */
        assert_int_equal(element_of(known), name[0] == '_' ? element : 0);
    return 1;
}

/* One row of pg_range: type, subtype, multirange. */
static int check_range_row(const char *line)
{
    unsigned oid, subtype, multirange;
    if (sscanf(line, "insert ( %u %u %u", &oid, &subtype, &multirange) != 3)
        return 0;
    assert_int_equal(element_of(tp_type_builtin(oid)), subtype);
    assert_int_equal(element_of(tp_type_builtin(multirange)), oid);
    return 1;
}

static void check_types_of(const char *path)
{
    char line[1024];
    bool in_pg_type = false, in_pg_range = false;
    int types = 0, ranges = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    print_message("           comparing with %s\n", path);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "create ", 7) == 0) {
            in_pg_type = strncmp(line, "create pg_type ", 15) == 0;
            in_pg_range = strncmp(line, "create pg_range ", 16) == 0;
        } else if (in_pg_type) {
            types += check_type_row(line);
        } else if (in_pg_range) {
            ranges += check_range_row(line);
        }
    }
    (void)fclose(file);
    assert_true(types >= 160); /* or the file was not what it seems */
    assert_int_equal(ranges, 6);
}

static void every_base_type_of_postgresql_15_is_known(void **state)
{
    (void)state;
    glob_t found = {0};
    (void)glob("/usr/share/postgresql/15/postgres.bki", 0, NULL, &found);
    (void)glob("/usr/pgsql-15/share/postgres.bki", GLOB_APPEND, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        check_types_of(found.gl_pathv[i]);
    }
    if (found.gl_pathc == 0) {
        print_message("           not compared: no postgres.bki of PostgreSQL 15 here\n");
    }
    globfree(&found);
}

/* ------------------------------------------------------------------- bytea */

static void assert_bytea(const char *text, const char *bytes, long len)
{
    unsigned char out[64];
    memset(out, '#', sizeof out);
    assert_int_equal(tp_bytea_decode(text, strlen(text), out), len);
    if (len > 0) {
        assert_memory_equal(out, bytes, (size_t)len);
    }
}

static void bytea_in_hex_is_decoded(void **state)
{
    (void)state;
    assert_bytea("\\x", "", 0);
    assert_bytea("\\x00ff10aB", "\x00\xFF\x10\xAB", 4);
    assert_bytea("\\x 00 \n\tff ", "\x00\xFF", 2);
}

static void bytea_in_escape_form_is_decoded(void **state)
{
    (void)state;
    assert_bytea("", "", 0);
    assert_bytea("abc", "abc", 3);
    assert_bytea("a\\\\b", "a\\b", 3);
    assert_bytea("\\000\\377x\\101", "\x00\xFFxA", 4);
    assert_bytea("x\\\\x41", "x\\x41", 5);
}

static void malformed_bytea_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"\\x0",  "\\x0g", "\\xg0", "\\x0 0", "\\x\\",
                                        "\\",    "a\\",   "\\1",   "\\12",   "\\400",
                                        "\\181", "\\118", "\\X00", "\\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_bytea(texts[i], NULL, -1);
    }
}

static void every_byte_survives_both_forms(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte <= 255; byte++) {
        char text[16], expected = (char)byte;
        (void)snprintf(text, sizeof text, "\\x%02x", byte);
        assert_bytea(text, &expected, 1);
        (void)snprintf(text, sizeof text, "\\%03o", byte);
        assert_bytea(text, &expected, 1);
    }
}

/* ------------------------------------------------------------------ arrays */

/* Writes what is visited as "{<a><b>N}": N is NULL. Stops after `limit`. */
struct trace {
    struct tp_buf buf;
    int limit;
};

static bool trace_visit(void *ctx, int event, const char *text, size_t len)
{
    struct trace *trace = ctx;
    if (event != 'v') {
        tp__buf_putc(&trace->buf, (char)event);
    } else if (text == NULL) {
        tp__buf_putc(&trace->buf, 'N');
    } else {
        tp__buf_putc(&trace->buf, '<');
        tp__buf_append(&trace->buf, text, len);
        tp__buf_putc(&trace->buf, '>');
    }
    return --trace->limit != 0;
}

/* Walks a copy in memory of exactly its size, so that the sanitizer sees any
 * step over the end of text or scratch. */
static bool walk(const char *text, size_t len, char delimiter, struct trace *trace)
{
    char *copy = malloc(len + (len == 0)), *scratch = malloc(len + (len == 0));
    assert_non_null(copy);
    assert_non_null(scratch);
    memcpy(copy, text, len);
    bool fine = tp_array_walk(copy, len, delimiter, scratch, trace_visit, trace);
    free(copy);
    free(scratch);
    return fine;
}

static void assert_array(const char *text, const char *expected)
{
    struct trace trace = {0};
    bool fine = walk(text, strlen(text), ',', &trace);
    if (fine != (expected != NULL)) {
        fail_msg("%s was %s", text, fine ? "accepted" : "refused");
    }
    if (fine) {
        assert_string_equal(tp__buf_cstr(&trace.buf), expected);
    }
    tp__buf_free(&trace.buf);
}

static void elements_come_in_order(void **state)
{
    (void)state;
    assert_array("{}", "{}");
    assert_array("{1}", "{<1>}");
    assert_array("{1,2,-3}", "{<1><2><-3>}");
    assert_array("{{1,2},{3,4}}", "{{<1><2>}{<3><4>}}");
    assert_array("{{{{{{x}}}}}}", "{{{{{{<x>}}}}}}");
    assert_array("{{},{}}", "{{}{}}");
}

static void only_an_unquoted_null_is_null(void **state)
{
    (void)state;
    assert_array("{NULL,null,NuLl}", "{NNN}");
    assert_array("{\"NULL\",\\NULL,NUL\\L,NULLS,NUL}", "{<NULL><NULL><NULL><NULLS><NUL>}");
    assert_array("{ NULL }", "{N}");
}

static void quoted_elements_are_unescaped(void **state)
{
    (void)state;
    assert_array("{\"\"}", "{<>}");
    assert_array("{\"a,b\",\"{}\",\" \"}", "{<a,b><{}>< >}");
    assert_array("{\"q\\\"q\",\"b\\\\b\",\"\\x\"}", "{<q\"q><b\\b><x>}");
}

static void unquoted_elements_are_unescaped(void **state)
{
    (void)state;
    assert_array("{a\\,b,\\{,\\\"}", "{<a,b><{><\">}");
    assert_array("{a b,a\\ }", "{<a b><a >}");
    assert_array("{\\ }", "{< >}");
}

static void white_space_around_things_is_skipped(void **state)
{
    (void)state;
    assert_array(" { 1 ,\t\"2\"\n, c d\v\f\r} ", "{<1><2><c d>}");
    assert_array("{ { 1 } , { 2 } }", "{{<1>}{<2>}}");
    assert_array("{ }", "{}");
}

static void bounds_are_checked_and_skipped(void **state)
{
    (void)state;
    assert_array("[0:2]={1,2,3}", "{<1><2><3>}");
    assert_array("[-2:-1]={1,2}", "{<1><2>}");
    assert_array("[1:1][-2:-1] = {{1,2}}", "{{<1><2>}}");
    assert_array("[2]={1,2}", "{<1><2>}");
    assert_array(" [+1:2] [1:1]= {{1},{2}}", "{{<1>}{<2>}}");
}

static void malformed_arrays_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "1",
                                        "NULL",
                                        "{",
                                        "}",
                                        "{1",
                                        "{1,",
                                        "{1,}",
                                        "{,1}",
                                        "{,}",
                                        "{1,,2}",
                                        "{1}}",
                                        "{{1}",
                                        "{1}x",
                                        "{1}{2}",
                                        "{1} 2",
                                        "{\"1}",
                                        "{\"1\\",
                                        "{1\\",
                                        "{\"1\\\"}",
                                        "{\"a\"b}",
                                        "{a\"b\"}",
                                        "{\"a\"\"b\"}",
                                        "{a{b}}",
                                        "{{1}2}",
                                        "{{1}{2}}",
                                        "{\"a\"{1}}",
                                        "[0:2]",
                                        "[0:2]=",
                                        "[0:2]{1,2,3}",
                                        "[0:2]={1,2}",
                                        "[0:1]={1,2,3}",
                                        "[2:1]={}",
                                        "[1:1]={}",
                                        "[1:1]={{1}}",
                                        "[1:1][1:1]={1}",
                                        "[a:b]={1}",
                                        "[:1]={1}",
                                        "[1:]={1}",
                                        "[]={1}",
                                        "[1:1={1}",
                                        "[1:2147483648]={1}",
                                        "[99999999999999999999:1]={1}",
                                        "[1:1]={1",
                                        "[ 1:1]={1}",
                                        "={1}",
                                        "[1:1][1:1][1:1][1:1][1:1][1:1][1:1]={{{{{{{1}}}}}}}",
                                        "{{{{{{{1}}}}}}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_array(texts[i], NULL);
    }
}

static void arrays_that_are_not_rectangular_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"{{1},{2,3}}", "{{1,2},{3}}", "{1,{2}}",   "{{1},2}",
                                        "{{1},{}}",    "{{},{1}}",    "{{},1}",    "{{{1}},{2}}",
                                        "{{1},{{2}}}", "{{},{{}}}",   "{{{}},{}}", "{1,{}}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_array(texts[i], NULL);
    }
}

static void a_hostile_depth_is_refused_at_once(void **state)
{
    (void)state;
    static char text[1000000];
    struct trace trace = {0};
    memset(text, '{', sizeof text);
    assert_false(walk(text, sizeof text, ',', &trace));
    assert_string_equal(tp__buf_cstr(&trace.buf), "{{{{{{");
    tp__buf_free(&trace.buf);
}

static void boxes_are_split_at_semicolons(void **state)
{
    (void)state;
    static const char text[] = "{(1,1),(0,0);(2,2),(1,1)}";
    struct trace trace = {0};
    assert_true(walk(text, sizeof text - 1, ';', &trace));
    assert_string_equal(tp__buf_cstr(&trace.buf), "{<(1,1),(0,0)><(2,2),(1,1)>}");
    tp__buf_free(&trace.buf);
}

static void the_visitor_can_stop_the_walk(void **state)
{
    (void)state;
    static const char *const seen[] = {"{", "{{", "{{<1>", "{{<1>N", "{{<1>N}", "{{<1>N}}"};
    for (int limit = 1; limit <= 6; limit++) {
        struct trace trace = {.limit = limit};
        assert_false(walk("{{1,NULL}}", 10, ',', &trace));
        assert_string_equal(tp__buf_cstr(&trace.buf), seen[limit - 1]);
        tp__buf_free(&trace.buf);
    }
}

/* A random array: its text as a server or a user may write it, and the trace
 * that the walk has to leave. */
struct generator {
    uint64_t seed;
    int depth, lengths[7];
    struct tp_buf text, expected;
};

static int draw(struct generator *gen, int below)
{
    return (int)tp__random_below(&gen->seed, below);
}

static void blanks(struct generator *gen)
{
    for (int n = draw(gen, 8) - 5; n > 0; n--) {
        tp__buf_putc(&gen->text, " \t\n\r\v\f"[draw(gen, 6)]);
    }
}

/* The characters of an element; `plain` ones never need an escape. */
static void element_body(struct generator *gen, bool quoted, int len)
{
    static const char special[] = "{}\",\\ \t\n";
    for (int i = 0; i < len; i++) {
        bool plain = draw(gen, 3) > 0;
        char c = plain ? (char)('a' + draw(gen, 26)) : special[draw(gen, 8)];
        bool escape = quoted ? c == '"' || c == '\\' : !plain;
        if (escape || draw(gen, 10) == 0) {
            tp__buf_putc(&gen->text, '\\');
        }
        tp__buf_putc(&gen->text, c);
        tp__buf_putc(&gen->expected, c);
    }
}

static void element(struct generator *gen)
{
    if (draw(gen, 6) == 0) {
        tp__buf_puts(&gen->text, draw(gen, 2) ? "NULL" : "nUlL");
        tp__buf_putc(&gen->expected, 'N');
        return;
    }
    bool quoted = draw(gen, 2) == 0;
    tp__buf_putc(&gen->expected, '<');
    tp__buf_puts(&gen->text, quoted ? "\"" : "z"); /* z: not empty, and never NULL */
    tp__buf_puts(&gen->expected, quoted ? "" : "z");
    element_body(gen, quoted, draw(gen, 7));
    tp__buf_puts(&gen->text, quoted ? "\"" : "");
    tp__buf_putc(&gen->expected, '>');
}

static void level(struct generator *gen, int depth)
{
    blanks(gen);
    if (depth > gen->depth) {
        element(gen);
        blanks(gen);
        return;
    }
    tp__buf_putc(&gen->text, '{');
    tp__buf_putc(&gen->expected, '{');
    for (int i = 0; i < gen->lengths[depth]; i++) {
        if (i > 0) {
            tp__buf_putc(&gen->text, ',');
        }
        level(gen, depth + 1);
    }
    tp__buf_putc(&gen->text, '}');
    tp__buf_putc(&gen->expected, '}');
    blanks(gen);
}

static void generate(struct generator *gen)
{
    bool bounds = draw(gen, 4) == 0;
    tp__buf_clear(&gen->text);
    tp__buf_clear(&gen->expected);
    gen->depth = 1 + draw(gen, 6);
    for (int depth = 1; depth <= gen->depth; depth++) {
        int low = draw(gen, 9) - 4;
        gen->lengths[depth] = 1 + draw(gen, depth < 3 ? 4 : 2);
        if (bounds) {
            tp__buf_printf(&gen->text, "[%d:%d]", low, low + gen->lengths[depth] - 1);
        }
    }
    tp__buf_puts(&gen->text, bounds ? "=" : "");
    level(gen, 1);
}

static void random_arrays_are_read_back(void **state)
{
    (void)state;
    const char *given = getenv("TIDEPOOL_SEED");
    uint64_t seed = given == NULL ? (uint64_t)tp_now() : strtoull(given, NULL, 10);
    struct generator gen = {.seed = seed};
    print_message("           TIDEPOOL_SEED=%llu\n", (unsigned long long)seed);
    for (int i = 0; i < 20000; i++) {
        struct trace trace = {0};
        generate(&gen);
        if (!walk(gen.text.data, gen.text.len, ',', &trace) ||
            strcmp(tp__buf_cstr(&trace.buf), tp__buf_cstr(&gen.expected)) != 0) {
            fail_msg("%s", tp__buf_cstr(&gen.text));
        }
        tp__buf_free(&trace.buf);
        /* Every beginning of an array lacks its last brace. */
        size_t cut = gen.text.len - 1;
        while (gen.text.data[cut] != '}') {
            cut--;
        }
        assert_false(walk(gen.text.data, (size_t)tp__random_below(&gen.seed, (int64_t)cut + 1), ',',
                          &trace));
        tp__buf_free(&trace.buf);
    }
    tp__buf_free(&gen.text);
    tp__buf_free(&gen.expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(common_types_are_known_by_oid),
        cmocka_unit_test(types_with_an_element_but_no_braces_are_text),
        cmocka_unit_test(a_type_that_is_not_built_in_is_text_without_a_name),
        cmocka_unit_test(boxes_are_delimited_by_semicolons),
        cmocka_unit_test(every_array_has_an_element_that_is_known),
        cmocka_unit_test(every_base_type_of_postgresql_15_is_known),
        cmocka_unit_test(bytea_in_hex_is_decoded),
        cmocka_unit_test(bytea_in_escape_form_is_decoded),
        cmocka_unit_test(malformed_bytea_is_refused),
        cmocka_unit_test(every_byte_survives_both_forms),
        cmocka_unit_test(elements_come_in_order),
        cmocka_unit_test(only_an_unquoted_null_is_null),
        cmocka_unit_test(quoted_elements_are_unescaped),
        cmocka_unit_test(unquoted_elements_are_unescaped),
        cmocka_unit_test(white_space_around_things_is_skipped),
        cmocka_unit_test(bounds_are_checked_and_skipped),
        cmocka_unit_test(malformed_arrays_are_refused),
        cmocka_unit_test(arrays_that_are_not_rectangular_are_refused),
        cmocka_unit_test(a_hostile_depth_is_refused_at_once),
        cmocka_unit_test(boxes_are_split_at_semicolons),
        cmocka_unit_test(the_visitor_can_stop_the_walk),
        cmocka_unit_test(random_arrays_are_read_back),
    };
    return cmocka_run_group_tests_name("types", tests, NULL, NULL);
}
