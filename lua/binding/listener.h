/* Listeners in Lua ("tidepool.listener"), which hear of NOTIFY.
 *
 * Made by db:_listen, which returns when the server listens; listener:next waits for one
 * notification or gap. In nginx a listener is its request's or timer's, and closed with it.
 * Owns: the core's listener; its user value is the database. Thread: the lua_State's. */
#ifndef TPB_LISTENER_H
#define TPB_LISTENER_H

#include "compat.h"
#include "db.h"

/* Pushes the table of methods of listeners. */
void tpb_listener_open(lua_State *L);
/* Adds db:_listen(channels, limit, overflow, timeout_ms) to the methods on top of the stack. */
void tpb_listener_set_listen(lua_State *L);
/* The database of the listener at `index`; NULL: it is none. */
struct tpb_db *tpb_listener_db(lua_State *L, int index);

#endif
