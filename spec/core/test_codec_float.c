/* codec_float.c: known numbers, what "shortest" and "closest" mean with the C library as
 * the judge, and tens of thousands of numbers beside the server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec_values.h"

static bool format_float8(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    double value;
    if (len != 8 || !tp__buf_reserve(out, 32)) {
        return false;
    }
    uint64_t bits = tp__get64(bytes);
    memcpy(&value, &bits, sizeof value);
    out->len += tp__float8_text(value, out->data + out->len);
    return true;
}

static bool format_float4(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    float value;
    if (len != 4 || !tp__buf_reserve(out, 32)) {
        return false;
    }
    uint32_t bits = tp__get32(bytes);
    memcpy(&value, &bits, sizeof value);
    out->len += tp__float4_text(value, out->data + out->len);
    return true;
}

static const struct codec float8 = {"float8", 701, format_float8, NULL};
static const struct codec float4 = {"float4", 700, format_float4, NULL};

/* ------------------------------------------------------------------- cases */

static const char *text_of_double(double value)
{
    static char text[33];
    memset(text, '#', sizeof text);
    size_t len = tp__float8_text(value, text);
    assert_in_range(len, 1, 32);
    assert_int_equal(text[len], '#');
    text[len] = '\0';
    return text;
}

static const char *text_of_float(float value)
{
    static char text[33];
    memset(text, '#', sizeof text);
    size_t len = tp__float4_text(value, text);
    assert_in_range(len, 1, 32);
    assert_int_equal(text[len], '#');
    text[len] = '\0';
    return text;
}

static void assert_double(double value, const char *text)
{
    char negative[33] = "-";
    assert_string_equal(text_of_double(value), text);
    if (!isnan(value)) {
        strcpy(negative + 1, text);
        assert_string_equal(text_of_double(-value), negative);
    }
}

static void numbers_that_are_no_numbers_have_names(void **state)
{
    (void)state;
    assert_double(INFINITY, "Infinity");
    assert_double(NAN, "NaN");
    assert_double(-NAN, "NaN");
    assert_double(0, "0");
    assert_string_equal(text_of_float(INFINITY), "Infinity");
    assert_string_equal(text_of_float(-INFINITY), "-Infinity");
    assert_string_equal(text_of_float(-NAN), "NaN");
    assert_string_equal(text_of_float(-0.0F), "-0");
}

static void numbers_of_a_usual_size_are_written_without_an_exponent(void **state)
{
    (void)state;
    assert_double(1, "1");
    assert_double(10, "10");
    assert_double(0.1, "0.1");
    assert_double(0.5, "0.5");
    assert_double(1.5, "1.5");
    assert_double(123456.789, "123456.789");
    assert_double(0.30000000000000004, "0.30000000000000004");
    assert_double(1.0 / 3, "0.3333333333333333");
    assert_double(2.0 / 3, "0.6666666666666666");
    assert_double(100.0 / 3, "33.333333333333336");
    assert_double(0.0001, "0.0001");
    assert_double(0.00012345678901234567, "0.00012345678901234567");
    assert_double(99999999999999.9, "99999999999999.9");
    assert_double(100000000000000, "100000000000000");
    assert_double(999999999999999, "999999999999999");
    assert_double(999999999999999.9, "999999999999999.9");
}

static void very_large_and_small_numbers_have_an_exponent(void **state)
{
    (void)state;
    assert_double(1e15, "1e+15");
    assert_double(1e20, "1e+20");
    assert_double(1e-5, "1e-05");
    assert_double(0.000099999, "9.9999e-05");
    assert_double(1234567890123456, "1.234567890123456e+15");
    assert_double(123456789012345680, "1.2345678901234568e+17");
    assert_double(1e99, "1e+99");
    assert_double(1e100, "1e+100");
    assert_double(1e-100, "1e-100");
    assert_double(1.5e300, "1.5e+300");
    assert_double(DBL_MAX, "1.7976931348623157e+308");
    assert_double(9007199254740992, "9.007199254740992e+15");
}

