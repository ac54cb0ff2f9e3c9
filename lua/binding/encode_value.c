#include "encode_value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "codec_digits.h"
#include "compat.h"
#include "encode.h"
#include "encode_array.h"
#include "error.h"
#include "int64.h"
#include "json.h"
#include "values.h"

/* Source: PostgreSQL's pg_type.dat. */
enum { OID_INT2 = 21, OID_INT4 = 23, OID_OID = 26, OID_FLOAT4 = 700, OID_FIRST_OWN = 16384 };

/* Room for any double as float8out writes it. */
enum { FLOAT_ROOM = 32 };

/* ------------------------------------------------------------------ errors */

/* "int4", "text[]", "type 16421" */
static void type_label(const struct tp_type *type, char *out, size_t room)
{
    if (type->name[0] == '\0')
        snprintf(out, room, "type %u", (unsigned)type->oid);
    else if (type->kind == TP_KIND_ARRAY && type->name[0] == '_')
        snprintf(out, room, "%s[]", type->name + 1);
    else
        snprintf(out, room, "%s", type->name);
}

bool tpb_refuse(struct tpb_encoder *e, const char *what, const struct tp_type *type)
{
    char label[80];

    type_label(type, label, sizeof label);
    if (type->oid == 0)
        return tpb_wrong(e, "%s cannot be sent", what);
    return tpb_wrong(e, "%s cannot be sent as %s", what, label);
}

bool tpb_refuse_number(struct tpb_encoder *e, int index, const char *why,
                       const struct tp_type *type)
{
    char label[80], text[FLOAT_ROOM];

    type_label(type, label, sizeof label);
    if (lua_isinteger(e->L, index))
        snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(e->L, index));
    else
        text[tp__float8_text((double)lua_tonumber(e->L, index), text)] = '\0';
    return tpb_wrong(e, "%s %s %s", text, why, label);
}

bool tpb_no_form(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    char label[80];

    type_label(type, label, sizeof label);
    tpb_wrong(e, "a %s cannot be sent in binary form as %s", luaL_typename(e->L, index), label);
    e->no_form = true;
    return false;
}

bool tpb_wrong(struct tpb_encoder *e, const char *fmt, ...)
{
    char text[sizeof e->err->message];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    tp__error_set(e->err, TP_ERR_VALIDATION, "%s", text);
    return false;
}

bool tpb_short_of_memory(struct tpb_encoder *e)
{
    tp__error_set(e->err, TP_ERR_MEMORY, "out of memory for a value that is sent");
    return false;
}

bool tpb_blame(struct tpb_encoder *e, const char *where)
{
    char text[sizeof e->err->message];

    if (e->err->kind == TP_ERR_VALIDATION) {
        size_t used = strlen(where);
        memcpy(text, e->err->message, sizeof text);
        memcpy(e->err->message, where, used);
        tp__text_copy(e->err->message + used, sizeof text - used, text);
    }
    return false;
}

bool tpb_can_go_on(struct tpb_encoder *e)
{
    if (e->out->failed || !lua_checkstack(e->L, LUA_MINSTACK))
        return tpb_short_of_memory(e);
    if (e->out->len - e->start > TPB_VALUE_MAX)
        return tpb_wrong(e, "the value is larger than 1 GB");
    return true;
}

/* ----------------------------------------------------------------- numbers */

bool tpb_integer_fits(const struct tp_type *type, int64_t value)
{
    switch (type->base) {
    case OID_INT2:
        return value >= INT16_MIN && value <= INT16_MAX;
    case OID_INT4:
        return value >= INT32_MIN && value <= INT32_MAX;
    case OID_OID:
        return value >= 0 && value <= UINT32_MAX;
    default:
        return true;
    }
}

static bool refuse_integer(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    double number = (double)lua_tonumber(e->L, index);

    if (!isfinite(number) || floor(number) != number)
        return tpb_refuse_number(e, index, "is no integer and cannot be sent as", type);
    return tpb_refuse_number(e, index, "is out of range for", type);
}

/* Lua takes a float for an integer when it is integral and fits. */
bool tpb_take_integer(struct tpb_encoder *e, int index, const struct tp_type *type, int64_t *out)
{
    int integral;

    *out = (int64_t)lua_tointegerx(e->L, index, &integral);
    return (integral && tpb_integer_fits(type, *out)) || refuse_integer(e, index, type);
}

/* What float4 would make an infinity or a zero of is out of its range, as the server has
 * it. An integer is made a float4 in one step, for it is rounded only once then. */
bool tpb_take_float(struct tpb_encoder *e, int index, const struct tp_type *type, double *out)
{
    bool integer = lua_isinteger(e->L, index) != 0;
    double number = (double)lua_tonumber(e->L, index);

    if (type->base == OID_FLOAT4) {
        float narrow = integer ? (float)lua_tointeger(e->L, index) : (float)number;
        if ((isinf(narrow) && !isinf(number)) || (narrow == 0.0F && number != 0.0))
            return tpb_refuse_number(e, index, "is out of range for", type);
        number = integer ? (double)narrow : number;
    }
    *out = number;
    return true;
}

