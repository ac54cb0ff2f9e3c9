/* COPY FROM STDIN: rows or ready data from the program to the operation.
 *
 * A writer is a closure, so that a row costs one call of a C function that has all it needs at
 * hand; it is called with exactly one value. What it pushes for a row lies above the row. */
#include <stdio.h>
#include <string.h>

#include "compat.h"
#include "copy_writer.h"
#include "error.h"
#include "values.h"

/* The first chunks are small, so that the server begins early. */
enum { FIRST_CHUNK = 4 * 1024 };

/* The upvalues of a writer: the COPY, struct source, the columns' names, the program's codecs
 * or nil, and "n". */
enum { COPY = 1, SOURCE, NAMES, CODECS, KEY_N, UPVALUES = KEY_N };

struct source {
    lua_State *L;
    struct tpb_copy *copy;
    struct tpb_copy_writer writer;
    lua_Integer length; /* of the list, as it was in the beginning; -1: not known yet */
};

/* ----------------------------------------------------------------------- rows */

static bool refuse_row(struct source *s, const char *why)
{
    return tpb_copy_wrong(s->copy, s->copy->rows + 1, NULL, why);
}

/* The length that a list says with a field `n`, or else its last index. */
static lua_Integer list_length(const struct source *s, int row, const struct tpb_shape *shape)
{
    lua_State *L = s->L;

    lua_pushvalue(L, lua_upvalueindex(KEY_N));
    lua_rawget(L, row);
    lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : shape->max;
    lua_pop(L, 1);
    return n;
}

/* A list whose length is not obviously that of the columns. */
static bool check_list(struct source *s, int row, const struct tpb_shape *shape)
{
    lua_Integer n = list_length(s, row, shape);
    int wanted = s->writer.columns->count;
    char why[120];

    if (n == wanted)
        return true;
    snprintf(why, sizeof why, "has %lld column%s, not %d%s", (long long)n, n == 1 ? "" : "s",
             wanted, n < wanted ? " (tidepool.null stands for NULL)" : "");
    return refuse_row(s, why);
}

static bool put_list(struct source *s, int row)
{
    if (!tpb_copy_begin_row(&s->writer))
        return false;
    for (int c = 0; c < s->writer.columns->count; c++) {
        int type = lua_rawgeti(s->L, row, c + 1);
        if (!tpb_copy_put(&s->writer, c, row + 1 + c, type))
            return false;
    }
    tpb_copy_end_row(&s->writer);
    return true;
}

/* Whether the value on top of the stack is a column's name. */
static bool is_column(const struct source *s)
{
    lua_State *L = s->L;

    for (int c = 0; c < s->writer.columns->count; c++) {
        lua_rawgeti(L, lua_upvalueindex(NAMES), c + 1);
        bool same = lua_rawequal(L, -1, -2) != 0;
        lua_pop(L, 1);
        if (same)
            return true;
    }
    return false;
}

/* The row has a key that is no column's: says which. */
static bool refuse_name(struct source *s, int row)
{
    lua_State *L = s->L;
    char why[160];

    lua_pushnil(L);
    while (lua_next(L, row) != 0) {
        lua_pop(L, 1);
        if (is_column(s))
            continue;
        if (lua_type(L, -1) == LUA_TSTRING)
            snprintf(why, sizeof why, "has a field \"%.63s\", which is no column",
                     lua_tostring(L, -1));
        else
            snprintf(why, sizeof why, "has a %s among its fields", luaL_typename(L, -1));
        return refuse_row(s, why);
    }
    return refuse_row(s, "has changed meanwhile");
}

/* A field that is not there is NULL. `fields` is how many there are. */
static bool put_record(struct source *s, int row, lua_Integer fields)
{
    if (!tpb_copy_begin_row(&s->writer))
        return false;
    for (int c = 0; c < s->writer.columns->count; c++) {
        lua_rawgeti(s->L, lua_upvalueindex(NAMES), c + 1);
        int type = lua_rawget(s->L, row);
        fields -= type != LUA_TNIL;
        if (!tpb_copy_put(&s->writer, c, row + 1 + c, type))
            return false;
    }
    if (fields != 0)
        return refuse_name(s, row);
    tpb_copy_end_row(&s->writer);
    return true;
}

