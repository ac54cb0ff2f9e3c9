#include "database.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "budget.h"
#include "description.h"
#include "error.h"
#include "ledger.h"
#include "op.h"
#include "pool_stats.h"
#include "registry.h"
#include "sqltext.h"
#include "url.h"

struct tp_database *tp__database_of(const tp_pool *pool)
{
    return pool->ctx;
}

/* ------------------------------------------------------------------- vtable */

static void on_notice(void *ctx, int pid, const char *code, const char *text)
{
    struct tp_database *database = ctx;
    tp__pool_event(database->pool, TP_EVENT_NOTICE, pid, 0, code, "%.400s",
                   text != NULL ? text : "");
}

static struct tp_permit permit_connections(void *ctx, int wanted, int64_t now)
{
    struct tp_database *database = ctx;
    return tp__passwords_permit(&database->passwords, wanted, now);
}

/* False: the program could not make one. */
static bool take_password(struct tp_database *database, char **password, struct tp_error *err)
{
    *password = NULL;
    if (!database->passwords.needed)
        return true;
    tp__pool_lock(database->pool);
    *password = tp__passwords_take(&database->passwords, err);
    pthread_mutex_unlock(&database->pool->lock);
    return *password != NULL;
}

static void *open_connection(void *ctx, struct tp_lease_tally *tally, struct tp_error *err)
{
    struct tp_database *database = ctx;
    char *password;
    if (!take_password(database, &password, err))
        return NULL;
    struct tp_conn_env env = {
        .config = database->config,
        .password = password,
        .keyring = tp__database_keyring(database),
        .catalog = &database->catalog,
        .wake = database->pool->wake,
        .notice = on_notice,
        .ctx = database,
        .tally = tally,
    };
    struct tp_conn *conn = tp__conn_open(&env, err);
    tp__keyring_release(env.keyring);
    if (conn == NULL)
        tp__secret_free(password);
    return conn;
}

/* Where the pool was to have a server for writing, another one is that now. */
void tp__database_became_read_only(struct tp_database *database)
{
    if (database->settings->writes)
        tp__pool_bump_epoch(database->pool, TP_CLOSE_SERVER_GONE);
}

static enum tp_step step_chore(struct tp_conn *conn, enum tp_chore chore, int ready,
                               struct tp_error *err)
{
    switch (chore) {
    case TP_CHORE_OPEN:
        return tp__conn_step_open(conn, err);
    case TP_CHORE_PING:
        return tp__conn_step_ping(conn, ready);
    case TP_CHORE_HEAR:
        return tp__conn_hear(conn, ready);
    case TP_CHORE_INQUIRE:
        return tp__database_inquire(conn, ready);
    case TP_CHORE_RESET:
        break;
    }
    return tp__conn_step_reset(conn, ready);
}

static enum tp_step step_connection(void *connection, enum tp_chore chore, int ready,
                                    struct tp_wait *wait, struct tp_error *err)
{
    enum tp_step step = step_chore(connection, chore, ready, err);
    if (step == TP_FAILED && chore == TP_CHORE_HEAR)
        *err = *tp__conn_error(connection);
    wait->fd = tp__conn_fd(connection);
    wait->events = tp__conn_events(connection);
    wait->deadline = tp__conn_deadline(connection);
    if (step == TP_DONE) {
        struct tp_database *database = tp__conn_owner(connection);
        wait->backend_pid = tp__conn_pid(connection);
        if (chore == TP_CHORE_OPEN)
            tp__database_note_tls(database, connection);
        tp__database_watch_certificates(database);
    }
    if (step == TP_FAILED && chore == TP_CHORE_RESET && tp__conn_is_read_only(connection))
        tp__database_became_read_only(tp__conn_owner(connection));
    return step;
}

static bool look_at_connection(void *connection)
{
    return tp__conn_look(connection);
}

static int dup_socket(void *connection)
{
    return tp__conn_dup_socket(connection);
}

static void close_connection(void *connection, bool forked)
{
    tp__conn_close(connection, forked);
}

static bool ask_to_listen(void *connection, const char *sql)
{
    return tp__conn_ask_to_listen(connection, sql) == TP_OK;
}

static bool next_notification(void *connection, tp_notification_fn *take, void *ctx)
{
    return tp__conn_next_notification(connection, take, ctx);
}

static const struct tp_pool_vtable connections = {
    .open = open_connection,
    .step = step_connection,
    .look = look_at_connection,
    .close = close_connection,
    .socket = dup_socket,
    .permit = permit_connections,
    .ask = ask_to_listen,
    .next_notification = next_notification,
    .inquires = true,
};

