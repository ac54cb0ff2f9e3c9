#include "statements.h"

#include <string.h>

#include "place.h"

enum { LIMIT = 20 };

/* A list in a userdata, so that a Lua error on the way frees it. */
static int list_gc(lua_State *L)
{
    tp_statement_list **list = lua_touserdata(L, 1);
    tp_statement_list_free(*list);
    *list = NULL;
    return 0;
}

static tp_statement_list *push_list(lua_State *L, tp_pool *pool, enum tp_statement_order order)
{
    tp_statement_list **list = lua_newuserdata(L, sizeof *list);
    *list = NULL;
    luaL_newmetatable(L, "tidepool.statement_list");
    lua_pushcfunction(L, list_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *list = tp_pool_statements(pool, order);
    if (*list == NULL)
        luaL_error(L, "not enough memory");
    return *list;
}

static enum tp_statement_order order_option(lua_State *L)
{
    static const char *const names[] = {"total_ms", "calls", "mean_ms", "p99_ms", "errors"};
    const char *by = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    for (int i = 0; i < 5; i++) {
        if (strcmp(by, names[i]) == 0)
            return (enum tp_statement_order)i;
    }
    tpb_misuse(L, "option 'by' must be \"total_ms\", \"calls\", \"mean_ms\", \"p99_ms\" or "
                  "\"errors\"");
    return TP_BY_TOTAL;
}

/* {limit =, by =} at index 2. */
static void read_options(lua_State *L, lua_Integer *limit, enum tp_statement_order *order)
{
    if (lua_isnoneornil(L, 2))
        return;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, "by") == 0) {
            *order = order_option(L);
        } else if (strcmp(name, "limit") == 0) {
            if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1)
                tpb_misuse(L, "option 'limit' must be a positive integer");
            *limit = lua_tointeger(L, -1);
        } else {
            tpb_misuse(L, "unknown option '%s' of statements (known: limit, by)", name);
        }
        lua_pop(L, 1);
    }
}

static void set_count(lua_State *L, const char *field, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, field);
}

static void set_ms(lua_State *L, const char *field, int64_t us)
{
    lua_pushnumber(L, (lua_Number)us / 1000);
    lua_setfield(L, -2, field);
}

static void push_statement(lua_State *L, const struct tp_statement_stats *item)
{
    lua_createtable(L, 0, 8);
    lua_pushstring(L, item->query);
    lua_setfield(L, -2, "query");
    set_count(L, "calls", item->calls);
    set_count(L, "rows", item->rows);
    set_count(L, "errors", item->errors);
    set_ms(L, "total_ms", item->total_us);
    set_ms(L, "mean_ms", item->mean_us);
    set_ms(L, "p99_ms", item->p99_us);
    set_ms(L, "max_ms", item->max_us);
}

/* db:statements{limit = 20, by = "total_ms"}: a list, the largest first. */
static int db_statements(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    lua_Integer limit = LIMIT;
    enum tp_statement_order order = TP_BY_TOTAL;
    lua_settop(L, 2);
    read_options(L, &limit, &order);
    const tp_statement_list *list = push_list(L, db->pool, order);
    lua_newtable(L);
    for (size_t i = 0; i < tp_statement_list_count(list) && (lua_Integer)i < limit; i++) {
        push_statement(L, tp_statement_list_at(list, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

void tpb_statements_set_methods(lua_State *L)
{
    lua_pushcfunction(L, db_statements);
    lua_setfield(L, -2, "statements");
}
