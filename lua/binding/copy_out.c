/* COPY TO STDOUT: COPY data to rows. Source of the formats: PostgreSQL manual, COPY. */
#include <string.h>

#include "codec.h"
#include "compat.h"
#include "copy.h"
#include "error.h"

/* Of one call; the rows of a batch are few enough to stay in a processor's cache. */
enum { BATCH_ROWS = 256 };

struct sink {
    lua_State *L;
    struct tpb_copy *copy;
    const struct tp_columns *columns;
    bool binary;
    struct tpb_rows rows;
};

static bool refuse(struct sink *s)
{
    tp__error_set(&s->copy->err, TP_ERR_DATABASE, "row %lld of COPY is malformed",
                  (long long)s->copy->rows + 1);
    s->copy->failed = true;
    return false;
}

/* ---------------------------------------------------------------- text format */

/* The byte that is written as a backslash and this one. */
static char unescaped(char byte)
{
    switch (byte) {
    case 'b':
        return '\b';
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'v':
        return '\v';
    case 'f':
        return '\f';
    case 'r':
        return '\r';
    default:
        return byte;
    }
}

static size_t unescape(char *to, const char *text, size_t len)
{
    char *start = to;
    const char *end = text + len;

    while (text < end) {
        bool escaped = *text == '\\' && text + 1 < end;
        *to++ = escaped ? unescaped(text[1]) : *text;
        text += escaped ? 2 : 1;
    }
    return (size_t)(to - start);
}

/* A field and its length at `to`; returns what is behind them. */
static char *put_cell(char *to, const char *text, size_t len)
{
    if (len == 2 && text[0] == '\\' && text[1] == 'N') {
        tp__put32(to, UINT32_MAX);
        return to + 4;
    }
    char *body = to + 4;
    if (memchr(text, '\\', len) != NULL)
        len = unescape(body, text, len);
    else if (len > 0)
        memcpy(body, text, len);
    tp__put32(to, (uint32_t)len);
    return body + len;
}

/* Makes a row as queries have it of a line. */
static bool read_line(struct sink *s, const char *at, size_t len, struct tp_row *row)
{
    struct tp_buf *cells = &s->copy->data;
    int n = s->columns->count;
    const char *end = at + len - 1;

    if (len == 0 || *end != '\n')
        return refuse(s);
    tp__buf_clear(cells);
    if (!tp__buf_reserve(cells, len + 4 * (size_t)n))
        return tpb_copy_starved(s->copy);
    char *to = cells->data;
    for (int c = 0; c < n; c++) {
        const char *tab = c < n - 1 ? memchr(at, '\t', (size_t)(end - at)) : end;
        if (tab == NULL)
            return refuse(s);
        to = put_cell(to, at, (size_t)(tab - at));
        at = tab + 1;
    }
    *row =
        (struct tp_row){.cells = (unsigned char *)cells->data, .len = (size_t)(to - cells->data)};
    return true;
}

/* -------------------------------------------------------------- binary format */

/* The header is before the first row, or alone. Returns its length; 0: it is none. */
static size_t header_size(const char *at, size_t len)
{
    enum { FIXED = 19 };
    static const char signature[11] = "PGCOPY\n\377\r\n";

    if (len < FIXED || memcmp(at, signature, sizeof signature) != 0)
        return 0;
    size_t extension = tp__get32((const unsigned char *)at + FIXED - 4);
    return extension <= len - FIXED ? FIXED + extension : 0;
}

/* Whether the cells' lengths fill the row. */
static bool is_whole(const unsigned char *cells, size_t len, int count)
{
    for (int c = 0; c < count; c++) {
        if (len < 4)
            return false;
        uint32_t size = tp__get32(cells);
        size_t cell = 4 + (size == UINT32_MAX ? 0 : (size_t)size);
        if (cell > len)
            return false;
        cells += cell;
        len -= cell;
    }
    return len == 0;
}

/* *row has no cells when there is none in what has come. */
static bool read_tuple(struct sink *s, const char *at, size_t len, struct tp_row *row)
{
    enum { TRAILER = 0xffff };
    const unsigned char *bytes = (const unsigned char *)at;

    row->cells = NULL;
    if (!s->copy->begun) {
        size_t header = header_size(at, len);
        if (header == 0)
            return refuse(s);
        s->copy->begun = true;
        bytes += header;
        len -= header;
    }
    if (len == 0 || (len == 2 && tp__get16(bytes) == TRAILER))
        return true;
    if (len < 2 || tp__get16(bytes) != s->columns->count ||
        !is_whole(bytes + 2, len - 2, s->columns->count))
        return refuse(s);
    *row = (struct tp_row){.cells = bytes + 2, .len = len - 2};
    return true;
}

