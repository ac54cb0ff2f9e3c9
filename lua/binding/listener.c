#include "listener.h"

#include <string.h>

#include "await.h"
#include "call.h"
#include "errors.h"
#include "owner.h"

#define TPB_LISTENER "tidepool.listener"

enum { DATABASE = 1, USER_VALUES = DATABASE };

/* The stack of a method that waits. */
enum { AT_LISTENER = 1, AT_TIMEOUT, AT_DATABASE };

/* One who takes and takes, and never waits, lets others go on after this. */
enum { TURN_US = 1000 };

struct listener {
    tp_listener *core; /* NULL: it was never opened, or is finalized */
    struct tpb_db *db;
    struct tpb_owned owned;
    int64_t turn_ends; /* 0: it has waited since it last took something */
};

static struct listener *check(lua_State *L)
{
    struct listener *listener = luaL_checkudata(L, AT_LISTENER, TPB_LISTENER);
    luaL_argcheck(L, listener->core != NULL, AT_LISTENER, "the listener was finalized");
    return listener;
}

static const struct tpb_db *db_of(lua_State *L)
{
    return check(L)->db;
}

static void request_ended(struct tpb_owned *owned)
{
    struct listener *listener = TP_CONTAINER(owned, struct listener, owned);
    if (listener->core != NULL)
        tp_listener_close(listener->core);
}

/* --------------------------------------------------------------------- taking */

static void push_gap(lua_State *L, const struct tp_notification *note)
{
    lua_createtable(L, 0, 3);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "gap");
    lua_pushstring(L, tp_gap_name(note->gap));
    lua_setfield(L, -2, "reason");
    if (note->dropped >= 0) {
        lua_pushinteger(L, (lua_Integer)note->dropped);
        lua_setfield(L, -2, "dropped");
    }
}

static void push_note(lua_State *L, const struct tp_notification *note)
{
    if (note->gap != TP_GAP_NONE) {
        push_gap(L, note);
        return;
    }
    lua_createtable(L, 0, 3);
    lua_pushstring(L, note->channel);
    lua_setfield(L, -2, "channel");
    lua_pushstring(L, note->payload);
    lua_setfield(L, -2, "payload");
    lua_pushinteger(L, note->backend_pid);
    lua_setfield(L, -2, "backend_pid");
}

static bool is_turn_over(struct listener *listener)
{
    int64_t now = tp_now();
    if (listener->turn_ends == 0)
        listener->turn_ends = now + TURN_US;
    return now >= listener->turn_ends;
}

static void start_hearing(struct tpb_call *call)
{
    struct listener *listener = call->state;
    bool let_others = call->reactor != NULL && listener->turn_ends != 0;
    listener->turn_ends = 0;
    tp_op_hear(call->op, listener->core, call->options.query.deadline, let_others);
}

/* What there was may have gone to another coroutine. */
static int has_heard(lua_State *L, struct tpb_call *call)
{
    struct listener *listener = call->state;
    struct tp_notification note;
    if (call->ok && !tp_listener_take(listener->core, &note))
        return tpb_call_run(L, call, start_hearing, has_heard);
    bool ok = call->ok;
    tpb_call_end(L, call);
    tpb_db_dispatch(L, listener->db, AT_DATABASE);
    if (!ok)
        return tpb_fail(L, &call->err);
    push_note(L, &note);
    return 1;
}

/* listener:next(timeout_ms): a notification or a gap; or nil and an error. */
static int listener_next_body(lua_State *L, tp_reactor *reactor)
{
    struct listener *listener = check(L);
    struct tp_notification note;
    int64_t deadline = tpb_check_deadline(L, AT_TIMEOUT, -1);
    lua_settop(L, AT_TIMEOUT);
    lua_getiuservalue(L, AT_LISTENER, DATABASE);
    if ((reactor == NULL || !is_turn_over(listener)) && tp_listener_take(listener->core, &note)) {
        tpb_db_dispatch(L, listener->db, AT_DATABASE);
        push_note(L, &note);
        return 1;
    }
    struct tpb_call *call = tpb_call_push(L, listener->db, AT_DATABASE, reactor);
    call->options.query.deadline = deadline;
    call->state = listener;
    if (reactor != NULL && tp_now() < listener->turn_ends)
        listener->turn_ends = 0; /* there was nothing, so it waits anyway */
    return tpb_call_run(L, call, start_hearing, has_heard);
}

TPB_AWAITS(listener_next, db_of)

/* ------------------------------------------------------------------ beginning */

enum { MOST_CHANNELS = 100000 };

/* The stack of db:_listen while it waits. */
enum { LISTEN_DB = 1, LISTEN_CHANNELS, LISTEN_LIMIT, LISTEN_OVERFLOW, LISTEN_TIMEOUT, LISTENER };

static void start_listening(struct tpb_call *call)
{
    struct listener *listener = call->state;
    tp_op_listen(call->op, listener->core, call->options.query.deadline);
}

static int is_listened_for(lua_State *L, struct tpb_call *call)
{
    struct listener *listener = call->state;
    bool ok = call->ok;
    tpb_call_end(L, call);
    tpb_db_dispatch(L, listener->db, LISTEN_DB);
    if (!ok) {
        tp_listener_close(listener->core);
        return tpb_fail(L, &call->err);
    }
    lua_settop(L, LISTENER);
    return 1;
}

