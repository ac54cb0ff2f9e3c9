#include "pipeline.h"

#include <stdio.h>
#include <string.h>

#include "call.h"
#include "compat.h"
#include "error.h"
#include "errors.h"

/* What is wanted of one item. */
struct wish {
    enum tpb_want want;
    struct tpb_decode decode;
};

/* One call. */
struct pipeline {
    lua_State *L;
    struct tpb_call *call;
    int db_index;
    int codecs;
    int source;                /* stack index of the list of items or of parameter lists */
    int answers;               /* stack index of the list of answers */
    const struct wish *wishes; /* one for each item, or one for all */
    bool repeated;
    int64_t count; /* rows touched, over all items */
    char command[64];
    size_t failed; /* the item whose answer could not be read */
    struct tp_error *err;
};

static const struct wish *wish_of(const struct pipeline *p, size_t item)
{
    return &p->wishes[p->repeated ? 0 : item];
}

/* --------------------------------------------------------------- parameters */

/* The number of values in a list of parameters: what its field n says, else its length. */
static int list_length(lua_State *L, int list)
{
    lua_pushliteral(L, "n");
    lua_rawget(L, list);
    lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : (lua_Integer)lua_rawlen(L, list);
    lua_pop(L, 1);
    return n < 0 || n > TPB_PARAMS_MAX ? TPB_PARAMS_MAX + 1 : (int)n;
}

/* Pushes the parameters of an item and returns how many there are; they begin behind the
 * SQL text in a list that has one. */
static int push_params(const struct pipeline *p, size_t item)
{
    lua_State *L = p->L;
    int skip = p->repeated ? 0 : 1;

    if (lua_rawgeti(L, p->source, (lua_Integer)item + 1) != LUA_TTABLE)
        return -1;
    int list = lua_gettop(L), n = list_length(L, list) - skip;
    if (n > TPB_PARAMS_MAX || !lua_checkstack(L, n + LUA_MINSTACK))
        return TPB_PARAMS_MAX + 1;
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, list, i + skip);
    return n;
}

/* What should be a list of parameters is on top of the stack. */
static void refuse_list(lua_State *L, struct tp_error *err)
{
    tp__error_set(err, TP_ERR_VALIDATION, "a list of parameters was expected, got %s",
                  luaL_typename(L, -1));
}

static void encode(struct pipeline *p, int top)
{
    lua_State *L = p->L;
    tp_op *op = p->call->op;
    struct tp_error *err = p->err;
    int n = push_params(p, tp_op_item(op));

    if (n < 0)
        refuse_list(L, err);
    else if (tpb_encode_params(L, top + 2, n, op, p->codecs, &p->call->params, err)) {
        tp_op_params(op, p->call->params.items);
        return;
    }
    tp_op_refuse(op, err);
}

/* ------------------------------------------------------------------ answers */

static void begin_rows(const struct pipeline *p, struct tpb_rows *rows, size_t item)
{
    const struct wish *wish = wish_of(p, item);

    tpb_rows_init(rows, p->L, wish->want, &wish->decode, &p->call->scratch, p->db_index, p->codecs,
                  p->err);
}

/* A statement that is executed many times and returns no rows has one answer for all. */
static bool has_answer(const struct pipeline *p)
{
    return !p->repeated || tp_op_columns(p->call->op) != NULL;
}

static void take_result(struct pipeline *p, struct tpb_rows *rows, size_t item)
{
    tp_op *op = p->call->op;

    p->count += tp_op_count(op);
    if (item == 0)
        snprintf(p->command, sizeof p->command, "%s", tp_op_command(op));
    if (!has_answer(p)) {
        rows->list = 0;
        return;
    }
    if (tpb_rows_end(rows, op)) {
        lua_rawseti(p->L, p->answers, (lua_Integer)item + 1);
    } else if (p->failed == SIZE_MAX) {
        p->failed = item;
    }
}

