/* Executions of prepared statements, spoken on the socket itself.
 *
 * libpq connects, authenticates, prepares, describes and cancels; it copies scripts and
 * ends connections. What is left is the exchange that a program makes a million times, and
 * there libpq has the server describe the columns again with every answer and makes two
 * PGresults of it: about 4,000 instructions and ten blocks of memory for one row, and for
 * 100,000 rows twice the time that it takes to read them (README, "what a query costs").
 * So this one exchange is made here, between two moments in which libpq is idle:
 *
 *     sent       Bind Execute Sync
 *     received   BindComplete DataRow* CommandComplete ReadyForQuery
 *
 * or, as a pipeline, many times Bind and Execute and then one Sync.
 * libpq does not see any of it, and is idle before and after. Only for sockets without TLS
 * or GSS encryption; notices and the like may come at any point.
 * Owns: its buffers, until deinit; they are kept from one exchange to the next unless they
 * have grown. Borrows the socket.
 * Errors: TP_WIRE_LOST; what the server says goes to `on.error`. Thread: the connection's.
 * Source: PostgreSQL manual 55.2.3 and 55.7. */
#ifndef TP_WIRE_H
#define TP_WIRE_H

#include "buf.h"
#include "tidepool.h"

/* What comes beside rows. `body` is borrowed for the call. */
struct tp_wire_events {
    /* N, A or S: a notice, a notification, a parameter's new value. */
    void (*other)(void *ctx, char type, const char *body, size_t len);
    /* The statement failed. */
    void (*error)(void *ctx, const char *body, size_t len);
    void *ctx;
};

enum tp_wire_got {
    TP_WIRE_WAIT,   /* nothing more is there; see tp__wire_unsent */
    TP_WIRE_ROWS,   /* take them with tp__wire_next_row */
    TP_WIRE_RESULT, /* the statement is complete: its tag is there */
    TP_WIRE_DONE,   /* the server is ready for the next; the exchange is over */
    TP_WIRE_LOST    /* the connection is of no use; `why` says why */
};

struct tp_wire {
    bool active;
    int fd;
    int columns;
    size_t open; /* executions that are not complete yet */
    bool failed; /* by one of them: the server skips the rest */
    struct tp_wire_events on;
    struct tp_buf out;
    size_t sent; /* of out */
    unsigned char *in;
    size_t room, len;  /* of in: what was read */
    size_t at;         /* where the next message begins */
    const char *tag;   /* after TP_WIRE_RESULT; borrowed until the next step */
    char transaction;  /* after TP_WIRE_DONE: I, T or E */
    const char *why;   /* after TP_WIRE_LOST; after TP_WIRE_DONE when this exchange was the last */
    uint32_t longest;  /* that a message may be */
    uint32_t too_long; /* after TP_WIRE_LOST: what one was that was longer; else 0 */
    int failure; /* its errno, or that of sending; 0 when the stream ended in an orderly way */
};

/* Begins an exchange. */
void tp__wire_begin(struct tp_wire *wire, int fd, const struct tp_wire_events *on);
/* Adds an execution of the statement `name` with rows in this form; the parameters are
 * copied. False: no memory, and nothing was added. */
bool tp__wire_add(struct tp_wire *wire, const char *name, int nparams,
                  const struct tp_param *params, bool binary) TP_MUST_CHECK;
/* Adds the Sync that ends the exchange, and sends. */
bool tp__wire_sync(struct tp_wire *wire) TP_MUST_CHECK;
/* Sends what can be sent now. A failure to send shows when reading. */
void tp__wire_send(struct tp_wire *wire);
/* How much is waiting to be sent. */
size_t tp__wire_unsent(const struct tp_wire *wire);
/* How many columns the next rows have; 0 also for a statement without any. */
void tp__wire_expect(struct tp_wire *wire, int columns);
/* Moves on; `readable` is what is known of the socket. Rows that were not taken are
 * dropped. */
enum tp_wire_got tp__wire_step(struct tp_wire *wire, bool readable);
/* The next row of those that are there; false when there is none, or when it is malformed:
 * then the next step is TP_WIRE_LOST. Borrowed until the next step. */
bool tp__wire_next_row(struct tp_wire *wire, struct tp_row *row);
void tp__wire_deinit(struct tp_wire *wire);

/* Fills an error from the body of an ErrorResponse or NoticeResponse. */
void tp__wire_error(const char *body, size_t len, struct tp_error *err);

#endif
