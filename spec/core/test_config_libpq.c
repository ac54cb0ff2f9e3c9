/* Which releases of libpq are refused. */
#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "config_case.h"

static int version = 150018;

/* In a program's own symbols the linker finds it before libpq's. */
int PQlibVersion(void)
{
    return version;
}

static void only_mended_releases_pass(void **state)
{
    static const int good[] = {130019, 130023, 140016, 150011, 150018,
                               160007, 170003, 170010, 180000, 190001};
    static const int bad[] = {130018, 140015, 140000, 150010, 150000, 160006,
                              170002, 170000, 120022, 90624,  0};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(tp__libpq_is_mended(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(tp__libpq_is_mended(bad[i]));
}

static void an_old_one_is_refused_by_name(void **state)
{
    static const struct bad_case cases[] = {
        {{{PARTS}, {0}}, TP_ERR_VALIDATION, "libpq 15.10 has CVE-2025-1094"},
        {{{PARTS}, {0}}, TP_ERR_VALIDATION, "or set allow_old_libpq"},
        {{{0}, {0}}, TP_ERR_VALIDATION, "libpq 15.10"},
        {{{PARTS, "TIDEPOOL_ALLOW_OLD_LIBPQ=no"}, {0}}, TP_ERR_VALIDATION, "libpq 15.10"},
        {{{PARTS, "TIDEPOOL_ALLOW_OLD_LIBPQ=yes"}, {"allow_old_libpq=false"}},
         TP_ERR_VALIDATION,
         "libpq 15.10"},
        {{{PARTS, "TIDEPOOL_ALLOW_OLD_LIBPQ=si"}, {0}},
         TP_ERR_VALIDATION,
         "TIDEPOOL_ALLOW_OLD_LIBPQ"},
    };
    (void)state;
    version = 150010;
    RUN_BAD(cases);
    static const struct bad_case ancient[] = {
        {{{PARTS}, {0}}, TP_ERR_VALIDATION, "libpq 9.6.24 has CVE-2025-1094"},
    };
    version = 90624;
    RUN_BAD(ancient);
}

static void one_that_is_allowed_is_warned_of(void **state)
{
    static const struct setup setups[] = {
        {{PARTS, "TIDEPOOL_ALLOW_OLD_LIBPQ=1"}, {0}},
        {{PARTS}, {"allow_old_libpq=true"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
        version = 160006;
        tp_config *config = resolved(&setups[i]);
        assert_true(warns(config, "libpq 16.6 has CVE-2025-1094"));
        tp_config_free(config);
        version = 160007;
        config = resolved(&setups[i]);
        assert_false(warns(config, "CVE"));
        tp_config_free(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_mended_releases_pass),
        cmocka_unit_test(an_old_one_is_refused_by_name),
        cmocka_unit_test(one_that_is_allowed_is_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
