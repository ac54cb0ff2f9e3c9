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

/* ----------------------------------------------------------------- blockers */

static void begin_blocked(lua_State *L, const struct tp_blocked *blocked)
{
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, blocked->pid);
    lua_setfield(L, -2, "pid");
    lua_pushnumber(L, (lua_Number)blocked->wait_us / 1000);
    lua_setfield(L, -2, "wait_ms");
    set_text(L, "state", blocked->state);
    set_text(L, "query", blocked->query);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "blocked_by");
}

/* Sets it in the table on the top when anything is known. What one backend waits for stands
 * together, and becomes one entry. */
static void set_blockers(lua_State *L, tp_pool *pool)
{
    enum { MOST = 16 };
    struct tp_blocked *list = lua_newuserdatauv(L, MOST * sizeof *list, 0);
    int count = tp_pool_blocked(pool, list, MOST);
    if (count < 0) {
        lua_pop(L, 1);
        return;
    }
    lua_newtable(L);
    int entries = lua_gettop(L);
    for (int i = 0; i < count && i < MOST; i++) {
        if (i == 0 || list[i].pid != list[i - 1].pid) {
            lua_settop(L, entries);
            begin_blocked(L, &list[i]);
            lua_pushvalue(L, -2);
            lua_rawseti(L, entries, (lua_Integer)lua_rawlen(L, entries) + 1);
        }
        lua_pushinteger(L, list[i].by);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
    lua_settop(L, entries);
    lua_remove(L, -2);
    lua_setfield(L, -2, "blockers");
}

/* ------------------------------------------------------------------ methods */

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
    set_blockers(L, pool);
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
