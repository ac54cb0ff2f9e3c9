#include "tls_table.h"

#include <time.h>

#include "db.h"
#include "errors.h"
#include "place.h"

/* "2027-01-31T12:00:00Z"; field of the table on the top. */
static void set_date(lua_State *L, const char *field, int64_t seconds)
{
    char text[32] = "";
    struct tm tm;
    time_t at = (time_t)seconds;
    if (gmtime_r(&at, &tm) != NULL)
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

static void set_days(lua_State *L, int64_t until, int64_t now)
{
    lua_pushinteger(L, tp_tls_days(until, now));
    lua_setfield(L, -2, "days_left");
}

static void set_text(lua_State *L, const char *field, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

static void set_certificate(lua_State *L, const char *field, const struct tp_certificate *from,
                            int64_t now)
{
    if (!from->known)
        return;
    lua_createtable(L, 0, 5);
    set_text(L, "subject", from->subject);
    set_text(L, "issuer", from->issuer);
    set_date(L, "not_before", from->not_before);
    set_date(L, "not_after", from->not_after);
    set_days(L, from->not_after, now);
    lua_setfield(L, -2, field);
}

static void set_crl(lua_State *L, int64_t until, int64_t now)
{
    if (until == 0)
        return;
    lua_createtable(L, 0, 2);
    set_date(L, "next_update", until);
    set_days(L, until, now);
    lua_setfield(L, -2, "crl");
}

static void set_warnings(lua_State *L, const struct tp_tls_state *state, int64_t now)
{
    struct tp_tls_warning warning;
    lua_newtable(L);
    for (size_t i = 0; tp_tls_warning(state, now, i, &warning); i++) {
        lua_createtable(L, 0, 4);
        set_text(L, "name", warning.name);
        set_text(L, "message", warning.message);
        if (warning.of[0] != '\0') {
            set_text(L, "of", warning.of);
            lua_pushinteger(L, warning.days_left);
            lua_setfield(L, -2, "days_left");
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "warnings");
}

/* db:tls(): how connections are encrypted, and the certificates on both sides. */
static int db_tls(lua_State *L)
{
    tp_pool *pool = tpb_db_check(L, 1)->pool;
    struct tp_tls_state state;
    int64_t now = (int64_t)time(NULL);
    tp_pool_tls(pool, &state);
    lua_createtable(L, 0, 10);
    lua_pushstring(L, tp_config_get(tp_pool_config(pool), "tls.mode"));
    lua_setfield(L, -2, "mode");
    if (state.encrypted) {
        set_text(L, "version", state.version);
        set_text(L, "cipher", state.cipher);
        lua_pushinteger(L, state.bits);
        lua_setfield(L, -2, "bits");
    }
    set_certificate(L, "server", &state.server, now);
    set_certificate(L, "cert", &state.own, now);
    set_certificate(L, "ca", &state.ca, now);
    set_crl(L, state.crl_until, now);
    set_warnings(L, &state, now);
    return 1;
}

/* The text of a field of the table at 2, which keeps it; NULL when there is none. */
static const char *value_of(lua_State *L, const char *field)
{
    if (lua_getfield(L, 2, field) != LUA_TSTRING && !lua_isnil(L, -1))
        tpb_misuse(L, "reload_tls: '%s' must be a string", field);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1);
    return text;
}

static void check_names(lua_State *L)
{
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        static const char *const names[] = {"ca", "cert", "key", "crl", NULL};
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        luaL_checkoption(L, -1, NULL, names);
        lua_pop(L, 1);
    }
}

/* db:reload_tls{ca =, cert =, key =, crl =} or db:reload_tls(): true, or nil and an error. */
static int db_reload_tls(lua_State *L)
{
    tp_pool *pool = tpb_db_check(L, 1)->pool;
    struct tp_tls_values values = {NULL, NULL, NULL, NULL};
    struct tp_error err;
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        check_names(L);
        values.ca = value_of(L, "ca");
        values.cert = value_of(L, "cert");
        values.key = value_of(L, "key");
        values.crl = value_of(L, "crl");
    }
    if (tp_pool_reload_tls(pool, &values, &err) != TP_OK)
        return tpb_fail(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

void tpb_tls_set_methods(lua_State *L)
{
    lua_pushcfunction(L, db_tls);
    lua_setfield(L, -2, "tls");
    lua_pushcfunction(L, db_reload_tls);
    lua_setfield(L, -2, "reload_tls");
}
