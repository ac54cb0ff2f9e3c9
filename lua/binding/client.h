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
#define TPB_GUARD "tidepool.guard"

/* Pushes the method table of connections. */
void tpb_client_open(lua_State *L);
/* Pushes db:acquire(timeout_ms): a connection, or nil and an error. */
void tpb_client_push_acquire(lua_State *L);
/* db:release(connection). */
int tpb_client_release_to(lua_State *L);

#endif
