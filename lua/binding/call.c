#include "call.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "decode.h"
#include "encode.h"
#include "error.h"
#include "errors.h"

struct call_op {
    tp_op *op;
    bool busy;
    struct tpb_params params;
};

/* The options of one call, from {sql, timeout_ms = ...}. */
struct call_options {
    struct tp_query query;
    struct tpb_decode decode;
};

/* --------------------------------------------------------------- operations */

static int op_gc(lua_State *L)
{
    struct call_op *call = luaL_checkudata(L, 1, TPB_OP);
    tp_op_free(call->op);
    call->op = NULL;
    tpb_params_deinit(&call->params);
    return 0;
}

void tpb_call_open(lua_State *L)
{
    luaL_newmetatable(L, TPB_OP);
    lua_pushcfunction(L, op_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

/* Pushes an operation of the database that is not busy, and makes it so. */
static struct call_op *push_op(lua_State *L, struct tpb_db *db, int db_index)
{
    lua_getiuservalue(L, db_index, TPB_DB_OP);
    struct call_op *call = lua_touserdata(L, -1);
    if (call == NULL || call->busy) {
        lua_pop(L, 1);
        call = lua_newuserdatauv(L, sizeof *call, 0);
        memset(call, 0, sizeof *call);
        luaL_setmetatable(L, TPB_OP);
        tpb_params_init(&call->params);
        call->op = tp_op_new(db->pool);
        if (call->op == NULL)
            luaL_error(L, "not enough memory");
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, db_index, TPB_DB_OP);
    }
    call->busy = true;
    return call;
}

/* The call has ended: the operation lets go of what it holds. */
static void end_op(struct call_op *call)
{
    tp_op_abandon(call->op);
    tpb_params_clear(&call->params);
    call->busy = false;
}

/* ------------------------------------------------------------------ options */

int64_t tpb_check_deadline(lua_State *L, int index, int64_t fallback_ms)
{
    if (lua_isnoneornil(L, index))
        return tp_deadline_in_ms(fallback_ms);
    lua_Number ms = luaL_checknumber(L, index);
    luaL_argcheck(L, ms >= 0 && !isnan(ms), index, "milliseconds cannot be negative");
    if (ms >= 1e15)
        return TP_NEVER;
    return tp_now() + (int64_t)(ms * 1000);
}

static bool boolean_option(lua_State *L, const char *name)
{
    if (lua_type(L, -1) != LUA_TBOOLEAN)
        luaL_error(L, "option '%s' must be a boolean", name);
    return lua_toboolean(L, -1);
}

/* The value is on top of the stack. */
static void take_option(lua_State *L, const char *name, struct call_options *out)
{
    if (strcmp(name, "timeout_ms") == 0) {
        if (lua_type(L, -1) != LUA_TNUMBER)
            luaL_error(L, "option 'timeout_ms' must be a number");
        out->query.deadline = tpb_check_deadline(L, lua_gettop(L), 0);
    } else if (strcmp(name, "idempotent") == 0) {
        out->query.idempotent = boolean_option(L, name);
    } else if (strcmp(name, "nulls") == 0) {
        out->decode.null_sentinel = boolean_option(L, name);
    } else if (strcmp(name, "numbers") == 0) {
        out->decode.numeric_as_number = boolean_option(L, name);
    } else if (strcmp(name, "as") == 0) {
        const char *as = lua_tostring(L, -1);
        if (as == NULL || (strcmp(as, "rows") != 0 && strcmp(as, "arrays") != 0))
            luaL_error(L, "option 'as' must be \"rows\" or \"arrays\"");
        out->decode.arrays = strcmp(as, "arrays") == 0;
    } else {
        luaL_error(L,
                   "unknown option '%s' of a call (known: timeout_ms, idempotent, as, nulls, "
                   "numbers)",
                   name);
    }
}

/* Replaces the table at index 2 by its SQL text. */
static void take_options(lua_State *L, struct call_options *out)
{
    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        if (lua_type(L, -2) == LUA_TSTRING)
            take_option(L, lua_tostring(L, -2), out);
        else if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != 1)
            luaL_error(L, "a call is {sql, options...}: parameters go behind it");
        lua_pop(L, 1);
    }
    lua_rawgeti(L, 2, 1);
    lua_replace(L, 2);
}

static void check_call(lua_State *L, const struct tpb_db *db, int last, enum tpb_answer answer,
                       struct call_options *out)
{
    int64_t within = tp_config_int(tp_pool_config(db->pool), "query_timeout_ms");
    memset(out, 0, sizeof *out);
    out->query.deadline = within > 0 ? tp_deadline_in_ms(within) : TP_NEVER;
    if (lua_istable(L, 2))
        take_options(L, out);
    if (lua_type(L, 2) != LUA_TSTRING)
        luaL_error(L, "SQL text expected, got %s", luaL_typename(L, 2));
    out->query.sql = lua_tolstring(L, 2, &out->query.sql_len);
    out->query.nparams = last > 2 ? last - 2 : 0;
    out->query.simple = answer == TPB_SCRIPT || answer == TPB_TAG;
}

/* What can be known to be wrong before anything is sent. */
static bool check_query(const struct tp_query *query, struct tp_error *err)
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

/* ------------------------------------------------------------------ answers */

static bool push_script(lua_State *L, const tp_result *result, const struct tpb_decode *how,
                        struct tp_error *err)
{
    lua_newtable(L);
    for (lua_Integer i = 1; result != NULL; i++, result = tp_result_next(result)) {
        if (!tpb_push_result(L, result, how, err)) {
            lua_pop(L, 1);
            return false;
        }
        lua_rawseti(L, -2, i);
    }
    return true;
}

