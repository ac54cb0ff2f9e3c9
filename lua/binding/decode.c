#include "decode.h"

#include <string.h>

#include "compat.h"
#include "error.h"
#include "int64.h"
#include "json_decode.h"
#include "number.h"
#include "op.h"
#include "values.h"

/* PostgreSQL's MAXDIM. */
#define ARRAY_DIMENSIONS 6

static bool push_text(struct tpb_decoder *d, const struct tp_type *type, const char *text,
                      size_t len);

/* ------------------------------------------------------------------ errors */

bool tpb_malformed(struct tpb_decoder *d, const char *what)
{
    char text[sizeof d->err->column];

    tp__text_copy(text, sizeof text, d->column);
    tp__error_set(d->err, TP_ERR_DATABASE, "column \"%s\" has a malformed value of type %s", text,
                  what);
    tp__text_copy(d->err->column, sizeof d->err->column, d->column);
    return false;
}

bool tpb_type_changed(struct tpb_decoder *d, const struct tp_type *type)
{
    tp__error_set(
        d->err, TP_ERR_DATABASE,
        "type %s was altered after tidepool had looked it up; the next call will find out",
        type->name);
    tp__text_copy(d->err->column, sizeof d->err->column, d->column);
    tp_pool_forget_types(d->pool);
    return false;
}

/* ----------------------------------------------------------------- scalars */

void tpb_push_absent(const struct tpb_decoder *d)
{
    if (d->how->null_sentinel)
        tpb_push_null(d->L);
    else
        lua_pushnil(d->L);
}

/* A copy with a NUL behind it; NULL (and the error) when memory is short. */
static const char *terminated(struct tpb_decoder *d, const char *text, size_t len)
{
    tp__buf_clear(d->scratch);
    tp__buf_append(d->scratch, text, len);
    const char *copy = tp__buf_cstr(d->scratch);
    if (copy == NULL)
        tp__error_set(d->err, TP_ERR_MEMORY, "out of memory for a value");
    return copy;
}

static bool push_integer(struct tpb_decoder *d, const char *text, size_t len)
{
    int64_t value;

    if (!tpb_integer_parse(text, len, &value))
        return tpb_malformed(d, "integer");
    tpb_push_int64(d->L, value, d->how->int64_as_cdata);
    return true;
}

static bool push_float(struct tpb_decoder *d, const char *text, size_t len)
{
    double value;
    const char *copy = terminated(d, text, len);

    if (copy == NULL)
        return false;
    if (!tpb_float_parse(copy, len, &value))
        return tpb_malformed(d, "float");
    lua_pushnumber(d->L, (lua_Number)value);
    return true;
}

bool tpb_push_numeric(struct tpb_decoder *d, const char *text, size_t len)
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

bool tpb_push_json(struct tpb_decoder *d, const char *text, size_t len)
{
    const char *copy = terminated(d, text, len);

    if (copy == NULL)
        return false;
    if (tpb_json_decode(d->L, copy, len, d->how->int64_as_cdata, d->err))
        return true;
    tp__text_copy(d->err->column, sizeof d->err->column, d->column);
    return false;
}

static bool push_bytea(struct tpb_decoder *d, const char *text, size_t len)
{
    unsigned char *bytes = lua_newuserdatauv(d->L, len > 0 ? len : 1, 0);
    long n = tp_bytea_decode(text, len, bytes);

    if (n < 0)
        return tpb_malformed(d, "bytea");
    lua_pushlstring(d->L, (const char *)bytes, (size_t)n);
    lua_remove(d->L, -2);
    return true;
}

/* -------------------------------------------------------------- containers */

/* Every container unescapes into memory of its own: one can be in another. Ends with the
 * container alone above where that memory lay. */
static bool end_container(struct tpb_decoder *d, int base, bool good, bool failed, const char *what)
{
    if (!good || lua_gettop(d->L) != base + 1)
        return failed ? false : tpb_malformed(d, what);
    lua_remove(d->L, base);
    return true;
}

