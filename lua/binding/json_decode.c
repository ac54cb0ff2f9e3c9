#include "json_decode.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

#include "error.h"

/* Its address is the key in the registry. */
static char registry_key;

/* Takes the message of a failed pcall off the stack. Out of memory is raised
 * again, as it would have been without the pcall. Returns false. */
static bool take_message(lua_State *L, int status, enum tp_status kind, const char *what,
                         struct tp_error *err)
{
    char text[200];

    if (status == LUA_ERRMEM)
        lua_error(L);
    tp__text_copy(text, sizeof text, lua_tostring(L, -1));
    lua_pop(L, 1);
    for (char *c = text; *c != '\0'; ++c)
        if (*c == '\n')
            *c = '\0';
    tp__error_set(err, kind, "%s: %s", what, text);
    return false;
}

/* Returns the decode function of a fresh instance of lua-cjson. */
static int load_cjson(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "cjson");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "new");
    if (lua_isfunction(L, -1))
        lua_call(L, 0, 1);
    else
        lua_pop(L, 1);
    lua_getfield(L, -1, "decode");
    luaL_checktype(L, -1, LUA_TFUNCTION);
    return 1;
}

bool tpb_json_load(lua_State *L, struct tp_error *err)
{
    int status;

    lua_pushlightuserdata(L, &registry_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    lua_pushcfunction(L, load_cjson);
    status = lua_pcall(L, 0, 1, 0);
    if (status != LUA_OK)
        return take_message(L, status, TP_ERR_VALIDATION,
                            "reading json needs the Lua package lua-cjson", err);
    lua_pushlightuserdata(L, &registry_key);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
    return true;
}

/* Pushes the integer that the number at the top stands for; false when it
 * stands for none or is one already. lua-cjson gives floats throughout. */
static bool push_whole(lua_State *L)
{
    double value;

    if (lua_type(L, -1) != LUA_TNUMBER || lua_isinteger(L, -1))
        return false;
    value = (double)lua_tonumber(L, -1);
    if (!(fabs(value) <= 9007199254740992.0) || floor(value) != value)
        return false;
    lua_pushinteger(L, (lua_Integer)value);
    return true;
}

/* Makes the integral numbers in the table at the top integers. Its depth is
 * bounded by lua-cjson's decode_max_depth, 1000. */
static void make_whole(lua_State *L)
{
    int table = lua_gettop(L);

    luaL_checkstack(L, LUA_MINSTACK, "nested json");
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        if (lua_istable(L, -1)) {
            make_whole(L);
        } else if (push_whole(L)) {
            lua_pushvalue(L, -3);
            lua_insert(L, -2);
            lua_rawset(L, table);
        }
        lua_pop(L, 1);
    }
}

bool tpb_json_decode(lua_State *L, int decode, const char *text, size_t len, struct tp_error *err)
{
    int status;

    lua_pushvalue(L, decode);
    lua_pushlstring(L, text, len);
    status = lua_pcall(L, 1, 1, 0);
    if (status != LUA_OK)
        return take_message(L, status, TP_ERR_DATABASE, "lua-cjson cannot read the value", err);
    if (lua_istable(L, -1))
        make_whole(L);
    else if (push_whole(L))
        lua_replace(L, -2);
    return true;
}
