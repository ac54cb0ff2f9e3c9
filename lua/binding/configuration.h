/* The configuration of a database, from what Lua says.
 *
 * Owns: nothing; the configuration is in a userdata that frees it, unless whoever takes it puts
 * NULL in its place. Thread: the lua_State's. */
#ifndef TPB_CONFIGURATION_H
#define TPB_CONFIGURATION_H

#include "compat.h"
#include "tidepool.h"

/* Index 1: a URL or nil; index 2: {name = text}; index 3: whether the program makes passwords.
 * Pushes the configuration, resolved; NULL: `err` says what is wrong. Misuse raises. */
tp_config **tpb_config_push(lua_State *L, struct tp_error *err);

#endif
