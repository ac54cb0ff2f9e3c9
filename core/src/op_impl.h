/* The inside of an operation, for the files op*.c alone. */
#ifndef TP_OP_IMPL_H
#define TP_OP_IMPL_H

#include "backoff.h"
#include "database.h"
#include "op.h"
#include "reactor.h"

enum op_state {
    OP_IDLE,      /* not begun, or abandoned */
    OP_QUEUED,    /* in the pool's queue */
    OP_CHECKING,  /* pinging a connection that has rested long */
    OP_PREPARING, /* Parse and Describe are under way */
    OP_LEARNING,  /* types that the statement has are looked up */
    OP_ENCODING,  /* the caller is asked for the parameters */
    OP_SENDING,   /* the parameters are there */
    OP_EXECUTING, /* the statement is under way */
    OP_ROWS,      /* the same, and the caller may take rows */
    OP_RESULT,    /* the same, and one statement is complete */
    OP_LISTING,   /* the columns of a table are looked up */
    OP_SEND,      /* executing, and the caller is to give data */
    OP_DATA,      /* executing, and the caller may take data */
    OP_PIPING,    /* a pipeline is under way */
    OP_STOPPING,  /* no more of it is wanted; the rest is read or cancelled */
    OP_BACKOFF,   /* between two attempts, without a connection of its own; or all there is */
    OP_DRAINING,  /* others have connections of the pool that closes, or is suspended */
    OP_HEARING,   /* with a listener */
    OP_DONE,
    OP_FAILED
};

enum op_kind {
    OP_ACQUIRE,
    OP_QUERY,
    OP_PING,
    OP_PIPELINE,
    OP_PAUSE,
    OP_DRAIN,
    OP_SUSPEND,
    OP_LISTEN, /* until the server listens */
    OP_HEAR    /* until something is there to be taken */
};

struct tp_op {
    tp_pool *pool;
    void *tag;       /* the caller's */
    tp_share *share; /* counted; what it borrows through; may be NULL */
    struct tp_database *database;
    enum op_state state;
    enum op_kind kind;
    struct tp_query query;
    uint64_t hash;
    const struct tp_param *params;

    struct tp_seat seat;
    struct tp_waiter waiter;
    struct tp_slot *slot;
    uint64_t generation; /* of the slot, while the connection is the operation's to use */
    unsigned fork_count; /* of tp__fork_count when it was begun */
    struct tp_conn *conn;
    bool owned; /* the operation took the connection and gives it back */
    bool in_tx; /* an explicit transaction was open when it began */
    bool self_blocked;
    char place[80]; /* where in the program it is, if that is to be known; else empty */
    int line;
    uint64_t ticket; /* in the queue: of the password that the caller is to make; 0: of none */
    struct tp_statement *statement;     /* on this connection; NULL: not prepared there */
    struct tp_description *description; /* counted */
    bool keeps;        /* the statement is prepared on the way, and is to be remembered */
    uint32_t *missing; /* types to be looked up: */
    int missing_count;
    struct tp_catalog_answer *answer;

    bool copying; /* query.sql is a COPY */
    struct tp_copy copy;
    struct tp_buf listed;  /* columns: 4 bytes of oid, the name, a NUL */
    const char *copy_data; /* given since TP_SEND; NULL: nothing */
    size_t copy_len;
    bool copy_ending, copy_refused; /* refused: op->error says why */

    struct tp_pipeline *pipeline; /* of OP_PIPELINE; see op_pipeline.c */

    tp_listener *listener; /* of OP_LISTEN and OP_HEAR; counted */
    bool lets_others;      /* go on before it looks */

    int64_t rows, bytes;           /* taken in this attempt */
    int64_t touched;               /* rows that were returned or touched, once it has ended */
    char command[32];              /* the tag of what has ended last */
    int64_t most_rows, most_bytes; /* INT64_MAX: any number */
    bool over_limit;

    int64_t began, ended, deadline, wait_until;
    int64_t answered;      /* when the last item of a pipeline was, or it began */
    int64_t last_deadline; /* of the lease: no other is later */
    int attempts;
    char cause[200]; /* of the repetition: what the attempt before it failed of */
    bool stale_retried;
    struct tp_backoff backoff;
    struct tp_error error;
};

/* --- op.c -------------------------------------------------------------------- */

/* The deadline is no later than the lease's. */
void tp__op_bound(tp_op *op);
/* So much time from now on, as far as the lease has it. */
void tp__op_grant(tp_op *op, int64_t us);

/* Whatever was under way is abandoned. */
void tp__op_begin(tp_op *op, enum op_kind kind, int64_t deadline);

/* --- op_acquire.c: getting a connection ------------------------------------- */

