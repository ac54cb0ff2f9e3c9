#include "stream.h"

#include <string.h>

#include "call.h"
#include "compat.h"
#include "error.h"
#include "errors.h"
#include "op.h"

#define TPB_STREAM "tidepool.stream"

/* The user values: the operation, the database, the client and the SQL text. */
enum { CALL = 1, DATABASE, CLIENT, SQL, USER_VALUES = SQL };

struct stream {
    struct tpb_call *call; /* NULL once it has ended */
    struct tpb_db *db;
    struct tpb_call_options options;
    lua_Integer next, count; /* of the batch */
    bool rows_wait;          /* the operation has rows that were not taken yet */
    bool failed;             /* the row behind the batch could not be read */
    struct tp_error failure; /* then: why */
};

/* ------------------------------------------------------------------- ending */

/* Lets go of the operation, and tells of the query. */
static void end(lua_State *L, struct stream *stream, int self, const struct tp_error *err)
{
    struct tpb_call *call = stream->call;
    int64_t elapsed = tp_op_elapsed(call->op);

    stream->call = NULL;
    tpb_call_end(call);
    lua_getiuservalue(L, self, DATABASE);
    int db_index = lua_gettop(L);
    lua_getiuservalue(L, self, SQL);
    tpb_call_tell(L, stream->db, db_index, db_index + 1, &stream->options.query, elapsed, err);
    tpb_db_dispatch(L, stream->db, db_index);
}

static int raise(lua_State *L, const struct tp_error *err)
{
    tpb_push_error(L, err);
    return lua_error(L);
}

/* What the server still has to say is its own business, but on a client it has to be out of
 * the way. */
static void stop(const struct stream *stream)
{
    enum tp_step step;

    tp_op_stop(stream->call->op);
    do
        step = tp_drive(stream->call->op);
    while (step == TP_ROWS || step == TP_RESULT);
}

/* <close>: the loop was left. */
static int stream_close(lua_State *L)
{
    struct stream *stream = luaL_checkudata(L, 1, TPB_STREAM);

    if (stream->call == NULL)
        return 0;
    stop(stream);
    end(L, stream, 1, NULL);
    return 0;
}

/* The program has lost it, perhaps in the middle: nothing waits here. */
static int stream_gc(lua_State *L)
{
    struct stream *stream = luaL_checkudata(L, 1, TPB_STREAM);

    if (stream->call != NULL && stream->call->op != NULL)
        tpb_call_end(stream->call);
    stream->call = NULL;
    return 0;
}

/* ------------------------------------------------------------------ reading */

/* Makes the rows that have come the batch, which is the second upvalue. The last of them may
 * be one that cannot be read: the program hears of it behind those before it. */
static void take_batch(lua_State *L, struct stream *stream)
{
    struct tpb_rows rows;

    lua_settop(L, 0);
    lua_getiuservalue(L, lua_upvalueindex(1), DATABASE);
    int codecs = tpb_db_push_codecs(L, stream->db, 1);
    tpb_rows_init(&rows, L, TPB_WANT_ALL, &stream->options.decode, &stream->call->scratch, 1,
                  codecs, &stream->failure);
    tpb_rows_take(&rows, stream->call->op);
    stream->failed = rows.failed;
    stream->count = rows.failed ? rows.count - 1 : rows.count;
    stream->next = 1;
    stream->rows_wait = false;
    lua_pushvalue(L, rows.list);
    lua_replace(L, lua_upvalueindex(2));
    if (rows.failed) {
        stop(stream);
        end(L, stream, lua_upvalueindex(1), &stream->failure);
    }
}

/* Waits for rows. False: there are no more. */
static bool wait_for_rows(lua_State *L, struct stream *stream)
{
    struct tp_error err;
    enum tp_step step;

    do
        step = tpb_call_step(L, stream->call, 0, &err);
    while (step == TP_RESULT);
    if (step == TP_ROWS)
        return true;
    end(L, stream, lua_upvalueindex(1), step == TP_DONE ? NULL : &err);
    if (step != TP_DONE)
        raise(L, &err);
    return false;
}

