#include "holders.h"

#include "db.h"
#include "errors.h"

static void set_text(lua_State *L, const char *field, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

static void push_holder(lua_State *L, const struct tp_holder *holder)
{
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, holder->backend_pid);
    lua_setfield(L, -2, "backend_pid");
    lua_pushnumber(L, (lua_Number)holder->age_us / 1000);
    lua_setfield(L, -2, "age_ms");
    set_text(L, "transaction", tp_transaction_state_name(holder->transaction));
    set_text(L, "sql", holder->sql);
    if (holder->place[0] != '\0') {
        lua_pushfstring(L, "%s:%d", holder->place, holder->line);
        lua_setfield(L, -2, "place");
    }
}

/* There may be more of them when they are listed than when they were counted: those that came last
 * are left out. */
static void push_holders(lua_State *L, tp_pool *pool)
{
    size_t room = tp_pool_holders(pool, NULL, 0);
    struct tp_holder *list = lua_newuserdatauv(L, (room + 1) * sizeof *list, 0);
    size_t count = tp_pool_holders(pool, list, room);
    count = count < room ? count : room;
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        push_holder(L, &list[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_remove(L, -2);
}

static int db_holders(lua_State *L)
{
    push_holders(L, tpb_db_check(L, 1)->pool);
    return 1;
}

void tpb_push_pool_error(lua_State *L, tp_pool *pool, const struct tp_error *err)
{
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    tpb_push_error(L, err);
    if (err->kind != TP_ERR_POOL_TIMEOUT)
        return;
    push_holders(L, pool);
    lua_setfield(L, -2, "holders");
}

int tpb_fail_pool(lua_State *L, tp_pool *pool, const struct tp_error *err)
{
    lua_pushnil(L);
    tpb_push_pool_error(L, pool, err);
    return 2;
}

void tpb_holders_set_methods(lua_State *L)
{
    lua_pushcfunction(L, db_holders);
    lua_setfield(L, -2, "holders");
}
