/* Statements of an operation: sending them, what comes back, and what may be repeated. */
#include <string.h>

#include "clock.h"
#include "error.h"
#include "op_impl.h"

/* ---------------------------------------------------------------- endings */

/* An attempt that is repeated counts as a retry, not as a query that failed. */
static void note_usage(const tp_op *op, struct tp_usage *usage)
{
    bool ended = op->kind == OP_QUERY && op->state != OP_BACKOFF;
    usage->query_us = ended ? tp_now() - op->began : -1;
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

static void report_rollback(const struct tp_slot *slot)
{
    tp__pool_event(slot->pool, TP_EVENT_ROLLBACK, slot->backend_pid, 0, NULL,
                   "a call left a transaction open: %s", slot->sql);
}

void tp__op_leave(tp_op *op)
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
        if (usage.rollback)
            report_rollback(op->slot);
        (void)tp__pool_return(op->slot, op->generation, fate, reason, &usage);
        op->slot = NULL;
        op->conn = NULL;
    } else {
        tp__pool_count_query(op->pool, &usage);
    }
    op->statement = NULL;
}

void tp__op_finish(tp_op *op, enum op_state state)
{
    op->ended = tp_now();
    op->state = state;
    tp__op_leave_lease(op);
}

/* The error is in op->error. */
void tp__op_fail(tp_op *op)
{
    struct tp_error *err = &op->error;
    if (err->attempts < op->attempts)
        err->attempts = op->attempts;
    if (op->kind == OP_QUERY)
        tp__text_copy_n(err->query, sizeof err->query, op->query.sql, op->query.sql_len);
    tp__op_finish(op, OP_FAILED);
}

static void fail_with(tp_op *op, enum tp_status kind, const char *why)
{
    tp__error_set(&op->error, kind, "%s", why);
    tp__op_leave(op);
    tp__op_fail(op);
}

static void succeed(tp_op *op)
{
    if (op->kind == OP_QUERY)
        op->result = tp__conn_take_result(op->conn);
    tp__op_leave(op);
    tp__op_finish(op, OP_DONE);
}

/* The connection is left with the statement under way: one of the pool's is cancelled
 * by the housekeeper; a lease can only be given back. */
static void time_out(tp_op *op)
{
    int64_t ms = (tp_now() - op->began) / 1000;
    tp__error_set(&op->error, TP_ERR_TIMEOUT, "the statement did not answer within %lld ms",
                  (long long)ms);
    tp__op_leave(op);
    tp__op_fail(op);
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

/* Nothing has been executed while a statement is being prepared, so a link that died then
 * does no harm. */
static bool is_harmless(const tp_op *op)
{
    return op->query.idempotent || op->state == OP_PREPARING;
}

/* Each time one dead connection leaves the pool, so it ends after as many as there are. */
static bool was_unread(const tp_op *op)
{
    return op->owned && tp__conn_was_unread(op->conn) && op->attempts <= op->pool->limits.max;
}

static const char *why_repeat(const tp_op *op)
{
    const struct tp_error *err = &op->error;
    /* As it was before: a COMMIT that failed has left its transaction, and a COMMIT
     * outside of one is no error. */
    if (op->in_tx || op->kind != OP_QUERY)
        return NULL;
    if (is_stale_plan(op))
        return op->stale_retried ? NULL : "stale plan";
    if (was_unread(op))
        return "ended by the server before it read the statement";
    if (op->attempts >= op->database->settings->retry_attempts)
        return NULL;
    if (tp_sqlstate_retryable(err->code) && !op->query.simple)
        return tp_sqlstate_name(err->code);
    if (is_harmless(op) && op->owned && err->kind == TP_ERR_CONNECTION)
        return "connection lost";
    return NULL;
}

static void repeat_after(tp_op *op, int64_t delay_us, const char *why)
{
    tp_pool_count_retry(op->pool, op->attempts, op->error.code, why);
    tp__error_clear(&op->error);
    op->state = OP_BACKOFF;
    op->wait_until = tp_now() + delay_us;
    tp__op_leave(op);
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
        if (is_code(&op->error, "26000"))
            tp__conn_forget_statements(op->conn);
        else
            tp__conn_drop(op->conn, op->hash);
        tp__stale_tell(&op->database->stale, op->hash);
    }
    const char *why = why_repeat(op);
    int64_t delay = 0;
    if (why != NULL && is_stale_plan(op))
        op->stale_retried = true;
    else if (why != NULL && !was_unread(op))
        delay = next_delay(op);
    if (why != NULL && tp_now() + delay < op->deadline) {
        repeat_after(op, delay, why);
        return;
    }
    tp__op_leave(op);
    tp__op_fail(op);
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
        tp__error_set(
            &op->error, TP_ERR_VALIDATION, "the statement has %d parameter%s, %d %s given", wanted,
            wanted == 1 ? "" : "s", op->query.nparams, op->query.nparams == 1 ? "was" : "were");
        tp__op_leave(op);
        tp__op_fail(op);
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

void tp__op_begin_statement(tp_op *op)
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

bool tp__op_step_statement(tp_op *op, int ready)
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

void tp__op_send(tp_op *op)
{
    sent(op, tp__conn_ask_execute(op->conn, op->statement, op->params), OP_EXECUTING);
}
