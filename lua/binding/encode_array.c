#include "encode_array.h"

#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "compat.h"
#include "json.h"
#include "values.h"

/* One array on its way. */
struct array {
    struct tpb_encoder *e;
    const struct tp_type *element;
    char delimiter;
    bool binary;
    bool by_codec; /* the program has a codec for the elements */
    size_t start;
    lua_Integer at[TPB_ARRAY_DIMENSIONS];     /* where we are, per dimension */
    lua_Integer length[TPB_ARRAY_DIMENSIONS]; /* of every list of a dimension */
    int dimensions;                           /* of which the length is known */
    bool has_values;                          /* then the dimensions are final */
};

static bool put_list(struct array *a, int index, int depth);

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
    return tpb_blame(a->e, where);
}

/* ------------------------------------------------------------------ header */

/* Dimensions, whether there are NULLs, the elements' type, and each dimension's length and
 * lower bound. */
static void put_header(struct array *a)
{
    struct tp_buf *out = a->e->out;

    tpb_put_int32(out, a->dimensions);
    tpb_put_int32(out, 0);
    tpb_put_int32(out, (int32_t)a->element->oid);
    for (int i = 0; i < a->dimensions; ++i) {
        tpb_put_int32(out, (int32_t)a->length[i]);
        tpb_put_int32(out, 1);
    }
}

/* The lengths are those of the lists on the way to the first value: they are known when
 * it comes, and before anything else was written in binary. */
static void note_value(struct array *a)
{
    if (!a->has_values && a->binary)
        put_header(a);
    a->has_values = true;
}

static void put_null(struct array *a)
{
    struct tp_buf *out = a->e->out;

    if (!a->binary) {
        tp__buf_append(out, "NULL", 4);
        return;
    }
    tpb_put_int32(out, -1);
    if (!out->failed)
        tp__put32(out->data + a->start + 4, 1);
}

/* ---------------------------------------------------------------- elements */

static bool put_binary(struct array *a, int index)
{
    size_t part = tpb_begin_part(a->e->out);
    bool good = tpb_put_binary(a->e, index, a->element);

    tpb_end_part(a->e->out, part);
    return good;
}

/* Numbers and booleans have nothing in them that would want quotes. */
static bool put_text(struct array *a, int index, int type)
{
    size_t start = a->e->out->len;

    if (!tpb_put_text(a->e, index, a->element))
        return false;
    if ((type != LUA_TNUMBER && type != LUA_TBOOLEAN) || a->by_codec)
        tpb_quote_tail(a->e->out, start);
    return true;
}

/* `type` is the Lua type. */
static bool put_value(struct array *a, int index, int type, int depth)
{
    if (a->dimensions > depth) {
        tpb_wrong(a->e, "a plain value stands where other elements are lists");
        return blame(a, depth);
    }
    note_value(a);
    if (type == LUA_TLIGHTUSERDATA && tpb_is_null(a->e->L, index)) {
        put_null(a);
        return true;
    }
    bool good = a->binary ? put_binary(a, index) : put_text(a, index, type);
    return good || blame(a, depth);
}

static bool has_names(lua_State *L, int index)
{
    struct tpb_shape shape;

    tpb_table_shape(L, index, &shape);
    return shape.names > 0 || shape.count == 0;
}

/* The Lua type of the first of `n` values that is neither nil nor tidepool.null. */
static int first_type(lua_State *L, int index, lua_Integer n)
{
    int type = LUA_TNIL;

    for (lua_Integer i = 1; i <= n && type == LUA_TNIL; ++i) {
        lua_rawgeti(L, index, i);
        if (!tpb_is_null(L, -1))
            type = lua_type(L, -1);
        lua_pop(L, 1);
    }
    return type;
}

/* Composite values and vectors, which have at most `n` parts. */
static bool is_record(lua_State *L, int index, lua_Integer n)
{
    int first = first_type(L, index, n);

    return first == LUA_TNIL ? has_names(L, index) : first != LUA_TTABLE;
}

static bool is_object(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return has_names(L, index);
    lua_pop(L, 1);
    return !tpb_is_array(L, index);
}

/* Whether a table is an element and not a list of elements. */
static bool is_element(struct array *a, int index)
{
    lua_State *L = a->e->L;

    if (a->by_codec)
        return is_object(L, index);
    switch (a->element->kind) {
    case TP_KIND_JSON:
    case TP_KIND_ARRAY:
        return true;
    case TP_KIND_COMPOSITE:
        return is_record(L, index, a->element->nfields);
    case TP_KIND_VECTOR:
        return is_record(L, index, 1);
    case TP_KIND_HSTORE:
        return has_names(L, index);
    default:
        return tpb_is_json(L, index);
    }
}

