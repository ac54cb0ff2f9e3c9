/* buf.c: appends add up, and the first failure is kept until clear. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "buf.h"

static void appends_add_up_in_order(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    tp__buf_puts(&buf, "select ");
    tp__buf_putc(&buf, '$');
    tp__buf_printf(&buf, "%d, '%s'", 17, "x");
    tp__buf_append(&buf, "\0z", 2);
    assert_memory_equal(tp__buf_cstr(&buf), "select $17, 'x'\0z", 18);
    assert_int_equal(buf.len, 17);
    assert_false(buf.failed);
    tp__buf_free(&buf);
}

static void contents_survive_growth(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    for (int i = 0; i < 100000; i++) {
        tp__buf_putc(&buf, (char)('a' + i % 26));
    }
    assert_int_equal(buf.len, 100000);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(buf.data[i], 'a' + i % 26);
    }
    assert_true(buf.room < 4 * buf.len);
    tp__buf_free(&buf);
}

static void printf_of_any_length_fits(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    size_t expected = 0;
    for (int width = 0; width < 300; width++) {
        tp__buf_printf(&buf, "%*s", width, "");
        expected += (size_t)width;
        assert_int_equal(buf.len, expected);
        assert_int_equal(strlen(tp__buf_cstr(&buf)), expected);
    }
    tp__buf_free(&buf);
}

static void an_empty_buffer_is_an_empty_string(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    tp__buf_append(&buf, NULL, 0);
    assert_string_equal(tp__buf_cstr(&buf), "");
    assert_int_equal(buf.len, 0);
    tp__buf_free(&buf);
}

static void the_closing_nul_is_not_content(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    tp__buf_puts(&buf, "ab");
    assert_string_equal(tp__buf_cstr(&buf), "ab");
    tp__buf_puts(&buf, "cd");
    assert_string_equal(tp__buf_cstr(&buf), "abcd");
    tp__buf_free(&buf);
}

static void reserved_room_can_be_written_without_moving(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    tp__buf_puts(&buf, "ab");
    assert_true(tp__buf_reserve(&buf, 5000));
    assert_true(buf.room - buf.len >= 5000);
    const char *place = buf.data;
    memset(buf.data + buf.len, 'x', 5000);
    buf.len += 5000;
    assert_ptr_equal(buf.data, place);
    assert_int_equal(buf.data[1], 'b');
    tp__buf_free(&buf);
}

static void a_failure_stays_and_stops_everything_after_it(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    tp__buf_puts(&buf, "kept");
    assert_false(tp__buf_reserve(&buf, SIZE_MAX)); /* the sum overflows */
    assert_true(buf.failed);
    assert_false(tp__buf_reserve(&buf, 1));
    tp__buf_putc(&buf, 'x');
    tp__buf_puts(&buf, "x");
    tp__buf_printf(&buf, "x");
    tp__buf_append(&buf, "x", 1);
    assert_int_equal(buf.len, 4);
    assert_null(tp__buf_cstr(&buf));
    tp__buf_free(&buf);
}

static void a_size_that_no_object_has_fails(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    assert_false(tp__buf_reserve(&buf, SIZE_MAX)); /* the doubling must end */
    assert_true(buf.failed);
    tp__buf_clear(&buf);
    assert_false(tp__buf_reserve(&buf, (size_t)PTRDIFF_MAX + 1));
    tp__buf_free(&buf);
}

static void clear_keeps_the_memory_and_forgets_the_failure(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    tp__buf_puts(&buf, "some text");
    char *place = buf.data;
    assert_false(tp__buf_reserve(&buf, SIZE_MAX));
    tp__buf_clear(&buf);
    assert_false(buf.failed);
    assert_int_equal(buf.len, 0);
    tp__buf_puts(&buf, "new");
    assert_ptr_equal(buf.data, place);
    assert_string_equal(tp__buf_cstr(&buf), "new");
    tp__buf_free(&buf);
}

static void free_leaves_an_empty_buffer_that_can_be_used(void **state)
{
    (void)state;
    struct tp_buf buf = {0};
    tp__buf_puts(&buf, "x");
    tp__buf_free(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.len, 0);
    assert_int_equal(buf.room, 0);
    tp__buf_free(&buf);
    tp__buf_puts(&buf, "y");
    assert_string_equal(tp__buf_cstr(&buf), "y");
    tp__buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_add_up_in_order),
        cmocka_unit_test(contents_survive_growth),
        cmocka_unit_test(printf_of_any_length_fits),
        cmocka_unit_test(an_empty_buffer_is_an_empty_string),
        cmocka_unit_test(the_closing_nul_is_not_content),
        cmocka_unit_test(reserved_room_can_be_written_without_moving),
        cmocka_unit_test(a_failure_stays_and_stops_everything_after_it),
        cmocka_unit_test(a_size_that_no_object_has_fails),
        cmocka_unit_test(clear_keeps_the_memory_and_forgets_the_failure),
        cmocka_unit_test(free_leaves_an_empty_buffer_that_can_be_used),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
