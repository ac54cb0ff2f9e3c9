#include "stream.h"

#include <string.h>

#include "await.h"
#include "call.h"
#include "error.h"
#include "errors.h"
#include "holders.h"
#include "op.h"
#include "place.h"
#include "tell.h"

#define TPB_STREAM "tidepool.stream"

/* The user values: the operation, the database, the client, the SQL text, what was announced, the
 * rows that are being handed out, the list of columns and what the statement has done. */
enum { CALL = 1, DATABASE, OWNER, SQL, SPAN, BATCH, COLUMNS, RESULT, USER_VALUES = RESULT };

/* The stack while rows are waited for, or the end. */
enum { AT_STREAM = 1, AT_DATABASE, AT_CALL };

struct stream {
    struct tpb_call *call; /* NULL once it has ended */
    struct tpb_db *db;
    int index;               /* where it is on the stack while it begins */
    lua_Integer next, count; /* of the batch */
    bool fresh;              /* there is a new batch, which the iterator has not seen */
    bool rows_wait;          /* the operation has rows that were not taken yet */
    bool failed;             /* the row behind the batch could not be read */
    struct tp_error failure; /* then: why */
};

static int raise(lua_State *L, const struct tpb_db *db, const struct tp_error *err)
{
    tpb_push_pool_error(L, db->pool, err);
    return lua_error(L);
}

/* ------------------------------------------------------------------- ending */

/* Makes the stack that of a call of the stream at the bottom of it. */
static struct tpb_call *enter(lua_State *L, struct stream *stream)
{
    struct tpb_call *call = stream->call;
    lua_settop(L, AT_STREAM);
    lua_getiuservalue(L, AT_STREAM, DATABASE);
    lua_getiuservalue(L, AT_STREAM, CALL);
    call->db_index = AT_DATABASE;
    call->index = AT_CALL;
    call->state = stream;
    return call;
}

/* Lets go of the operation, and tells of the query. The stack is that of `enter`. */
static void end(lua_State *L, struct stream *stream, const struct tp_error *err)
{
    struct tpb_call *call = stream->call;
    struct tpb_told told = tpb_told_of(call->op);

    told.nparams = call->options.query.nparams;
    told.whole = true;
    told.err = err;
    stream->call = NULL;
    tpb_call_end(L, call);
    lua_getiuservalue(L, AT_STREAM, SQL);
    told.sql = lua_gettop(L);
    lua_getiuservalue(L, AT_STREAM, SPAN);
    told.span = lua_isnil(L, -1) ? 0 : lua_gettop(L);
    tpb_tell(L, stream->db, AT_DATABASE, &told);
    tpb_db_dispatch(L, stream->db, AT_DATABASE);
    lua_settop(L, AT_CALL);
}

/* What the server still has to say is its own business, but on a client it has to be out of
 * the way. False: that takes a while. */
static bool has_stopped(lua_State *L, struct tpb_call *call)
{
    enum tp_step step;

    do
        step = tpb_call_move(L, call);
    while (step == TP_ROWS || step == TP_RESULT);
    return step != TP_WAIT;
}

static int go_on_closing(lua_State *L, struct tpb_call *call)
{
    if (!has_stopped(L, call))
        return tpb_call_wait(L, call, go_on_closing);
    end(L, call->state, NULL);
    return 0;
}

/* stream:close(), and <close>: the loop was left. */
static int stream_close_body(lua_State *L, tp_reactor *reactor)
{
    struct stream *stream = luaL_checkudata(L, AT_STREAM, TPB_STREAM);

    (void)reactor; /* it waits as it has begun */
    stream->next = 1;
    stream->count = 0; /* what has come already is not for anybody any more */
    stream->failed = false;
    if (stream->call == NULL)
        return 0;
    struct tpb_call *call = enter(L, stream);
    tp_op_stop(call->op);
    return go_on_closing(L, call);
}

static const struct tpb_db *stream_db(lua_State *L)
{
    const struct stream *stream = luaL_checkudata(L, AT_STREAM, TPB_STREAM);
    return stream->db;
}

TPB_AWAITS(stream_close, stream_db)

/* The program has lost it, perhaps in the middle: nothing waits here. */
static int stream_gc(lua_State *L)
{
    struct stream *stream = luaL_checkudata(L, 1, TPB_STREAM);

    if (stream->call != NULL)
        tpb_call_give_up(stream->call);
    stream->call = NULL;
    return 0;
}

/* ------------------------------------------------------------------ reading */

