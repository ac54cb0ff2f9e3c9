/* The engine: one state machine for everything that can wait.
 *
 *     begin --> QUEUED --> CHECKING --> PREPARING --> LEARNING --> ENCODING --> EXECUTING --> DONE
 *                 ^           |             |             |            |            |   ^
 *                 |           v             |             |            |            |   +--> ROWS,
 * RESULT
 *                 +-------- BACKOFF <-------+-------------+------------+------------+--> FAILED
 *
 * An operation on a lease begins at PREPARING. States are skipped when there is nothing
 * to do in them: an idle connection is taken without QUEUED, a known statement goes to
 * ENCODING, one without parameters to EXECUTING; types are learnt once. A caller who has
 * enough goes from ROWS to STOPPING, and from there to DONE.
 *
 * What may be repeated (op_statement.c): a statement that the
 * server proves to have rolled back (40001, 40P01) outside of an explicit transaction;
 * one whose link died, when the caller said it is idempotent; once, one whose cached
 * plan was stale. Everything within the deadline of the call. */
#include "op.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "listen.h"
#include "op_impl.h"
#include "registry.h"

/* -------------------------------------------------------------------- steps */

/* Each returns whether the state has changed, so that the loop goes on. */

static bool step_backoff(tp_op *op)
{
    if (tp_now() < op->wait_until)
        return false;
    if (op->kind == OP_PAUSE)
        tp__op_finish(op, OP_DONE);
    else if (op->slot != NULL)
        tp__op_begin_statement(op);
    else
        tp__op_begin_acquire(op);
    return true;
}

static bool advance(tp_op *op, int ready)
{
    switch (op->state) {
    case OP_QUEUED:
        return tp__op_step_queued(op);
    case OP_CHECKING:
        return tp__op_step_checking(op, ready);
    case OP_PREPARING:
    case OP_LEARNING:
    case OP_LISTING:
    case OP_EXECUTING:
        return tp__op_step_statement(op, ready);
    case OP_SENDING:
        tp__op_send(op);
        return true;
    case OP_PIPING:
        return tp__op_step_pipeline(op, ready);
    case OP_STOPPING:
        return tp__op_step_stopping(op, ready);
    case OP_BACKOFF:
        return step_backoff(op);
    case OP_DRAINING:
        return tp__op_step_draining(op);
    case OP_HEARING:
        return tp__op_step_hearing(op);
    default:
        return false;
    }
}

bool tp__op_is_dispossessed(const tp_op *op)
{
    if (op->fork_count != tp__fork_count)
        return true;
    return !op->owned && op->slot != NULL &&
           atomic_load_explicit(&op->slot->generation, memory_order_relaxed) != op->generation;
}

void tp__op_dispossess(const void *user)
{
    tp_op *op = (tp_op *)(uintptr_t)user;
    if (op != NULL && op->seat.reactor != NULL)
        tp__bell_ring(tp__reactor_bell(op->seat.reactor), &op->waiter.rope);
}

static void let_go(tp_op *op)
{
    if (op->fork_count != tp__fork_count)
        tp__error_set(&op->error, TP_ERR_CONNECTION, "the process was forked meanwhile");
    else
        tp__error_set(&op->error, TP_ERR_VALIDATION, "the connection was released meanwhile");
    op->slot = NULL;
    op->conn = NULL;
    tp__op_forget_statement(op);
    tp__op_fail(op);
}

void tp__op_bound(tp_op *op)
{
    if (op->last_deadline < op->deadline)
        op->deadline = op->last_deadline;
}

void tp__op_grant(tp_op *op, int64_t us)
{
    op->deadline = tp__after(tp_now(), us);
    tp__op_bound(op);
}

static bool is_under_way(const tp_op *op)
{
    return op->state != OP_IDLE && op->state != OP_DONE && op->state != OP_FAILED;
}

