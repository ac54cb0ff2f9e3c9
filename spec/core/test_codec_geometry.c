/* codec_geometry.c: points and what is made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec_values.h"

static const struct codec point = {"point", 600, tp__point_format, tp__point_parse};
static const struct codec lseg = {"lseg", 601, tp__lseg_format, tp__lseg_parse};
static const struct codec path = {"path", 602, tp__path_format, tp__path_parse};
static const struct codec box = {"box", 603, tp__box_format, tp__box_parse};
static const struct codec polygon = {"polygon", 604, tp__polygon_format, tp__polygon_parse};
static const struct codec line = {"line", 628, tp__line_format, tp__line_parse};
static const struct codec circle = {"circle", 718, tp__circle_format, tp__circle_parse};

/* ------------------------------------------------------------------- cases */

#define N1 "3ff0000000000000"
#define N1_5 "3ff8000000000000"
#define N2 "4000000000000000"
#define N3 "4008000000000000"
#define N4 "4010000000000000"
#define MINUS_0 "8000000000000000"
#define N0 "0000000000000000"
#define MINUS_1 "bff0000000000000"
#define E20 "4415af1d78b58c40"
#define INF "7ff0000000000000"
#define MINUS_INF "fff0000000000000"
#define NOT_A_NUMBER "7ff8000000000000"

static void each_type_has_its_brackets(void **state)
{
    (void)state;
    codec_case_both_ways(&point, N1_5 N2, "(1.5,2)");
    codec_case_both_ways(&lseg, N1 N2 N3 N4, "[(1,2),(3,4)]");
    codec_case_both_ways(&box, N3 N4 N1 N2, "(3,4),(1,2)");
    codec_case_both_ways(&path, "00 00000002" N1 N2 N3 N4, "[(1,2),(3,4)]");
    codec_case_both_ways(&path, "01 00000002" N1 N2 N3 N4, "((1,2),(3,4))");
    codec_case_both_ways(&path, "00 00000001" N1 N2, "[(1,2)]");
    codec_case_both_ways(&path, "01 00000001" N1 N2, "((1,2))");
    codec_case_both_ways(&polygon, "00000003" N1 N2 N3 N4 N1 N1, "((1,2),(3,4),(1,1))");
    codec_case_both_ways(&polygon, "00000001" N1 N2, "((1,2))");
    codec_case_both_ways(&line, N1 N2 N3, "{1,2,3}");
    codec_case_both_ways(&circle, N1 N2 N3, "<(1,2),3>");
}

static void numbers_are_written_with_the_shortest_digits(void **state)
{
    (void)state;
    codec_case_both_ways(&point, MINUS_0 E20, "(-0,1e+20)");
    codec_case_both_ways(&point, INF MINUS_INF, "(Infinity,-Infinity)");
    codec_case_both_ways(&point, NOT_A_NUMBER "3fb999999999999a", "(NaN,0.1)");
    codec_case_both_ways(&point, "0000000000000001 7fefffffffffffff",
                         "(5e-324,1.7976931348623157e+308)");
}

static void numbers_are_read_in_their_other_forms(void **state)
{
    (void)state;
    codec_case_reads(&point, "(+1,-0.0)", N1 MINUS_0);
    codec_case_reads(&point, "(1E0,10e-1)", N1 N1);
    codec_case_reads(&point, "(1e+20,100000000000000000000.000)", E20 E20);
    codec_case_reads(&point, "(nan,inf)", NOT_A_NUMBER INF);
    codec_case_reads(&point, "(-inf,+INFINITY)", MINUS_INF INF);
    codec_case_reads(&point, "(9007199254740993,0.5e1)", "4340000000000000 4014000000000000");
}

