/* The engine: one state machine for everything that can wait.
 *
 *     begin --> QUEUED --> CHECKING --> PREPARING --> ENCODING --> EXECUTING --> DONE
 *                 ^           |             |             |            |
 *                 |           v             |             |            +-----> FAILED
 *                 +-------- BACKOFF <-------+-------------+------------+
 *
 * An operation on a lease begins at PREPARING. States are skipped when there is nothing
 * to do in them: an idle connection is taken without QUEUED, a known statement goes to
 * ENCODING, one without parameters to EXECUTING.
 *
 * What may be repeated (see also statements of repeatable below): a statement that the
 * server proves to have rolled back (40001, 40P01) outside of an explicit transaction;
 * one whose link died, when the caller said it is idempotent; once, one whose cached
 * plan was stale. Everything within the deadline of the call. */
#include "op.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "clock.h"
#include "database.h"
#include "error.h"
#include "pool_report.h"

enum {
    LOOK_AFTER_US = 10 * 1000,       /* idle for longer: peek at the socket */
    PING_AFTER_US = 30 * 1000 * 1000, /* idle for longer: a round trip */
    PING_AT_MOST_US = 1000 * 1000
};

enum op_state {
    OP_IDLE,      /* not begun, or abandoned */
    OP_QUEUED,    /* in the pool's queue */
    OP_CHECKING,  /* pinging a connection that has rested long */
    OP_PREPARING, /* Parse and Describe are under way */
    OP_ENCODING,  /* the caller is asked for the parameters */
    OP_SENDING,   /* the parameters are there */
    OP_EXECUTING, /* the statement is under way */
    OP_BACKOFF,   /* between two attempts, without a connection of its own */
    OP_DONE,
    OP_FAILED
};

enum op_kind { OP_ACQUIRE, OP_QUERY, OP_PING };

struct tp_op {
    tp_pool *pool;
    struct tp_database *database;
    enum op_state state;
    enum op_kind kind;
    struct tp_query query;
    uint64_t hash;
    const struct tp_param *params;

    struct tp_waiter waiter;
    struct tp_slot *slot;
    uint64_t generation;
    struct tp_conn *conn;
    bool owned;      /* the operation took the connection and gives it back */
    bool in_tx;      /* an explicit transaction was open when it began */
    bool self_blocked;
    struct tp_statement *statement;

    int64_t began, ended, deadline, wait_until;
    int attempts;
    bool stale_retried;
    struct tp_backoff backoff;
    tp_result *result;
    struct tp_error error;
};

/* ---------------------------------------------------------------- endings */

static void note_usage(const tp_op *op, struct tp_usage *usage)
{
    usage->query_us = op->kind == OP_QUERY ? tp_now() - op->began : -1;
    usage->failed = op->error.kind != TP_OK;
    usage->kind = op->error.kind;
    usage->rollback = false;
}

/* 25006: the server has become read-only (a failover); outside of a transaction that
 * asked for it, the connection is of no use for writing any more. */
static bool is_misplaced(const tp_op *op)
{
    return !op->in_tx && strcmp(op->error.code, "25006") == 0;
}

static void leave_connection(tp_op *op)
{
    struct tp_usage usage;
    enum tp_close_reason reason;
    if (op->slot == NULL)
        return;
    note_usage(op, &usage);
    atomic_store_explicit(&op->slot->tx_state, tp__conn_transaction(op->conn),
                          memory_order_relaxed);
    if (op->owned) {
        enum tp_fate fate = tp__database_fate(op->conn, &reason, &usage.rollback);
        if (is_misplaced(op))
            fate = TP_FATE_CLOSE;
        (void)tp__pool_return(op->slot, op->generation, fate, reason, &usage);
        op->slot = NULL;
        op->conn = NULL;
    } else {
        tp__pool_count_query(op->pool, &usage);
    }
    op->statement = NULL;
}

static void finish(tp_op *op, enum op_state state)
{
    op->ended = tp_now();
    op->state = state;
}

/* The error is in op->error. */
static void fail(tp_op *op)
{
    struct tp_error *err = &op->error;
    if (err->attempts < op->attempts)
        err->attempts = op->attempts;
    if (op->kind == OP_QUERY)
        tp__text_copy_n(err->query, sizeof err->query, op->query.sql, op->query.sql_len);
    finish(op, OP_FAILED);
}

