#include "values.h"

#include "compat.h"

void tpb_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL);
}

bool tpb_is_null(lua_State *L, int index)
{
    return lua_islightuserdata(L, index) && lua_touserdata(L, index) == NULL;
}

static bool has_metatable(lua_State *L, int index, const char *name)
{
    bool same;

    if (!lua_istable(L, index) || !lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, name);
    same = lua_rawequal(L, -1, -2) != 0;
    lua_pop(L, 2);
    return same;
}

bool tpb_is_json(lua_State *L, int index)
{
    return has_metatable(L, index, TPB_JSON);
}

bool tpb_is_array(lua_State *L, int index)
{
    return has_metatable(L, index, TPB_ARRAY);
}

/* tidepool.json(value): the value will be sent as JSON, whatever it is. */
static int values_json(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    luaL_getmetatable(L, TPB_JSON);
    lua_setmetatable(L, -2);
    return 1;
}

/* tidepool.array([t]): marks the table as a list, so that it is [] in JSON
 * even when it is empty. Returns the table. */
static int values_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (tpb_is_array(L, 1))
        return 1;
    luaL_argcheck(L, !lua_getmetatable(L, 1), 1, "the table has a metatable already");
    luaL_getmetatable(L, TPB_ARRAY);
    lua_setmetatable(L, 1);
    return 1;
}

static void push_metatable(lua_State *L, const char *name)
{
    if (luaL_newmetatable(L, name)) {
        lua_pushstring(L, name);
        lua_setfield(L, -2, "__name");
    }
}

void tpb_register_values(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    push_metatable(L, TPB_JSON);
    lua_pop(L, 1);
    push_metatable(L, TPB_ARRAY);
    lua_setfield(L, index, "array_mt");
    tpb_push_null(L);
    lua_setfield(L, index, "null");
    lua_pushcfunction(L, values_json);
    lua_setfield(L, index, "json");
    lua_pushcfunction(L, values_array);
    lua_setfield(L, index, "array");
}

static void count_index(struct tpb_shape *shape, lua_Integer key)
{
    if (shape->count == 0 || key < shape->min)
        shape->min = key;
    if (shape->count == 0 || key > shape->max)
        shape->max = key;
    shape->count++;
}

void tpb_table_shape(lua_State *L, int index, struct tpb_shape *out)
{
    struct tpb_shape shape = {.other = LUA_TNONE};

    index = lua_absindex(L, index);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING)
            shape.names++;
        else if (lua_isinteger(L, -1))
            count_index(&shape, lua_tointeger(L, -1));
        else
            shape.other = lua_type(L, -1);
    }
    *out = shape;
}

lua_Integer tpb_table_hole(lua_State *L, int index)
{
    for (lua_Integer i = 1;; ++i) {
        bool present;
        lua_rawgeti(L, index, i);
        present = !lua_isnil(L, -1);
        lua_pop(L, 1);
        if (!present)
            return i;
    }
}
