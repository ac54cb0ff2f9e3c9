/* The one table of options.
 *
 * A row says what an option is called in code, in the environment and in a
 * connection URL, what it accepts, what each profile gives it, and how it is
 * documented. The parser, the check of unknown names, the profiles and the
 * printed documentation all read this table and nothing else.
 * Owns: nothing; the table is static.
 * Errors: TP_ERR_VALIDATION. A message names the option by the caller's `label`
 * and never repeats the value, which may be a secret in the wrong place.
 * Thread: any. */
#ifndef TP_OPTIONS_H
#define TP_OPTIONS_H

#include "tidepool.h"

enum tp_option_id {
    /* The parts of a connection, up to TP_OPT_HOSTADDR, come from one source. */
    TP_OPT_HOST,
    TP_OPT_PORT,
    TP_OPT_DATABASE,
    TP_OPT_USER,
    TP_OPT_PASSWORD,
    TP_OPT_HOSTADDR,
    TP_OPT_APPLICATION_NAME,
    TP_OPT_TARGET_SESSION_ATTRS,
    TP_OPT_SERVER_OPTIONS,
    TP_OPT_NAME,
    TP_OPT_PROFILE,
    TP_OPT_CONNECT_TIMEOUT,
    TP_OPT_STATEMENT_TIMEOUT,
    TP_OPT_LOCK_TIMEOUT,
    TP_OPT_IDLE_IN_TRANSACTION_TIMEOUT,
    TP_OPT_QUERY_TIMEOUT,
    TP_OPT_PREPARE,
    TP_OPT_RESET,
    TP_OPT_STATEMENT_CACHE,
    TP_OPT_POOL_MIN,
    TP_OPT_POOL_MAX,
    TP_OPT_IDLE_TIMEOUT,
    TP_OPT_ACQUIRE_TIMEOUT,
    TP_OPT_MAX_USES,
    TP_OPT_MAX_LIFETIME,
    TP_OPT_MAX_WAITING,
    TP_OPT_LEAK_AFTER,
    TP_OPT_MAX_TOTAL,
    TP_OPT_BUDGET,
    TP_OPT_ADAPTIVE,
    TP_OPT_HEALTH_INTERVAL,
    TP_OPT_BREAKER_FAILURES,
    TP_OPT_BREAKER_OPEN,
    TP_OPT_TLS,
    TP_OPT_TLS_MODE,
    TP_OPT_TLS_VERIFY,
    TP_OPT_TLS_CA,
    TP_OPT_TLS_CERT,
    TP_OPT_TLS_KEY,
    TP_OPT_TLS_CRL,
    TP_OPT_TLS_SERVER_NAME,
    TP_OPT_TLS_MIN_VERSION,
    TP_OPT_TLS_CHANNEL_BINDING,
    TP_OPT_LOG_QUERIES,
    TP_OPT_LOG_CONNECTIONS,
    TP_OPT_LOG_SLOW,
    TP_OPT_LOG_EXPLAIN,
    TP_OPT_LOG_REPEATS,
    TP_OPT_LOG_PARAMETERS,
    TP_OPT_LOG_FORMAT,
    TP_OPT_LOG_SINK,
    TP_OPT_STATS_SHARED,
    TP_OPT_RETRY_ATTEMPTS,
    TP_OPT_RETRY_BASE,
    TP_OPT_RETRY_MAX,
    TP_OPT_RETRY_JITTER,
    TP_OPT_RETRY_BUDGET,
    TP_OPT_VERDICT,
    TP_OPT_SQL_BYTES,
    TP_OPT_PARAMETER_BYTES,
    TP_OPT_ROWS,
    TP_OPT_RESULT_BYTES,
    TP_OPT_EVENTS,
    TP_OPT_STATEMENTS_MAX,
    TP_OPT_ALLOW_OLD_LIBPQ,
    TP_OPTIONS /* how many there are */
};

enum tp_option_flag {
    TP_OPTION_URL_SECONDS = 1,    /* the URL parameter is libpq's, in seconds */
    TP_OPTION_PORTS = 2,          /* a list of port numbers, some of them empty */
    TP_OPTION_DEVELOPMENT_ENV = 4 /* the environment says nothing in production */
};

struct tp_option {
    struct tp_option_info info;
    unsigned flags;
    int64_t min, max; /* of an INT or MS, both included */
};

/* The row of an option. */
const struct tp_option *tp__option(enum tp_option_id id);

/* The option with that name in code, or TP_OPTIONS when there is none. */
enum tp_option_id tp__option_by_name(const char *name);

/* The option with that URL parameter (also libpq's keyword), or TP_OPTIONS. */
enum tp_option_id tp__option_by_url(const char *parameter);

/* The first option of a group: "pool.min" of "pool"; NULL: it is no group. */
const char *tp__option_of_group(const char *group);

/* The known name that an unknown one most likely means, "url" included, or NULL when none is
 * near. */
const char *tp__option_nearest(const char *name);

/* Checks `text` and writes its canonical form to *out ("true" for "Yes", 30000
 * for 30 seconds of a URL). The caller owns *out. */
enum tp_status tp__option_parse(const struct tp_option *option, const char *text, bool from_url,
                                const char *label, char **out, struct tp_error *err) TP_MUST_CHECK;

/* Whether `text` is one of the words of "a|b|c", without regard to case. Returns
 * the word as the list spells it and its length, or NULL. */
const char *tp__choice_find(const char *choices, const char *text, size_t *len);

/* Whether `text` is a whole number that fits *out, spaces around it allowed. */
bool tp__whole_number(const char *text, int64_t *out);

#endif