static struct listener *push_listener(lua_State *L, struct tpb_db *db)
{
    struct listener *listener = lua_newuserdatauv(L, sizeof *listener, USER_VALUES);
    memset(listener, 0, sizeof *listener);
    listener->db = db;
    luaL_setmetatable(L, TPB_LISTENER);
    lua_pushvalue(L, LISTEN_DB);
    lua_setiuservalue(L, -2, DATABASE);
    return listener;
}

/* The texts lie in the table of channels meanwhile. */
static enum tp_status open_listener(lua_State *L, struct listener *listener, struct tp_error *err)
{
    size_t count = lua_rawlen(L, LISTEN_CHANNELS);
    luaL_argcheck(L, count > 0 && count <= MOST_CHANNELS, LISTEN_CHANNELS, "no channels");
    const char **channels = lua_newuserdatauv(L, count * sizeof *channels, 0);
    size_t *lengths = lua_newuserdatauv(L, count * sizeof *lengths, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, LISTEN_CHANNELS, (lua_Integer)i + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, LISTEN_CHANNELS, "a channel is no string");
        channels[i] = lua_tolstring(L, -1, &lengths[i]);
        lua_pop(L, 1);
    }
    static const char *const overflows[] = {"gap", "oldest", "newest", NULL};
    const struct tp_listening_to to = {
        .channels = channels,
        .lengths = lengths,
        .count = count,
        .limit = (size_t)luaL_checkinteger(L, LISTEN_LIMIT),
        .overflow = (enum tp_overflow)luaL_checkoption(L, LISTEN_OVERFLOW, NULL, overflows),
    };
    enum tp_status status = tp_listener_open(&listener->core, listener->db->share, &to, err);
    lua_settop(L, LISTENER);
    return status;
}

static int db_listen_body(lua_State *L, tp_reactor *reactor)
{
    struct tp_error err;
    struct tpb_db *db = tpb_db_check(L, LISTEN_DB);
    int64_t within = tp_config_int(tp_pool_config(db->pool), "pool.acquire_timeout_ms");
    luaL_checktype(L, LISTEN_CHANNELS, LUA_TTABLE);
    int64_t deadline = tpb_check_deadline(L, LISTEN_TIMEOUT, within);
    lua_settop(L, LISTEN_TIMEOUT);
    struct listener *listener = push_listener(L, db);
    if (open_listener(L, listener, &err) != TP_OK)
        return tpb_fail(L, &err);
    tpb_owner_attach(L, &listener->owned, request_ended);
    struct tpb_call *call = tpb_call_push(L, db, LISTEN_DB, reactor);
    call->options.query.deadline = deadline;
    call->state = listener;
    return tpb_call_run(L, call, start_listening, is_listened_for);
}

static const struct tpb_db *own_db(lua_State *L)
{
    return tpb_db_check(L, LISTEN_DB);
}

TPB_AWAITS(db_listen, own_db)

/* --------------------------------------------------------------------- ending */

static int listener_close(lua_State *L)
{
    tp_listener_close(check(L)->core);
    lua_pushboolean(L, 1);
    return 1;
}

static int listener_is_closed(lua_State *L)
{
    lua_pushboolean(L, tp_listener_is_closed(check(L)->core));
    return 1;
}

/* <close>: of one that never was opened, too. */
static int listener_close_scope(lua_State *L)
{
    struct listener *listener = luaL_checkudata(L, AT_LISTENER, TPB_LISTENER);
    if (listener->core != NULL)
        tp_listener_close(listener->core);
    return 0;
}

static int listener_gc(lua_State *L)
{
    struct listener *listener = luaL_checkudata(L, AT_LISTENER, TPB_LISTENER);
    tpb_owner_detach(&listener->owned);
    if (listener->core != NULL)
        tp_listener_close(listener->core); /* a call that waits may keep it for longer */
    tp_listener_release(listener->core);
    listener->core = NULL;
    return 0;
}

static int listener_tostring(lua_State *L)
{
    bool closed = tp_listener_is_closed(check(L)->core);
    lua_pushfstring(L, "%s (%s)", TPB_LISTENER, closed ? "closed" : "open");
    return 1;
}

/* --------------------------------------------------------------------- module */

struct tpb_db *tpb_listener_db(lua_State *L, int index)
{
    const struct listener *listener = luaL_testudata(L, index, TPB_LISTENER);
    return listener != NULL ? listener->db : NULL;
}

void tpb_listener_set_listen(lua_State *L)
{
    static const struct tpb_awaited awaited[] = {
        TPB_AWAITED("_listen", db_listen),
        {NULL, NULL, NULL},
    };
    tpb_set_awaited(L, awaited);
}

void tpb_listener_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"close", listener_close},
        {"is_closed", listener_is_closed},
        {NULL, NULL},
    };
    static const struct tpb_awaited awaited[] = {
        TPB_AWAITED("next", listener_next),
        {NULL, NULL, NULL},
    };
    luaL_newmetatable(L, TPB_LISTENER);
    lua_pushcfunction(L, listener_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, listener_close_scope);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, listener_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    tpb_set_awaited(L, awaited);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_remove(L, -2);
}
