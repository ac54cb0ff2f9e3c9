/* The options of one call. */
#include <math.h>
#include <string.h>

#include "call.h"
#include "error.h"
#include "int64.h"
#include "place.h"

static const char tags_key; /* its address has the function that makes a comment of tags */

int64_t tpb_check_deadline(lua_State *L, int index, int64_t fallback_ms)
{
    if (lua_isnoneornil(L, index))
        return tp_deadline_in_ms(fallback_ms);
    if (!lua_isnumber(L, index))
        tpb_misuse(L, "milliseconds expected, got %s", luaL_typename(L, index));
    lua_Number ms = lua_tonumber(L, index);
    if (!(ms >= 0))
        tpb_misuse(L, "milliseconds cannot be negative");
    if (ms >= 1e15)
        return TP_NEVER;
    return tp_now() + (int64_t)(ms * 1000);
}

int64_t tpb_call_own_deadline(lua_State *L, int64_t at_most)
{
    for (int i = 2; i <= 3; i++) {
        if (!lua_istable(L, i))
            continue;
        int64_t own = TP_NEVER;
        lua_getfield(L, i, "timeout_ms");
        if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) >= 0)
            own = tpb_check_deadline(L, lua_gettop(L), 0);
        lua_pop(L, 1);
        at_most = own < at_most ? own : at_most;
    }
    return at_most;
}

static bool boolean_option(lua_State *L, const char *name)
{
    if (lua_type(L, -1) != LUA_TBOOLEAN)
        tpb_misuse(L, "option '%s' must be a boolean", name);
    return lua_toboolean(L, -1);
}

static int64_t count_option(lua_State *L, const char *name)
{
    if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1)
        tpb_misuse(L, "option '%s' must be a positive integer", name);
    return lua_tointeger(L, -1);
}

static enum tpb_as as_option(lua_State *L)
{
    static const char *const names[] = {"rows", "arrays", "columns", "lazy"};
    const char *as = lua_tostring(L, -1);

    for (int i = 0; as != NULL && i < 4; i++) {
        if (strcmp(as, names[i]) == 0)
            return (enum tpb_as)i;
    }
    tpb_misuse(L, "option 'as' must be \"rows\", \"arrays\", \"columns\" or \"lazy\"");
    return TPB_AS_ROWS;
}

static bool int64_option(lua_State *L)
{
    const char *as = lua_tostring(L, -1);

    if (as == NULL || strcmp(as, "cdata") != 0)
        tpb_misuse(L, "option 'int64' must be \"cdata\"");
    if (!tpb_has_cdata(L))
        tpb_misuse(L, "option 'int64' = \"cdata\" needs LuaJIT with its FFI");
    return true;
}

/* A count or milliseconds of the table on top of the stack, or 0. */
static int64_t retry_field(lua_State *L, const char *name)
{
    lua_Number value = 0;
    if (lua_getfield(L, -1, name) != LUA_TNIL) {
        value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
        if (!(value >= 1 && value < 1e9))
            tpb_misuse(L, "option 'retry.%s' must be a positive number", name);
    }
    lua_pop(L, 1);
    return (int64_t)value;
}

/* {attempts =, base_ms =, max_ms =}, or false: not at all. */
static void retry_option(lua_State *L, struct tp_retry *out)
{
    *out = (struct tp_retry){.attempts = 1};
    if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        return;
    if (!lua_istable(L, -1))
        tpb_misuse(L, "option 'retry' must be a table or false");
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, "attempts") != 0 && strcmp(name, "base_ms") != 0 &&
            strcmp(name, "max_ms") != 0)
            tpb_misuse(L, "unknown option 'retry.%s' of a call (known: attempts, base_ms, max_ms)",
                       name);
        lua_pop(L, 1);
    }
    out->attempts = (int)retry_field(L, "attempts");
    out->base_us = retry_field(L, "base_ms") * 1000;
    out->max_us = retry_field(L, "max_ms") * 1000;
}

