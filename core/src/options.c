#include "options.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "error.h"

/* The server keeps statement_timeout in an int of milliseconds; nothing here
 * needs more than those 24 days either. */
#define MS_MAX INT32_MAX
#define COUNT_MAX 100000
/* The server ends a connection that sends a message of 1 GB; this leaves room for what is around
 * the text or the parameters. Source: MaxAllocSize of PostgreSQL's memutils.h. */
#define BYTES_MAX 1073000000

#define SSL_MODES "disable|allow|prefer|require|verify-ca|verify-full"
#define SESSION_ATTRS "any|read-write|read-only|primary|standby|prefer-standby"

#define TEXT(type, name, env, url, doc)                  \
    {                                                    \
        {name, type, env, url, "", "", "", doc}, 0, 0, 0 \
    }
#define FLAG(name, env, production, development, doc)                              \
    {                                                                              \
        {name, TP_OPTION_BOOL, env, "", production, development, "", doc}, 0, 0, 0 \
    }
#define NUMBER(type, name, env, url, production, development, least, most, doc)  \
    {                                                                            \
        {name, type, env, url, production, development, "", doc}, 0, least, most \
    }
#define CHOICE(name, env, url, value, choices, doc)                           \
    {                                                                         \
        {name, TP_OPTION_ENUM, env, url, value, value, choices, doc}, 0, 0, 0 \
    }

