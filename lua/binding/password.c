#include "password.h"

#include "await.h"
#include "error.h"

void tpb_password_ask(lua_State *L, const struct tpb_call *call)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    tpb_db_push_state(L, call->db_index);
    lua_getfield(L, -1, "on_password");
    lua_pushvalue(L, call->db_index);
    lua_pushnumber(L, (lua_Number)tp_op_password_ticket(call->op));
    if (call->reactor != NULL)
        tpb_push_hub(L, call->reactor);
    else
        lua_pushnil(L);
    lua_call(L, 3, 0);
    lua_settop(L, top);
}

int tpb_password_give(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    uint64_t ticket = (uint64_t)luaL_checknumber(L, 2);
    struct tp_error why;
    const char *password = lua_tostring(L, 3);
    tp__error_clear(&why);
    if (password == NULL) {
        tp__error_set(&why, TP_ERR_CONNECTION, "no password: %s", luaL_checkstring(L, 4));
        why.retryable = lua_toboolean(L, 5);
    }
    lua_pushboolean(L, tp_pool_give_password(db->pool, ticket, password, &why) == TP_OK);
    return 1;
}
