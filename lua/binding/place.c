#include "place.h"

#include <string.h>

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* The modules that acquire in the program's name are not what is looked for. */
static bool is_of_program(const lua_Debug *at)
{
    static const char *const own[] = {
        "/tidepool/scope.lua",    "/tidepool/transaction.lua", "/tidepool/await/init.lua",
        "/tidepool/log.lua",      "/tidepool/events.lua",      "/tidepool/repeats.lua",
        "/tidepool/pipeline.lua", "/tidepool/copy.lua",        "/tidepool/compat.lua",
        "/tidepool/blockers.lua",
    };
    bool is_own = false;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        is_own |= ends_with(at->source, own[i]);
    return at->currentline > 0 && !is_own;
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
