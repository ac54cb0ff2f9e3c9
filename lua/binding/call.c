#include "call.h"

#include <string.h>

#include "await.h"
#include "error.h"
#include "errors.h"
#include "holders.h"
#include "password.h"
#include "place.h"

enum { KEEP_OPS = 64 };

/* --------------------------------------------------------------- operations */

void tpb_call_give_up(struct tpb_call *call)
{
    tpb_owner_detach(&call->owned);
    if (call->op != NULL)
        tp_op_abandon(call->op);
    tpb_params_clear(&call->params);
    call->codecs = 0;
    call->busy = false;
    call->go_on = NULL;
}

static int op_gc(lua_State *L)
{
    struct tpb_call *call = luaL_checkudata(L, 1, TPB_OP);
    tpb_owner_detach(&call->owned);
    tp_op_free(call->op);
    call->op = NULL;
    tpb_params_deinit(&call->params);
    tp__buf_free(&call->scratch);
    return 0;
}

void tpb_call_open(lua_State *L)
{
    luaL_newmetatable(L, TPB_OP);
    lua_pushcfunction(L, op_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

static struct tpb_call *push_new(lua_State *L, struct tpb_db *db)
{
    struct tpb_call *call = lua_newuserdatauv(L, sizeof *call, 1);
    memset(call, 0, sizeof *call);
    luaL_setmetatable(L, TPB_OP);
    tpb_params_init(&call->params);
    call->op = tp_op_new(db->pool);
    if (call->op == NULL)
        luaL_error(L, "not enough memory");
    tp_op_set_tag(call->op, call);
    tp_op_set_share(call->op, db->share);
    return call;
}

/* The database lets go of it, so that nothing but the call itself refers to it. */
static struct tpb_call *push_kept(lua_State *L, struct tpb_db *db, int db_index)
{
    lua_getiuservalue(L, db_index, TPB_DB_OPS);
    lua_rawgeti(L, -1, db->ops_kept);
    lua_pushnil(L);
    lua_rawseti(L, -3, db->ops_kept--);
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
}

/* The request has ended. What lies in the frame is left to the collector. */
static void abandon(struct tpb_owned *owned)
{
    struct tpb_call *call = TP_CONTAINER(owned, struct tpb_call, owned);
    tp_op_abandon(call->op);
}

/* The frame is made here, where a lack of memory does no harm. At the bottom of it lies the
 * call itself, which is on top of the stack. */
void tpb_call_use(lua_State *L, struct tpb_call *call, tp_reactor *reactor)
{
    if (reactor != NULL && call->frame == NULL) {
        lua_State *frame = lua_newthread(L);
        lua_pushvalue(L, -2);
        lua_xmove(L, frame, 1);
        lua_setiuservalue(L, -2, 1);
        call->frame = frame;
    }
    if (reactor != NULL)
        tpb_owner_attach(L, &call->owned, abandon);
    if (reactor != NULL || call->reactor != NULL)
        tp_op_use(call->op, reactor, reactor != NULL ? tpb_task(L) : 0);
    call->reactor = reactor;
}

static void note_place(lua_State *L, const struct tpb_call *call)
{
    lua_Debug at;
    bool found = tpb_find_place(L, &at);
    tp_op_set_place(call->op, found ? at.short_src : NULL, found ? at.currentline : 0);
}

struct tpb_call *tpb_call_push(lua_State *L, struct tpb_db *db, int db_index, tp_reactor *reactor)
{
    struct tpb_call *call = db->ops_kept > 0 ? push_kept(L, db, db_index) : push_new(L, db);
    tpb_call_use(L, call, reactor);
    call->db = db;
    call->db_index = db_index;
    call->index = lua_gettop(L);
    call->lease = NULL;
    call->again = false;
    call->busy = true;
    if (db->notes_places)
        note_place(L, call);
    return call;
}

void tpb_call_end(lua_State *L, struct tpb_call *call)
{
    struct tpb_db *db = call->db;
    tpb_call_give_up(call);
    if (db->ops_kept >= KEEP_OPS)
        return;
    lua_getiuservalue(L, call->db_index, TPB_DB_OPS);
    lua_pushvalue(L, call->index);
    lua_rawseti(L, -2, db->ops_kept + 1); /* may raise for want of memory */
    db->ops_kept++;
    lua_pop(L, 1);
}

/* ------------------------------------------------------------------ waiting */

void *tpb_waits(void)
{
    static char waits; /* its address is the value */
    return &waits;
}

int tpb_call_wait(lua_State *L, struct tpb_call *call, tpb_go_on *go_on)
{
    lua_State *frame = call->frame;
    int top = lua_gettop(L);
    if (!lua_checkstack(frame, top + 1))
        luaL_error(L, "stack overflow (too many values in a call that waits)");
    lua_settop(frame, 1); /* more is of a wait that the event loop has ended by an error */
    lua_xmove(L, frame, top);
    call->go_on = go_on;
    lua_pushlightuserdata(L, tpb_waits());
    lua_pushvalue(frame, 1);
    lua_xmove(frame, L, 1);
    lua_pushlightuserdata(L, call);
    return 3;
}

int tpb_call_resume(lua_State *L)
{
    struct tpb_call *call = luaL_checkudata(L, 1, TPB_OP);
    tpb_go_on *go_on = call->go_on;
    if (go_on == NULL)
        return luaL_error(L, "a call that does not wait cannot be resumed");
    int top = lua_gettop(call->frame) - 1;
    luaL_checkstack(L, top + LUA_MINSTACK, "too many values in a call that waits");
    lua_settop(L, 0); /* whoever resumes it has it, and so has what it waits in */
    lua_xmove(call->frame, L, top);
    call->go_on = NULL;
    return go_on(L, call);
}

/* ------------------------------------------------------------------ driving */

static enum tp_step move(lua_State *L, const struct tpb_call *call)
{
    if (call->reactor == NULL)
        return tp_drive(call->op);
    enum tp_step step = tp_reactor_step(call->op);
    tpb_tell_news(L, call->reactor);
    return step;
}

enum tp_step tpb_call_move(lua_State *L, struct tpb_call *call)
{
    enum tp_step step;
    while ((step = move(L, call)) == TP_PASSWORD)
        tpb_password_ask(L, call);
    return step;
}

enum tp_step tpb_call_step(lua_State *L, struct tpb_call *call, int nparams, struct tp_error *err)
{
    enum tp_step step;
    while ((step = tpb_call_move(L, call)) == TP_ENCODE) {
        if (tpb_encode_params(L, 3, nparams, call->op, call->codecs, &call->params, err))
            tp_op_params(call->op, call->params.items);
        else
            tp_op_refuse(call->op, err);
    }
    if (step == TP_FAILED)
        *err = *tp_op_error(call->op);
    return step;
}

/* This thread holds every connection itself, so waiting would be in vain; but some may be
 * held by objects that the program has lost. True when it is worth another try. */
bool tpb_call_find_lost(lua_State *L, const struct tpb_call *call)
{
    if (!tp_op_was_self_blocked(call->op))
        return false;
    lua_gc(L, LUA_GCCOLLECT, 0);
    return true;
}

/* ----------------------------------------------------- operations without rows */

static int go_on_running(lua_State *L, struct tpb_call *call)
{
    enum tp_step step;
    while ((step = tpb_call_step(L, call, 0, &call->err)) != TP_DONE) {
        if (step == TP_WAIT)
            return tpb_call_wait(L, call, go_on_running);
        if (call->again || !tpb_call_find_lost(L, call))
            break;
        call->again = true;
        call->start(call);
    }
    call->ok = step == TP_DONE;
    return call->done(L, call);
}

int tpb_call_run(lua_State *L, struct tpb_call *call, void (*start)(struct tpb_call *call),
                 tpb_go_on *done)
{
    call->start = start;
    call->done = done;
    start(call);
    return go_on_running(L, call);
}

static void start_acquire(struct tpb_call *call)
{
    tp_op_acquire(call->op, call->options.query.deadline);
}

static void start_patiently(struct tpb_call *call)
{
    tp_op_acquire_patiently(call->op, call->options.query.deadline);
}

int tpb_call_acquire(lua_State *L, struct tpb_call *call, int64_t deadline, bool patient,
                     tpb_go_on *done)
{
    call->options.query.deadline = deadline;
    return tpb_call_run(L, call, patient ? start_patiently : start_acquire, done);
}

static void start_ping(struct tpb_call *call)
{
    tp_op_ping(call->op, call->lease, call->options.query.deadline);
}

static int end_ping(lua_State *L, struct tpb_call *call)
{
    struct tpb_db *db = call->db;
    int db_index = call->db_index, results = call->ok ? 1 : 2;
    lua_pushboolean(L, call->ok);
    if (!call->ok)
        tpb_push_pool_error(L, db->pool, &call->err);
    int top = lua_gettop(L);
    tpb_call_end(L, call);
    tpb_db_dispatch(L, db, db_index);
    lua_settop(L, top);
    return results;
}

int tpb_call_ping(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease, int timeout,
                  tp_reactor *reactor)
{
    int64_t fallback = tp_config_int(tp_pool_config(db->pool), "pool.acquire_timeout_ms");
    int64_t deadline = tpb_check_deadline(L, timeout, fallback);
    struct tpb_call *call = tpb_call_push(L, db, db_index, reactor);
    call->lease = lease;
    call->options.query.deadline = deadline;
    return tpb_call_run(L, call, start_ping, end_ping);
}
