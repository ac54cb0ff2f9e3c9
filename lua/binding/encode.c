#include "encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encode_value.h"
#include "error.h"
#include "json.h"
#include "values.h"

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

/* -------------------------------------------------------------- parameters */

/* Types whose values are worth a binary form when they are numbers, booleans or tables.
 * What is shown as text is text in Lua, too, and the server reads it as well. Where the
 * text depends on the session's settings, the server reads it, too. */
static bool wants_binary(const struct tp_type *type)
{
    switch (type->kind) {
    case TP_KIND_TEXT:
    case TP_KIND_NUMERIC:
    case TP_KIND_JSON:
    case TP_KIND_RANGE:
    case TP_KIND_MULTIRANGE:
        return false;
    default:
        return type->binary && type->needs == 0;
    }
}

/* A value that is made here, in the arena; behind it is a NUL, also because nothing may
 * have the address NULL. */
static bool encode_in_arena(struct tpb_encoder *e, int index, const struct tp_type *type,
                            struct tpb_params *out)
{
    struct tp_param *item = &out->items[out->count];
    int top = lua_gettop(e->L);

    e->start = e->out->len;
    e->no_form = false;
    item->binary = wants_binary(type);
    bool good = item->binary ? tpb_put_binary(e, index, type) : tpb_put_text(e, index, type);
    if (!good && e->no_form && !e->out->failed) {
        lua_settop(e->L, top);
        e->out->len = e->start;
        item->binary = false;
        good = tpb_put_text(e, index, type);
    }
    lua_settop(e->L, top);
    if (!good)
        return false;
    item->len = e->out->len - e->start;
    out->offsets[out->count] = e->start;
    tp__buf_putc(e->out, '\0');
    return !e->out->failed || tpb_short_of_memory(e);
}

static bool has_codec(struct tpb_encoder *e, const struct tp_type *type)
{
    if (e->codecs == 0 || !tpb_push_codec(e, type))
        return false;
    lua_pop(e->L, 1);
    return true;
}

static bool encode_item(struct tpb_encoder *e, int index, const struct tp_type *type,
                        struct tpb_params *out)
{
    struct tp_param *item = &out->items[out->count];

    memset(item, 0, sizeof *item);
    out->offsets[out->count] = SIZE_MAX;
    if (lua_isnoneornil(e->L, index) || tpb_is_null(e->L, index))
        return true;
    if (lua_type(e->L, index) != LUA_TSTRING || has_codec(e, type))
        return encode_in_arena(e, index, type, out);
    item->data = lua_tolstring(e->L, index, &item->len);
    item->binary = type->kind == TP_KIND_BYTEA;
    return item->binary || tpb_check_string(item->data, item->len, e->err);
}

static bool blame_parameter(struct tpb_encoder *e, int i)
{
    char where[40];

    snprintf(where, sizeof where, "parameter $%d: ", i + 1);
    return tpb_blame(e, where);
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
                       const void *ctx, int codecs, struct tpb_params *out, struct tp_error *err)
{
    struct tpb_encoder e = {.L = L, .codecs = codecs, .out = &out->arena, .err = err};

    tpb_params_clear(out);
    if (!check_count(n, expected, err) || !reserve_items(out, n, err))
        return false;
    first = lua_absindex(L, first);
    for (int i = 0; i < n; ++i) {
        if (!encode_item(&e, first + i, type_of(ctx, i), out)) {
            tpb_params_clear(out);
            return blame_parameter(&e, i);
        }
        out->count++;
    }
    return settle(out, err);
}

static const struct tp_type *op_type(const void *ctx, int i)
{
    return tp_op_param_type(ctx, i);
}

bool tpb_encode_params(lua_State *L, int first, int n, const tp_op *op, int codecs,
                       struct tpb_params *out, struct tp_error *err)
{
    return tpb_encode_values(L, first, n, tp_op_param_count(op), op_type, op, codecs, out, err);
}
