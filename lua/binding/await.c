#include "await.h"

#include "call.h"
#include "client.h"
#include "copy.h"
#include "listener.h"
#include "stream.h"

/* Addresses in the registry: the await function; the hubs by reactor, weakly; the coroutine
 * that the running one is a part of. */
static const char await_key, hubs_key, task_key;

struct hub {
    tp_reactor *reactor;
};

/* ------------------------------------------------------------------ methods */

lua_State *tpb_main_coroutine(lua_State *L)
{
#if LUA_VERSION_NUM >= 502
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *main = lua_tothread(L, -1);
    lua_pop(L, 1);
    return main;
#else
    (void)L;
    return NULL;
#endif
}

/* Where a pcall that may be yielded from is a coroutine of its own, L may be in one. */
uintptr_t tpb_task(lua_State *L)
{
    uintptr_t task = (uintptr_t)L;
#if LUA_VERSION_NUM < 502
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &task_key) != LUA_TNIL)
        task = (uintptr_t)lua_topointer(L, -1);
    lua_pop(L, 1);
#endif
    return task;
}

/* Where Lua wraps the methods, it finds what begins them in the field `_begins`. */
void tpb_set_awaited(lua_State *L, const struct tpb_awaited *methods)
{
#if LUA_VERSION_NUM < 502
    if (lua_getfield(L, -1, "_begins") != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    for (const struct tpb_awaited *method = methods; method->name != NULL; method++) {
        lua_pushcfunction(L, method->begin);
        lua_setfield(L, -2, method->name);
    }
    lua_setfield(L, -2, "_begins");
#endif
    for (; methods->name != NULL; methods++) {
        lua_pushcfunction(L, methods->method);
        lua_setfield(L, -2, methods->name);
    }
}

/* Of a database, a connection, a stream, a COPY or a listener at index 1. */
static struct tpb_db *db_of(lua_State *L)
{
    struct tpb_db *db = tpb_client_db(L, 1);
    if (db == NULL)
        db = tpb_stream_db(L, 1);
    if (db == NULL)
        db = tpb_copy_db(L, 1);
    if (db == NULL)
        db = tpb_listener_db(L, 1);
    return db != NULL ? db : tpb_db_check(L, 1);
}

#if LUA_VERSION_NUM == 502
static int has_awaited(lua_State *L)
{
    return lua_gettop(L);
}
#elif LUA_VERSION_NUM > 502
static int has_awaited(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    return lua_gettop(L);
}
#endif

int tpb_await(lua_State *L, const struct tpb_db *db, lua_CFunction begin)
{
#if LUA_VERSION_NUM >= 502
    luaL_checkstack(L, 4, "too many arguments");
    lua_pushcfunction(L, begin);
    lua_insert(L, 1);
    tpb_db_push_adapter(L, db);
    lua_insert(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &await_key);
    lua_insert(L, 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, has_awaited);
#else
    (void)db;
    (void)begin;
#endif
    return lua_gettop(L);
}

static tp_reactor *reactor_of(lua_State *L, int index)
{
    struct hub *hub = luaL_checkudata(L, index, TPB_HUB);
    if (!tp_reactor_mind_fork(hub->reactor))
        luaL_error(L, "no file descriptors for an event loop");
    return hub->reactor;
}

int tpb_begin(lua_State *L, tpb_body *body)
{
    tp_reactor *reactor = lua_isnil(L, 1) ? NULL : reactor_of(L, 1);
    lua_remove(L, 1);
    return body(L, reactor);
}

void tpb_tell_news(lua_State *L, tp_reactor *reactor)
{
    if (!tp_reactor_has_news(reactor))
        return;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    int top = lua_gettop(L);
    tpb_push_hub(L, reactor);
    lua_getfield(L, -1, "dispatch");
    lua_insert(L, -2);
    lua_call(L, 1, 0);
    lua_settop(L, top);
}

void tpb_push_hub(lua_State *L, const tp_reactor *reactor)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &hubs_key);
    lua_rawgetp(L, -1, reactor);
    lua_getiuservalue(L, -1, 1);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* --------------------------------------------------------------------- hubs */

/* core.reactor(hub): a reactor for the table `hub`; hub:dispatch() is called when there is
 * something to be told of in the middle of a call, and asks reactor:next() until that is
 * nil. */