/* The first row of a new batch, or why there is none. */
static int deliver(lua_State *L, struct stream *stream)
{
    if (stream->count == 0) {
        stream->failed = false;
        return raise(L, stream->db, &stream->failure);
    }
    lua_getiuservalue(L, AT_STREAM, BATCH);
    lua_rawgeti(L, -1, stream->next++);
    return 1;
}

static int go_on_stopping(lua_State *L, struct tpb_call *call)
{
    struct stream *stream = call->state;

    if (!has_stopped(L, call))
        return tpb_call_wait(L, call, go_on_stopping);
    end(L, stream, &stream->failure);
    return deliver(L, stream);
}

/* Makes the rows that have come the batch. The last of them may be one that cannot be read:
 * the program hears of it behind those before it. */
static int take_batch(lua_State *L, struct tpb_call *call)
{
    struct stream *stream = call->state;
    struct tpb_rows rows;

    int codecs = tpb_db_push_codecs(L, stream->db, AT_DATABASE);
    tpb_rows_init(&rows, L, TPB_WANT_ALL, &call->options.decode, &call->scratch, AT_DATABASE,
                  codecs, &stream->failure);
    tpb_rows_take(&rows, call->op);
    stream->failed = rows.failed;
    stream->count = rows.failed ? rows.count - 1 : rows.count;
    stream->next = 1;
    stream->rows_wait = false;
    stream->fresh = true;
    lua_pushvalue(L, rows.list);
    lua_setiuservalue(L, AT_STREAM, BATCH);
    lua_settop(L, AT_CALL);
    if (!rows.failed)
        return deliver(L, stream);
    tp_op_stop(call->op);
    return go_on_stopping(L, call);
}

/* What can be said of the result when its rows are over. */
static void keep_result(lua_State *L, int self, const tp_op *op)
{
    lua_createtable(L, 0, 2);
    lua_pushstring(L, tp_op_command(op));
    lua_setfield(L, -2, "command");
    lua_pushinteger(L, (lua_Integer)tp_op_count(op));
    lua_setfield(L, -2, "count");
    lua_setiuservalue(L, self, RESULT);
}

static int go_on_reading(lua_State *L, struct tpb_call *call)
{
    enum tp_step step;

    while ((step = tpb_call_step(L, call, 0, &call->err)) == TP_RESULT)
        keep_result(L, AT_STREAM, call->op);
    if (step == TP_WAIT)
        return tpb_call_wait(L, call, go_on_reading);
    if (step == TP_ROWS)
        return take_batch(L, call);
    struct stream *stream = call->state;
    stream->failure = call->err; /* the call may be another's when the end was told */
    end(L, stream, step == TP_DONE ? NULL : &stream->failure);
    return step == TP_DONE ? 0 : raise(L, stream->db, &stream->failure);
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

    if (stream->fresh) {
        stream->fresh = false;
        lua_getiuservalue(L, lua_upvalueindex(1), BATCH);
        lua_replace(L, lua_upvalueindex(2));
    }
    if (stream->next <= stream->count) {
        lua_rawgeti(L, lua_upvalueindex(2), stream->next++);
        return 1;
    }
    if (stream->failed) {
        stream->failed = false;
        return raise(L, stream->db, &stream->failure);
    }
    if (stream->call == NULL)
        return 0;
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    struct tpb_call *call = enter(L, stream);
    return has_rows(stream) ? take_batch(L, call) : go_on_reading(L, call);
}

/* ----------------------------------------------------------------- beginning */

static struct stream *push_stream(lua_State *L, struct tpb_db *db, int db_index, int owner)
{
    struct stream *stream = lua_newuserdatauv(L, sizeof *stream, USER_VALUES);

    memset(stream, 0, sizeof *stream);
    luaL_setmetatable(L, TPB_STREAM);
    stream->db = db;
    stream->next = 1;
    stream->index = lua_gettop(L);
    lua_pushvalue(L, db_index);
    lua_setiuservalue(L, -2, DATABASE);
    lua_pushvalue(L, owner);
    lua_setiuservalue(L, -2, OWNER);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, SQL);
    return stream;
}

static void start(struct tpb_call *call)
{
    tp_op_query(call->op, call->lease, &call->options.query);
}