/* Whether the list says its length itself. */
static bool has_n(const struct source *s, int row)
{
    lua_pushvalue(s->L, lua_upvalueindex(KEY_N));
    bool has = lua_rawget(s->L, row) != LUA_TNIL;
    lua_pop(s->L, 1);
    return has;
}

/* Whether it is what table.pack makes of nothing but nils. */
static bool is_packed(const struct source *s, int row, const struct tpb_shape *shape)
{
    if (shape->names != 1 || list_length(s, row, shape) == 0)
        return false;
    lua_pushvalue(s->L, lua_upvalueindex(KEY_N));
    bool is_name = is_column(s);
    lua_pop(s->L, 1);
    return !is_name;
}

/* A row that is not plainly a list of as many values as there are columns. */
static bool put_odd_row(struct source *s, int row)
{
    struct tpb_shape shape;
    char why[80];

    if (!lua_istable(s->L, row)) {
        snprintf(why, sizeof why, "is a %s and no table", luaL_typename(s->L, row));
        return refuse_row(s, why);
    }
    tpb_table_shape(s->L, row, &shape);
    if (shape.names > 0 && shape.count == 0 && !is_packed(s, row, &shape))
        return put_record(s, row, shape.names + (shape.other != LUA_TNONE));
    return check_list(s, row, &shape) && put_list(s, row);
}

/* The row on top of the stack, which is at index `row`. Its values are left there. */
static inline bool put_row(struct source *s, int row)
{
    int count = s->writer.columns->count;

    if (lua_istable(s->L, row) && lua_rawlen(s->L, row) == (size_t)count && count > 0 &&
        !has_n(s, row))
        return put_list(s, row);
    return put_odd_row(s, row);
}

/* -------------------------------------------------------------------- writers */

static inline struct source *open_source(lua_State *L)
{
    struct source *s = lua_touserdata(L, lua_upvalueindex(SOURCE));

    luaL_checkstack(L, 2 * s->writer.columns->count + 2 * LUA_MINSTACK, "too many columns");
    s->L = s->writer.L = L;
    return s;
}

/* put(row) */
static int put_one(lua_State *L)
{
    struct source *s = open_source(L);

    if (put_row(s, 1) && s->copy->data.len < s->copy->chunk)
        return 0;
    lua_pushboolean(L, 1);
    return 1;
}

/* put(list) */
static int put_many(lua_State *L)
{
    struct source *s = open_source(L);
    struct tpb_copy *copy = s->copy;

    if (s->length < 0)
        s->length = (lua_Integer)lua_rawlen(L, 1);
    while (copy->data.len < copy->chunk && copy->rows < s->length) {
        lua_rawgeti(L, 1, copy->rows + 1);
        if (!put_row(s, 2))
            break;
        lua_settop(L, 1);
    }
    lua_pushboolean(L, copy->failed || copy->rows < s->length);
    return 1;
}

/* put(text): small strings are collected, a large one is sent from where it is. */
static int put_text(lua_State *L)
{
    struct tpb_copy *copy = lua_touserdata(L, lua_upvalueindex(COPY));
    size_t len;

    if (lua_type(L, 1) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, 1, &len);
        if (len >= copy->chunk) {
            lua_pushvalue(L, 1);
            lua_setiuservalue(L, lua_upvalueindex(COPY), TPB_COPY_TEXT);
            copy->text = text;
            copy->text_left = len;
        } else {
            tp__buf_append(&copy->data, text, len);
        }
    } else {
        copy->failed = true;
        tp__error_set(&copy->err, TP_ERR_VALIDATION, "the source gave a %s and no string",
                      luaL_typename(L, 1));
    }
    lua_pushboolean(L, copy->failed || copy->text_left > 0 || copy->data.len >= copy->chunk);
    return 1;
}

