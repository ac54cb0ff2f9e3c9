/* The resolved values as libpq and the engine want them. */
#include "config_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* Without these a link that swallows everything is noticed only after 15 minutes, when TCP
 * gives up sending, and one on which nothing is sent after two hours, when TCP asks
 * (tcp(7), TCP_USER_TIMEOUT, TCP_KEEPIDLE). Each is for what the other does not see. */
static const struct {
    const char *keyword, *value;
} tcp_defaults[] = {
    {"tcp_user_timeout", "10000"}, /* ms */
    {"keepalives_idle", "30"},     /* s */
    {"keepalives_interval", "10"},
    {"keepalives_count", "3"},
};

struct list {
    const char **keywords, **values;
    size_t count;
};

/* libpq takes the last one of a keyword, so each is there once. */
static void add(struct list *list, const char *keyword, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        list->keywords[list->count] = keyword;
        list->values[list->count++] = value;
    }
}

/* What the server counts itself, in milliseconds. */
static const struct {
    enum tp_option_id option;
    const char *setting;
} server_timeouts[] = {
    {TP_OPT_STATEMENT_TIMEOUT, "statement_timeout"},
    {TP_OPT_LOCK_TIMEOUT, "lock_timeout"},
    {TP_OPT_IDLE_IN_TRANSACTION_TIMEOUT, "idle_in_transaction_session_timeout"},
};
enum { SERVER_TIMEOUTS = sizeof server_timeouts / sizeof server_timeouts[0], TIMEOUT_ROOM = 64 };

/* Those that somebody has said, or those that are defaults. A pooler may refuse them, and where
 * statements are not prepared there is one. */
static size_t put_timeouts(const tp_config *config, bool said, char *out, size_t len, size_t room)
{
    if (!said && !tp__config_true(config, TP_OPT_PREPARE))
        return len;
    for (size_t i = 0; i < SERVER_TIMEOUTS; i++) {
        int64_t timeout = tp__config_number(config, server_timeouts[i].option);
        if (timeout > 0 && tp__config_explicit(config, server_timeouts[i].option) == said)
            len += (size_t)snprintf(out + len, room - len, "%s-c %s=%lld", len > 0 ? " " : "",
                                    server_timeouts[i].setting, (long long)timeout);
    }
    return len;
}

/* The server goes by the last one: what was said here wins over the options, and those win over
 * defaults. */
static enum tp_status build_server_options(tp_config *config, struct tp_error *err)
{
    const char *options = tp__config_text(config, TP_OPT_SERVER_OPTIONS);
    /* All the room at once: it may be a secret, and growing would leave copies behind. */
    size_t room = (options != NULL ? strlen(options) : 0) + 2;
    room += (size_t)SERVER_TIMEOUTS * TIMEOUT_ROOM;
    char *out = malloc(room);
    if (out == NULL)
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory");
    out[0] = '\0';
    size_t len = put_timeouts(config, false, out, 0, room);
    if (options != NULL)
        len += (size_t)snprintf(out + len, room - len, "%s%s", len > 0 ? " " : "", options);
    (void)put_timeouts(config, true, out, len, room);
    config->server_options = out;
    return TP_OK;
}

static void add_options(const tp_config *config, struct list *list)
{
    static const enum tp_option_id ids[] = {
        TP_OPT_HOST,
        TP_OPT_HOSTADDR,
        TP_OPT_PORT,
        TP_OPT_USER,
        TP_OPT_PASSWORD,
        TP_OPT_DATABASE,
        TP_OPT_TLS_MODE,
        TP_OPT_TLS_MIN_VERSION,
        TP_OPT_TLS_CHANNEL_BINDING,
        TP_OPT_APPLICATION_NAME,
        TP_OPT_TARGET_SESSION_ATTRS,
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        add(list, tp__option(ids[i])->info.url, config->values[ids[i]].text);
    }
    add(list, "options", config->server_options);
}

static void add_tls(const tp_config *config, struct list *list)
{
    struct tp_tls_parameter parameters[TP_TLS_PARAMETERS];
    tp__keyring_parameters(config->keyring, parameters);
    for (size_t i = 0; i < TP_TLS_PARAMETERS; i++) {
        /* A directory of revoked certificates stands for the file. */
        if (strcmp(parameters[i].keyword, "sslcrl") != 0 ||
            strcmp(parameters[i].value, TP_TLS_NO_FILE) != 0 ||
            tp__config_libpq(config, "sslcrldir") == NULL) {
            add(list, parameters[i].keyword, parameters[i].value);
        }
    }
}

static void add_libpq(const tp_config *config, struct list *list)
{
    for (size_t i = 0; i < tp__keyword_count(); i++) {
        const char *name = tp__keyword_at(i)->name;
        if (strcmp(name, "client_encoding") != 0) {
            add(list, name, config->libpq[i].text);
        }
    }
    add(list, "client_encoding", "UTF8");
    if (tp__config_libpq(config, "fallback_application_name") == NULL) {
        add(list, "fallback_application_name", "tidepool");
    }
    for (size_t i = 0; i < sizeof tcp_defaults / sizeof tcp_defaults[0]; i++) {
        if (tp__config_libpq(config, tcp_defaults[i].keyword) == NULL)
            add(list, tcp_defaults[i].keyword, tcp_defaults[i].value);
    }
}

