/* codec_numeric.c: numbers as numeric_out writes them, beside the server itself where
 * there is one (TIDEPOOL_SEED repeats a run). */
#include "codec_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct codec numeric = {"numeric", 1700, tp__numeric_format, tp__numeric_parse};

/* The binary form: weight, sign, scale and the groups. */
struct form {
    int weight, sign, scale, count;
    int groups[8];
};

static size_t bytes_of(const struct form *form, unsigned char *bytes)
{
    char *at = (char *)bytes;
    tp__put16(at, (uint16_t)form->count);
    tp__put16(at + 2, (uint16_t)form->weight);
    tp__put16(at + 4, (uint16_t)form->sign);
    tp__put16(at + 6, (uint16_t)form->scale);
    for (int i = 0; i < form->count; i++) {
        tp__put16(at + 8 + 2 * i, (uint16_t)form->groups[i]);
    }
    return 8 + 2 * (size_t)form->count;
}

static void writes(struct form form, const char *text)
{
    unsigned char bytes[32];
    codec_writes(&numeric, bytes, bytes_of(&form, bytes), text);
}

static void reads(const char *text, struct form form)
{
    unsigned char bytes[32];
    codec_reads(&numeric, text, bytes, bytes_of(&form, bytes));
}

static void both(const char *text, struct form form)
{
    writes(form, text);
    reads(text, form);
}

enum { PLUS = 0, MINUS = 0x4000, NAN_SIGN = 0xC000, INF = 0xD000, MINUS_INF = 0xF000 };
#define FORM(...) ((struct form){__VA_ARGS__})

static void numbers_are_written_and_read_in_groups_of_four(void **state)
{
    (void)state;
    both("0", FORM(0, PLUS, 0, 0, {0}));
    both("0.000", FORM(0, PLUS, 3, 0, {0}));
    both("1", FORM(0, PLUS, 0, 1, {1}));
    both("-1", FORM(0, MINUS, 0, 1, {1}));
    both("9999", FORM(0, PLUS, 0, 1, {9999}));
    both("10000", FORM(1, PLUS, 0, 1, {1}));
    both("12345678", FORM(1, PLUS, 0, 2, {1234, 5678}));
    both("100020003", FORM(2, PLUS, 0, 3, {1, 2, 3}));
    both("1000000000000.0", FORM(3, PLUS, 1, 1, {1}));
    both("-10.50", FORM(0, MINUS, 2, 2, {10, 5000}));
    both("3.14159", FORM(0, PLUS, 5, 3, {3, 1415, 9000}));
    both("0.1", FORM(-1, PLUS, 1, 1, {1000}));
    both("0.00001", FORM(-2, PLUS, 5, 1, {1000}));
    both("0.000000001000", FORM(-3, PLUS, 12, 1, {1000}));
    both("10000.0001", FORM(1, PLUS, 4, 3, {1, 0, 1}));
    both("1.00000000", FORM(0, PLUS, 8, 1, {1}));
}

static void what_is_not_a_number_has_a_name(void **state)
{
    (void)state;
    both("NaN", FORM(0, NAN_SIGN, 0, 0, {0}));
    both("Infinity", FORM(0, INF, 32, 0, {0}));
    both("-Infinity", FORM(0, MINUS_INF, 32, 0, {0}));
    reads("nAn", FORM(0, NAN_SIGN, 0, 0, {0}));
    reads("inf", FORM(0, INF, 32, 0, {0}));
    reads("+INFinity", FORM(0, INF, 32, 0, {0}));
    reads("-Inf", FORM(0, MINUS_INF, 32, 0, {0}));
}

static void groups_that_the_server_would_strip_do_no_harm(void **state)
{
    (void)state;
    writes(FORM(2, PLUS, 0, 3, {0, 0, 7}), "7");
    writes(FORM(1, MINUS, 1, 4, {0, 12, 5000, 0}), "-12.5");
    writes(FORM(0, PLUS, 2, 2, {0, 0}), "0.00");
    writes(FORM(0, PLUS, 2, 2, {1, 2345}), "1.23"); /* the scale hides digits */
    writes(FORM(0, PLUS, 0, 2, {1, 2345}), "1");
    writes(FORM(-30000, PLUS, 1, 1, {5}), "0.0");
}

static void bytes_that_are_no_numeric_are_refused(void **state)
{
    (void)state;
    unsigned char bytes[32];
    struct form form = FORM(0, PLUS, 0, 1, {1});
    size_t len = bytes_of(&form, bytes);
    for (size_t cut = 0; cut < len; cut++) {
        codec_writes(&numeric, bytes, cut, NULL);
    }
    codec_writes(&numeric, bytes, len + 1, NULL);
    writes(FORM(0, PLUS, 0, 1, {10000}), NULL);
    writes(FORM(0, PLUS, 0, 2, {1, 65535}), NULL);
    writes(FORM(0, 0x8000, 0, 0, {0}), NULL);
    writes(FORM(0, 1, 0, 1, {1}), NULL);
    writes(FORM(0, PLUS, 16384, 1, {1}), NULL);
    writes(FORM(0, NAN_SIGN, 0, 1, {1}), NULL);
}

