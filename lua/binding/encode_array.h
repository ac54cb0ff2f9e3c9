/* Lua lists to the text form of PostgreSQL arrays (manual, section 8.15.6).
 *
 * Nested tables are dimensions; all lists of one depth have the same length.
 * tidepool.null is a NULL element. A list has the keys 1..n and nothing else,
 * except that a field `n` may say the length, as table.pack writes it. The
 * elements of a json or jsonb array are JSON values: such an array has one
 * dimension, and a table in it is a document.
 *
 * Owns: nothing; the text is appended to the caller's buffer.
 * Errors: TP_ERR_VALIDATION that names the element ("element [2][1]: 70000 is
 * out of range for int2"), TP_ERR_MEMORY. Thread: the lua_State's. */
#ifndef TPB_ENCODE_ARRAY_H
#define TPB_ENCODE_ARRAY_H

#include <lua.h>
#include <stdbool.h>

#include "buf.h"
#include "tidepool.h"

/* PostgreSQL's MAXDIM. */
#define TPB_ARRAY_DIMENSIONS 6

bool tpb_encode_array(lua_State *L, int index, const struct tp_type_info *type, struct tp_buf *out,
                      struct tp_error *err);

#endif
