/* Results to Lua values.
 *
 *   bool                   boolean
 *   int2, int4, int8, oid  integer, exact
 *   float4, float8         float, always (5 is 5.0), also NaN and the infinities
 *   numeric                string; with `numeric_as_number` an integer when it is
 *                          written without a point and fits, else a float
 *   bytea                  string of the raw bytes
 *   json, jsonb            the value (see json_decode.h)
 *   arrays of these        list of values, nested by dimension; a NULL in it is
 *                          tidepool.null
 *   everything else        string, as the server writes it
 *   NULL                   nil; with `null_sentinel` tidepool.null
 *
 * Owns: nothing. Every function borrows the result for the call; buffers
 * belong to Lua, so that a Lua error on the way leaks nothing.
 * Returns: true with one value pushed, or false with nothing pushed and the
 * error filled in.
 * Errors: TP_ERR_DATABASE for text that no server writes and for JSON that is
 * nested too deeply, with err->column. Nothing is raised but what the Lua
 * allocator and luaL_checkstack raise. Thread: the lua_State's. */
#ifndef TPB_DECODE_H
#define TPB_DECODE_H

#include <lua.h>
#include <stdbool.h>

#include "tidepool.h"

/* The options of one call. */
struct tpb_decode {
    bool arrays;            /* rows are lists by position, not tables by name */
    bool null_sentinel;     /* NULL is tidepool.null, not nil */
    bool numeric_as_number; /* numeric is a number, not a string */
};

/* The list of all rows, with the fields count, command and columns = list of
 * {name=, type=, oid=}; `type` is "" for a type that is not built in. Of
 * columns with the same name a row has the last one. */
bool tpb_push_result(lua_State *L, const tp_result *result, const struct tpb_decode *how,
                     struct tp_error *err);

/* One row, or one value; `row` and `column` must exist. */
bool tpb_push_row(lua_State *L, const tp_result *result, size_t row, const struct tpb_decode *how,
                  struct tp_error *err);
bool tpb_push_value(lua_State *L, const tp_result *result, size_t row, size_t column,
                    const struct tpb_decode *how, struct tp_error *err);

/* {command = "INSERT", count = 3}. Pushes always. */
void tpb_push_command(lua_State *L, const tp_result *result);

#endif
