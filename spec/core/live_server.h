/* Operations on the throwaway server that spec/support/pg.sh has started. */
#ifndef LIVE_SERVER_H
#define LIVE_SERVER_H

#include "fake_pool.h"
#include "live_result.h"

/* Whether there is one; says in the output what is missing when not. */
bool live_is_there(void);
/* What the environment says of it: "SOCKET", "PORT", "USER", "PASSWORD", "DATABASE". */
const char *live_is(const char *what);

/* A pool over the server, by its socket; a NULL-terminated list of "name=value" comes on
 * top. Without "pool.min" and "pool.max" it holds one connection at most. */
tp_pool *live_open(const char *const *settings);
#define LIVE_OPEN(...) live_open((const char *const[]){__VA_ARGS__, NULL})

/* Whether operations are driven by tp_drive or stepped by hand with poll(2). */
extern bool live_by_hand;

/* One question; all members but `sql` may be 0. */
struct ask {
    const char *sql;
    const char *params[8]; /* NULL: SQL NULL */
    int nparams;
    int ms; /* 0: 20 s */
    bool idempotent, simple, stream;
    int64_t wait_us, max_rows, max_bytes;
    struct tp_param given[8]; /* filled in from `params` when they are asked for */
};

/* Begins it. */
void live_begin(tp_op *op, const tp_lease *lease, const struct ask *ask);
/* Moves on whatever was begun, giving the parameters when they are asked for: TP_ROWS,
 * TP_RESULT, TP_DONE or TP_FAILED. */
enum tp_step live_move(tp_op *op, struct ask *ask);
/* The same until TP_DONE or TP_FAILED. What came goes to `results`, which is the caller's to
 * free; after TP_FAILED it is NULL. */
enum tp_step live_collect(tp_op *op, struct ask *ask, struct live_result **results);
/* The same; live_result has what came. Thread: the main one. */
enum tp_step live_finish(tp_op *op, struct ask *ask);
/* Steps without waiting until the operation is on the wire (or has ended). */
enum tp_step live_step_to_wire(tp_op *op);
enum tp_step live_try(tp_op *op, const tp_lease *lease, struct ask ask);
/* The same; the test fails when it fails. */
void live_ask(tp_op *op, const tp_lease *lease, struct ask ask);
#define TRY(op, lease, ...) live_try(op, lease, (struct ask){__VA_ARGS__})
#define DO(op, lease, ...) live_ask(op, lease, (struct ask){__VA_ARGS__})

/* What came of the operation that live_finish has driven last, which has to be this one.
 * Borrowed until the next. */
const struct live_result *live_result(const tp_op *op);
/* The first value of it as a number, or its text. */
long live_number(const tp_op *op);
const char *live_text(const tp_op *op);
/* Asks and returns the number. */
long live_value(tp_op *op, const tp_lease *lease, const char *sql);

tp_lease live_acquire(tp_op *op);
void live_release(tp_lease *lease);
struct tp_stats live_stats(tp_pool *pool);
/* Takes events until one of this type comes; false when the queue is empty before. */
bool live_event(tp_pool *pool, enum tp_event_type type, struct tp_event *out);
/* Ends a backend from another connection and waits until it is gone. */
void live_terminate(int pid);

/* The message of the last error, for a test that fails. */
void live_print_error(const tp_op *op);

#endif
