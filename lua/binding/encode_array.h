/* Lua lists to PostgreSQL's arrays (manual, section 8.15.6; array_recv).
 *
 * Nested lists are dimensions; all lists of one depth have the same length.
 * tidepool.null is a NULL element. A list has the keys 1..n and nothing else,
 * except that a field `n` may say the length, as table.pack writes it.
 *
 * Where the elements' type takes tables, a table is
 *   json, jsonb, an array    an element: such an array has one dimension
 *   a composite type         an element, unless it is a list whose first value is a table
 *                            or that has only NULLs
 *   vector                   an element, unless it is a list whose first value is no number
 *   hstore, a codec's type   an element when it is empty, has a metatable or string keys
 *
 * Owns: nothing; the value is appended to the encoder's buffer.
 * Errors: TP_ERR_VALIDATION that names the element ("element [2][1]: 70000 is
 * out of range for int2"), TP_ERR_MEMORY. Thread: the lua_State's. */
#ifndef TPB_ENCODE_ARRAY_H
#define TPB_ENCODE_ARRAY_H

#include "encode_value.h"

/* PostgreSQL's MAXDIM. */
#define TPB_ARRAY_DIMENSIONS 6

bool tpb_put_array(struct tpb_encoder *e, int index, const struct tp_type *type, bool binary);

/* The length of a list: its keys have to be 1..n. `what` ("array") is for the error. */
bool tpb_list_length(struct tpb_encoder *e, int index, const char *what, lua_Integer *out);

#endif
