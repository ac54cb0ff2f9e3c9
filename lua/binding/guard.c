#include "guard.h"

#include <string.h>

#include "compat.h"

enum { KEEP_GUARDS = 64 };

/* The program has lost its client: what it was doing is not known. */
static int guard_gc(lua_State *L)
{
    struct tpb_guard *guard = luaL_checkudata(L, 1, TPB_GUARD);
    tpb_owner_detach(&guard->owned);
    tp_lease_lose(&guard->lease);
    tp_pool_release(guard->pool);
    guard->pool = NULL;
    return 0;
}

static void push_guards(lua_State *L, int db_index)
{
    tpb_db_push_state(L, db_index);
    lua_getfield(L, -1, "guards");
    lua_remove(L, -2);
}

static struct tpb_guard *push_new_guard(lua_State *L, struct tpb_db *db, int db_index)
{
    struct tpb_guard *guard = lua_newuserdatauv(L, sizeof *guard, 1);
    memset(guard, 0, sizeof *guard);
    luaL_setmetatable(L, TPB_GUARD);
    guard->pool = tp_pool_retain(db->pool);
    guard->db = db;
    lua_pushvalue(L, db_index);
    lua_setiuservalue(L, -2, 1);
    return guard;
}

/* The one that was released last, one of those kept, or a new one. */
struct tpb_guard *tpb_guard_push(lua_State *L, struct tpb_db *db, int db_index)
{
    struct tpb_guard *last = db->guard;
    if (last != NULL) {
        db->guard = NULL;
        lua_getiuservalue(L, db_index, TPB_DB_GUARD);
        lua_pushnil(L);
        lua_setiuservalue(L, db_index, TPB_DB_GUARD);
        return last;
    }
    push_guards(L, db_index);
    lua_Integer kept = (lua_Integer)lua_rawlen(L, -1);
    if (kept == 0) {
        lua_pop(L, 1);
        return push_new_guard(L, db, db_index);
    }
    lua_rawgeti(L, -1, kept);
    lua_pushnil(L);
    lua_rawseti(L, -3, kept);
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
}

void tpb_guard_keep(lua_State *L, struct tpb_db *db, int db_index)
{
    if (db->guard == NULL) {
        db->guard = lua_touserdata(L, -1);
        lua_setiuservalue(L, db_index, TPB_DB_GUARD);
        return;
    }
    push_guards(L, db_index);
    lua_Integer kept = (lua_Integer)lua_rawlen(L, -1);
    if (kept < KEEP_GUARDS) {
        lua_pushvalue(L, -2);
        lua_rawseti(L, -2, kept + 1);
    }
    lua_pop(L, 2);
}

void tpb_guard_open(lua_State *L)
{
    luaL_newmetatable(L, TPB_GUARD);
    lua_pushcfunction(L, guard_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