/* --------------------------------------------------------------------- open */

static void free_database(void *ctx)
{
    struct tp_database *database = ctx;
    tp__registry_remove(database);
    tp__stale_deinit(&database->stale);
    tp__shelf_deinit(&database->shelf);
    tp__digests_deinit(&database->digests);
    tp__catalog_deinit(&database->catalog);
    tp__keyring_release(database->tls.keyring);
    tp__passwords_deinit(&database->passwords);
    tp_config_free(database->config);
    free(database);
}

static bool has_several_hosts(const tp_config *config)
{
    struct tp_conninfo info = tp__config_conninfo(config);
    for (size_t i = 0; info.keywords[i] != NULL; i++) {
        bool host = strncmp(info.keywords[i], "host", 4) == 0; /* or hostaddr */
        if (host && strchr(info.values[i], ',') != NULL)
            return true;
    }
    return false;
}

/* One process can have at most what all may have together. */
static struct tp_pool_limits limits_of(const struct tp_settings *settings)
{
    int total = settings->pool_max_total;
    return (struct tp_pool_limits){
        .min = settings->pool_min,
        .max = total > 0 && total < settings->pool_max ? total : settings->pool_max,
        .max_waiting = settings->pool_max_waiting,
        .events = settings->most_events,
        .idle_timeout_us = settings->idle_timeout_us,
        .max_lifetime_us = settings->max_lifetime_us,
        .max_uses = settings->max_uses,
        .health_interval_us = settings->health_interval_us,
        .leak_after_us = settings->leak_after_us,
        .idle_tx_us = settings->idle_tx_us,
        .connect_base_us = settings->retry_base_us,
        .connect_max_us = settings->retry_max_us,
        .by_permit = settings->asks_password,
        .adaptive = settings->pool_adaptive,
        .retry_percent = settings->retry_budget,
        .breaker_failures = settings->breaker_failures,
        .breaker_open_us = settings->breaker_open_us,
    };
}

/* What several processes share has the name of their budget, or of their server, database and
 * role. */
static void name_shared(const tp_config *config, char out[TP_BUDGET_NAME_ROOM])
{
    static const char *const words[] = {"host", "hostaddr", "port", "dbname", "user"};
    const char *name = tp__config_settings(config)->pool_budget;
    struct tp_conninfo info = tp__config_conninfo(config);
    uint64_t hash = 0;
    for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
        hash *= 31;
        for (size_t i = 0; info.keywords[i] != NULL; i++) {
            if (strcmp(info.keywords[i], words[w]) == 0)
                hash ^= tp__sql_hash(info.values[i], strlen(info.values[i]));
        }
    }
    if (name != NULL)
        snprintf(out, TP_BUDGET_NAME_ROOM, "%s", name);
    else
        snprintf(out, TP_BUDGET_NAME_ROOM, "@%016" PRIx64, hash);
}

static enum tp_status new_budget(struct tp_budget **out, const tp_config *config,
                                 struct tp_error *err)
{
    char name[TP_BUDGET_NAME_ROOM];
    int total = tp__config_settings(config)->pool_max_total;
    *out = NULL;
    if (total == 0)
        return TP_OK;
    name_shared(config, name);
    return tp__budget_new(out, name, total, err);
}

static enum tp_status new_ledger(struct tp_ledger **out, const tp_config *config,
                                 struct tp_error *err)
{
    char name[TP_BUDGET_NAME_ROOM];
    *out = NULL;
    if (!tp__config_settings(config)->stats_shared)
        return TP_OK;
    name_shared(config, name);
    *out = tp__ledger_new(name);
    return *out != NULL ? TP_OK : tp__error_set(err, TP_ERR_MEMORY, "out of memory for a pool");
}

/* What a pool has in common with those of other processes. */
struct shared {
    struct tp_budget *budget;
    struct tp_ledger *ledger;
};

static enum tp_status new_shared(struct shared *out, const tp_config *config, struct tp_error *err)
{
    enum tp_status status = new_budget(&out->budget, config, err);
    if (status != TP_OK)
        return status;
    status = new_ledger(&out->ledger, config, err);
    if (status != TP_OK)
        tp__budget_free(out->budget);
    return status;
}

static bool init_statements(struct tp_database *database, const struct tp_settings *settings)
{
    if (!tp__shelf_init(&database->shelf, settings->statement_cache_size))
        return false;
    if (tp__digests_init(&database->digests, settings->most_statements))
        return true;
    tp__shelf_deinit(&database->shelf);
    return false;
}

