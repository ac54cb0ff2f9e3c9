#include "lazy.h"

#include <string.h>

#include "codec.h"
#include "compat.h"
#include "db.h"
#include "error.h"
#include "errors.h"
#include "rows.h"

#define TPB_LAZY "tidepool.lazy"
#define TPB_LAZY_ROW "tidepool.lazy_row"

/* The user values of a result: {name = position}, with the fields count, command and
 * columns in a table at index 0; the blocks; the database; the codecs of the program. */
enum { NAMES = 1, BLOCKS, DATABASE, CODECS, USER_VALUES = CODECS };

enum { BLOCK = 128 * 1024 };

struct lazy {
    /* The rows' cells lie in blocks that are Lua's, so that its collector knows how much
     * there is to collect. */
    unsigned char *block;
    size_t block_left;
    lua_Integer blocks;
    struct tp_buf rows;    /* const unsigned char *: where each row's cells are */
    struct tp_buf scratch; /* for the values that are made of them */
    lua_Integer count;
    bool binary;
    struct tpb_decode how;
    int ncolumns;
    const struct tp_type *types[];
};

struct lazy_row {
    struct lazy *result; /* the one user value */
    const unsigned char *cells;
};

/* ------------------------------------------------------------------- result */

static int lazy_gc(lua_State *L)
{
    struct lazy *lazy = luaL_checkudata(L, 1, TPB_LAZY);

    tp__buf_free(&lazy->rows);
    tp__buf_free(&lazy->scratch);
    lazy->count = 0;
    return 0;
}

void tpb_lazy_new(lua_State *L, const struct tp_columns *columns, bool binary,
                  const struct tpb_decode *how, int codecs, int db)
{
    int n = columns != NULL ? columns->count : 0;
    size_t size = sizeof(struct lazy) + (size_t)n * sizeof(const struct tp_type *);
    struct lazy *lazy = lua_newuserdatauv(L, size, USER_VALUES);

    memset(lazy, 0, sizeof *lazy);
    luaL_setmetatable(L, TPB_LAZY);
    lazy->binary = binary;
    lazy->how = *how;
    lazy->ncolumns = n;
    lua_createtable(L, 0, n + 1);
    for (int c = 0; c < n; c++) {
        lazy->types[c] = columns->list[c].type;
        lua_pushinteger(L, c + 1);
        lua_setfield(L, -2, columns->list[c].name);
    }
    lua_createtable(L, 0, 3);
    tpb_push_columns(L, columns);
    lua_setfield(L, -2, "columns");
    lua_rawseti(L, -2, 0);
    lua_setiuservalue(L, -2, NAMES);
    lua_newtable(L);
    lua_setiuservalue(L, -2, BLOCKS);
    lua_pushvalue(L, db);
    lua_setiuservalue(L, -2, DATABASE);
    if (codecs != 0) {
        lua_pushvalue(L, codecs);
        lua_setiuservalue(L, -2, CODECS);
    }
}

static void add_block(lua_State *L, int index, struct lazy *lazy, size_t size)
{
    lua_getiuservalue(L, index, BLOCKS);
    lazy->block = lua_newuserdatauv(L, size, 0);
    lazy->block_left = size;
    lua_rawseti(L, -2, ++lazy->blocks);
    lua_pop(L, 1);
}

bool tpb_lazy_add(lua_State *L, int index, const struct tp_row *row, struct tp_error *err)
{
    struct lazy *lazy = lua_touserdata(L, index);

    if (lazy->block == NULL || lazy->block_left < row->len)
        add_block(L, index, lazy, row->len > BLOCK ? row->len : BLOCK);
    tp__buf_append(&lazy->rows, &lazy->block, sizeof lazy->block);
    if (lazy->rows.failed) {
        tp__error_set(err, TP_ERR_MEMORY, "out of memory for a result");
        return false;
    }
    if (row->len > 0) /* a row without columns has no cells */
        memcpy(lazy->block, row->cells, row->len);
    lazy->block += row->len;
    lazy->block_left -= row->len;
    lazy->count++;
    return true;
}

void tpb_lazy_end(lua_State *L, int index, const char *command, int64_t count)
{
    lua_getiuservalue(L, index, NAMES);
    lua_rawgeti(L, -1, 0);
    lua_pushstring(L, command);
    lua_setfield(L, -2, "command");
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, "count");
    lua_pop(L, 2);
    lua_pushvalue(L, index);
}

