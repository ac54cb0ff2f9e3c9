/* COPY: rows from a list or an iterator to a table, and from a table or a query to a
 * function, as Lua values or as ready COPY data.
 *
 * lua/tidepool/copy.lua checks what the program says and makes a plan of it:
 *   binary_sql, columns, table   as in struct tp_copy
 *   raw          COPY data as it is, instead of rows
 *   timeout_ms   of the whole call
 *   as, nulls, numbers           as in a query
 *   progress     function(rows, bytes), about every 64 kB and at the end
 *
 * The program's functions run under one pcall: whatever they raise, the COPY is ended first,
 * and then it is raised again.
 * Owns: struct tpb_copy owns its buffers and lives in a userdata ("tidepool.copy").
 * Errors: those of the operation; TP_ERR_VALIDATION that names the row and the column.
 * Thread: the lua_State's. */
#ifndef TPB_COPY_H
#define TPB_COPY_H

#include "call.h"
#include "compat.h"
#include "db.h"
#include "tidepool.h"

/* The stack of the two bodies. */
enum { TPB_COPY_SELF = 1, TPB_COPY_DB, TPB_COPY_END, TPB_COPY_PROGRESS, TPB_COPY_CODECS };

/* What is collected before it goes on. */
enum { TPB_COPY_CHUNK = 64 * 1024 };

struct tpb_copy {
    struct tpb_call *call; /* NULL once it has ended */
    struct tp_copy what;
    struct tpb_decode decode;
    bool raw;
    enum tp_step step;  /* the operation's last */
    struct tp_buf data; /* to be sent, or to be given out */
    struct tp_buf scratch;
    lua_Integer rows, bytes, told; /* so far; told: bytes at the last call of progress */
    bool over;                     /* the source has ended, or the sink has had enough */
    bool failed;                   /* and then err says why */
    bool given_up; /* what was raised is to be returned: the program's function has failed */
    struct tp_error err;
    int64_t count; /* as the server has it */
};

void tpb_copy_open(lua_State *L);

/* The methods _copy_in(sql, plan, source) and _copy_out(sql, plan, sink); the arguments are
 * at the stack indices 2 to 4. */
int tpb_copy_in(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease);
int tpb_copy_out(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease);

/* --- for copy_in.c and copy_out.c ------------------------------------------- */

/* Gives what has come of the program's data or values, until the operation has other news
 * than TP_SEND or TP_DATA, or copy->over or copy->failed is set. Functions for lua_pcall. */
int tpb_copy_send(lua_State *L);
int tpb_copy_receive(lua_State *L);

/* The codecs' stack index, or 0. */
int tpb_copy_codecs(lua_State *L);
/* Calls the program's progress function if enough has happened since the last time. */
void tpb_copy_tell(lua_State *L, struct tpb_copy *copy, bool last);
/* Sets copy->err: "row 17, column \"age\": ..." when a column is given. Returns false. */
bool tpb_copy_wrong(struct tpb_copy *copy, lua_Integer row, const char *column, const char *why);
/* No memory. Returns false. */
bool tpb_copy_starved(struct tpb_copy *copy);
/* The program's function has returned nil and the error on top of the stack, which becomes
 * what copy_in or copy_out returns. Does not return. */
void tpb_copy_give_up(lua_State *L, struct tpb_copy *copy);

#endif
