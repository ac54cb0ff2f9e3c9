#include "copy.h"

#include <string.h>

#include "await.h"
#include "compat.h"
#include "error.h"
#include "errors.h"
#include "holders.h"
#include "tell.h"

#define TPB_COPY "tidepool.copy"

/* ------------------------------------------------------------------ beginning */

/* The plan keeps the text alive. */
static const char *text_of(lua_State *L, int plan, const char *name)
{
    lua_getfield(L, plan, name);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1);
    return text;
}

static bool flag_of(lua_State *L, int plan, const char *name)
{
    lua_getfield(L, plan, name);
    bool flag = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return flag;
}

static void take_plan(lua_State *L, int plan, struct tpb_copy *copy)
{
    const char *as = text_of(L, plan, "as");

    copy->what.in = flag_of(L, plan, "into");
    copy->what.binary_sql = text_of(L, plan, "binary_sql");
    copy->what.columns = text_of(L, plan, "columns");
    copy->what.table = text_of(L, plan, "table");
    copy->raw = flag_of(L, plan, "raw");
    copy->decode.as = as != NULL && strcmp(as, "rows") == 0 ? TPB_AS_ROWS : TPB_AS_ARRAYS;
    copy->decode.null_sentinel = flag_of(L, plan, "nulls");
    copy->decode.numeric_as_number = flag_of(L, plan, "numbers");
    copy->what.deadline = TP_NEVER;
    if (lua_getfield(L, plan, "timeout_ms") != LUA_TNIL)
        copy->what.deadline = tpb_check_deadline(L, lua_gettop(L), 0);
    else if (copy->db->timeout_ms > 0)
        copy->what.wait_us = copy->db->timeout_ms * 1000;
    lua_pop(L, 1);
}

static void keep(lua_State *L, int self, int value, int index)
{
    lua_pushvalue(L, index);
    lua_setiuservalue(L, self, value);
}

static struct tpb_copy *push_copy(lua_State *L, struct tpb_db *db, int db_index,
                                  const tp_lease *lease, tp_reactor *reactor)
{
    struct tpb_copy *copy = lua_newuserdatauv(L, sizeof *copy, TPB_COPY_VALUES);
    int self = lua_gettop(L);

    memset(copy, 0, sizeof *copy);
    luaL_setmetatable(L, TPB_COPY);
    copy->db = db;
    copy->lease = lease;
    copy->what.sql = luaL_checkstring(L, 2);
    take_plan(L, 3, copy);
    keep(L, self, TPB_COPY_DB, db_index);
    keep(L, self, TPB_COPY_OWNER, lease != NULL ? db_index - 1 : db_index);
    keep(L, self, TPB_COPY_SQL, 2);
    keep(L, self, TPB_COPY_PLAN, 3);
    struct tpb_start begins = {.sql = 2, .lease = lease};
    if (tpb_announce_if(L, db, db_index, &begins) > 0)
        lua_setiuservalue(L, self, TPB_COPY_SPAN);
    copy->call = tpb_call_push(L, db, db_index, reactor);
    lua_setiuservalue(L, self, TPB_COPY_CALL);
    return copy;
}

static int end(lua_State *L, struct tpb_copy *copy, int self, lua_Integer stopped_at);

/* Up to the program's first turn, if it comes to that. The userdata is on top of the stack. */
static int go_on_beginning(lua_State *L, struct tpb_call *call)
{
    int self = lua_gettop(L);
    struct tpb_copy *copy = lua_touserdata(L, self);

    for (;;) {
        copy->step = tpb_call_step(L, call, 0, &copy->err);
        if (copy->step == TP_WAIT)
            return tpb_call_wait(L, call, go_on_beginning);
        if (copy->step != TP_FAILED)
            return 1;
        if (copy->attempts++ > 0 || !tpb_call_find_lost(L, call))
            return end(L, copy, self, -1);
        tp_op_copy(call->op, copy->lease, &copy->what);
    }
}

