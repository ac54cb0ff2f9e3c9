#include "encode_array.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "encode.h"
#include "error.h"
#include "json.h"
#include "values.h"

/* One array on its way to text. */
struct array {
    lua_State *L;
    struct tp_type_info element;
    char delimiter;
    struct tp_buf *out;
    struct tp_error *err;
    size_t start;
    lua_Integer at[TPB_ARRAY_DIMENSIONS];     /* where we are, per dimension */
    lua_Integer length[TPB_ARRAY_DIMENSIONS]; /* of every list of a dimension */
    int dimensions;                           /* of which the length is known */
    bool has_values;                          /* then the dimensions are final */
};

static bool encode_list(struct array *a, int index, int depth);

/* ------------------------------------------------------------------ errors */

/* Puts "element [2][1]: " before the message; `depth` indexes lead to it. */
static bool blame(struct array *a, int depth)
{
    char where[TPB_ARRAY_DIMENSIONS * 24 + 16] = "element ";
    size_t used = strlen(where);

    if (depth == 0)
        return false;
    for (int i = 0; i < depth; ++i)
        used += (size_t)snprintf(where + used, sizeof where - used, "[%lld]", (long long)a->at[i]);
    snprintf(where + used, sizeof where - used, ": ");
    return tpb_encode_blame(where, a->err);
}

static bool fail(struct array *a, int depth, const char *fmt, ...) TP_PRINTF(3, 4);
static bool fail(struct array *a, int depth, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    tp__error_set(a->err, TP_ERR_VALIDATION, "%s", text);
    return blame(a, depth);
}

static bool fail_memory(struct array *a)
{
    tp__error_set(a->err, TP_ERR_MEMORY, "out of memory while encoding an array");
    return false;
}

/* ---------------------------------------------------------------- elements */

/* Quotes the text that the buffer has from `start` on, in place: it is spread
 * from its end, so no byte is overwritten before it was moved. */
static void quote_tail(struct tp_buf *out, size_t start)
{
    size_t len = out->len - start, escapes = 0;
    char *text, *to;

    for (size_t i = start; !out->failed && i < out->len; ++i)
        escapes += out->data[i] == '"' || out->data[i] == '\\';
    if (!tp__buf_reserve(out, escapes + 2))
        return;
    text = out->data + start;
    to = text + len + escapes + 2;
    *--to = '"';
    while (len > 0) {
        char c = text[--len];
        *--to = c;
        if (c == '"' || c == '\\')
            *--to = '\\';
    }
    *text = '"';
    out->len += escapes + 2;
}

static bool encode_value(struct array *a, int index, int depth)
{
    size_t start = a->out->len;
    int type = lua_type(a->L, index);

    if (a->dimensions > depth)
        return fail(a, depth, "a plain value stands where other elements are lists");
    a->has_values = true;
    if (tpb_is_null(a->L, index)) {
        tp__buf_append(a->out, "NULL", 4);
        return true;
    }
    if (!tpb_encode_text(a->L, index, &a->element, a->out, a->err))
        return blame(a, depth);
    if (type != LUA_TNUMBER && type != LUA_TBOOLEAN)
        quote_tail(a->out, start);
    return true;
}

static bool encode_element(struct array *a, int index, int depth)
{
    if (a->out->failed)
        return fail_memory(a);
    if (a->out->len - a->start > TPB_VALUE_MAX)
        return fail(a, depth, "the array is larger than 1 GB");
    if (lua_istable(a->L, index) && a->element.kind != TP_KIND_JSON && !tpb_is_json(a->L, index))
        return encode_list(a, index, depth);
    return encode_value(a, index, depth);
}

/* ------------------------------------------------------------------- lists */

/* The length that the field `n` says; false when there is none. */
static bool stated_length(struct array *a, int index, lua_Integer *length)
{
    bool stated;

    lua_pushliteral(a->L, "n");
    lua_rawget(a->L, index);
    stated = lua_isinteger(a->L, -1);
    if (stated)
        *length = lua_tointeger(a->L, -1);
    lua_pop(a->L, 1);
    return stated;
}

static bool check_list(struct array *a, int index, int depth, lua_Integer *length)
{
    struct tpb_shape shape;
    lua_Integer n = -1;

    tpb_table_shape(a->L, index, &shape);
    if (shape.names > 0 && stated_length(a, index, &n))
        shape.names--;
    if (shape.names > 0)
        return fail(a, depth, "a table with string keys is no array");
    if (shape.other != LUA_TNONE || (shape.count > 0 && shape.min < 1))
        return fail(a, depth, "a table with keys other than 1, 2, 3, ... is no array");
    if (n < 0)
        n = shape.max;
    if (shape.max > n)
        return fail(a, depth, "the list has an element [%lld], but its n is %lld",
                    (long long)shape.max, (long long)n);
    if (shape.count != n)
        return fail(a, depth, "the list has no element [%lld] (tidepool.null stands for NULL)",
                    (long long)tpb_table_hole(a->L, index));
    *length = n;
    return true;
}

/* A list at `depth` is either the first there or as long as the first. */
static bool check_dimension(struct array *a, int depth, lua_Integer length)
{
    if (depth == TPB_ARRAY_DIMENSIONS)
        return fail(a, depth, "an array has at most %d dimensions", TPB_ARRAY_DIMENSIONS);
    if (depth < a->dimensions && a->length[depth] != length)
        return fail(a, depth, "the list has length %lld, the first one beside it has length %lld",
                    (long long)length, (long long)a->length[depth]);
    if (depth == a->dimensions) {
        if (a->has_values)
            return fail(a, depth, "a list stands where other elements are plain values");
        a->length[a->dimensions++] = length;
    }
    return true;
}

static bool encode_list(struct array *a, int index, int depth)
{
    lua_Integer length = 0;

    if (!lua_checkstack(a->L, LUA_MINSTACK))
        return fail_memory(a);
    if (!check_list(a, index, depth, &length) || !check_dimension(a, depth, length))
        return false;
    tp__buf_putc(a->out, '{');
    for (lua_Integer i = 1; i <= length; ++i) {
        if (i > 1)
            tp__buf_putc(a->out, a->delimiter);
        a->at[depth] = i;
        lua_rawgeti(a->L, index, i);
        if (!encode_element(a, lua_gettop(a->L), depth + 1))
            return false;
        lua_pop(a->L, 1);
    }
    tp__buf_putc(a->out, '}');
    return true;
}

bool tpb_encode_array(lua_State *L, int index, const struct tp_type_info *type, struct tp_buf *out,
                      struct tp_error *err)
{
    struct array a = {.L = L, .out = out, .err = err, .start = out->len};
    int top = lua_gettop(L);
    bool good;

    tp_type_lookup(type->element, &a.element);
    a.delimiter = type->delimiter;
    good = encode_list(&a, lua_absindex(L, index), 0);
    lua_settop(L, top);
    if (!good)
        return false;
    /* Lists with nothing in them have no dimensions in PostgreSQL. */
    if (!a.has_values && !out->failed) {
        out->len = a.start;
        tp__buf_puts(out, "{}");
    }
    return !out->failed || fail_memory(&a);
}
