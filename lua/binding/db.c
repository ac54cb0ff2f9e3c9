#include "db.h"

#include <string.h>

#include "await.h"
#include "call.h"
#include "client.h"
#include "compat.h"
#include "configuration.h"
#include "copy.h"
#include "error.h"
#include "errors.h"
#include "holders.h"
#include "listener.h"
#include "pipeline.h"
#include "place.h"
#include "report.h"
#include "statements.h"
#include "stream.h"
#include "suspend.h"
#include "tls_table.h"

static const char db_tag = 'd'; /* its address is the tag */

/* ---------------------------------------------------------------------- open */

static void push_warnings(lua_State *L, const tp_config *config)
{
    const char *warning;
    lua_newtable(L);
    for (size_t i = 0; (warning = tp_config_warning(config, i)) != NULL; i++) {
        lua_pushstring(L, warning);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void set_state(lua_State *L, const tp_config *config)
{
    lua_createtable(L, 0, 6);
    lua_newtable(L);
    lua_setfield(L, -2, "guards");
    push_warnings(L, config);
    lua_setfield(L, -2, "warnings");
    lua_setiuservalue(L, -2, TPB_DB_STATE);
    lua_newtable(L);
    lua_setiuservalue(L, -2, TPB_DB_COLUMNS);
    lua_newtable(L);
    lua_setiuservalue(L, -2, TPB_DB_OPS);
}

/* What a call looks at, as the pool has it: whoever joins one need not have said it. */
static void read_settings(struct tpb_db *db)
{
    const tp_config *config = tp_pool_config(db->pool);
    db->watch_queries = tp_config_bool(config, "log.queries");
    db->notes_places = tp_config_int(config, "pool.leak_after_ms") > 0;
    db->timeout_ms = tp_config_int(config, "query_timeout_ms");
    db->slow_us = tp_config_int(config, "log.slow_ms") * 1000;
}

int tpb_db_new(lua_State *L)
{
    struct tp_error err;
    bool joined;
    lua_settop(L, 3);
    tp_config **config = tpb_config_push(L, &err);
    if (config == NULL)
        return tpb_fail(L, &err);
    struct tpb_db *db = lua_newuserdatauv(L, sizeof *db, TPB_DB_VALUES);
    memset(db, 0, sizeof *db);
    db->tag = &db_tag;
    luaL_setmetatable(L, TPB_DB);
    set_state(L, *config);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &db_tag);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, db);
    lua_pop(L, 1);
    db->home = tpb_main_coroutine(L);
    if (tp_share_open(&db->share, *config, &joined, &err) != TP_OK)
        return tpb_fail(L, &err);
    *config = NULL; /* the share's now */
    db->pool = tp_share_pool(db->share);
    read_settings(db);
    tpb_db_push_state(L, lua_gettop(L));
    lua_pushboolean(L, joined);
    lua_setfield(L, -2, "joined");
    lua_pop(L, 1);
    return 1;
}

int tpb_db_is_configured(lua_State *L)
{
    struct tp_error err;
    lua_settop(L, 3);
    tp_config **config = tpb_config_push(L, &err);
    if (config == NULL)
        return tpb_fail(L, &err);
    lua_pushboolean(L, tp_config_is_configured(*config));
    return 1;
}

struct tpb_db *tpb_db_check(lua_State *L, int index)
{
    struct tpb_db *db = tpb_has_tag(L, index, &db_tag);
    if (db == NULL)
        luaL_checkudata(L, index, TPB_DB); /* raises the error */
    luaL_argcheck(L, db->pool != NULL, index, "the database was finalized");
    return db;
}

void tpb_db_push_state(lua_State *L, int index)
{
    lua_getiuservalue(L, index, TPB_DB_STATE);
}

/* ------------------------------------------------------------------- events */

