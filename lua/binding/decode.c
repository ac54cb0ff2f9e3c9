#include "decode.h"

#include <lauxlib.h>
#include <string.h>

#include "error.h"
#include "json_decode.h"
#include "number.h"
#include "values.h"

/* PostgreSQL's MAXDIM. */
#define ARRAY_DIMENSIONS 6

/* Columns whose types fit on the C stack. */
#define FEW_COLUMNS 16

/* What a decoder keeps on the Lua stack, from `base` on, below what it makes. */
enum { SLOT_ARRAY, SLOT_BYTEA, SLOT_TYPES, SLOTS };

/* A buffer that lives as long as its slot. */
struct scratch {
    char *data;
    size_t room;
};

/* One walk over a result. */
struct decoder {
    lua_State *L;
    const tp_result *result;
    const struct tpb_decode *how;
    struct tp_error *err;
    int base;
    int names;     /* where the columns' names begin, or 0 */
    size_t column; /* the one being read */
    size_t columns;
    const struct tp_type_info *types; /* of the columns, or NULL: looked up one by one */
    struct scratch array, bytea;
};

static bool push_text(struct decoder *d, const struct tp_type_info *type, const char *text,
                      size_t len);

/* ------------------------------------------------------------ the decoder */

/* Twenty slots beyond the columns' names are enough for an array of six
 * dimensions with JSON in it; json_decode.c asks for its own. */
static void begin(struct decoder *d, lua_State *L, const tp_result *result,
                  const struct tpb_decode *how, struct tp_error *err)
{
    memset(d, 0, sizeof *d);
    d->L = L;
    d->result = result;
    d->how = how;
    d->err = err;
    d->columns = tp_result_columns(result);
    d->base = lua_gettop(L) + 1;
    luaL_checkstack(L, SLOTS + LUA_MINSTACK, "decoding a result");
    lua_settop(L, d->base + SLOTS - 1);
}

/* Leaves the value at the top alone on the stack, or nothing. */
static bool end(struct decoder *d, bool good)
{
    if (good)
        lua_replace(d->L, d->base);
    lua_settop(d->L, good ? d->base : d->base - 1);
    return good;
}

static char *scratch_room(struct decoder *d, struct scratch *scratch, int slot, size_t len)
{
    if (len > scratch->room || scratch->data == NULL) {
        size_t room = len < 256 ? 256 : len + len / 2;
        scratch->data = lua_newuserdata(d->L, room);
        scratch->room = room;
        lua_replace(d->L, d->base + slot);
    }
    return scratch->data;
}

static bool malformed(struct decoder *d, const char *what)
{
    const char *name = tp_result_column_name(d->result, d->column);
    char text[sizeof d->err->column];

    tp__text_copy(text, sizeof text, name);
    tp__error_set(d->err, TP_ERR_DATABASE, "column \"%s\" has a malformed value of type %s", text,
                  what);
    tp__text_copy(d->err->column, sizeof d->err->column, name);
    return false;
}

/* ------------------------------------------------------------------ values */

static bool push_integer(struct decoder *d, const char *text, size_t len)
{
    int64_t value;

    if (!tpb_integer_parse(text, len, &value))
        return malformed(d, "integer");
    lua_pushinteger(d->L, (lua_Integer)value);
    return true;
}

static bool push_float(struct decoder *d, const char *text, size_t len)
{
    double value;

    if (!tpb_float_parse(text, len, &value))
        return malformed(d, "float");
    lua_pushnumber(d->L, (lua_Number)value);
    return true;
}

static bool push_numeric(struct decoder *d, const char *text, size_t len)
{
    int64_t value;

    if (!d->how->numeric_as_number) {
        lua_pushlstring(d->L, text, len);
        return true;
    }
    if (!tpb_integer_parse(text, len, &value))
        return push_float(d, text, len);
    lua_pushinteger(d->L, (lua_Integer)value);
    return true;
}

static bool push_bytea(struct decoder *d, const char *text, size_t len)
{
    char *bytes = scratch_room(d, &d->bytea, SLOT_BYTEA, len);
    long n = tp_bytea_decode(text, len, (unsigned char *)bytes);

    if (n < 0)
        return malformed(d, "bytea");
    lua_pushlstring(d->L, bytes, (size_t)n);
    return true;
}

