/* The C module tidepool.core: what the Lua modules are built on. */
#include <poll.h>

#include "await.h"
#include "beacon.h"
#include "call.h"
#include "client.h"
#include "compat.h"
#include "console.h"
#include "copy.h"
#include "db.h"
#include "error.h"
#include "errors.h"
#include "lazy.h"
#include "listener.h"
#include "owner.h"
#include "password.h"
#include "place.h"
#include "sqltext_fold.h"
#include "stream.h"
#include "tidepool.h"
#include "tools.h"
#include "values.h"

#if defined(__GNUC__)
#define TPB_EXPORT __attribute__((visibility("default")))
#else
#define TPB_EXPORT
#endif

typedef long quote_fn(const char *text, size_t len, char *out, size_t room);

static int quote(lua_State *L, quote_fn *fn, const char *why_not)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    luaL_Buffer out;
    char *room = luaL_buffinitsize(L, &out, 2 * len + 5);
    long needed = fn(text, len, room, 2 * len + 5);
    if (needed < 0) {
        struct tp_error err;
        tp__error_set(&err, TP_ERR_VALIDATION, "%s", why_not);
        return tpb_fail(L, &err);
    }
    luaL_pushresultsize(&out, (size_t)needed);
    return 1;
}

/* core.quote_identifier(text): the text as an SQL identifier, or nil and an error. */
static int quote_identifier(lua_State *L)
{
    return quote(L, tp_quote_identifier,
                 "an identifier must be valid UTF-8 without NUL, and not empty");
}

/* core.quote_literal(text): the text as an SQL string constant, or nil and an error. */
static int quote_literal(lua_State *L)
{
    return quote(L, tp_quote_literal, "a literal must be valid UTF-8 without NUL");
}

static const char *option_type(enum tp_option_type type)
{
    switch (type) {
    case TP_OPTION_INT:
        return "int";
    case TP_OPTION_MS:
        return "ms";
    case TP_OPTION_BOOL:
        return "bool";
    case TP_OPTION_ENUM:
        return "enum";
    case TP_OPTION_SECRET:
        return "secret";
    case TP_OPTION_STRING:
        break;
    }
    return "string";
}

static void set_text(lua_State *L, const char *field, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

/* core.options(): the option table, for documentation. */
static int options(lua_State *L)
{
    const struct tp_option_info *info;
    lua_newtable(L);
    for (size_t i = 0; (info = tp_option_at(i)) != NULL; i++) {
        lua_createtable(L, 0, 8);
        set_text(L, "name", info->name);
        set_text(L, "type", option_type(info->type));
        set_text(L, "environment", info->environment);
        set_text(L, "url", info->url);
        set_text(L, "production", info->production);
        set_text(L, "development", info->development);
        set_text(L, "choices", info->choices);
        set_text(L, "doc", info->doc);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* core.sqlstate(code): {name =, class =, retryable =}, or nil for an unknown one. */
static int sqlstate(lua_State *L)
{
    const char *code = luaL_checkstring(L, 1);
    if (tp_sqlstate_name(code)[0] == '\0') {
        lua_pushnil(L);
        return 1;
    }
    lua_createtable(L, 0, 3);
    set_text(L, "name", tp_sqlstate_name(code));
    set_text(L, "class", tp_sqlstate_class(code));
    lua_pushboolean(L, tp_sqlstate_retryable(code));
    lua_setfield(L, -2, "retryable");
    return 1;
}

/* core.now(): monotonic milliseconds. */
static int now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tp_now() / 1000);
    return 1;
}

/* core.fold(sql): what all texts of the statement have in common. */
static int fold(lua_State *L)
{
    char out[1001];
    uint64_t hash;
    size_t len;
    const char *sql = luaL_checklstring(L, 1, &len);
    lua_pushlstring(L, out, tp__sql_fold(sql, len, out, sizeof out, &hash));
    return 1;
}

/* core.sleep(ms): blocks the thread; a signal ends it early. */
static int sleep_ms(lua_State *L)
{
    lua_Number ms = luaL_checknumber(L, 1);
    if (ms > 0)
        poll(NULL, 0, ms < 60000 ? (int)ms + 1 : 60000);
    return 0;
}

/* core.shutdown_on(drain_ms, {"TERM", ...}): true, or nil and an error. */
static int shutdown_on(lua_State *L)
{
    enum { SIGNALS_AT_MOST = 16, MS_AT_MOST = INT32_MAX };
    struct tp_error err;
    int numbers[SIGNALS_AT_MOST];
    lua_Number drain_ms = luaL_checknumber(L, 1);
    luaL_argcheck(L, drain_ms >= 0 && drain_ms <= MS_AT_MOST, 1, "drain_ms is out of range");
    size_t count = lua_rawlen(L, 2);
    luaL_argcheck(L, count <= SIGNALS_AT_MOST, 2, "too many signals");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
        numbers[i] = tp_signal_by_name(name);
        if (numbers[i] == 0)
            tpb_misuse(L, "unknown signal '%s' (known: TERM, INT, HUP, QUIT, USR1, USR2)", name);
        lua_pop(L, 1);
    }
    if (tp_shutdown_on(numbers, count, (int64_t)(drain_ms * 1000), &err) != TP_OK)
        return tpb_fail(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

TPB_EXPORT int luaopen_tidepool_core(lua_State *L);

/* core.declare_worker(): see tp_worker_declare. */
static int declare_worker(lua_State *L)
{
    (void)L;
    tp_worker_declare();
    return 0;
}

TPB_EXPORT int luaopen_tidepool_core(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"open", tpb_db_new},
        {"is_configured", tpb_db_is_configured},
        {"give_password", tpb_password_give},
        {"quote_identifier", quote_identifier},
        {"quote_literal", quote_literal},
        {"options", options},
        {"sqlstate", sqlstate},
        {"now", now},
        {"sleep", sleep_ms},
        {"place", tpb_place},
        {"set_tags", tpb_call_set_tags},
        {"fold", fold},
        {"shutdown_on", shutdown_on},
        {"beacon", tpb_beacon_new},
        {"follow_requests", tpb_owner_follow},
        {"declare_worker", declare_worker},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    set_text(L, "xact_sql", tp_xact_sql());
    set_text(L, "blocked_sql", tp_blocked_sql());
    tpb_register_values(L, lua_gettop(L));
    tpb_tools_open(L, lua_gettop(L));
    tpb_await_open(L, lua_gettop(L));
    tpb_beacon_open(L);
    tpb_call_open(L);
    tpb_copy_open(L);
    lua_setfield(L, -2, "copy_methods");
    tpb_lazy_open(L);
    tpb_stream_open(L);
    lua_setfield(L, -2, "stream_methods");
    tpb_listener_open(L);
    lua_setfield(L, -2, "listener_methods");
    tpb_errors_open(L);
    lua_setfield(L, -2, "error_meta");
    tpb_client_open(L);
    lua_setfield(L, -2, "connection_methods");
    tpb_db_open(L);
    lua_setfield(L, -2, "db_methods");
    tpb_console_open(L);
    lua_setfield(L, -2, "console");
    lua_pushliteral(L, TP_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
