#include "json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "compat.h"
#include "error.h"
#include "codec.h"
#include "int64.h"
#include "number.h"
#include "values.h"

/* One encoding. */
struct json {
    lua_State *L;
    struct tp_buf *out;
    struct tp_error *err;
    size_t start; /* where our text begins in the buffer */
    int depth;
};

/* The way from the root to a value: a list on the C stack, from the inside out. */
struct step {
    const struct step *up; /* NULL at the root, which has no key */
    const char *key;       /* of an object, or NULL; borrowed from the Lua stack */
    size_t key_len;
    lua_Integer index; /* of an array */
};

static bool encode_value(struct json *j, int index, const struct step *at);

/* ------------------------------------------------------------------ errors */

static bool is_plain_name(const char *text)
{
    if (text[0] == '\0' || (text[0] >= '0' && text[0] <= '9'))
        return false;
    return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
           strlen(text);
}

static void write_step(const struct step *at, char *out, size_t room)
{
    char key[64];

    if (at->key == NULL) {
        snprintf(out, room, "[%lld]", (long long)at->index);
        return;
    }
    tp__text_copy_n(key, sizeof key, at->key, at->key_len);
    snprintf(out, room, is_plain_name(key) ? ".%s" : "[\"%s\"]", key);
}

/* Writes "$.a[1]". The way into a cycle is long: where it does not fit it ends in
 * "...". Returns the length, or `room` once it was cut. */
static size_t write_path(const struct step *at, char *out, size_t room)
{
    char piece[96];
    size_t used, len;

    if (at->up == NULL)
        return (size_t)snprintf(out, room, "$");
    used = write_path(at->up, out, room);
    if (used == room)
        return room;
    write_step(at, piece, sizeof piece);
    len = strlen(piece);
    if (used + len + sizeof "..." > room) {
        memcpy(out + used, "...", sizeof "...");
        return room;
    }
    memcpy(out + used, piece, len + 1);
    return used + len;
}

static bool fail(struct json *j, const struct step *at, const char *fmt, ...) TP_PRINTF(3, 4);
static bool fail(struct json *j, const struct step *at, const char *fmt, ...)
{
    char path[160], text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    write_path(at, path, sizeof path);
    if (at->up == NULL)
        tp__error_set(j->err, TP_ERR_VALIDATION, "%s", text);
    else
        tp__error_set(j->err, TP_ERR_VALIDATION, "%s: %s", path, text);
    return false;
}

static bool fail_memory(struct json *j)
{
    tp__error_set(j->err, TP_ERR_MEMORY, "out of memory while writing JSON");
    return false;
}

/* ----------------------------------------------------------------- scalars */

static void put_escaped(struct tp_buf *out, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *found = strchr(from, c);

    if (c != '\0' && found != NULL) {
        tp__buf_putc(out, '\\');
        tp__buf_putc(out, to[found - from]);
    } else {
        tp__buf_printf(out, "\\u%04x", c);
    }
}

static bool encode_string(struct json *j, int index, const struct step *at)
{
    size_t len, from = 0;
    const char *text = lua_tolstring(j->L, index, &len);

    if (!tp_utf8_valid(text, len))
        return fail(j, at, "a string that is not valid UTF-8 cannot be written as JSON");
    tp__buf_putc(j->out, '"');
    for (size_t i = 0; i < len; ++i) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        tp__buf_append(j->out, text + from, i - from);
        put_escaped(j->out, c);
        from = i + 1;
    }
    tp__buf_append(j->out, text + from, len - from);
    tp__buf_putc(j->out, '"');
    return true;
}

static bool encode_number(struct json *j, int index, const struct step *at)
{
    char text[32]; /* any double's, and any integer's */
    double value;
    size_t len;

    if (lua_isinteger(j->L, index)) {
        int n = snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(j->L, index));
        tp__buf_append(j->out, text, (size_t)n);
        return true;
    }
    value = (double)lua_tonumber(j->L, index);
    len = tp__float8_text(value, text);
    if (!isfinite(value))
        return fail(j, at, "%.*s cannot be written as JSON", (int)len, text);
    tp__buf_append(j->out, text, len);
    return true;
}

static bool encode_cdata(struct json *j, int index, const struct step *at)
{
    struct tpb_int64 number;

    if (!tpb_read_int64(j->L, index, &number))
        return fail(j, at, "a %s cannot be written as JSON", luaL_typename(j->L, index));
    tp__buf_puts(j->out, number.digits);
    return true;
}

/* ------------------------------------------------------------------ tables */