/* The caller has had its look at rows or at a result. */
static void resume(tp_op *op)
{
    if (op->state == OP_SEND || op->state == OP_DATA)
        tp__op_copy_resume(op);
    if (op->state != OP_ROWS && op->state != OP_RESULT)
        return;
    if (op->kind == OP_PIPELINE && op->over_limit) {
        tp__op_pipeline_too_large(op);
        return;
    }
    if (op->kind == OP_PIPELINE) {
        if (op->state == OP_RESULT)
            tp__op_pipeline_answered(op);
        op->state = OP_PIPING;
        return;
    }
    op->state = OP_EXECUTING;
    if (op->query.stream && op->query.wait_us > 0)
        tp__op_grant(op, op->query.wait_us);
    if (op->over_limit)
        tp__op_begin_stop(op);
}

enum tp_step tp_op_step(tp_op *op, int ready)
{
    if (is_under_way(op) && tp__op_is_dispossessed(op))
        let_go(op);
    resume(op);
    while (advance(op, ready))
        ready = 0;
    switch (op->state) {
    case OP_DONE:
        return TP_DONE;
    case OP_QUEUED:
    case OP_HEARING:
        return op->ticket != 0 ? TP_PASSWORD : TP_WAIT;
    case OP_ENCODING:
        return TP_ENCODE;
    case OP_ROWS:
        return TP_ROWS;
    case OP_RESULT:
        return TP_RESULT;
    case OP_SEND:
        return TP_SEND;
    case OP_DATA:
        return TP_DATA;
    case OP_IDLE:
    case OP_FAILED:
        return TP_FAILED;
    default:
        return TP_WAIT;
    }
}

static bool is_on_wire(const tp_op *op)
{
    switch (op->state) {
    case OP_CHECKING:
    case OP_PREPARING:
    case OP_LEARNING:
    case OP_LISTING:
    case OP_EXECUTING:
    case OP_PIPING:
    case OP_STOPPING:
        return true;
    default:
        return false;
    }
}

uint64_t tp_op_password_ticket(const tp_op *op)
{
    return op->ticket;
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
    bool bounded = op->state == OP_QUEUED || op->state == OP_CHECKING || op->state == OP_BACKOFF ||
                   op->state == OP_STOPPING || op->state == OP_DRAINING || op->state == OP_HEARING;
    return bounded ? op->wait_until : op->deadline;
}

/* -------------------------------------------------------------- life of an op */

tp_op *tp_op_new(tp_pool *pool)
{
    tp_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        return NULL;
    op->pool = tp_pool_retain(pool);
    op->database = tp__database_of(pool);
    op->fork_count = tp__fork_count;
    op->seat.deadline = TP_NEVER;
    return op;
}

