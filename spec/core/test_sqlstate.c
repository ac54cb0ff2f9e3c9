/* sqlstate.c: names, classes and retryability, compared with PostgreSQL's own
 * errcodes.txt where the machine has one (TIDEPOOL_ERRCODES says which). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidepool.h"

static void known_codes_have_their_condition_names(void **state)
{
    (void)state;
    assert_string_equal(tp_sqlstate_name("00000"), "successful_completion");
    assert_string_equal(tp_sqlstate_name("23505"), "unique_violation");
    assert_string_equal(tp_sqlstate_name("40001"), "serialization_failure");
    assert_string_equal(tp_sqlstate_name("42P01"), "undefined_table");
    assert_string_equal(tp_sqlstate_name("57014"), "query_canceled");
    assert_string_equal(tp_sqlstate_name("XX002"), "index_corrupted");
}

static void an_unknown_code_of_a_known_class_has_the_generic_name(void **state)
{
    (void)state;
    assert_string_equal(tp_sqlstate_name("23ZZZ"), "integrity_constraint_violation");
    assert_string_equal(tp_sqlstate_name("XX999"), "internal_error");
    assert_string_equal(tp_sqlstate_name("57P99"), "operator_intervention");
}

static void what_is_no_known_sqlstate_has_no_name(void **state)
{
    (void)state;
    static const char *const codes[] = {"",      "2",     "23",    "2350",  "23505x",
                                        "23 05", "Z9000", "23z05", "xx000", "2350\xFF"};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_string_equal(tp_sqlstate_name(codes[i]), "");
        assert_string_equal(tp_sqlstate_class(codes[i]), "");
        assert_false(tp_sqlstate_retryable(codes[i]));
    }
    assert_string_equal(tp_sqlstate_name(NULL), "");
    assert_string_equal(tp_sqlstate_class(NULL), "");
    assert_false(tp_sqlstate_retryable(NULL));
}

static void classes_are_in_words(void **state)
{
    (void)state;
    assert_string_equal(tp_sqlstate_class("23505"), "Integrity Constraint Violation");
    assert_string_equal(tp_sqlstate_class("23ZZZ"), "Integrity Constraint Violation");
    assert_string_equal(tp_sqlstate_class("02000"), "No Data");
    assert_string_equal(tp_sqlstate_class("00000"), "Successful Completion");
    assert_string_equal(tp_sqlstate_class("XX000"), "Internal Error");
    assert_string_equal(tp_sqlstate_class("HV00N"), "Foreign Data Wrapper Error");
}

static void codes_that_came_after_15_are_known(void **state)
{
    (void)state;
    assert_string_equal(tp_sqlstate_name("25P04"), "transaction_timeout");
    assert_string_equal(tp_sqlstate_name("10608"), "invalid_argument_for_xquery");
    assert_string_equal(tp_sqlstate_name("10000"), ""); /* a class without a generic one */
    assert_string_equal(tp_sqlstate_class("10608"), "XQuery Error");
}

struct tally {
    int conditions, classes;
};

/* A line with a condition, "23505    E    ERRCODE_UNIQUE_VIOLATION
 * unique_violation". The last field is missing where another line has it. */
static void check_condition(const char *line, struct tally *tally)
{
    char code[6], kind, macro[128], name[128];
    if (sscanf(line, "%5s %c %127s %127s", code, &kind, macro, name) == 4) {
        assert_string_equal(tp_sqlstate_name(code), name);
        assert_string_not_equal(tp_sqlstate_class(code), "");
        tally->conditions++;
    } else {
        assert_string_not_equal(tp_sqlstate_name(code), "");
    }
}

/* A line such as "Section: Class 02 - No Data (a remark)". */
static void check_class(const char *line, struct tally *tally)
{
    char code[6] = "", title[128];
    assert_int_equal(sscanf(line, "Section: Class %2s - %127[^(\n]", code, title), 2);
    for (size_t end = strlen(title); end > 0 && title[end - 1] == ' '; end--) {
        title[end - 1] = '\0';
    }
    strcat(code, "000");
    assert_string_equal(tp_sqlstate_class(code), title);
    tally->classes++;
}