static bool encode_list(struct json *j, int index, lua_Integer n, const struct step *at)
{
    struct step step = {.up = at};

    tp__buf_putc(j->out, '[');
    for (lua_Integer i = 1; i <= n; ++i) {
        if (i > 1)
            tp__buf_putc(j->out, ',');
        step.index = i;
        lua_rawgeti(j->L, index, i);
        if (!encode_value(j, lua_gettop(j->L), &step))
            return false;
        lua_pop(j->L, 1);
    }
    tp__buf_putc(j->out, ']');
    return true;
}

static bool encode_object(struct json *j, int index, const struct step *at)
{
    struct step step = {.up = at};
    bool first = true;

    tp__buf_putc(j->out, '{');
    lua_pushnil(j->L);
    while (lua_next(j->L, index) != 0) {
        int value = lua_gettop(j->L);
        if (!first)
            tp__buf_putc(j->out, ',');
        first = false;
        step.key = lua_tolstring(j->L, value - 1, &step.key_len);
        if (!encode_string(j, value - 1, &step))
            return false;
        tp__buf_putc(j->out, ':');
        if (!encode_value(j, value, &step))
            return false;
        lua_pop(j->L, 1);
    }
    tp__buf_putc(j->out, '}');
    return true;
}

/* Decides between list and object by all keys of the table. */
static bool encode_keys(struct json *j, int index, const struct step *at)
{
    bool marked = tpb_is_array(j->L, index);
    struct tpb_shape shape;

    tpb_table_shape(j->L, index, &shape);
    if (shape.other != LUA_TNONE)
        return fail(j, at, "a %s cannot be a key in JSON",
                    shape.other == LUA_TNUMBER ? "fraction" : lua_typename(j->L, shape.other));
    if (shape.names > 0 && marked)
        return fail(j, at, "a table that tidepool.array marked has string keys");
    if (shape.names > 0 && shape.count > 0)
        return fail(j, at, "a table with both integer and string keys is no JSON value");
    if (shape.names > 0 || (shape.count == 0 && !marked))
        return encode_object(j, index, at);
    if (shape.count > 0 && shape.min < 1)
        return fail(j, at, "the key %lld is below 1", (long long)shape.min);
    if (shape.max != shape.count)
        return fail(j, at, "the list has no element [%lld] (tidepool.null stands for null)",
                    (long long)tpb_table_hole(j->L, index));
    return encode_list(j, index, shape.count, at);
}

static bool encode_table(struct json *j, int index, const struct step *at)
{
    bool good;

    if (j->depth == TPB_JSON_DEPTH)
        return fail(j, at, "nested too deeply or cyclic (at most %d levels)", TPB_JSON_DEPTH);
    if (!lua_checkstack(j->L, LUA_MINSTACK))
        return fail_memory(j);
    j->depth++;
    if (tpb_is_json(j->L, index)) {
        lua_rawgeti(j->L, index, 1);
        good = encode_value(j, lua_gettop(j->L), at);
        lua_pop(j->L, good ? 1 : 0);
    } else {
        good = encode_keys(j, index, at);
    }
    j->depth--;
    return good;
}

/* `index` is absolute. On failure the Lua stack is left as it is:
 * tpb_json_encode resets it, and `at` may still point into it. */
static bool encode_value(struct json *j, int index, const struct step *at)
{
    if (j->out->failed)
        return fail_memory(j);
    if (j->out->len - j->start > TPB_VALUE_MAX)
        return fail(j, at, "the JSON text is larger than 1 GB");
    if (lua_isnoneornil(j->L, index) || tpb_is_null(j->L, index)) {
        tp__buf_append(j->out, "null", 4);
        return true;
    }
    switch (lua_type(j->L, index)) {
    case LUA_TBOOLEAN:
        tp__buf_puts(j->out, lua_toboolean(j->L, index) ? "true" : "false");
        return true;
    case LUA_TNUMBER:
        return encode_number(j, index, at);
    case LUA_TSTRING:
        return encode_string(j, index, at);
    case LUA_TTABLE:
        return encode_table(j, index, at);
    default:
        return encode_cdata(j, index, at);
    }
}

bool tpb_json_encode(lua_State *L, int index, struct tp_buf *out, struct tp_error *err)
{
    struct json j = {.L = L, .out = out, .err = err, .start = out->len};
    struct step root = {.up = NULL};
    int top = lua_gettop(L);
    bool good = encode_value(&j, lua_absindex(L, index), &root);

    lua_settop(L, top);
    if (good && out->failed)
        return fail_memory(&j);
    return good;
}
