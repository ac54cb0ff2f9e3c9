/* Lua values to the parameters of a statement, by the types the server expects.
 *
 *   nil, tidepool.null   NULL
 *   boolean              t/f to bool, true/false to text and JSON
 *   number               decimal; checked against the range of int2/4/8 and oid
 *   string               text as it is (also for json: it is taken as JSON text);
 *                        raw bytes to bytea
 *   table                JSON to json/jsonb and to a type that is not known;
 *                        an array to an array type (see encode_array.h)
 *   tidepool.json(v)     JSON, whatever v is
 *
 * Owns: struct tpb_params owns its memory, and lives in the caller's userdata,
 * so that a Lua error on the way leaks nothing. Strings are not copied: their
 * data stays in the Lua strings, which the caller keeps on its stack.
 * Errors: TP_ERR_VALIDATION that names the parameter ("parameter $2: a function
 * cannot be sent"), TP_ERR_MEMORY. Nothing is raised but what the Lua allocator
 * raises; no metamethod is called. Thread: the lua_State's. */
#ifndef TPB_ENCODE_H
#define TPB_ENCODE_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "tidepool.h"

/* The protocol counts parameters in 16 bits. */
#define TPB_PARAMS_MAX 65535

struct tpb_params {
    struct tp_buf arena;    /* the text of what is not a Lua string, NUL-terminated */
    struct tp_param *items; /* `count` of them, ready for tp_op_params */
    size_t *offsets;        /* where an item begins in the arena, or SIZE_MAX */
    int count, room;
};

void tpb_params_init(struct tpb_params *params);
void tpb_params_deinit(struct tpb_params *params); /* as after init: may be repeated */
/* Forgets the values; memory is kept for the next ones unless it is a lot. */
void tpb_params_clear(struct tpb_params *params);

/* Encodes the `n` values from stack index `first` on for the types that the
 * operation reports. `out` is cleared first; its items are good until it is
 * used again and as long as the values stay on the Lua stack. */
bool tpb_encode_params(lua_State *L, int first, int n, const tp_op *op, struct tpb_params *out,
                       struct tp_error *err);

/* The same for `expected` parameters whose types type_of tells (0: unknown). */
typedef uint32_t tpb_param_type_fn(const void *ctx, int i);
bool tpb_encode_values(lua_State *L, int first, int n, int expected, tpb_param_type_fn *type_of,
                       const void *ctx, struct tpb_params *out, struct tp_error *err);

/* Appends the text of one value that is not NULL and not a table for a list,
 * as it stands outside of an array. Errors say nothing of the parameter. */
bool tpb_encode_text(lua_State *L, int index, const struct tp_type_info *type, struct tp_buf *out,
                     struct tp_error *err);

/* Sets a validation error "a table cannot be sent as int4", where `what` is "a
 * table". Returns false. */
bool tpb_encode_refuse(const char *what, const struct tp_type_info *type, struct tp_error *err);

/* Puts `where` (ASCII, short) before the message of a validation error; the
 * message is cut at a character's boundary to fit. Returns false. */
bool tpb_encode_blame(const char *where, struct tp_error *err);

#endif