static const struct tp_option rows[TP_OPTIONS] = {
    [TP_OPT_HOST] = TEXT(
        TP_OPTION_STRING, "host", "DB_HOST", "host",
        "Host name, address or socket directory of the server; several are separated by commas."),
    [TP_OPT_PORT] = {{"port", TP_OPTION_STRING, "DB_PORT", "port", "", "", "",
                      "Port of the server, 5432 when not said; one for all hosts or one for each."},
                     TP_OPTION_PORTS,
                     1,
                     65535},
    [TP_OPT_DATABASE] = TEXT(TP_OPTION_STRING, "database", "DB_NAME|DB_DATABASE", "dbname",
                             "Name of the database; the user's name when not said."),
    [TP_OPT_USER] = TEXT(TP_OPTION_STRING, "user", "DB_USER|DB_USERNAME", "user",
                         "Role to connect as; the operating system's user when not said."),
    [TP_OPT_PASSWORD] = TEXT(TP_OPTION_SECRET, "password", "DB_PASSWORD", "password",
                             "Password of the role; in code also a function that makes one."),
    [TP_OPT_HOSTADDR] =
        TEXT(TP_OPTION_STRING, "hostaddr", "", "hostaddr",
             "Numeric address to connect to, so that host is only used to verify the certificate."),
    [TP_OPT_APPLICATION_NAME] =
        TEXT(TP_OPTION_STRING, "application_name", "", "application_name",
             "Name of the application in pg_stat_activity and in the server's log."),
    [TP_OPT_TARGET_SESSION_ATTRS] =
        CHOICE("target_session_attrs", "", "target_session_attrs", "", SESSION_ATTRS,
               "Which of several hosts will do: any, or one that allows writing, say."),
    [TP_OPT_SERVER_OPTIONS] =
        TEXT(TP_OPTION_STRING, "options", "", "options",
             "Command-line options for the server session, such as \"-c search_path=app\"."),
    [TP_OPT_NAME] = TEXT(TP_OPTION_STRING, "name", "", "",
                         "Name of the pool: whoever opens it by this name in this process, in any "
                         "Lua state or thread, shares it."),
    [TP_OPT_PROFILE] = CHOICE("profile", "APP_ENV|NODE_ENV", "", "", "production|development",
                              "Which set of defaults applies; in the environment any name but "
                              "production means development."),
    [TP_OPT_CONNECT_TIMEOUT] =
        {{"connect_timeout_ms", TP_OPTION_MS, "", "connect_timeout", "10000", "10000", "",
          "How long one attempt to connect to a host may take; the URL has it in seconds; 0 is no "
          "limit."},
         TP_OPTION_URL_SECONDS,
         0,
         MS_MAX},
    [TP_OPT_STATEMENT_TIMEOUT] = NUMBER(
        TP_OPTION_MS, "statement_timeout_ms", "", "statement_timeout", "0", "0", 0, MS_MAX,
        "The server's own statement_timeout for each session; 0 leaves the server's setting."),
    [TP_OPT_LOCK_TIMEOUT] =
        NUMBER(TP_OPTION_MS, "lock_timeout_ms", "", "", "0", "0", 0, MS_MAX,
               "The server's own lock_timeout for each session; 0 leaves the server's setting."),
    [TP_OPT_IDLE_IN_TRANSACTION_TIMEOUT] =
        NUMBER(TP_OPTION_MS, "idle_in_transaction_timeout_ms", "", "", "60000", "60000", 0, MS_MAX,
               "After how long without a statement the server ends a session that is in a "
               "transaction; 0 leaves the server's setting."),
    [TP_OPT_QUERY_TIMEOUT] =
        NUMBER(TP_OPTION_MS, "query_timeout_ms", "", "", "0", "0", 0, MS_MAX,
               "How long a call may take when it does not say so itself; 0 is no limit."),
    [TP_OPT_PREPARE] =
        FLAG("prepare", "", "true", "true",
             "Whether statements are prepared; switch it off behind a pooler that cannot do it."),
    [TP_OPT_RESET] =
        CHOICE("reset", "", "", "smart", "always|smart|never",
               "When a connection that comes back is cleared of what its borrower has left in "
               "the session: smart does it when the borrower's statements could have left "
               "something."),
    [TP_OPT_STATEMENT_CACHE] =
        NUMBER(TP_OPTION_INT, "statement_cache_size", "", "", "256", "256", 0, COUNT_MAX,
               "How many prepared statements a connection keeps."),
    [TP_OPT_POOL_MIN] =
        NUMBER(TP_OPTION_INT, "pool.min", "DB_POOL_MIN", "pool_min", "5", "2", 0, COUNT_MAX,
               "Connections that are kept open even when nothing uses them."),
    [TP_OPT_POOL_MAX] = NUMBER(TP_OPTION_INT, "pool.max", "DB_POOL_MAX", "pool_max", "20", "10", 1,
                               COUNT_MAX, "The most connections that are open at one time."),
    [TP_OPT_IDLE_TIMEOUT] =
        NUMBER(TP_OPTION_MS, "pool.idle_timeout_ms", "DB_IDLE_TIMEOUT_MS|DB_POOL_IDLE_TIMEOUT",
               "pool_idle", "30000", "10000", 0, MS_MAX,
               "After how long without use a connection above pool.min is closed; 0 is never."),
    [TP_OPT_ACQUIRE_TIMEOUT] =
        NUMBER(TP_OPTION_MS, "pool.acquire_timeout_ms",
               "DB_CONNECTION_TIMEOUT_MS|DB_POOL_CONNECTION_TIMEOUT", "", "5000", "5000", 0, MS_MAX,
               "How long a caller waits for a free connection; 0 does not wait at all."),
    [TP_OPT_MAX_USES] =
        NUMBER(TP_OPTION_INT, "pool.max_uses", "DB_MAX_USES", "", "7500", "0", 0, INT32_MAX,
               "After how many loans a connection is replaced; 0 is never."),
    [TP_OPT_MAX_LIFETIME] =
        NUMBER(TP_OPTION_MS, "pool.max_lifetime_ms", "DB_MAX_LIFETIME_MS", "", "3600000", "3600000",
               0, MS_MAX, "At what age a connection is replaced; 0 is never."),
    [TP_OPT_MAX_WAITING] = NUMBER(
        TP_OPTION_INT, "pool.max_waiting", "", "", "100000", "100000", 0, INT32_MAX,
        "How many callers may wait for a connection before others are refused; 0 is no limit."),
    [TP_OPT_LEAK_AFTER] = NUMBER(TP_OPTION_MS, "pool.leak_after_ms", "", "", "0", "0", 0, MS_MAX,
                                 "After how long on loan a connection is warned of, with where it "
                                 "was acquired; 0 is never."),
    [TP_OPT_MAX_TOTAL] = NUMBER(
        TP_OPTION_INT, "pool.max_total", "DB_POOL_MAX_TOTAL", "", "0", "0", 0, COUNT_MAX,
        "The most connections of all processes together that share a budget; 0 is no limit."),
    [TP_OPT_BUDGET] = TEXT(TP_OPTION_STRING, "pool.budget", "DB_POOL_BUDGET", "",
                           "Name of the budget that pool.max_total is about; when not said, the "
                           "server, database and role decide."),
    [TP_OPT_HEALTH_INTERVAL] =
        NUMBER(TP_OPTION_MS, "health.interval_ms", "", "", "30000", "30000", 0, MS_MAX,
               "How often idle connections are checked; 0 is never."),
    [TP_OPT_BREAKER_FAILURES] =
        NUMBER(TP_OPTION_INT, "breaker.failures", "", "", "10", "10", 0, COUNT_MAX,
               "After how many failures to connect in a row callers are told at once instead of "
               "waiting; 0 is never."),
    [TP_OPT_BREAKER_OPEN] = NUMBER(TP_OPTION_MS, "breaker.open_ms", "", "", "5000", "5000", 1,
                                   MS_MAX, "The longest time between tries to connect then."),
    [TP_OPT_TLS] = FLAG("tls", "DB_SSL", "true", "false",
                        "Whether connections over TCP are encrypted; sockets never are."),
    [TP_OPT_TLS_MODE] = CHOICE("tls.mode", "", "sslmode", "", SSL_MODES,
                               "libpq's sslmode, for those who want to say it exactly."),
    [TP_OPT_TLS_VERIFY] = FLAG("tls.verify", "DB_SSL_REJECT_UNAUTHORIZED", "true", "true",
                               "Whether the server's certificate and host name are verified."),
    [TP_OPT_TLS_CA] =
        TEXT(TP_OPTION_STRING, "tls.ca", "DB_SSL_CA", "sslrootcert",
             "Certificates to trust: a path, PEM or base64 of PEM; \"system\" or not said: the "
             "system's."),
    [TP_OPT_TLS_CERT] = TEXT(TP_OPTION_STRING, "tls.cert", "DB_SSL_CERT", "sslcert",
                             "Client certificate: a path, PEM or base64 of PEM."),
    [TP_OPT_TLS_KEY] = TEXT(TP_OPTION_SECRET, "tls.key", "DB_SSL_KEY", "sslkey",
                            "Private key of the client certificate: a path, PEM or base64 of PEM."),
    [TP_OPT_TLS_CRL] = TEXT(TP_OPTION_STRING, "tls.crl", "", "sslcrl",
                            "Certificates that were revoked: a path, PEM or base64 of PEM."),
    [TP_OPT_TLS_SERVER_NAME] =
        TEXT(TP_OPTION_STRING, "tls.server_name", "", "",
             "Name that is asked for (SNI) and verified instead of host, which is connected to."),
    [TP_OPT_TLS_MIN_VERSION] = CHOICE("tls.min_version", "", "ssl_min_protocol_version", "TLSv1.2",
                                      "TLSv1.2|TLSv1.3", "The oldest version of TLS that will do."),
    [TP_OPT_TLS_CHANNEL_BINDING] =
        CHOICE("tls.channel_binding", "", "channel_binding", "prefer", "disable|prefer|require",
               "Whether a password is given only within this very TLS connection (SCRAM)."),
    [TP_OPT_LOG_QUERIES] = FLAG("log.queries", "DB_LOG_QUERIES|DB_LOGGING", "false", "true",
                                "Whether each query is logged (never its parameters)."),
    [TP_OPT_LOG_CONNECTIONS] = {{"log.connections", TP_OPTION_BOOL, "DB_LOG_CONNECTIONS", "",
                                 "false", "false", "",
                                 "Whether connections are logged as they come and go; in "
                                 "production only code can say so."},
                                TP_OPTION_DEVELOPMENT_ENV,
                                0,
                                0},
    [TP_OPT_LOG_SLOW] = NUMBER(TP_OPTION_MS, "log.slow_ms", "", "", "1000", "1000", 0, MS_MAX,
                               "From what duration on a query is logged as slow; 0 is never."),
    [TP_OPT_LOG_EXPLAIN] = NUMBER(TP_OPTION_INT, "log.explain", "", "", "0", "0", 0, 100,
                                  "How many of 100 slow queries have their plan asked for, on "
                                  "another connection and without executing them."),
    [TP_OPT_LOG_REPEATS] =
        NUMBER(TP_OPTION_INT, "log.repeats", "", "", "0", "20", 0, COUNT_MAX,
               "How often the same statement may be made within one block, request or task "
               "before there is a warning; 0 is any number."),
    [TP_OPT_LOG_PARAMETERS] = FLAG("log.parameters", "", "false", "false",
                                   "Whether the values of parameters are logged, too."),
    [TP_OPT_LOG_FORMAT] =
        CHOICE("log.format", "", "", "text", "text|json", "How a line of the log is written."),
    [TP_OPT_LOG_SINK] =
        CHOICE("log.sink", "", "", "", "stderr|ngx",
               "Where the log goes: standard error, or nginx's error log, which is the default "
               "there; in code also a function."),
    [TP_OPT_STATS_SHARED] = FLAG("stats.shared", "", "", "",
                                 "Whether statistics are summed over all processes of one budget; "
                                 "true in nginx and with pool.max_total when not said."),
    [TP_OPT_RETRY_ATTEMPTS] = NUMBER(TP_OPTION_INT, "retry.attempts", "", "", "3", "3", 0, 1000,
                                     "How often a statement that may safely be repeated is tried."),
    [TP_OPT_RETRY_BASE] =
        NUMBER(TP_OPTION_MS, "retry.base_ms", "", "", "50", "50", 1, MS_MAX,
               "The delay before the first repetition; each further one is twice as long."),
    [TP_OPT_RETRY_MAX] = NUMBER(TP_OPTION_MS, "retry.max_ms", "", "", "1000", "1000", 1, MS_MAX,
                                "The longest delay between repetitions."),
    [TP_OPT_RETRY_JITTER] =
        NUMBER(TP_OPTION_INT, "retry.jitter", "", "", "50", "50", 0, 100,
               "How much of a delay is random, in percent, so that many callers spread."),
    [TP_OPT_RETRY_BUDGET] =
        NUMBER(TP_OPTION_INT, "retry.budget", "", "", "10", "10", 0, 100,
               "How many repetitions there may be per 100 calls; 100 is no limit."),
    [TP_OPT_VERDICT] = NUMBER(TP_OPTION_MS, "retry.verdict_ms", "", "", "5000", "5000", 0, MS_MAX,
                              "How long is asked what became of a lost COMMIT; 0 is never."),
    [TP_OPT_SQL_BYTES] = NUMBER(TP_OPTION_INT, "limits.sql_bytes", "", "", "67108864", "67108864",
                                1, BYTES_MAX, "The longest SQL text of a statement or a script."),
    [TP_OPT_PARAMETER_BYTES] =
        NUMBER(TP_OPTION_INT, "limits.parameter_bytes", "", "", "1000000000", "1000000000", 1,
               BYTES_MAX, "The most bytes that the parameters of one statement have together."),
    [TP_OPT_ROWS] =
        NUMBER(TP_OPTION_INT, "limits.rows", "", "", "0", "0", 0, INT32_MAX,
               "The most rows of a result, unless the call says max_rows; 0 is no limit."),
    [TP_OPT_RESULT_BYTES] =
        NUMBER(TP_OPTION_INT, "limits.result_bytes", "", "", "1073741824", "1073741824", 0,
               INT64_C(1) << 40,
               "The most bytes of a result, unless the call says max_result_bytes; 0 is no limit."),
    [TP_OPT_EVENTS] = NUMBER(TP_OPTION_INT, "limits.events", "", "", "128", "128", 1, 1000000,
                             "The most events that wait for the program; older ones are dropped."),
    [TP_OPT_STATEMENTS_MAX] =
        NUMBER(TP_OPTION_INT, "statements.max", "", "", "500", "500", 0, 10000,
               "How many different statements have statistics; 0 is none."),
    [TP_OPT_ADAPTIVE] = FLAG("pool.adaptive", "", "false", "false",
                             "Whether the pool finds out how many connections are of use."),
    [TP_OPT_ALLOW_OLD_LIBPQ] = FLAG("allow_old_libpq", "TIDEPOOL_ALLOW_OLD_LIBPQ", "false", "false",
                                    "Whether a release of libpq that has CVE-2025-1094 will do."),
};