static void the_smallest_numbers_have_few_digits(void **state)
{
    (void)state;
    assert_double(4.9e-324, "5e-324");
    assert_double(9.8e-324, "1e-323");
    assert_double(1.48e-323, "1.5e-323");
    assert_double(DBL_MIN, "2.2250738585072014e-308");
    assert_double(2.225073858507201e-308, "2.225073858507201e-308");
    assert_string_equal(text_of_float(1e-45F), "1e-45");
    assert_string_equal(text_of_float(FLT_MIN), "1.1754944e-38");
}

/* 1e23 lies in the middle between two numbers: it reads back as the one below, but the
 * server takes nothing but what lies between the middles. */
static void the_middle_between_two_numbers_stands_for_neither(void **state)
{
    (void)state;
    assert_double(1e23, "9.999999999999999e+22");
    assert_true(strtod("1e23", NULL) == strtod("9.999999999999999e+22", NULL));
}

/* At powers of two the numbers below are closer together than those above, and trying 15,
 * 16 and 17 digits in turn may find other digits. */
static void powers_of_two_have_the_closest_of_the_shortest_digits(void **state)
{
    (void)state;
    assert_double(0x1p-1022, "2.2250738585072014e-308");
    assert_double(0x1p55, "3.602879701896397e+16");
    assert_double(0x1p-44, "5.684341886080802e-14");
    assert_double(0x1p89, "6.189700196426902e+26");
    assert_double(0x1p122, "5.316911983139664e+36");
    assert_double(9.5367431640625e-07, "9.5367431640625e-07");
}

static void numbers_of_single_precision_have_fewer_digits(void **state)
{
    (void)state;
    assert_string_equal(text_of_float(0.1F), "0.1");
    assert_string_equal(text_of_float(3.14159274F), "3.1415927");
    assert_string_equal(text_of_float(16777216), "1.6777216e+07");
    assert_string_equal(text_of_float(123456), "123456");
    assert_string_equal(text_of_float(123456.7F), "123456.7");
    assert_string_equal(text_of_float(999999), "999999");
    assert_string_equal(text_of_float(1000000), "1e+06");
    assert_string_equal(text_of_float(0.0001F), "0.0001");
    assert_string_equal(text_of_float(0.00001F), "1e-05");
    assert_string_equal(text_of_float(FLT_MAX), "3.4028235e+38");
    assert_string_equal(text_of_float(8388608.5F), "8.388608e+06");
    assert_string_equal(text_of_float(33554432), "3.3554432e+07");
    assert_string_equal(text_of_float(8.5899346e9F), "8.589935e+09");
}

/* ------------------------------------------------------------------ random */

static uint64_t random_bits(uint64_t *seed, int bits)
{
    uint64_t high = (uint64_t)codec_draw(seed, 0, UINT32_MAX);
    uint64_t all = high << 32 | (uint64_t)codec_draw(seed, 0, UINT32_MAX);
    return all >> (64 - bits);
}

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The digits of a number in any notation, without zeros at either end. */
static int digits_of(const char *text, char out[32])
{
    int count = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text >= '0' && *text <= '9' && (count > 0 || *text != '0')) {
            out[count++] = *text;
        }
    }
    while (count > 1 && out[count - 1] == '0') {
        count--;
    }
    out[count] = '\0';
    return count;
}

/* Middles between two numbers that have as few digits as numbers have (1e23): their 54 bits
 * have to be a multiple of a power of five, so that they are in this range. */
static bool has_short_middles(double value)
{
    return fabs(value) > 0x1p53 && fabs(value) < 1e41;
}

/* What the C library says: the text reads back; as many digits of the number itself are
 * the same when they read back too; with one digit less it would not. */
