/* The floor for acquire + release from Lua: a free list of integers behind two methods. */
#include <lauxlib.h>
#include <lua.h>

struct freelist {
    int count;
    int items[8];
};

static int acquire(lua_State *L)
{
    struct freelist *list = luaL_checkudata(L, 1, "freelist");
    lua_pushinteger(L, list->items[--list->count]);
    return 1;
}

static int release(lua_State *L)
{
    struct freelist *list = luaL_checkudata(L, 1, "freelist");
    list->items[list->count++] = (int)lua_tointeger(L, 2);
    return 0;
}

static int new (lua_State *L)
{
    struct freelist *list = lua_newuserdata(L, sizeof *list);
    list->count = 8;
    for (int i = 0; i < 8; i++)
        list->items[i] = i;
    luaL_setmetatable(L, "freelist");
    return 1;
}

int luaopen_freelist(lua_State *L);
int luaopen_freelist(lua_State *L)
{
    static const luaL_Reg methods[] = {{"acquire", acquire}, {"release", release}, {NULL, NULL}};
    luaL_newmetatable(L, "freelist");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, new);
    return 1;
}
