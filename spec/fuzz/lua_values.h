/* Lua values in fuzz targets, and types for them. */
#ifndef LUA_VALUES_H
#define LUA_VALUES_H

#include "compat.h"
#include "fuzz.h"

/* What is run in Lua; `ctx` is the caller's. */
typedef void fuzz_body(lua_State *L, struct fuzz_input *in, const void *ctx);

/* Runs it in a new state. A Lua error is nothing to complain about when it is one of
 * memory or of the stack. */
void fuzz_in_lua(fuzz_body *body, struct fuzz_input *in, const void *ctx);

/* One of the built-in types, or of some that the catalog has besides: a domain, an enum, a
 * composite type, one that has one, arrays and ranges of them, hstore and vector. */
const struct tp_type *fuzz_type(struct fuzz_input *in);

/* Whether JSON is in the type: a string that is sent as JSON is taken as its text, so what
 * was read is not what is sent. */
bool fuzz_holds_json(const struct tp_type *type);

/* Pushes what the bytes are as a value of the type. */
bool fuzz_decode(lua_State *L, const struct tp_type *type, bool binary, int flags,
                 const void *bytes, size_t len, struct tp_error *err);

/* The value at the top, encoded and pushed as a string; false when it is refused. */
bool fuzz_encode(lua_State *L, const struct tp_type *type, bool binary);

/* Whether two values are the same, tables by what is in them. */
bool fuzz_equal(lua_State *L, int a, int b);

#endif
