#include "configuration.h"

/* A configuration in a userdata, so that a Lua error on the way frees it. */
static int config_gc(lua_State *L)
{
    tp_config **config = lua_touserdata(L, 1);
    tp_config_free(*config);
    *config = NULL;
    return 0;
}

static tp_config **push_config(lua_State *L)
{
    tp_config **config = lua_newuserdata(L, sizeof *config);
    *config = NULL;
    /* Set each time: memory may have run out after the metatable was made. */
    luaL_newmetatable(L, "tidepool.config");
    lua_pushcfunction(L, config_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *config = tp_config_new();
    if (*config == NULL)
        luaL_error(L, "not enough memory");
    return config;
}

/* Takes the pairs of the table at index 2, all of them strings. */
static bool take_pairs(lua_State *L, tp_config *config, struct tp_error *err)
{
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        lua_pushvalue(L, -2); /* lua_tostring must not change the key itself */
        const char *name = luaL_checkstring(L, -1);
        const char *value = luaL_checkstring(L, -2);
        if (tp_config_set(config, name, value, err) != TP_OK)
            return false;
        lua_pop(L, 2);
    }
    return true;
}

tp_config **tpb_config_push(lua_State *L, struct tp_error *err)
{
    const char *url = luaL_optstring(L, 1, NULL);
    luaL_checktype(L, 2, LUA_TTABLE);
    tp_config **config = push_config(L);
    if (lua_toboolean(L, 3))
        tp_config_ask_password(*config);
    if (url != NULL && tp_config_set_url(*config, url, err) != TP_OK)
        return NULL;
    if (!take_pairs(L, *config, err) || tp_config_resolve(*config, NULL, NULL, err) != TP_OK)
        return NULL;
    return config;
}
