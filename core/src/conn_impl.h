/* The inside of a connection, for the files conn_*.c alone. */
#ifndef TP_CONN_IMPL_H
#define TP_CONN_IMPL_H

#include <libpq-fe.h>

#include "conn.h"
#include "errand.h"
#include "resolve.h"
#include "wire.h"

enum tp_conn_state {
    TP_CONN_RESOLVING,  /* an errand looks the host up */
    TP_CONN_CONNECTING, /* PQconnectPoll */
    TP_CONN_READY,      /* nothing is under way */
    TP_CONN_ASKING,     /* a request is under way */
    TP_CONN_CANCELLING, /* the same, and an errand asks the server to stop it */
    TP_CONN_LOST        /* of no use any more */
};

struct tp_cancel;

/* Removing what a borrower has left in the session; see conn_clear.c. */
enum tp_clearing {
    TP_CLEARING_OFF,
    TP_CLEARING_STATE, /* all but prepared statements */
    TP_CLEARING_NAMES, /* statements that were prepared by SQL */
    TP_CLEARING_DOUBT  /* no clearing: it is asked whether the session can write */
};

/* The hosts that libpq is given, as it gets them; see conn_hosts.c. */
struct tp_conn_hosts {
    char *names, *addresses, *ports; /* NULL: not said */
    const char *current;             /* libpq's, to be compared only */
};

enum tp_copy_state {
    TP_COPY_OFF,
    TP_COPY_ASKED, /* the server has not begun it yet */
    TP_COPY_IN,
    TP_COPY_OUT
};

/* COPY under way; see conn_copy.c. */
struct tp_copy_stream {
    enum tp_copy_state state;
    bool in;     /* what was asked for */
    bool binary; /* what the server said of the format */
    int columns;
    const char *data; /* the caller's, of no message yet */
    size_t left;
    unsigned char head[5]; /* of the message under way */
    size_t head_left, body_left;
    const char *body; /* its unsent part; NULL: the caller's data is gone, anything does */
    bool ending;
    const char *failure; /* static; NULL: what was sent is to be stored */
    char *chunk;         /* of libpq's */
    int chunk_len;       /* 0: it was taken */
    bool over;           /* there are no more */
};

struct tp_conn {
    enum tp_conn_state state; /* set by tp__conn_set_state alone */
    struct tp_conn_env env;
    PGconn *pg;
    struct tp_watch watch; /* in the set of an event loop */
    int events;
    int64_t deadline; /* of connecting or mending */
    struct tp_resolve *resolve;
    struct tp_conn_hosts hosts;
    struct tp_buf names;       /* for libpq's "host", where tls.server_name stands for the hosts */
    struct tp_conn *inherited; /* in a forked child: the next one that is the parent's */

    /* the request under way */
    bool unsent;         /* PQflush has more to write */
    bool pipelined;      /* ends with PGRES_PIPELINE_SYNC */
    bool piping;         /* many executions, and one Sync */
    unsigned unmet_then; /* needs that were unmet when the pipeline began */
    bool pinging;        /* an empty statement is what was meant */
    bool one_by_one;     /* libpq hands rows on as they come */
    int64_t most_bytes;  /* between two things that libpq hands on; INT64_MAX: any number */
    int64_t heard;       /* how many bytes had come when the last one was handed on */
    int looks;           /* since it was asked how many have come */
    bool describing;     /* the answer to Describe is what was meant */
    int silent;          /* answers that come first and are nobody's: DEALLOCATE, Parse */
    char prepared_name[TP_STATEMENT_NAME];
    struct tp_buf prepared_sql;
    struct tp_description *described;
    struct tp_error error;
    bool unread; /* the server ended without having read the whole request */

