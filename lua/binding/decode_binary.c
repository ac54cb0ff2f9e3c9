/* Values from their binary forms. Source: the *_send functions of PostgreSQL 15. */
#include <string.h>

#include "codec.h"
#include "compat.h"
#include "decode.h"
#include "error.h"
#include "int64.h"
#include "number.h"
#include "values.h"

enum { OID_OID = 26, DIMENSIONS_AT_MOST = 6, JSONB_VERSION = 1, NO_VALUE = -1 };

/* ----------------------------------------------------------------- scalars */

static bool push_integer(struct tpb_decoder *d, const struct tp_type *type,
                         const unsigned char *bytes, size_t len)
{
    if (len == 4)
        lua_pushinteger(d->L, type->base == OID_OID ? (lua_Integer)tp__get32(bytes)
                                                    : (int32_t)tp__get32(bytes));
    else if (len == 8)
        tpb_push_int64(d->L, (int64_t)tp__get64(bytes), d->how->int64_as_cdata);
    else if (len == 2)
        lua_pushinteger(d->L, (int16_t)tp__get16(bytes));
    else
        return tpb_malformed(d, "integer");
    return true;
}

/* 0.1::float4 is 0.1 in Lua too, not 0.10000000149011612: its shortest digits are read. */
static bool push_float4(struct tpb_decoder *d, const unsigned char *bytes)
{
    enum { EXACT_INTEGERS = 1 << 24 };
    uint32_t bits = tp__get32(bytes);
    float value;
    double wide;
    char text[32];

    memcpy(&value, &bits, sizeof value);
    wide = (double)value;
    if (!(wide > -EXACT_INTEGERS && wide < EXACT_INTEGERS && wide == (double)(int32_t)wide)) {
        size_t len = tp__float4_text(value, text);
        text[len] = '\0';
        if (!tpb_float_parse(text, len, &wide))
            return tpb_malformed(d, "float");
    }
    lua_pushnumber(d->L, (lua_Number)wide);
    return true;
}

static bool push_float(struct tpb_decoder *d, const unsigned char *bytes, size_t len)
{
    double value;

    if (len == 4)
        return push_float4(d, bytes);
    if (len != 8)
        return tpb_malformed(d, "float");
    uint64_t bits = tp__get64(bytes);
    memcpy(&value, &bits, sizeof value);
    lua_pushnumber(d->L, (lua_Number)value);
    return true;
}

/* The text of what is shown as text. */
static bool format(struct tpb_decoder *d, const struct tp_type *type, const unsigned char *bytes,
                   size_t len)
{
    tp__buf_clear(d->scratch);
    if (!tp__type_format(type, bytes, len, d->scratch))
        return tpb_malformed(d, type->name);
    if (d->scratch->failed)
        tp__error_set(d->err, TP_ERR_MEMORY, "out of memory for a value");
    return !d->scratch->failed;
}

static bool push_formatted(struct tpb_decoder *d, const struct tp_type *type,
                           const unsigned char *bytes, size_t len)
{
    if (!format(d, type, bytes, len))
        return false;
    lua_pushlstring(d->L, d->scratch->data, d->scratch->len);
    return true;
}

/* The text is copied, for making a number of it uses the scratch memory anew. */
static bool push_numeric(struct tpb_decoder *d, const struct tp_type *type,
                         const unsigned char *bytes, size_t len)
{
    if (!push_formatted(d, type, bytes, len))
        return false;
    if (!d->how->numeric_as_number)
        return true;
    const char *text = lua_tolstring(d->L, -1, &len);
    if (!tpb_push_numeric(d, text, len))
        return false;
    lua_remove(d->L, -2);
    return true;
}

static bool push_json(struct tpb_decoder *d, const unsigned char *bytes, size_t len)
{
    /* No JSON text begins with this byte. */
    size_t version = len > 0 && bytes[0] == JSONB_VERSION ? 1 : 0;

    return tpb_push_json(d, (const char *)bytes + version, len - version);
}