/* The value is on top of the stack. */
static void take_option(lua_State *L, const char *name, struct tpb_call_options *out)
{
    if (strcmp(name, "timeout_ms") == 0) {
        if (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0))
            tpb_misuse(L, "option 'timeout_ms' must be milliseconds");
        out->query.deadline = tpb_check_deadline(L, lua_gettop(L), 0);
    } else if (strcmp(name, "idempotent") == 0) {
        out->query.idempotent = boolean_option(L, name);
    } else if (strcmp(name, "retry") == 0) {
        retry_option(L, &out->query.retry);
    } else if (strcmp(name, "nulls") == 0) {
        out->decode.null_sentinel = boolean_option(L, name);
    } else if (strcmp(name, "numbers") == 0) {
        out->decode.numeric_as_number = boolean_option(L, name);
    } else if (strcmp(name, "text") == 0) {
        out->query.text = out->decode.text = boolean_option(L, name);
    } else if (strcmp(name, "int64") == 0) {
        out->decode.int64_as_cdata = int64_option(L);
    } else if (strcmp(name, "as") == 0) {
        out->decode.as = as_option(L);
    } else if (strcmp(name, "max_rows") == 0) {
        out->query.max_rows = count_option(L, name);
    } else if (strcmp(name, "max_result_bytes") == 0) {
        out->query.max_bytes = count_option(L, name);
    } else if (strcmp(name, "application_name") == 0) {
        if (lua_type(L, -1) != LUA_TSTRING)
            tpb_misuse(L, "option 'application_name' must be a string");
    } else if (strcmp(name, "tags") != 0) {
        tpb_misuse(
            L,
            "unknown option '%s' of a call (known: timeout_ms, idempotent, retry, as, nulls, "
            "numbers, text, int64, max_rows, max_result_bytes, tags, application_name)",
            name);
    }
}

/* Of the table at index 2. The texts stay on the stack, below what is pushed next. */
static void take_marks(lua_State *L, struct tpb_call_options *out)
{
    if (lua_getfield(L, 2, "application_name") != LUA_TNIL)
        out->query.application_name = lua_tostring(L, -1);
    else
        lua_pop(L, 1);
    if (lua_getfield(L, 2, "tags") == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    out->tags = lua_gettop(L);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &tags_key);
    lua_pushvalue(L, out->tags);
    lua_call(L, 1, 2);
    if (!lua_isnil(L, -1))
        tpb_misuse(L, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    out->query.comment = lua_tostring(L, -1); /* NULL: there are none */
}

int tpb_call_set_tags(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &tags_key);
    return 0;
}

/* Replaces the table at index 2 by its SQL text. */
static void take_options(lua_State *L, struct tpb_call_options *out)
{
    if (lua_rawgeti(L, 2, 1) != LUA_TSTRING)
        tpb_misuse(L, "a call is {sql, options...}: SQL text expected first, got %s",
                   luaL_typename(L, -1));
    lua_pop(L, 1);
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        if (lua_type(L, -2) == LUA_TSTRING)
            take_option(L, lua_tostring(L, -2), out);
        else if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != 1)
            tpb_misuse(L, "a call is {sql, options...}: parameters go behind it");
        lua_pop(L, 1);
    }
    take_marks(L, out);
    lua_rawgeti(L, 2, 1);
    lua_replace(L, 2);
}

void tpb_call_check(lua_State *L, const struct tpb_db *db, int last, enum tpb_answer answer,
                    struct tpb_call_options *out)
{
    memset(out, 0, sizeof *out);
    out->query.deadline = db->timeout_ms > 0 ? tp_deadline_in_ms(db->timeout_ms) : TP_NEVER;
    if (lua_istable(L, 2))
        take_options(L, out);
    if (lua_type(L, 2) != LUA_TSTRING)
        tpb_misuse(L, "SQL text expected, got %s", luaL_typename(L, 2));
    out->query.sql = lua_tolstring(L, 2, &out->query.sql_len);
    out->query.nparams = last > 2 ? last - 2 : 0;
    out->query.simple = answer == TPB_SCRIPT || answer == TPB_TAG;
}

/* What can be known to be wrong before anything is sent. */
bool tpb_call_check_query(const struct tp_query *query, struct tp_error *err)
{
    if (memchr(query->sql, '\0', query->sql_len) != NULL)
        tp__error_set(err, TP_ERR_VALIDATION, "the SQL text has a NUL byte");
    else if (query->simple && query->nparams > 0)
        tp__error_set(err, TP_ERR_VALIDATION,
                      "a script takes no parameters: use query for one statement");
    else if (query->nparams > TPB_PARAMS_MAX)
        tp__error_set(err, TP_ERR_VALIDATION, "%d parameters are more than the %d there can be",
                      query->nparams, TPB_PARAMS_MAX);
    else
        return true;
    return false;
}