void tpb_put_decimal(struct tp_buf *out, int64_t value)
{
    if (!tpb_has_room(out, FLOAT_ROOM))
        return;
    char *at = out->data + out->len;
    if (value < 0)
        *at++ = '-';
    at = tp__put_number(at, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    out->len = (size_t)(at - out->data);
}

void tpb_put_digits(struct tp_buf *out, double value)
{
    if (tpb_has_room(out, FLOAT_ROOM))
        out->len += tp__float8_text(value, out->data + out->len);
}

static bool put_float(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    double value = 0;

    if (!tpb_take_float(e, index, type, &value))
        return false;
    tpb_put_digits(e->out, value);
    return true;
}

static bool put_integer(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    int64_t value = 0;

    if (!tpb_take_integer(e, index, type, &value))
        return false;
    tpb_put_decimal(e->out, value);
    return true;
}

/* An integer of LuaJIT's FFI. Numbers past 64 bits with a sign have no place in an integer of
 * PostgreSQL's. */
static bool put_int64(struct tpb_encoder *e, const struct tpb_int64 *number,
                      const struct tp_type *type)
{
    char label[80];

    switch (type->kind) {
    case TP_KIND_INT:
        if (!number->fits || !tpb_integer_fits(type, number->value)) {
            type_label(type, label, sizeof label);
            return tpb_wrong(e, "%s is out of range for %s", number->digits, label);
        }
        break;
    case TP_KIND_FLOAT:
    case TP_KIND_TEXT:
    case TP_KIND_BOOL:
    case TP_KIND_NUMERIC:
    case TP_KIND_JSON:
        break;
    default:
        return tpb_refuse(e, "a number", type);
    }
    tp__buf_puts(e->out, number->digits);
    return true;
}

/* The number as it is: what is not finite has no place in JSON. */
static bool put_any_number(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    double value = (double)lua_tonumber(e->L, index);

    if (lua_isinteger(e->L, index)) {
        tpb_put_decimal(e->out, (int64_t)lua_tointeger(e->L, index));
        return true;
    }
    if (type->kind == TP_KIND_JSON && !isfinite(value))
        return tpb_refuse(e, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity", type);
    tpb_put_digits(e->out, value);
    return true;
}

static bool put_number(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    switch (type->kind) {
    case TP_KIND_INT:
        return put_integer(e, index, type);
    case TP_KIND_FLOAT:
        return put_float(e, index, type);
    case TP_KIND_TEXT:
    case TP_KIND_BOOL:
    case TP_KIND_NUMERIC:
    case TP_KIND_JSON:
        return put_any_number(e, index, type);
    default:
        return tpb_refuse(e, "a number", type);
    }
}

static bool put_boolean(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    bool value = lua_toboolean(e->L, index) != 0;

    if (type->kind == TP_KIND_BOOL)
        tp__buf_putc(e->out, value ? 't' : 'f');
    else if (type->kind == TP_KIND_TEXT || type->kind == TP_KIND_JSON)
        tp__buf_puts(e->out, value ? "true" : "false");
    else
        return tpb_refuse(e, "a boolean", type);
    return true;
}

/* ------------------------------------------------------------------- texts */

bool tpb_check_string(const char *text, size_t len, struct tp_error *err)
{
    if (memchr(text, '\0', len) != NULL)
        tp__error_set(err, TP_ERR_VALIDATION, "text with a NUL byte cannot be sent");
    else if (!tp_utf8_valid(text, len))
        tp__error_set(err, TP_ERR_VALIDATION, "text that is not valid UTF-8 cannot be sent");
    else
        return true;
    return false;
}

/* Makes the bytes from `start` on the text form of a bytea. They are spread from their
 * end, so no byte is overwritten before it was moved. */
static void hex_tail(struct tp_buf *out, size_t start)
{
    static const char digits[] = "0123456789abcdef";
    size_t len = out->len - start;

    if (!tp__buf_reserve(out, len + 2))
        return;
    char *at = out->data + start;
    for (size_t i = len; i-- > 0;) {
        unsigned char byte = (unsigned char)at[i];
        at[2 + 2 * i] = digits[byte >> 4];
        at[3 + 2 * i] = digits[byte & 15];
    }
    memcpy(at, "\\x", 2);
    out->len += len + 2;
}

void tpb_quote_tail(struct tp_buf *out, size_t start)
{
    size_t len = out->len - start, escapes = 0;

    for (size_t i = start; !out->failed && i < out->len; ++i)
        escapes += out->data[i] == '"' || out->data[i] == '\\';
    if (!tp__buf_reserve(out, escapes + 2))
        return;
    char *text = out->data + start, *to = text + len + escapes + 2;
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

static bool put_string(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    size_t len, start = e->out->len;
    const char *text = lua_tolstring(e->L, index, &len);

    if (type->kind != TP_KIND_BYTEA && !tpb_check_string(text, len, e->err))
        return false;
    tp__buf_append(e->out, text, len);
    if (type->kind == TP_KIND_BYTEA)
        hex_tail(e->out, start);
    return true;
}

/* ------------------------------------------------------------------ tables */

/* "a function", "a userdata", ... */
static bool refuse_type(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    if (!lua_istable(e->L, index))
        return tpb_wrong(e, "a %s cannot be sent", luaL_typename(e->L, index));
    tpb_refuse(e, tpb_is_json(e->L, index) ? "a table of tidepool.json" : "a table", type);
    if (type->oid >= OID_FIRST_OWN && type->name[0] == '\0')
        snprintf(e->err->hint, sizeof e->err->hint,
                 "The type is not known. A list of its values can be sent as text[] and cast, "
                 "as in $1::text[]::the_type[].");
    return false;
}

static bool put_json(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    size_t start = e->out->len;

    if (!tpb_json_encode(e->L, index, e->out, e->err))
        return false;
    if (type->kind == TP_KIND_BYTEA)
        hex_tail(e->out, start);
    return true;
}

static bool put_table(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    if (type->kind == TP_KIND_JSON || type->oid == 0 || tpb_is_json(e->L, index))
        return put_json(e, index, type);
    switch (type->kind) {
    case TP_KIND_ARRAY:
        return tpb_put_array(e, index, type, false);
    case TP_KIND_COMPOSITE:
        return tpb_put_composite(e, index, type, false);
    case TP_KIND_HSTORE:
        return tpb_put_hstore(e, index, false);
    case TP_KIND_VECTOR:
        return tpb_put_vector(e, index, false);
    default:
        return refuse_type(e, index, type);
    }
}

/* ------------------------------------------------------------------ codecs */

/* Types with a codec of the program's have been made TEXT without a binary form. */
bool tpb_push_codec(struct tpb_encoder *e, const struct tp_type *type)
{
    lua_State *L = e->L;

    if (e->codecs == 0 || type->binary || type->kind != TP_KIND_TEXT || type->name[0] == '\0' ||
        !lua_checkstack(L, LUA_MINSTACK))
        return false;
    if (lua_getfield(L, e->codecs, type->name) != LUA_TTABLE) {
        lua_pop(L, 1);
        return false;
    }
    if (lua_getfield(L, -1, "encode") != LUA_TFUNCTION) {
        lua_pop(L, 2);
        return false;
    }
    lua_remove(L, -2);
    return true;
}

/* Calls the function on top of the stack. That Lua has no memory is raised, as ever. */
static bool put_by_codec(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    lua_State *L = e->L;
    size_t len;

    lua_pushvalue(L, index);
    int status = lua_pcall(L, 1, 1, 0);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
    if (status == LUA_ERRMEM)
        return lua_error(L) == 0; /* does not return */
    if (status != LUA_OK)
        return tpb_wrong(e, "the codec of type %s failed: %s", type->name,
                         text != NULL ? text : luaL_typename(L, -1));
    if (text == NULL)
        return tpb_wrong(e, "the codec of type %s gave a %s and no string", type->name,
                         luaL_typename(L, -1));
    if (!tpb_check_string(text, len, e->err))
        return false;
    tp__buf_append(e->out, text, len);
    lua_pop(L, 1);
    return true;
}

/* ------------------------------------------------------------- dispatching */

bool tpb_put_text(struct tpb_encoder *e, int index, const struct tp_type *type)
{
    struct tpb_int64 number;

    if (e->codecs != 0 && tpb_push_codec(e, type))
        return put_by_codec(e, index, type);
    switch (lua_type(e->L, index)) {
    case LUA_TBOOLEAN:
        return put_boolean(e, index, type);
    case LUA_TNUMBER:
        return put_number(e, index, type);
    case LUA_TSTRING:
        return put_string(e, index, type);
    case LUA_TTABLE:
        return put_table(e, index, type);
    default:
        if (tpb_read_int64(e->L, index, &number))
            return put_int64(e, &number, type);
        return refuse_type(e, index, type);
    }
}

typedef bool put_fn(struct tpb_encoder *e, int index, const struct tp_type *type);

/* What is neither a table nor has a codec pushes nothing. */
static bool put_whole(struct tpb_encoder *e, int index, const struct tp_type *type, put_fn *put)
{
    bool good;

    if (e->codecs == 0 && lua_type(e->L, index) != LUA_TTABLE) {
        good = put(e, index, type);
    } else {
        int top = lua_gettop(e->L);
        good = put(e, lua_absindex(e->L, index), type);
        lua_settop(e->L, top);
    }
    return good && (!e->out->failed || tpb_short_of_memory(e));
}

bool tpb_encode_text(lua_State *L, int index, const struct tp_type *type, int codecs,
                     struct tp_buf *out, struct tp_error *err)
{
    struct tpb_encoder e = {.L = L, .codecs = codecs, .out = out, .err = err, .start = out->len};

    return put_whole(&e, index, type, tpb_put_text);
}

bool tpb_encode_binary(lua_State *L, int index, const struct tp_type *type, int codecs,
                       struct tp_buf *out, struct tp_error *err)
{
    struct tpb_encoder e = {.L = L, .codecs = codecs, .out = out, .err = err, .start = out->len};

    return put_whole(&e, index, type, tpb_put_binary);
}