/* Pushes the upvalues behind the COPY. */
static void push_source(lua_State *L, struct tpb_copy *copy)
{
    const struct tp_columns *columns = tp_op_columns(copy->call->op);
    struct source *s = lua_newuserdatauv(L, sizeof *s, 1);
    int self = lua_gettop(L);

    s->copy = copy;
    s->length = -1;
    tpb_copy_open_writer(L, copy, copy->db->has_codecs ? lua_upvalueindex(CODECS) : 0, &s->writer);
    lua_setiuservalue(L, self, 1);
    lua_createtable(L, columns->count, 0);
    for (int c = 0; c < columns->count; c++) {
        lua_pushstring(L, columns->list[c].name);
        lua_rawseti(L, -2, c + 1);
    }
    lua_getiuservalue(L, TPB_AT_COPY, TPB_COPY_DB);
    if (tpb_db_push_codecs(L, copy->db, lua_gettop(L)) == 0)
        lua_pushnil(L);
    lua_remove(L, -2);
    lua_pushliteral(L, "n");
    tpb_copy_put_head(&s->writer);
}

int tpb_copy_push_writer(lua_State *L, struct tpb_copy *copy)
{
    static const char *const names[] = {"list", "row", "text", NULL};
    static const lua_CFunction writers[] = {put_many, put_one, put_text};
    int which = luaL_checkoption(L, TPB_AT_ARGUMENT, NULL, names);

    lua_settop(L, TPB_AT_COPY);
    copy->chunk = FIRST_CHUNK;
    if (writers[which] == put_text) {
        lua_pushcclosure(L, put_text, COPY);
        return 1;
    }
    if (tp_op_columns(copy->call->op) == NULL)
        return luaL_error(L, "the columns of the COPY are not known");
    push_source(L, copy);
    lua_pushcclosure(L, writers[which], UPVALUES);
    return 1;
}

/* -------------------------------------------------------------------- sending */

/* After it was sent; one large row is no reason to keep its room. */
static void forget_chunk(struct tp_buf *chunk)
{
    if (chunk->room > 4 * (size_t)TPB_COPY_CHUNK)
        tp__buf_free(chunk);
    tp__buf_clear(chunk);
}

static int answer(lua_State *L, const struct tpb_copy *copy)
{
    lua_pushboolean(L, copy->step == TP_SEND && !copy->failed);
    lua_pushinteger(L, copy->rows);
    lua_pushinteger(L, copy->bytes);
    lua_pushboolean(L, copy->text_left > 0);
    return 4;
}

static int go_on_sending(lua_State *L, struct tpb_call *call)
{
    struct tpb_copy *copy = lua_touserdata(L, TPB_AT_COPY);

    copy->step = tpb_call_step(L, call, 0, &copy->err);
    if (copy->step == TP_WAIT)
        return tpb_call_wait(L, call, go_on_sending);
    forget_chunk(&copy->data);
    if (copy->chunk < TPB_COPY_CHUNK)
        copy->chunk *= 2;
    return answer(L, copy);
}

/* What is to be sent next. False: nothing. */
static bool take_chunk(struct tpb_copy *copy, const char **data, size_t *len)
{
    if (copy->data.len > 0) {
        *data = copy->data.data;
        *len = copy->data.len;
        return true;
    }
    *data = copy->text;
    *len = copy->text_left < TPB_COPY_CHUNK ? copy->text_left : TPB_COPY_CHUNK;
    copy->text_left -= *len;
    copy->text = copy->text_left > 0 ? copy->text + *len : NULL;
    return *len > 0;
}

int tpb_copy_send(lua_State *L, tp_reactor *reactor)
{
    struct tpb_copy *copy = tpb_copy_enter(L, reactor);
    tp_op *op = copy->call->op;
    const char *data;
    size_t len;

    if (copy->step != TP_SEND || copy->failed)
        return answer(L, copy);
    if (lua_toboolean(L, TPB_AT_ARGUMENT) && !copy->raw && !copy->tail_put)
        tpb_copy_put_tail(copy);
    if (copy->data.failed)
        tpb_copy_starved(copy);
    if (copy->failed || !take_chunk(copy, &data, &len))
        return answer(L, copy);
    copy->bytes += (lua_Integer)len;
    tp_op_copy_data(op, data, len);
    return go_on_sending(L, copy->call);
}
