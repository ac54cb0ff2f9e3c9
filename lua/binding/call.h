/* One call from Lua: its options, its operation, its result.
 *
 * An operation lives in a userdata ("tidepool.op") that is made before anything is begun, so
 * that a Lua error at any point abandons it when it is collected. The database keeps those
 * that are not busy for the next calls; nothing but the call itself refers to a busy one.
 *
 * A call that has to wait with a reactor goes back to Lua (await.h): its stack frame is kept
 * in a Lua thread of its own and is there again, index by index, when it goes on.
 * Thread: the lua_State's. */
#ifndef TPB_CALL_H
#define TPB_CALL_H

#include "compat.h"
#include "db.h"
#include "encode.h"
#include "owner.h"
#include "rows.h"
#include "tidepool.h"

#define TPB_OP "tidepool.op"

/* What a call gives back. */
enum tpb_answer {
    TPB_ROWS,    /* query: all rows */
    TPB_ONE,     /* one: the first row or nil */
    TPB_VALUE,   /* value: the first column of it or nil */
    TPB_COMMAND, /* exec: {command =, count =} */
    TPB_SCRIPT,  /* script: a list of results */
    TPB_TAG      /* control: the command tag, by the simple protocol */
};

/* The options of one call, from {sql, timeout_ms = ...}. */
struct tpb_call_options {
    struct tp_query query;
    struct tpb_decode decode;
    int tags; /* stack index of the table of tags, or 0 */
};

struct tpb_call;
/* Goes on with a call, on the frame that it had: what its method does after a wait. */
typedef int tpb_go_on(lua_State *L, struct tpb_call *call);

struct tpb_call {
    tp_op *op;
    struct tpb_owned owned; /* with a reactor: the request of nginx that it is made for */
    tp_reactor *reactor;    /* what it waits with; NULL: the thread is blocked. Borrowed of op */
    struct tpb_db *db;
    int db_index, index; /* where the database and the call itself are on the stack */
    bool busy;
    int span;   /* stack index of what tpb_announce has given for it, or 0 */
    int codecs; /* stack index of the program's codecs during a call that has parameters, or 0 */
    struct tpb_params params;
    struct tp_buf scratch; /* for what is decoded */

    lua_State *frame; /* the stack during a wait; the call's user value */
    tpb_go_on *go_on; /* NULL: it does not wait */
    void *state;      /* of a method that has more to remember: something on the stack */

    /* a query */
    struct tpb_call_options options;
    const tp_lease *lease; /* of a guard, which is on the stack; NULL: the pool's */
    enum tpb_answer answer;
    struct tpb_rows rows;
    int list; /* stack index of a script's results */
    lua_Integer results;
    bool unread; /* a value could not be read: err says which */
    struct tp_error err;

    /* tpb_call_run */
    void (*start)(struct tpb_call *call);
    tpb_go_on *done;
    bool ok;
    bool again; /* lost connections were looked for */
};

void tpb_call_open(lua_State *L);

/* Pushes an operation of the database that is not busy, and makes it so. */
struct tpb_call *tpb_call_push(lua_State *L, struct tpb_db *db, int db_index, tp_reactor *reactor);
/* It waits with this reactor from now on, or NULL; the call is on top of the stack. */
void tpb_call_use(lua_State *L, struct tpb_call *call, tp_reactor *reactor);
/* The call has ended: the operation lets go of what it holds and is kept for another. */
void tpb_call_end(lua_State *L, struct tpb_call *call);
/* The same for one that may be in the middle of anything, from a finalizer: it is not kept. */
void tpb_call_give_up(struct tpb_call *call);

/* It has to wait: keeps the stack and returns what the method is to return. */
int tpb_call_wait(lua_State *L, struct tpb_call *call, tpb_go_on *go_on);
/* core.resume: the call is at index 1. */
int tpb_call_resume(lua_State *L);
/* The first value that a method returns when it has to wait, a light userdata. */
void *tpb_waits(void);

/* Takes SQL text or {sql, options...} at stack index 2, which becomes the text; parameters
 * are behind it up to index `last`. Misuse raises. */
void tpb_call_check(lua_State *L, const struct tpb_db *db, int last, enum tpb_answer answer,
                    struct tpb_call_options *out);
/* core.set_tags(fn): what makes a comment of a table of tags. */
int tpb_call_set_tags(lua_State *L);
/* What can be known to be wrong before anything is sent. */
bool tpb_call_check_query(const struct tp_query *query, struct tp_error *err);
/* This thread holds every connection itself, so waiting would be in vain; but some may be
 * held by objects that the program has lost. True when it is worth another try. */
bool tpb_call_find_lost(lua_State *L, const struct tpb_call *call);
/* Moves the operation on until rows, a result, its end or its failure, or, with a reactor,
 * until it has to wait: TP_WAIT. TP_ENCODE is left to the caller. */
enum tp_step tpb_call_move(lua_State *L, struct tpb_call *call);
/* The same, and gives it its parameters (the values from stack index 3 on) on the way. After
 * TP_FAILED err is set. */
enum tp_step tpb_call_step(lua_State *L, struct tpb_call *call, int nparams, struct tp_error *err);

/* The call of a method: SQL text or {sql, options...} at stack index 2, parameters
 * after it up to index `last`; `db_index` is where the database is. Returns what the
 * Lua function returns: the answer, or nil and an error. */
int tpb_call_query(lua_State *L, struct tpb_db *db, int db_index, int last, const tp_lease *lease,
                   enum tpb_answer answer, tp_reactor *reactor);

/* One round trip: true, or false and an error. `timeout` is the stack index of the
 * milliseconds (absent: the acquire timeout). */
int tpb_call_ping(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease, int timeout,
                  tp_reactor *reactor);

/* An operation without rows, from `start` to its end; then `done` returns what the method
 * returns, after a look at call->ok and call->err. */
int tpb_call_run(lua_State *L, struct tpb_call *call, void (*start)(struct tpb_call *call),
                 tpb_go_on *done);
/* The same for a connection, which `done` takes from the operation; `patient`: as
 * tp_op_acquire_patiently. */
int tpb_call_acquire(lua_State *L, struct tpb_call *call, int64_t deadline, bool patient,
                     tpb_go_on *done);

/* The deadline that the value at `index` (milliseconds, or nothing) means. Raises an
 * error for what is no number. */
int64_t tpb_check_deadline(lua_State *L, int index, int64_t fallback_ms);
/* Before what a method was called with is looked at: what `timeout_ms` of a table that is its
 * second or third value says, or `at_most`, whichever is earlier. */
int64_t tpb_call_own_deadline(lua_State *L, int64_t at_most);

#endif
