/* for row in db:each(sql, ...) do: rows while they come, in constant memory.
 *
 * The rows that one read of the socket brought are made at once and handed out one by one.
 * Leaving the loop early stops the statement: see tp_op_stop. Where Lua does not close what
 * a loop was given (before 5.4) the program calls stream:close(); the stream is the fourth
 * value that `each` returns.
 * Errors: all are raised, since a loop has no place for a second value. Only misuse and a
 * failure before the first row come from the call of `each` itself.
 * Thread: the lua_State's. */
#ifndef TPB_STREAM_H
#define TPB_STREAM_H

#include "compat.h"
#include "db.h"
#include "tidepool.h"

/* Pushes the table of methods of streams. */
void tpb_stream_open(lua_State *L);

/* The database of the stream at `index`; NULL: it is none. */
struct tpb_db *tpb_stream_db(lua_State *L, int index);

/* The call of a method, as for tpb_call_query; `owner` is the stack index of what has to
 * live as long as the stream, besides the database: it, or the guard of a connection. Returns what
 * the method returns. */
int tpb_stream_each(lua_State *L, struct tpb_db *db, int db_index, int owner, int last,
                    const tp_lease *lease, tp_reactor *reactor);

#endif
