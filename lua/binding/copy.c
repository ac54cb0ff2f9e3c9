#include "copy.h"

#include <string.h>

#include "compat.h"
#include "error.h"
#include "errors.h"

#define TPB_COPY "tidepool.copy"

/* ---------------------------------------------------------------- the userdata */

static int copy_gc(lua_State *L)
{
    struct tpb_copy *copy = luaL_checkudata(L, 1, TPB_COPY);

    if (copy->call != NULL && copy->call->op != NULL)
        tpb_call_give_up(copy->call);
    copy->call = NULL;
    tp__buf_free(&copy->data);
    tp__buf_free(&copy->scratch);
    return 0;
}

void tpb_copy_open(lua_State *L)
{
    luaL_newmetatable(L, TPB_COPY);
    lua_pushcfunction(L, copy_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

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

static void take_plan(lua_State *L, const struct tpb_db *db, int plan, struct tpb_copy *copy)
{
    const char *as = text_of(L, plan, "as");

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
    else if (db->timeout_ms > 0)
        copy->what.wait_us = db->timeout_ms * 1000;
    lua_pop(L, 1);
}

static struct tpb_copy *push_copy(lua_State *L, struct tpb_db *db, int db_index)
{
    struct tpb_copy *copy = lua_newuserdatauv(L, sizeof *copy, 1);

    memset(copy, 0, sizeof *copy);
    luaL_setmetatable(L, TPB_COPY);
    copy->what.sql = luaL_checkstring(L, 2);
    take_plan(L, db, 3, copy);
    copy->call = tpb_call_push(L, db, db_index, NULL);
    lua_setiuservalue(L, -2, 1);
    return copy;
}

/* --------------------------------------------------------------- for the bodies */

int tpb_copy_codecs(lua_State *L)
{
    return lua_isnil(L, TPB_COPY_CODECS) ? 0 : TPB_COPY_CODECS;
}

void tpb_copy_tell(lua_State *L, struct tpb_copy *copy, bool last)
{
    lua_Integer fresh = copy->bytes - copy->told;

    if (lua_isnil(L, TPB_COPY_PROGRESS) || (last ? fresh == 0 : fresh < TPB_COPY_CHUNK))
        return;
    copy->told = copy->bytes;
    lua_pushvalue(L, TPB_COPY_PROGRESS);
    if (copy->raw)
        lua_pushnil(L);
    else
        lua_pushinteger(L, copy->rows);
    lua_pushinteger(L, copy->bytes);
    lua_call(L, 2, 0);
}

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

void tpb_copy_give_up(lua_State *L, struct tpb_copy *copy)
{
    bool known = lua_istable(L, -1) && lua_getmetatable(L, -1) != 0;

    if (known) {
        luaL_getmetatable(L, TPB_ERROR);
        known = lua_rawequal(L, -1, -2) != 0;
        lua_pop(L, 2);
    }
    if (!known) {
        tp__error_set(&copy->err, TP_ERR_VALIDATION, "the program's function failed: %s",
                      luaL_tolstring(L, -1, NULL));
        tpb_push_error(L, &copy->err);
    }
    copy->given_up = true;
    lua_error(L);
}

/* --------------------------------------------------------------------- running */

/* Begins it: up to the program's first turn, if it comes to that. */
static void begin(lua_State *L, struct tpb_copy *copy, const tp_lease *lease)
{
    tp_op *op = copy->call->op;

    for (int attempt = 0; attempt < 2; attempt++) {
        tp_op_copy(op, lease, &copy->what);
        copy->step = tp_drive(op);
        if (copy->step != TP_FAILED || !tpb_call_find_lost(L, copy->call))
            return;
    }
}

/* Runs the body; what it raises is left on the stack. */
static bool run_body(lua_State *L, const struct tpb_db *db, int self, int db_index,
                     lua_CFunction body)
{
    lua_pushcfunction(L, body);
    lua_pushvalue(L, self);
    lua_pushvalue(L, db_index);
    lua_pushvalue(L, 4);
    lua_getfield(L, 3, "progress");
    if (tpb_db_push_codecs(L, db, db_index) == 0)
        lua_pushnil(L);
    return lua_pcall(L, 5, 0, 0) == LUA_OK;
}

/* Ends what the body has not brought to its end. */
static void finish(struct tpb_copy *copy)
{
    tp_op *op = copy->call->op;

    if (copy->step == TP_SEND)
        tp_op_copy_fail(op, &copy->err);
    else if (copy->step == TP_DATA)
        tp_op_stop(op);
    while (copy->step != TP_DONE && copy->step != TP_FAILED) {
        if (copy->step == TP_RESULT)
            copy->count = tp_op_count(op);
        copy->step = tp_drive(op);
    }
    if (copy->step == TP_FAILED)
        copy->err = *tp_op_error(op);
    else if (copy->failed)
        tp__text_copy(copy->err.query, sizeof copy->err.query, copy->what.sql);
    copy->failed = copy->failed || copy->step == TP_FAILED;
}

static void push_answer(lua_State *L, const struct tpb_copy *copy)
{
    bool stopped = copy->over && !copy->what.in;

    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)(stopped ? copy->rows : copy->count));
    lua_setfield(L, -2, "count");
    lua_pushliteral(L, "COPY");
    lua_setfield(L, -2, "command");
    if (stopped) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "stopped");
    }
}

static int run(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease, bool in)
{
    luaL_checktype(L, 3, LUA_TTABLE);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    struct tpb_copy *copy = push_copy(L, db, db_index);
    int self = lua_gettop(L);
    struct tp_query query = {.sql = copy->what.sql};
    copy->what.in = in;
    tp__error_set(&copy->err, TP_ERR_VALIDATION, "the program raised an error");
    begin(L, copy, lease);
    bool raised = (copy->step == TP_SEND || copy->step == TP_DATA) &&
                  !run_body(L, db, self, db_index, in ? tpb_copy_send : tpb_copy_receive);
    finish(copy);
    int64_t elapsed = tp_op_elapsed(copy->call->op);
    tpb_call_give_up(copy->call);
    copy->call = NULL;
    tp__buf_free(&copy->data);
    tp__buf_free(&copy->scratch);
    int error = lua_gettop(L);
    bool failed = copy->failed || raised;
    tpb_call_tell(L, db, db_index, 2, &query, elapsed, failed ? &copy->err : NULL);
    tpb_db_dispatch(L, db, db_index);
    lua_settop(L, error);
    if (raised && copy->given_up) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (raised)
        return lua_error(L);
    if (copy->failed)
        return tpb_fail(L, &copy->err);
    push_answer(L, copy);
    return 1;
}

int tpb_copy_in(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease)
{
    return run(L, db, db_index, lease, true);
}

int tpb_copy_out(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease)
{
    return run(L, db, db_index, lease, false);
}
