/* COPY FROM STDIN: rows or ready data from the program to the operation. */
#include <stdio.h>
#include <string.h>

#include "compat.h"
#include "copy_writer.h"
#include "error.h"
#include "values.h"

/* The first chunks are small, so that the server begins early. */
enum { FIRST_CHUNK = 4 * 1024 };

struct source {
    lua_State *L;
    struct tpb_copy *copy;
    struct tpb_copy_writer writer;
    bool is_list; /* the rows are in a list of `length` */
    lua_Integer length;
    int names;    /* stack index of the first column's name; before it lies "n" */
    size_t chunk; /* how much is collected */
};

/* Pushes what lies on the stack while data is sent. */
static void open_source(lua_State *L, struct source *s)
{
    struct tpb_copy *copy = lua_touserdata(L, TPB_COPY_SELF);

    memset(s, 0, sizeof *s);
    s->L = L;
    s->copy = copy;
    s->chunk = FIRST_CHUNK;
    if (copy->raw)
        return;
    s->is_list = lua_istable(L, TPB_COPY_END);
    s->length = s->is_list ? (lua_Integer)lua_rawlen(L, TPB_COPY_END) : 0;
    tpb_copy_open_writer(L, copy, &s->writer);
    const struct tp_columns *columns = s->writer.columns;
    luaL_checkstack(L, 2 * columns->count + 2 * LUA_MINSTACK, "too many columns");
    lua_pushliteral(L, "n");
    s->names = lua_gettop(L) + 1;
    for (int c = 0; c < columns->count; c++)
        lua_pushstring(L, columns->list[c].name);
    tpb_copy_put_head(&s->writer);
}

/* Calls the source. False: it has ended. What it returns besides nil says that it has failed. */
static bool call_source(struct source *s)
{
    lua_State *L = s->L;

    lua_pushvalue(L, TPB_COPY_END);
    lua_call(L, 0, 2);
    if (lua_isnil(L, -2)) {
        if (!lua_isnil(L, -1))
            tpb_copy_give_up(L, s->copy);
        return false;
    }
    lua_pop(L, 1);
    return true;
}

/* ----------------------------------------------------------------------- rows */

static bool refuse_row(struct source *s, const char *why)
{
    return tpb_copy_wrong(s->copy, s->copy->rows + 1, NULL, why);
}