static void push_row(lua_State *L, struct lazy *lazy, lua_Integer i)
{
    struct lazy_row *row = lua_newuserdatauv(L, sizeof *row, 1);

    memcpy(&row->cells, lazy->rows.data + (size_t)(i - 1) * sizeof row->cells, sizeof row->cells);
    row->result = lazy;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setmetatable(L, -2);
}

/* result[i] is a row, result.count and so on what all results have. The metatable of rows
 * is an upvalue. */
static int lazy_index(lua_State *L)
{
    struct lazy *lazy = luaL_checkudata(L, 1, TPB_LAZY);

    if (lua_isinteger(L, 2)) {
        lua_Integer i = lua_tointeger(L, 2);
        if (i < 1 || i > lazy->count)
            return 0;
        push_row(L, lazy, i);
        return 1;
    }
    lua_getiuservalue(L, 1, NAMES);
    lua_rawgeti(L, -1, 0);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static int lazy_len(lua_State *L)
{
    const struct lazy *lazy = luaL_checkudata(L, 1, TPB_LAZY);

    lua_pushinteger(L, lazy->count);
    return 1;
}

/* --------------------------------------------------------------------- rows */

/* Pushes column `c` (from 0) of the row; the result is at stack index `result`. */
static void push_cell(lua_State *L, const struct lazy_row *row, int c, int result)
{
    struct lazy *lazy = row->result;
    const unsigned char *at = row->cells;
    struct tp_error err;
    struct tpb_decoder decoder = {
        .L = L, .how = &lazy->how, .err = &err, .scratch = &lazy->scratch};

    for (int i = 0; i < c; i++) {
        uint32_t len = tp__get32(at);
        at += 4 + (len == UINT32_MAX ? 0 : len);
    }
    uint32_t len = tp__get32(at);
    if (len == UINT32_MAX) {
        tpb_push_absent(&decoder);
        return;
    }
    decoder.column = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    lua_getiuservalue(L, result, DATABASE);
    decoder.pool = ((const struct tpb_db *)lua_touserdata(L, -1))->pool;
    if (lua_getiuservalue(L, result, CODECS) == LUA_TTABLE)
        decoder.codecs = lua_gettop(L);
    if (!tpb_push_value(&decoder, lazy->types[c], lazy->binary, (const char *)at + 4, len)) {
        tpb_push_error(L, &err);
        lua_error(L);
    }
}

/* row.name or row[position] */
static int row_index(lua_State *L)
{
    const struct lazy_row *row = luaL_checkudata(L, 1, TPB_LAZY_ROW);

    lua_settop(L, 2);
    lua_getiuservalue(L, 1, 1);
    lua_getiuservalue(L, 3, NAMES);
    lua_pushvalue(L, 2);
    if (lua_type(L, 2) == LUA_TSTRING)
        lua_rawget(L, 4);
    lua_Integer c = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    if (c < 1 || c > row->result->ncolumns)
        return 0;
    push_cell(L, row, (int)c - 1, 3);
    return 1;
}

/* pairs(row): name and value of every column. */
static int row_next(lua_State *L)
{
    const struct lazy_row *row = luaL_checkudata(L, 1, TPB_LAZY_ROW);

    lua_settop(L, 2);
    lua_getiuservalue(L, 1, 1);
    lua_getiuservalue(L, 3, NAMES);
    lua_pushvalue(L, 2);
    while (lua_next(L, 4) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            lua_pop(L, 1);
            continue;
        }
        lua_Integer c = lua_tointeger(L, -1);
        lua_pop(L, 1);
        push_cell(L, row, (int)c - 1, 3);
        if (!lua_isnil(L, -1)) {
            lua_pushvalue(L, 5);
            lua_insert(L, -2);
            return 2;
        }
        lua_settop(L, 5);
    }
    return 0;
}

static int row_pairs(lua_State *L)
{
    luaL_checkudata(L, 1, TPB_LAZY_ROW);
    lua_pushcfunction(L, row_next);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

static int row_len(lua_State *L)
{
    const struct lazy_row *row = luaL_checkudata(L, 1, TPB_LAZY_ROW);

    lua_pushinteger(L, row->result->ncolumns);
    return 1;
}

void tpb_lazy_open(lua_State *L)
{
    luaL_newmetatable(L, TPB_LAZY);
    lua_pushcfunction(L, lazy_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, lazy_len);
    lua_setfield(L, -2, "__len");
    luaL_newmetatable(L, TPB_LAZY_ROW);
    lua_pushcfunction(L, row_index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, row_pairs);
    lua_setfield(L, -2, "__pairs");
    lua_pushcfunction(L, row_len);
    lua_setfield(L, -2, "__len");
    lua_pushcclosure(L, lazy_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