int tpb_copy_begin(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease,
                   tp_reactor *reactor)
{
    luaL_checktype(L, 3, LUA_TTABLE);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    struct tpb_copy *copy = push_copy(L, db, db_index, lease, reactor);
    tp_op_copy(copy->call->op, lease, &copy->what);
    return go_on_beginning(L, copy->call);
}

/* -------------------------------------------------------------------- mistakes */

bool tpb_copy_wrong(struct tpb_copy *copy, lua_Integer row, const char *column, const char *why)
{
    char text[sizeof copy->err.message], name[sizeof copy->err.column];

    tp__text_copy(text, sizeof text, why); /* it may be the error's own */
    if (column == NULL) {
        tp__error_set(&copy->err, TP_ERR_VALIDATION, "row %lld %s", (long long)row, text);
    } else {
        tp__text_copy(name, sizeof name, column);
        tp__error_set(&copy->err, TP_ERR_VALIDATION, "row %lld, column \"%s\": %s", (long long)row,
                      name, text);
        tp__text_copy(copy->err.column, sizeof copy->err.column, name);
    }
    copy->failed = true;
    return false;
}

bool tpb_copy_starved(struct tpb_copy *copy)
{
    tp__error_set(&copy->err, TP_ERR_MEMORY, "out of memory for COPY");
    copy->failed = true;
    return false;
}

/* --------------------------------------------------------------------- the end */

static void push_answer(lua_State *L, const struct tpb_copy *copy, lua_Integer stopped_at)
{
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, stopped_at >= 0 ? stopped_at : (lua_Integer)copy->count);
    lua_setfield(L, -2, "count");
    lua_pushliteral(L, "COPY");
    lua_setfield(L, -2, "command");
    if (stopped_at >= 0) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "stopped");
    }
}

static void free_buffers(struct tpb_copy *copy)
{
    tp__buf_free(&copy->data);
    tp__buf_free(&copy->scratch);
}

/* Pushes the database and the call, and returns where the database is. */
static int push_call(lua_State *L, struct tpb_copy *copy, int self)
{
    lua_getiuservalue(L, self, TPB_COPY_DB);
    lua_getiuservalue(L, self, TPB_COPY_CALL);
    copy->call->index = lua_gettop(L);
    copy->call->db_index = copy->call->index - 1;
    return copy->call->db_index;
}

/* After the operation's end: tells of it, and returns what the program gets. */
static int end(lua_State *L, struct tpb_copy *copy, int self, lua_Integer stopped_at)
{
    struct tpb_told told = tpb_told_of(copy->call->op);

    if (copy->step != TP_FAILED && copy->failed)
        tp__text_copy(copy->err.query, sizeof copy->err.query, copy->what.sql);
    copy->failed = copy->failed || copy->step == TP_FAILED;
    int db_index = push_call(L, copy, self);
    tpb_call_end(L, copy->call);
    copy->call = NULL;
    free_buffers(copy);
    lua_getiuservalue(L, self, TPB_COPY_SQL);
    told.sql = lua_gettop(L);
    lua_getiuservalue(L, self, TPB_COPY_SPAN);
    told.span = lua_isnil(L, -1) ? 0 : lua_gettop(L);
    told.err = copy->failed ? &copy->err : NULL;
    tpb_tell(L, copy->db, db_index, &told);
    tpb_db_dispatch(L, copy->db, db_index);
    if (copy->failed)
        return tpb_fail_pool(L, copy->db->pool, &copy->err);
    push_answer(L, copy, stopped_at);
    return 1;
}