static void assert_shortest(double value)
{
    char text[33], digits[32], library[64], expected[32];
    strcpy(text, text_of_double(value));
    int count = digits_of(text, digits);
    if (strtod(text, NULL) != value) {
        fail_msg("%.17g was written as %s", value, text);
    }
    (void)snprintf(library, sizeof library, "%.*e", count - 1, value);
    (void)digits_of(library, expected);
    if (strtod(library, NULL) == value && strcmp(digits, expected) != 0) {
        fail_msg("%.17g was written as %s, farther away than %s", value, text, library);
    }
    (void)snprintf(library, sizeof library, "%.*e", count > 1 ? count - 2 : 0, value);
    if (count > 1 && strtod(library, NULL) == value && !has_short_middles(value)) {
        fail_msg("%.17g was written as %s, longer than %s", value, text, library);
    }
}

static void digits_are_as_few_as_possible_and_as_close_as_possible(void **state)
{
    (void)state;
    uint64_t seed = codec_seed();
    for (int i = fake_rounds(50000); i > 0; i--) {
        double value = double_of(random_bits(&seed, 63));
        if (isfinite(value) && value != 0) {
            assert_shortest(value);
            assert_shortest(ldexp((double)random_bits(&seed, 53), -(int)codec_draw(&seed, 0, 60)));
        }
    }
}

static void a_number_written_with_up_to_15_digits_is_written_so_again(void **state)
{
    (void)state;
    uint64_t seed = codec_seed();
    for (int i = fake_rounds(50000); i > 0; i--) {
        char text[64], digits[32], again[32];
        int64_t most = 9;
        for (int64_t n = codec_draw(&seed, 0, 14); n > 0; n--) {
            most = most * 10 + 9;
        }
        (void)snprintf(text, sizeof text, "%llde%d", (long long)codec_draw(&seed, 1, most),
                       (int)codec_draw(&seed, -320, 290));
        double value = strtod(text, NULL);
        /* Denormal numbers have less than 15 digits. */
        if (value >= DBL_MIN && !has_short_middles(value)) {
            (void)digits_of(text, digits);
            (void)digits_of(text_of_double(value), again);
            assert_string_equal(again, digits);
        }
    }
}

/* ------------------------------------------------------------------ server */

static void add_double(struct tp_buf *list, double value)
{
    uint64_t bits;
    char bytes[8];
    memcpy(&bits, &value, sizeof bits);
    tp__put64(bytes, bits);
    codec_add(list, bytes, sizeof bytes);
}

static void add_float(struct tp_buf *list, float value)
{
    uint32_t bits;
    char bytes[4];
    memcpy(&bits, &value, sizeof bits);
    tp__put32(bytes, bits);
    codec_add(list, bytes, sizeof bytes);
}

/* A number and its neighbours. */
static void add_three(struct tp_buf *doubles, double value)
{
    add_double(doubles, value);
    add_double(doubles, nextafter(value, INFINITY));
    add_double(doubles, nextafter(value, -INFINITY));
}

static void add_three_floats(struct tp_buf *floats, float value)
{
    add_float(floats, value);
    add_float(floats, nextafterf(value, INFINITY));
    add_float(floats, nextafterf(value, -INFINITY));
}

static void compare(PGconn *conn, const struct codec *codec, uint64_t *seed, struct tp_buf *list)
{
    print_message("           %zu numbers\n", codec_count(list));
    codec_compare_values(conn, codec, seed, list);
    PQfinish(conn);
}

static void random_bit_patterns_are_written_as_by_the_server(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    struct tp_buf list = {0};
    for (int i = fake_rounds(60000); i > 0; i--) {
        int zeros = (int)codec_draw(&seed, 0, 1) * (int)codec_draw(&seed, 0, 52);
        add_double(&list, double_of(random_bits(&seed, 64) >> zeros << zeros));
    }
    compare(conn, &float8, &seed, &list);
}

/* Where middles between two numbers have as few digits as numbers have. */
static void whole_numbers_are_written_as_by_the_server(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    struct tp_buf list = {0};
    for (int i = fake_rounds(40000); i > 0; i--) {
        double whole = (double)random_bits(&seed, (int)codec_draw(&seed, 1, 53));
        add_double(&list, whole);
        add_double(&list, ldexp(whole, (int)codec_draw(&seed, 0, 30)));
    }
    compare(conn, &float8, &seed, &list);
}