/* Drives the operation to its end. */
static bool drive(struct pipeline *p)
{
    lua_State *L = p->L;
    tp_op *op = p->call->op;
    int top = lua_gettop(L), floor = top;
    struct tpb_rows rows;
    enum tp_step step;

    begin_rows(p, &rows, 0);
    while ((step = tp_drive(op)) != TP_DONE && step != TP_FAILED) {
        size_t item = tp_op_item(op);
        lua_settop(L, floor); /* the parameters of the last item have been sent */
        if (step == TP_ENCODE) {
            encode(p, floor);
            continue;
        }
        if (rows.list == 0)
            begin_rows(p, &rows, item);
        if (step == TP_ROWS)
            tpb_rows_take(&rows, op);
        else
            take_result(p, &rows, item);
        floor = rows.list != 0 ? lua_gettop(L) : top;
    }
    lua_settop(L, top);
    if (step == TP_FAILED)
        *p->err = *tp_op_error(op);
    return step == TP_DONE && p->failed == SIZE_MAX;
}

/* nil and the error, with the number of the item; the others are as if they had not been. */
static int fail(lua_State *L, const struct pipeline *p, size_t item, size_t count)
{
    struct tp_error *err = p->err;
    char text[sizeof err->message];

    if (item < count && strncmp(err->message, "item ", 5) != 0) {
        memcpy(text, err->message, sizeof text);
        int used =
            snprintf(err->message, sizeof err->message, "item %zu of %zu: ", item + 1, count);
        tp__text_copy(err->message + used, sizeof err->message - (size_t)used, text);
    }
    tpb_fail(L, err);
    if (item < count) {
        lua_pushinteger(L, (lua_Integer)item + 1);
        lua_setfield(L, -2, "item");
    }
    return 2;
}

/* Runs what is set up. True: the answers are on top of the stack. */
static bool run(struct pipeline *p, const tp_lease *lease, const struct tp_item *items,
                size_t count, int64_t deadline)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        lua_newtable(p->L);
        p->answers = lua_gettop(p->L);
        p->failed = SIZE_MAX;
        p->count = 0;
        tp_op_pipeline(p->call->op, lease, items, count, p->repeated, deadline);
        if (drive(p))
            return true;
        if (!tpb_call_find_lost(p->L, p->call))
            break;
    }
    return false;
}

/* The number of the item that failed, or count. Answers may be kept back until the end of
 * all, so nobody knows at which item time ran out or the connection went. */
static size_t failed_item(const struct pipeline *p, size_t count)
{
    if (p->failed != SIZE_MAX)
        return p->failed;
    if (p->err->kind == TP_ERR_TIMEOUT || p->err->kind == TP_ERR_CONNECTION)
        return count;
    return tp_op_item(p->call->op);
}

static int answer(lua_State *L, struct pipeline *p, struct tpb_db *db, bool good, size_t count)
{
    size_t item = failed_item(p, count);
    struct tp_query told = {.sql = "", .nparams = 0};
    int64_t elapsed = tp_op_elapsed(p->call->op);
    int answers = p->answers;

    tpb_call_end(p->call);
    lua_pushliteral(L, "(pipeline)");
    tpb_call_tell(L, db, p->db_index, lua_gettop(L), &told, elapsed, good ? NULL : p->err);
    tpb_db_dispatch(L, db, p->db_index);
    if (!good)
        return fail(L, p, item, count);
    lua_settop(L, answers);
    return 1;
}

/* ----------------------------------------------------------------- pipeline */

static enum tpb_want wanted(lua_State *L, int item)
{
    static const struct {
        const char *name;
        enum tpb_want want;
    } wants[] = {
        {"query", TPB_WANT_ALL},
        {"one", TPB_WANT_FIRST},
        {"value", TPB_WANT_VALUE},
        {"exec", TPB_WANT_TAG},
    };
    lua_getfield(L, item, "answer");
    const char *name = luaL_checkstring(L, -1);
    for (size_t i = 0; i < sizeof wants / sizeof wants[0]; i++) {
        if (strcmp(name, wants[i].name) == 0)
            return wants[i].want;
    }
    luaL_error(L, "a pipeline has query, one, value and exec");
    return TPB_WANT_ALL;
}

/* Takes the text and the options of an item on top of the stack, in the way of a call. */
static void take_item(lua_State *L, const struct tpb_db *db, struct tp_item *item,
                      struct wish *wish)
{
    struct tpb_call_options options;
    int list = lua_gettop(L), n = list_length(L, list);

