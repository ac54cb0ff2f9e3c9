#include "encode.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encode_array.h"
#include "error.h"
#include "json.h"
#include "number.h"
#include "values.h"

/* Source: PostgreSQL's pg_type.dat. */
enum { OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_OID = 26, OID_FIRST_OWN = 16384 };

/* Memory that is kept from one call to the next. */
#define ARENA_KEEP ((size_t)64 * 1024)

/* ------------------------------------------------------------------ params */

void tpb_params_init(struct tpb_params *params)
{
    memset(params, 0, sizeof *params);
}

void tpb_params_deinit(struct tpb_params *params)
{
    tp__buf_free(&params->arena);
    free(params->items);
    free(params->offsets);
    tpb_params_init(params);
}

void tpb_params_clear(struct tpb_params *params)
{
    params->count = 0;
    if (params->arena.room > ARENA_KEEP)
        tp__buf_free(&params->arena);
    tp__buf_clear(&params->arena);
}

static bool fail_memory(struct tp_error *err)
{
    tp__error_set(err, TP_ERR_MEMORY, "out of memory while encoding the parameters");
    return false;
}

static bool reserve_items(struct tpb_params *params, int n, struct tp_error *err)
{
    struct tp_param *items;
    size_t *offsets;

    if (n <= params->room)
        return true;
    items = realloc(params->items, (size_t)n * sizeof *items);
    if (items == NULL)
        return fail_memory(err);
    params->items = items;
    offsets = realloc(params->offsets, (size_t)n * sizeof *offsets);
    if (offsets == NULL)
        return fail_memory(err);
    params->offsets = offsets;
    params->room = n;
    return true;
}

/* ------------------------------------------------------------------ errors */

/* "int4", "text[]", "type 16421" */
static void type_label(const struct tp_type_info *type, char *out, size_t room)
{
    if (type->name[0] == '\0')
        snprintf(out, room, "type %u", (unsigned)type->oid);
    else if (type->kind == TP_KIND_ARRAY && type->name[0] == '_')
        snprintf(out, room, "%s[]", type->name + 1);
    else
        snprintf(out, room, "%s", type->name);
}

bool tpb_encode_refuse(const char *what, const struct tp_type_info *type, struct tp_error *err)
{
    char label[80];

    type_label(type, label, sizeof label);
    if (type->oid == 0)
        tp__error_set(err, TP_ERR_VALIDATION, "%s cannot be sent", what);
    else
        tp__error_set(err, TP_ERR_VALIDATION, "%s cannot be sent as %s", what, label);
    return false;
}

static bool refuse_number(lua_State *L, int index, const char *why, const struct tp_type_info *type,
                          struct tp_error *err)
{
    char label[80], text[TPB_FLOAT_ROOM];

    type_label(type, label, sizeof label);
    if (lua_isinteger(L, index))
        snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(L, index));
    else
        tpb_float_format((double)lua_tonumber(L, index), text);
    tp__error_set(err, TP_ERR_VALIDATION, "%s %s %s", text, why, label);
    return false;
}

bool tpb_encode_blame(const char *where, struct tp_error *err)
{
    char text[sizeof err->message];

    if (err->kind == TP_ERR_VALIDATION) {
        size_t used = strlen(where);
        memcpy(text, err->message, sizeof text);
        memcpy(err->message, where, used);
        tp__text_copy(err->message + used, sizeof err->message - used, text);
    }
    return false;
}

static bool blame_parameter(struct tp_error *err, int i)
{
    char where[40];

    snprintf(where, sizeof where, "parameter $%d: ", i + 1);
    return tpb_encode_blame(where, err);
}

/* ----------------------------------------------------------------- scalars */

static bool put_boolean(lua_State *L, int index, const struct tp_type_info *type,
                        struct tp_buf *out, struct tp_error *err)
{
    bool value = lua_toboolean(L, index) != 0;

    if (type->kind == TP_KIND_BOOL)
        tp__buf_putc(out, value ? 't' : 'f');
    else if (type->kind == TP_KIND_TEXT || type->kind == TP_KIND_JSON)
        tp__buf_puts(out, value ? "true" : "false");
    else
        return tpb_encode_refuse("a boolean", type, err);
    return true;
}

