#include "beacon.h"

#include "errors.h"
#include "tidepool.h"

static tp_beacon **check_beacon(lua_State *L)
{
    return luaL_checkudata(L, 1, TPB_BEACON);
}

static tp_beacon *check_open(lua_State *L)
{
    tp_beacon **beacon = check_beacon(L);
    luaL_argcheck(L, *beacon != NULL, 1, "the beacon is closed");
    return *beacon;
}

int tpb_beacon_new(lua_State *L)
{
    struct tp_error err;
    tp_beacon **beacon = lua_newuserdata(L, sizeof *beacon);
    *beacon = NULL;
    luaL_setmetatable(L, TPB_BEACON);
    if (tp_beacon_open(beacon, &err) != TP_OK)
        return tpb_fail(L, &err);
    return 1;
}

static int beacon_address(lua_State *L)
{
    lua_pushstring(L, tp_beacon_address(check_open(L)));
    return 1;
}

static int beacon_arm(lua_State *L)
{
    tp_beacon *beacon = check_open(L);
    lua_pushboolean(L, tp_beacon_arm(beacon, (int)luaL_checkinteger(L, 2)));
    return 1;
}

static int beacon_close(lua_State *L)
{
    tp_beacon **beacon = check_beacon(L);
    tp_beacon_close(*beacon);
    *beacon = NULL;
    return 0;
}

void tpb_beacon_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"address", beacon_address},
        {"arm", beacon_arm},
        {"close", beacon_close},
        {NULL, NULL},
    };
    luaL_newmetatable(L, TPB_BEACON);
    lua_pushcfunction(L, beacon_close);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
