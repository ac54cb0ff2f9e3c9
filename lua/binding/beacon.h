/* The beacon in Lua ("tidepool.beacon"): what tells nginx that a descriptor is readable.
 *
 * core.beacon() makes one, or returns nil and an error. beacon:address() is the path of a unix
 * socket to connect to, beacon:arm(fd) asks for one byte on that connection once the descriptor
 * is readable, beacon:close() ends the thread, as the collector does.
 * Owns: the beacon. Thread: the lua_State's. */
#ifndef TPB_BEACON_H
#define TPB_BEACON_H

#include "compat.h"

#define TPB_BEACON "tidepool.beacon"

/* Sets the metatable of beacons up. */
void tpb_beacon_open(lua_State *L);
/* core.beacon() */
int tpb_beacon_new(lua_State *L);

#endif
