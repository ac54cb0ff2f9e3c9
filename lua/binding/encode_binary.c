/* Lua values to binary forms. Source: the *_recv functions of PostgreSQL 15. */
#include <math.h>
#include <string.h>

#include "codec.h"
#include "compat.h"
#include "encode_array.h"
#include "encode_value.h"
#include "int64.h"
#include "json.h"
#include "number.h"
#include "types.h"
#include "values.h"

enum { OID_NAME = 19, OID_INT8 = 20, OID_INT2 = 21, OID_FLOAT4 = 700, OID_JSONB = 3802 };
enum { NAME_LENGTH = 64, JSONB_VERSION = 1 };

/* ------------------------------------------------------------------- parts */

size_t tpb_begin_part(struct tp_buf *out)
{
    tpb_put_int32(out, 0);
    return out->len;
}

void tpb_end_part(struct tp_buf *out, size_t part)
{
    if (!out->failed)
        tp__put32(out->data + part - 4, (uint32_t)(out->len - part));
}

void tpb_put_int32(struct tp_buf *out, int32_t value)
{
    if (tpb_has_room(out, 4)) {
        tp__put32(out->data + out->len, (uint32_t)value);
        out->len += 4;
    }
}

static void put_int64(struct tp_buf *out, int64_t value)
{
    if (tpb_has_room(out, 8)) {
        tp__put64(out->data + out->len, (uint64_t)value);
        out->len += 8;
    }
}

/* A float4 comes to Lua as the float8 of its shortest digits, and the nearest float4 to
 * that is where it came from; but for one, of all that there are, the digits lie so close
 * to the middle of two that the float8 is the middle itself. */
void tpb_put_float4(struct tp_buf *out, double value)
{
    static const double middle = 7.038531e-26;
    float narrow = (float)value;
    int32_t bits;

    if (fabs(value) == middle)
        narrow = copysignf(0x1.5c87fap-84F, narrow);
    memcpy(&bits, &narrow, sizeof bits);
    tpb_put_int32(out, bits);
}

/* ----------------------------------------------------------------- scalars */

static bool put_boolean(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    if (lua_isboolean(e->L, index)) {
        tp__buf_putc(e->out, (char)lua_toboolean(e->L, index));
        return true;
    }
    if (lua_isinteger(e->L, index) && (uint64_t)lua_tointeger(e->L, index) <= 1) {
        tp__buf_putc(e->out, (char)lua_tointeger(e->L, index));
        return true;
    }
    return tpb_put_text(e, index, type) && tpb_no_form(e, index, type);
}

/* A string of decimal digits is as good as the number. */
static bool take_integer(struct tpb_encoder *e, int index, const struct tp_type *type,
                         int64_t *value)
{
    struct tpb_int64 number;
    size_t len;

    if (lua_type(e->L, index) == LUA_TNUMBER)
        return tpb_take_integer(e, index, type, value);
    if (tpb_read_int64(e->L, index, &number) && number.fits &&
        tpb_integer_fits(type, number.value)) {
        *value = number.value;
        return true;
    }
    if (lua_type(e->L, index) == LUA_TSTRING) {
        const char *text = lua_tolstring(e->L, index, &len);
        if (tpb_integer_parse(text, len, value) && tpb_integer_fits(type, *value))
            return true;
    }
    return tpb_put_text(e, index, type) && tpb_no_form(e, index, type);
}

static bool put_integer(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    int64_t value = 0;
    char bytes[2];

    if (!take_integer(e, index, type, &value))
        return false;
    if (type->base == OID_INT8) {
        put_int64(e->out, value);
    } else if (type->base == OID_INT2) {
        tp__put16(bytes, (uint16_t)value);
        tp__buf_append(e->out, bytes, sizeof bytes);
    } else {
        tpb_put_int32(e->out, (int32_t)(uint32_t)value);
    }
    return true;
}