static struct tp_database *new_database(const struct tp_settings *settings, struct tp_error *err)
{
    struct tp_pool_limits limits = limits_of(settings);
    struct tp_database *database = calloc(1, sizeof *database);
    if (database == NULL || !init_statements(database, settings)) {
        free(database);
        tp__error_set(err, TP_ERR_MEMORY, "out of memory for a pool");
        return NULL;
    }
    if (tp__pool_new(&database->pool, &limits, &connections, database, free_database, err) !=
        TP_OK) {
        tp__shelf_deinit(&database->shelf);
        tp__digests_deinit(&database->digests);
        free(database);
        return NULL;
    }
    return database;
}

struct tp_database *tp__database_open(tp_config *config, struct tp_error *err)
{
    const struct tp_settings *settings = tp__config_settings(config);
    struct shared shared;
    if (new_shared(&shared, config, err) != TP_OK)
        return NULL;
    struct tp_database *database = new_database(settings, err);
    if (database == NULL) {
        tp__budget_free(shared.budget);
        tp__ledger_free(shared.ledger);
        return NULL;
    }
    tp__passwords_init(&database->passwords, settings);
    tp__stale_init(&database->stale);
    tp__catalog_init(&database->catalog);
    tp__list_init(&database->registered);
    tp__list_init(&database->shares);
    database->config = config;
    database->settings = settings;
    database->tls.keyring = tp__keyring_retain(tp__config_keyring(config));
    database->pool->configured = settings->configured;
    database->pool->limits.several_servers = has_several_hosts(config);
    database->pool->budget = shared.budget;
    database->pool->ledger = shared.ledger;
    return database;
}

enum tp_status tp_pool_open(tp_pool **out, tp_config *config, struct tp_error *err)
{
    struct tp_database *database = tp__database_open(config, err);
    if (database == NULL)
        return TP_ERR_MEMORY;
    tp__registry_add(database);
    *out = database->pool;
    return TP_OK;
}

const tp_config *tp_pool_config(const tp_pool *pool)
{
    return tp__database_of(pool)->config;
}

enum tp_status tp_pool_give_password(tp_pool *pool, uint64_t ticket, const char *password,
                                     const struct tp_error *why)
{
    struct tp_database *database = tp__database_of(pool);
    tp__pool_lock(pool);
    bool used = tp__passwords_answer(&database->passwords, ticket, password, why, tp_now());
    pthread_mutex_unlock(&pool->lock);
    if (used)
        tp__wake_ring(pool->wake);
    return used ? TP_OK : TP_ERR_VALIDATION;
}

/* Descriptions point to types, so they go with them. */
static void forget_descriptions(struct tp_database *database)
{
    tp__shelf_drop(&database->shelf, 0);
    tp__stale_tell(&database->stale, 0);
}

enum tp_status tp_pool_force_text(tp_pool *pool, const char *name, struct tp_error *err)
{
    struct tp_database *database = tp__database_of(pool);
    if (!tp__catalog_force_text(&database->catalog, name))
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory for a type");
    forget_descriptions(database);
    return TP_OK;
}

void tp_pool_forget_types(tp_pool *pool)
{
    struct tp_database *database = tp__database_of(pool);
    tp__catalog_forget(&database->catalog);
    forget_descriptions(database);
}

/* ------------------------------------------------------------------- leases */

enum tp_fate tp__database_fate(const struct tp_conn *conn, enum tp_close_reason *reason,
                               bool *rollback)
{
    *reason = TP_CLOSE_DEAD;
    *rollback = false;
    if (tp__conn_is_lost(conn))
        return TP_FATE_CLOSE;
    if (!tp__conn_is_ready(conn))
        return TP_FATE_RESET;
    *rollback = tp__conn_transaction(conn) != TP_TX_IDLE;
    unsigned traces = tp__conn_traces(conn);
    if ((traces & TP_LEAVES_FOR_GOOD) != 0) {
        *reason = TP_CLOSE_IN_DOUBT;
        return TP_FATE_CLOSE;
    }
    bool mend = *rollback || traces != 0 || tp__conn_is_doubted(conn);
    return mend ? TP_FATE_RESET : TP_FATE_KEEP;
}

bool tp_lease_valid(const tp_lease *lease)
{
    return lease->slot != NULL && lease->slot->pool->fork_count == tp__fork_count &&
           atomic_load_explicit(&lease->slot->generation, memory_order_relaxed) ==
               lease->generation;
}

