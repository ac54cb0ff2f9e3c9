/* JSON text to Lua values, strictly by RFC 8259.
 *
 *   object            table by name; of several members with one name the last
 *   array             list 1..n, always marked as by tidepool.array
 *   string            string; \u escapes become UTF-8, half a surrogate pair U+FFFD
 *   -5, 42            integer, exact, when it fits 64 bits (-0 is 0), else a float
 *   1.0, 1e2          float; infinite when out of range
 *   true, false       boolean
 *   null              tidepool.null
 *
 * Because of the mark an array goes back as an array, also when it is empty or
 * the application has emptied it; pairs, ipairs and # do not notice it. Half a
 * pair is no error because a json column (not jsonb) may hold one, and one such
 * value should not make its row unreadable. Bytes above 0x7f are taken as they
 * are: the server has checked them.
 *
 * Owns: nothing; what it needs while it reads lies on the C stack or belongs to
 * Lua, so that a Lua error on the way leaks nothing.
 * Errors: TP_ERR_DATABASE with the byte, counted from 1, that cannot be right.
 * Nothing is raised but what the Lua allocator and luaL_checkstack raise.
 * Thread: the lua_State's. */
#ifndef TPB_JSON_DECODE_H
#define TPB_JSON_DECODE_H

#include <stdbool.h>
#include <stddef.h>

#include "compat.h"
#include "tidepool.h"

/* Arrays and objects within one another. There is no recursion: this bounds the
 * Lua stack, and what later walks over the value have to stand. */
#define TPB_JSON_DECODE_DEPTH 512

/* Pushes the value of the text, which has a NUL at text[len]; on failure nothing. Integers
 * are pushed by tpb_push_int64. */
bool tpb_json_decode(lua_State *L, const char *text, size_t len, bool int64_as_cdata,
                     struct tp_error *err);

#endif