static void blanks_and_missing_brackets_are_read(void **state)
{
    (void)state;
    codec_case_reads(&point, "1.5, 2", N1_5 N2);
    codec_case_reads(&point, " ( 1.5 ,\t2 ) ", N1_5 N2);
    codec_case_reads(&lseg, "[(1, 2), (3, 4)]", N1 N2 N3 N4);
    codec_case_reads(&lseg, "(1,2),(3,4)", N1 N2 N3 N4);
    codec_case_reads(&lseg, "((1,2),(3,4))", N1 N2 N3 N4);
    codec_case_reads(&box, "( ( 3 , 4 ) , ( 1 , 2 ) )", N3 N4 N1 N2);
    codec_case_reads(&path, "(1,2), (3,4)", "01 00000002" N1 N2 N3 N4);
    codec_case_reads(&path, "(1,2)", "01 00000001" N1 N2);
    codec_case_reads(&path, "\n[ (1,2) ,\r\n(3,4) ]\n", "00 00000002" N1 N2 N3 N4);
    codec_case_reads(&polygon, "(1,2),(3,4)", "00000002" N1 N2 N3 N4);
    codec_case_reads(&line, "{ 1, 2, 3 }", N1 N2 N3);
    codec_case_reads(&circle, "< (1, 2), 3 >", N1 N2 N3);
    codec_case_reads(&circle, "((1,2),3)", N1 N2 N3);
}

static void the_corners_of_a_box_are_put_in_order(void **state)
{
    (void)state;
    codec_case_reads(&box, "(1,2),(3,4)", N3 N4 N1 N2);
    codec_case_reads(&box, "(1,4),(3,2)", N3 N4 N1 N2);
    codec_case_reads(&box, "(3,2),(1,4)", N3 N4 N1 N2);
    codec_case_reads(&box, "(3,Infinity),(NaN,4)", NOT_A_NUMBER INF N3 N4);
    codec_case_reads(&box, "(0,NaN),(-0,NaN)", N0 NOT_A_NUMBER MINUS_0 NOT_A_NUMBER);
}

static void refuse_all(const struct codec *codec, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        codec_refuses(codec, texts[i]);
    }
}
#define REFUSE(codec, ...)                                  \
    refuse_all((codec), (const char *const[]){__VA_ARGS__}, \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static void what_the_server_refuses_or_knows_better_is_refused(void **state)
{
    (void)state;
    REFUSE(&point, "", "()", "(1)", "(1,2", "1,2)", "(1,2,3)", "((1,2))", "(1;2)", "(1,2)x");
    REFUSE(&point, "(a,b)", "(1.,2)", "(.5,2)", "(0x10,2)", "(1e,2)", "(--1,2)", "(1 2)", "(,2)");
    REFUSE(&point, "(1e309,0)", "(1e-400,0)", "(-nan,0)", "(nan(1),0)", "(infin,0)", "(1,2)\01");
    REFUSE(&lseg, "(1,2)", "[(1,2)]", "[(1,2),(3,4),(5,6)]", "[(1,2),(3,4)", "[(1,2),(3,4))");
    REFUSE(&lseg, "[1,2,3,4]", "[(1,2)(3,4)]", "[(1,2),]", "<(1,2),(3,4)>", "((1,2),(3,4)]");
    REFUSE(&box, "[(1,2),(3,4)]", "(1,2)", "(1,2),(3,4),(5,6)", "((1,2),(3,4)", "1,2,3,4");
    REFUSE(&path, "", "[]", "()", "(1,2,3,4)", "[(1,2),(3,4)", "(1,2),(3,4))", "[((1,2))]");
    REFUSE(&polygon, "", "()", "[(1,2),(3,4)]", "((1,2),(3,4)", "(((1,2)))");
    REFUSE(&line, "", "{1,2}", "{1,2,3,4}", "(1,2,3)", "{1,2,3", "[(1,2),(3,4)]", "{1,2,3}}");
    REFUSE(&line, "{0,0,1}", "{1e-6,-1e-6,5}");
    REFUSE(&circle, "", "<(1,2),3", "<(1,2),-3>", "<1,2,3>", "<(1,2)>", "<(1,2),3)", "(1,2),3");
}

static void bytes_of_another_length_are_refused(void **state)
{
    (void)state;
    static const struct codec *const codecs[] = {&point,   &lseg, &box,   &path,
                                                 &polygon, &line, &circle};
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        codec_case_writes(codecs[i], "", NULL);
        codec_case_writes(codecs[i], "00", NULL);
        codec_case_writes(codecs[i], N1, NULL);
        codec_case_writes(codecs[i], N1 N1 "00", NULL);
        codec_case_writes(codecs[i], N1 N1 N1 N1 N1, NULL);
    }
    codec_case_writes(&path, "02 00000001" N1 N2, NULL);
    codec_case_writes(&path, "00 00000000", NULL);
    codec_case_writes(&path, "00 00000002" N1 N2, NULL);
    codec_case_writes(&path, "00 10000001" N1 N2, NULL);
    codec_case_writes(&polygon, "00000000", NULL);
    codec_case_writes(&polygon, "00000001" N1 N2 N3, NULL);
    codec_case_writes(&polygon, "00000001" N1 N2 N3 N4, NULL);
}

