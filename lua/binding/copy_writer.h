/* Rows as COPY data, value by value, in the text or the binary format.
 *
 *     tpb_copy_begin_row, then tpb_copy_put for each column in turn, then tpb_copy_end_row
 *
 * What is usual for a column's type is written where it belongs at once; anything else goes
 * the way of a query's parameters.
 * Owns: nothing; what it writes is copy->data.
 * Errors: copy->failed is set, and copy->err names the row and the column.
 * Thread: the lua_State's. Source: PostgreSQL manual, COPY, "File Formats". */
#ifndef TPB_COPY_WRITER_H
#define TPB_COPY_WRITER_H

#include "copy.h"

/* Values that are written without a detour. */
enum tpb_usual {
    TPB_UNUSUAL,
    TPB_USUAL_INTEGER,
    TPB_USUAL_FLOAT,
    TPB_USUAL_BOOLEAN,
    TPB_USUAL_TEXT
};

struct tpb_copy_writer {
    lua_State *L;
    struct tpb_copy *copy;
    struct tp_buf *out;
    char *to; /* in out, while a row is written; there is room for the rest of its small values */
    size_t row_room;
    const struct tp_columns *columns;
    bool binary;
    int codecs;                  /* stack index, or 0 */
    const enum tpb_usual *usual; /* of each column; the caller keeps it alive */
};

/* Pushes what has to stay for as long as it is used. */
void tpb_copy_open_writer(lua_State *L, struct tpb_copy *copy, int codecs,
                          struct tpb_copy_writer *w);

bool tpb_copy_begin_row(struct tpb_copy_writer *w);
/* The value at the stack index, which has this Lua type, for column c (from 0). */
bool tpb_copy_put(struct tpb_copy_writer *w, int c, int index, int type);
void tpb_copy_end_row(struct tpb_copy_writer *w);

/* What stands before the first row and behind the last. */
void tpb_copy_put_head(struct tpb_copy_writer *w);
void tpb_copy_put_tail(struct tpb_copy *copy);

#endif