static void fail_with(tp_op *op, enum tp_status kind, const char *why)
{
    tp__error_set(&op->error, kind, "%s", why);
    leave_connection(op);
    fail(op);
}

static void succeed(tp_op *op)
{
    if (op->kind == OP_QUERY)
        op->result = tp__conn_take_result(op->conn);
    leave_connection(op);
    finish(op, OP_DONE);
}

/* The connection is left with the statement under way: one of the pool's is cancelled
 * by the housekeeper; a lease can only be given back. */
static void time_out(tp_op *op)
{
    int64_t ms = (tp_now() - op->began) / 1000;
    tp__error_set(&op->error, TP_ERR_TIMEOUT, "the statement did not answer within %lld ms",
                  (long long)ms);
    leave_connection(op);
    fail(op);
}

/* --------------------------------------------------------------- repeating */

static bool is_code(const struct tp_error *err, const char *code)
{
    return strcmp(err->code, code) == 0;
}

/* The server's way to say that a prepared statement must be prepared anew: the result
 * type of its plan has changed, or it is not there (a pooler in between). */
static bool is_stale_plan(const tp_op *op)
{
    if (op->query.simple)
        return false;
    return is_code(&op->error, "26000") ||
           (is_code(&op->error, "0A000") && strstr(op->error.message, "cached plan") != NULL);
}

static const char *why_repeat(const tp_op *op)
{
    const struct tp_error *err = &op->error;
    bool in_tx = !op->owned && tp__conn_transaction(op->conn) != TP_TX_IDLE;
    if (in_tx || op->kind != OP_QUERY)
        return NULL;
    if (is_stale_plan(op))
        return op->stale_retried ? NULL : "stale plan";
    if (op->attempts >= op->database->settings->retry_attempts)
        return NULL;
    if (tp_sqlstate_retryable(err->code) && !op->query.simple)
        return tp_sqlstate_name(err->code);
    if (op->query.idempotent && op->owned && tp__conn_is_lost(op->conn))
        return "connection lost";
    return NULL;
}

static void repeat_after(tp_op *op, int64_t delay_us, const char *why)
{
    tp_pool_count_retry(op->pool, op->attempts, op->error.code, why);
    leave_connection(op);
    tp__error_clear(&op->error);
    op->wait_until = tp_now() + delay_us;
    op->state = OP_BACKOFF;
}

static int64_t next_delay(tp_op *op)
{
    const struct tp_settings *settings = op->database->settings;
    if (op->attempts <= 1)
        tp__backoff_init(&op->backoff, settings->retry_base_us, settings->retry_max_us, 0);
    return tp__backoff_next(&op->backoff);
}

/* A statement of the operation's has failed on its connection. */
static void statement_failed(tp_op *op)
{
    op->error = *tp__conn_error(op->conn);
    if (is_code(&op->error, "57P02") || is_code(&op->error, "57P03"))
        tp__pool_bump_epoch(op->pool);
    if (is_stale_plan(op)) {
        tp__conn_drop(op->conn, op->hash);
        tp__stale_tell(&op->database->stale, op->hash);
    }
    const char *why = why_repeat(op);
    int64_t delay = 0;
    if (why != NULL && is_stale_plan(op))
        op->stale_retried = true;
    else if (why != NULL)
        delay = next_delay(op);
    if (why != NULL && tp_now() + delay < op->deadline) {
        repeat_after(op, delay, why);
        return;
    }
    leave_connection(op);
    fail(op);
}

/* -------------------------------------------------------------- statements */

static void sent(tp_op *op, enum tp_status status, enum op_state state)
{
    op->state = state;
    if (status != TP_OK)
        statement_failed(op);
}

static void apply_stale_news(tp_op *op)
{
    uint64_t *seen = tp__conn_stale_seen(op->conn);
    while (tp__stale_has_news(&op->database->stale, *seen))
        tp__conn_drop(op->conn, tp__stale_next(&op->database->stale, seen));
}

static void statement_known(tp_op *op)
{
    int wanted = op->statement->nparams;
    if (wanted != op->query.nparams) {
        tp__error_set(&op->error, TP_ERR_VALIDATION,
                      "the statement has %d parameter%s, %d %s given", wanted,
                      wanted == 1 ? "" : "s", op->query.nparams,
                      op->query.nparams == 1 ? "was" : "were");
        leave_connection(op);
        fail(op);
    } else if (wanted == 0) {
        sent(op, tp__conn_ask_execute(op->conn, op->statement, NULL), OP_EXECUTING);
    } else {
        op->state = OP_ENCODING;
    }
}