void tp_op_set_share(tp_op *op, tp_share *share)
{
    tp_share_release(op->share);
    op->share = share != NULL ? tp_share_retain(share) : NULL;
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

void tp__op_leave_lease(const tp_op *op)
{
    if (op->owned || op->slot == NULL || tp__op_is_dispossessed(op) || op->slot->user != op)
        return;
    op->slot->user = NULL;
    atomic_store_explicit(&op->slot->quiet_since, op->ended, memory_order_relaxed);
}

void tp_op_abandon(tp_op *op)
{
    if (op->fork_count != tp__fork_count)
        memset(&op->waiter, 0, sizeof op->waiter); /* stands in the parent's queue */
    else if (op->state == OP_QUEUED)
        tp__pool_leave(op->pool, &op->waiter);
    else if (op->state == OP_DRAINING)
        tp__pool_leave_drain(op->pool, &op->waiter);
    else if (op->state == OP_HEARING)
        tp__listener_leave(op->listener, &op->waiter);
    tp__reactor_leave(op); /* before the connection goes, which its watch is a part of */
    if (op->fork_count == tp__fork_count)
        abandon_connection(op);
    tp__op_leave_lease(op);
    tp_listener_release(op->listener);
    op->listener = NULL;
    op->slot = NULL;
    op->conn = NULL;
    tp__op_forget_statement(op);
    tp__op_free_pipeline(op);
    op->state = OP_IDLE;
}

void tp_op_free(tp_op *op)
{
    if (op == NULL)
        return;
    tp_op_abandon(op);
    tp_op_use(op, NULL, 0);
    tp_share_release(op->share);
    tp_pool_release(op->pool);
    tp__buf_free(&op->listed);
    free(op);
}

void tp__op_begin(tp_op *op, enum op_kind kind, int64_t deadline)
{
    tp_op_abandon(op);
    op->fork_count = tp__fork_count;
    op->kind = kind;
    op->deadline = deadline;
    op->last_deadline = TP_NEVER;
    op->began = tp_now();
    op->ended = op->began;
    op->answered = op->began;
    op->touched = 0;
    op->command[0] = '\0';
    op->attempts = 0;
    op->cause[0] = '\0';
    op->stale_retried = false;
    op->self_blocked = false;
    op->ticket = 0;
    op->waiter.patient = false;
    op->owned = false;
    op->in_tx = false;
    op->copying = false;
    op->most_rows = op->most_bytes = INT64_MAX;
    tp__error_clear(&op->error);
}

/* A stream is used as it comes, so only the call itself bounds it. */
static void set_limits(tp_op *op)
{
    const struct tp_settings *settings = op->database->settings;
    const struct tp_query *query = &op->query;
    if (query->max_rows > 0)
        op->most_rows = query->max_rows;
    else if (!query->stream)
        op->most_rows = settings->most_rows;
    if (query->max_bytes > 0)
        op->most_bytes = query->max_bytes;
    else if (!query->stream)
        op->most_bytes = settings->most_result_bytes;
}

static bool fits(tp_op *op, size_t sql_len)
{
    size_t most = op->database->settings->most_sql_bytes;
    if (sql_len <= most)
        return true;
    tp__error_set(&op->error, TP_ERR_VALIDATION,
                  "the SQL text has %zu bytes, more than limits.sql_bytes = %zu allows", sql_len,
                  most);
    tp__op_fail(op);
    return false;
}

/* True when the operation may go on with the lease. */
static bool borrow(tp_op *op, const tp_lease *lease)
{
    if (!tp_lease_valid(lease)) {
        tp_lease_explain(lease, &op->error);
    } else if (tp_lease_pool(lease) != op->pool) {
        tp__error_set(&op->error, TP_ERR_VALIDATION, "the connection is of another pool");
    } else if (tp__conn_is_lost(lease->slot->connection)) {
        tp__error_set(&op->error, TP_ERR_CONNECTION, "the connection was lost; release it");
    } else if (lease->slot->user != NULL || !tp__conn_is_ready(lease->slot->connection)) {
        tp__error_set(&op->error, TP_ERR_BUSY,
                      "a statement is still under way on this connection: wait for it, or release "
                      "the connection");
    } else {
        op->slot = lease->slot;
        op->conn = lease->slot->connection;
        op->generation = lease->generation;
        op->slot->user = op;
        op->last_deadline = op->slot->deadline;
        tp__op_bound(op);
        return true;
    }
    tp__op_fail(op);
    return false;
}

void tp_op_acquire(tp_op *op, int64_t deadline)
{
    tp__op_begin(op, OP_ACQUIRE, deadline);
    tp__op_begin_acquire(op);
}

void tp_op_acquire_patiently(tp_op *op, int64_t deadline)
{
    tp__op_begin(op, OP_ACQUIRE, deadline);
    op->waiter.patient = true;
    tp__op_begin_acquire(op);
}

static void begin_request(tp_op *op, const tp_lease *lease)
{
    if (lease == NULL) {
        tp__op_begin_acquire(op);
    } else if (borrow(op, lease)) {
        if (op->kind == OP_QUERY)
            tp__note_write(&op->slot->sql, op->query.sql, op->query.sql_len);
        tp__op_begin_statement(op);
    }
}

void tp_op_query(tp_op *op, const tp_lease *lease, const struct tp_query *query)
{
    tp__op_begin(op, OP_QUERY, query->deadline);
    op->query = *query;
    set_limits(op);
    if (!fits(op, query->sql_len))
        return;
    op->hash = query->simple ? 0 : tp__sql_hash(query->sql, query->sql_len);
    begin_request(op, lease);
}

void tp_op_copy(tp_op *op, const tp_lease *lease, const struct tp_copy *copy)
{
    tp__op_begin(op, OP_QUERY, copy->deadline);
    op->query = (struct tp_query){.sql = copy->sql,
                                  .sql_len = strlen(copy->sql),
                                  .deadline = copy->deadline,
                                  .wait_us = copy->wait_us,
                                  .simple = true,
                                  .stream = true};
    op->hash = 0;
    op->copying = true;
    op->copy = *copy;
    if (fits(op, op->query.sql_len))
        begin_request(op, lease);
}

void tp_op_pipeline(tp_op *op, const tp_lease *lease, const struct tp_item *items, size_t count,
                    bool repeated, int64_t deadline)
{
    tp__op_begin(op, OP_PIPELINE, deadline);
    op->query = (struct tp_query){.deadline = deadline};
    set_limits(op);
    for (size_t i = 0; i < (repeated ? 1 : count); i++) {
        if (!fits(op, items[i].sql_len))
            return;
    }
    if (tp__op_new_pipeline(op, items, count, repeated)) {
        begin_request(op, lease);
        return;
    }
    tp__error_set(&op->error, TP_ERR_MEMORY, "out of memory for a pipeline");
    tp__op_fail(op);
}

void tp_op_ping(tp_op *op, const tp_lease *lease, int64_t deadline)
{
    tp__op_begin(op, OP_PING, deadline);
    begin_request(op, lease);
}

/* ------------------------------------------------------------------- getters */

void tp_op_set_tag(tp_op *op, void *tag)
{
    op->tag = tag;
}

void *tp_op_tag(const tp_op *op)
{
    return op->tag;
}

int tp_op_param_count(const tp_op *op)
{
    return op->description->nparams;
}

const struct tp_type *tp_op_param_type(const tp_op *op, int i)
{
    const struct tp_type *type = op->description->params[i];
    return type != NULL ? type : tp__type_unknown();
}

static size_t size_of(const struct tp_param *params, int n)
{
    size_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += params[i].data != NULL ? params[i].len : 0;
    return sum;
}

void tp_op_params(tp_op *op, const struct tp_param *params)
{
    size_t sum = size_of(params, op->description->nparams);
    size_t most = op->database->settings->most_parameter_bytes;
    if (sum > most) {
        tp__error_set(
            &op->error, TP_ERR_VALIDATION,
            "the parameters have %zu bytes, more than limits.parameter_bytes = %zu allows", sum,
            most);
        tp_op_refuse(op, &op->error);
        return;
    }
    op->params = params;
    op->state = OP_SENDING;
}

void tp_op_refuse(tp_op *op, const struct tp_error *err)
{
    if (err != &op->error)
        op->error = *err;
    if (op->kind == OP_PIPELINE) {
        tp__op_pipeline_refuse(op);
        return;
    }
    tp__op_leave(op);
    tp__op_fail(op);
}

bool tp_op_was_self_blocked(const tp_op *op)
{
    return op->state == OP_FAILED && op->self_blocked;
}

const struct tp_error *tp_op_error(const tp_op *op)
{
    return &op->error;
}

void tp_op_stop(tp_op *op)
{
    if ((op->state == OP_EXECUTING || op->state == OP_ROWS || op->state == OP_RESULT ||
         op->state == OP_DATA) &&
        !tp__op_is_dispossessed(op))
        tp__op_begin_stop(op);
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
