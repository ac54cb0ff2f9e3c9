#include "tell.h"

#include "errors.h"

static bool push_function(lua_State *L, int db_index, const char *name)
{
    luaL_checkstack(L, 16, NULL);
    tpb_db_push_state(L, db_index);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    if (lua_isfunction(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

static void push_list(lua_State *L, int first, int n)
{
    lua_createtable(L, n, 1);
    for (int i = 0; i < n; i++) {
        lua_pushvalue(L, first + i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
}

static void push_if(lua_State *L, int index)
{
    if (index > 0)
        lua_pushvalue(L, index);
    else
        lua_pushnil(L);
}

/* on_start(sql, nparams, list of parameters or nil, tags or nil, key of the connection or nil) */
int tpb_announce(lua_State *L, int db_index, const struct tpb_start *start)
{
    if (!push_function(L, db_index, "on_start"))
        return 0;
    lua_pushvalue(L, start->sql);
    lua_pushinteger(L, start->nparams);
    if (start->first > 0)
        push_list(L, start->first, start->nparams);
    else
        lua_pushnil(L);
    push_if(L, start->tags);
    if (start->lease != NULL)
        lua_pushlightuserdata(L, (void *)(uintptr_t)start->lease);
    else
        lua_pushnil(L);
    lua_call(L, 5, 1);
    return lua_gettop(L);
}

struct tpb_told tpb_told_of(const tp_op *op)
{
    return (struct tpb_told){
        .elapsed_us = tp_op_elapsed(op),
        .rows = tp_op_touched(op),
        .command = tp_op_last_command(op),
    };
}

/* on_query(sql, nparams, elapsed_ms, err or nil, span or nil, rows, command, whole). */
void tpb_tell(lua_State *L, const struct tpb_db *db, int db_index, const struct tpb_told *told)
{
    if (!tpb_is_told(L, db, told->elapsed_us) || !push_function(L, db_index, "on_query"))
        return;
    lua_pushvalue(L, told->sql);
    lua_pushinteger(L, told->nparams);
    lua_pushnumber(L, (lua_Number)told->elapsed_us / 1000);
    if (told->err != NULL)
        tpb_push_error(L, told->err);
    else
        lua_pushnil(L);
    push_if(L, told->span);
    lua_pushinteger(L, (lua_Integer)told->rows);
    lua_pushstring(L, told->command);
    lua_pushboolean(L, told->whole);
    lua_call(L, 8, 0);
}

/* on_lease(event, ms, backend_pid). */
void tpb_tell_lease(lua_State *L, int db_index, const char *event, int64_t us, int backend_pid)
{
    if (!push_function(L, db_index, "on_lease"))
        return;
    lua_pushstring(L, event);
    lua_pushnumber(L, (lua_Number)us / 1000);
    lua_pushinteger(L, backend_pid);
    lua_call(L, 3, 0);
}