/* Takes an idle connection, or joins the queue. */
void tp__op_begin_acquire(tp_op *op);
/* These return whether the state has changed. */
bool tp__op_step_queued(tp_op *op);
bool tp__op_step_checking(tp_op *op, int ready);
/* The ticket of the password that is missing for the connection that it waits for, or 0. */
uint64_t tp__op_claim_password(const tp_op *op);

/* --- op_wait.c ---------------------------------------------------------------- */

/* The end of a pool, or its suspension. */
bool tp__op_step_draining(tp_op *op);
bool tp__op_step_hearing(tp_op *op);

/* --- op_statement.c: asking, and what comes of it ---------------------------- */

/* Asks on the connection that the operation has: another attempt. */
void tp__op_begin_statement(tp_op *op);
/* The parameters are there. */
void tp__op_send(tp_op *op);
bool tp__op_step_statement(tp_op *op, int ready);
/* Whether the deadline has passed; rows that keep coming do not put it off. */
bool tp__op_is_late(const tp_op *op);
/* What would be sent now could be carried out by the time it is cancelled. True: the operation has
 * failed with a timeout instead, and the connection is as it was. */
bool tp__op_is_too_late_to_send(tp_op *op);
/* The statement is stopped; op->error says whether that is a failure. */
void tp__op_begin_stop(tp_op *op);
/* There were more rows or bytes than there may be: sets op->error. */
void tp__op_set_limit_error(tp_op *op);
bool tp__op_step_stopping(tp_op *op, int ready);
/* A statement of the operation's has failed on its connection: it is repeated, or fails. */
void tp__op_statement_failed(tp_op *op);
void tp__op_fail_with(tp_op *op, enum tp_status kind, const char *why);
/* What was found out of a statement, and what was made to find it out, is given up. */
void tp__op_forget_statement(tp_op *op);

/* --- op_copy.c ------------------------------------------------------------------ */

void tp__op_begin_copy(tp_op *op);
/* The columns are known. */
void tp__op_copy_described(tp_op *op);
void tp__op_take_listed(tp_op *op);
void tp__op_columns_listed(tp_op *op);
/* TP_SEND or TP_DATA. False: it is the caller's turn. */
bool tp__op_copy_answered(tp_op *op, enum tp_step step);
/* The caller had its turn. */
void tp__op_copy_resume(tp_op *op);
void tp__op_copy_failed(tp_op *op);

/* --- op_pipeline.c ------------------------------------------------------------- */

/* Prepares what is not known yet, then sends. */
void tp__op_begin_pipeline(tp_op *op);
/* The text that was looked for is known on this connection. */
void tp__op_pipeline_known(tp_op *op);
/* The parameters of an item are there, or are refused (op->error). */
void tp__op_pipeline_add(tp_op *op);
void tp__op_pipeline_refuse(tp_op *op);
bool tp__op_step_pipeline(tp_op *op, int ready);
/* The caller has seen a result: what comes next is the next item's. */
void tp__op_pipeline_answered(tp_op *op);
/* Its rows are more than there may be. */
void tp__op_pipeline_too_large(tp_op *op);
/* False: no memory. */
bool tp__op_new_pipeline(tp_op *op, const struct tp_item *items, size_t count, bool repeated);
void tp__op_free_pipeline(tp_op *op);

/* --- op_describe.c: what is known of a statement, and finding it out ------------ */

/* Statements that others found to be stale are dropped here, too. */
void tp__op_hear_stale_news(tp_op *op);
/* Looks for a description; without one the server is asked. When there is one,
 * tp__op_statement_known goes on. */
void tp__op_begin_describing(tp_op *op);
/* The answer to Parse and Describe is there. */
void tp__op_prepared(tp_op *op);
/* op->description is there: finds the types that it names, or NULL for want of memory. */
void tp__op_resolve(tp_op *op);
/* Rows of the catalog, then their end. */
void tp__op_take_types(tp_op *op);
void tp__op_types_learnt(tp_op *op);
void tp__op_statement_known(tp_op *op);
/* The connection is about to be left or used again: a statement that was prepared on the
 * way becomes one that is known. */
void tp__op_keep_statement(tp_op *op);
/* The columns are not what they were: the server is asked again, by every connection. */
void tp__op_forget_description(tp_op *op);
/* Gives the connection back, if it is the operation's own, and counts the query. */
void tp__op_leave(tp_op *op);
/* Others may use the lease again. */
void tp__op_leave_lease(const tp_op *op);
/* Ends the operation; op->error has the reason of a failure. */
void tp__op_finish(tp_op *op, enum op_state state);
void tp__op_fail(tp_op *op);
void tp__op_time_out(tp_op *op);

#endif
