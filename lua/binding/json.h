/* Lua values to JSON text, exactly: integers to the last digit, floats in the
 * shortest form that reads back.
 *
 *   nil, tidepool.null      null
 *   table with keys 1..n    array; also {} that tidepool.array marked
 *   table with string keys  object; also {} without a mark
 *   tidepool.json(v)        v
 *
 * Owns: nothing; the text is appended to the caller's buffer.
 * Errors: TP_ERR_VALIDATION with the path of what cannot be written
 * ("$.items[3].callback: a function cannot be written as JSON"), TP_ERR_MEMORY.
 * The buffer may then end in a part of the text. Calls no metamethod; raises
 * nothing but what the Lua allocator raises. Thread: the lua_State's. */
#ifndef TPB_JSON_H
#define TPB_JSON_H

#include <stdbool.h>

#include "buf.h"
#include "compat.h"

/* Tables within tables; a cyclic value is found by it. */
#define TPB_JSON_DEPTH 128

/* PostgreSQL takes no value of 1 GB (MaxAllocSize). The limit also ends a value
 * that is small in memory but huge when written out, because it is shared. */
#define TPB_VALUE_MAX ((size_t)0x3fffffff)

bool tpb_json_encode(lua_State *L, int index, struct tp_buf *out, struct tp_error *err);

#endif