static bool put_element(struct array *a, int index, int type, int depth)
{
    const struct tp_buf *out = a->e->out;

    if ((out->failed || out->len - a->e->start > TPB_VALUE_MAX) && !tpb_can_go_on(a->e))
        return blame(a, depth);
    if (type == LUA_TTABLE && !is_element(a, index))
        return put_list(a, index, depth);
    return put_value(a, index, type, depth);
}

/* ------------------------------------------------------------------- lists */

/* The length that the field `n` says; false when there is none. */
static bool stated_length(lua_State *L, int index, lua_Integer *length)
{
    lua_pushliteral(L, "n");
    lua_rawget(L, index);
    bool stated = lua_isinteger(L, -1);
    if (stated)
        *length = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return stated;
}

bool tpb_list_length(struct tpb_encoder *e, int index, const char *what, lua_Integer *out)
{
    struct tpb_shape shape;
    lua_Integer n = -1;

    tpb_table_shape(e->L, index, &shape);
    if (shape.names > 0 && stated_length(e->L, index, &n))
        shape.names--;
    if (shape.names > 0)
        return tpb_wrong(e, "a table with string keys is no %s", what);
    if (shape.other != LUA_TNONE || (shape.count > 0 && shape.min < 1))
        return tpb_wrong(e, "a table with keys other than 1, 2, 3, ... is no %s", what);
    if (n < 0)
        n = shape.max;
    if (shape.max > n)
        return tpb_wrong(e, "the list has an element [%lld], but its n is %lld",
                         (long long)shape.max, (long long)n);
    if (shape.count != n)
        return tpb_wrong(e, "the list has no element [%lld] (tidepool.null stands for NULL)",
                         (long long)tpb_table_hole(e->L, index));
    *out = n;
    return true;
}

/* A list at `depth` is either the first there or as long as the first. */
static bool check_dimension(struct array *a, int depth, lua_Integer length)
{
    if (depth == TPB_ARRAY_DIMENSIONS)
        return tpb_wrong(a->e, "an array has at most %d dimensions", TPB_ARRAY_DIMENSIONS);
    if (length > INT32_MAX)
        return tpb_wrong(a->e, "the list has %lld elements", (long long)length);
    if (depth < a->dimensions && a->length[depth] != length)
        return tpb_wrong(a->e, "the list has length %lld, the first one beside it has length %lld",
                         (long long)length, (long long)a->length[depth]);
    if (depth == a->dimensions) {
        if (a->has_values)
            return tpb_wrong(a->e, "a list stands where other elements are plain values");
        a->length[a->dimensions++] = length;
    }
    return true;
}

static bool put_list(struct array *a, int index, int depth)
{
    lua_State *L = a->e->L;
    struct tp_buf *out = a->e->out;
    lua_Integer length = 0;

    if (!tpb_can_go_on(a->e) || !tpb_list_length(a->e, index, "array", &length) ||
        !check_dimension(a, depth, length))
        return blame(a, depth);
    int element = lua_gettop(L) + 1;
    if (!a->binary)
        tp__buf_putc(out, '{');
    for (lua_Integer i = 1; i <= length; ++i) {
        if (i > 1 && !a->binary)
            tp__buf_putc(out, a->delimiter);
        a->at[depth] = i;
        int type = lua_rawgeti(L, index, i);
        if (!put_element(a, element, type, depth + 1))
            return false;
        lua_settop(L, element - 1);
    }
    if (!a->binary)
        tp__buf_putc(out, '}');
    return true;
}

/* Lists with nothing in them have no dimensions in PostgreSQL. */
static void put_empty(struct array *a)
{
    if (a->e->out->failed)
        return;
    a->e->out->len = a->start;
    a->dimensions = 0;
    if (a->binary)
        put_header(a);
    else
        tp__buf_append(a->e->out, "{}", 2);
}

bool tpb_put_array(struct tpb_encoder *e, int index, const struct tp_type *type, bool binary)
{
    struct array a = {.e = e,
                      .element = type->element,
                      .delimiter = type->delimiter,
                      .binary = binary,
                      .start = e->out->len};

    a.by_codec = tpb_push_codec(e, type->element);
    if (a.by_codec)
        lua_pop(e->L, 1);
    if (!put_list(&a, index, 0))
        return false;
    if (!a.has_values)
        put_empty(&a);
    return true;
}
