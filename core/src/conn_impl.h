/* The inside of a connection, for conn.c, conn_open.c and conn_mend.c alone. */
#ifndef TP_CONN_IMPL_H
#define TP_CONN_IMPL_H

#include <libpq-fe.h>

#include "conn.h"
#include "errand.h"
#include "resolve.h"

enum tp_conn_state {
    TP_CONN_RESOLVING,  /* an errand looks the host up */
    TP_CONN_CONNECTING, /* PQconnectPoll */
    TP_CONN_READY,      /* nothing is under way */
    TP_CONN_ASKING,     /* a request is under way */
    TP_CONN_CANCELLING, /* the same, and an errand asks the server to stop it */
    TP_CONN_LOST        /* of no use any more */
};

struct tp_cancel;

struct tp_conn {
    enum tp_conn_state state; /* set by tp__conn_set_state alone */
    struct tp_conn_env env;
    PGconn *pg;
    int events;
    int64_t deadline; /* of connecting or mending */
    struct tp_resolve *resolve;

    /* the request under way */
    bool unsent;    /* PQflush has more to write */
    bool pipelined; /* ends with PGRES_PIPELINE_SYNC */
    bool pinging;   /* an empty statement is what was meant */
    struct tp_statement *preparing;
    int described; /* answers to Parse and Describe so far */
    bool evicted;
    struct tp_statement *undescribed;
    tp_result *result;
    struct tp_error error;
    bool unread; /* the server ended without having read the whole request */

    struct tp_statements statements;
    uint64_t stale_seen;

    /* arrays for libpq, kept from request to request */
    int room;
    const char **values;
    int *lengths;
    int *formats;

    /* mending */
    bool mending, cancelled;
    int64_t cancel_again; /* when, if the statement still runs then; TP_NEVER: not */
    int64_t cancel_pause;
    int pings_left;
    struct tp_cancel *cancel;
};

void tp__conn_set_state(struct tp_conn *conn, enum tp_conn_state state);
/* The connection is lost with this error as the reason, unless one is known. */
void tp__conn_lose(struct tp_conn *conn, enum tp_status kind, const char *why);
/* The first line of what libpq says of the connection, cleaned. */
void tp__conn_libpq_message(const struct tp_conn *conn, char *out, size_t room);
/* Lets a cancel that may still be under way end by itself. */
void tp__conn_forget_cancel(struct tp_conn *conn);
/* Asks the server to stop what a connection that is about to be closed has under way. */
void tp__conn_cancel_behind(struct tp_conn *conn);

#endif
