/* result.c: what is read of the tag of a command. */
#include "result.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void tags_have_a_command_and_a_count(void **state)
{
    (void)state;
    static const struct {
        const char *tag, *command;
        int64_t count;
    } cases[] = {
        {"SELECT 5", "SELECT", 5},
        {"INSERT 0 12", "INSERT", 12},
        {"CREATE TABLE", "CREATE TABLE", 0},
        {"", "", 0},
        {"SELECT 9223372036854775807", "SELECT", INT64_MAX},
        /* No server says these, but one that means harm. */
        {"SELECT 9223372036854775808", "SELECT", INT64_MAX},
        {"SELECT 99999999999999999999999999", "SELECT", INT64_MAX},
        {"a command that is longer than there is room for", "a command that", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char command[16];
        assert_int_equal(tp__result_tag(cases[i].tag, command, sizeof command), cases[i].count);
        assert_string_equal(command, cases[i].command);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_have_a_command_and_a_count),
    };
    return cmocka_run_group_tests_name("result", tests, NULL, NULL);
}
