/* A Lua interpreter: lua_host SCRIPT [ARGUMENT...], or lua_host -e TEXT.
 *
 * It is for LuaJIT, whose own program Debian cannot install beside OpenResty's library, and for
 * the sanitizers: preloading their runtime into Debian's interpreter would also load it into
 * every shell that a spec starts, and those do not survive it. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* busted ends with error(nil) when a test has failed, and has said why. */
static int traceback(lua_State *L)
{
    if (lua_isnil(L, 1))
        return 1;
    lua_getglobal(L, "tostring");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    luaL_traceback(L, L, lua_tostring(L, -1), 1);
    return 1;
}

static void set_arguments(lua_State *L, int argc, char **argv)
{
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - 1);
    }
    lua_setglobal(L, "arg");
}

int main(int argc, char **argv)
{
    lua_State *L = luaL_newstate();
    if (L == NULL || argc < 2) {
        fputs("usage: lua_host SCRIPT [ARGUMENT...] | -e TEXT\n", stderr);
        return 2;
    }
    luaL_openlibs(L);
    set_arguments(L, argc, argv);
    lua_pushcfunction(L, traceback);
    bool text = strcmp(argv[1], "-e") == 0 && argc == 3;
    int failed = text ? luaL_loadstring(L, argv[2]) : luaL_loadfile(L, argv[1]);
    for (int i = 2; failed == LUA_OK && i < argc; i++)
        lua_pushstring(L, argv[i]);
    if (failed == LUA_OK)
        failed = lua_pcall(L, argc - 2, 0, 1);
    if (failed != LUA_OK && !lua_isnil(L, -1))
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
    lua_close(L);
    return failed == LUA_OK ? 0 : 1;
}