static void check_file(const char *path)
{
    struct tally tally = {0, 0};
    char line[512];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    print_message("           comparing with %s\n", path);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "Section:", 8) == 0) {
            check_class(line, &tally);
        } else if (line[0] != '#' && line[0] != '\n') {
            check_condition(line, &tally);
        }
    }
    (void)fclose(file);
    assert_true(tally.conditions >= 250); /* or the file was not what it seems */
    assert_true(tally.classes >= 40);
}

static void every_condition_of_errcodes_txt_is_known(void **state)
{
    (void)state;
    const char *named = getenv("TIDEPOOL_ERRCODES");
    if (named != NULL && named[0] != '\0') {
        check_file(named);
        return;
    }
    glob_t found = {0};
    (void)glob("/usr/share/postgresql/*/errcodes.txt", 0, NULL, &found);
    (void)glob("/usr/share/postgresql/errcodes.txt", GLOB_APPEND, NULL, &found);
    (void)glob("/usr/local/share/postgresql/errcodes.txt", GLOB_APPEND, NULL, &found);
    (void)glob("/usr/pgsql-*/share/errcodes.txt", GLOB_APPEND, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        check_file(found.gl_pathv[i]);
    }
    if (found.gl_pathc == 0) {
        print_message("           not compared: no errcodes.txt here, TIDEPOOL_ERRCODES unset\n");
    }
    globfree(&found);
}

/* The tables as they are: order, and nothing that no PostgreSQL has. */
static const struct row {
    const char *code, *name;
    bool retryable;
} ROWS[] = {
#include "../../core/src/sqlstate_table.inc"
};
static const struct class_row {
    const char *code, *title;
} CLASS_ROWS[] = {
#include "../../core/src/sqlstate_classes.inc"
};

static void the_tables_are_sorted_and_complete(void **state)
{
    (void)state;
    size_t rows = sizeof ROWS / sizeof ROWS[0], classes = sizeof CLASS_ROWS / sizeof CLASS_ROWS[0];
    assert_int_equal(rows, 260 + 2); /* PostgreSQL 15's, then 25P04 and 10608 */
    assert_int_equal(classes, 43 + 1);
    for (size_t i = 0; i < rows; i++) {
        assert_true(i == 0 || strcmp(ROWS[i - 1].code, ROWS[i].code) < 0);
        assert_string_equal(tp_sqlstate_name(ROWS[i].code), ROWS[i].name);
        assert_string_not_equal(tp_sqlstate_class(ROWS[i].code), "");
    }
    for (size_t i = 1; i < classes; i++) {
        assert_true(strcmp(CLASS_ROWS[i - 1].code, CLASS_ROWS[i].code) < 0);
    }
}

static bool may_retry(const char *code)
{
    return strcmp(code, "40001") == 0 || strcmp(code, "40P01") == 0;
}

static void only_a_proven_rollback_is_retryable(void **state)
{
    (void)state;
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        assert_int_equal(tp_sqlstate_retryable(ROWS[i].code), may_retry(ROWS[i].code));
    }
    for (size_t n = 0; n < 36 * 36 * 36; n++) { /* all of class 40, known or not */
        const char code[] = {'4', '0', digits[n / 1296], digits[n / 36 % 36], digits[n % 36], '\0'};
        assert_int_equal(tp_sqlstate_retryable(code), may_retry(code));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_codes_have_their_condition_names),
        cmocka_unit_test(an_unknown_code_of_a_known_class_has_the_generic_name),
        cmocka_unit_test(what_is_no_known_sqlstate_has_no_name),
        cmocka_unit_test(classes_are_in_words),
        cmocka_unit_test(codes_that_came_after_15_are_known),
        cmocka_unit_test(every_condition_of_errcodes_txt_is_known),
        cmocka_unit_test(the_tables_are_sorted_and_complete),
        cmocka_unit_test(only_a_proven_rollback_is_retryable),
    };
    return cmocka_run_group_tests_name("sqlstate", tests, NULL, NULL);
}