const struct tp_option_info *tp_option_at(size_t i)
{
    return i < TP_OPTIONS ? &rows[i].info : NULL;
}

const struct tp_option *tp__option(enum tp_option_id id)
{
    return &rows[id];
}

enum tp_option_id tp__option_by_name(const char *name)
{
    int id = 0;
    while (id < TP_OPTIONS && strcmp(rows[id].info.name, name) != 0) {
        id++;
    }
    return (enum tp_option_id)id;
}

enum tp_option_id tp__option_by_url(const char *parameter)
{
    int id = 0;
    while (id < TP_OPTIONS &&
           (rows[id].info.url[0] == '\0' || strcmp(rows[id].info.url, parameter) != 0)) {
        id++;
    }
    return (enum tp_option_id)id;
}

/* ------------------------------------------------------------ nearest name */

enum { NAME_ROOM = 48 };

/* Letters and digits only, in lower case, so that pool_max, poolMax and
 * pool.max are one name. Returns the length. */
static size_t squash(const char *name, char out[NAME_ROOM])
{
    size_t len = 0;
    for (; *name != '\0' && len < NAME_ROOM - 1; name++) {
        if (isalnum((unsigned char)*name)) {
            out[len++] = (char)tolower((unsigned char)*name);
        }
    }
    out[len] = '\0';
    return len;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance, keeping one row of his matrix. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[NAME_ROOM];
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = least(replaced, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_len];
}