/* A number of either subtype as an integer of the type's range. */
static bool put_integer(lua_State *L, int index, const struct tp_type_info *type,
                        struct tp_buf *out, struct tp_error *err)
{
    static const struct {
        uint32_t oid;
        int64_t min, max;
    } ranges[] = {
        {OID_INT2, INT16_MIN, INT16_MAX},
        {OID_INT4, INT32_MIN, INT32_MAX},
        {OID_OID, 0, UINT32_MAX},
    };
    int64_t value;

    if (lua_isinteger(L, index)) {
        value = (int64_t)lua_tointeger(L, index);
    } else {
        double number = (double)lua_tonumber(L, index);
        if (!isfinite(number) || floor(number) != number)
            return refuse_number(L, index, "is no integer and cannot be sent as", type, err);
        if (number < -9223372036854775808.0 || number >= 9223372036854775808.0)
            return refuse_number(L, index, "is out of range for", type, err);
        value = (int64_t)number;
    }
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; ++i)
        if (ranges[i].oid == type->oid && (value < ranges[i].min || value > ranges[i].max))
            return refuse_number(L, index, "is out of range for", type, err);
    tp__buf_printf(out, "%lld", (long long)value);
    return true;
}

static bool put_number(lua_State *L, int index, const struct tp_type_info *type, struct tp_buf *out,
                       struct tp_error *err)
{
    char text[TPB_FLOAT_ROOM];

    if (type->kind == TP_KIND_INT)
        return put_integer(L, index, type, out, err);
    if (type->kind == TP_KIND_BYTEA || type->kind == TP_KIND_ARRAY)
        return tpb_encode_refuse("a number", type, err);
    if (lua_isinteger(L, index)) {
        tp__buf_printf(out, "%lld", (long long)lua_tointeger(L, index));
        return true;
    }
    tpb_float_format((double)lua_tonumber(L, index), text);
    if (type->kind == TP_KIND_JSON && !isfinite((double)lua_tonumber(L, index)))
        return tpb_encode_refuse(text, type, err);
    tp__buf_puts(out, text);
    return true;
}

static void put_hex(struct tp_buf *out, const char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    if (!tp__buf_reserve(out, 2 + 2 * len))
        return;
    tp__buf_puts(out, "\\x");
    for (size_t i = 0; i < len; ++i) {
        unsigned char byte = (unsigned char)bytes[i];
        tp__buf_putc(out, digits[byte >> 4]);
        tp__buf_putc(out, digits[byte & 15]);
    }
}

/* libpq would cut the text at a NUL without a word, and the server ends a
 * transaction over bad UTF-8: both are found before anything is sent. */
static bool check_string(const char *text, size_t len, struct tp_error *err)
{
    if (memchr(text, '\0', len) != NULL)
        tp__error_set(err, TP_ERR_VALIDATION, "text with a NUL byte cannot be sent");
    else if (!tp_utf8_valid(text, len))
        tp__error_set(err, TP_ERR_VALIDATION, "text that is not valid UTF-8 cannot be sent");
    else
        return true;
    return false;
}

static bool put_string(lua_State *L, int index, const struct tp_type_info *type, struct tp_buf *out,
                       struct tp_error *err)
{
    size_t len;
    const char *text = lua_tolstring(L, index, &len);

    if (type->kind == TP_KIND_BYTEA) {
        put_hex(out, text, len);
        return true;
    }
    if (!check_string(text, len, err))
        return false;
    tp__buf_append(out, text, len);
    return true;
}

/* "a function", "a userdata", ... */
static bool refuse_type(lua_State *L, int index, const struct tp_type_info *type,
                        struct tp_error *err)
{
    char what[40];

    if (!lua_istable(L, index)) {
        tp__error_set(err, TP_ERR_VALIDATION, "a %s cannot be sent", luaL_typename(L, index));
        return false;
    }
    snprintf(what, sizeof what, "a table%s", tpb_is_json(L, index) ? " of tidepool.json" : "");
    tpb_encode_refuse(what, type, err);
    if (type->oid >= OID_FIRST_OWN)
        snprintf(err->hint, sizeof err->hint,
                 "The type is not built in. A list of its values can be sent as text[] and cast, "
                 "as in $1::text[]::the_type[].");
    return false;
}

bool tpb_encode_text(lua_State *L, int index, const struct tp_type_info *type, struct tp_buf *out,
                     struct tp_error *err)
{
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        return put_boolean(L, index, type, out, err);
    case LUA_TNUMBER:
        return put_number(L, index, type, out, err);
    case LUA_TSTRING:
        return put_string(L, index, type, out, err);
    case LUA_TTABLE:
        if (type->kind == TP_KIND_JSON || (tpb_is_json(L, index) && type->kind != TP_KIND_BYTEA))
            return tpb_json_encode(L, index, out, err);
        return refuse_type(L, index, type, err);
    default:
        return refuse_type(L, index, type, err);
    }
}

