#include "errors.h"

#include "compat.h"

static void set_text(lua_State *L, const char *field, const char *text)
{
    if (text[0] == '\0')
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

static void set_server_fields(lua_State *L, const struct tp_error *err)
{
    set_text(L, "code", err->code);
    set_text(L, "name", tp_sqlstate_name(err->code));
    set_text(L, "severity", err->severity);
    set_text(L, "detail", err->detail);
    set_text(L, "hint", err->hint);
    set_text(L, "where", err->where);
    set_text(L, "schema", err->schema);
    set_text(L, "table", err->table);
    set_text(L, "column", err->column);
    set_text(L, "constraint", err->constraint);
    set_text(L, "query", err->query);
    if (err->position > 0) {
        lua_pushinteger(L, err->position);
        lua_setfield(L, -2, "position");
    }
}

void tpb_push_error(lua_State *L, const struct tp_error *err)
{
    lua_createtable(L, 0, 8);
    set_text(L, "kind", tp_status_name(err->kind));
    lua_pushstring(L, err->message);
    lua_setfield(L, -2, "message");
    lua_pushboolean(L, err->retryable);
    lua_setfield(L, -2, "retryable");
    lua_pushinteger(L, err->attempts);
    lua_setfield(L, -2, "attempts");
    set_server_fields(L, err);
    luaL_setmetatable(L, TPB_ERROR);
}

int tpb_fail(lua_State *L, const struct tp_error *err)
{
    lua_pushnil(L);
    tpb_push_error(L, err);
    return 2;
}

/* Appends a field of the table at index 1, with what stands before and behind it. */
static void add_field(lua_State *L, luaL_Buffer *out, const char *before, const char *field,
                      const char *behind)
{
    lua_getfield(L, 1, field);
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushfstring(L, "%s%s%s", before, lua_tostring(L, -1), behind);
        lua_remove(L, -2);
        luaL_addvalue(out);
    } else {
        lua_pop(L, 1);
    }
}

/* "database error 23505 (unique_violation): duplicate key value ...; Key (id)=(1) ..." */
static int error_tostring(lua_State *L)
{
    luaL_Buffer out;
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_buffinit(L, &out);
    add_field(L, &out, "", "kind", " error");
    add_field(L, &out, " ", "code", "");
    add_field(L, &out, " (", "name", ")");
    add_field(L, &out, ": ", "message", "");
    add_field(L, &out, "; ", "detail", "");
    add_field(L, &out, " (hint: ", "hint", ")");
    luaL_pushresult(&out);
    return 1;
}

void tpb_errors_open(lua_State *L)
{
    luaL_newmetatable(L, TPB_ERROR);
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, TPB_ERROR);
    lua_setfield(L, -2, "__name");
}
