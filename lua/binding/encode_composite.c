/* Tables to composite values, hstore and pgvector's vector.
 *
 * A composite value is a table by field name, or a list by position; what is absent is
 * NULL, as tidepool.null is. An hstore is a table of strings, numbers, booleans and
 * tidepool.null. Source: PostgreSQL manual 8.16.6 and F.18.1; record_recv, hstore_recv;
 * vector_recv of pgvector 0.5. */
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "compat.h"
#include "encode_array.h"
#include "encode_value.h"
#include "error.h"
#include "values.h"

/* --------------------------------------------------------------- composites */

static bool blame_field(struct tpb_encoder *e, const char *name)
{
    char where[160];

    snprintf(where, sizeof where, "field \"%s\": ", name);
    return tpb_blame(e, where);
}

/* `name` may be anything: it is cleaned to be shown. */
static bool refuse_name(struct tpb_encoder *e, const struct tp_type *type, const char *name,
                        size_t len)
{
    char shown[128];

    tp__text_copy_n(shown, sizeof shown, name, len);
    return tpb_wrong(e, "the composite type %s has no field \"%s\"", type->name, shown);
}

static bool has_field(const struct tp_type *type, const char *name)
{
    for (int i = 0; i < type->nfields; i++) {
        if (strcmp(type->fields[i].name, name) == 0)
            return true;
    }
    return false;
}

/* There are more names than fields were found: which is the one too many? */
static bool refuse_names(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    lua_State *L = e->L;
    size_t len;

    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        const char *name = lua_tolstring(L, -2, &len);
        if (strlen(name) != len || !has_field(type, name))
            return refuse_name(e, type, name, len);
        lua_pop(L, 1);
    }
    return tpb_wrong(e, "the composite type %s has other fields", type->name);
}

static bool check_keys(struct tpb_encoder *e, const struct tp_type *type,
                       const struct tpb_shape *shape)
{
    if (shape->other != LUA_TNONE)
        return tpb_wrong(e, "a %s is no key of a composite value",
                         shape->other == LUA_TNUMBER ? "fraction"
                                                     : lua_typename(e->L, shape->other));
    if (shape->names > 0 && shape->count > 0)
        return tpb_wrong(e, "a composite value has either field names or positions, not both");
    if (shape->count > 0 && (shape->min < 1 || shape->max > type->nfields))
        return tpb_wrong(e, "the composite type %s has %d field%s, and no field [%lld]", type->name,
                         type->nfields, type->nfields == 1 ? "" : "s",
                         (long long)(shape->min < 1 ? shape->min : shape->max));
    return true;
}

static bool put_field_binary(struct tpb_encoder *e, int value, const struct tp_type *type,
                             bool null)
{
    tpb_put_int32(e->out, (int32_t)type->oid);
    if (null) {
        tpb_put_int32(e->out, -1);
        return true;
    }
    size_t part = tpb_begin_part(e->out);
    bool good = tpb_put_binary(e, value, type);
    tpb_end_part(e->out, part);
    return good;
}

/* A NULL is nothing between the commas; everything else may stand in quotes. */
static bool put_field_text(struct tpb_encoder *e, int value, const struct tp_type *type, bool null)
{
    size_t start = e->out->len;

    if (null)
        return true;
    if (!tpb_put_text(e, value, type))
        return false;
    tpb_quote_tail(e->out, start);
    return true;
}

/* Puts all fields and counts those that the table has. */
static bool put_fields(struct tpb_encoder *e, int index, const struct tp_type *type, bool by_name,
                       bool binary, lua_Integer *found)
{
    lua_State *L = e->L;

    for (int i = 0; i < type->nfields; i++) {
        const struct tp_type_field *field = &type->fields[i];
        if (!tpb_can_go_on(e))
            return false;
        if (i > 0 && !binary)
            tp__buf_putc(e->out, ',');
        if (by_name) {
            lua_pushstring(L, field->name);
            lua_rawget(L, index);
        } else {
            lua_rawgeti(L, index, i + 1);
        }
        int value = lua_gettop(L);
        *found += !lua_isnil(L, value);
        bool null = lua_isnil(L, value) || tpb_is_null(L, value);
        if (binary ? !put_field_binary(e, value, field->type, null)
                   : !put_field_text(e, value, field->type, null))
            return blame_field(e, field->name);
        lua_pop(L, 1);
    }
    return true;
}