/* The length that a list says with a field `n`, or else its last index. */
static lua_Integer list_length(const struct source *s, int row, const struct tpb_shape *shape)
{
    lua_State *L = s->L;

    lua_pushvalue(L, s->names - 1);
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

static bool is_column(const struct source *s, int index)
{
    for (int c = 0; c < s->writer.columns->count; c++) {
        if (lua_rawequal(s->L, index, s->names + c))
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
        if (is_column(s, -1))
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
        lua_pushvalue(s->L, s->names + c);
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
    lua_pushvalue(s->L, s->names - 1);
    bool has = lua_rawget(s->L, row) != LUA_TNIL;
    lua_pop(s->L, 1);
    return has;
}

/* Whether it is what table.pack makes of nothing but nils. */
static bool is_packed(const struct source *s, int row, const struct tpb_shape *shape)
{
    if (shape->names != 1 || list_length(s, row, shape) == 0)
        return false;
    return !is_column(s, s->names - 1);
}

/* The row on top of the stack. Its values are left there. */
static bool put_row(struct source *s)
{
    int row = lua_gettop(s->L);
    size_t count = (size_t)s->writer.columns->count;
    struct tpb_shape shape;
    char why[80];

    if (!lua_istable(s->L, row)) {
        snprintf(why, sizeof why, "is a %s and no table", luaL_typename(s->L, row));
        return refuse_row(s, why);
    }
    if (lua_rawlen(s->L, row) == count && count > 0 && !has_n(s, row))
        return put_list(s, row);
    tpb_table_shape(s->L, row, &shape);
    if (shape.names > 0 && shape.count == 0 && !is_packed(s, row, &shape))
        return put_record(s, row, shape.names + (shape.other != LUA_TNONE));
    return check_list(s, row, &shape) && put_list(s, row);
}

/* Pushes the next row; false: there is none. */
static bool next_row(struct source *s)
{
    lua_Integer next = s->copy->rows + 1;

    if (!s->is_list)
        return call_source(s);
    if (next <= s->length)
        lua_rawgeti(s->L, TPB_COPY_END, next);
    return next <= s->length;
}

/* Collects rows. False: one cannot be sent. */
static bool collect_rows(struct source *s)
{
    int top = lua_gettop(s->L);

    while (s->copy->data.len < s->chunk) {
        if (!next_row(s)) {
            lua_settop(s->L, top);
            s->copy->over = true;
            tpb_copy_put_tail(&s->writer);
            break;
        }
        if (!put_row(s))
            return false;
        lua_settop(s->L, top);
    }
    return true;
}

/* ----------------------------------------------------------------- ready data */

/* Small strings are collected; a large one is left on the stack, and its bytes are sent from
 * there. */
static bool collect_strings(struct source *s, const char **data, size_t *len)
{
    lua_State *L = s->L;
    struct tp_buf *out = &s->copy->data;
    int top = lua_gettop(L);

    while (out->len < s->chunk) {
        if (!call_source(s)) {
            s->copy->over = true;
            break;
        }
        if (lua_type(L, -1) != LUA_TSTRING) {
            s->copy->failed = true;
            tp__error_set(&s->copy->err, TP_ERR_VALIDATION, "the source gave a %s and no string",
                          luaL_typename(L, -1));
            return false;
        }
        size_t size;
        const char *text = lua_tolstring(L, -1, &size);
        if (out->len == 0 && size >= s->chunk) {
            *data = text;
            *len = size;
            return true;
        }
        tp__buf_append(out, text, size);
        lua_settop(L, top);
    }
    return true;
}

/* The next part of the one string that is the source. */
static void take_part(struct source *s, const char **data, size_t *len)
{
    size_t all, done = (size_t)s->copy->bytes;
    const char *text = lua_tolstring(s->L, TPB_COPY_END, &all);

    *data = text + done;
    *len = all - done < TPB_COPY_CHUNK ? all - done : TPB_COPY_CHUNK;
    s->copy->over = done + *len == all;
}

/* -------------------------------------------------------------------- sending */

/* What is to be sent next; *data stays NULL at the end. False: copy->err says why. */
static bool collect(struct source *s, const char **data, size_t *len)
{
    struct tp_buf *out = &s->copy->data;

    *data = NULL;
    *len = 0;
    if (s->copy->over)
        return true;
    if (s->copy->raw && lua_type(s->L, TPB_COPY_END) == LUA_TSTRING) {
        take_part(s, data, len);
        return true;
    }
    if (s->copy->raw ? !collect_strings(s, data, len) : !collect_rows(s))
        return false;
    if (out->failed)
        return tpb_copy_starved(s->copy);
    if (*data == NULL && out->len > 0) {
        *data = out->data;
        *len = out->len;
    }
    if (s->chunk < TPB_COPY_CHUNK)
        s->chunk *= 2;
    return true;
}

/* After it was sent; one large row is no reason to keep its room. */
static void forget_chunk(struct tp_buf *chunk)
{
    if (chunk->room > 4 * (size_t)TPB_COPY_CHUNK)
        tp__buf_free(chunk);
    tp__buf_clear(chunk);
}

int tpb_copy_send(lua_State *L)
{
    struct source s;
    const char *data;
    size_t len;

    open_source(L, &s);
    struct tpb_copy *copy = s.copy;
    tp_op *op = copy->call->op;
    int top = lua_gettop(L);
    while (copy->step == TP_SEND) {
        if (!collect(&s, &data, &len))
            return 0;
        copy->bytes += (lua_Integer)len;
        tpb_copy_tell(L, copy, data == NULL);
        if (data != NULL)
            tp_op_copy_data(op, data, len);
        else
            tp_op_copy_end(op);
        copy->step = tp_drive(op);
        forget_chunk(&copy->data);
        lua_settop(L, top);
    }
    return 0;
}