/* Ends what has not come to its end. */
static int go_on_ending(lua_State *L, struct tpb_call *call)
{
    struct tpb_copy *copy = lua_touserdata(L, TPB_AT_COPY);

    while (copy->step != TP_DONE && copy->step != TP_FAILED) {
        if (copy->step == TP_SEND && copy->failed)
            tp_op_copy_fail(call->op, &copy->err);
        else if (copy->step == TP_SEND)
            tp_op_copy_end(call->op);
        else if (copy->step == TP_RESULT)
            copy->count = tp_op_count(call->op);
        copy->step = tpb_call_step(L, call, 0, &copy->err);
        if (copy->step == TP_WAIT)
            return tpb_call_wait(L, call, go_on_ending);
    }
    return end(L, copy, TPB_AT_COPY,
               lua_isnil(L, TPB_AT_ARGUMENT) ? -1 : lua_tointeger(L, TPB_AT_ARGUMENT));
}

static struct tpb_copy *check_copy(lua_State *L)
{
    struct tpb_copy *copy = luaL_checkudata(L, TPB_AT_COPY, TPB_COPY);

    if (copy->call == NULL)
        luaL_error(L, "the COPY has ended");
    return copy;
}

struct tpb_copy *tpb_copy_enter(lua_State *L, tp_reactor *reactor)
{
    struct tpb_copy *copy = check_copy(L);

    lua_settop(L, TPB_AT_ARGUMENT);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    push_call(L, copy, TPB_AT_COPY);
    if (copy->call->reactor != reactor)
        tpb_call_use(L, copy->call, reactor);
    return copy;
}

static int copy_finish_body(lua_State *L, tp_reactor *reactor)
{
    struct tpb_copy *copy = tpb_copy_enter(L, reactor);

    if (!copy->what.in && (copy->failed || !lua_isnil(L, TPB_AT_ARGUMENT)))
        tp_op_stop(copy->call->op);
    return go_on_ending(L, copy->call);
}

static int copy_fail_body(lua_State *L, tp_reactor *reactor)
{
    struct tpb_copy *copy = check_copy(L);

    tp__error_set(&copy->err, TP_ERR_VALIDATION, "%s",
                  luaL_optstring(L, TPB_AT_ARGUMENT, "the program raised an error"));
    copy->failed = true;
    lua_settop(L, TPB_AT_COPY);
    return copy_finish_body(L, reactor);
}

static int copy_send_body(lua_State *L, tp_reactor *reactor)
{
    return tpb_copy_send(L, reactor);
}

static int copy_next_body(lua_State *L, tp_reactor *reactor)
{
    return tpb_copy_next(L, reactor);
}

static int copy_writer(lua_State *L)
{
    return tpb_copy_push_writer(L, check_copy(L));
}

static const struct tpb_db *copy_db(lua_State *L)
{
    const struct tpb_copy *copy = luaL_checkudata(L, 1, TPB_COPY);
    return copy->db;
}

TPB_AWAITS(copy_send, copy_db)
TPB_AWAITS(copy_next, copy_db)
TPB_AWAITS(copy_finish, copy_db)
TPB_AWAITS(copy_fail, copy_db)

/* ---------------------------------------------------------------- the userdata */

/* Also the finalizer. Nothing waits here. */
static int copy_give_up(lua_State *L)
{
    struct tpb_copy *copy = luaL_checkudata(L, 1, TPB_COPY);

    if (copy->call != NULL)
        tpb_call_give_up(copy->call);
    copy->call = NULL;
    free_buffers(copy);
    return 0;
}

struct tpb_db *tpb_copy_db(lua_State *L, int index)
{
    const struct tpb_copy *copy = luaL_testudata(L, index, TPB_COPY);
    return copy != NULL ? copy->db : NULL;
}

void tpb_copy_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"_writer", copy_writer},
        {"_give_up", copy_give_up},
        {NULL, NULL},
    };
    static const struct tpb_awaited awaited[] = {
        TPB_AWAITED("_send", copy_send),
        TPB_AWAITED("_next", copy_next),
        TPB_AWAITED("_finish", copy_finish),
        TPB_AWAITED("_fail", copy_fail),
        {NULL, NULL, NULL},
    };

    luaL_newmetatable(L, TPB_COPY);
    lua_pushcfunction(L, copy_give_up);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, methods);
    tpb_set_awaited(L, awaited);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_remove(L, -2);
}
