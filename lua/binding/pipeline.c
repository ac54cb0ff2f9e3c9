#include "pipeline.h"

#include <stdio.h>
#include <string.h>

#include "call.h"
#include "compat.h"
#include "error.h"
#include "errors.h"
#include "holders.h"
#include "place.h"
#include "tell.h"

/* What is wanted of one item. */
struct wish {
    enum tpb_want want;
    struct tpb_decode decode;
};

/* One call. It lies in a userdata on the stack. */
struct pipeline {
    lua_State *L;
    struct tpb_call *call;
    int db_index;
    int codecs;
    int span;       /* what was announced, or 0 */
    int top, floor; /* of the stack: behind the list of answers, and behind what is built */
    struct tpb_rows rows;
    const tp_lease *lease;
    const struct tp_item *items;
    size_t items_count;
    int64_t deadline;
    int source;                /* stack index of the list of items or of parameter lists */
    int answers;               /* stack index of the list of answers */
    const struct wish *wishes; /* one for each item, or one for all */
    bool repeated;
    int64_t count; /* rows touched, over all items */
    char command[64];
    size_t failed;        /* the item whose answer could not be read */
    struct tp_error *err; /* the call's */
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

/* Drives the operation to its end, or until it has to wait. */
static enum tp_step drive(struct pipeline *p)
{
    lua_State *L = p->L;
    tp_op *op = p->call->op;
    struct tpb_rows *rows = &p->rows;
    enum tp_step step;

    while ((step = tpb_call_move(L, p->call)) != TP_DONE && step != TP_FAILED) {
        size_t item = tp_op_item(op);
        lua_settop(L, p->floor); /* the parameters of the last item have been sent */
        if (step == TP_WAIT)
            return step;
        if (step == TP_ENCODE) {
            encode(p, p->floor);
            continue;
        }
        if (rows->list == 0)
            begin_rows(p, rows, item);
        if (step == TP_ROWS)
            tpb_rows_take(rows, op);
        else
            take_result(p, rows, item);
        p->floor = rows->list != 0 ? lua_gettop(L) : p->top;
    }
    lua_settop(L, p->top);
    if (step == TP_FAILED)
        *p->err = *tp_op_error(op);
    return step;
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
    if (p->call != NULL)
        tpb_fail_pool(L, p->call->db->pool, err);
    else
        tpb_fail(L, err);
    if (item < count) {
        lua_pushinteger(L, (lua_Integer)item + 1);
        lua_setfield(L, -2, "item");
    }
    return 2;
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

/* The answers are on top of the stack when it is good. */
static int answer(lua_State *L, struct pipeline *p, bool good)
{
    struct tpb_call *call = p->call;
    struct tpb_db *db = call->db;
    size_t count = p->items_count, item = failed_item(p, count);
    struct tpb_told told = tpb_told_of(call->op);

    if (good && p->repeated) {
        lua_pushinteger(L, (lua_Integer)p->count);
        lua_setfield(L, p->answers, "count");
        lua_pushstring(L, p->command);
        lua_setfield(L, p->answers, "command");
    }
    if (good)
        lua_settop(L, p->answers);
    else
        fail(L, p, item, count);
    int top = lua_gettop(L);
    told.span = p->span;
    told.err = good ? NULL : p->err;
    tpb_call_end(L, call);
    lua_pushliteral(L, "(pipeline)");
    told.sql = lua_gettop(L);
    tpb_tell(L, db, p->db_index, &told);
    tpb_db_dispatch(L, db, p->db_index);
    lua_settop(L, top);
    return good ? 1 : 2;
}

static void start(struct pipeline *p)
{
    lua_settop(p->L, p->call->index);
    lua_newtable(p->L);
    p->answers = p->top = p->floor = lua_gettop(p->L);
    p->failed = SIZE_MAX;
    p->count = 0;
    tp__error_clear(p->err);
    begin_rows(p, &p->rows, 0);
    tp_op_pipeline(p->call->op, p->lease, p->items, p->items_count, p->repeated, p->deadline);
}

static int go_on(lua_State *L, struct tpb_call *call)
{
    struct pipeline *p = call->state;

    p->L = p->rows.decoder.L = L;
    for (;;) {
        enum tp_step step = drive(p);
        if (step == TP_WAIT)
            return tpb_call_wait(L, call, go_on);
        bool good = step == TP_DONE && p->failed == SIZE_MAX;
        if (good || call->again || !tpb_call_find_lost(L, call))
            return answer(L, p, good);
        call->again = true;
        start(p);
    }
}

/* Runs what is set up. */
static int run(lua_State *L, struct tpb_db *db, struct pipeline *p, tp_reactor *reactor)
{
    p->codecs = tpb_db_push_codecs(L, db, p->db_index);
    lua_pushliteral(L, "(pipeline)");
    struct tpb_start begins = {.sql = lua_gettop(L), .lease = p->lease};
    p->span = tpb_announce_if(L, db, p->db_index, &begins);
    p->call = tpb_call_push(L, db, p->db_index, reactor);
    p->call->state = p;
    p->err = &p->call->err;
    start(p);
    return go_on(L, p->call);
}

static struct pipeline *push_pipeline(lua_State *L, int db_index, const tp_lease *lease)
{
    struct pipeline *p = lua_newuserdatauv(L, sizeof *p, 0);

