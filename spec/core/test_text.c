/* text.c: UTF-8 as RFC 3629 has it, and identifiers that cannot break out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h" /* for its random numbers */
#include "text.h"
#include "tidepool.h"

/* An independent judge: decodes by the bits, then checks value and length. */
static bool oracle(const unsigned char *text, size_t len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    for (size_t at = 0; at < len;) {
        unsigned char lead = text[at];
        size_t size = lead < 0x80       ? 1
                      : lead >> 5 == 6  ? 2
                      : lead >> 4 == 14 ? 3
                      : lead >> 3 == 30 ? 4
                                        : 0;
        if (size == 0 || size > len - at) {
            return false;
        }
        uint32_t value = size == 1 ? lead : lead & (0x7Fu >> size);
        for (size_t i = 1; i < size; i++) {
            if (text[at + i] >> 6 != 2) {
                return false;
            }
            value = value << 6 | (text[at + i] & 0x3Fu);
        }
        if (value < smallest[size] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) {
            return false;
        }
        at += size;
    }
    return true;
}

static void agree(const unsigned char *text, size_t len)
{
    assert_int_equal(tp_utf8_valid((const char *)text, len), oracle(text, len));
}

static void all_sequences_of_three_bytes_are_judged_right(void **state)
{
    (void)state;
    unsigned char text[3];
    for (uint32_t n = 0; n < 1u << 24; n++) {
        text[0] = (unsigned char)(n >> 16);
        text[1] = (unsigned char)(n >> 8);
        text[2] = (unsigned char)n;
        if (tp_utf8_valid((const char *)text, 3) != oracle(text, 3)) {
            fail_msg("%02x %02x %02x", text[0], text[1], text[2]);
        }
    }
}

static void sequences_of_four_bytes_are_judged_right(void **state)
{
    (void)state;
    static const unsigned char tails[] = {0x00, 0x7F, 0x80, 0x8F, 0x90,
                                          0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    unsigned char text[4];
    for (unsigned lead = 0xE0; lead <= 0xFF; lead++) {
        for (unsigned second = 0; second <= 0xFF; second++) {
            for (size_t i = 0; i < sizeof tails * sizeof tails; i++) {
                text[0] = (unsigned char)lead;
                text[1] = (unsigned char)second;
                text[2] = tails[i / sizeof tails];
                text[3] = tails[i % sizeof tails];
                agree(text, 4);
            }
        }
    }
}

/* Each bad sequence at each place of a text longer than two blocks of the fast
 * path, and cut off at the end, in memory of exactly that size. */
static void a_bad_sequence_is_found_anywhere(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",         "\xC1\xBF",         "\xE0\x9F\xBF",
                                      "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
                                      "\xFF"};
    for (size_t len = 4; len < 24; len++) {
        char *text = malloc(len);
        assert_non_null(text);
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            for (size_t at = 0; at + strlen(bad[i]) <= len; at++) {
                memset(text, 'a', len);
                assert_true(tp_utf8_valid(text, len));
                memcpy(text + at, bad[i], strlen(bad[i]));
                assert_false(tp_utf8_valid(text, len));
            }
        }
        memset(text, 'a', len);
        text[len - 1] = '\xC3';
        assert_false(tp_utf8_valid(text, len));
        free(text);
    }
}

static void random_mixtures_are_judged_right(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "a",        "bcdefghi", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x90\x9A", "\xED\x9F\xBF",
        "\xE2\x82", "\x80"};
    uint64_t seed = 20240607;
    for (int round = 0; round < 50000; round++) {
        unsigned char text[128];
        size_t len = 0;
        int64_t kinds = round % 2 == 0 ? 6 : 8; /* half of them without a bad piece */
        for (int64_t n = tp__random_below(&seed, 12); n > 0; n--) {
            const char *piece = pieces[tp__random_below(&seed, kinds)];
            memcpy(text + len, piece, strlen(piece));
            len += strlen(piece);
        }
        agree(text, len);
        if (kinds == 6) {
            assert_true(tp_utf8_valid((const char *)text, len));
        }
    }
}

static void nothing_and_nul_are_valid(void **state)
{
    (void)state;
    assert_true(tp_utf8_valid("", 0));
    assert_true(tp_utf8_valid("a\0b", 3));
}

