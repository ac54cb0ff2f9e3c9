/* One call from Lua: its options, its operation, its result.
 *
 * An operation lives in a userdata ("tidepool.op") that is made before anything is
 * begun, so that a Lua error at any point abandons it when it is collected. The database
 * keeps the operation of its last call for the next one, by a weak reference: nothing but
 * the call itself holds one that is busy. A call from within another makes its own.
 * Thread: the lua_State's. */
#ifndef TPB_CALL_H
#define TPB_CALL_H

#include "compat.h"
#include "db.h"
#include "encode.h"
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

struct tpb_call {
    tp_op *op;
    tp_reactor *reactor;
    bool busy;
    int codecs; /* stack index of the program's codecs during a call that has parameters, or 0 */
    struct tpb_params params;
    struct tp_buf scratch; /* for what is decoded */
};

/* The options of one call, from {sql, timeout_ms = ...}. */
struct tpb_call_options {
    struct tp_query query;
    struct tpb_decode decode;
};

void tpb_call_open(lua_State *L);

/* Pushes an operation of the database that is not busy, and makes it so. */
struct tpb_call *tpb_call_push(lua_State *L, struct tpb_db *db, int db_index);
/* The call has ended: the operation lets go of what it holds. */
void tpb_call_end(struct tpb_call *call);

/* Takes SQL text or {sql, options...} at stack index 2, which becomes the text; parameters
 * are behind it up to index `last`. Misuse raises. */
void tpb_call_check(lua_State *L, const struct tpb_db *db, int last, enum tpb_answer answer,
                    struct tpb_call_options *out);
/* What can be known to be wrong before anything is sent. */
bool tpb_call_check_query(const struct tp_query *query, struct tp_error *err);
/* Tells on_query of a query that has ended; the SQL text is at stack index `sql`. */
void tpb_call_tell(lua_State *L, struct tpb_db *db, int db_index, int sql,
                   const struct tp_query *query, int64_t elapsed_us, const struct tp_error *err);
/* This thread holds every connection itself, so waiting would be in vain; but some may be
 * held by objects that the program has lost. True when it is worth another try. */
bool tpb_call_find_lost(lua_State *L, const struct tpb_call *call);
/* Drives the operation until rows, a result, its end or its failure, and gives it its
 * parameters (the values from stack index 3 on) on the way. After TP_FAILED err is set. */
enum tp_step tpb_call_step(lua_State *L, struct tpb_call *call, int nparams, struct tp_error *err);

int tpb_call_wait(lua_State *L, struct tpb_call *call,
                  int (*go_on)(lua_State *L, struct tpb_call *call));

/* The call of a method: SQL text or {sql, options...} at stack index 2, parameters
 * after it up to index `last`; `db_index` is where the database is. Returns what the
 * Lua function returns: the answer, or nil and an error. */
int tpb_call_query(lua_State *L, struct tpb_db *db, int db_index, int last, const tp_lease *lease,
                   enum tpb_answer answer);

/* One round trip: true, or false and an error. `timeout` is the stack index of the
 * milliseconds (absent: the acquire timeout). */
int tpb_call_ping(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease,
                  int timeout);

/* Waits for a connection. False: an error is filled in. */
bool tpb_call_acquire(lua_State *L, struct tpb_db *db, int db_index, int64_t deadline,
                      tp_lease *out, struct tp_error *err);

/* The deadline that the value at `index` (milliseconds, or nothing) means. Raises an
 * error for what is no number. */
int64_t tpb_check_deadline(lua_State *L, int index, int64_t fallback_ms);

#endif
