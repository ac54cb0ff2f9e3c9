/* Values of PostgreSQL to Lua values, from their text or binary form alike.
 *
 *   bool                   boolean
 *   int2, int4, int8, oid  integer, exact (see int64.h for Luas that have none)
 *   float4, float8         float, always (5 is 5.0), also NaN and the infinities
 *   numeric                string; with `numeric_as_number` an integer when it is
 *                          written without a point and fits, else a float
 *   bytea                  string of the raw bytes
 *   json, jsonb            the value (see json_decode.h)
 *   arrays of these        list of values, nested by dimension; a NULL in it is
 *                          tidepool.null
 *   composite types        table by field name; a NULL field as a NULL column
 *   hstore                 table of strings; a NULL in it is tidepool.null
 *   vector                 list of floats
 *   everything else        string, as the server writes it
 *   NULL                   nil; with `null_sentinel` tidepool.null
 *   a type with a codec of the program's (tidepool's define_type): what that makes of
 *   the text
 *
 * Owns: nothing. Every function borrows the bytes for the call; scratch memory is the
 * caller's, or belongs to Lua, so that a Lua error on the way leaks nothing.
 * Returns: true with one value pushed, or false with the error filled in and anything
 * on the stack, for the caller to cut off.
 * Errors: TP_ERR_DATABASE for bytes that no server writes and for JSON that is nested too
 * deeply, with err->column; TP_ERR_VALIDATION when a codec of the program's fails.
 * Nothing is raised but what the Lua allocator and luaL_checkstack raise.
 * Thread: the lua_State's. */
#ifndef TPB_DECODE_H
#define TPB_DECODE_H

#include <stdbool.h>

#include "buf.h"
#include "compat.h"
#include "tidepool.h"

/* In what shape rows come. */
enum tpb_as {
    TPB_AS_ROWS,    /* tables by name */
    TPB_AS_ARRAYS,  /* lists by position */
    TPB_AS_COLUMNS, /* one list for each column */
    TPB_AS_LAZY     /* objects that decode a cell when it is read */
};

/* The options of one call. */
struct tpb_decode {
    enum tpb_as as;
    bool null_sentinel;     /* NULL is tidepool.null, not nil */
    bool numeric_as_number; /* numeric is a number, not a string */
    bool text;              /* every value is a string, as the server writes it */
    bool int64_as_cdata;    /* past 2^53, where numbers are doubles: see int64.h */
};

struct tpb_decoder {
    lua_State *L;
    const struct tpb_decode *how;
    struct tp_error *err;
    struct tp_buf *scratch; /* the caller's, for texts that are made of binary forms */
    const char *column;     /* the name of the one being read */
    int codecs;             /* stack index of {type name = codec}, or 0 */
    const tp_op *op;        /* whose the bytes are; NULL: the caller's */
    tp_pool *pool;          /* where the types come from */
};

/* Pushes a value that is not NULL. */
bool tpb_push_value(struct tpb_decoder *d, const struct tp_type *type, bool binary,
                    const char *bytes, size_t len);
/* Pushes what stands for NULL in a row. */
void tpb_push_absent(const struct tpb_decoder *d);

/* decode_binary.c */
bool tpb_push_binary(struct tpb_decoder *d, const struct tp_type *type, const unsigned char *bytes,
                     size_t len);
/* Sets the error for a value that no server writes. Returns false. */
bool tpb_malformed(struct tpb_decoder *d, const char *what);
/* The same for a value of a composite type that has other fields than when the type was
 * looked up: the pool forgets its types, so that the next statement is described anew. */
bool tpb_type_changed(struct tpb_decoder *d, const struct tp_type *type);
/* Pushes values that both forms have: from the text of a numeric, of JSON. */
bool tpb_push_numeric(struct tpb_decoder *d, const char *text, size_t len);
bool tpb_push_json(struct tpb_decoder *d, const char *text, size_t len);

#endif