static void begin_undescribed(tp_op *op)
{
    const struct tp_query *query = &op->query;
    op->statement = tp__conn_undescribed(op->conn, query->sql, query->sql_len, query->nparams);
    if (op->statement != NULL)
        statement_known(op);
    else
        fail_with(op, TP_ERR_MEMORY, "out of memory for a statement");
}

static void begin_statement(tp_op *op)
{
    const struct tp_query *query = &op->query;
    op->attempts++;
    op->in_tx = tp__conn_transaction(op->conn) != TP_TX_IDLE;
    if (op->kind == OP_PING) {
        sent(op, tp__conn_ask_ping(op->conn), OP_EXECUTING);
        return;
    }
    if (query->simple) {
        sent(op, tp__conn_ask_simple(op->conn, query->sql), OP_EXECUTING);
        return;
    }
    if (query->nparams > TP_DESCRIBED_PARAMS_MAX) {
        begin_undescribed(op);
        return;
    }
    apply_stale_news(op);
    op->statement = tp__conn_find(op->conn, query->sql, query->sql_len, op->hash);
    if (op->statement != NULL) {
        tp__pool_count_statement(op->pool, TP_STATEMENT_HIT);
        statement_known(op);
    } else {
        sent(op, tp__conn_ask_prepare(op->conn, query->sql, query->sql_len), OP_PREPARING);
    }
}

static void prepared(tp_op *op)
{
    const struct tp_query *query = &op->query;
    tp__pool_count_statement(op->pool, TP_STATEMENT_PREPARED);
    if (tp__conn_prepare_evicted(op->conn))
        tp__pool_count_statement(op->pool, TP_STATEMENT_EVICTED);
    op->statement = tp__conn_find(op->conn, query->sql, query->sql_len, op->hash);
    if (op->statement != NULL)
        statement_known(op);
    else
        fail_with(op, TP_ERR_DATABASE, "the server did not describe the statement");
}

/* --------------------------------------------------------------- acquiring */

static void begin_acquire(tp_op *op);

static void connection_ready(tp_op *op)
{
    if (op->kind != OP_ACQUIRE)
        begin_statement(op);
    else
        finish(op, OP_DONE);
}

static void give_back_dead(tp_op *op)
{
    (void)tp__pool_return(op->slot, op->generation, TP_FATE_CLOSE, TP_CLOSE_DEAD, NULL);
    op->slot = NULL;
    op->conn = NULL;
    begin_acquire(op);
}

static void take_slot(tp_op *op)
{
    op->slot = op->waiter.slot;
    op->waiter.slot = NULL;
    op->generation = atomic_load_explicit(&op->slot->generation, memory_order_relaxed);
    op->conn = op->slot->connection;
    op->owned = true;
}

/* A connection that lay idle: known to live when it was used a moment ago, looked at
 * when it rested, asked when it rested long. */
static void check_idle(tp_op *op)
{
    int64_t rested = op->slot->acquired_at - op->slot->idle_since;
    int64_t unseen = op->slot->acquired_at - op->slot->checked_at;
    if (rested > LOOK_AFTER_US && !tp__conn_look(op->conn)) {
        give_back_dead(op);
    } else if (rested > PING_AFTER_US && unseen > PING_AFTER_US) {
        op->wait_until = tp_now() + PING_AT_MOST_US;
        op->state = OP_CHECKING;
        if (tp__conn_ask_ping(op->conn) != TP_OK)
            give_back_dead(op);
    } else {
        connection_ready(op);
    }
}

static int64_t acquire_deadline(const tp_op *op)
{
    int64_t within = tp__after(tp_now(), op->database->settings->acquire_timeout_us);
    return op->kind != OP_ACQUIRE && within < op->deadline ? within : op->deadline;
}

static void begin_acquire(tp_op *op)
{
    op->waiter.sql = op->kind == OP_QUERY ? op->query.sql : NULL;
    op->waiter.sql_len = op->kind == OP_QUERY ? op->query.sql_len : 0;
    switch (tp__pool_acquire(op->pool, &op->waiter, &op->error)) {
    case TP_ACQUIRED:
        take_slot(op);
        check_idle(op);
        break;
    case TP_QUEUED:
        op->wait_until = acquire_deadline(op);
        op->state = OP_QUEUED;
        break;
    case TP_REFUSED:
        fail(op);
    }
}

