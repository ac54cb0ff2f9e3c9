/* Statements of an operation: sending them, what comes back, and what may be repeated. */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "op_impl.h"
#include "pool_stats.h"
#include "sqltext.h"

/* ---------------------------------------------------------------- endings */

/* An attempt that is repeated counts as a retry, not as a query that failed. */
static void note_usage(tp_op *op, struct tp_usage *usage)
{
    bool ended = (op->kind == OP_QUERY || op->kind == OP_PIPELINE) && op->state != OP_BACKOFF;
    if (ended)
        op->ended = tp_now();
    int64_t slow_us = op->database->settings->log_slow_us;
    usage->query_us = ended ? op->ended - op->began : -1;
    usage->slow = slow_us > 0 && usage->query_us >= slow_us;
    usage->failed = op->error.kind != TP_OK;
    usage->kind = op->error.kind;
    usage->code = op->error.code;
    usage->rollback = false;
    usage->ended = ended ? op->ended : 0;
}

static void note_outcome(tp_op *op, bool failed)
{
    int64_t count = failed ? 0 : tp__conn_count(op->conn);
    if (op->kind == OP_QUERY)
        op->touched = count > op->rows ? count : op->rows;
    memcpy(op->command, tp__conn_command(op->conn), sizeof op->command);
    op->command[sizeof op->command - 1] = '\0';
}

/* Statistics of the statement. Of a pipeline each item that was answered is noted already, and
 * only one that failed is left. */
static void note_statement(tp_op *op, const struct tp_usage *usage)
{
    bool piped = op->kind == OP_PIPELINE;
    if (usage->query_us < 0)
        return;
    note_outcome(op, usage->failed);
    if (op->query.sql == NULL || (piped && usage->kind != TP_ERR_DATABASE))
        return;
    struct tp_digest_call call = {
        .description = piped ? NULL : op->description,
        .sql = op->query.sql,
        .sql_len = op->query.sql_len,
        .us = piped ? op->ended - op->answered : usage->query_us,
        .rows = piped ? 0 : op->touched,
        .failed = usage->failed,
    };
    tp__digests_note(&op->database->digests, &call);
}

/* 25006: the server has become read-only (a failover); outside of a transaction that
 * asked for it, the connection is of no use for writing any more. */
static bool is_misplaced(const tp_op *op)
{
    return !op->in_tx && strcmp(op->error.code, "25006") == 0;
}

static void report_rollback(const struct tp_slot *slot)
{
    char sql[TP_NOTE_ROOM];
    tp__note_read(&slot->sql, sql);
    tp__pool_event(slot->pool, TP_EVENT_ROLLBACK, slot->backend_pid, 0, NULL,
                   "a call left a transaction open: %s", sql);
}

void tp__op_leave(tp_op *op)
{
    struct tp_usage usage;
    enum tp_close_reason reason;
    if (op->slot == NULL)
        return;
    tp__op_keep_statement(op);
    note_usage(op, &usage);
    note_statement(op, &usage);
    atomic_store_explicit(&op->slot->tx_state, tp__conn_transaction(op->conn),
                          memory_order_relaxed);
    if (op->owned) {
        enum tp_fate fate = tp__database_fate(op->conn, &reason, &usage.rollback);
        if (is_misplaced(op)) {
            fate = TP_FATE_CLOSE;
            tp__database_became_read_only(op->database);
        }
        if (usage.rollback)
            report_rollback(op->slot);
        (void)tp__pool_return(op->slot, op->generation, fate, reason, &usage);
        op->slot = NULL;
        op->conn = NULL;
    } else {
        tp__slot_count(op->slot, &usage);
    }
    tp__op_forget_statement(op);
}