    /* what comes back */
    struct tp_wire wire;             /* active: it has the socket, and libpq is idle */
    struct tp_description *expected; /* of the statement under way; counted; may be NULL */
    bool binary;                     /* the form that was asked for */
    bool only_text;                  /* the caller wants no other than the text form */
    bool whole;    /* libpq has given a result to its end; false again in the middle of rows */
    bool complete; /* behind the rows that are there: TP_RESULT */
    const struct tp_columns *columns; /* of the result that comes, or NULL */
    struct tp_columns *found_columns; /* found in a result that was not as expected */
    PGresult *pg_rows;                /* rows that libpq read, from next_row on */
    int next_row;
    struct tp_buf row; /* one of them as a message */
    bool row_failed;   /* it was none, or there was no memory for it */
    char command[64];
    int64_t count;
    struct tp_copy_stream copy;

    enum tp_transaction_state transaction; /* while READY */
    char xact[64];       /* the id of the open transaction and the server's epoch, when known */
    char xact_epoch[32]; /* the latter, once it was asked for */
    bool asks_xact;      /* the request under way ends with the question for it, */
    bool xact_is_next;   /* and what comes is the answer */
    bool piping_asks;    /* it is asked for in this transaction, but not in a pipeline */
    bool writes_unseen;  /* something may have been written that the question was not put behind */
    bool in_block;       /* BEGIN was seen; of a request that is not over perhaps ahead of
                            `transaction`, as the next */
    bool undone;         /* ROLLBACK was seen, be it TO SAVEPOINT */
    int64_t block_began, asked_at;
    unsigned unmet;  /* needs that a setting changed behind libpq's back left unmet */
    bool read_aside; /* libpq has read while it was idle, perhaps half of a message */

    struct tp_statements statements;
    bool statements_gone; /* the server has dropped them all, at the borrower's wish */
    unsigned traces;      /* what the borrower may have left behind: enum tp_sql_traces */
    unsigned traces_least, traces_most; /* by the configuration */
    uint64_t stale_seen;

    /* what is put on statements; see conn_mark.c */
    bool marked;  /* there is something to be done */
    bool renamed; /* the session may have another name than its own */
    const char *comment, *wanted_name;
    char own_name[64];
    struct tp_buf marked_sql;

    /* arrays for libpq, kept from request to request */
    int room;
    const char **values;
    int *lengths;
    int *formats;

    /* mending */
    bool mending, cancelled;
    bool keeps_transaction;
    bool paused;          /* in the middle of reading: there is more to do at once */
    int64_t cancel_again; /* when, if the statement still runs then; TP_NEVER: not */
    int64_t cancel_pause;
    int pings_left;
    enum tp_clearing clearing;
    bool doubted;                /* the server has refused to write: why is to be asked */
    bool read_only;              /* that was the answer */
    struct tp_buf to_deallocate; /* a script that does it */
    struct tp_cancel *cancel;
};

void tp__conn_set_state(struct tp_conn *conn, enum tp_conn_state state);

/* --- conn_hosts.c --------------------------------------------------------------- */

/* What is about to be given to libpq, the first time; each may be NULL. */
void tp__conn_note_hosts(struct tp_conn *conn, const char *names, const char *addresses,
                         const char *ports);
void tp__conn_forget_hosts(struct tp_conn *conn);
bool tp__conn_has_other_hosts(const struct tp_conn *conn);
/* A look at the host that libpq is at; one that it has moved on to has a deadline of its own. */
void tp__conn_watch_host(struct tp_conn *conn, bool moves_on);
/* Takes the host that libpq is at from the list. False: there is no other. */
bool tp__conn_drop_host(struct tp_conn *conn);

/* --- conn_mark.c ---------------------------------------------------------------- */

/* The text as it is sent, with the comment that there is; NULL: no memory. Borrowed until the
 * next call. */
const char *tp__conn_marked(struct tp_conn *conn, const char *sql, size_t len);
/* Sends what gives the session the name that is wanted, if it has another. libpq is in pipeline
 * mode then. */
bool tp__conn_send_name(struct tp_conn *conn);

/* --- conn_xact.c ---------------------------------------------------------------- */