static void push_event(lua_State *L, const struct tp_event *event)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, tp_event_name(event->type));
    lua_setfield(L, -2, "event");
    lua_pushstring(L, event->text);
    lua_setfield(L, -2, "message");
    lua_pushnumber(L, (lua_Number)event->wall_us / 1e6);
    lua_setfield(L, -2, "time");
    if (event->backend_pid != 0) {
        lua_pushinteger(L, event->backend_pid);
        lua_setfield(L, -2, "backend_pid");
    }
    if (event->attempt != 0) {
        lua_pushinteger(L, event->attempt);
        lua_setfield(L, -2, "attempt");
    }
    if (event->code[0] != '\0') {
        lua_pushstring(L, event->code);
        lua_setfield(L, -2, "code");
    }
}

void tpb_db_dispatch(lua_State *L, struct tpb_db *db, int index)
{
    struct tp_event event;
    bool first;
    if (!tp_share_has_events(db->share))
        return;
    luaL_checkstack(L, 8, NULL);
    tpb_db_push_state(L, index);
    lua_getfield(L, -1, "on_event");
    while (lua_isfunction(L, -1) && tp_share_next_event(db->share, &event, &first)) {
        lua_pushvalue(L, -1);
        push_event(L, &event);
        lua_pushboolean(L, first);
        lua_call(L, 2, 0);
    }
    lua_pop(L, 2);
}

/* ------------------------------------------------------------------ methods */

static int query(lua_State *L, enum tpb_answer answer, tp_reactor *reactor)
{
    return tpb_call_query(L, tpb_db_check(L, 1), 1, lua_gettop(L), NULL, answer, reactor);
}

static int db_query_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_ROWS, reactor);
}

static int db_one_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_ONE, reactor);
}

static int db_value_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_VALUE, reactor);
}

static int db_exec_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_COMMAND, reactor);
}

static int db_script_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_SCRIPT, reactor);
}

static int db_each_body(lua_State *L, tp_reactor *reactor)
{
    return tpb_stream_each(L, tpb_db_check(L, 1), 1, 1, lua_gettop(L), NULL, reactor);
}

static int db_pipeline_body(lua_State *L, tp_reactor *reactor)
{
    return tpb_pipeline_run(L, tpb_db_check(L, 1), 1, NULL, reactor);
}

static int db_query_many_body(lua_State *L, tp_reactor *reactor)
{
    return tpb_pipeline_many(L, tpb_db_check(L, 1), 1, NULL, reactor);
}

static int db_copy_body(lua_State *L, tp_reactor *reactor)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    lua_settop(L, 3);
    return tpb_copy_begin(L, db, 1, NULL, reactor);
}

int tpb_db_push_codecs(lua_State *L, const struct tpb_db *db, int index)
{
    if (!db->has_codecs)
        return 0;
    tpb_db_push_state(L, index);
    lua_getfield(L, -1, "codecs");
    lua_remove(L, -2);
    return lua_gettop(L);
}

static void check_codec_function(lua_State *L, const char *name)
{
    if (lua_getfield(L, 2, name) != LUA_TFUNCTION && !lua_isnil(L, -1))
        tpb_misuse(L, "define_type: '%s' must be a function", name);
    lua_pop(L, 1);
}

/* db:define_type{name =, decode = function(text), encode = function(value)}: true, or nil and
 * an error. */
static int db_define_type(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    struct tp_error err;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, "name") != 0 && strcmp(name, "decode") != 0 && strcmp(name, "encode") != 0)
            tpb_misuse(L, "unknown option '%s' of define_type (known: name, decode, encode)", name);
    }
    if (lua_getfield(L, 2, "name") != LUA_TSTRING)
        tpb_misuse(L, "define_type: 'name' must be a string");
    check_codec_function(L, "decode");
    check_codec_function(L, "encode");
    tpb_db_push_state(L, 1);
    if (lua_getfield(L, -1, "codecs") != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "codecs");
    }
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, lua_tostring(L, 3));
    if (tp_pool_force_text(db->pool, lua_tostring(L, 3), &err) != TP_OK)
        return tpb_fail(L, &err);
    db->has_codecs = true;
    lua_pushboolean(L, 1);
    return 1;
}

