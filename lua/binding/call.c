#include "call.h"

#include <math.h>
#include <string.h>

#include "compat.h"
#include "decode.h"
#include "encode.h"
#include "error.h"
#include "errors.h"

/* --------------------------------------------------------------- operations */

static int op_gc(lua_State *L)
{
    struct tpb_call *call = luaL_checkudata(L, 1, TPB_OP);
    tp_op_free(call->op);
    call->op = NULL;
    tpb_params_deinit(&call->params);
    tp__buf_free(&call->scratch);
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
struct tpb_call *tpb_call_push(lua_State *L, struct tpb_db *db, int db_index)
{
    lua_getiuservalue(L, db_index, TPB_DB_OPS);
    lua_rawgeti(L, -1, 1);
    struct tpb_call *call = lua_touserdata(L, -1);
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
        lua_rawseti(L, -3, 1);
    }
    lua_remove(L, -2);
    call->busy = true;
    return call;
}

/* The call has ended: the operation lets go of what it holds. */
void tpb_call_end(struct tpb_call *call)
{
    tp_op_abandon(call->op);
    tpb_params_clear(&call->params);
    call->codecs = 0;
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

static int64_t count_option(lua_State *L, const char *name)
{
    if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1)
        luaL_error(L, "option '%s' must be a positive integer", name);
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
    luaL_error(L, "option 'as' must be \"rows\", \"arrays\", \"columns\" or \"lazy\"");
    return TPB_AS_ROWS;
}

/* The value is on top of the stack. */
static void take_option(lua_State *L, const char *name, struct tpb_call_options *out)
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
        out->decode.as = as_option(L);
    } else if (strcmp(name, "max_rows") == 0) {
        out->query.max_rows = count_option(L, name);
    } else if (strcmp(name, "max_result_bytes") == 0) {
        out->query.max_bytes = count_option(L, name);
    } else {
        luaL_error(L,
                   "unknown option '%s' of a call (known: timeout_ms, idempotent, as, nulls, "
                   "numbers, max_rows, max_result_bytes)",
                   name);
    }
}

/* Replaces the table at index 2 by its SQL text. */
static void take_options(lua_State *L, struct tpb_call_options *out)
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

