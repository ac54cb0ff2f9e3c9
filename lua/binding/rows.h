/* Results as Lua sees them, built row by row while they come.
 *
 *   as rows      list of tables by name       }
 *   as arrays    list of lists                } with the fields count, command and columns
 *   as columns   one list for each column, by name and by position }
 *   as lazy      see lazy.h
 *
 * Of columns with the same name a row has the last one. `columns` is a list of
 * {name =, type =, oid =}; type is "" for a type of which nothing is known.
 *
 * Owns: nothing but Lua values, which lie on the stack from `base` on while the result is
 * built; scratch memory is the caller's. Errors: as in decode.h; a value that cannot be
 * read is remembered, and the rows behind it are dropped. Thread: the lua_State's. */
#ifndef TPB_ROWS_H
#define TPB_ROWS_H

#include "decode.h"

/* What is wanted of a result. */
enum tpb_want {
    TPB_WANT_ALL,
    TPB_WANT_FIRST, /* the first row, or nil */
    TPB_WANT_VALUE, /* its first column, or nil */
    TPB_WANT_TAG    /* {command =, count =} */
};

struct tpb_rows {
    struct tpb_decoder decoder;
    enum tpb_want want;
    int db;    /* stack index of the database */
    int base;  /* of the stack; `names` and `list` lie above it */
    int names; /* where the columns' names begin */
    int list;  /* where the result is; 0: it has not begun */
    lua_Integer count;
    int attempts; /* of the operation, when the result was begun */
    bool failed;
};

/* Rows are going to be built on top of the stack. `scratch` and `how` are borrowed until
 * the end; `codecs` as in struct tpb_decoder. */
void tpb_rows_init(struct tpb_rows *rows, lua_State *L, enum tpb_want want,
                   const struct tpb_decode *how, struct tp_buf *scratch, int db, int codecs,
                   struct tp_error *err);
/* After TP_ROWS: takes what has come. */
void tpb_rows_take(struct tpb_rows *rows, tp_op *op);
/* After TP_RESULT: leaves the complete result at `base`, as the top of the stack. False
 * (and nothing on the stack) when a value could not be read. */
bool tpb_rows_end(struct tpb_rows *rows, tp_op *op);

/* One row on top of the stack, for a caller that takes them singly: after _begin_single,
 * which pushes the names. */
void tpb_rows_begin_single(struct tpb_rows *rows, tp_op *op);
bool tpb_rows_push_row(struct tpb_rows *rows, const struct tp_columns *columns, bool binary,
                       const struct tp_row *row);

/* Pushes the list of {name =, type =, oid =}. */
void tpb_push_columns(lua_State *L, const struct tp_columns *columns);

#endif