/* The first rows came before the loop began; the client may have been released since. */
static bool has_rows(const struct stream *stream)
{
    return stream->rows_wait && !tp__op_is_dispossessed(stream->call->op);
}

/* The iterator. Its upvalues are the stream and the batch. */
static int stream_next(lua_State *L)
{
    struct stream *stream = lua_touserdata(L, lua_upvalueindex(1));

    while (stream->next > stream->count) {
        if (stream->failed) {
            stream->failed = false;
            raise(L, &stream->failure);
        }
        if (stream->call == NULL)
            return 0;
        if (!has_rows(stream) && !wait_for_rows(L, stream))
            return 0;
        take_batch(L, stream);
    }
    lua_rawgeti(L, lua_upvalueindex(2), stream->next++);
    return 1;
}

/* ----------------------------------------------------------------- beginning */

static struct stream *push_stream(lua_State *L, struct tpb_db *db, int db_index, int client)
{
    struct stream *stream = lua_newuserdatauv(L, sizeof *stream, USER_VALUES);

    memset(stream, 0, sizeof *stream);
    luaL_setmetatable(L, TPB_STREAM);
    stream->db = db;
    stream->next = 1;
    lua_pushvalue(L, db_index);
    lua_setiuservalue(L, -2, DATABASE);
    lua_pushvalue(L, client);
    lua_setiuservalue(L, -2, CLIENT);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, SQL);
    return stream;
}

/* Runs the query up to its first rows, while the parameters lie on the stack. */
static bool begin(lua_State *L, struct stream *stream, const tp_lease *lease, struct tp_error *err)
{
    const struct tp_query *query = &stream->options.query;
    enum tp_step step;

    for (int attempt = 0; attempt < 2; attempt++) {
        tp_op_query(stream->call->op, lease, query);
        do
            step = tpb_call_step(L, stream->call, query->nparams, err);
        while (step == TP_RESULT);
        if (step != TP_FAILED || !tpb_call_find_lost(L, stream->call))
            break;
    }
    stream->rows_wait = step == TP_ROWS;
    return step != TP_FAILED;
}

int tpb_stream_each(lua_State *L, struct tpb_db *db, int db_index, int client, int last,
                    const tp_lease *lease)
{
    struct tpb_call_options options;
    struct tp_error err;

    tpb_call_check(L, db, last, TPB_ROWS, &options);
    if (options.decode.as != TPB_AS_ROWS && options.decode.as != TPB_AS_ARRAYS)
        luaL_error(L, "option 'as' of each must be \"rows\" or \"arrays\"");
    tp__error_clear(&err);
    if (!tpb_call_check_query(&options.query, &err))
        return raise(L, &err);
    luaL_checkstack(L, 24, "too many parameters");
    options.query.stream = true;
    if (options.query.deadline != TP_NEVER)
        options.query.wait_us = options.query.deadline - tp_now();
    struct stream *stream = push_stream(L, db, db_index, client);
    int self = lua_gettop(L);
    stream->options = options;
    stream->call = tpb_call_push(L, db, db_index);
    lua_setiuservalue(L, self, CALL);
    stream->call->codecs = tpb_db_push_codecs(L, db, db_index);
    bool begun = begin(L, stream, lease, &err);
    stream->call->codecs = 0; /* of this frame of the stack */
    if (!begun) {
        end(L, stream, self, &err);
        return raise(L, &err);
    }
    lua_pushvalue(L, self);
    lua_newtable(L);
    lua_pushcclosure(L, stream_next, 2);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, self);
    return 4;
}

void tpb_stream_open(lua_State *L)
{
    luaL_newmetatable(L, TPB_STREAM);
    lua_pushcfunction(L, stream_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, stream_close);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
}