void tp__op_finish(tp_op *op, enum op_state state)
{
    if (op->ended == op->began) /* it has not been timed yet */
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
    if (err->kind == TP_ERR_POOL_TIMEOUT && op->cause[0] != '\0' && err->detail[0] == '\0')
        snprintf(err->detail, sizeof err->detail, "It was to be repeated: %s", op->cause);
    if ((op->kind == OP_QUERY || op->kind == OP_PIPELINE) && op->query.sql != NULL)
        tp__text_copy_n(err->query, sizeof err->query, op->query.sql, op->query.sql_len);
    tp__op_finish(op, OP_FAILED);
}

void tp__op_fail_with(tp_op *op, enum tp_status kind, const char *why)
{
    tp__error_set(&op->error, kind, "%s", why);
    tp__op_leave(op);
    tp__op_fail(op);
}

static void succeed(tp_op *op)
{
    tp__op_leave(op);
    tp__op_finish(op, OP_DONE);
}

/* The connection is left with the statement under way: one of the pool's is cancelled
 * by the housekeeper; a lease can only be given back. */
void tp__op_time_out(tp_op *op)
{
    int64_t ms = (tp_now() - op->began) / 1000;
    if (!op->copying || !op->copy_refused) /* then there is an error */
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

/* What a procedure has committed stays when it fails later, so that its error is no proof that
 * nothing was done. */
static bool is_undone(const tp_op *op)
{
    return op->query.idempotent || !tp__sql_may_commit(op->query.sql, op->query.sql_len);
}

/* The server's way to say that a prepared statement must be prepared anew: the result
 * type of its plan has changed, or it is not there (a pooler in between). */
static bool is_stale_plan(const tp_op *op)
{
    if (op->query.simple)
        return false;
    /* Another connection's types of the parameters do not suit this one: it has another
     * search_path, say. Nothing was executed. */
    if (op->keeps && op->error.kind == TP_ERR_DATABASE && !tp__conn_has_parsed(op->conn))
        return true;
    return is_code(&op->error, "26000") ||
           (is_code(&op->error, "0A000") && strstr(op->error.message, "cached plan") != NULL);
}

/* Nothing has been executed while a statement is being prepared, so a link that died then
 * does no harm. */
static bool is_harmless(const tp_op *op)
{
    return op->query.idempotent || op->state == OP_PREPARING || op->state == OP_LEARNING ||
           op->state == OP_LISTING;
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
    if (op->in_tx || op->kind != OP_QUERY || (op->query.stream && op->rows > 0))
        return NULL;
    if (is_stale_plan(op)) /* said from within a function it is about a statement of that one */
        return op->stale_retried || (err->where[0] != '\0' && !is_undone(op)) ? NULL : "stale plan";
    if (was_unread(op))
        return "ended by the server before it read the statement";
    int most = op->query.retry.attempts;
    if (op->attempts >= (most > 0 ? most : op->database->settings->retry_attempts))
        return NULL;
    if (tp_sqlstate_retryable(err->code) && !op->query.simple && is_undone(op))
        return tp_sqlstate_name(err->code);
    if (is_harmless(op) && op->owned && err->kind == TP_ERR_CONNECTION)
        return "connection lost";
    return NULL;
}

/* False: too much is repeated already. */
static bool repeat_after(tp_op *op, int64_t delay_us, const char *why)
{
    if (!tp_pool_take_retry(op->pool, op->attempts, op->error.code, why)) {
        if (op->error.hint[0] == '\0')
            tp__text_copy(op->error.hint, sizeof op->error.hint,
                          "not repeated: retry.budget is used up");
        return false;
    }
    tp__text_copy(op->cause, sizeof op->cause, op->error.message);
    tp__error_clear(&op->error);
    op->state = OP_BACKOFF;
    op->wait_until = tp_now() + delay_us;
    tp__op_leave(op);
    return true;
}

static int64_t next_delay(tp_op *op)
{
    const struct tp_settings *settings = op->database->settings;
    const struct tp_retry *own = &op->query.retry;
    if (op->attempts <= 1) {
        tp__backoff_init(&op->backoff, own->base_us > 0 ? own->base_us : settings->retry_base_us,
                         own->max_us > 0 ? own->max_us : settings->retry_max_us, 0);
        op->backoff.jitter = settings->retry_jitter;
    }
    return tp__backoff_next(&op->backoff);
}

void tp__op_statement_failed(tp_op *op)
{
    op->error = *tp__conn_error(op->conn);
    if (is_code(&op->error, "57P02") || is_code(&op->error, "57P03"))
        tp__pool_bump_epoch(op->pool, TP_CLOSE_SERVER_GONE);
    if (is_stale_plan(op)) {
        if (is_code(&op->error, "26000"))
            tp__conn_forget_statements(op->conn);
        else
            tp__conn_drop(op->conn, op->hash);
        tp__shelf_drop(&op->database->shelf, op->hash);
        tp__stale_tell(&op->database->stale, op->hash);
    }
    const char *why = why_repeat(op);
    int64_t delay = 0;
    if (why != NULL && is_stale_plan(op))
        op->stale_retried = true;
    else if (why != NULL && !was_unread(op))
        delay = next_delay(op);
    if (why != NULL && tp_now() + delay < op->deadline && repeat_after(op, delay, why))
        return;
    tp__op_leave(op);
    tp__op_fail(op);
}

/* -------------------------------------------------------------- statements */

static void sent(tp_op *op, enum tp_status status, enum op_state state)
{
    op->state = state;
    if (status != TP_OK)
        tp__op_statement_failed(op);
}

/* A message has more than the bytes that count, and small ones of other kinds come before it. A
 * stream may go on forever, but no row of it. */
static void bound(const tp_op *op)
{
    enum { SLACK = 1024 * 1024 };
    int64_t most = op->query.max_bytes > 0 && op->kind == OP_QUERY
                       ? op->query.max_bytes
                       : op->database->settings->most_result_bytes;
    tp__conn_bound(op->conn, most < INT64_MAX - SLACK ? most + SLACK : INT64_MAX,
                   op->query.stream || op->most_rows != INT64_MAX || op->most_bytes != INT64_MAX);
}

/* Its own marks, or those of the lease. */
static void mark(const tp_op *op)
{
    const struct tp_slot *slot = op->slot;
    const char *comment = op->query.comment, *name = op->query.application_name;
    if (op->kind == OP_PING)
        return;
    if (comment == NULL && !op->owned)
        comment = slot->comment;
    if (name == NULL && !op->owned)
        name = slot->application_name;
    tp__conn_mark(op->conn, comment, name);
}

bool tp__op_is_too_late_to_send(tp_op *op)
{
    if (!tp__op_is_late(op))
        return false;
    tp__op_fail_with(op, TP_ERR_TIMEOUT, "the deadline has passed, and the statement was not sent");
    return true;
}

void tp__op_begin_statement(tp_op *op)
{
    const struct tp_query *query = &op->query;
    op->attempts++;
    if (tp__op_is_too_late_to_send(op))
        return;
    op->rows = op->bytes = 0;
    op->over_limit = false;
    bound(op);
    tp__conn_note_began(op->conn, op->began > op->slot->lent_at ? op->began : op->slot->lent_at);
    op->in_tx = tp__conn_transaction(op->conn) != TP_TX_IDLE;
    mark(op);
    atomic_store_explicit(&op->slot->quiet_since, 0, memory_order_relaxed);
    if (op->kind == OP_PING) {
        sent(op, tp__conn_ask_ping(op->conn), OP_EXECUTING);
        return;
    }
    if (op->copying) {
        tp__op_begin_copy(op);
        return;
    }
    if (op->kind == OP_PIPELINE) {
        tp__op_begin_pipeline(op);
        return;
    }
    if (query->simple) {
        tp__conn_note_traces(op->conn, query->sql, query->sql_len);
        sent(op, tp__conn_ask_simple(op->conn, query->sql), OP_EXECUTING);
        return;
    }
    tp__op_begin_describing(op);
}

/* A statement is complete, or an answer of the operation's own. */
static void step_ended(tp_op *op)
{
    if (op->state == OP_PREPARING)
        tp__op_prepared(op);
    else if (op->state == OP_LEARNING)
        tp__op_types_learnt(op);
    else if (op->state == OP_LISTING)
        tp__op_columns_listed(op);
    else
        succeed(op);
}

/* Rows or a result; false: the caller is to look at them. */
static bool step_answered(tp_op *op, enum tp_step step)
{
    if (op->state == OP_PREPARING)
        return true; /* nothing that was asked for */
    if (op->state == OP_LEARNING) {
        if (step == TP_ROWS)
            tp__op_take_types(op);
        return true;
    }
    if (op->state == OP_LISTING) {
        if (step == TP_ROWS)
            tp__op_take_listed(op);
        return true;
    }
    if (step == TP_SEND || step == TP_DATA)
        return tp__op_copy_answered(op, step);
    op->state = step == TP_ROWS ? OP_ROWS : OP_RESULT;
    return false;
}

bool tp__op_is_late(const tp_op *op)
{
    return op->deadline != TP_NEVER && tp_now() >= op->deadline;
}

bool tp__op_step_statement(tp_op *op, int ready)
{
    enum tp_step step = tp__conn_step(op->conn, ready);
    if (step == TP_FAILED && op->copying)
        tp__op_copy_failed(op);
    else if (step == TP_FAILED)
        tp__op_statement_failed(op);
    else if (step == TP_DONE)
        step_ended(op);
    else if ((step == TP_WAIT || step == TP_ROWS) && tp__op_is_late(op))
        tp__op_time_out(op);
    else if (step != TP_WAIT)
        return step_answered(op, step);
    else
        return false;
    return true;
}

void tp__op_send(tp_op *op)
{
    if (op->kind == OP_PIPELINE) {
        tp__op_pipeline_add(op);
        return;
    }
    if (tp__op_is_too_late_to_send(op))
        return;
    if (op->keeps && tp__conn_has_comment(op->conn))
        op->keeps = false;
    struct tp_execution execution = {
        .description = op->description,
        .statement = op->statement,
        .params = op->params,
        .text = op->query.text,
        .keep = op->keeps,
    };
    sent(op, tp__conn_ask_execute(op->conn, &execution), OP_EXECUTING);
}

/* ----------------------------------------------------------------- stopping */

void tp__op_set_limit_error(tp_op *op)
{
    const struct tp_query *query = &op->query;
    if (op->rows > op->most_rows)
        tp__error_set(&op->error, TP_ERR_VALIDATION,
                      "the result has more rows than %s = %lld allows: %lld so far",
                      query->max_rows > 0 ? "max_rows" : "limits.rows", (long long)op->most_rows,
                      (long long)op->rows);
    else
        tp__error_set(&op->error, TP_ERR_VALIDATION,
                      "the result is larger than %s = %lld allows: %lld bytes so far",
                      query->max_bytes > 0 ? "max_result_bytes" : "limits.result_bytes",
                      (long long)op->most_bytes, (long long)op->bytes);
}

static void stopped(tp_op *op)
{
    tp__op_leave(op);
    if (op->error.kind != TP_OK)
        tp__op_fail(op);
    else
        tp__op_finish(op, OP_DONE);
}

void tp__op_begin_stop(tp_op *op)
{
    if (op->over_limit)
        tp__op_set_limit_error(op);
    if (op->owned) {
        stopped(op); /* the housekeeper cancels what still runs */
    } else {
        op->state = OP_STOPPING;
        op->wait_until = tp_now();
    }
}

bool tp__op_step_stopping(tp_op *op, int ready)
{
    enum { CANCEL_LOOK_US = 2000 }; /* its end is not announced here */
    if (tp__conn_step_stop(op->conn, ready, !op->in_tx) != TP_WAIT) {
        stopped(op);
        return true;
    }
    op->wait_until = tp__conn_deadline(op->conn);
    if (tp__conn_fd(op->conn) < 0)
        op->wait_until = tp_now() + CANCEL_LOOK_US;
    return false;
}