bool tpb_put_composite(struct tpb_encoder *e, int index, const struct tp_type *type, bool binary)
{
    struct tpb_shape shape;
    lua_Integer found = 0;

    if (!tpb_can_go_on(e))
        return false;
    tpb_table_shape(e->L, index, &shape);
    if (!check_keys(e, type, &shape))
        return false;
    if (binary)
        tpb_put_int32(e->out, type->nfields);
    else
        tp__buf_putc(e->out, '(');
    if (!put_fields(e, index, type, shape.count == 0, binary, &found))
        return false;
    if (!binary)
        tp__buf_putc(e->out, ')');
    return found == shape.names + shape.count || refuse_names(e, index, type);
}

/* ------------------------------------------------------------------- hstore */

/* What keys and values are, as far as errors tell. */
static const struct tp_type text_type = {
    .oid = 25, .base = 25, .name = "hstore", .kind = TP_KIND_TEXT, .binary = true};

static bool blame_pair(struct tpb_encoder *e, int key)
{
    char shown[100], where[120];
    size_t len;
    const char *name = lua_tolstring(e->L, key, &len);

    tp__text_copy_n(shown, sizeof shown, name, len);
    snprintf(where, sizeof where, "key \"%s\": ", shown);
    return tpb_blame(e, where);
}

static bool put_pair_value(struct tpb_encoder *e, int value, bool binary)
{
    if (tpb_is_null(e->L, value)) {
        if (binary)
            tpb_put_int32(e->out, -1);
        else
            tp__buf_append(e->out, "NULL", 4);
        return true;
    }
    size_t start = binary ? tpb_begin_part(e->out) : e->out->len;
    if (!tpb_put_text(e, value, &text_type))
        return false;
    if (binary)
        tpb_end_part(e->out, start);
    else
        tpb_quote_tail(e->out, start);
    return true;
}

static bool put_pair(struct tpb_encoder *e, int key, int value, bool binary)
{
    size_t len, start = binary ? tpb_begin_part(e->out) : e->out->len;
    const char *name = lua_tolstring(e->L, key, &len);

    if (!tpb_check_string(name, len, e->err))
        return blame_pair(e, key);
    tp__buf_append(e->out, name, len);
    if (binary) {
        tpb_end_part(e->out, start);
    } else {
        tpb_quote_tail(e->out, start);
        tp__buf_append(e->out, "=>", 2);
    }
    return put_pair_value(e, value, binary) || blame_pair(e, key);
}

bool tpb_put_hstore(struct tpb_encoder *e, int index, bool binary)
{
    lua_State *L = e->L;
    struct tpb_shape shape;
    lua_Integer count = 0;

    if (!tpb_can_go_on(e))
        return false;
    tpb_table_shape(L, index, &shape);
    if (shape.count > 0 || shape.other != LUA_TNONE)
        return tpb_wrong(e, "the keys of an hstore are strings");
    if (binary)
        tpb_put_int32(e->out, (int32_t)shape.names);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (count++ > 0 && !binary)
            tp__buf_putc(e->out, ',');
        if (!tpb_can_go_on(e) || !put_pair(e, lua_gettop(L) - 1, lua_gettop(L), binary))
            return false;
        lua_pop(L, 1);
    }
    return true;
}

/* ------------------------------------------------------------------- vector */

static bool put_dimension(struct tpb_encoder *e, const struct tp_type *type, lua_Integer i,
                          bool binary)
{
    char where[40];
    double value = 0;
    int index = lua_gettop(e->L);

    if (lua_type(e->L, index) == LUA_TNUMBER && tpb_take_float(e, index, type, &value)) {
        if (binary)
            tpb_put_float4(e->out, value);
        else
            tpb_put_digits(e->out, value);
        return true;
    }
    if (lua_type(e->L, index) != LUA_TNUMBER)
        tpb_wrong(e, "a vector is of numbers");
    snprintf(where, sizeof where, "element [%lld]: ", (long long)i);
    return tpb_blame(e, where);
}

bool tpb_put_vector(struct tpb_encoder *e, int index, bool binary)
{
    static const struct tp_type number = {.base = 700, .name = "float4", .kind = TP_KIND_FLOAT};
    lua_Integer length = 0;

    if (!tpb_can_go_on(e) || !tpb_list_length(e, index, "vector", &length))
        return false;
    if (length > INT16_MAX)
        return tpb_wrong(e, "a vector of %lld dimensions cannot be sent", (long long)length);
    if (binary)
        tpb_put_int32(e->out, (int32_t)length << 16);
    else
        tp__buf_putc(e->out, '[');
    for (lua_Integer i = 1; i <= length; ++i) {
        if (i > 1 && !binary)
            tp__buf_putc(e->out, ',');
        lua_rawgeti(e->L, index, i);
        if (!put_dimension(e, &number, i, binary))
            return false;
        lua_pop(e->L, 1);
    }
    if (!binary)
        tp__buf_putc(e->out, ']');
    return true;
}
