/* struct tp_error as the table that Lua programs see.
 *
 * Fields: kind, message, retryable and attempts always; code, name, severity, detail,
 * hint, position, schema, table, column, constraint, where and query when known.
 * tostring gives one line. Owns: a metatable in the Lua registry, "tidepool.error".
 * Thread: the lua_State's. */
#ifndef TPB_ERRORS_H
#define TPB_ERRORS_H

#include "compat.h"
#include "tidepool.h"

#define TPB_ERROR "tidepool.error"

/* Sets the metatable of errors up and pushes it. */
void tpb_errors_open(lua_State *L);
/* Pushes the table of an error. */
void tpb_push_error(lua_State *L, const struct tp_error *err);
/* Pushes nil and the table; returns 2, for `return tpb_fail(L, &err)`. */
int tpb_fail(lua_State *L, const struct tp_error *err);

#endif
