/* query, one, value, exec, script: a call whose answer is built while its rows come. */
#include "call.h"
#include "error.h"
#include "errors.h"
#include "holders.h"
#include "tell.h"

static enum tpb_want wanted(enum tpb_answer answer)
{
    switch (answer) {
    case TPB_ONE:
        return TPB_WANT_FIRST;
    case TPB_VALUE:
        return TPB_WANT_VALUE;
    case TPB_COMMAND:
    case TPB_TAG:
        return TPB_WANT_TAG;
    default:
        return TPB_WANT_ALL;
    }
}

/* ------------------------------------------------------------ large results */

/* A result that comes in many batches, built while the collector holds still. */
struct held {
    struct tpb_call *call;
    enum tp_step step;
};

static enum tp_step step(lua_State *L, struct tpb_call *call)
{
    return tpb_call_step(L, call, call->options.query.nparams, &call->err);
}

/* Its frame is a copy of the caller's, so that stack indices mean the same. */
static int take_held(lua_State *L)
{
    struct held *held = lua_touserdata(L, lua_gettop(L));
    lua_pop(L, 1);
    do {
        tpb_rows_take(&held->call->rows, held->call->op);
        held->step = step(L, held->call);
    } while (held->step == TP_ROWS);
    return lua_gettop(L);
}

/* The frame that take_held returned takes the place of the caller's. */
static void adopt_frame(lua_State *L, int top)
{
    int n = lua_gettop(L) - top;
    for (int i = 1; i <= n; i++)
        lua_copy(L, top + i, i);
    lua_settop(L, n);
}

/* Takes rows until something else comes, or none for now. While one result is built nothing of it
 * can be collected, and walking over it again and again costs a fifth of the whole; so the
 * collector is stopped, then started again and given the work that it has missed. */
static enum tp_step take_all(lua_State *L, struct tpb_call *call)
{
    struct held held = {call, TP_ROWS};
    int top = lua_gettop(L);
    luaL_checkstack(L, top + LUA_MINSTACK, "decoding a result");
    int before = lua_gc(L, LUA_GCCOUNT);
    lua_gc(L, LUA_GCSTOP);
    lua_pushcfunction(L, take_held);
    for (int i = 1; i <= top; i++)
        lua_pushvalue(L, i);
    lua_pushlightuserdata(L, &held);
    int status = lua_pcall(L, top + 1, LUA_MULTRET, 0);
    lua_gc(L, LUA_GCRESTART);
    if (status != LUA_OK)
        lua_error(L);
    adopt_frame(L, top);
    int grown = lua_gc(L, LUA_GCCOUNT) - before;
    if (grown > 0)
        lua_gc(L, LUA_GCSTEP, grown);
    return held.step;
}

/* ---------------------------------------------------------------------- running */

static void start(lua_State *L, struct tpb_call *call)
{
    bool script = call->answer == TPB_SCRIPT;
    lua_settop(L, call->index);
    tp__error_clear(&call->err);
    tpb_rows_init(&call->rows, L, wanted(call->answer), &call->options.decode, &call->scratch,
                  call->db_index, call->codecs, &call->err);
    call->results = 0;
    call->unread = false;
    if (script)
        lua_newtable(L);
    call->list = lua_gettop(L);
    call->rows.base = call->list + 1;
    tp_op_query(call->op, call->lease, &call->options.query);
}

/* The results of a script go into a list, of other calls there is one. */
static void take_result(lua_State *L, struct tpb_call *call)
{
    bool script = call->answer == TPB_SCRIPT;
    if (!tpb_rows_end(&call->rows, call->op))
        call->unread = true;
    else if (++call->results > 0 && script && !call->unread)
        lua_rawseti(L, call->list, call->results);
    if (script)
        call->rows.base = call->list + 1;
}

/* TP_WAIT, TP_DONE or TP_FAILED. */
static enum tp_step run(lua_State *L, struct tpb_call *call)
{
    enum tp_step news;
    while ((news = step(L, call)) == TP_ROWS || news == TP_RESULT) {
        if (news == TP_ROWS && call->rows.count > 0 && lua_gc(L, LUA_GCISRUNNING))
            news = take_all(L, call);
        if (news != TP_ROWS && news != TP_RESULT)
            break;
        if (news == TP_ROWS)
            tpb_rows_take(&call->rows, call->op);
        else
            take_result(L, call);
    }
    return news;
}

/* Whether the answer is on top of the stack; else err is set. */
static bool has_answer(struct tpb_call *call, enum tp_step last)
{
    if (last != TP_DONE || call->unread)
        return false;
    if (call->answer == TPB_SCRIPT || call->results > 0)
        return true;
    tp__error_set(&call->err, TP_ERR_CONNECTION, "the server's answer has no result");
    return false;
}

static struct tpb_told told_of(const struct tpb_call *call, bool ok)
{
    struct tpb_told told = tpb_told_of(call->op);
    told.sql = 2;
    told.span = call->span;
    told.nparams = call->options.query.nparams;
    told.whole = !call->options.query.simple;
    told.err = ok ? NULL : &call->err;
    return told;
}

/* Whoever is told may make a call of its own, with the same operation: nothing of it is looked at
 * after that. */
static int end(lua_State *L, struct tpb_call *call, bool ok)
{
    struct tpb_db *db = call->db;
    int db_index = call->db_index, results = 1;
    struct tpb_told told;
    bool is_told = tpb_is_told(L, db, tp_op_elapsed(call->op));
    if (is_told)
        told = told_of(call, ok);
    if (call->answer == TPB_TAG && ok)
        lua_getfield(L, -1, "command");
    if (!ok)
        results = tpb_fail_pool(L, db->pool, &call->err);
    int top = lua_gettop(L);
    tpb_call_end(L, call);
    if (is_told)
        tpb_tell(L, db, db_index, &told);
    tpb_db_dispatch(L, db, db_index);
    lua_settop(L, top);
    return results;
}

static int go_on(lua_State *L, struct tpb_call *call)
{
    call->rows.decoder.L = L;
    for (;;) {
        enum tp_step last = run(L, call);
        if (last == TP_WAIT)
            return tpb_call_wait(L, call, go_on);
        bool ok = has_answer(call, last);
        if (ok || call->again || !tpb_call_find_lost(L, call))
            return end(L, call, ok);
        call->again = true;
        start(L, call);
    }
}

int tpb_call_query(lua_State *L, struct tpb_db *db, int db_index, int last, const tp_lease *lease,
                   enum tpb_answer answer, tp_reactor *reactor)
{
    struct tpb_call_options options;
    struct tp_error err;

    tpb_call_check(L, db, last, answer, &options);
    if (!tpb_call_check_query(&options.query, &err))
        return tpb_fail(L, &err);
    luaL_checkstack(L, 24, "too many parameters");
    int codecs = tpb_db_push_codecs(L, db, db_index);
    struct tpb_start begins = {2, 3, options.query.nparams, options.tags, lease};
    int span = tpb_announce_if(L, db, db_index, &begins);
    struct tpb_call *call = tpb_call_push(L, db, db_index, reactor);
    call->codecs = codecs;
    call->span = span;
    call->options = options;
    call->lease = lease;
    call->answer = answer;
    start(L, call);
    return go_on(L, call);
}
