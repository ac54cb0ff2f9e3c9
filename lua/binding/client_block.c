#include "client.h"

int tpb_client_xact(lua_State *L)
{
    bool unseen = false;
    const tp_lease *lease = tpb_client_lease(L, 1);
    const char *xact = lease != NULL ? tp_lease_xact(lease, &unseen) : NULL;
    if (xact != NULL && xact[0] != '\0')
        lua_pushstring(L, xact);
    else
        lua_pushnil(L);
    lua_pushboolean(L, unseen);
    (void)tpb_client_push_db(L);
    return 3;
}

/* Milliseconds as core.now() has them; later than any clock goes is never. */
static int64_t deadline_at(lua_Number ms)
{
    static const lua_Number end = 9e15;
    return ms < end ? (int64_t)(ms * 1000) : TP_NEVER;
}

int tpb_client_until(lua_State *L)
{
    bool none = lua_isnoneornil(L, 2);
    int64_t deadline = none ? TP_NEVER : deadline_at(luaL_checknumber(L, 2));
    int64_t before = tpb_client_set_deadline(L, 1, deadline);
    if (before == TP_NEVER)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)before / 1000);
    return 1;
}

int tpb_client_mark(lua_State *L)
{
    const tp_lease *lease = tpb_client_lease(L, 1);
    if (lease != NULL)
        tp_lease_set_tags(lease, luaL_optstring(L, 2, NULL), luaL_optstring(L, 3, NULL));
    lua_pushlightuserdata(L, (void *)(uintptr_t)tpb_client_key(L, 1));
    return 1;
}

int tpb_client_is_released(lua_State *L)
{
    lua_pushboolean(L, tpb_client_lease(L, 1) == NULL);
    return 1;
}

int tpb_client_transaction_state(lua_State *L)
{
    const tp_lease *lease = tpb_client_lease(L, 1);
    if (lease != NULL)
        lua_pushstring(L, tp_transaction_state_name(tp_lease_transaction(lease)));
    else
        lua_pushstring(L, tpb_client_is_inherited(L, 1) ? "inherited" : "unknown");
    return 1;
}

int tpb_client_tostring(lua_State *L)
{
    const tp_lease *lease = tpb_client_lease(L, 1);
    if (lease != NULL)
        lua_pushfstring(L, "%s (backend %d)", TPB_CLIENT, tp_lease_backend_pid(lease));
    else
        lua_pushliteral(L, TPB_CLIENT " (released)");
    return 1;
}
