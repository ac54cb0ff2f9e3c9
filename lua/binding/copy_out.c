/* COPY TO STDOUT: COPY data to rows. Source of the formats: PostgreSQL manual, COPY. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "compat.h"
#include "copy.h"
#include "error.h"

struct sink {
    lua_State *L;
    struct tpb_copy *copy;
    const struct tp_columns *columns;
    bool binary;
    bool begun; /* the header of the binary format has come */
    FILE *file; /* or NULL: a function */
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
    if (!s->begun) {
        size_t header = header_size(at, len);
        if (header == 0)
            return refuse(s);
        s->begun = true;
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

/* ---------------------------------------------------------------------- sinks */

/* Calls the program's function with the value on top of the stack. False: it has enough. */
static bool give(struct sink *s)
{
    lua_State *L = s->L;

    lua_pushvalue(L, TPB_COPY_END);
    lua_insert(L, -2);
    lua_call(L, 1, 2);
    if (lua_isnil(L, -2) && !lua_isnil(L, -1))
        tpb_copy_give_up(L, s->copy);
    s->copy->over = lua_isboolean(L, -2) && !lua_toboolean(L, -2);
    lua_pop(L, 2);
    return !s->copy->over;
}

static bool give_row(struct sink *s, const char *data, size_t len)
{
    struct tp_row row = {0};
    int top = lua_gettop(s->L);

    if (s->binary ? !read_tuple(s, data, len, &row) : !read_line(s, data, len, &row))
        return false;
    if (row.cells == NULL)
        return true;
    if (!tpb_rows_push_row(&s->rows, s->columns, s->binary, &row)) {
        s->copy->failed = true;
        lua_settop(s->L, top);
        return false;
    }
    s->copy->rows++;
    return give(s);
}

static bool write_file(struct sink *s, const char *data, size_t len)
{
    if (fwrite(data, 1, len, s->file) == len)
        return true;
    tp__error_set(&s->copy->err, TP_ERR_VALIDATION, "the file could not be written: %s",
                  strerror(errno));
    s->copy->failed = true;
    return false;
}

/* What is at hand goes to the program in one string. */
static bool give_chunk(struct sink *s)
{
    struct tp_buf *chunk = &s->copy->data;

    if (chunk->failed)
        return tpb_copy_starved(s->copy);
    if (chunk->len == 0)
        return true;
    lua_pushlstring(s->L, chunk->data, chunk->len);
    tp__buf_clear(chunk);
    return give(s);
}

static bool take_raw(struct sink *s, const char *data, size_t len)
{
    s->copy->rows++;
    if (s->file != NULL)
        return write_file(s, data, len);
    tp__buf_append(&s->copy->data, data, len);
    return s->copy->data.len < TPB_COPY_CHUNK || give_chunk(s);
}

/* ------------------------------------------------------------------ receiving */

/* Gives out what has come. False: that was enough. */
static bool take(struct sink *s)
{
    const char *data;
    size_t len;
    tp_op *op = s->copy->call->op;

    while (tp_op_copy_chunk(op, &data, &len)) {
        s->copy->bytes += (lua_Integer)len;
        if (s->copy->raw ? !take_raw(s, data, len) : !give_row(s, data, len))
            return false;
    }
    if (s->copy->raw && s->file == NULL && !give_chunk(s))
        return false;
    tpb_copy_tell(s->L, s->copy, false);
    return true;
}

static FILE *file_of(lua_State *L)
{
    luaL_Stream *stream = luaL_testudata(L, TPB_COPY_END, LUA_FILEHANDLE);

    if (stream == NULL)
        return NULL;
    if (stream->closef == NULL)
        luaL_error(L, "copy_out: the file is closed");
    return stream->f;
}

static void open_sink(lua_State *L, struct sink *s)
{
    struct tpb_copy *copy = lua_touserdata(L, TPB_COPY_SELF);

    memset(s, 0, sizeof *s);
    s->L = L;
    s->copy = copy;
    s->columns = tp_op_columns(copy->call->op);
    s->binary = tp_op_rows_are_binary(copy->call->op);
    s->file = file_of(L);
    if (copy->raw)
        return;
    tpb_rows_init(&s->rows, L, TPB_WANT_ALL, &copy->decode, &copy->scratch, TPB_COPY_DB,
                  tpb_copy_codecs(L), &copy->err);
    tpb_rows_begin_single(&s->rows, copy->call->op);
}

int tpb_copy_receive(lua_State *L)
{
    struct sink s;

    open_sink(L, &s);
    while (s.copy->step == TP_DATA && take(&s))
        s.copy->step = tp_drive(s.copy->call->op);
    if (s.copy->step != TP_DATA && s.copy->step != TP_FAILED)
        tpb_copy_tell(L, s.copy, true);
    return 0;
}
