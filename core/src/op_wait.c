/* Operations that need no connection of the pool's: pauses, the end of a pool or its suspension,
 * and listeners. */
#include "clock.h"
#include "listen.h"
#include "op_impl.h"
#include "registry.h"

void tp_op_pause(tp_op *op, int64_t until)
{
    tp__op_begin(op, OP_PAUSE, until);
    op->wait_until = until;
    op->state = OP_BACKOFF;
}

static void begin_draining(tp_op *op, enum op_kind kind, int64_t deadline)
{
    tp__op_begin(op, kind, deadline);
    op->waiter.share = NULL;
    op->waiter.bell = op->seat.reactor != NULL ? tp__reactor_bell(op->seat.reactor) : NULL;
    op->wait_until = deadline;
    op->state = OP_DRAINING;
}

/* Of these two, the first step looks whether there is anything to wait for. */

void tp_op_drain(tp_op *op, int64_t deadline)
{
    begin_draining(op, OP_DRAIN, deadline);
    if (op->share != NULL && !tp__registry_begin_drain(op->share))
        op->waiter.share = op->share;
    (void)tp__pool_begin_drain(op->pool, &op->waiter);
}

void tp_op_suspend(tp_op *op, int64_t deadline)
{
    begin_draining(op, OP_SUSPEND, deadline);
    (void)tp__pool_begin_suspend(op->pool, &op->waiter);
}

bool tp__op_step_draining(tp_op *op)
{
    enum tp_status status;
    bool suspends = op->kind == OP_SUSPEND;
    bool waits = suspends ? tp__pool_is_suspending(op->pool, &op->waiter)
                          : tp__pool_is_draining(op->pool, &op->waiter);
    if (waits && tp_now() < op->wait_until)
        return false;
    if (suspends)
        status = tp__pool_end_suspend(op->pool, &op->waiter, &op->error);
    else
        status = tp__pool_end_drain(op->pool, &op->waiter, &op->error);
    if (op->share != NULL && !suspends)
        tp_share_close(op->share);
    if (status == TP_OK)
        tp__op_finish(op, OP_DONE);
    else
        tp__op_fail(op);
    return true;
}

/* ----------------------------------------------------------------- listeners */

static void begin_hearing(tp_op *op, enum op_kind kind, tp_listener *listener, int64_t deadline)
{
    tp_listener_retain(listener);
    tp__op_begin(op, kind, deadline);
    op->listener = listener;
    op->waiter.queued = false;
    op->waiter.bell = op->seat.reactor != NULL ? tp__reactor_bell(op->seat.reactor) : NULL;
    op->waiter.since = op->began;
    op->wait_until = deadline;
    op->lets_others = false;
    op->state = OP_HEARING;
}

/* The first step looks whether there is anything to wait for. */

void tp_op_listen(tp_op *op, tp_listener *listener, int64_t deadline)
{
    begin_hearing(op, OP_LISTEN, listener, deadline);
}

void tp_op_hear(tp_op *op, tp_listener *listener, int64_t deadline, bool let_others)
{
    begin_hearing(op, OP_HEAR, listener, deadline);
    op->lets_others = let_others;
}

bool tp__op_step_hearing(tp_op *op)
{
    if (op->lets_others) {
        op->lets_others = false;
        op->wait_until = tp_now();
        return false;
    }
    op->wait_until = op->deadline;
    switch (tp__listener_poll(op->listener, &op->waiter, op->deadline, op->kind == OP_HEAR,
                              &op->error)) {
    case TP_QUEUED:
        op->ticket = tp__op_claim_password(op);
        return false;
    case TP_ACQUIRED:
        tp__op_finish(op, OP_DONE);
        return true;
    default:
        tp__op_fail(op);
        return true;
    }
}
