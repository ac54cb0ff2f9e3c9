/* error.c: what an error holds, and how text from others is cleaned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "error.h"

static void every_status_has_its_own_word(void **state)
{
    (void)state;
    for (int a = TP_OK; a <= TP_ERR_MEMORY; a++) {
        assert_non_null(tp_status_name((enum tp_status)a));
        assert_string_not_equal(tp_status_name((enum tp_status)a), "unknown");
        for (int b = TP_OK; b < a; b++) {
            assert_string_not_equal(tp_status_name((enum tp_status)a),
                                    tp_status_name((enum tp_status)b));
        }
    }
    assert_string_equal(tp_status_name(TP_ERR_POOL_TIMEOUT), "pool_timeout");
    assert_string_equal(tp_status_name(TP_ERR_COMMIT_UNKNOWN), "commit_unknown");
    assert_string_equal(tp_status_name(TP_ERR_MEMORY), "memory");
}

static void a_status_from_nowhere_is_unknown(void **state)
{
    (void)state;
    assert_string_equal(tp_status_name((enum tp_status)(TP_ERR_MEMORY + 1)), "unknown");
    assert_string_equal(tp_status_name((enum tp_status) - 1), "unknown");
}

static void assert_empty(const struct tp_error *err)
{
    assert_false(err->retryable);
    assert_int_equal(err->attempts, 0);
    assert_int_equal(err->position, 0);
    assert_string_equal(err->code, "");
    assert_string_equal(err->severity, "");
    assert_string_equal(err->detail, "");
    assert_string_equal(err->hint, "");
    assert_string_equal(err->where, "");
    assert_string_equal(err->schema, "");
    assert_string_equal(err->table, "");
    assert_string_equal(err->column, "");
    assert_string_equal(err->constraint, "");
    assert_string_equal(err->query, "");
}

static void clear_empties_every_field(void **state)
{
    (void)state;
    struct tp_error err;
    memset(&err, 1, sizeof err);
    tp__error_clear(&err);
    assert_int_equal(err.kind, TP_OK);
    assert_string_equal(err.message, "");
    assert_empty(&err);
}

static void set_formats_the_message_and_empties_the_rest(void **state)
{
    (void)state;
    struct tp_error err;
    memset(&err, 1, sizeof err);
    assert_int_equal(tp__error_set(&err, TP_ERR_TLS, "%s: %d", "depth", 3), TP_ERR_TLS);
    assert_int_equal(err.kind, TP_ERR_TLS);
    assert_string_equal(err.message, "depth: 3");
    assert_empty(&err);
}

static void set_without_an_error_returns_the_status(void **state)
{
    (void)state;
    assert_int_equal(tp__error_set(NULL, TP_ERR_BUSY, "busy"), TP_ERR_BUSY);
}

static void set_may_quote_the_error_it_replaces(void **state)
{
    (void)state;
    struct tp_error err;
    (void)tp__error_set(&err, TP_ERR_CONNECTION, "refused");
    (void)tp__error_set(&err, TP_ERR_POOL_TIMEOUT, "no connection (%s)", err.message);
    assert_string_equal(err.message, "no connection (refused)");
}

static void a_long_message_is_cut_between_characters(void **state)
{
    (void)state;
    struct tp_error err;
    char text[4096];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', shift);
        for (size_t at = shift; at + 3 < sizeof text; at += 3) {
            memcpy(text + at, "\xE2\x82\xAC", 4); /* the euro sign, and a NUL */
        }
        (void)tp__error_set(&err, TP_ERR_DATABASE, "%s", text);
        size_t len = strlen(err.message);
        assert_in_range(len, sizeof err.message - 3, sizeof err.message - 1);
        assert_true(tp_utf8_valid(err.message, len));
        assert_memory_equal(err.message, text, len); /* nothing was replaced */
    }
}

/* Control characters of two bytes shrink to a space of one, so more of the
 * formatted text gets in: the place where vsnprintf cut must stay outside. */
static void a_message_that_shrinks_is_not_cut_within_a_character(void **state)
{
    (void)state;
    struct tp_error err;
    char text[4096];
    for (size_t shift = 0; shift < 2; shift++) {
        memset(text, 'x', shift);
        for (size_t at = shift; at + 2 < sizeof text; at += 2) {
            memcpy(text + at, "\xC2\x85", 3);
        }
        (void)tp__error_set(&err, TP_ERR_DATABASE, "%s", text);
        assert_int_equal(strlen(err.message), sizeof err.message - 1);
        assert_null(strstr(err.message, "\xEF\xBF\xBD"));
    }
}

static void assert_cleaned(const char *text, size_t len, const char *expected)
{
    char out[64];
    tp__text_copy_n(out, sizeof out, text, len);
    assert_string_equal(out, expected);
}

static void bytes_that_are_no_utf8_become_replacement_characters(void **state)
{
    (void)state;
    assert_cleaned("a\xFF"
                   "b",
                   3,
                   "a\xEF\xBF\xBD"
                   "b");
    assert_cleaned("\xC3\xA4\xC3", 3, "\xC3\xA4\xEF\xBF\xBD");                 /* cut short */
    assert_cleaned("\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"); /* a surrogate */
    assert_cleaned("\xC0\x80", 2, "\xEF\xBF\xBD\xEF\xBF\xBD");                 /* overlong */
}

static void control_characters_become_spaces_but_newline_and_tab_stay(void **state)
{
    (void)state;
    assert_cleaned("a\r\n\tb", 5, "a \n\tb");
    assert_cleaned("\x1B[2J\x7F", 5, " [2J ");
    assert_cleaned("a\0b", 3, "a b");
    assert_cleaned("\xC2\x9B"
                   "x\xC2\xA0",
                   5, " x\xC2\xA0"); /* CSI goes, nbsp stays */
}

static void text_is_cut_to_the_room_at_a_character(void **state)
{
    (void)state;
    char out[8] = "#######";
    tp__text_copy(out, 5, "ab\xE2\x82\xAC");
    assert_string_equal(out, "ab");
    assert_int_equal(out[5], '#');
    tp__text_copy(out, 6, "ab\xE2\x82\xAC");
    assert_string_equal(out, "ab\xE2\x82\xAC");
    assert_int_equal(out[6], '#');
    tp__text_copy(out, 1, "ab");
    assert_string_equal(out, "");
    out[0] = '!';
    tp__text_copy(out, 0, "ab");
    assert_int_equal(out[0], '!');
}

static void no_text_gives_an_empty_string(void **state)
{
    (void)state;
    char out[4] = "xyz";
    tp__text_copy(out, sizeof out, NULL);
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_own_word),
        cmocka_unit_test(a_status_from_nowhere_is_unknown),
        cmocka_unit_test(clear_empties_every_field),
        cmocka_unit_test(set_formats_the_message_and_empties_the_rest),
        cmocka_unit_test(set_without_an_error_returns_the_status),
        cmocka_unit_test(set_may_quote_the_error_it_replaces),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(a_message_that_shrinks_is_not_cut_within_a_character),
        cmocka_unit_test(bytes_that_are_no_utf8_become_replacement_characters),
        cmocka_unit_test(control_characters_become_spaces_but_newline_and_tab_stay),
        cmocka_unit_test(text_is_cut_to_the_room_at_a_character),
        cmocka_unit_test(no_text_gives_an_empty_string),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