static void other_spellings_are_read(void **state)
{
    (void)state;
    codec_rewrites(&numeric, "+7", "7");
    codec_rewrites(&numeric, "007.500", "7.500");
    codec_rewrites(&numeric, ".5", "0.5");
    codec_rewrites(&numeric, "5.", "5");
    codec_rewrites(&numeric, "-.0", "0.0");
    codec_rewrites(&numeric, "1e3", "1000");
    codec_rewrites(&numeric, "1.5E+2", "150");
    codec_rewrites(&numeric, "-1.25e-3", "-0.00125");
    codec_rewrites(&numeric, "12345.678e1", "123456.78");
    codec_rewrites(&numeric, "0e999999", "0");
    codec_rewrites(&numeric, "0.000e2", "0.0");
}

static void texts_that_are_no_numbers_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",       " ",    "+",     "-",     ".",    "-.",    "e5",      "1e",        "1e+",
        "1 ",     " 1",   "1,5",   "1.2.3", "--1",  "+-1",   "0x10",    "1_000",     "-nan",
        "+nan",   "nan1", "infi",  "inf ",  "1e5x", "1e1.5", "1e 5",    "1e1000000", "1.5e-",
        "1.e5.0", "1-",   "five5", "\n1",   "1f",   "++inf", "infinit", "na",        "1e--5"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        codec_refuses(&numeric, texts[i]);
    }
    char nul[] = "1\0002";
    struct tp_buf out = {0};
    assert_false(tp__numeric_parse(nul, 3, &out));
    tp__buf_free(&out);
}

/* Appends `count` random digits; neither end is a zero. */
static void put_digits(struct tp_buf *text, uint64_t *seed, int count)
{
    for (int i = 0; i < count; i++) {
        bool is_end = i == 0 || i == count - 1;
        tp__buf_putc(text, (char)('0' + codec_draw(seed, is_end, 9)));
    }
}

