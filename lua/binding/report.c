#include "report.h"

#include <string.h>

#include "errors.h"
#include "place.h"
#include "stats_table.h"

struct stats_options {
    bool buckets, shared;
};

/* The options at index 2, which may be nothing. */
static void read_stats_options(lua_State *L, struct stats_options *out)
{
    *out = (struct stats_options){false, false};
    if (lua_isnoneornil(L, 2))
        return;
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, "buckets") == 0)
            out->buckets = lua_toboolean(L, -1);
        else if (strcmp(name, "shared") == 0)
            out->shared = lua_toboolean(L, -1);
        else
            tpb_misuse(L, "unknown option '%s' of stats (known: buckets, shared)", name);
    }
}

/* db:stats(options): a table, or nil and an error when what is shared cannot be had. */
static int db_stats(lua_State *L)
{
    struct tp_stats stats;
    struct stats_options options;
    struct tp_error err;
    struct tpb_db *db = tpb_db_check(L, 1);
    read_stats_options(L, &options);
    if (!options.shared)
        tp_pool_stats(db->pool, &stats);
    else if (tp_pool_shared_stats(db->pool, &stats, &err) != TP_OK)
        return tpb_fail(L, &err);
    tpb_push_stats(L, &stats, options.buckets);
    if (options.shared) {
        lua_pushinteger(L, stats.processes);
        lua_setfield(L, -2, "processes");
    }
    return 1;
}

enum tp_pool_state tpb_report_state(const struct tpb_db *db, uint64_t *count, struct tp_error *last)
{
    enum tp_pool_state state = tp_pool_get_state(db->pool, count, last);
    bool good = state != TP_POOL_DRAINING && state != TP_POOL_UNCONFIGURED;
    return good && tp_share_is_closed(db->share) ? TP_POOL_CLOSED : state;
}

static void set_breaker(lua_State *L, const struct tpb_db *db)
{
    int64_t next_try_us;
    enum tp_breaker_state breaker = tp_pool_breaker(db->pool, &next_try_us);
    lua_pushstring(L, tp_breaker_state_name(breaker));
    lua_setfield(L, -2, "breaker");
    if (breaker == TP_BREAKER_OPEN) {
        lua_pushnumber(L, (lua_Number)next_try_us / 1000);
        lua_setfield(L, -2, "next_try_ms");
    }
}

/* db:state(): {state =, is_connected =, error_count =, breaker =, next_try_ms =, last_error =}. */
static int db_state(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    struct tp_error last;
    uint64_t count;
    enum tp_pool_state state = tpb_report_state(db, &count, &last);
    lua_createtable(L, 0, 6);
    lua_pushstring(L, tp_pool_state_name(state));
    lua_setfield(L, -2, "state");
    lua_pushboolean(L, state == TP_POOL_CONNECTED);
    lua_setfield(L, -2, "is_connected");
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, "error_count");
    set_breaker(L, db);
    if (last.kind != TP_OK) {
        tpb_push_error(L, &last);
        lua_setfield(L, -2, "last_error");
    }
    return 1;
}

static int db_is_connected(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    lua_pushboolean(L, tpb_report_state(db, NULL, NULL) == TP_POOL_CONNECTED);
    return 1;
}

/* db:is_configured(): whether something says where the server is. */
static int db_is_configured(lua_State *L)
{
    lua_pushboolean(L, tp_config_is_configured(tp_pool_config(tpb_db_check(L, 1)->pool)));
    return 1;
}

/* db:option(name): the value of an option as text, "***" for a secret. */
static int db_option(lua_State *L)
{
    const tp_config *config = tp_pool_config(tpb_db_check(L, 1)->pool);
    const char *name = luaL_checkstring(L, 2);
    if (!tp_config_knows(config, name))
        tpb_misuse(L, "unknown option '%s' (tidepool.options() has all)", name);
    lua_pushstring(L, tp_config_get(config, name));
    return 1;
}

void tpb_report_set_methods(lua_State *L)
{
    lua_pushcfunction(L, db_stats);
    lua_setfield(L, -2, "stats");
    lua_pushcfunction(L, db_state);
    lua_setfield(L, -2, "state");
    lua_pushcfunction(L, db_is_connected);
    lua_setfield(L, -2, "is_connected");
    lua_pushcfunction(L, db_is_configured);
    lua_setfield(L, -2, "is_configured");
    lua_pushcfunction(L, db_option);
    lua_setfield(L, -2, "option");
}