/* -------------------------------------------------------------------- steps */

/* Each returns whether the state has changed, so that the loop goes on. */

static bool step_queued(tp_op *op)
{
    if (op->self_blocked) {
        tp__pool_leave(op->pool, &op->waiter);
        tp__report_self_blocked(op->pool, &op->error);
        fail(op);
        return true;
    }
    switch (tp__pool_poll(op->pool, &op->waiter, op->wait_until, &op->error)) {
    case TP_QUEUED:
        return false;
    case TP_ACQUIRED:
        take_slot(op);
        connection_ready(op);
        return true;
    default:
        fail(op);
        return true;
    }
}

static bool step_checking(tp_op *op, int ready)
{
    enum tp_step step = tp__conn_step(op->conn, ready);
    if (step == TP_DONE)
        connection_ready(op);
    else if (step == TP_FAILED || tp_now() >= op->wait_until)
        give_back_dead(op);
    else
        return false;
    return true;
}

static bool step_statement(tp_op *op, int ready)
{
    enum tp_step step = tp__conn_step(op->conn, ready);
    if (step == TP_FAILED) {
        statement_failed(op);
    } else if (step == TP_DONE && op->state == OP_PREPARING) {
        prepared(op);
    } else if (step == TP_DONE) {
        succeed(op);
    } else if (op->deadline != TP_NEVER && tp_now() >= op->deadline) {
        time_out(op);
    } else {
        return false;
    }
    return true;
}

static bool step_backoff(tp_op *op)
{
    if (tp_now() < op->wait_until)
        return false;
    if (op->slot != NULL)
        begin_statement(op);
    else
        begin_acquire(op);
    return true;
}

static bool advance(tp_op *op, int ready)
{
    switch (op->state) {
    case OP_QUEUED: return step_queued(op);
    case OP_CHECKING: return step_checking(op, ready);
    case OP_PREPARING:
    case OP_EXECUTING: return step_statement(op, ready);
    case OP_SENDING:
        sent(op, tp__conn_ask_execute(op->conn, op->statement, op->params), OP_EXECUTING);
        return true;
    case OP_BACKOFF: return step_backoff(op);
    default: return false;
    }
}

enum tp_step tp_op_step(tp_op *op, int ready)
{
    while (advance(op, ready))
        ready = 0;
    switch (op->state) {
    case OP_DONE: return TP_DONE;
    case OP_ENCODING: return TP_ENCODE;
    case OP_IDLE:
    case OP_FAILED: return TP_FAILED;
    default: return TP_WAIT;
    }
}

static bool is_on_wire(const tp_op *op)
{
    return op->state == OP_CHECKING || op->state == OP_PREPARING || op->state == OP_EXECUTING;
}

int tp_op_fd(const tp_op *op)
{
    return is_on_wire(op) ? tp__conn_fd(op->conn) : -1;
}

int tp_op_events(const tp_op *op)
{
    return is_on_wire(op) ? tp__conn_events(op->conn) : 0;
}

int64_t tp_op_deadline(const tp_op *op)
{
    bool bounded = op->state == OP_QUEUED || op->state == OP_CHECKING || op->state == OP_BACKOFF;
    return bounded ? op->wait_until : op->deadline;
}

void tp__op_park(tp_op *op)
{
    if (op->state != OP_QUEUED)
        poll(NULL, 0, tp__poll_ms(op->wait_until, tp_now()));
    else if (tp__pool_all_held_by_caller(op->pool))
        op->self_blocked = true;
    else
        tp__pool_park(op->pool, &op->waiter, op->wait_until);
}

/* -------------------------------------------------------------- life of an op */

tp_op *tp_op_new(tp_pool *pool)
{
    tp_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        return NULL;
    op->pool = tp_pool_retain(pool);
    op->database = tp__database_of(pool);
    return op;
}

/* A connection with a statement under way cannot be told what it is in the middle of;
 * one that merely was handed over is as good as before. */