static bool put_float(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    double value = 0;
    int64_t bits;

    if (lua_type(e->L, index) != LUA_TNUMBER)
        return tpb_put_text(e, index, type) && tpb_no_form(e, index, type);
    if (!tpb_take_float(e, index, type, &value))
        return false;
    if (type->base == OID_FLOAT4) {
        tpb_put_float4(e->out, value);
    } else {
        memcpy(&bits, &value, sizeof bits);
        put_int64(e->out, bits);
    }
    return true;
}

static bool put_bytea(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    size_t len;

    if (tpb_is_json(e->L, index))
        return tpb_json_encode(e->L, index, e->out, e->err);
    if (lua_type(e->L, index) != LUA_TSTRING)
        return tpb_put_text(e, index, type) && tpb_no_form(e, index, type);
    const char *bytes = lua_tolstring(e->L, index, &len);
    tp__buf_append(e->out, bytes, len);
    return true;
}

/* ------------------------------------------------------------------- texts */

static bool put_jsonb(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    if (type->base == OID_JSONB)
        tp__buf_putc(e->out, JSONB_VERSION);
    return tpb_put_text(e, index, type);
}

/* The server's input cuts a name that is too long, its receive function refuses it. */
static bool is_its_text(const struct tp_type *type, size_t len)
{
    bool same = type->codec == NULL || type->codec->parse == tp__same_parse;
    return same && (type->base != OID_NAME || len < NAME_LENGTH);
}

static bool parse(struct tpb_encoder *e, int index, const struct tp_type *type, const char *text,
                  size_t len)
{
    if (type->codec != NULL && type->codec->parse != NULL && type->codec->parse(text, len, e->out))
        return true;
    return tpb_no_form(e, index, type);
}

/* A number or a boolean, whose text has to be made first. Parsing appends to the buffer,
 * which may move, so it reads a copy. */
static bool put_by_text(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    char copy[64];
    size_t start = e->out->len;

    if (!tpb_put_text(e, index, type))
        return false;
    size_t len = e->out->len - start;
    if (e->out->failed || is_its_text(type, len))
        return true;
    if (len > sizeof copy)
        return tpb_no_form(e, index, type);
    memcpy(copy, e->out->data + start, len);
    e->out->len = start;
    return parse(e, index, type, copy, len);
}

static bool put_text(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    size_t len;

    if (lua_type(e->L, index) != LUA_TSTRING)
        return put_by_text(e, index, type);
    const char *text = lua_tolstring(e->L, index, &len);
    if (!tpb_check_string(text, len, e->err))
        return false;
    if (!is_its_text(type, len))
        return parse(e, index, type, text, len);
    tp__buf_append(e->out, text, len);
    return true;
}

/* ------------------------------------------------------------- dispatching */

static bool put_table(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    if (!lua_istable(e->L, index) || tpb_is_json(e->L, index))
        return tpb_put_text(e, index, type) && tpb_no_form(e, index, type);
    switch (type->kind) {
    case TP_KIND_ARRAY:
        return tpb_put_array(e, index, type, true);
    case TP_KIND_COMPOSITE:
        return tpb_put_composite(e, index, type, true);
    case TP_KIND_HSTORE:
        return tpb_put_hstore(e, index, true);
    default:
        return tpb_put_vector(e, index, true);
    }
}

bool tpb_put_binary(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    if (!type->binary)
        return tpb_no_form(e, index, type);
    switch (type->kind) {
    case TP_KIND_BOOL:
        return put_boolean(e, index, type);
    case TP_KIND_INT:
        return put_integer(e, index, type);
    case TP_KIND_FLOAT:
        return put_float(e, index, type);
    case TP_KIND_BYTEA:
        return put_bytea(e, index, type);
    case TP_KIND_JSON:
        return put_jsonb(e, index, type);
    case TP_KIND_TEXT:
    case TP_KIND_NUMERIC:
        return put_text(e, index, type);
    case TP_KIND_RANGE:
    case TP_KIND_MULTIRANGE:
        return tpb_put_text(e, index, type) && tpb_no_form(e, index, type);
    default:
        return put_table(e, index, type);
    }
}