static enum tp_status build_conninfo(tp_config *config, struct tp_error *err)
{
    size_t room = TP_OPTIONS + tp__keyword_count() + 16;
    config->keywords = calloc(room, sizeof *config->keywords);
    config->keyword_values = calloc(room, sizeof *config->keyword_values);
    if (config->keywords == NULL || config->keyword_values == NULL) {
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory");
    }
    if (config->origin == TP_ORIGIN_NONE) {
        return TP_OK; /* two empty arrays */
    }
    enum tp_status status = build_server_options(config, err);
    if (status != TP_OK) {
        return status;
    }
    struct list list = {config->keywords, config->keyword_values, 0};
    add_options(config, &list);
    add_tls(config, &list);
    add_libpq(config, &list);
    return TP_OK;
}

static int count_of(const tp_config *config, enum tp_option_id id)
{
    return (int)tp__config_number(config, id);
}

static int64_t us_of(const tp_config *config, enum tp_option_id id)
{
    return tp__config_number(config, id) * 1000;
}

/* 0 is no limit. */
static int64_t limit_of(const tp_config *config, enum tp_option_id id)
{
    int64_t limit = tp__config_number(config, id);
    return limit > 0 ? limit : INT64_MAX;
}

static enum tp_reset_policy reset_policy(const tp_config *config)
{
    const char *word = tp__config_text(config, TP_OPT_RESET);
    if (word != NULL && strcmp(word, "always") == 0)
        return TP_RESET_ALWAYS;
    return word != NULL && strcmp(word, "never") == 0 ? TP_RESET_NEVER : TP_RESET_SMART;
}

static bool needs_writing(const tp_config *config)
{
    const char *word = tp__config_text(config, TP_OPT_TARGET_SESSION_ATTRS);
    return word != NULL && (strcmp(word, "read-write") == 0 || strcmp(word, "primary") == 0);
}

static void build_settings(tp_config *config)
{
    int64_t connect_timeout = us_of(config, TP_OPT_CONNECT_TIMEOUT);
    config->settings = (struct tp_settings){
        .configured = config->origin != TP_ORIGIN_NONE,
        .pool_min = count_of(config, TP_OPT_POOL_MIN),
        .pool_max = count_of(config, TP_OPT_POOL_MAX),
        .pool_max_waiting = count_of(config, TP_OPT_MAX_WAITING),
        .pool_max_total = count_of(config, TP_OPT_MAX_TOTAL),
        .pool_adaptive = tp__config_true(config, TP_OPT_ADAPTIVE),
        .pool_budget = tp__config_text(config, TP_OPT_BUDGET),
        .asks_password = config->asks_password,
        .tls_server_name =
            config->keyring != NULL ? tp__config_text(config, TP_OPT_TLS_SERVER_NAME) : NULL,
        .writes = needs_writing(config),
        .acquire_timeout_us = us_of(config, TP_OPT_ACQUIRE_TIMEOUT),
        .leak_after_us = us_of(config, TP_OPT_LEAK_AFTER),
        .idle_tx_us = us_of(config, TP_OPT_IDLE_IN_TRANSACTION_TIMEOUT),
        .connect_timeout_us = connect_timeout > 0 ? connect_timeout : TP_NEVER,
        .idle_timeout_us = us_of(config, TP_OPT_IDLE_TIMEOUT),
        .max_lifetime_us = us_of(config, TP_OPT_MAX_LIFETIME),
        .query_timeout_us = us_of(config, TP_OPT_QUERY_TIMEOUT),
        .health_interval_us = us_of(config, TP_OPT_HEALTH_INTERVAL),
        .breaker_failures = count_of(config, TP_OPT_BREAKER_FAILURES),
        .breaker_open_us = us_of(config, TP_OPT_BREAKER_OPEN),
        .max_uses = tp__config_number(config, TP_OPT_MAX_USES),
        .prepare = tp__config_true(config, TP_OPT_PREPARE),
        .reset = reset_policy(config),
        .statement_cache_size = count_of(config, TP_OPT_STATEMENT_CACHE),
        .most_sql_bytes = (size_t)tp__config_number(config, TP_OPT_SQL_BYTES),
        .most_parameter_bytes = (size_t)tp__config_number(config, TP_OPT_PARAMETER_BYTES),
        .most_rows = limit_of(config, TP_OPT_ROWS),
        .most_result_bytes = limit_of(config, TP_OPT_RESULT_BYTES),
        .most_statements = count_of(config, TP_OPT_STATEMENTS_MAX),
        .most_events = (int)tp__config_number(config, TP_OPT_EVENTS),
        .retry_attempts = count_of(config, TP_OPT_RETRY_ATTEMPTS),
        .retry_base_us = us_of(config, TP_OPT_RETRY_BASE),
        .retry_max_us = us_of(config, TP_OPT_RETRY_MAX),
        .retry_jitter = (int)tp__config_number(config, TP_OPT_RETRY_JITTER),
        .retry_budget = (int)tp__config_number(config, TP_OPT_RETRY_BUDGET),
        .verdict_us = us_of(config, TP_OPT_VERDICT),
        .log_queries = tp__config_true(config, TP_OPT_LOG_QUERIES),
        .log_connections = tp__config_true(config, TP_OPT_LOG_CONNECTIONS),
        .log_slow_us = us_of(config, TP_OPT_LOG_SLOW),
        .stats_shared = tp__config_true(config, TP_OPT_STATS_SHARED),
    };
}

enum tp_status tp__config_build(tp_config *config, struct tp_error *err)
{
    build_settings(config);
    return build_conninfo(config, err);
}