static int db_ping_body(lua_State *L, tp_reactor *reactor)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    lua_settop(L, 2);
    return tpb_call_ping(L, db, 1, NULL, 2, reactor);
}

int tpb_db_end_of_wait(lua_State *L, struct tpb_call *call)
{
    struct tpb_db *db = call->db;
    int db_index = call->db_index, results = 1;
    if (call->ok)
        lua_pushboolean(L, 1);
    else
        results = tpb_fail_pool(L, db->pool, &call->err);
    int top = lua_gettop(L);
    tpb_call_end(L, call);
    tpb_db_dispatch(L, db, db_index);
    lua_settop(L, top);
    return results;
}

static int is_ready(lua_State *L, struct tpb_call *call)
{
    if (call->ok) {
        tp_lease lease = tp_op_take_lease(call->op);
        call->ok = tp_lease_release(&lease, &call->err) == TP_OK;
    }
    return tpb_db_end_of_wait(L, call);
}

/* db:wait_ready(ms): true when a connection could be had by then. */
static int db_wait_ready_body(lua_State *L, tp_reactor *reactor)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    int64_t within = tp_config_int(tp_pool_config(db->pool), "pool.acquire_timeout_ms");
    int64_t deadline = tpb_check_deadline(L, 2, within);
    return tpb_call_acquire(L, tpb_call_push(L, db, 1, reactor), deadline, true, is_ready);
}

static void start_pause(struct tpb_call *call)
{
    tp_op_pause(call->op, call->options.query.deadline);
}

/* db:_pause(ms) */
static int db_pause_body(lua_State *L, tp_reactor *reactor)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    int64_t until = tpb_check_deadline(L, 2, 0);
    struct tpb_call *call = tpb_call_push(L, db, 1, reactor);
    call->options.query.deadline = until;
    return tpb_call_run(L, call, start_pause, tpb_db_end_of_wait);
}

static void start_drain(struct tpb_call *call)
{
    tp_op_drain(call->op, call->options.query.deadline);
}

static int db_drain_body(lua_State *L, tp_reactor *reactor)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    int64_t deadline = tpb_check_deadline(L, 2, 30000);
    struct tpb_call *call = tpb_call_push(L, db, 1, reactor);
    call->options.query.deadline = deadline;
    return tpb_call_run(L, call, start_drain, tpb_db_end_of_wait);
}

static const struct tpb_db *db_of(lua_State *L)
{
    return tpb_db_check(L, 1);
}

TPB_AWAITS(db_query, db_of)
TPB_AWAITS(db_one, db_of)
TPB_AWAITS(db_value, db_of)
TPB_AWAITS(db_exec, db_of)
TPB_AWAITS(db_script, db_of)
TPB_AWAITS(db_each, db_of)
TPB_AWAITS(db_pipeline, db_of)
TPB_AWAITS(db_query_many, db_of)
TPB_AWAITS(db_copy, db_of)
TPB_AWAITS(db_ping, db_of)
TPB_AWAITS(db_wait_ready, db_of)
TPB_AWAITS(db_pause, db_of)
TPB_AWAITS(db_drain, db_of)

static int db_close(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    tp_share_close(db->share);
    tpb_db_dispatch(L, db, 1);
    lua_pushboolean(L, 1);
    return 1;
}

/* The finalizer and <close>: the events of the last moments are not told. */
static int db_gc(lua_State *L)
{
    struct tpb_db *db = luaL_checkudata(L, 1, TPB_DB);
    if (db->share != NULL)
        tp_share_close(db->share); /* operations may keep it for longer */
    tp_share_release(db->share);
    db->share = NULL;
    db->pool = NULL;
    return 0;
}

static int db_close_scope(lua_State *L)
{
    tp_share_close(tpb_db_check(L, 1)->share);
    return 0;
}

static int db_tostring(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    struct tp_stats stats;
    tp_pool_stats(db->pool, &stats);
    lua_pushfstring(L, "%s (%s, %d of %d connections)", TPB_DB,
                    tp_pool_state_name(tpb_report_state(db, NULL, NULL)), stats.total, stats.max);
    return 1;
}