/* -------------------------------------------------------------------- batches */

static void open_sink(lua_State *L, struct tpb_copy *copy, struct sink *s)
{
    memset(s, 0, sizeof *s);
    s->L = L;
    s->copy = copy;
    s->columns = tp_op_columns(copy->call->op);
    s->binary = tp_op_rows_are_binary(copy->call->op);
    int codecs = tpb_db_push_codecs(L, copy->db, TPB_AT_DB);
    tpb_rows_init(&s->rows, L, TPB_WANT_ALL, &copy->decode, &copy->scratch, TPB_AT_DB, codecs,
                  &copy->err);
    tpb_rows_begin_single(&s->rows, copy->call->op);
}

/* Makes the message the row `n` of the list. False: none came of it. */
static bool take_row(struct sink *s, const char *data, size_t len, lua_Integer n)
{
    struct tp_row row = {0};

    if (s->binary ? !read_tuple(s, data, len, &row) : !read_line(s, data, len, &row))
        return false;
    if (row.cells == NULL)
        return false;
    if (!tpb_rows_push_row(&s->rows, s->columns, s->binary, &row)) {
        s->copy->failed = true;
        return false;
    }
    lua_rawseti(s->L, TPB_AT_ARGUMENT, n);
    s->copy->rows++;
    return true;
}

/* A row that cannot be read is the last: the program hears of it behind those before it.
 * Returns whether there is any. */
static bool take_rows(lua_State *L, struct tpb_copy *copy)
{
    struct sink s;
    const char *data;
    size_t len, size = 0;
    lua_Integer n = 0;

    open_sink(L, copy, &s);
    while (n < BATCH_ROWS && size < TPB_COPY_CHUNK && !copy->failed &&
           tp_op_copy_chunk(copy->call->op, &data, &len)) {
        size += len;
        n += take_row(&s, data, len, n + 1);
    }
    copy->bytes += (lua_Integer)size;
    lua_settop(L, TPB_AT_CALL);
    lua_pushboolean(L, 1);
    return n > 0;
}

/* What is at hand, in one string. */
static bool take_string(lua_State *L, struct tpb_copy *copy)
{
    struct tp_buf *out = &copy->data;
    const char *data;
    size_t len;

    tp__buf_clear(out);
    while (out->len < TPB_COPY_CHUNK && tp_op_copy_chunk(copy->call->op, &data, &len)) {
        copy->rows++;
        tp__buf_append(out, data, len);
    }
    copy->bytes += (lua_Integer)out->len;
    if (out->failed)
        return tpb_copy_starved(copy);
    lua_pushlstring(L, out->data, out->len);
    return out->len > 0;
}

static int go_on_receiving(lua_State *L, struct tpb_call *call)
{
    struct tpb_copy *copy = lua_touserdata(L, TPB_AT_COPY);

    for (;;) {
        if (copy->step == TP_DATA && !copy->failed &&
            (copy->raw ? take_string(L, copy) : take_rows(L, copy))) {
            lua_pushinteger(L, copy->rows);
            lua_pushinteger(L, copy->bytes);
            return 3;
        }
        lua_settop(L, TPB_AT_CALL);
        if (copy->failed || (copy->step != TP_DATA && copy->step != TP_WAIT))
            break;
        copy->step = tpb_call_step(L, call, 0, &copy->err);
        if (copy->step == TP_WAIT)
            return tpb_call_wait(L, call, go_on_receiving);
    }
    if (copy->failed || copy->step == TP_FAILED)
        return 0;
    lua_pushboolean(L, 0);
    lua_pushinteger(L, copy->rows);
    lua_pushinteger(L, copy->bytes);
    return 3;
}

int tpb_copy_next(lua_State *L, tp_reactor *reactor)
{
    struct tpb_copy *copy = tpb_copy_enter(L, reactor);

    if (!copy->raw)
        luaL_checktype(L, TPB_AT_ARGUMENT, LUA_TTABLE);
    if (!copy->raw && tp_op_columns(copy->call->op) == NULL)
        return luaL_error(L, "the columns of the COPY are not known");
    return go_on_receiving(L, copy->call);
}
