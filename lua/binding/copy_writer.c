#include "copy_writer.h"

#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "codec_digits.h"
#include "compat.h"
#include "encode_value.h"
#include "error.h"
#include "types.h"
#include "values.h"

/* Source: PostgreSQL's pg_type.dat. */
enum { OID_NAME = 19, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_FLOAT8 = 701 };

/* Room for a number with what stands before and behind it. */
enum { SMALL_VALUE = 40 };

/* ------------------------------------------------------------------- opening */

static enum tpb_usual usual_of(const struct tpb_copy_writer *w, const struct tp_type *type)
{
    bool is_own_text = type->codec == NULL && type->base != OID_NAME;

    switch (type->kind) {
    case TP_KIND_INT:
        return type->base == OID_INT4 || type->base == OID_INT8 || type->base == OID_INT2
                   ? TPB_USUAL_INTEGER
                   : TPB_UNUSUAL;
    case TP_KIND_FLOAT:
        return type->base == OID_FLOAT8 ? TPB_USUAL_FLOAT : TPB_UNUSUAL;
    case TP_KIND_BOOL:
        return TPB_USUAL_BOOLEAN;
    case TP_KIND_TEXT: /* one without a binary form may have a codec of the program's */
        return (type->binary ? !w->binary || is_own_text : w->codecs == 0) ? TPB_USUAL_TEXT
                                                                           : TPB_UNUSUAL;
    default:
        return TPB_UNUSUAL;
    }
}

void tpb_copy_open_writer(lua_State *L, struct tpb_copy *copy, int codecs,
                          struct tpb_copy_writer *w)
{
    *w = (struct tpb_copy_writer){
        .L = L,
        .copy = copy,
        .out = &copy->data,
        .columns = tp_op_columns(copy->call->op),
        .binary = tp_op_rows_are_binary(copy->call->op),
        .codecs = codecs,
    };
    size_t n = (size_t)w->columns->count;
    w->row_room = (n + 1) * SMALL_VALUE;
    enum tpb_usual *usual = lua_newuserdatauv(L, (n + 1) * sizeof *usual, 0);
    for (size_t c = 0; c < n; c++)
        usual[c] = usual_of(w, w->columns->list[c].type);
    w->usual = usual;
}

/* Makes room for `more` bytes and for the small values of a row. What was written counts
 * from now on. */
static bool make_room(struct tpb_copy_writer *w, size_t more)
{
    if (w->to != NULL)
        w->out->len = (size_t)(w->to - w->out->data);
    if (!tp__buf_reserve(w->out, more + w->row_room)) {
        tpb_copy_starved(w->copy);
        return false;
    }
    w->to = w->out->data + w->out->len;
    return true;
}

static inline bool has_room(const struct tpb_copy_writer *w, size_t more)
{
    return (size_t)(w->out->data + w->out->room - w->to) >= more + w->row_room;
}

/* -------------------------------------------------------------- text format */

/* Whether the eight bytes are ASCII, with neither a control character nor a backslash: when
 * a byte is less than n, subtracting n from it sets its highest bit. */
static inline bool are_plain(uint64_t bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t backslash = bytes ^ (ones * '\\');

    return ((bytes | (bytes - ones * 0x20) | (backslash - ones)) & high) == 0;
}

/* Fewer than eight bytes, some of them twice, and spaces. */
static inline uint64_t load_few(const char *text, size_t len)
{
    uint32_t first = 0x20202020, last = 0x20202020;

    if (len >= 4) {
        memcpy(&first, text, 4);
        memcpy(&last, text + len - 4, 4);
    } else if (len > 0) {
        first = 0x20000000u | (uint32_t)(unsigned char)text[0] << 16 |
                (uint32_t)(unsigned char)text[len / 2] << 8 | (unsigned char)text[len - 1];
    }
    return (uint64_t)first << 32 | last;
}

static inline bool is_plain(const char *text, size_t len)
{
    uint64_t bytes;

    for (; len >= sizeof bytes; text += sizeof bytes, len -= sizeof bytes) {
        memcpy(&bytes, text, sizeof bytes);
        if (!are_plain(bytes))
            return false;
    }
    return are_plain(load_few(text, len));
}