static bool push_first(lua_State *L, const tp_result *result, const struct call_options *options,
                       enum tpb_answer answer, struct tp_error *err)
{
    if (tp_result_rows(result) == 0 || tp_result_columns(result) == 0) {
        lua_pushnil(L);
        return true;
    }
    if (answer == TPB_ONE)
        return tpb_push_row(L, result, 0, &options->decode, err);
    return tpb_push_value(L, result, 0, 0, &options->decode, err);
}

static bool push_answer(lua_State *L, const tp_result *result, const struct call_options *options,
                        enum tpb_answer answer, struct tp_error *err)
{
    switch (answer) {
    case TPB_ROWS:
        return tpb_push_result(L, result, &options->decode, err);
    case TPB_ONE:
    case TPB_VALUE:
        return push_first(L, result, options, answer, err);
    case TPB_COMMAND:
        tpb_push_command(L, result);
        return true;
    case TPB_SCRIPT:
        return push_script(L, result, &options->decode, err);
    case TPB_TAG:
        break;
    }
    lua_pushstring(L, tp_result_command(result));
    return true;
}

/* ------------------------------------------------------------------- running */

/* Drives the operation to its end, and gives it its parameters on the way. */
static bool run(lua_State *L, struct call_op *call, int nparams, struct tp_error *err)
{
    enum tp_step step;
    while ((step = tp_drive(call->op)) == TP_ENCODE) {
        if (tpb_encode_params(L, 3, nparams, call->op, &call->params, err))
            tp_op_params(call->op, call->params.items);
        else
            tp_op_refuse(call->op, err);
    }
    if (step == TP_FAILED)
        *err = *tp_op_error(call->op);
    return step == TP_DONE;
}

/* This thread holds every connection itself, so waiting would be in vain; but some may be
 * held by objects that the program has lost. True when it is worth another try. */
static bool find_lost_connections(lua_State *L, const struct call_op *call)
{
    if (!tp_op_was_self_blocked(call->op))
        return false;
    lua_gc(L, LUA_GCCOLLECT, 0);
    return true;
}

/* on_query(sql, nparams, elapsed_ms, err or nil); what it raises is its own business. */
static void tell_query(lua_State *L, struct tpb_db *db, int db_index, const struct tp_query *query,
                       int64_t elapsed_us, const struct tp_error *err)
{
    if (!db->watch_queries && (db->slow_us == 0 || elapsed_us < db->slow_us))
        return;
    tpb_db_push_state(L, db_index);
    lua_getfield(L, -1, "on_query");
    if (lua_isfunction(L, -1)) {
        lua_pushvalue(L, 2);
        lua_pushinteger(L, query->nparams);
        lua_pushnumber(L, (lua_Number)elapsed_us / 1000);
        if (err != NULL)
            tpb_push_error(L, err);
        else
            lua_pushnil(L);
        lua_call(L, 4, 0);
        lua_pop(L, 1);
    } else {
        lua_pop(L, 2);
    }
}

int tpb_call_query(lua_State *L, struct tpb_db *db, int db_index, int last, const tp_lease *lease,
                   enum tpb_answer answer)
{
    struct call_options options;
    struct tp_error err;

    check_call(L, db, last, answer, &options);
    tp__error_clear(&err);
    if (!check_query(&options.query, &err))
        return tpb_fail(L, &err);
    luaL_checkstack(L, 24, "too many parameters");
    struct call_op *call = push_op(L, db, db_index);
    tp_op_query(call->op, lease, &options.query);
    bool ok = run(L, call, options.query.nparams, &err);
    if (!ok && find_lost_connections(L, call)) {
        tp_op_query(call->op, lease, &options.query);
        ok = run(L, call, options.query.nparams, &err);
    }
    ok = ok && push_answer(L, tp_op_result(call->op), &options, answer, &err);
    int64_t elapsed = tp_op_elapsed(call->op);
    end_op(call);
    tell_query(L, db, db_index, &options.query, elapsed, ok ? NULL : &err);
    tpb_db_dispatch(L, db, db_index);
    return ok ? 1 : tpb_fail(L, &err);
}

int tpb_call_ping(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease, int timeout)
{
    struct tp_error err;
    int64_t fallback = tp_config_int(tp_pool_config(db->pool), "pool.acquire_timeout_ms");
    int64_t deadline = tpb_check_deadline(L, timeout, fallback);
    struct call_op *call = push_op(L, db, db_index);
    tp_op_ping(call->op, lease, deadline);
    bool ok = run(L, call, 0, &err);
    if (!ok && find_lost_connections(L, call)) {
        tp_op_ping(call->op, lease, deadline);
        ok = run(L, call, 0, &err);
    }
    end_op(call);
    tpb_db_dispatch(L, db, db_index);
    lua_pushboolean(L, ok);
    if (!ok)
        tpb_push_error(L, &err);
    return ok ? 1 : 2;
}

bool tpb_call_acquire(lua_State *L, struct tpb_db *db, int db_index, int64_t deadline,
                      tp_lease *out, struct tp_error *err)
{
    struct call_op *call = push_op(L, db, db_index);
    tp_op_acquire(call->op, deadline);
    bool ok = run(L, call, 0, err);
    if (!ok && find_lost_connections(L, call)) {
        tp_op_acquire(call->op, deadline);
        ok = run(L, call, 0, err);
    }
    if (ok)
        *out = tp_op_take_lease(call->op);
    end_op(call);
    lua_pop(L, 1);
    return ok;
}
