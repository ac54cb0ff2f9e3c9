/* The resolved configuration, as the other layers read it.
 *
 * options.c has the one table of options, url.c parses connection strings, and
 * config.c with config_*.c (see config_state.h) puts code, URL, environment and
 * profile in order of precedence and checks the whole.
 * Owns: a tp_config owns every string in it; secrets are wiped when freed.
 * Thread: read-only after tp_config_resolve, so any. */
#ifndef TP_CONFIG_H
#define TP_CONFIG_H

#include "tidepool.h"

/* When a session is cleared before the next borrower has it. */
enum tp_reset_policy { TP_RESET_SMART, TP_RESET_ALWAYS, TP_RESET_NEVER };

/* What the pool and its connections run by, in the units of the engine. */
struct tp_settings {
    bool configured;
    int pool_min, pool_max, pool_max_waiting; /* max_waiting 0: no limit */
    bool pool_adaptive;
    int pool_max_total;                       /* 0: no limit */
    const char *pool_budget;                  /* NULL: the server's; borrowed */
    bool asks_password;                       /* the program makes one for each connection */
    const char *tls_server_name;              /* NULL: the host's; borrowed */
    bool writes;                              /* only a server that can write will do */
    int64_t acquire_timeout_us;               /* 0: a caller does not wait at all */
    int64_t leak_after_us, idle_tx_us;        /* 0: off; the latter ends it */
    int64_t connect_timeout_us;               /* TP_NEVER: no limit */
    int64_t idle_timeout_us, max_lifetime_us; /* 0: off */
    int64_t query_timeout_us;                 /* of one call, when it says none; 0: none */
    int64_t health_interval_us;               /* 0: off */
    int breaker_failures;                     /* 0: off */
    int64_t breaker_open_us;
    int64_t max_uses; /* 0: off */
    bool prepare;     /* prepared statements; off for poolers */
    enum tp_reset_policy reset;
    int statement_cache_size;
    size_t most_sql_bytes, most_parameter_bytes; /* of one statement */
    int64_t most_rows, most_result_bytes;        /* INT64_MAX: no limit */
    int most_statements;                         /* that have statistics */
    int most_events;                             /* that wait to be taken */
    int retry_attempts;
    int64_t retry_base_us, retry_max_us;
    int retry_jitter, retry_budget; /* percent */
    int64_t verdict_us;             /* 0: off */
    bool log_queries, log_connections;
    int64_t log_slow_us; /* 0: off */
    bool stats_shared;   /* with other processes */
};

const struct tp_settings *tp__config_settings(const tp_config *config);

/* The parameters for PQconnectStartParams: two NULL-terminated arrays of the
 * same length, host lists and ports as libpq has them; both are empty when nothing
 * is configured. Borrowed from the configuration. `host` and `port` are there even
 * when libpq would take them from PGHOST and PGPORT, because hosts are resolved
 * before libpq sees them; no host means libpq's own directory of sockets. Pass 0
 * for expand_dbname: a database's name is not to be read as a connection string. */
struct tp_conninfo {
    const char *const *keywords;
    const char *const *values;
};
struct tp_conninfo tp__config_conninfo(const tp_config *config);

struct tp_keyring;
/* The certificates and keys that it was opened with; NULL: TLS is off. Borrowed. */
struct tp_keyring *tp__config_keyring(const tp_config *config);

/* Whether code (or a URL in code) said something of `said` that `other` does not have so;
 * `name` is then the first such option. Where the server is counts as a whole. */
bool tp__config_differs(const tp_config *said, const tp_config *other, char *name, size_t room);

/* Whether libpq of this version (of PQlibVersion: 150011 is 15.11) has CVE-2025-1094 mended. */
bool tp__libpq_is_mended(int version);

/* Around a fork: nobody is within what all configurations share. */
void tp__config_lock(void);
void tp__config_unlock(void);

#endif