static int new_hub(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct hub *hub = lua_newuserdatauv(L, sizeof *hub, 1);
    hub->reactor = NULL;
    luaL_setmetatable(L, TPB_HUB);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    hub->reactor = tp_reactor_new();
    if (hub->reactor == NULL)
        return luaL_error(L, "no file descriptors for an event loop");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &hubs_key);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, hub->reactor);
    lua_pop(L, 1);
    return 1;
}

static int hub_gc(lua_State *L)
{
    struct hub *hub = luaL_checkudata(L, 1, TPB_HUB);
    tp_reactor_release(hub->reactor);
    hub->reactor = NULL;
    return 0;
}

/* hub:fd(): can be read when there is something to look at. */
static int hub_fd(lua_State *L)
{
    lua_pushinteger(L, tp_reactor_fd(reactor_of(L, 1)));
    return 1;
}

/* hub:waiting(): how many calls wait and have not been told of. */
static int hub_waiting(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tp_reactor_waiting(reactor_of(L, 1)));
    return 1;
}

/* hub:sleep(): how long to wait for the descriptor: seconds, or nil for no limit. */
static int hub_sleep(lua_State *L)
{
    int64_t until = tp_reactor_sleep(reactor_of(L, 1));
    int64_t now = tp_now();
    if (until == TP_NEVER)
        return 0;
    lua_pushnumber(L, until > now ? (lua_Number)(until - now) / 1e6 : 0);
    return 1;
}

/* hub:alarm(): the same for a loop without timers: the descriptor can be read then. */
static int hub_alarm(lua_State *L)
{
    if (!tp_reactor_set_alarm(reactor_of(L, 1)))
        return luaL_error(L, "no file descriptors for an event loop");
    return 0;
}

/* hub:look(): looks at what has happened. */
static int hub_look(lua_State *L)
{
    tp_reactor_look(reactor_of(L, 1));
    return 0;
}

/* hub:next(): the key of the next call that may go on, or nil. */
static int hub_next(lua_State *L)
{
    tp_op *op = tp_reactor_next(reactor_of(L, 1));
    if (op == NULL)
        return 0;
    lua_pushlightuserdata(L, tp_op_tag(op));
    return 1;
}

/* hub:ring(): whoever waits for the descriptor is to look. */
static int hub_ring(lua_State *L)
{
    tp_reactor_ring(reactor_of(L, 1));
    return 0;
}

/* ------------------------------------------------------------------- module */

static int set_await(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &await_key);
    return 0;
}

/* core.set_task(coroutine): the calls that are begun from now on are made for this one. */
static int set_task(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTHREAD);
    lua_pushlightuserdata(L, lua_tothread(L, 1));
    lua_rawsetp(L, LUA_REGISTRYINDEX, &task_key);
    return 0;
}

/* core.adapter(object): the adapter that its database was opened with, or nil; and whether it
 * blocks. */
static int adapter(lua_State *L)
{
    struct tpb_db *db = db_of(L);
    tpb_db_push_adapter(L, db);
    lua_pushboolean(L, db->blocks);
    return 2;
}

/* core.resume(call): goes on with a call that had to wait. Returns what the method does. */
static int resume(lua_State *L)
{
    return tpb_call_resume(L);
}

static void set_hub_methods(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"fd", hub_fd},     {"waiting", hub_waiting}, {"sleep", hub_sleep}, {"look", hub_look},
        {"next", hub_next}, {"alarm", hub_alarm},     {"ring", hub_ring},   {NULL, NULL},
    };
    luaL_newmetatable(L, TPB_HUB);
    lua_pushcfunction(L, hub_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &hubs_key);
}

void tpb_await_open(lua_State *L, int module)
{
    set_hub_methods(L);
    lua_pushcfunction(L, new_hub);
    lua_setfield(L, module, "reactor");
    lua_pushcfunction(L, resume);
    lua_setfield(L, module, "resume");
    lua_pushcfunction(L, adapter);
    lua_setfield(L, module, "adapter");
    lua_pushcfunction(L, set_await);
    lua_setfield(L, module, "set_await");
    lua_pushcfunction(L, set_task);
    lua_setfield(L, module, "set_task");
    lua_pushlightuserdata(L, tpb_waits());
    lua_setfield(L, module, "waits");
}