static void abandon_connection(tp_op *op)
{
    enum tp_close_reason reason;
    bool rollback;
    if (op->slot == NULL || !op->owned)
        return;
    enum tp_fate fate = tp__database_fate(op->conn, &reason, &rollback);
    if (!tp__conn_is_ready(op->conn))
        fate = TP_FATE_CLOSE, reason = TP_CLOSE_IN_DOUBT;
    (void)tp__pool_return(op->slot, op->generation, fate, reason, NULL);
}

void tp_op_abandon(tp_op *op)
{
    bool forked = op->pool->fork_count != tp__fork_count;
    if (!forked && op->state == OP_QUEUED)
        tp__pool_leave(op->pool, &op->waiter);
    else if (!forked)
        abandon_connection(op);
    op->slot = NULL;
    op->conn = NULL;
    op->statement = NULL;
    tp_result_free(op->result);
    op->result = NULL;
    op->state = OP_IDLE;
}

void tp_op_free(tp_op *op)
{
    if (op == NULL)
        return;
    tp_op_abandon(op);
    tp_pool_release(op->pool);
    free(op);
}

static void begin(tp_op *op, enum op_kind kind, int64_t deadline)
{
    tp_op_abandon(op);
    op->kind = kind;
    op->deadline = deadline;
    op->began = tp_now();
    op->ended = op->began;
    op->attempts = 0;
    op->stale_retried = false;
    op->self_blocked = false;
    op->owned = false;
    op->in_tx = false;
    tp__error_clear(&op->error);
}

/* True when the operation may go on with the lease. */
static bool borrow(tp_op *op, const tp_lease *lease)
{
    if (!tp_lease_valid(lease)) {
        tp__error_set(&op->error, TP_ERR_VALIDATION, "the connection was released");
    } else if (tp_lease_pool(lease) != op->pool) {
        tp__error_set(&op->error, TP_ERR_VALIDATION, "the connection is of another pool");
    } else if (tp__conn_is_lost(lease->slot->connection)) {
        tp__error_set(&op->error, TP_ERR_CONNECTION, "the connection was lost; release it");
    } else if (!tp__conn_is_ready(lease->slot->connection)) {
        tp__error_set(&op->error, TP_ERR_BUSY,
                      "a statement is still under way on this connection; release it");
    } else {
        op->slot = lease->slot;
        op->conn = lease->slot->connection;
        return true;
    }
    fail(op);
    return false;
}

void tp_op_acquire(tp_op *op, int64_t deadline)
{
    begin(op, OP_ACQUIRE, deadline);
    begin_acquire(op);
}

static void begin_request(tp_op *op, const tp_lease *lease)
{
    if (lease == NULL) {
        begin_acquire(op);
    } else if (borrow(op, lease)) {
        if (op->kind == OP_QUERY)
            tp__pool_note_sql(op->slot, op->query.sql, op->query.sql_len);
        begin_statement(op);
    }
}

void tp_op_query(tp_op *op, const tp_lease *lease, const struct tp_query *query)
{
    begin(op, OP_QUERY, query->deadline);
    op->query = *query;
    op->hash = query->simple ? 0 : tp__sql_hash(query->sql, query->sql_len);
    begin_request(op, lease);
}

void tp_op_ping(tp_op *op, const tp_lease *lease, int64_t deadline)
{
    begin(op, OP_PING, deadline);
    begin_request(op, lease);
}

/* ------------------------------------------------------------------- getters */

int tp_op_param_count(const tp_op *op)
{
    return op->statement->nparams;
}

uint32_t tp_op_param_type(const tp_op *op, int i)
{
    return op->statement->types[i];
}

void tp_op_params(tp_op *op, const struct tp_param *params)
{
    op->params = params;
    op->state = OP_SENDING;
}

void tp_op_refuse(tp_op *op, const struct tp_error *err)
{
    op->error = *err;
    leave_connection(op);
    fail(op);
}

const struct tp_error *tp_op_error(const tp_op *op)
{
    return &op->error;
}

const tp_result *tp_op_result(const tp_op *op)
{
    return op->result;
}

tp_result *tp_op_take_result(tp_op *op)
{
    tp_result *result = op->result;
    op->result = NULL;
    return result;
}

tp_lease tp_op_take_lease(tp_op *op)
{
    tp_lease lease = {.slot = op->slot, .generation = op->generation};
    op->slot = NULL;
    op->conn = NULL;
    return lease;
}

int64_t tp_op_elapsed(const tp_op *op)
{
    return op->ended - op->began;
}
