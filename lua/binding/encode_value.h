/* One Lua value to its text or binary form, for the files encode*.c.
 *
 * Owns: nothing; what is made is appended to the caller's buffer. Errors: as in encode.h;
 * after a failure the buffer may end in a part of the value and the Lua stack may hold
 * more than before, for the caller to cut off. Tables are read without metamethods; only
 * a codec of the program's is called. Thread: the lua_State's. */
#ifndef TPB_ENCODE_VALUE_H
#define TPB_ENCODE_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "compat.h"
#include "tidepool.h"

struct tpb_encoder {
    lua_State *L;
    int codecs; /* stack index of {type name = codec}, or 0 */
    struct tp_buf *out;
    struct tp_error *err;
    size_t start; /* where the whole value begins in the buffer */
    bool no_form; /* it failed only because the value has no binary form */
};

/* Any value that is not NULL; `index` is absolute. */
bool tpb_put_text(struct tpb_encoder *e, int index, const struct tp_type *type);
bool tpb_put_binary(struct tpb_encoder *e, int index, const struct tp_type *type);

/* Tables of types that take them, in either form. See encode_array.h for lists. */
bool tpb_put_composite(struct tpb_encoder *e, int index, const struct tp_type *type, bool binary);
bool tpb_put_hstore(struct tpb_encoder *e, int index, bool binary);
bool tpb_put_vector(struct tpb_encoder *e, int index, bool binary);

/* A number as what the type takes, or an error. */
bool tpb_take_integer(struct tpb_encoder *e, int index, const struct tp_type *type, int64_t *out);
bool tpb_take_float(struct tpb_encoder *e, int index, const struct tp_type *type, double *out);
/* Whether an integer is in the range of the type. */
bool tpb_integer_fits(const struct tp_type *type, int64_t value);

/* Whether text can be sent: libpq would cut it at a NUL without a word, and the server
 * ends a transaction over bad UTF-8. Sets the error. */
bool tpb_check_string(const char *text, size_t len, struct tp_error *err);
/* Whether the program has an `encode` for the type; pushes it when it has. */
bool tpb_push_codec(struct tpb_encoder *e, const struct tp_type *type);

/* Room for `more` bytes, without a call as long as there is some. */
static inline bool tpb_has_room(struct tp_buf *out, size_t more)
{
    return out->room - out->len >= more || tp__buf_reserve(out, more);
}

/* Before and behind a part of a binary form that has its length before it. */
size_t tpb_begin_part(struct tp_buf *out);
void tpb_end_part(struct tp_buf *out, size_t part);
void tpb_put_int32(struct tp_buf *out, int32_t value);
void tpb_put_float4(struct tp_buf *out, double value);
void tpb_put_decimal(struct tp_buf *out, int64_t value);
void tpb_put_digits(struct tp_buf *out, double value);
/* Quotes the text from `start` on, as elements, fields and pairs are. */
void tpb_quote_tail(struct tp_buf *out, size_t start);

/* Set a validation error; return false. "a table cannot be sent as int4" */
bool tpb_refuse(struct tpb_encoder *e, const char *what, const struct tp_type *type);
bool tpb_refuse_number(struct tpb_encoder *e, int index, const char *why,
                       const struct tp_type *type);
/* "a string cannot be sent in binary form as timestamptz" */
bool tpb_no_form(struct tpb_encoder *e, int index, const struct tp_type *type);
bool tpb_wrong(struct tpb_encoder *e, const char *fmt, ...) TP_PRINTF(2, 3);
bool tpb_short_of_memory(struct tpb_encoder *e);
/* Puts `where` (short, valid UTF-8) before the message of a validation error, which is cut
 * at a character's boundary to fit. */
bool tpb_blame(struct tpb_encoder *e, const char *where);
/* For every part of a container: false (and the error) when memory or Lua's stack is short
 * or the value has grown too large. */
bool tpb_can_go_on(struct tpb_encoder *e);

#endif