/* The query has come to its first rows, or to its end. */
static int has_begun(lua_State *L, struct tpb_call *call, enum tp_step step)
{
    struct stream *stream = call->state;
    int self = stream->index;

    call->codecs = 0; /* of this frame of the stack */
    stream->rows_wait = step == TP_ROWS;
    if (step == TP_FAILED) {
        lua_settop(L, self);
        lua_insert(L, 1);
        enter(L, stream);
        stream->failure = call->err;
        end(L, stream, &stream->failure);
        return raise(L, stream->db, &stream->failure);
    }
    lua_pushvalue(L, self);
    lua_newtable(L);
    lua_pushcclosure(L, stream_next, 2);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, self);
    return 4;
}

static void keep_columns(lua_State *L, int self, const tp_op *op)
{
    tpb_push_columns(L, tp_op_columns(op));
    lua_setiuservalue(L, self, COLUMNS);
}

/* Runs the query up to its first rows, while the parameters lie on the stack. */
static int go_on_beginning(lua_State *L, struct tpb_call *call)
{
    for (;;) {
        struct stream *stream = call->state;
        enum tp_step step;
        do {
            step = tpb_call_step(L, call, call->options.query.nparams, &call->err);
            if (step == TP_ROWS || step == TP_RESULT)
                keep_columns(L, stream->index, call->op);
            if (step == TP_RESULT)
                keep_result(L, stream->index, call->op);
        } while (step == TP_RESULT);
        if (step == TP_WAIT)
            return tpb_call_wait(L, call, go_on_beginning);
        if (step != TP_FAILED || call->again || !tpb_call_find_lost(L, call))
            return has_begun(L, call, step);
        call->again = true;
        start(call);
    }
}

int tpb_stream_each(lua_State *L, struct tpb_db *db, int db_index, int owner, int last,
                    const tp_lease *lease, tp_reactor *reactor)
{
    struct tpb_call_options options;
    struct tp_error err;

    tpb_call_check(L, db, last, TPB_ROWS, &options);
    if (options.decode.as != TPB_AS_ROWS && options.decode.as != TPB_AS_ARRAYS)
        tpb_misuse(L, "option 'as' of each must be \"rows\" or \"arrays\"");
    tp__error_clear(&err);
    if (!tpb_call_check_query(&options.query, &err))
        return raise(L, db, &err);
    luaL_checkstack(L, 24, "too many parameters");
    options.query.stream = true;
    if (options.query.deadline != TP_NEVER)
        options.query.wait_us = options.query.deadline - tp_now();
    struct stream *stream = push_stream(L, db, db_index, owner);
    struct tpb_start begins = {2, 3, options.query.nparams, options.tags, lease};
    if (tpb_announce_if(L, db, db_index, &begins) > 0)
        lua_setiuservalue(L, stream->index, SPAN);
    struct tpb_call *call = tpb_call_push(L, db, db_index, reactor);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, stream->index, CALL);
    stream->call = call;
    call->options = options;
    call->lease = lease;
    call->state = stream;
    call->codecs = tpb_db_push_codecs(L, db, db_index);
    start(call);
    return go_on_beginning(L, call);
}

/* stream:_hub(): what it waits with (see await.h), or nil. */
static int stream_hub(lua_State *L)
{
    const struct stream *stream = luaL_checkudata(L, 1, TPB_STREAM);

    if (stream->call == NULL || stream->call->reactor == NULL)
        return 0;
    tpb_push_hub(L, stream->call->reactor);
    return 1;
}

/* stream:columns(): the list of {name =, type =, oid =}, as of query. */
static int stream_columns(lua_State *L)
{
    luaL_checkudata(L, 1, TPB_STREAM);
    lua_getiuservalue(L, 1, COLUMNS);
    return 1;
}

/* stream:result(): {command =, count =} once the last row was read, else nil. */
static int stream_result(lua_State *L)
{
    luaL_checkudata(L, 1, TPB_STREAM);
    lua_getiuservalue(L, 1, RESULT);
    return 1;
}

void tpb_stream_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"_hub", stream_hub}, {"columns", stream_columns}, {"result", stream_result}, {NULL, NULL}};
    static const struct tpb_awaited awaited[] = {
        TPB_AWAITED("close", stream_close),
        {NULL, NULL, NULL},
    };
    luaL_newmetatable(L, TPB_STREAM);
    lua_pushcfunction(L, stream_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, stream_close);
    lua_setfield(L, -2, "__close");
    luaL_newlib(L, methods);
    tpb_set_awaited(L, awaited);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_remove(L, -2);
}

struct tpb_db *tpb_stream_db(lua_State *L, int index)
{
    const struct stream *stream = luaL_testudata(L, index, TPB_STREAM);
    return stream != NULL ? stream->db : NULL;
}
