#include "rows.h"

#include <string.h>

#include "codec.h"
#include "compat.h"
#include "db.h"
#include "error.h"
#include "lazy.h"

/* ------------------------------------------------------------------ columns */

void tpb_push_columns(lua_State *L, const struct tp_columns *columns)
{
    int count = columns != NULL ? columns->count : 0;

    lua_createtable(L, count, 0);
    for (int c = 0; c < count; c++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, columns->list[c].name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, columns->list[c].type->name);
        lua_setfield(L, -2, "type");
        lua_pushinteger(L, (lua_Integer)columns->list[c].oid);
        lua_setfield(L, -2, "oid");
        lua_rawseti(L, -2, c + 1);
    }
}

/* The names lie on the stack once for all rows; as columns there is a list for each besides. */
static void push_names(struct tpb_rows *rows, const struct tp_columns *columns)
{
    lua_State *L = rows->decoder.L;
    int count = columns != NULL ? columns->count : 0;

    luaL_checkstack(L, 2 * count + 2 * LUA_MINSTACK, "decoding a result");
    rows->names = lua_gettop(L) + 1;
    for (int c = 0; c < count; c++)
        lua_pushstring(L, columns->list[c].name);
}

/* -------------------------------------------------------------------- cells */

/* Takes the next cell. NULL for NULL. */
static const char *next_cell(const unsigned char **at, size_t *len)
{
    uint32_t size = tp__get32(*at);
    const char *bytes = (const char *)*at + 4;

    *at += 4;
    *len = 0;
    if (size == UINT32_MAX)
        return NULL;
    *len = size;
    *at += size;
    return bytes;
}

static bool push_cell(struct tpb_rows *rows, const struct tp_column *column, bool binary,
                      const unsigned char **at)
{
    size_t len;
    const char *bytes = next_cell(at, &len);

    if (bytes == NULL) {
        tpb_push_absent(&rows->decoder);
        return true;
    }
    rows->decoder.column = column->name;
    return tpb_push_value(&rows->decoder, column->type, binary, bytes, len);
}

/* A NULL is stored too, as nil: it must replace an earlier column of its name. */
static bool push_record(struct tpb_rows *rows, const struct tp_columns *columns, bool binary,
                        const unsigned char *at)
{
    lua_State *L = rows->decoder.L;

    lua_createtable(L, 0, columns->count);
    for (int c = 0; c < columns->count; c++) {
        lua_pushvalue(L, rows->names + c);
        if (!push_cell(rows, &columns->list[c], binary, &at))
            return false;
        lua_rawset(L, -3);
    }
    return true;
}

static bool push_list(struct tpb_rows *rows, const struct tp_columns *columns, bool binary,
                      const unsigned char *at)
{
    lua_State *L = rows->decoder.L;

    lua_createtable(L, columns->count, 0);
    for (int c = 0; c < columns->count; c++) {
        if (!push_cell(rows, &columns->list[c], binary, &at))
            return false;
        lua_rawseti(L, -2, c + 1);
    }
    return true;
}

bool tpb_rows_push_row(struct tpb_rows *rows, const struct tp_columns *columns, bool binary,
                       const struct tp_row *row)
{
    return rows->decoder.how->as == TPB_AS_ARRAYS ? push_list(rows, columns, binary, row->cells)
                                                  : push_record(rows, columns, binary, row->cells);
}

/* One cell to the end of each column's list; the lists lie behind the result's. */
static bool add_to_columns(struct tpb_rows *rows, const struct tp_columns *columns, bool binary,
                           const struct tp_row *row)
{
    const unsigned char *at = row->cells;

    for (int c = 0; c < columns->count; c++) {
        if (!push_cell(rows, &columns->list[c], binary, &at))
            return false;
        lua_rawseti(rows->decoder.L, rows->list + 1 + c, rows->count);
    }
    return true;
}

/* --------------------------------------------------------------- one result */

void tpb_rows_init(struct tpb_rows *rows, lua_State *L, enum tpb_want want,
                   const struct tpb_decode *how, struct tp_buf *scratch, int db, int codecs,
                   struct tp_error *err)
{
    const struct tpb_db *database = lua_touserdata(L, db);

    memset(rows, 0, sizeof *rows);
    rows->decoder = (struct tpb_decoder){.L = L,
                                         .how = how,
                                         .err = err,
                                         .scratch = scratch,
                                         .column = "",
                                         .codecs = codecs,
                                         .pool = database->pool};
    rows->want = want;
    rows->db = db;
    rows->base = lua_gettop(L) + 1;
}

static bool wants_columns(const struct tpb_rows *rows)
{
    return rows->want == TPB_WANT_ALL && rows->decoder.how->as == TPB_AS_COLUMNS;
}

static bool wants_lazy(const struct tpb_rows *rows)
{
    return rows->want == TPB_WANT_ALL && rows->decoder.how->as == TPB_AS_LAZY;
}