/* A program that sets its locale may have one with a decimal comma. */
static void the_locale_makes_no_difference(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE",       "fr_FR.UTF-8", "nl_NL.UTF-8",
                                        "it_IT.UTF-8", "es_ES.UTF-8", "pl_PL.UTF-8"};
    const char *set = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && set == NULL; i++) {
        set = setlocale(LC_NUMERIC, names[i]);
    }
    if (set == NULL) {
        print_message("# skipped: no locale with a decimal comma is installed\n");
        skip();
    }
    codec_case_both_ways(&point, N1_5 "3fb999999999999a", "(1.5,0.1)");
    codec_refuses(&point, "(1,5,0,1)");
    (void)setlocale(LC_NUMERIC, "C");
}

static void a_buffer_out_of_memory_is_left_alone(void **state)
{
    (void)state;
    static const char bytes[37] = {1, 0, 0, 0, 2};
    static const char counted[36] = {0, 0, 0, 2};
    codec_leaves_a_failed_buffer_alone(&point, bytes, 16, "(1,2)");
    codec_leaves_a_failed_buffer_alone(&lseg, bytes, 32, "[(1,2),(3,4)]");
    codec_leaves_a_failed_buffer_alone(&box, bytes, 32, "(1,2),(3,4)");
    codec_leaves_a_failed_buffer_alone(&path, bytes, 37, "[(1,2),(3,4)]");
    codec_leaves_a_failed_buffer_alone(&polygon, counted, 36, "((1,2),(3,4))");
    codec_leaves_a_failed_buffer_alone(&line, bytes, 24, "{1,2,3}");
    codec_leaves_a_failed_buffer_alone(&circle, bytes, 24, "<(1,2),3>");
}

/* ------------------------------------------------------------------ server */

/* Short decimals, whole numbers, and now and then anything; a NaN as the server makes it. */
static double random_number(uint64_t *seed)
{
    double value;
    uint64_t bits =
        (uint64_t)codec_draw(seed, 0, UINT32_MAX) << 32 | (uint64_t)codec_draw(seed, 0, UINT32_MAX);
    switch (codec_draw(seed, 0, 5)) {
    case 0:
        return (double)codec_draw(seed, -3, 3);
    case 1:
        return (double)codec_draw(seed, -1000000, 1000000) / 1000;
    case 2:
        return codec_draw(seed, 0, 9) == 0 ? -INFINITY : (double)codec_draw(seed, -180, 180);
    case 3:
        return (double)(bits >> 11) * 0x1p-53;
    default:
        memcpy(&value, &bits, sizeof value);
        return isnan(value) ? (double)NAN : value;
    }
}

static void put_numbers(uint64_t *seed, struct tp_buf *out, int64_t count)
{
    for (; count > 0; count--) {
        double value = random_number(seed);
        char bytes[8];
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        tp__put64(bytes, bits);
        tp__buf_append(out, bytes, sizeof bytes);
    }
}

static void random_point(uint64_t *seed, struct tp_buf *out)
{
    put_numbers(seed, out, 2);
}

static void random_lseg(uint64_t *seed, struct tp_buf *out)
{
    put_numbers(seed, out, 4);
}

/* Its corners are in order, so that the server leaves them alone. */
static void random_box(uint64_t *seed, struct tp_buf *out)
{
    struct tp_buf text = {0};
    put_numbers(seed, out, 4);
    assert_true(tp__box_format((const unsigned char *)out->data, out->len, &text));
    tp__buf_clear(out);
    assert_true(tp__box_parse(text.data, text.len, out));
    tp__buf_free(&text);
}

static void random_polygon(uint64_t *seed, struct tp_buf *out)
{
    char head[4];
    int64_t count = codec_draw(seed, 1, 4);
    tp__put32(head, (uint32_t)count);
    tp__buf_append(out, head, sizeof head);
    put_numbers(seed, out, count * 2);
}

static void random_path(uint64_t *seed, struct tp_buf *out)
{
    tp__buf_putc(out, (char)codec_draw(seed, 0, 1));
    random_polygon(seed, out);
}