void tpb_call_check(lua_State *L, const struct tpb_db *db, int last, enum tpb_answer answer,
                    struct tpb_call_options *out)
{
    memset(out, 0, sizeof *out);
    out->query.deadline = db->timeout_ms > 0 ? tp_deadline_in_ms(db->timeout_ms) : TP_NEVER;
    if (lua_istable(L, 2))
        take_options(L, out);
    if (lua_type(L, 2) != LUA_TSTRING)
        luaL_error(L, "SQL text expected, got %s", luaL_typename(L, 2));
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

/* ------------------------------------------------------------------- running */

enum tp_step tpb_call_step(lua_State *L, struct tpb_call *call, int nparams, struct tp_error *err)
{
    enum tp_step step;
    while ((step = tp_drive(call->op)) == TP_ENCODE) {
        if (tpb_encode_params(L, 3, nparams, call->op, call->codecs, &call->params, err))
            tp_op_params(call->op, call->params.items);
        else
            tp_op_refuse(call->op, err);
    }
    if (step == TP_FAILED)
        *err = *tp_op_error(call->op);
    return step;
}

/* Drives an operation without rows to its end. */
static bool run(lua_State *L, struct tpb_call *call, struct tp_error *err)
{
    return tpb_call_step(L, call, 0, err) == TP_DONE;
}

int tpb_call_wait(lua_State *L, struct tpb_call *call,
                  int (*go_on)(lua_State *L, struct tpb_call *call))
{
    (void)call;
    (void)go_on;
    return luaL_error(L, "nothing waits here");
}

static enum tpb_want wanted(enum tpb_answer answer)
{
    switch (answer) {
    case TPB_ONE:
        return TPB_WANT_FIRST;
    case TPB_VALUE:
        return TPB_WANT_VALUE;
    case TPB_COMMAND:
    case TPB_TAG:
        return TPB_WANT_TAG;
    default:
        return TPB_WANT_ALL;
    }
}

/* ------------------------------------------------------------ large results */

/* A result that comes in many batches, built while the collector holds still. */
struct held {
    struct tpb_call *call;
    struct tpb_rows *rows;
    int nparams;
    struct tp_error *err;
    enum tp_step step;
};

/* Its frame is a copy of the caller's, so that stack indices mean the same. */
static int take_held(lua_State *L)
{
    struct held *held = lua_touserdata(L, lua_gettop(L));
    lua_pop(L, 1);
    do {
        tpb_rows_take(held->rows, held->call->op);
        held->step = tpb_call_step(L, held->call, held->nparams, held->err);
    } while (held->step == TP_ROWS);
    return lua_gettop(L);
}

/* The frame that take_held returned takes the place of the caller's. */
static void adopt_frame(lua_State *L, int top)
{
    int n = lua_gettop(L) - top;
    for (int i = 1; i <= n; i++)
        lua_copy(L, top + i, i);
    lua_settop(L, n);
}

/* Takes rows until something else comes. While one result is built nothing of it can be
 * collected, and walking over it again and again costs a fifth of the whole; so the
 * collector is stopped, then started again and given the work that it has missed. */
static enum tp_step take_all(lua_State *L, struct tpb_call *call, struct tpb_rows *rows,
                             int nparams, struct tp_error *err)
{
    struct held held = {call, rows, nparams, err, TP_ROWS};
    int top = lua_gettop(L);
    luaL_checkstack(L, top + LUA_MINSTACK, "decoding a result");
    int before = lua_gc(L, LUA_GCCOUNT);
    lua_gc(L, LUA_GCSTOP);
    lua_pushcfunction(L, take_held);
    for (int i = 1; i <= top; i++)
        lua_pushvalue(L, i);
    lua_pushlightuserdata(L, &held);
    int status = lua_pcall(L, top + 1, LUA_MULTRET, 0);
    lua_gc(L, LUA_GCRESTART);
    if (status != LUA_OK)
        lua_error(L);
    adopt_frame(L, top);
    int grown = lua_gc(L, LUA_GCCOUNT) - before;
    if (grown > 0)
        lua_gc(L, LUA_GCSTEP, grown);
    return held.step;
}

/* Drives a query to its end; the answer is then on top of the stack. False: err is set.
 * The results of a script go into a list, of other calls there is one. */
static bool run_query(lua_State *L, struct tpb_call *call, struct tpb_rows *rows, int nparams,
                      bool script, struct tp_error *err)
{
    enum tp_step step;
    bool read = true;
    lua_Integer results = 0;

    if (script)
        lua_newtable(L);
    int list = lua_gettop(L);
    rows->base = list + 1;
    rows->list = 0;
    while ((step = tpb_call_step(L, call, nparams, err)) == TP_ROWS || step == TP_RESULT) {
        if (step == TP_ROWS && rows->count > 0 && lua_gc(L, LUA_GCISRUNNING))
            step = take_all(L, call, rows, nparams, err);
        if (step != TP_ROWS && step != TP_RESULT)
            break;
        if (step == TP_ROWS)
            tpb_rows_take(rows, call->op);
        else if (!tpb_rows_end(rows, call->op))
            read = false;
        else if (++results > 0 && script && read)
            lua_rawseti(L, list, results);
        rows->base = script ? list + 1 : rows->base;
    }
    if (step != TP_DONE || !read || script || results > 0)
        return step == TP_DONE && read;
    tp__error_set(err, TP_ERR_CONNECTION, "the server's answer has no result");
    return false;
}

/* This thread holds every connection itself, so waiting would be in vain; but some may be
 * held by objects that the program has lost. True when it is worth another try. */
bool tpb_call_find_lost(lua_State *L, const struct tpb_call *call)
{
    if (!tp_op_was_self_blocked(call->op))
        return false;
    lua_gc(L, LUA_GCCOLLECT, 0);
    return true;
}

/* on_query(sql, nparams, elapsed_ms, err or nil); what it raises is its own business. */
void tpb_call_tell(lua_State *L, struct tpb_db *db, int db_index, int sql,
                   const struct tp_query *query, int64_t elapsed_us, const struct tp_error *err)
{
    if (!db->watch_queries && (db->slow_us == 0 || elapsed_us < db->slow_us))
        return;
    tpb_db_push_state(L, db_index);
    lua_getfield(L, -1, "on_query");
    if (lua_isfunction(L, -1)) {
        lua_pushvalue(L, sql);
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
    struct tpb_call_options options;
    struct tpb_rows rows;
    struct tp_error err;

    tpb_call_check(L, db, last, answer, &options);
    tp__error_clear(&err);
    if (!tpb_call_check_query(&options.query, &err))
        return tpb_fail(L, &err);
    luaL_checkstack(L, 24, "too many parameters");
    int codecs = tpb_db_push_codecs(L, db, db_index);
    struct tpb_call *call = tpb_call_push(L, db, db_index);
    call->codecs = codecs;
    int top = lua_gettop(L);
    bool script = answer == TPB_SCRIPT;
    tpb_rows_init(&rows, L, wanted(answer), &options.decode, &call->scratch, db_index, codecs,
                  &err);
    tp_op_query(call->op, lease, &options.query);
    bool ok = run_query(L, call, &rows, options.query.nparams, script, &err);
    if (!ok && tpb_call_find_lost(L, call)) {
        lua_settop(L, top);
        tp_op_query(call->op, lease, &options.query);
        ok = run_query(L, call, &rows, options.query.nparams, script, &err);
    }
    int64_t elapsed = tp_op_elapsed(call->op);
    tpb_call_end(call);
    if (answer == TPB_TAG && ok)
        lua_getfield(L, -1, "command");
    int result = lua_gettop(L);
    tpb_call_tell(L, db, db_index, 2, &options.query, elapsed, ok ? NULL : &err);
    tpb_db_dispatch(L, db, db_index);
    if (!ok)
        return tpb_fail(L, &err);
    lua_settop(L, result);
    return 1;
}

int tpb_call_ping(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease, int timeout)
{
    struct tp_error err;
    int64_t fallback = tp_config_int(tp_pool_config(db->pool), "pool.acquire_timeout_ms");
    int64_t deadline = tpb_check_deadline(L, timeout, fallback);
    struct tpb_call *call = tpb_call_push(L, db, db_index);
    tp_op_ping(call->op, lease, deadline);
    bool ok = run(L, call, &err);
    if (!ok && tpb_call_find_lost(L, call)) {
        tp_op_ping(call->op, lease, deadline);
        ok = run(L, call, &err);
    }
    tpb_call_end(call);
    tpb_db_dispatch(L, db, db_index);
    lua_pushboolean(L, ok);
    if (!ok)
        tpb_push_error(L, &err);
    return ok ? 1 : 2;
}

bool tpb_call_acquire(lua_State *L, struct tpb_db *db, int db_index, int64_t deadline,
                      tp_lease *out, struct tp_error *err)
{
    struct tpb_call *call = tpb_call_push(L, db, db_index);
    tp_op_acquire(call->op, deadline);
    bool ok = run(L, call, err);
    if (!ok && tpb_call_find_lost(L, call)) {
        tp_op_acquire(call->op, deadline);
        ok = run(L, call, err);
    }
    if (ok)
        *out = tp_op_take_lease(call->op);
    tpb_call_end(call);
    lua_pop(L, 1);
    return ok;
}