/* Whether a statement that writes is to be followed by the question for the transaction's id. */
bool tp__conn_asks_xact(const struct tp_conn *conn, bool writes);
/* Adds the question; libpq is in pipeline mode. */
bool tp__conn_send_xact(struct tp_conn *conn);
void tp__conn_take_xact(struct tp_conn *conn, const PGresult *pg);
/* The request that is begun may write, and the question cannot be put behind it. */
void tp__conn_note_writes(struct tp_conn *conn);

/* --- conn_block.c --------------------------------------------------------------- */

/* A statement is complete: conn->command has its tag. */
void tp__conn_note_tag(struct tp_conn *conn);
/* A request is over: conn->transaction has the state of the session. */
void tp__conn_note_state(struct tp_conn *conn);
/* The connection is about to be closed. */
void tp__conn_end_block(struct tp_conn *conn);

/* --- conn.c ---------------------------------------------------------------------- */

/* The connection is lost with this error as the reason, unless one is known. */
void tp__conn_lose(struct tp_conn *conn, enum tp_status kind, const char *why);
/* The first line of what libpq says of the connection, cleaned. */
void tp__conn_libpq_message(const struct tp_conn *conn, char *out, size_t room);
/* --- conn_tls.c ----------------------------------------------------------------- */

/* Hosts for libpq beside these addresses: tls.server_name for each that is reached by an
 * address, sockets as they are. Borrowed from the connection; NULL: no memory. */
const char *tp__conn_server_names(struct tp_conn *conn, const char *hosts, const char *addresses);
/* What to do about an error of TLS whose reason libpq does not tell; or NULL. */
const char *tp__conn_tls_hint(const char *message);

/* --- conn_ask.c and conn_answer.c --------------------------------------------- */

/* What comes on the wire beside rows; the context is the connection. */
void tp__conn_on_other(void *ctx, char type, const char *body, size_t len);
void tp__conn_on_error(void *ctx, const char *body, size_t len);
/* The need (codec.h) that a setting with this value leaves unmet; 0: none. */
unsigned tp__conn_setting_need(const char *name, const char *value);
/* Whether libpq has heard of no other client_encoding; else the connection is lost. */
bool tp__conn_keeps_utf8(struct tp_conn *conn);
/* Has libpq read what there is. False: the connection was given up. */
bool tp__conn_consume(struct tp_conn *conn);
/* Gives up what came back of the last request. */
void tp__conn_clear_answer(struct tp_conn *conn);

/* --- conn_copy.c ---------------------------------------------------------------- */

/* The server has begun a COPY. TP_SEND or TP_DATA; TP_WAIT: it is not the one asked for. */
enum tp_step tp__conn_begin_copy(struct tp_conn *conn, const PGresult *pg);
/* Moves the COPY on; TP_DONE: the rest of the answer is libpq's. */
enum tp_step tp__conn_step_copy(struct tp_conn *conn, bool readable);
/* Whether libpq has read so much in vain that the connection was given up. */
bool tp__conn_is_flooded(struct tp_conn *conn);
/* Something was handed on, or a request begins. */
void tp__conn_note_progress(struct tp_conn *conn);
void tp__conn_clear_copy(struct tp_conn *conn);

/* --- conn_clear.c --------------------------------------------------------------- */

/* The connection is ready and in no transaction: what is to be done next. TP_WAIT: a request
 * was sent; TP_DONE: the session is as if it were new; TP_FAILED: it cannot be made so. */
enum tp_step tp__conn_clear_session(struct tp_conn *conn);
/* Rows have come of such a request. */
void tp__conn_take_cleared(struct tp_conn *conn);

/* Lets a cancel that may still be under way end by itself. */
void tp__conn_forget_cancel(struct tp_conn *conn);
/* Asks the server to stop what a connection that is about to be closed has under way. */
void tp__conn_cancel_behind(struct tp_conn *conn);

#endif