/* -------------------------------------------------------------- containers */

/* What is left to be read of a container. */
struct reader {
    const unsigned char *at;
    size_t left;
};

static bool read32(struct reader *reader, int32_t *out)
{
    if (reader->left < 4)
        return false;
    *out = (int32_t)tp__get32(reader->at);
    reader->at += 4;
    reader->left -= 4;
    return true;
}

/* A length and as many bytes; *len is NO_VALUE for NULL. */
static bool read_part(struct reader *reader, const unsigned char **part, int32_t *len)
{
    if (!read32(reader, len) || *len < NO_VALUE || (*len > 0 && (size_t)*len > reader->left))
        return false;
    *part = reader->at;
    if (*len > 0) {
        reader->at += *len;
        reader->left -= (size_t)*len;
    }
    return true;
}

struct array {
    struct tpb_decoder *d;
    const struct tp_type *element;
    struct reader reader;
    int dimensions;
    int32_t length[DIMENSIONS_AT_MOST];
    bool failed; /* by an element, which has set the error */
};

static bool push_list(struct array *array, int depth);

static bool push_element(struct array *array, int depth)
{
    const unsigned char *part;
    int32_t len;

    if (depth < array->dimensions)
        return push_list(array, depth);
    if (!read_part(&array->reader, &part, &len))
        return false;
    if (len == NO_VALUE) {
        tpb_push_null(array->d->L);
        return true;
    }
    array->failed = !tpb_push_binary(array->d, array->element, part, (size_t)len);
    return !array->failed;
}

/* A list is not made larger at once than its elements can be in what is left. */
static bool push_list(struct array *array, int depth)
{
    lua_State *L = array->d->L;
    int32_t length = array->length[depth];

    lua_createtable(L, (size_t)length <= array->reader.left / 4 ? length : 0, 0);
    for (int32_t i = 1; i <= length; i++) {
        if (!push_element(array, depth + 1))
            return false;
        lua_rawseti(L, -2, i);
    }
    return true;
}

/* Dimensions, a flag, the element's type, and a length and a lower bound for each
 * dimension; then the elements. Lists begin at 1 whatever the bounds are. */
static bool push_array(struct tpb_decoder *d, const struct tp_type *type,
                       const unsigned char *bytes, size_t len)
{
    struct array array = {.d = d, .element = type->element, .reader = {bytes, len}};
    int32_t ignored;

    luaL_checkstack(d->L, LUA_MINSTACK, "decoding an array");
    if (!read32(&array.reader, &array.dimensions) || !read32(&array.reader, &ignored) ||
        !read32(&array.reader, &ignored) || array.dimensions < 0 ||
        array.dimensions > DIMENSIONS_AT_MOST)
        return tpb_malformed(d, "array");
    for (int i = 0; i < array.dimensions; i++) {
        if (!read32(&array.reader, &array.length[i]) || !read32(&array.reader, &ignored) ||
            array.length[i] < 1)
            return tpb_malformed(d, "array");
    }
    if (array.dimensions == 0)
        lua_newtable(d->L);
    else if (!push_list(&array, 0))
        return array.failed ? false : tpb_malformed(d, "array");
    return array.reader.left == 0 || tpb_malformed(d, "array");
}

/* The number of fields, then each one's type and value. */
static bool push_composite(struct tpb_decoder *d, const struct tp_type *type,
                           const unsigned char *bytes, size_t len)
{
    struct reader reader = {bytes, len};
    const unsigned char *part;
    int32_t count, oid, size;

    luaL_checkstack(d->L, LUA_MINSTACK, "decoding a composite value");
    if (!read32(&reader, &count))
        return tpb_malformed(d, type->name);
    if (count != type->nfields)
        return tpb_type_changed(d, type);
    lua_createtable(d->L, 0, type->nfields);
    for (int i = 0; i < type->nfields; i++) {
        if (!read32(&reader, &oid) || !read_part(&reader, &part, &size))
            return tpb_malformed(d, type->name);
        if ((uint32_t)oid != type->fields[i].type->oid)
            return tpb_type_changed(d, type);
        if (size == NO_VALUE)
            tpb_push_absent(d);
        else if (!tpb_push_binary(d, type->fields[i].type, part, (size_t)size))
            return false;
        lua_setfield(d->L, -2, type->fields[i].name);
    }
    return reader.left == 0 || tpb_malformed(d, type->name);
}