static bool push_json(struct decoder *d, const char *text, size_t len)
{
    if (tpb_json_decode(d->L, text, len, d->err))
        return true;
    tp__text_copy(d->err->column, sizeof d->err->column,
                  tp_result_column_name(d->result, d->column));
    return false;
}

/* ------------------------------------------------------------------ arrays */

/* A walk over one array: its lists lie on the Lua stack, the outermost first. */
struct array_walk {
    struct decoder *d;
    struct tp_type_info element;
    int depth;
    lua_Integer next[ARRAY_DIMENSIONS]; /* the free index of each list */
    bool failed;                        /* by an element, which has set the error */
};

static bool visit_element(struct array_walk *walk, const char *text, size_t len)
{
    if (walk->depth == 0)
        return false;
    if (text == NULL) {
        tpb_push_null(walk->d->L);
    } else if (!push_text(walk->d, &walk->element, text, len)) {
        walk->failed = true;
        return false;
    }
    lua_rawseti(walk->d->L, -2, walk->next[walk->depth - 1]++);
    return true;
}

static bool visit_array(void *ctx, int event, const char *text, size_t len)
{
    struct array_walk *walk = ctx;

    if (event == 'v')
        return visit_element(walk, text, len);
    if (event == '{') {
        if (walk->depth == ARRAY_DIMENSIONS)
            return false;
        lua_newtable(walk->d->L);
        walk->next[walk->depth++] = 1;
        return true;
    }
    if (walk->depth == 0)
        return false;
    if (--walk->depth > 0)
        lua_rawseti(walk->d->L, -2, walk->next[walk->depth - 1]++);
    return true;
}

static bool push_array(struct decoder *d, const struct tp_type_info *type, const char *text,
                       size_t len)
{
    char *scratch = scratch_room(d, &d->array, SLOT_ARRAY, len);
    int top = lua_gettop(d->L);
    struct array_walk walk = {.d = d};

    tp_type_lookup(type->element, &walk.element);
    if (tp_array_walk(text, len, type->delimiter, scratch, visit_array, &walk) && walk.depth == 0 &&
        lua_gettop(d->L) == top + 1)
        return true;
    return walk.failed ? false : malformed(d, "array");
}

/* ------------------------------------------------------------- dispatching */

/* Pushes a value that is not NULL. When it returns false, what lies on the
 * stack is for end() to clear. */
static bool push_text(struct decoder *d, const struct tp_type_info *type, const char *text,
                      size_t len)
{
    switch (type->kind) {
    case TP_KIND_BOOL:
        lua_pushboolean(d->L, text[0] == 't');
        return true;
    case TP_KIND_INT:
        return push_integer(d, text, len);
    case TP_KIND_FLOAT:
        return push_float(d, text, len);
    case TP_KIND_NUMERIC:
        return push_numeric(d, text, len);
    case TP_KIND_BYTEA:
        return push_bytea(d, text, len);
    case TP_KIND_JSON:
        return push_json(d, text, len);
    case TP_KIND_ARRAY:
        return push_array(d, type, text, len);
    case TP_KIND_TEXT:
        break;
    }
    lua_pushlstring(d->L, text, len);
    return true;
}

static bool push_cell(struct decoder *d, size_t row, size_t column)
{
    struct tp_type_info type;
    size_t len = 0;
    const char *text = tp_result_value(d->result, row, column, &len);

    if (text == NULL) {
        if (d->how->null_sentinel)
            tpb_push_null(d->L);
        else
            lua_pushnil(d->L);
        return true;
    }
    d->column = column;
    if (d->types != NULL)
        return push_text(d, &d->types[column], text, len);
    tp_type_lookup(tp_result_column_type(d->result, column), &type);
    return push_text(d, &type, text, len);
}

/* -------------------------------------------------------------------- rows */

static bool push_list(struct decoder *d, size_t row)
{
    lua_createtable(d->L, (int)d->columns, 0);
    for (size_t c = 0; c < d->columns; ++c) {
        if (!push_cell(d, row, c))
            return false;
        lua_rawseti(d->L, -2, (int)c + 1);
    }
    return true;
}