/* What stands behind the backslash for a byte; 0: it stands for itself. */
static inline char escape_of(char byte)
{
    switch (byte) {
    case '\b':
        return 'b';
    case '\t':
        return 't';
    case '\n':
        return 'n';
    case '\v':
        return 'v';
    case '\f':
        return 'f';
    case '\r':
        return 'r';
    case '\\':
        return '\\';
    default:
        return 0;
    }
}

static bool put_escaped(struct tpb_copy_writer *w, const char *text, size_t len)
{
    if (!make_room(w, 2 * len))
        return false;
    char *to = w->to;
    for (size_t i = 0; i < len; i++) {
        char escape = escape_of(text[i]);
        if (escape != 0)
            *to++ = '\\';
        *to++ = escape != 0 ? escape : text[i];
    }
    w->to = to;
    return true;
}

/* Any value, by way of its text. */
static bool put_text_slowly(struct tpb_copy_writer *w, int index, const struct tp_type *type)
{
    struct tp_buf *scratch = &w->copy->scratch;
    int top = lua_gettop(w->L);

    tp__buf_clear(scratch);
    bool good = tpb_encode_text(w->L, index, type, w->codecs, scratch, &w->copy->err);
    lua_settop(w->L, top);
    if (good && scratch->failed)
        return tpb_copy_starved(w->copy);
    return good && put_escaped(w, scratch->data, scratch->len);
}