    wish->want = wanted(L, list);
    if (lua_rawgeti(L, list, 1) == LUA_TTABLE && lua_getfield(L, -1, "timeout_ms") != LUA_TNIL)
        luaL_error(L, "timeout_ms is an option of the whole pipeline");
    lua_rawgeti(L, list, 1);
    lua_replace(L, 2);
    tpb_call_check(L, db, 1 + n, TPB_ROWS, &options);
    if (options.query.idempotent || options.query.max_rows > 0 || options.query.max_bytes > 0)
        luaL_error(L, "an item of a pipeline has the options as, nulls and numbers");
    wish->decode = options.decode;
    *item = (struct tp_item){options.query.sql, options.query.sql_len, options.query.nparams};
    if (memchr(item->sql, '\0', item->sql_len) != NULL)
        luaL_error(L, "the SQL text has a NUL byte");
}

static int64_t timeout_of(lua_State *L, const struct tpb_db *db, int index)
{
    if (lua_isnoneornil(L, index))
        return db->timeout_ms > 0 ? tp_deadline_in_ms(db->timeout_ms) : TP_NEVER;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, "timeout_ms");
    return tpb_check_deadline(L, lua_gettop(L), db->timeout_ms > 0 ? db->timeout_ms : -1);
}

int tpb_pipeline_run(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease)
{
    struct tp_error err;
    luaL_checktype(L, 2, LUA_TTABLE);
    int64_t deadline = timeout_of(L, db, 3);
    size_t count = lua_rawlen(L, 2);
    lua_pushvalue(L, 2);
    int source = lua_gettop(L);
    struct tp_item *items = lua_newuserdatauv(L, (count + 1) * sizeof *items, 0);
    struct wish *wishes = lua_newuserdatauv(L, (count + 1) * sizeof *wishes, 0);
    int top = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, source, (lua_Integer)i + 1);
        take_item(L, db, &items[i], &wishes[i]);
        lua_settop(L, top);
    }
    struct pipeline p = {
        .L = L, .db_index = db_index, .source = source, .wishes = wishes, .err = &err};
    tp__error_clear(&err);
    p.codecs = tpb_db_push_codecs(L, db, db_index);
    p.call = tpb_call_push(L, db, db_index);
    bool good = run(&p, lease, items, count, deadline);
    return answer(L, &p, db, good, count);
}

/* --------------------------------------------------------------- query_many */

/* The answer for no lists: it is not known whether there would be rows. */
static int nothing_done(lua_State *L)
{
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, 0);
    lua_setfield(L, -2, "count");
    lua_pushliteral(L, "");
    lua_setfield(L, -2, "command");
    return 1;
}

/* The statement's number of parameters is what the first list has; the others are compared
 * with it when they are encoded. */
int tpb_pipeline_many(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease)
{
    struct tpb_call_options options;
    struct tp_error err;
    luaL_checktype(L, 3, LUA_TTABLE);
    size_t count = lua_rawlen(L, 3);
    tpb_call_check(L, db, 2, TPB_ROWS, &options);
    tp__error_clear(&err);
    if (!tpb_call_check_query(&options.query, &err))
        return tpb_fail(L, &err);
    struct tp_item item = {.sql = options.query.sql, .sql_len = options.query.sql_len};
    struct wish wish = {.want = TPB_WANT_ALL, .decode = options.decode};
    struct pipeline p = {
        .L = L, .db_index = db_index, .source = 3, .wishes = &wish, .repeated = true, .err = &err};
    if (count == 0)
        return nothing_done(L);
    if (lua_rawgeti(L, 3, 1) != LUA_TTABLE) {
        refuse_list(L, &err);
        return fail(L, &p, 0, count);
    }
    item.nparams = list_length(L, lua_gettop(L));
    lua_pop(L, 1);
    p.codecs = tpb_db_push_codecs(L, db, db_index);
    p.call = tpb_call_push(L, db, db_index);
    bool good = run(&p, lease, &item, count, options.query.deadline);
    if (good) {
        lua_pushinteger(L, (lua_Integer)p.count);
        lua_setfield(L, p.answers, "count");
        lua_pushstring(L, p.command);
        lua_setfield(L, p.answers, "command");
    }
    return answer(L, &p, db, good, count);
}