bool tp_lease_is_inherited(const tp_lease *lease)
{
    if (lease->slot == NULL)
        return false;
    uint64_t now = atomic_load_explicit(&lease->slot->generation, memory_order_relaxed);
    return lease->slot->pool->fork_count != tp__fork_count ||
           (now >> TP_ERA_SHIFT) != (lease->generation >> TP_ERA_SHIFT);
}

static enum tp_status void_lease(const tp_lease *lease, const char *otherwise, struct tp_error *err)
{
    return tp__error_set(err, TP_ERR_VALIDATION, "%s",
                         tp_lease_is_inherited(lease)
                             ? "the connection is the parent process's: acquire one in this process"
                             : otherwise);
}

void tp_lease_explain(const tp_lease *lease, struct tp_error *err)
{
    (void)void_lease(lease, "the connection was released", err);
}

bool tp_lease_look(const tp_lease *lease)
{
    return tp_lease_valid(lease) && tp__conn_look(lease->slot->connection);
}

tp_pool *tp_lease_pool(const tp_lease *lease)
{
    return lease->slot->pool;
}

void tp_lease_set_place(const tp_lease *lease, const char *place, int line)
{
    if (tp_lease_valid(lease))
        tp__pool_note_place(lease->slot, place, line);
}

static void report_rollback(const struct tp_slot *slot)
{
    tp__pool_event(slot->pool, TP_EVENT_ROLLBACK, slot->backend_pid, 0, NULL,
                   "released in an open transaction (acquired at %s:%d)",
                   slot->place[0] != '\0' ? slot->place : "?", slot->line);
}

enum tp_status tp_lease_release(tp_lease *lease, struct tp_error *err)
{
    enum tp_close_reason reason;
    struct tp_usage usage = {.query_us = -1, .ended = tp__stats_now()};
    if (!tp_lease_valid(lease))
        return void_lease(lease, "the connection was released before", err);
    struct tp_slot *slot = lease->slot;
    enum tp_fate fate = tp__database_fate(slot->connection, &reason, &usage.rollback);
    if (usage.rollback)
        report_rollback(slot);
    tp__op_dispossess(slot->user);
    if (!tp__pool_return(slot, lease->generation, fate, reason, &usage))
        return tp__error_set(err, TP_ERR_VALIDATION, "the connection was released before");
    lease->slot = NULL;
    return TP_OK;
}

/* Where a pool is far from empty, only a statement notes the place: see client.c. */
static void report_leak(const struct tp_slot *slot)
{
    const char *what = "a connection was lost without being released, and is closed";
    if (slot->place[0] != '\0')
        tp__pool_event(slot->pool, TP_EVENT_LEAK, slot->backend_pid, 0, NULL,
                       "%s (acquired at %s:%d)", what, slot->place, slot->line);
    else
        tp__pool_event(slot->pool, TP_EVENT_LEAK, slot->backend_pid, 0, NULL, "%s (never used)",
                       what);
}

void tp_lease_lose(tp_lease *lease)
{
    if (tp_lease_valid(lease)) {
        tp__slot_count_leak(lease->slot);
        report_leak(lease->slot);
    }
    tp_lease_discard(lease);
}

void tp_lease_discard(tp_lease *lease)
{
    if (tp_lease_valid(lease)) {
        tp__op_dispossess(lease->slot->user);
        (void)tp__pool_return(lease->slot, lease->generation, TP_FATE_CLOSE, TP_CLOSE_DISCARDED,
                              NULL);
    }
    lease->slot = NULL;
}

enum tp_transaction_state tp_lease_transaction(const tp_lease *lease)
{
    return tp_lease_valid(lease) ? tp__conn_transaction(lease->slot->connection) : TP_TX_UNKNOWN;
}

void tp_lease_set_deadline(const tp_lease *lease, int64_t deadline)
{
    if (tp_lease_valid(lease))
        lease->slot->deadline = deadline;
}

void tp_lease_set_tags(const tp_lease *lease, const char *comment, const char *application_name)
{
    if (!tp_lease_valid(lease))
        return;
    lease->slot->comment = comment;
    lease->slot->application_name = application_name;
}

const char *tp_lease_xact(const tp_lease *lease, bool *unseen)
{
    *unseen = false;
    return tp_lease_valid(lease) ? tp__conn_xact(lease->slot->connection, unseen) : NULL;
}

int tp_lease_backend_pid(const tp_lease *lease)
{
    return tp_lease_valid(lease) ? tp__conn_pid(lease->slot->connection) : 0;
}
