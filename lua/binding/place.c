#include "place.h"

#include <stdarg.h>
#include <string.h>

/* What follows the last "/tidepool/" of a path, or NULL. */
static const char *within_tidepool(const char *path)
{
    static const char folder[] = "/tidepool/";
    const char *found = NULL;
    for (const char *at = strstr(path, folder); at != NULL; at = strstr(at + 1, folder))
        found = at + sizeof folder - 1;
    return found;
}

/* The modules that acquire in the program's name are not what is looked for. */
static bool is_of_program(const lua_Debug *at)
{
    static const char *const own[] = {
        "scope.lua",      "transaction.lua",   "await/init.lua", "log.lua",
        "events.lua",     "repeats.lua",       "pipeline.lua",   "copy.lua",
        "compat.lua",     "blockers.lua",      "failure.lua",    "init.lua",
        "options.lua",    "await/adapter.lua", "listen.lua",     "health.lua",
        "shutdown.lua",   "slow.lua",          "http/init.lua",  "http/serve.lua",
        "http/nginx.lua",
    };
    if (at->currentline <= 0)
        return false;
    const char *module = within_tidepool(at->source);
    bool is_own = false;
    for (size_t i = 0; module != NULL && i < sizeof own / sizeof own[0]; i++)
        is_own |= strcmp(module, own[i]) == 0;
    return !is_own;
}

int tpb_place(lua_State *L)
{
    lua_Debug at;
    if (!tpb_find_place(L, &at))
        return 0;
    lua_pushfstring(L, "%s:%d", at.short_src, at.currentline);
    return 1;
}

bool tpb_find_place(lua_State *L, lua_Debug *at)
{
    for (int level = 1; lua_getstack(L, level, at); level++) {
        if (lua_getinfo(L, "Sl", at) && is_of_program(at))
            return true;
    }
    return false;
}

int tpb_misuse(lua_State *L, const char *format, ...)
{
    lua_Debug at;
    va_list values;

    if (tpb_find_place(L, &at))
        lua_pushfstring(L, "%s:%d: ", at.short_src, at.currentline);
    else
        lua_pushliteral(L, "");
    va_start(values, format);
    lua_pushvfstring(L, format, values);
    va_end(values);
    lua_concat(L, 2);
    return lua_error(L);
}