    memset(p, 0, sizeof *p);
    p->L = L;
    p->db_index = db_index;
    p->lease = lease;
    return p;
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
    tpb_misuse(L, "a pipeline has query, one, value and exec");
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
        tpb_misuse(L, "timeout_ms is an option of the whole pipeline");
    lua_rawgeti(L, list, 1);
    lua_replace(L, 2);
    tpb_call_check(L, db, 1 + n, TPB_ROWS, &options);
    if (options.query.idempotent || options.query.max_rows > 0 || options.query.max_bytes > 0 ||
        options.query.text || options.tags > 0 || options.query.application_name != NULL)
        tpb_misuse(L, "an item of a pipeline has the options as, nulls and numbers");
    wish->decode = options.decode;
    *item = (struct tp_item){options.query.sql, options.query.sql_len, options.query.nparams};
    if (memchr(item->sql, '\0', item->sql_len) != NULL)
        tpb_misuse(L, "the SQL text has a NUL byte");
}

static int64_t timeout_of(lua_State *L, const struct tpb_db *db, int index)
{
    if (lua_isnoneornil(L, index))
        return db->timeout_ms > 0 ? tp_deadline_in_ms(db->timeout_ms) : TP_NEVER;
    if (!lua_istable(L, index))
        tpb_misuse(L, "a table of options expected, got %s", luaL_typename(L, index));
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, "timeout_ms") != 0)
            tpb_misuse(L, "unknown option '%s' of a pipeline (known: timeout_ms)", name);
    }
    lua_getfield(L, index, "timeout_ms");
    return tpb_check_deadline(L, lua_gettop(L), db->timeout_ms > 0 ? db->timeout_ms : -1);
}

int tpb_pipeline_run(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease,
                     tp_reactor *reactor)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    int64_t deadline = timeout_of(L, db, 3);
    size_t count = lua_rawlen(L, 2);
    lua_pushvalue(L, 2);
    int source = lua_gettop(L);
    struct tp_item *items = lua_newuserdatauv(L, (count + 1) * sizeof *items, 0);
    struct wish *wishes = lua_newuserdatauv(L, (count + 1) * sizeof *wishes, 0);
    struct pipeline *p = push_pipeline(L, db_index, lease);
    int top = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, source, (lua_Integer)i + 1);
        take_item(L, db, &items[i], &wishes[i]);
        lua_settop(L, top);
    }
    p->source = source;
    p->items = items;
    p->items_count = count;
    p->wishes = wishes;
    p->deadline = deadline;
    return run(L, db, p, reactor);
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

/* The one item and what is wanted of it, beside each other on the stack. */
struct one_item {
    struct tp_item item;
    struct wish wish;
};

/* The statement's number of parameters is what the first list has; the others are compared
 * with it when they are encoded. */
int tpb_pipeline_many(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease,
                      tp_reactor *reactor)
{
    struct tpb_call_options options;
    struct tp_error err;
    if (!lua_istable(L, 3))
        tpb_misuse(L, "a list of lists of parameters expected, got %s", luaL_typename(L, 3));
    size_t count = lua_rawlen(L, 3);
    tpb_call_check(L, db, 2, TPB_ROWS, &options);
    if (options.tags > 0 || options.query.application_name != NULL)
        tpb_misuse(L, "tags and application_name of query_many are those of its block");
    if (options.query.text)
        tpb_misuse(L, "query_many has no option 'text'");
    tp__error_clear(&err);
    if (!tpb_call_check_query(&options.query, &err))
        return tpb_fail(L, &err);
    if (count == 0)
        return nothing_done(L);
    struct one_item *one = lua_newuserdatauv(L, sizeof *one, 0);
    struct pipeline *p = push_pipeline(L, db_index, lease);
    if (lua_rawgeti(L, 3, 1) != LUA_TTABLE) {
        p->err = &err;
        refuse_list(L, &err);
        return fail(L, p, 0, count);
    }
    one->item = (struct tp_item){.sql = options.query.sql,
                                 .sql_len = options.query.sql_len,
                                 .nparams = list_length(L, lua_gettop(L))};
    one->wish = (struct wish){.want = TPB_WANT_ALL, .decode = options.decode};
    lua_pop(L, 1);
    p->source = 3;
    p->items = &one->item;
    p->items_count = count;
    p->wishes = &one->wish;
    p->repeated = true;
    p->deadline = options.query.deadline;
    return run(L, db, p, reactor);
}
