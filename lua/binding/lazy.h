/* A result that decodes a cell when it is read ("tidepool.lazy").
 *
 *     #result, result[i].name, result.count, result.command, result.columns
 *
 * The rows stay as they came from the server, in one block; result[i] is an object that
 * keeps the result alive ("tidepool.lazy_row"). Of columns with the same name the last one
 * counts. A value that cannot be read raises the error when it is read.
 * Owns: the block, the columns' names and how each is decoded.
 * Errors: TP_ERR_MEMORY. Thread: the lua_State's. */
#ifndef TPB_LAZY_H
#define TPB_LAZY_H

#include "decode.h"

/* Makes the metatables. */
void tpb_lazy_open(lua_State *L);
/* Pushes an empty result. Types are borrowed from the pool, so the database at stack index
 * `db` is kept alive. */
void tpb_lazy_new(lua_State *L, const struct tp_columns *columns, bool binary,
                  const struct tpb_decode *how, int codecs, int db);
bool tpb_lazy_add(lua_State *L, int index, const struct tp_row *row, struct tp_error *err);
/* Pushes the result, complete. */
void tpb_lazy_end(lua_State *L, int index, const char *command, int64_t count);

#endif
