/* JSON text to Lua values, by lua-cjson.
 *
 * The package is required at the first JSON value of a Lua state; its decode
 * function is then kept in the registry. It is an instance of our own
 * (cjson.new), which no setting of the application changes.
 *
 * Owns: one entry of the Lua registry. Errors: false and TP_ERR_VALIDATION
 * when the package is missing, TP_ERR_DATABASE for text that it refuses.
 * Nothing is raised but what the Lua allocator raises. Thread: the
 * lua_State's. */
#ifndef TPB_JSON_DECODE_H
#define TPB_JSON_DECODE_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "tidepool.h"

/* Pushes the decode function; on failure nothing. */
bool tpb_json_load(lua_State *L, struct tp_error *err);

/* Pushes the value of the text with the function at stack index `decode`; on
 * failure nothing. Integral numbers up to 2^53 are Lua integers, null is
 * tidepool.null. */
bool tpb_json_decode(lua_State *L, int decode, const char *text, size_t len, struct tp_error *err);

#endif