static inline char *put_decimal(char *to, int64_t value)
{
    if (value < 0)
        *to++ = '-';
    return tp__put_number(to, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

/* ------------------------------------------------------------- binary format */

static inline char *put_integer_part(char *to, uint32_t base, int64_t value)
{
    switch (base) {
    case OID_INT8:
        tp__put32(to, 8);
        tp__put64(to + 4, (uint64_t)value);
        return to + 12;
    case OID_INT4:
        tp__put32(to, 4);
        tp__put32(to + 4, (uint32_t)value);
        return to + 8;
    default:
        tp__put32(to, 2);
        tp__put16(to + 4, (uint16_t)value);
        return to + 6;
    }
}

/* A text that only the server can read is sent as text or not at all. */
static void add_hint(struct tpb_copy_writer *w, int index, const struct tp_type *type)
{
    struct tp_error ignored;

    tp__buf_clear(&w->copy->scratch);
    if (tpb_encode_text(w->L, index, type, w->codecs, &w->copy->scratch, &ignored))
        snprintf(w->copy->err.hint, sizeof w->copy->err.hint,
                 "The server may take it with format = \"text\".");
}

static bool put_binary_slowly(struct tpb_copy_writer *w, int index, const struct tp_type *type)
{
    int top = lua_gettop(w->L);

    if (!make_room(w, 0)) /* what was written counts */
        return false;
    size_t part = tpb_begin_part(w->out);
    bool good = tpb_encode_binary(w->L, index, type, w->codecs, w->out, &w->copy->err);
    if (!good)
        add_hint(w, index, type);
    lua_settop(w->L, top);
    if (!good)
        return false;
    tpb_end_part(w->out, part);
    w->to = NULL; /* the buffer may have moved */
    return make_room(w, 0);
}

/* --------------------------------------------------------------------- values */

static bool put_text(struct tpb_copy_writer *w, int index, bool *done)
{
    size_t len;
    const char *text = lua_tolstring(w->L, index, &len);

    *done = is_plain(text, len);
    if (!*done)
        return true;
    if (!has_room(w, len) && !make_room(w, len))
        return false;
    if (w->binary) {
        tp__put32(w->to, (uint32_t)len);
        w->to += 4;
    }
    memcpy(w->to, text, len);
    w->to += len;
    return true;
}

static bool put_integer(struct tpb_copy_writer *w, int index, const struct tp_type *type)
{
    int64_t value = lua_tointeger(w->L, index);

    if (!tpb_integer_fits(type, value))
        return false;
    w->to = w->binary ? put_integer_part(w->to, type->base, value) : put_decimal(w->to, value);
    return true;
}

static void put_float(struct tpb_copy_writer *w, int index)
{
    double value = (double)lua_tonumber(w->L, index);
    int64_t bits;

    memcpy(&bits, &value, sizeof bits);
    if (w->binary)
        w->to = put_integer_part(w->to, OID_INT8, bits);
    else
        w->to += tp__float8_text(value, w->to);
}

static void put_boolean(struct tpb_copy_writer *w, int index)
{
    char value = (char)lua_toboolean(w->L, index);

    if (w->binary) {
        tp__put32(w->to, 1);
        w->to += 4;
        *w->to++ = value;
    } else {
        *w->to++ = value ? 't' : 'f';
    }
}

static void put_null(struct tpb_copy_writer *w)
{
    if (w->binary) {
        tp__put32(w->to, UINT32_MAX);
        w->to += 4;
    } else {
        *w->to++ = '\\';
        *w->to++ = 'N';
    }
}

/* Writes a value that is usual; *done tells whether it was. False: no memory. */
static bool put_usual(struct tpb_copy_writer *w, int c, int index, int type, bool *done)
{
    enum tpb_usual usual = w->usual[c];

    *done = true;
    if (type == LUA_TSTRING && usual == TPB_USUAL_TEXT)
        return put_text(w, index, done);
    if (type == LUA_TNUMBER && usual == TPB_USUAL_INTEGER && lua_isinteger(w->L, index))
        *done = put_integer(w, index, w->columns->list[c].type);
    else if (type == LUA_TNUMBER && usual == TPB_USUAL_FLOAT)
        put_float(w, index);
    else if (type == LUA_TBOOLEAN && usual == TPB_USUAL_BOOLEAN)
        put_boolean(w, index);
    else if (type == LUA_TNIL || (type == LUA_TLIGHTUSERDATA && tpb_is_null(w->L, index)))
        put_null(w);
    else
        *done = false;
    return true;
}

/* Says where the value is that cannot be sent. Returns false. */
static bool blame(struct tpb_copy *copy, const char *column)
{
    char hint[sizeof copy->err.hint];

    if (copy->failed)
        return false;
    copy->failed = true;
    if (copy->err.kind != TP_ERR_VALIDATION)
        return false;
    memcpy(hint, copy->err.hint, sizeof hint);
    tpb_copy_wrong(copy, copy->rows + 1, column, copy->err.message);
    memcpy(copy->err.hint, hint, sizeof hint);
    return false;
}

bool tpb_copy_put(struct tpb_copy_writer *w, int c, int index, int type)
{
    const struct tp_column *column = &w->columns->list[c];
    bool done;

    if (c > 0 && !w->binary)
        *w->to++ = '\t';
    if (!put_usual(w, c, index, type, &done))
        return false;
    if (done)
        return true;
    bool good = w->binary ? put_binary_slowly(w, index, column->type)
                          : put_text_slowly(w, index, column->type);
    return good || blame(w->copy, column->name);
}

/* ----------------------------------------------------------------------- rows */

bool tpb_copy_begin_row(struct tpb_copy_writer *w)
{
    w->to = NULL;
    if (!make_room(w, 0))
        return false;
    if (w->binary) {
        tp__put16(w->to, (uint16_t)w->columns->count);
        w->to += 2;
    }
    return true;
}

void tpb_copy_end_row(struct tpb_copy_writer *w)
{
    if (!w->binary)
        *w->to++ = '\n';
    w->out->len = (size_t)(w->to - w->out->data);
    w->copy->rows++;
}

void tpb_copy_put_head(struct tpb_copy_writer *w)
{
    static const char head[19] = "PGCOPY\n\377\r\n"; /* and no flags, no extension */

    if (w->binary)
        tp__buf_append(w->out, head, sizeof head);
}

void tpb_copy_put_tail(struct tpb_copy *copy)
{
    if (tp_op_rows_are_binary(copy->call->op))
        tp__buf_append(&copy->data, "\377\377", 2);
    copy->tail_put = true;
}