static void the_length_is_that_of_the_first_character(void **state)
{
    (void)state;
    assert_int_equal(tp__utf8_length("", 0), 0);
    assert_int_equal(tp__utf8_length("ab", 2), 1);
    assert_int_equal(tp__utf8_length("\xC3\xA4"
                                     "b",
                                     3),
                     2);
    assert_int_equal(tp__utf8_length("\xF0\x9F\x90\x9A", 4), 4);
    assert_int_equal(tp__utf8_length("\xF0\x9F\x90\x9A", 3), 0);
    assert_int_equal(tp__utf8_length("\xA4", 1), 0);
}

static void assert_quoted(const char *text, const char *expected)
{
    char out[64];
    assert_int_equal(tp_quote_identifier(text, strlen(text), out, sizeof out), strlen(expected));
    assert_string_equal(out, expected);
}

static void identifiers_are_quoted_and_quotes_doubled(void **state)
{
    (void)state;
    assert_quoted("users", "\"users\"");
    assert_quoted("a\"b", "\"a\"\"b\"");
    assert_quoted("\"", "\"\"\"\"");
    assert_quoted("x\"; drop table y; --", "\"x\"\"; drop table y; --\"");
    assert_quoted("gr\xC3\xB6\xC3\x9F"
                  "e",
                  "\"gr\xC3\xB6\xC3\x9F"
                  "e\"");
    assert_quoted("back\\slash", "\"back\\slash\"");
}

static void what_can_be_no_identifier_is_refused(void **state)
{
    (void)state;
    char out[16] = "untouched";
    assert_int_equal(tp_quote_identifier("", 0, out, sizeof out), -1);
    assert_int_equal(tp_quote_identifier("a\0b", 3, out, sizeof out), -1);
    assert_int_equal(tp_quote_identifier("a\xFF", 2, out, sizeof out), -1);
    assert_int_equal(tp_quote_identifier("a\xC3", 2, out, sizeof out), -1);
    assert_string_equal(out, "untouched");
}

static void assert_literal(const char *text, const char *expected)
{
    char out[64];
    assert_int_equal(tp_quote_literal(text, strlen(text), out, sizeof out), strlen(expected));
    assert_string_equal(out, expected);
}

static void literals_mean_the_same_whatever_backslashes_mean(void **state)
{
    (void)state;
    assert_literal("", "''");
    assert_literal("a", "'a'");
    assert_literal("a'b", "'a''b'");
    assert_literal("\"", "'\"'");
    assert_literal("\\", " E'\\\\'");
    assert_literal("\\'", " E'\\\\'''");
    assert_literal("$1", "'$1'");
}

static void what_can_be_no_literal_is_refused(void **state)
{
    (void)state;
    char out[16] = "untouched";
    assert_int_equal(tp_quote_literal("a\0b", 3, out, sizeof out), -1);
    assert_int_equal(tp_quote_literal("\xC3'", 2, out, sizeof out), -1);
    assert_int_equal(tp_quote_literal("\xED\xA0\x80", 3, out, sizeof out), -1);
    assert_string_equal(out, "untouched");
}

static void a_small_room_is_kept_to_and_the_need_is_told(void **state)
{
    (void)state;
    static const char whole[] = "\"a\"\"b\"";
    for (size_t room = 1; room <= sizeof whole + 2; room++) {
        char out[16];
        memset(out, '#', sizeof out);
        assert_int_equal(tp_quote_identifier("a\"b", 3, out, room), sizeof whole - 1);
        size_t kept = room < sizeof whole ? room - 1 : sizeof whole - 1;
        assert_int_equal(strlen(out), kept);
        assert_memory_equal(out, whole, kept);
        assert_int_equal(out[room], '#');
    }
    assert_int_equal(tp_quote_identifier("ab", 2, NULL, 0), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sequences_of_three_bytes_are_judged_right),
        cmocka_unit_test(sequences_of_four_bytes_are_judged_right),
        cmocka_unit_test(a_bad_sequence_is_found_anywhere),
        cmocka_unit_test(random_mixtures_are_judged_right),
        cmocka_unit_test(nothing_and_nul_are_valid),
        cmocka_unit_test(the_length_is_that_of_the_first_character),
        cmocka_unit_test(identifiers_are_quoted_and_quotes_doubled),
        cmocka_unit_test(what_can_be_no_identifier_is_refused),
        cmocka_unit_test(literals_mean_the_same_whatever_backslashes_mean),
        cmocka_unit_test(what_can_be_no_literal_is_refused),
        cmocka_unit_test(a_small_room_is_kept_to_and_the_need_is_told),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