static void random_line(uint64_t *seed, struct tp_buf *out)
{
    char one[8];
    tp__put64(one, UINT64_C(0x3FF0000000000000)); /* one of the first two must not be zero */
    tp__buf_append(out, one, sizeof one);
    put_numbers(seed, out, 2);
}

static void random_circle(uint64_t *seed, struct tp_buf *out)
{
    put_numbers(seed, out, 3);
    if (strncmp(out->data + 16, "\x7F\xF8", 2) != 0) {
        out->data[16] &= 0x7F; /* a radius is not negative */
    }
}

static void shapes_are_what_the_server_writes_and_reads(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    codec_compare(conn, &point, &seed, random_point);
    codec_compare(conn, &lseg, &seed, random_lseg);
    codec_compare(conn, &box, &seed, random_box);
    codec_compare(conn, &path, &seed, random_path);
    codec_compare(conn, &polygon, &seed, random_polygon);
    codec_compare(conn, &line, &seed, random_line);
    codec_compare(conn, &circle, &seed, random_circle);
    PQfinish(conn);
}

/* A text of the type, with up to three changes. */
static void random_text(uint64_t *seed, struct tp_buf *out, const char *const *texts, int count)
{
    tp__buf_puts(out, texts[codec_draw(seed, 0, count - 1)]);
    for (int64_t n = codec_draw(seed, 0, 3); n > 0; n--) {
        codec_spoil(seed, out, "0123456789.e+-,,  \t()[]<>{}naifNIF");
    }
}

static void random_point_text(uint64_t *seed, struct tp_buf *out)
{
    static const char *const texts[] = {"(1.5,2)", "( -1e5 , .25 )", "12, 1e-7", "(NaN,Infinity)"};
    random_text(seed, out, texts, 4);
}

static void random_points_text(uint64_t *seed, struct tp_buf *out)
{
    static const char *const texts[] = {
        "[(1.5,2),(3,4)]", "((1,2),(3,4e2))", "(5,6) , (7,8)", "[ ( 1 , 2 ) , (-3,4) ]",
        "(1,2)",           "[(5,6)]",         "((7,8))",       "((1,2),(3,4),(5,NaN))",
        "(inf,4),(0,-0)"};
    random_text(seed, out, texts, 9);
}

static void random_line_text(uint64_t *seed, struct tp_buf *out)
{
    static const char *const texts[] = {"{1,2,3}", "{0, 1.5, -4}", "{ 1e-5,0,NaN }"};
    random_text(seed, out, texts, 3);
}

static void random_circle_text(uint64_t *seed, struct tp_buf *out)
{
    static const char *const texts[] = {"<(1,2),3>", "< (1.5, 2) , 0 >", "((1,2),3e1)",
                                        "<(Infinity,NaN),inf>"};
    random_text(seed, out, texts, 4);
}

static void texts_of_shapes_are_read_as_the_server_does(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    assert_in_range(codec_compare_reading(conn, &point, &seed, random_point_text), 3, 90);
    assert_in_range(codec_compare_reading(conn, &lseg, &seed, random_points_text), 3, 90);
    assert_in_range(codec_compare_reading(conn, &box, &seed, random_points_text), 3, 90);
    assert_in_range(codec_compare_reading(conn, &path, &seed, random_points_text), 3, 90);
    assert_in_range(codec_compare_reading(conn, &polygon, &seed, random_points_text), 3, 90);
    assert_in_range(codec_compare_reading(conn, &line, &seed, random_line_text), 3, 90);
    assert_in_range(codec_compare_reading(conn, &circle, &seed, random_circle_text), 3, 90);
    PQfinish(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_has_its_brackets),
        cmocka_unit_test(numbers_are_written_with_the_shortest_digits),
        cmocka_unit_test(numbers_are_read_in_their_other_forms),
        cmocka_unit_test(blanks_and_missing_brackets_are_read),
        cmocka_unit_test(the_corners_of_a_box_are_put_in_order),
        cmocka_unit_test(what_the_server_refuses_or_knows_better_is_refused),
        cmocka_unit_test(bytes_of_another_length_are_refused),
        cmocka_unit_test(the_locale_makes_no_difference),
        cmocka_unit_test(a_buffer_out_of_memory_is_left_alone),
        cmocka_unit_test(shapes_are_what_the_server_writes_and_reads),
        cmocka_unit_test(texts_of_shapes_are_read_as_the_server_does),
    };
    return cmocka_run_group_tests_name("codec_geometry", tests, NULL, NULL);
}