/* For the Lua side: the state table, and which of its functions hear of what (see tell.h). */
static int db_internals(lua_State *L)
{
    tpb_db_check(L, 1);
    tpb_db_push_state(L, 1);
    return 1;
}

/* db:_watch(what, whether) */
static int db_watch(lua_State *L)
{
    static const char *const names[] = {"queries", "starts", "leases", "tasks", NULL};
    struct tpb_db *db = tpb_db_check(L, 1);
    bool *const flags[] = {&db->watch_queries, &db->watch_starts, &db->watch_leases,
                           &db->watch_tasks};
    *flags[luaL_checkoption(L, 2, NULL, names)] = lua_toboolean(L, 3);
    return 0;
}

/* db:_take_retry(attempt, code or nil, why): whether something may be repeated. */
static int db_take_retry(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    lua_pushboolean(L, tp_pool_take_retry(db->pool, (int)luaL_checkinteger(L, 2),
                                          luaL_optstring(L, 3, NULL), luaL_checkstring(L, 4)));
    return 1;
}

/* db:_set_adapter(adapter or nil, blocks): how its methods wait; nil: as is found to fit. */
static int db_set_adapter(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    lua_settop(L, 3);
    db->blocks = lua_toboolean(L, 3);
    if (!lua_isnil(L, 2))
        db->home = NULL;
    db->has_adapter = !lua_isnil(L, 2);
    tpb_db_push_state(L, 1);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "adapter");
    return 0;
}

void tpb_db_push_adapter(lua_State *L, const struct tpb_db *db)
{
    if (!db->has_adapter) {
        lua_pushnil(L);
        return;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &db_tag); /* databases by address, weakly */
    lua_rawgetp(L, -1, db);
    tpb_db_push_state(L, lua_gettop(L));
    lua_getfield(L, -1, "adapter");
    lua_replace(L, -4);
    lua_pop(L, 2);
}

static void set_functions(lua_State *L, const luaL_Reg *functions)
{
    for (; functions->name != NULL; functions++) {
        lua_pushcfunction(L, functions->func);
        lua_setfield(L, -2, functions->name);
    }
}

void tpb_db_open(lua_State *L)
{
    static const luaL_Reg meta[] = {
        {"__gc", db_gc},
        {"__close", db_close_scope},
        {"__tostring", db_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"define_type", db_define_type},
        {"release", tpb_client_release_to},
        {"close", db_close},
        {"_state", db_internals},
        {"_set_adapter", db_set_adapter},
        {"_watch", db_watch},
        {"_take_retry", db_take_retry},
        {NULL, NULL},
    };
    static const struct tpb_awaited awaited[] = {
        TPB_AWAITED("query", db_query),
        TPB_AWAITED("one", db_one),
        TPB_AWAITED("value", db_value),
        TPB_AWAITED("exec", db_exec),
        TPB_AWAITED("script", db_script),
        TPB_AWAITED("_each", db_each),
        TPB_AWAITED("query_many", db_query_many),
        TPB_AWAITED("_pipeline", db_pipeline),
        TPB_AWAITED("_copy", db_copy),
        TPB_AWAITED("ping", db_ping),
        TPB_AWAITED("wait_ready", db_wait_ready),
        TPB_AWAITED("drain", db_drain),
        TPB_AWAITED("_pause", db_pause),
        {NULL, NULL, NULL},
    };
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &db_tag);
    luaL_newmetatable(L, TPB_DB);
    set_functions(L, meta);
    luaL_newlib(L, methods);
    tpb_set_awaited(L, awaited);
    tpb_client_set_acquire(L);
    tpb_tls_set_methods(L);
    tpb_report_set_methods(L);
    tpb_statements_set_methods(L);
    tpb_holders_set_methods(L);
    tpb_suspend_set_methods(L);
    tpb_listener_set_listen(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_remove(L, -2);
}
