/* Where in the program a call was made.
 *
 * Owns: nothing. Thread: the lua_State's. */
#ifndef TPB_PLACE_H
#define TPB_PLACE_H

#include <stdbool.h>

#include "compat.h"

/* Finds the Lua function of the program's that called the running C function, be it through
 * modules of tidepool's: short_src and currentline. False: there is none. */
bool tpb_find_place(lua_State *L, lua_Debug *at);
/* core.place(): "file:line" of the same, or nothing. */
int tpb_place(lua_State *L);

/* Raises an error about how the program has called something, with the place of that call: under an
 * event loop and in Lua 5.1 luaL_error would name a line of tidepool's. Formats as lua_pushfstring.
 */
int tpb_misuse(lua_State *L, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
