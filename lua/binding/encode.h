/* Lua values to the parameters of a statement, by the types the server expects: the mirror
 * of decode.h. What comes of a value of some type can be sent as one.
 *
 *   nil, tidepool.null   NULL
 *   boolean              to bool, text and JSON
 *   number               to all scalar types; checked against the range of int2/4/8, oid
 *                        and float4
 *   string               text as the server reads it, to any type (also to json: it is
 *                        taken as JSON text); raw bytes to bytea
 *   table                JSON to json/jsonb and to a type that is not known; to arrays (see
 *                        encode_array.h), composite types, hstore and vector (see
 *                        encode_composite.c)
 *   tidepool.json(v)     JSON, whatever v is
 *   any value            of a type with a codec of the program's: what that makes of it
 *
 * The binary form goes where it says the same and is cheaper: numbers, booleans, bytes, and
 * tables of what has one. A table with a part that has none goes as text, and so does what
 * depends on the session's settings.
 *
 * Owns: struct tpb_params owns its memory, and lives in the caller's userdata,
 * so that a Lua error on the way leaks nothing. Strings are not copied: their
 * data stays in the Lua strings, which the caller keeps on its stack.
 * Errors: TP_ERR_VALIDATION that names the parameter ("parameter $2: a function
 * cannot be sent"), TP_ERR_MEMORY. Nothing is raised but what the Lua allocator
 * raises; no metamethod is called. Thread: the lua_State's. */
#ifndef TPB_ENCODE_H
#define TPB_ENCODE_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "compat.h"
#include "tidepool.h"

/* The protocol counts parameters in 16 bits. */
#define TPB_PARAMS_MAX 65535

struct tpb_params {
    struct tp_buf arena;    /* what is not a Lua string; a NUL is behind each value */
    struct tp_param *items; /* `count` of them, ready for tp_op_params */
    size_t *offsets;        /* where an item begins in the arena, or SIZE_MAX */
    int count, room;
};

void tpb_params_init(struct tpb_params *params);
void tpb_params_deinit(struct tpb_params *params); /* as after init: may be repeated */
/* Forgets the values; memory is kept for the next ones unless it is a lot. */
void tpb_params_clear(struct tpb_params *params);

/* Encodes the `n` values from stack index `first` on for the types that the
 * operation reports. `codecs` is the stack index of {type name = codec}, or 0.
 * `out` is cleared first; its items are good until it is used again and as long
 * as the values stay on the Lua stack. */
bool tpb_encode_params(lua_State *L, int first, int n, const tp_op *op, int codecs,
                       struct tpb_params *out, struct tp_error *err);

/* The same for `expected` parameters whose types type_of tells. */
typedef const struct tp_type *tpb_param_type_fn(const void *ctx, int i);
bool tpb_encode_values(lua_State *L, int first, int n, int expected, tpb_param_type_fn *type_of,
                       const void *ctx, int codecs, struct tpb_params *out, struct tp_error *err);

/* Append the text or the binary form (without a length) of one value that is not NULL, as
 * COPY has it before anything is escaped. In binary form strings are digits for integers
 * and otherwise what the codec of the core's understands, under any session settings.
 * Errors say nothing of the parameter, but that a value has no binary form ("a string cannot
 * be sent in binary form as money"); then the buffer may end in a part of the value. */
bool tpb_encode_text(lua_State *L, int index, const struct tp_type *type, int codecs,
                     struct tp_buf *out, struct tp_error *err);
bool tpb_encode_binary(lua_State *L, int index, const struct tp_type *type, int codecs,
                       struct tp_buf *out, struct tp_error *err);

#endif