static bool push_hstore(struct tpb_decoder *d, const unsigned char *bytes, size_t len)
{
    struct reader reader = {bytes, len};
    const unsigned char *part;
    int32_t count, size;

    luaL_checkstack(d->L, LUA_MINSTACK, "decoding an hstore");
    if (!read32(&reader, &count) || count < 0)
        return tpb_malformed(d, "hstore");
    lua_newtable(d->L);
    for (int32_t i = 0; i < count; i++) {
        if (!read_part(&reader, &part, &size) || size == NO_VALUE)
            return tpb_malformed(d, "hstore");
        lua_pushlstring(d->L, (const char *)part, (size_t)size);
        if (!read_part(&reader, &part, &size))
            return tpb_malformed(d, "hstore");
        if (size == NO_VALUE)
            tpb_push_null(d->L);
        else
            lua_pushlstring(d->L, (const char *)part, (size_t)size);
        lua_rawset(d->L, -3);
    }
    return reader.left == 0 || tpb_malformed(d, "hstore");
}

/* Dimensions in 16 bits, 16 unused ones, then a float4 each. */
static bool push_vector(struct tpb_decoder *d, const unsigned char *bytes, size_t len)
{
    if (len < 4 || len != 4 + 4 * (size_t)tp__get16(bytes))
        return tpb_malformed(d, "vector");
    int count = tp__get16(bytes);
    lua_createtable(d->L, count, 0);
    for (int i = 1; i <= count; i++) {
        if (!push_float4(d, bytes + (size_t)i * 4))
            return false;
        lua_rawseti(d->L, -2, i);
    }
    return true;
}

/* ------------------------------------------------------------- dispatching */

/* A column whose type turned out to be another than was described, and has no binary form
 * that is understood: rare enough to be an error. */
static bool push_strange(struct tpb_decoder *d)
{
    tp__error_set(d->err, TP_ERR_DATABASE,
                  "column \"%.100s\" has changed its type since the statement was described; "
                  "the next call will find out",
                  d->column);
    tp__text_copy(d->err->column, sizeof d->err->column, d->column);
    return false;
}

bool tpb_push_binary(struct tpb_decoder *d, const struct tp_type *type, const unsigned char *bytes,
                     size_t len)
{
    switch (type->kind) {
    case TP_KIND_BOOL:
        lua_pushboolean(d->L, len == 1 && bytes[0] != 0);
        return true;
    case TP_KIND_INT:
        return push_integer(d, type, bytes, len);
    case TP_KIND_FLOAT:
        return push_float(d, bytes, len);
    case TP_KIND_NUMERIC:
        return push_numeric(d, type, bytes, len);
    case TP_KIND_BYTEA:
        lua_pushlstring(d->L, (const char *)bytes, len);
        return true;
    case TP_KIND_JSON:
        return push_json(d, bytes, len);
    case TP_KIND_ARRAY:
        return push_array(d, type, bytes, len);
    case TP_KIND_COMPOSITE:
        return push_composite(d, type, bytes, len);
    case TP_KIND_HSTORE:
        return push_hstore(d, bytes, len);
    case TP_KIND_VECTOR:
        return push_vector(d, bytes, len);
    case TP_KIND_TEXT:
    case TP_KIND_RANGE:
    case TP_KIND_MULTIRANGE:
        break;
    }
    if (!type->binary)
        return push_strange(d);
    if (type->codec == NULL && type->kind == TP_KIND_TEXT) {
        lua_pushlstring(d->L, (const char *)bytes, len);
        return true;
    }
    return push_formatted(d, type, bytes, len);
}
