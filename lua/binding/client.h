/* A leased connection in Lua ("tidepool.connection").
 *
 * Two userdata make it. The client is what the program holds; it is made anew for every
 * acquire and has no finalizer, which keeps it cheap. It refers to a guard
 * ("tidepool.guard"), which holds the lease; guards are used again and again. When a
 * program loses a client, nothing refers to its guard any more, and the guard's
 * finalizer gives the connection up. A client knows the number of the guard's use that
 * it was made for, so that it is void after release.
 * Owns: a guard owns its lease and a reference to the pool. Thread: the lua_State's. */
#ifndef TPB_CLIENT_H
#define TPB_CLIENT_H

#include "compat.h"
#include "db.h"

#define TPB_CLIENT "tidepool.connection"

/* Pushes the method table of connections. */
void tpb_client_open(lua_State *L);
/* Adds db:acquire(timeout_ms), which returns a connection or nil and an error, to the table
 * of methods on top of the stack. */
void tpb_client_set_acquire(lua_State *L);
/* The database of the connection at `index`; NULL: it is none. */
struct tpb_db *tpb_client_db(lua_State *L, int index);
/* db:release(connection). */
int tpb_client_release_to(lua_State *L);
/* What the connection at `index` was lent; NULL: it is not any more. */
const tp_lease *tpb_client_lease(lua_State *L, int index);
/* For all that is done with it from now on. Returns what it was before. */
int64_t tpb_client_set_deadline(lua_State *L, int index, int64_t deadline);
/* Whether it was out when the process was forked: it is the parent's. */
bool tpb_client_is_inherited(lua_State *L, int index);
/* What stands for its loan, whether it is out or not; see tpb_start. */
const void *tpb_client_key(lua_State *L, int index);
/* Pushes the database of the connection at index 1 and returns where it is. */
int tpb_client_push_db(lua_State *L);

/* --- client_block.c: for the blocks of lua/tidepool that run on a connection -------- */

/* connection:_xact(): "ID EPOCH" of its transaction, or nil; whether it has to be asked for; and
 * the database. */
int tpb_client_xact(lua_State *L);
/* connection:_until(ms): what core.now() is at the deadline of all that is done with it, or nil for
 * none. Returns what it was before. */
int tpb_client_until(lua_State *L);
/* connection:_mark(comment or nil, application_name or nil): of all that is done with it; both are
 * borrowed. Returns its key. */
int tpb_client_mark(lua_State *L);
int tpb_client_is_released(lua_State *L);
/* connection:transaction_state(): "idle", "active", "open", "failed" or "unknown"; in a child of
 * fork "inherited". */
int tpb_client_transaction_state(lua_State *L);
int tpb_client_tostring(lua_State *L);

#endif
