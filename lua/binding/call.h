/* One call from Lua: its options, its operation, its result.
 *
 * An operation lives in a userdata ("tidepool.op") that is made before anything is
 * begun, so that a Lua error at any point abandons it when it is collected. The database
 * keeps the operation of its last call for the next one; a call that finds it busy (it was
 * made from within another, or a Lua error cut that one off) makes its own and keeps that.
 * Thread: the lua_State's. */
#ifndef TPB_CALL_H
#define TPB_CALL_H

#include <lua.h>

#include "db.h"
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

void tpb_call_open(lua_State *L);

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