/* A NULL is stored too, as nil: it must replace an earlier column of its name. */
static bool push_record(struct decoder *d, size_t row)
{
    lua_createtable(d->L, 0, (int)d->columns);
    for (size_t c = 0; c < d->columns; ++c) {
        if (d->names != 0)
            lua_pushvalue(d->L, d->names + (int)c);
        else
            lua_pushstring(d->L, tp_result_column_name(d->result, c));
        if (!push_cell(d, row, c))
            return false;
        lua_rawset(d->L, -3);
    }
    return true;
}

static bool push_one_row(struct decoder *d, size_t row)
{
    return d->how->arrays ? push_list(d, row) : push_record(d, row);
}

/* ------------------------------------------------------------------ result */

static void set_command(struct decoder *d)
{
    const char *command = tp_result_command(d->result);

    lua_pushstring(d->L, command != NULL ? command : "");
    lua_setfield(d->L, -2, "command");
    lua_pushinteger(d->L, (lua_Integer)tp_result_count(d->result));
    lua_setfield(d->L, -2, "count");
}

/* Pushes the name of every column, once for all rows. */
static void push_names(struct decoder *d)
{
    luaL_checkstack(d->L, (int)d->columns + LUA_MINSTACK, "decoding a result");
    d->names = lua_gettop(d->L) + 1;
    for (size_t c = 0; c < d->columns; ++c)
        lua_pushstring(d->L, tp_result_column_name(d->result, c));
}

/* Looks every column's type up, once for all rows. */
static void find_types(struct decoder *d, struct tp_type_info few[FEW_COLUMNS])
{
    struct tp_type_info *types = few;

    if (d->columns > FEW_COLUMNS) {
        types = lua_newuserdata(d->L, d->columns * sizeof *types);
        lua_replace(d->L, d->base + SLOT_TYPES);
    }
    for (size_t c = 0; c < d->columns; ++c)
        tp_type_lookup(tp_result_column_type(d->result, c), &types[c]);
    d->types = types;
}

/* Pushes the list of {name=, type=, oid=}. */
static void push_columns(struct decoder *d)
{
    lua_createtable(d->L, (int)d->columns, 0);
    for (size_t c = 0; c < d->columns; ++c) {
        lua_createtable(d->L, 0, 3);
        lua_pushvalue(d->L, d->names + (int)c);
        lua_setfield(d->L, -2, "name");
        lua_pushstring(d->L, d->types[c].name);
        lua_setfield(d->L, -2, "type");
        lua_pushinteger(d->L, (lua_Integer)d->types[c].oid);
        lua_setfield(d->L, -2, "oid");
        lua_rawseti(d->L, -2, (int)c + 1);
    }
}

bool tpb_push_result(lua_State *L, const tp_result *result, const struct tpb_decode *how,
                     struct tp_error *err)
{
    struct tp_type_info few[FEW_COLUMNS];
    size_t rows = tp_result_rows(result);
    struct decoder d;

    begin(&d, L, result, how, err);
    find_types(&d, few);
    push_names(&d);
    lua_createtable(L, (int)rows, 3);
    set_command(&d);
    push_columns(&d);
    lua_setfield(L, -2, "columns");
    for (size_t r = 0; r < rows; ++r) {
        if (!push_one_row(&d, r))
            return end(&d, false);
        lua_rawseti(L, -2, (lua_Integer)r + 1);
    }
    return end(&d, true);
}

bool tpb_push_row(lua_State *L, const tp_result *result, size_t row, const struct tpb_decode *how,
                  struct tp_error *err)
{
    struct decoder d;

    begin(&d, L, result, how, err);
    return end(&d, push_one_row(&d, row));
}

bool tpb_push_value(lua_State *L, const tp_result *result, size_t row, size_t column,
                    const struct tpb_decode *how, struct tp_error *err)
{
    struct decoder d;

    begin(&d, L, result, how, err);
    return end(&d, push_cell(&d, row, column));
}

void tpb_push_command(lua_State *L, const tp_result *result)
{
    struct decoder d = {.L = L, .result = result};

    lua_createtable(L, 0, 2);
    set_command(&d);
}
