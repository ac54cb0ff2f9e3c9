/* COPY: rows or ready data between the program and the server, in steps.
 *
 *     copy = pool or client:_copy(sql, plan), then
 *         in:   put = copy:_writer(how), then put(what) and copy:_send(last) in turns
 *         out:  copy:_next(list) again and again
 *     and at last copy:_finish(stopped_at) or copy:_fail(message)
 *
 * Only _copy, _send, _next, _finish and _fail wait, and none of these calls a function of
 * the program's but its codecs: lua/tidepool/copy.lua does that, so that such a function may
 * yield on every Lua. It also checks what the program says and makes a plan of it:
 *   into         the direction: true for FROM STDIN
 *   binary_sql, columns, table   as in struct tp_copy
 *   raw          COPY data as it is, instead of rows
 *   timeout_ms   of the whole call
 *   as, nulls, numbers           as in a query
 * Owns: struct tpb_copy owns its buffers and lives in a userdata ("tidepool.copy"), which
 * abandons the operation when it is collected before the end.
 * Errors: those of the operation; TP_ERR_VALIDATION that names the row and the column.
 * Thread: the lua_State's. */
#ifndef TPB_COPY_H
#define TPB_COPY_H

#include "call.h"
#include "compat.h"
#include "db.h"
#include "tidepool.h"

/* The user values: what has to stay for as long as the COPY is under way. */
enum {
    TPB_COPY_CALL = 1,
    TPB_COPY_DB,
    TPB_COPY_OWNER, /* whose lease it is: a guard; without one the database */
    TPB_COPY_SQL,
    TPB_COPY_PLAN,
    TPB_COPY_TEXT, /* ready data that is being sent */
    TPB_COPY_SPAN, /* what was announced, or nil */
    TPB_COPY_VALUES = TPB_COPY_SPAN
};

/* The stack of the methods of a COPY. */
enum { TPB_AT_COPY = 1, TPB_AT_ARGUMENT, TPB_AT_DB, TPB_AT_CALL };

/* What is collected before it goes on. */
enum { TPB_COPY_CHUNK = 64 * 1024 };

struct tpb_copy {
    struct tpb_call *call; /* NULL once it has ended */
    struct tpb_db *db;
    const tp_lease *lease; /* the owner's, or NULL */
    struct tp_copy what;
    struct tpb_decode decode;
    bool raw;
    int attempts;
    enum tp_step step;  /* the operation's last */
    struct tp_buf data; /* to be sent, or to be given out */
    struct tp_buf scratch;
    lua_Integer rows, bytes; /* so far */
    size_t chunk;            /* in: how much is collected */
    const char *text;        /* in: what is left of TPB_COPY_TEXT */
    size_t text_left;
    bool tail_put; /* in: nothing more is collected */
    bool begun;    /* out: the header of the binary format has come */
    bool failed;   /* and then err says why */
    struct tp_error err;
    int64_t count; /* as the server has it */
};

/* Pushes the table of methods of a COPY under way. */
void tpb_copy_open(lua_State *L);

/* The database of the COPY at `index`; NULL: it is none. */
struct tpb_db *tpb_copy_db(lua_State *L, int index);

/* _copy(sql, plan): the arguments are at the stack indices 2 and 3. Returns the userdata once
 * it is the program's turn, or nil and an error. */
int tpb_copy_begin(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease,
                   tp_reactor *reactor);

/* The methods:
 *
 * copy:_writer(how)   a function that collects what it is called with: "list", the rows of a
 *                     list that were not yet; "row", one row; "text", a string. It never
 *                     waits. Returns true when there is something to be sent or a mistake to be
 *                     found by _send; false at the list's end, else nothing.
 * copy:_send(last)    sends what was collected, or a part of a long string. `last`: there will
 *                     be nothing more. Returns whether the server takes more, the rows and the
 *                     bytes so far, and whether there is more to be sent at once.
 * copy:_next(list)    fills the list with rows that have come; or, with ready data, returns a
 *                     string. Returns true or the string, the rows and the bytes so far; at the
 *                     end false instead; nothing when the COPY has failed.
 * copy:_finish(n)     the answer, or nil and an error. `n`: no more rows are wanted, and so
 *                     many were given out.
 * copy:_fail(why)     nil and an error; nothing is stored. `why`: what the program has done.
 * copy:_give_up()     if it has not come to its end, its connection is not used any more. */
int tpb_copy_push_writer(lua_State *L, struct tpb_copy *copy);
int tpb_copy_send(lua_State *L, tp_reactor *reactor);
int tpb_copy_next(lua_State *L, tp_reactor *reactor);

/* --- for copy_in.c and copy_out.c ------------------------------------------- */

/* Makes the stack that of a method, and the operation wait with this reactor. */
struct tpb_copy *tpb_copy_enter(lua_State *L, tp_reactor *reactor);
/* Sets copy->err: "row 17, column \"age\": ..." when a column is given. Returns false. */
bool tpb_copy_wrong(struct tpb_copy *copy, lua_Integer row, const char *column, const char *why);
/* No memory. Returns false. */
bool tpb_copy_starved(struct tpb_copy *copy);

#endif