static void begin(struct tpb_rows *rows, tp_op *op)
{
    lua_State *L = rows->decoder.L;
    const struct tp_columns *columns = tp_op_columns(op);

    lua_settop(L, rows->base - 1);
    rows->count = 0;
    rows->failed = false;
    rows->attempts = tp_op_attempts(op);
    push_names(rows, columns);
    size_t at_hand = tp_op_rows_at_hand(op);
    if (wants_lazy(rows))
        tpb_lazy_new(L, columns, tp_op_rows_are_binary(op), rows->decoder.how, rows->decoder.codecs,
                     rows->db);
    else
        lua_createtable(L, rows->want == TPB_WANT_TAG ? 0 : (int)at_hand,
                        rows->want == TPB_WANT_ALL ? 3 : 2);
    rows->list = lua_gettop(L);
    for (int c = 0; wants_columns(rows) && columns != NULL && c < columns->count; c++)
        lua_newtable(L);
}

static bool take_row(struct tpb_rows *rows, const struct tp_columns *columns, bool binary,
                     const struct tp_row *row)
{
    lua_State *L = rows->decoder.L;
    const unsigned char *at = row->cells;

    rows->count++;
    if (wants_columns(rows))
        return add_to_columns(rows, columns, binary, row);
    if (wants_lazy(rows))
        return tpb_lazy_add(L, rows->list, row, rows->decoder.err);
    if (rows->want != TPB_WANT_ALL && (rows->want == TPB_WANT_TAG || rows->count > 1))
        return true;
    if (rows->want == TPB_WANT_VALUE && columns->count == 0)
        return true;
    bool good = rows->want == TPB_WANT_VALUE ? push_cell(rows, &columns->list[0], binary, &at)
                                             : tpb_rows_push_row(rows, columns, binary, row);
    if (good)
        lua_rawseti(L, rows->list, rows->count);
    return good;
}

void tpb_rows_take(struct tpb_rows *rows, tp_op *op)
{
    struct tp_row row;

    rows->decoder.op = op;
    if (rows->list == 0 || rows->attempts != tp_op_attempts(op))
        begin(rows, op);
    const struct tp_columns *columns = tp_op_columns(op);
    bool binary = tp_op_rows_are_binary(op);
    while (!rows->failed && tp_op_next_row(op, &row))
        rows->failed = !take_row(rows, columns, binary, &row);
}

/* Results of one description share the list of its columns: it is kept by the
 * description's number in a table of the database's, which is emptied when it gets large. */
static void push_columns_once(struct tpb_rows *rows, const struct tp_columns *columns)
{
    enum { KEPT_AT_MOST = 500 };
    lua_State *L = rows->decoder.L;
    struct tpb_db *db = lua_touserdata(L, rows->db);

    if (columns == NULL) {
        tpb_push_columns(L, NULL);
        return;
    }
    lua_getiuservalue(L, rows->db, TPB_DB_COLUMNS);
    if (lua_rawgeti(L, -1, (lua_Integer)columns->id) == LUA_TNIL) {
        lua_pop(L, 1);
        if (++db->columns_kept > KEPT_AT_MOST) {
            db->columns_kept = 1;
            lua_newtable(L);
            lua_replace(L, -2);
            lua_pushvalue(L, -1);
            lua_setiuservalue(L, rows->db, TPB_DB_COLUMNS);
        }
        tpb_push_columns(L, columns);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer)columns->id);
    }
    lua_remove(L, -2);
}

static void set_tag(lua_State *L, const tp_op *op)
{
    lua_pushstring(L, tp_op_command(op));
    lua_setfield(L, -2, "command");
    lua_pushinteger(L, (lua_Integer)tp_op_count(op));
    lua_setfield(L, -2, "count");
}

/* Each list by position and by name, unless the name is one of the result's own. */
static void set_columns(struct tpb_rows *rows, const struct tp_columns *columns)
{
    lua_State *L = rows->decoder.L;

    for (int c = 0; columns != NULL && c < columns->count; c++) {
        lua_pushvalue(L, rows->names + c);
        lua_pushvalue(L, rows->list + 1 + c);
        lua_rawset(L, rows->list);
        lua_pushvalue(L, rows->list + 1 + c);
        lua_rawseti(L, rows->list, c + 1);
    }
}

static void finish(struct tpb_rows *rows, tp_op *op)
{
    lua_State *L = rows->decoder.L;

    if (rows->want == TPB_WANT_FIRST || rows->want == TPB_WANT_VALUE) {
        lua_rawgeti(L, rows->list, 1);
        return;
    }
    if (wants_lazy(rows)) {
        tpb_lazy_end(L, rows->list, tp_op_command(op), tp_op_count(op));
        return;
    }
    if (wants_columns(rows))
        set_columns(rows, tp_op_columns(op));
    lua_pushvalue(L, rows->list);
    set_tag(L, op);
    if (rows->want == TPB_WANT_ALL) {
        push_columns_once(rows, tp_op_columns(op));
        lua_setfield(L, -2, "columns");
    }
}

bool tpb_rows_end(struct tpb_rows *rows, tp_op *op)
{
    lua_State *L = rows->decoder.L;

    if (rows->list == 0 || rows->attempts != tp_op_attempts(op))
        begin(rows, op);
    bool good = !rows->failed;
    if (good) {
        finish(rows, op);
        lua_replace(L, rows->base);
    }
    lua_settop(L, good ? rows->base : rows->base - 1);
    rows->list = 0;
    rows->count = 0;
    rows->base = lua_gettop(L) + 1;
    return good;
}

void tpb_rows_begin_single(struct tpb_rows *rows, tp_op *op)
{
    rows->decoder.op = op;
    lua_settop(rows->decoder.L, rows->base - 1);
    push_names(rows, tp_op_columns(op));
}