/* A walk over one array: its lists lie on the Lua stack, the outermost first. */
struct array_walk {
    struct tpb_decoder *d;
    const struct tp_type *element;
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
    } else if (!push_text(walk->d, walk->element, text, len)) {
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

static bool push_array(struct tpb_decoder *d, const struct tp_type *type, const char *text,
                       size_t len)
{
    struct array_walk walk = {.d = d, .element = type->element};

    luaL_checkstack(d->L, LUA_MINSTACK, "decoding an array");
    char *scratch = lua_newuserdatauv(d->L, len + 1, 0);
    int base = lua_gettop(d->L);
    bool good =
        tp_array_walk(text, len, type->delimiter, scratch, visit_array, &walk) && walk.depth == 0;
    return end_container(d, base, good, walk.failed, "array");
}

struct composite_walk {
    struct tpb_decoder *d;
    const struct tp_type *type;
    int fields;
    bool strange; /* there are more than the type has */
    bool failed;
};

static bool visit_field(void *ctx, int field, const char *text, size_t len)
{
    struct composite_walk *walk = ctx;
    const struct tp_type *type = walk->type;

    walk->fields = field + 1;
    /* "()" has one empty field, and stands for none. */
    if (field >= type->nfields) {
        walk->strange = field > 0 || text != NULL;
        return !walk->strange;
    }
    if (text == NULL) {
        tpb_push_absent(walk->d);
    } else if (!push_text(walk->d, type->fields[field].type, text, len)) {
        walk->failed = true;
        return false;
    }
    lua_setfield(walk->d->L, -2, type->fields[field].name);
    return true;
}

static bool push_composite(struct tpb_decoder *d, const struct tp_type *type, const char *text,
                           size_t len)
{
    struct composite_walk walk = {.d = d, .type = type};

    luaL_checkstack(d->L, LUA_MINSTACK, "decoding a composite value");
    char *scratch = lua_newuserdatauv(d->L, len + 1, 0);
    int base = lua_gettop(d->L);
    lua_createtable(d->L, 0, type->nfields);
    bool good = tp_composite_walk(text, len, scratch, visit_field, &walk);
    if (!walk.failed && (walk.strange || (good && walk.fields < type->nfields)))
        return tpb_type_changed(d, type);
    return end_container(d, base, good, walk.failed, type->name);
}

static bool visit_pair(void *ctx, const char *key, size_t key_len, const char *value,
                       size_t value_len)
{
    struct tpb_decoder *d = ctx;

    lua_pushlstring(d->L, key, key_len);
    if (value != NULL)
        lua_pushlstring(d->L, value, value_len);
    else
        tpb_push_null(d->L);
    lua_rawset(d->L, -3);
    return true;
}

static bool push_hstore(struct tpb_decoder *d, const char *text, size_t len)
{
    luaL_checkstack(d->L, LUA_MINSTACK, "decoding an hstore");
    char *scratch = lua_newuserdatauv(d->L, len + 1, 0);
    int base = lua_gettop(d->L);
    lua_newtable(d->L);
    return end_container(d, base, tp_hstore_walk(text, len, scratch, visit_pair, d), false,
                         "hstore");
}

/* "[1,2.5]" */
static bool push_vector(struct tpb_decoder *d, const char *text, size_t len)
{
    const char *at = text + 1, *end = text + len - 1;

    if (len < 2 || text[0] != '[' || *end != ']')
        return tpb_malformed(d, "vector");
    lua_newtable(d->L);
    for (lua_Integer i = 1; at < end; i++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        size_t size = (size_t)((comma != NULL ? comma : end) - at);
        if (!push_float(d, at, size))
            return false;
        lua_rawseti(d->L, -2, i);
        at += size + 1;
    }
    return true;
}

/* ------------------------------------------------------------------ codecs */

/* Whether the program has a codec for the type; then what it makes of the text is pushed,
 * or *good is false. */
static bool push_by_codec(struct tpb_decoder *d, const struct tp_type *type, const char *text,
                          size_t len, bool *good)
{
    lua_State *L = d->L;

    if (lua_getfield(L, d->codecs, type->name) != LUA_TTABLE) {
        lua_pop(L, 1);
        return false;
    }
    if (lua_getfield(L, -1, "decode") != LUA_TFUNCTION) {
        lua_pop(L, 2);
        return false;
    }
    lua_remove(L, -2);
    lua_pushlstring(L, text, len);
    *good = lua_pcall(L, 1, 1, 0) == LUA_OK;
    if (d->op != NULL && tp__op_is_dispossessed(d->op)) {
        /* It has released the client, and what is left of the row went with that. */
        *good = false;
        tp__error_set(d->err, TP_ERR_VALIDATION, "the connection was released meanwhile");
    } else if (!*good) {
        const char *why = lua_tostring(L, -1);
        tp__error_set(d->err, TP_ERR_VALIDATION, "the codec of type %s failed: %s", type->name,
                      why != NULL ? why : luaL_typename(L, -1));
        tp__text_copy(d->err->column, sizeof d->err->column, d->column);
    }
    return true;
}

/* ------------------------------------------------------------- dispatching */

static bool push_plain(struct tpb_decoder *d, const struct tp_type *type, const char *text,
                       size_t len)
{
    bool good;

    if (d->codecs != 0 && !type->binary && type->name[0] != '\0' &&
        push_by_codec(d, type, text, len, &good))
        return good;
    lua_pushlstring(d->L, text, len);
    return true;
}

static bool push_text(struct tpb_decoder *d, const struct tp_type *type, const char *text,
                      size_t len)
{
    switch (type->kind) {
    case TP_KIND_BOOL:
        lua_pushboolean(d->L, len > 0 && text[0] == 't');
        return true;
    case TP_KIND_INT:
        return push_integer(d, text, len);
    case TP_KIND_FLOAT:
        return push_float(d, text, len);
    case TP_KIND_NUMERIC:
        return tpb_push_numeric(d, text, len);
    case TP_KIND_BYTEA:
        return push_bytea(d, text, len);
    case TP_KIND_JSON:
        return tpb_push_json(d, text, len);
    case TP_KIND_ARRAY:
        return push_array(d, type, text, len);
    case TP_KIND_COMPOSITE:
        return push_composite(d, type, text, len);
    case TP_KIND_HSTORE:
        return push_hstore(d, text, len);
    case TP_KIND_VECTOR:
        return push_vector(d, text, len);
    case TP_KIND_TEXT:
    case TP_KIND_RANGE:
    case TP_KIND_MULTIRANGE:
        break;
    }
    return push_plain(d, type, text, len);
}

bool tpb_push_value(struct tpb_decoder *d, const struct tp_type *type, bool binary,
                    const char *bytes, size_t len)
{
    if (d->how->text) { /* and so the rows were asked for in this form */
        lua_pushlstring(d->L, bytes, len);
        return true;
    }
    if (binary)
        return tpb_push_binary(d, type, (const unsigned char *)bytes, len);
    return push_text(d, type, bytes, len);
}