static void as_many_digits_as_the_server_stores_are_written_and_read(void **state)
{
    (void)state;
    uint64_t seed = codec_seed();
    static const struct {
        int before, behind;
    } cases[] = {{1, 999}, {1000, 0}, {1000, 16383}, {131072, 16383}, {131072, 0}, {4, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tp_buf text = {0};
        tp__buf_puts(&text, "-");
        put_digits(&text, &seed, cases[i].before);
        tp__buf_puts(&text, cases[i].behind > 0 ? "." : "");
        put_digits(&text, &seed, cases[i].behind);
        codec_rewrites(&numeric, tp__buf_cstr(&text), tp__buf_cstr(&text));
        tp__buf_free(&text);
    }
}

static void numbers_out_of_the_servers_limits_are_left_to_it(void **state)
{
    (void)state;
    struct tp_buf text = {0};
    tp__buf_puts(&text, "0.");
    for (int i = 0; i < 16383; i++) {
        tp__buf_putc(&text, '0');
    }
    codec_rewrites(&numeric, tp__buf_cstr(&text), tp__buf_cstr(&text));
    tp__buf_putc(&text, '1');
    codec_refuses(&numeric, tp__buf_cstr(&text));
    tp__buf_free(&text);
    reads("1e131071", FORM(32767, PLUS, 0, 1, {1000}));
    codec_refuses(&numeric, "1e131072");
    codec_refuses(&numeric, "10e131071");
    reads("1e-16383", FORM(-4096, PLUS, 16383, 1, {10}));
    codec_refuses(&numeric, "1e-16384");
    codec_refuses(&numeric, "0e-16384");
    codec_refuses(&numeric, "1e999999");
    codec_refuses(&numeric, "1e-999999");
}

static void a_number_survives_reading_and_writing(void **state)
{
    (void)state;
    uint64_t seed = codec_seed();
    for (int i = fake_rounds(20000); i > 0; i--) {
        struct tp_buf text = {0};
        tp__buf_puts(&text, codec_draw(&seed, 0, 1) ? "-" : "");
        put_digits(&text, &seed, (int)codec_draw(&seed, 1, 250));
        tp__buf_putc(&text, '.');
        put_digits(&text, &seed, (int)codec_draw(&seed, 1, 20));
        codec_rewrites(&numeric, tp__buf_cstr(&text), tp__buf_cstr(&text));
        tp__buf_free(&text);
    }
}

static void a_buffer_out_of_memory_is_left_alone(void **state)
{
    (void)state;
    unsigned char bytes[32];
    struct form one = FORM(0, PLUS, 1, 1, {1}), nan = FORM(0, NAN_SIGN, 0, 0, {0});
    codec_leaves_a_failed_buffer_alone(&numeric, bytes, bytes_of(&one, bytes), "1.0");
    codec_leaves_a_failed_buffer_alone(&numeric, bytes, bytes_of(&nan, bytes), "NaN");
}

/* ---------------------------------------------------------------- server */

static int size_of_group(uint64_t *seed)
{
    static const int most[] = {0, 9, 9999, 9999, 9999};
    return (int)codec_draw(seed, 0, most[codec_draw(seed, 0, 4)]);
}

/* Mostly small, now and then long; and with zeros at the ends, which the server strips. */
static void random_number(uint64_t *seed, struct tp_buf *out)
{
    char bytes[8];
    static const int specials[] = {NAN_SIGN, INF, MINUS_INF};
    bool is_long = codec_draw(seed, 0, 50) == 0, is_special = codec_draw(seed, 0, 50) == 0;
    int count = is_special ? 0 : (int)codec_draw(seed, 0, is_long ? 500 : 6);
    int weight = (int)codec_draw(seed, -3, is_long ? 600 : 6);
    int behind = count > weight + 1 ? count - weight - 1 : 0;
    int scale = behind * 4 + (int)codec_draw(seed, 0, 9); /* hides no digits */
    int sign = codec_draw(seed, 0, 1) && count > 0 ? MINUS : PLUS;
    tp__put16(bytes, (uint16_t)count);
    tp__put16(bytes + 2, (uint16_t)weight);
    tp__put16(bytes + 4, (uint16_t)(is_special ? specials[codec_draw(seed, 0, 2)] : sign));
    tp__put16(bytes + 6, (uint16_t)scale);
    tp__buf_append(out, bytes, sizeof bytes);
    for (int i = 0; i < count; i++) {
        bool may_not_be_zero = i == 0; /* minus zero is no number */
        int group = size_of_group(seed);
        tp__put16(bytes, (uint16_t)(may_not_be_zero && group == 0 ? 1 : group));
        tp__buf_append(out, bytes, 2);
    }
}

static void random_text(uint64_t *seed, struct tp_buf *out)
{
    static const char *const signs[] = {"", "", "-", "+"};
    static const char *const names[] = {"NaN", "Infinity", "inf", "-infinity", "+Inf"};
    tp__buf_puts(out, signs[codec_draw(seed, 0, 3)]);
    put_digits(out, seed, (int)codec_draw(seed, 0, 12));
    tp__buf_puts(out, codec_draw(seed, 0, 1) ? "." : "");
    put_digits(out, seed, (int)codec_draw(seed, 0, 12));
    if (codec_draw(seed, 0, 3) == 0) {
        static const int most[] = {3, 30, 300, 20000, 140000};
        int exponent = (int)codec_draw(seed, 0, most[codec_draw(seed, 0, 4)]);
        tp__buf_printf(out, "e%d", codec_draw(seed, 0, 1) ? exponent : -exponent);
    }
    if (codec_draw(seed, 0, 20) == 0) {
        tp__buf_clear(out);
        tp__buf_puts(out, names[codec_draw(seed, 0, 4)]);
    }
    if (codec_draw(seed, 0, 3) == 0) {
        codec_spoil(seed, out, "0123456789+-.eEnNaAiIfFtTyY _x,");
    }
}

static void numbers_are_what_the_server_writes_and_reads(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    codec_compare(conn, &numeric, &seed, random_number);
    PQfinish(conn);
}

static void texts_of_numbers_are_read_as_the_server_does(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    assert_in_range(codec_compare_reading(conn, &numeric, &seed, random_text), 60, 95);
    PQfinish(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_written_and_read_in_groups_of_four),
        cmocka_unit_test(what_is_not_a_number_has_a_name),
        cmocka_unit_test(groups_that_the_server_would_strip_do_no_harm),
        cmocka_unit_test(bytes_that_are_no_numeric_are_refused),
        cmocka_unit_test(other_spellings_are_read),
        cmocka_unit_test(texts_that_are_no_numbers_are_refused),
        cmocka_unit_test(as_many_digits_as_the_server_stores_are_written_and_read),
        cmocka_unit_test(numbers_out_of_the_servers_limits_are_left_to_it),
        cmocka_unit_test(a_number_survives_reading_and_writing),
        cmocka_unit_test(a_buffer_out_of_memory_is_left_alone),
        cmocka_unit_test(numbers_are_what_the_server_writes_and_reads),
        cmocka_unit_test(texts_of_numbers_are_read_as_the_server_does),
    };
    return cmocka_run_group_tests_name("codec_numeric", tests, NULL, NULL);
}
