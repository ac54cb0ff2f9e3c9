/* The table of options: complete, without doubles, and parsed as it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "options.h"

static void each_row_is_complete(void **state)
{
    (void)state;
    size_t count = 0;
    for (const struct tp_option_info *info; (info = tp_option_at(count)) != NULL; count++) {
        assert_non_null(info->name);
        assert_true(info->name[0] != '\0');
        assert_non_null(info->environment);
        assert_non_null(info->url);
        assert_non_null(info->production);
        assert_non_null(info->development);
        assert_true((info->type == TP_OPTION_ENUM) == (info->choices[0] != '\0'));
        size_t len = strlen(info->doc);
        assert_true(len > 20);
        assert_int_equal(info->doc[len - 1], '.');
    }
    assert_int_equal(count, TP_OPTIONS);
}

static void no_two_rows_share_a_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < TP_OPTIONS; i++) {
        const struct tp_option_info *info = tp_option_at(i);
        assert_int_equal(tp__option_by_name(info->name), i);
        if (info->url[0] != '\0') {
            assert_int_equal(tp__option_by_url(info->url), i);
        }
    }
    assert_int_equal(tp__option_by_name("nothing"), TP_OPTIONS);
    assert_int_equal(tp__option_by_url(""), TP_OPTIONS);
}

static void defaults_pass_their_own_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < TP_OPTIONS; i++) {
        const struct tp_option *option = tp__option((enum tp_option_id)i);
        const char *defaults[] = {option->info.production, option->info.development};
        for (size_t j = 0; j < 2; j++) {
            char *out = NULL;
            struct tp_error err;
            if (defaults[j][0] == '\0') {
                continue;
            }
            assert_int_equal(tp__option_parse(option, defaults[j], false, "x", &out, &err), TP_OK);
            assert_string_equal(out, defaults[j]);
            free(out);
        }
    }
}

static void the_profiles_have_the_contract_s_defaults(void **state)
{
    static const struct {
        const char *name, *environment, *production, *development;
    } rows[] = {
        {"pool.max", "DB_POOL_MAX", "20", "10"},
        {"pool.min", "DB_POOL_MIN", "5", "2"},
        {"pool.idle_timeout_ms", "DB_IDLE_TIMEOUT_MS|DB_POOL_IDLE_TIMEOUT", "30000", "10000"},
        {"pool.acquire_timeout_ms", "DB_CONNECTION_TIMEOUT_MS|DB_POOL_CONNECTION_TIMEOUT", "5000",
         "5000"},
        {"pool.max_uses", "DB_MAX_USES", "7500", "0"},
        {"pool.max_lifetime_ms", "DB_MAX_LIFETIME_MS", "3600000", "3600000"},
        {"health.interval_ms", "", "30000", "30000"},
        {"tls", "DB_SSL", "true", "false"},
        {"tls.verify", "DB_SSL_REJECT_UNAUTHORIZED", "true", "true"},
        {"tls.ca", "DB_SSL_CA", "", ""},
        {"tls.cert", "DB_SSL_CERT", "", ""},
        {"tls.key", "DB_SSL_KEY", "", ""},
        {"log.queries", "DB_LOG_QUERIES|DB_LOGGING", "false", "true"},
        {"log.connections", "DB_LOG_CONNECTIONS", "false", "false"},
        {"log.slow_ms", "", "1000", "1000"},
        {"retry.attempts", "", "3", "3"},
        {"database", "DB_NAME|DB_DATABASE", "", ""},
        {"user", "DB_USER|DB_USERNAME", "", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum tp_option_id id = tp__option_by_name(rows[i].name);
        assert_int_not_equal(id, TP_OPTIONS);
        assert_string_equal(tp__option(id)->info.environment, rows[i].environment);
        assert_string_equal(tp__option(id)->info.production, rows[i].production);
        assert_string_equal(tp__option(id)->info.development, rows[i].development);
    }
}

/* `out` NULL: refused. */
static void values_are_parsed(void **state)
{
    static const struct {
        enum tp_option_id id;
        const char *text, *out;
        bool from_url;
    } cases[] = {
        {TP_OPT_POOL_MAX, "20", "20", false},
        {TP_OPT_POOL_MAX, " 020 ", "20", false},
        {TP_OPT_POOL_MAX, "0", NULL, false},
        {TP_OPT_POOL_MAX, "-1", NULL, false},
        {TP_OPT_POOL_MAX, "1.5", NULL, false},
        {TP_OPT_POOL_MAX, "1e3", NULL, false},
        {TP_OPT_POOL_MAX, "", NULL, false},
        {TP_OPT_POOL_MAX, "abc", NULL, false},
        {TP_OPT_POOL_MAX, "100001", NULL, false},
        {TP_OPT_POOL_MAX, "99999999999999999999999", NULL, false},
        {TP_OPT_CONNECT_TIMEOUT, "30", "30", false},
        {TP_OPT_CONNECT_TIMEOUT, "30", "30000", true},
        {TP_OPT_CONNECT_TIMEOUT, "2147484", NULL, true},
        {TP_OPT_STATEMENT_TIMEOUT, "60000", "60000", true},
        {TP_OPT_STATEMENT_TIMEOUT, "2147483647", "2147483647", false},
        {TP_OPT_STATEMENT_TIMEOUT, "2147483648", NULL, false},
        {TP_OPT_TLS, "TRUE", "true", false},
        {TP_OPT_TLS, "1", "true", false},
        {TP_OPT_TLS, "off", "false", false},
        {TP_OPT_TLS, "no", "false", false},
        {TP_OPT_TLS, "", NULL, false},
        {TP_OPT_TLS, "|", NULL, false},
        {TP_OPT_TLS, "require", NULL, false},
        {TP_OPT_TLS_MODE, "Verify-Full", "verify-full", false},
        {TP_OPT_TLS_MODE, "verify", NULL, false},
        {TP_OPT_TARGET_SESSION_ATTRS, "read-write", "read-write", true},
        {TP_OPT_PORT, "5432", "5432", false},
        {TP_OPT_PORT, "5432,,6543", "5432,,6543", false},
        {TP_OPT_PORT, "", "", false},
        {TP_OPT_PORT, "0", NULL, false},
        {TP_OPT_PORT, "65536", NULL, false},
        {TP_OPT_PORT, "54 32", NULL, false},
        {TP_OPT_PORT, "99999999", NULL, false},
        {TP_OPT_PORT, "5432,x", NULL, false},
        {TP_OPT_HOST, "a b", "a b", false},
        {TP_OPT_PASSWORD, "", "", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = NULL;
        struct tp_error err;
        enum tp_status status = tp__option_parse(tp__option(cases[i].id), cases[i].text,
                                                 cases[i].from_url, "DB_LABEL", &out, &err);
        if (cases[i].out == NULL) {
            assert_int_equal(status, TP_ERR_VALIDATION);
            assert_null(out);
            assert_non_null(strstr(err.message, "DB_LABEL must be "));
        } else {
            assert_int_equal(status, TP_OK);
            assert_string_equal(out, cases[i].out);
        }
        free(out);
    }
}

static void messages_say_what_is_accepted(void **state)
{
    static const struct {
        enum tp_option_id id;
        bool from_url;
        const char *message;
    } cases[] = {
        {TP_OPT_POOL_MAX, false, "X must be a whole number from 1 to 100000"},
        {TP_OPT_LOG_SLOW, false, "X must be a whole number from 0 to 2147483647 (milliseconds)"},
        {TP_OPT_CONNECT_TIMEOUT, true, "X must be a whole number from 0 to 2147483 (seconds)"},
        {TP_OPT_TLS, false, "X must be true or false"},
        {TP_OPT_TLS_MODE, true,
         "X must be disable, allow, prefer, require, verify-ca or verify-full"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = NULL;
        struct tp_error err;
        assert_int_equal(
            tp__option_parse(tp__option(cases[i].id), "canary", cases[i].from_url, "X", &out, &err),
            TP_ERR_VALIDATION);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void an_unknown_name_finds_the_nearest(void **state)
{
    static const struct {
        const char *name, *nearest;
    } cases[] = {
        {"pool.maximum", "pool.max"},
        {"poolMax", "pool.max"},
        {"pool_max", "pool.max"},
        {"POOL_MAX", "pool.max"},
        {"max", "pool.max"},
        {"prot", "port"},
        {"dbname", "database"},
        {"sslmode", "tls.mode"},
        {"usr", "user"},
        {"pasword", "password"},
        {"pool.idle_timeout", "pool.idle_timeout_ms"},
        {"tls.verfy", "tls.verify"},
        {"username", "user"},
        {"hostname", "host"},
        {"ssl", "tls"},
        {"connectionString", "url"},
        {"xyzzy", NULL},
        {"", NULL},
        {"..", NULL},
        {"zz", NULL},
        {"a_name_that_is_much_longer_than_the_room_that_there_is_for_names", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *nearest = tp__option_nearest(cases[i].name);
        if (cases[i].nearest == NULL) {
            assert_null(nearest);
        } else {
            assert_non_null(nearest);
            assert_string_equal(nearest, cases[i].nearest);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_is_complete),
        cmocka_unit_test(no_two_rows_share_a_name),
        cmocka_unit_test(defaults_pass_their_own_check),
        cmocka_unit_test(the_profiles_have_the_contract_s_defaults),
        cmocka_unit_test(values_are_parsed),
        cmocka_unit_test(messages_say_what_is_accepted),
        cmocka_unit_test(an_unknown_name_finds_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