/* -------------------------------------------------------------- parameters */

/* A value whose text is made here, in the arena. */
static bool encode_in_arena(lua_State *L, int index, const struct tp_type_info *type,
                            struct tpb_params *out, struct tp_error *err)
{
    struct tp_param *item = &out->items[out->count];
    size_t start = out->arena.len;
    bool list = lua_istable(L, index) && !tpb_is_json(L, index);
    bool good;

    if (list && type->kind == TP_KIND_ARRAY)
        good = tpb_encode_array(L, index, type, &out->arena, err);
    else if (lua_istable(L, index) && (type->oid == 0 || (type->kind == TP_KIND_BYTEA && !list)))
        good = tpb_json_encode(L, index, &out->arena, err);
    else
        good = tpb_encode_text(L, index, type, &out->arena, err);
    if (!good)
        return false;
    item->len = out->arena.len - start;
    /* Only tidepool.json(v) gets here for bytea: the bytes of its text. */
    item->binary = type->kind == TP_KIND_BYTEA;
    out->offsets[out->count] = start;
    tp__buf_putc(&out->arena, '\0');
    return !out->arena.failed || fail_memory(err);
}

static bool encode_item(lua_State *L, int index, uint32_t oid, struct tpb_params *out,
                        struct tp_error *err)
{
    struct tp_param *item = &out->items[out->count];
    struct tp_type_info type;

    memset(item, 0, sizeof *item);
    out->offsets[out->count] = SIZE_MAX;
    if (lua_isnoneornil(L, index) || tpb_is_null(L, index))
        return true;
    tp_type_lookup(oid, &type);
    if (lua_type(L, index) != LUA_TSTRING)
        return encode_in_arena(L, index, &type, out, err);
    item->data = lua_tolstring(L, index, &item->len);
    item->binary = type.kind == TP_KIND_BYTEA;
    return item->binary || check_string(item->data, item->len, err);
}

static bool check_count(int n, int expected, struct tp_error *err)
{
    if (n > TPB_PARAMS_MAX)
        tp__error_set(err, TP_ERR_VALIDATION, "at most %d parameters can be sent, %d were given",
                      TPB_PARAMS_MAX, n);
    else if (n != expected)
        tp__error_set(err, TP_ERR_VALIDATION, "the statement has %d parameter%s, %d %s given",
                      expected, expected == 1 ? "" : "s", n, n == 1 ? "was" : "were");
    else
        return true;
    return false;
}

/* The arena has stopped moving: offsets become addresses. All parameters go in
 * one Bind message, and the server ends the session over one that is too long
 * (PQ_LARGE_MESSAGE_LIMIT): each has 6 bytes of its own there. */
static bool settle(struct tpb_params *out, struct tp_error *err)
{
    size_t total = 512 + 6 * (size_t)out->count;

    for (int i = 0; i < out->count; ++i) {
        if (out->offsets[i] != SIZE_MAX)
            out->items[i].data = out->arena.data + out->offsets[i];
        total += out->items[i].len;
    }
    if (total > TPB_VALUE_MAX) {
        tpb_params_clear(out);
        tp__error_set(err, TP_ERR_VALIDATION, "the parameters are larger than 1 GB together");
        return false;
    }
    return true;
}

bool tpb_encode_values(lua_State *L, int first, int n, int expected, tpb_param_type_fn *type_of,
                       const void *ctx, struct tpb_params *out, struct tp_error *err)
{
    tpb_params_clear(out);
    if (!check_count(n, expected, err) || !reserve_items(out, n, err))
        return false;
    first = lua_absindex(L, first);
    for (int i = 0; i < n; ++i) {
        if (!encode_item(L, first + i, type_of(ctx, i), out, err)) {
            tpb_params_clear(out);
            return blame_parameter(err, i);
        }
        out->count++;
    }
    return settle(out, err);
}

static uint32_t op_type(const void *ctx, int i)
{
    return tp_op_param_type(ctx, i);
}

bool tpb_encode_params(lua_State *L, int first, int n, const tp_op *op, struct tpb_params *out,
                       struct tp_error *err)
{
    return tpb_encode_values(L, first, n, tp_op_param_count(op), op_type, op, out, err);
}
