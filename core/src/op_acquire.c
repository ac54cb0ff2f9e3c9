/* How an operation comes by a connection: idle and fresh, idle and looked at, idle and
 * asked, or handed over in the queue. */
#include <poll.h>

#include "clock.h"
#include "error.h"
#include "op_impl.h"
#include "pool_report.h"

enum {
    /* The housekeeper closes an idle connection as soon as its socket speaks of an end. In
     * a shorter time than this that news could not have come to a look either. The clock of
     * slots ticks every few milliseconds, so it may be as much more. */
    LOOK_AFTER_US = 1000,
    PING_AFTER_US = 30 * 1000 * 1000, /* idle for longer: asked, not only looked at */
    PING_AT_MOST_US = 1000 * 1000
};

/* --------------------------------------------------------------- acquiring */

static void connection_ready(tp_op *op)
{
    if (op->kind != OP_ACQUIRE)
        tp__op_begin_statement(op);
    else
        tp__op_finish(op, OP_DONE);
}

static void give_back_dead(tp_op *op)
{
    (void)tp__pool_return(op->slot, op->generation, TP_FATE_CLOSE, TP_CLOSE_DEAD, NULL);
    op->slot = NULL;
    op->conn = NULL;
    tp__op_begin_acquire(op);
}

static void take_slot(tp_op *op)
{
    op->slot = op->waiter.slot;
    op->waiter.slot = NULL;
    op->generation = atomic_load_explicit(&op->slot->generation, memory_order_relaxed);
    op->conn = op->slot->connection;
    op->owned = true;
    if (op->place[0] != '\0')
        tp__pool_note_place(op->slot, op->place, op->line);
}

/* A connection that lay idle is looked at, and asked when it rested long. */
static void check_idle(tp_op *op)
{
    int64_t rested = op->slot->acquired_at - op->slot->idle_since;
    int64_t unseen = op->slot->acquired_at - op->slot->checked_at;
    if (rested > LOOK_AFTER_US && !tp__conn_look(op->conn)) {
        give_back_dead(op);
    } else if (rested > PING_AFTER_US && unseen > PING_AFTER_US) {
        int64_t until = tp_now() + PING_AT_MOST_US;
        op->wait_until = until < op->deadline ? until : op->deadline;
        op->state = OP_CHECKING;
        if (tp__conn_ask_ping(op->conn) != TP_OK)
            give_back_dead(op);
    } else {
        connection_ready(op);
    }
}

void tp_op_set_place(tp_op *op, const char *place, int line)
{
    tp__text_copy(op->place, sizeof op->place, place);
    op->line = line;
}

static int64_t acquire_deadline(const tp_op *op)
{
    int64_t within = tp__after(tp_now(), op->database->settings->acquire_timeout_us);
    return op->kind != OP_ACQUIRE && within < op->deadline ? within : op->deadline;
}

void tp__op_begin_acquire(tp_op *op)
{
    op->waiter.share = op->share;
    op->waiter.deadline = op->deadline;
    op->waiter.patience_us =
        op->kind != OP_ACQUIRE ? op->database->settings->acquire_timeout_us : TP_NEVER;
    op->waiter.began = op->attempts == 0 ? op->began : 0;
    op->waiter.sql = op->kind == OP_QUERY ? op->query.sql : NULL;
    op->waiter.sql_len = op->kind == OP_QUERY ? op->query.sql_len : 0;
    op->waiter.bell = op->seat.reactor != NULL ? tp__reactor_bell(op->seat.reactor) : NULL;
    switch (tp__pool_acquire(op->pool, &op->waiter, &op->error)) {
    case TP_ACQUIRED:
        take_slot(op);
        check_idle(op);
        break;
    case TP_QUEUED:
        op->wait_until = acquire_deadline(op);
        op->state = OP_QUEUED;
        op->self_blocked = op->waiter.bell != NULL && tp__pool_is_deadlocked(op->pool, &op->waiter);
        break;
    case TP_REFUSED:
        tp__op_fail(op);
    }
}

uint64_t tp__op_claim_password(const tp_op *op)
{
    if (!op->database->passwords.needed)
        return 0;
    tp__pool_lock(op->pool);
    uint64_t ticket = tp__passwords_claim(&op->database->passwords, tp_now());
    pthread_mutex_unlock(&op->pool->lock);
    return ticket;
}

bool tp__op_step_queued(tp_op *op)
{
    if (op->self_blocked) {
        tp__pool_leave(op->pool, &op->waiter);
        tp__report_self_blocked(op->pool, &op->error);
        tp__op_fail(op);
        return true;
    }
    switch (tp__pool_poll(op->pool, &op->waiter, op->wait_until, &op->error)) {
    case TP_QUEUED:
        op->ticket = tp__op_claim_password(op);
        return false;
    case TP_ACQUIRED:
        take_slot(op);
        connection_ready(op);
        return true;
    default:
        tp__op_fail(op);
        return true;
    }
}

bool tp__op_step_checking(tp_op *op, int ready)
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

void tp__op_park(tp_op *op)
{
    if (op->state == OP_QUEUED && tp__pool_all_held_by_caller(op->pool))
        op->self_blocked = true;
    else if (op->state == OP_QUEUED || op->state == OP_DRAINING || op->state == OP_HEARING)
        tp__pool_park(op->pool, &op->waiter, op->wait_until);
    else
        poll(NULL, 0, tp__poll_ms(op->wait_until, tp_now()));
}
