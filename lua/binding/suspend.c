#include "suspend.h"

#include <string.h>

#include "await.h"
#include "call.h"
#include "error.h"
#include "errors.h"
#include "place.h"

/* The database, if it is open; else err says that it is not. */
static struct tpb_db *open_db(lua_State *L, struct tp_error *err)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    if (!tp_share_is_closed(db->share))
        return db;
    tp__error_set(err, TP_ERR_POOL_CLOSED, "the pool is closed");
    return NULL;
}

static int done(lua_State *L, struct tpb_db *db)
{
    tpb_db_dispatch(L, db, 1);
    lua_pushboolean(L, 1);
    return 1;
}

static void start_suspend(struct tpb_call *call)
{
    tp_op_suspend(call->op, call->options.query.deadline);
}

/* Of {wait_ms = n} at index 2, pushed; nil: not to wait. */
static void push_wait(lua_State *L)
{
    if (lua_isnoneornil(L, 2)) {
        lua_pushnil(L);
        return;
    }
    if (!lua_istable(L, 2))
        tpb_misuse(L, "a table of options expected, got %s", luaL_typename(L, 2));
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        lua_pop(L, 1);
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
        if (strcmp(name, "wait_ms") != 0)
            tpb_misuse(L, "unknown option '%s' of suspend (known: wait_ms)", name);
    }
    lua_getfield(L, 2, "wait_ms");
}

/* db:suspend{wait_ms =}: true, or nil and an error. */
static int db_suspend_body(lua_State *L, tp_reactor *reactor)
{
    struct tp_error err;
    struct tpb_db *db = open_db(L, &err);
    if (db == NULL)
        return tpb_fail(L, &err);
    lua_settop(L, 2);
    push_wait(L);
    if (lua_isnil(L, 3)) {
        tp_pool_suspend(db->pool);
        return done(L, db);
    }
    int64_t deadline = tpb_check_deadline(L, 3, 0);
    struct tpb_call *call = tpb_call_push(L, db, 1, reactor);
    call->options.query.deadline = deadline;
    return tpb_call_run(L, call, start_suspend, tpb_db_end_of_wait);
}

static int db_resume(lua_State *L)
{
    struct tp_error err;
    struct tpb_db *db = open_db(L, &err);
    if (db == NULL)
        return tpb_fail(L, &err);
    tp_pool_resume(db->pool);
    return done(L, db);
}

static int db_evict_all(lua_State *L)
{
    struct tp_error err;
    struct tpb_db *db = open_db(L, &err);
    if (db == NULL)
        return tpb_fail(L, &err);
    tp_pool_evict_all(db->pool);
    return done(L, db);
}

static const struct tpb_db *db_of(lua_State *L)
{
    return tpb_db_check(L, 1);
}

TPB_AWAITS(db_suspend, db_of)

void tpb_suspend_set_methods(lua_State *L)
{
    static const struct tpb_awaited awaited[] = {
        TPB_AWAITED("suspend", db_suspend),
        {NULL, NULL, NULL},
    };
    tpb_set_awaited(L, awaited);
    lua_pushcfunction(L, db_resume);
    lua_setfield(L, -2, "resume");
    lua_pushcfunction(L, db_evict_all);
    lua_setfield(L, -2, "evict_all");
}