static size_t distance_to(const char *wanted, size_t wanted_len, const char *known)
{
    char squashed[NAME_ROOM];
    size_t len = squash(known, squashed);
    return len == 0 ? NAME_ROOM : distance(wanted, wanted_len, squashed, len);
}

/* The part behind the dot: "max" of "pool.max". */
static const char *last_word(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL ? dot + 1 : "";
}

/* What other clients call it, where no letters tell. */
static const char *elsewhere(const char *wanted)
{
    static const char *const names[][2] = {
        {"username", "user"}, {"hostname", "host"}, {"db", "database"},          {"ssl", "tls"},
        {"dsn", "url"},       {"uri", "url"},       {"connectionstring", "url"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(wanted, names[i][0]) == 0) {
            return names[i][1];
        }
    }
    return NULL;
}

const char *tp__option_of_group(const char *group)
{
    size_t len = strlen(group);
    for (int id = 0; id < TP_OPTIONS; id++) {
        const char *name = rows[id].info.name;
        if (len > 0 && strncmp(name, group, len) == 0 && name[len] == '.') {
            return name;
        }
    }
    return NULL;
}

const char *tp__option_nearest(const char *name)
{
    char wanted[NAME_ROOM];
    size_t len = squash(name, wanted);
    if (elsewhere(wanted) != NULL) {
        return elsewhere(wanted);
    }
    /* A third of the letters may be wrong, so "prot" finds port, but "xyz" is
     * not told that it means "tls". */
    size_t allowed = len < 3 ? 0 : (len + 2) / 3;
    const char *nearest = NULL;
    for (int id = 0; id < TP_OPTIONS && len > 0; id++) {
        const struct tp_option_info *info = &rows[id].info;
        size_t found = distance_to(wanted, len, info->name);
        found = least(found, distance_to(wanted, len, info->url));
        found = least(found, distance_to(wanted, len, last_word(info->name)));
        if (found <= allowed && (nearest == NULL || found < allowed)) {
            nearest = info->name;
            allowed = found;
        }
    }
    return nearest;
}

