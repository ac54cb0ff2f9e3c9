/* Values of Lua that mean something to PostgreSQL: tidepool.null, the marks
 * tidepool.json(v) and tidepool.array(t), and what keys a table has.
 *
 * Owns: two metatables in the Lua registry. Errors: only misuse of the two
 * constructors raises. Thread: the lua_State's. */
#ifndef TPB_VALUES_H
#define TPB_VALUES_H

#include <stdbool.h>

#include "compat.h"

/* Names of the metatables in the registry, and their __name. */
#define TPB_JSON "tidepool.json"
#define TPB_ARRAY "tidepool.array"

/* Sets the fields null, json, array and array_mt of the table at `index`. */
void tpb_register_values(lua_State *L, int index);

/* tidepool.null is lightuserdata(NULL), as cjson.null and ngx.null are. */
void tpb_push_null(lua_State *L);
bool tpb_is_null(lua_State *L, int index); /* nil does not count */

/* Whether the value is what tidepool.json returned; its content is field 1. */
bool tpb_is_json(lua_State *L, int index);
/* Whether the value is a table that tidepool.array marked. */
bool tpb_is_array(lua_State *L, int index);

/* The keys of a table, counted. */
struct tpb_shape {
    lua_Integer count;    /* integer keys */
    lua_Integer min, max; /* the least and the greatest of them; 0 without any */
    lua_Integer names;    /* string keys */
    int other;            /* the Lua type of some other key, or LUA_TNONE */
};
void tpb_table_shape(lua_State *L, int index, struct tpb_shape *out);

/* The first index from 1 on with nothing behind it. */
lua_Integer tpb_table_hole(lua_State *L, int index);

#endif
