/* Which releases of libpq will do. */
#include <libpq-fe.h>
#include <stdio.h>

#include "config_state.h"
#include "error.h"

/* CVE-2025-1094: quoting lets invalid UTF-8 smuggle quotes past it. No line before 13 was mended;
 * none from 18 on had it. Source: the PostgreSQL security page of that name. */
static const int mended[] = {130019, 140016, 150011, 160007, 170003};

bool tp__libpq_is_mended(int version)
{
    for (size_t i = 0; i < sizeof mended / sizeof *mended; i++) {
        if (version / 10000 == mended[i] / 10000) {
            return version >= mended[i];
        }
    }
    return version >= 180000;
}

/* Before 10 a version had three parts. */
static void version_text(int version, char out[24])
{
    if (version >= 100000) {
        snprintf(out, 24, "%d.%d", version / 10000, version % 10000);
    } else {
        snprintf(out, 24, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    }
}

enum tp_status tp__config_check_libpq(tp_config *config, struct tp_error *err)
{
    int version = PQlibVersion();
    char text[24];
    if (tp__libpq_is_mended(version)) {
        return TP_OK;
    }
    version_text(version, text);
    if (tp__config_true(config, TP_OPT_ALLOW_OLD_LIBPQ)) {
        tp__config_warn(config, "libpq %s has CVE-2025-1094 and is used all the same", text);
        return TP_OK;
    }
    return tp__error_set(err, TP_ERR_VALIDATION,
                         "libpq %s has CVE-2025-1094: install 13.19, 14.16, 15.11, 16.7, 17.3 or a "
                         "later release of its line, or set allow_old_libpq",
                         text);
}