/* ----------------------------------------------------------------- parsing */

bool tp__whole_number(const char *text, int64_t *out)
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    int64_t value = 0;
    const char *digit = text;
    for (; isdigit((unsigned char)*digit); digit++) {
        if (value > (INT64_MAX - 9) / 10) {
            return false;
        }
        value = value * 10 + (*digit - '0');
    }
    const char *rest = digit;
    while (isspace((unsigned char)*rest)) {
        rest++;
    }
    if (digit == text || *rest != '\0') {
        return false;
    }
    *out = value;
    return true;
}

const char *tp__choice_find(const char *choices, const char *text, size_t *len)
{
    size_t wanted = strlen(text);
    for (const char *word = choices; *word != '\0';) {
        size_t n = strcspn(word, "|");
        if (n == wanted && strncasecmp(word, text, n) == 0) {
            *len = n;
            return word;
        }
        word += n;
        word += *word == '|' ? 1 : 0;
    }
    return NULL;
}

static enum tp_status give(char **out, char *text, struct tp_error *err)
{
    if (text == NULL) {
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory");
    }
    *out = text;
    return TP_OK;
}

static enum tp_status parse_number(const struct tp_option *option, const char *text, bool from_url,
                                   const char *label, char **out, struct tp_error *err)
{
    int64_t scale = from_url && (option->flags & TP_OPTION_URL_SECONDS) != 0 ? 1000 : 1;
    int64_t value = 0;
    if (!tp__whole_number(text, &value) || value > option->max / scale ||
        value * scale < option->min) {
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "%s must be a whole number from %lld to %lld%s", label,
                             (long long)(option->min / scale), (long long)(option->max / scale),
                             scale == 1000                       ? " (seconds)"
                             : option->info.type == TP_OPTION_MS ? " (milliseconds)"
                                                                 : "");
    }
    char *copy = NULL;
    if (asprintf(&copy, "%" PRId64, value * scale) < 0) {
        copy = NULL;
    }
    return give(out, copy, err);
}

