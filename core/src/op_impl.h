/* The inside of an operation, for op.c, op_acquire.c and op_statement.c alone. */
#ifndef TP_OP_IMPL_H
#define TP_OP_IMPL_H

#include "backoff.h"
#include "database.h"
#include "op.h"

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
    uint64_t generation; /* of the slot, while the connection is the operation's to use */
    unsigned fork_count; /* of tp__fork_count when it was begun */
    struct tp_conn *conn;
    bool owned; /* the operation took the connection and gives it back */
    bool in_tx; /* an explicit transaction was open when it began */
    bool self_blocked;
    struct tp_statement *statement;

    int64_t began, ended, deadline, wait_until;
    int attempts;
    bool stale_retried;
    struct tp_backoff backoff;
    tp_result *result;
    struct tp_error error;
};

/* --- op_acquire.c: getting a connection ------------------------------------- */

/* Takes an idle connection, or joins the queue. */
void tp__op_begin_acquire(tp_op *op);
/* These two return whether the state has changed. */
bool tp__op_step_queued(tp_op *op);
bool tp__op_step_checking(tp_op *op, int ready);

/* --- op_statement.c: asking, and what comes of it ---------------------------- */

/* Asks on the connection that the operation has: another attempt. */
void tp__op_begin_statement(tp_op *op);
/* The parameters are there. */
void tp__op_send(tp_op *op);
bool tp__op_step_statement(tp_op *op, int ready);
/* Gives the connection back, if it is the operation's own, and counts the query. */
void tp__op_leave(tp_op *op);
/* Others may use the lease again. */
void tp__op_leave_lease(const tp_op *op);
/* Ends the operation; op->error has the reason of a failure. */
void tp__op_finish(tp_op *op, enum op_state state);
void tp__op_fail(tp_op *op);

#endif