static void denormal_numbers_are_written_as_by_the_server(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    struct tp_buf list = {0};
    for (uint64_t bits = 0; bits < 2000; bits++) {
        add_double(&list, double_of(bits));
    }
    for (int i = fake_rounds(20000); i > 0; i--) {
        add_double(&list, double_of(random_bits(&seed, (int)codec_draw(&seed, 1, 53))));
    }
    compare(conn, &float8, &seed, &list);
}

static void powers_and_their_neighbours_are_written_as_by_the_server(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    struct tp_buf list = {0};
    for (int exponent = -1074; exponent <= 1023; exponent++) {
        add_three(&list, ldexp(1, exponent));
    }
    for (int exponent = -324; exponent <= 308; exponent++) {
        for (int digit = 1; digit <= 9; digit++) {
            char text[32];
            (void)snprintf(text, sizeof text, "%de%d", digit, exponent);
            add_three(&list, strtod(text, NULL));
        }
    }
    compare(conn, &float8, &seed, &list);
}

static void decimals_are_written_as_by_the_server(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    struct tp_buf list = {0};
    for (int i = fake_rounds(20000); i > 0; i--) {
        char text[64];
        (void)snprintf(text, sizeof text, "%llue%d",
                       (unsigned long long)random_bits(&seed, (int)codec_draw(&seed, 1, 60)),
                       (int)codec_draw(&seed, -24, 8));
        add_double(&list, strtod(text, NULL));
    }
    compare(conn, &float8, &seed, &list);
}

static void single_precision_is_written_as_by_the_server(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    struct tp_buf list = {0};
    for (int exponent = -149; exponent <= 127; exponent++) {
        add_three_floats(&list, ldexpf(1, exponent));
    }
    for (int exponent = -45; exponent <= 38; exponent++) {
        char text[32];
        (void)snprintf(text, sizeof text, "1e%d", exponent);
        add_three_floats(&list, strtof(text, NULL));
    }
    for (int i = fake_rounds(60000); i > 0; i--) {
        uint32_t bits = (uint32_t)random_bits(&seed, i % 3 == 0 ? 23 : 32);
        int zeros = (int)codec_draw(&seed, 0, 1) * (int)codec_draw(&seed, 0, 23);
        float value;
        bits = bits >> zeros << zeros;
        memcpy(&value, &bits, sizeof value);
        add_float(&list, value);
    }
    compare(conn, &float4, &seed, &list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_that_are_no_numbers_have_names),
        cmocka_unit_test(numbers_of_a_usual_size_are_written_without_an_exponent),
        cmocka_unit_test(very_large_and_small_numbers_have_an_exponent),
        cmocka_unit_test(the_smallest_numbers_have_few_digits),
        cmocka_unit_test(the_middle_between_two_numbers_stands_for_neither),
        cmocka_unit_test(powers_of_two_have_the_closest_of_the_shortest_digits),
        cmocka_unit_test(numbers_of_single_precision_have_fewer_digits),
        cmocka_unit_test(digits_are_as_few_as_possible_and_as_close_as_possible),
        cmocka_unit_test(a_number_written_with_up_to_15_digits_is_written_so_again),
        cmocka_unit_test(random_bit_patterns_are_written_as_by_the_server),
        cmocka_unit_test(whole_numbers_are_written_as_by_the_server),
        cmocka_unit_test(denormal_numbers_are_written_as_by_the_server),
        cmocka_unit_test(powers_and_their_neighbours_are_written_as_by_the_server),
        cmocka_unit_test(decimals_are_written_as_by_the_server),
        cmocka_unit_test(single_precision_is_written_as_by_the_server),
    };
    return cmocka_run_group_tests_name("codec_float", tests, NULL, NULL);
}