static enum tp_status parse_bool(const char *text, const char *label, char **out,
                                 struct tp_error *err)
{
    size_t len = 0;
    if (tp__choice_find("true|1|yes|on", text, &len) != NULL) {
        return give(out, strdup("true"), err);
    }
    if (tp__choice_find("false|0|no|off", text, &len) != NULL) {
        return give(out, strdup("false"), err);
    }
    return tp__error_set(err, TP_ERR_VALIDATION, "%s must be true or false", label);
}

/* Writes "a, b or c" for "a|b|c". */
static void spell_choices(const char *choices, char *out, size_t room)
{
    const char *last = strrchr(choices, '|');
    size_t len = 0;
    out[0] = '\0';
    for (const char *at = choices; *at != '\0' && len + 5 < room; at++) {
        const char *piece = *at != '|' ? "" : at == last ? " or " : ", ";
        if (*at != '|') {
            out[len++] = *at;
        }
        for (; *piece != '\0'; piece++) {
            out[len++] = *piece;
        }
    }
    out[len] = '\0';
}

static enum tp_status parse_choice(const struct tp_option *option, const char *text,
                                   const char *label, char **out, struct tp_error *err)
{
    size_t len = 0;
    const char *word = tp__choice_find(option->info.choices, text, &len);
    if (word != NULL) {
        return give(out, strndup(word, len), err);
    }
    char choices[256];
    spell_choices(option->info.choices, choices, sizeof choices);
    return tp__error_set(err, TP_ERR_VALIDATION, "%s must be %s", label, choices);
}

/* Ports go with hosts: each is a number or empty, which means the default. */
static bool ports_valid(const struct tp_option *option, const char *text)
{
    for (;;) {
        char port[8];
        int64_t number = option->min;
        size_t len = strcspn(text, ",");
        if (len >= sizeof port) {
            return false;
        }
        memcpy(port, text, len);
        port[len] = '\0';
        if (len > 0 && (strspn(port, "0123456789") != len || !tp__whole_number(port, &number))) {
            return false;
        }
        if (number < option->min || number > option->max) {
            return false;
        }
        if (text[len] == '\0') {
            return true;
        }
        text += len + 1;
    }
}

static enum tp_status parse_text(const struct tp_option *option, const char *text,
                                 const char *label, char **out, struct tp_error *err)
{
    if ((option->flags & TP_OPTION_PORTS) != 0 && !ports_valid(option, text)) {
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "%s must be a port number from %lld to %lld, or one for each host",
                             label, (long long)option->min, (long long)option->max);
    }
    return give(out, strdup(text), err);
}

enum tp_status tp__option_parse(const struct tp_option *option, const char *text, bool from_url,
                                const char *label, char **out, struct tp_error *err)
{
    switch (option->info.type) {
    case TP_OPTION_INT:
    case TP_OPTION_MS:
        return parse_number(option, text, from_url, label, out, err);
    case TP_OPTION_BOOL:
        return parse_bool(text, label, out, err);
    case TP_OPTION_ENUM:
        return parse_choice(option, text, label, out, err);
    case TP_OPTION_STRING:
    case TP_OPTION_SECRET:
        break;
    }
    return parse_text(option, text, label, out, err);
}
