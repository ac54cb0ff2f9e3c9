#include "json_decode.h"

#include <string.h>

#include "compat.h"
#include "error.h"
#include "int64.h"
#include "number.h"
#include "values.h"

/* New tables get room for as many entries as the last one of their kind had, up
 * to this: the rows of a list are alike. More would be wasted too often. */
#define ROOM_MAX 16

/* What lies on the Lua stack from `base` on, below the value: the buffer when it
 * belongs to Lua, and the metatable of arrays once there is one. */
enum { SLOT_BUFFER, SLOT_MARK, SLOTS };

/* An array or object that is not closed yet. It lies on the Lua stack, the
 * outermost first, each object followed by the name of the member being read. */
struct level {
    bool list;
    int count; /* entries so far */
};

/* Every loop over the text ends at its NUL, which is allowed nowhere in JSON. */
struct reader {
    lua_State *L;
    struct tp_error *err;
    const char *text;
    const char *at; /* the next byte */
    int base;
    int depth;
    bool int64_as_cdata;
    int list_room, object_room;
    char *buffer; /* a string's unescaped text, or a number with a NUL */
    size_t used, room;
    char small[256];
    struct level levels[TPB_JSON_DECODE_DEPTH]; /* [0, depth) are set */
};

static bool fail(struct reader *r, const char *at, const char *what)
{
    tp__error_set(r->err, TP_ERR_DATABASE, "malformed JSON at byte %zu: %s",
                  (size_t)(at - r->text) + 1, what);
    return false;
}

/* Returns the first byte that is no white space. */
static char skip_blanks(struct reader *r)
{
    const char *p = r->at;

    while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')
        ++p;
    r->at = p;
    return *p;
}

/* ------------------------------------------------------------------ buffer */

static void grow(struct reader *r, size_t extra)
{
    size_t room = 2 * r->room + extra;
    char *buffer = lua_newuserdata(r->L, room);

    memcpy(buffer, r->buffer, r->used);
    lua_replace(r->L, r->base + SLOT_BUFFER);
    r->buffer = buffer;
    r->room = room;
}

static void append(struct reader *r, const char *bytes, size_t len)
{
    if (len > r->room - r->used)
        grow(r, len);
    memcpy(r->buffer + r->used, bytes, len);
    r->used += len;
}

static void append_utf8(struct reader *r, unsigned code)
{
    char bytes[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0x00, 0xc0, 0xe0, 0xf0};

    for (size_t i = len - 1; i > 0; --i) {
        bytes[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    bytes[0] = (char)(lead[len] | code);
    append(r, bytes, len);
}

/* ----------------------------------------------------------------- strings */

/* Returns the end of what stands for itself in a string. */
static const char *skip_plain(const char *p)
{
    while ((unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
        ++p;
    return p;
}

static bool read_hex4(const char *p, unsigned *out)
{
    unsigned code = 0;

    for (int i = 0; i < 4; ++i) {
        char c = p[i];
        if (c >= '0' && c <= '9')
            code = code << 4 | (unsigned)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            code = code << 4 | (unsigned)((c & 0x0f) + 9);
        else
            return false;
    }
    *out = code;
    return true;
}

/* Appends the character of the \u escape at `p`, or of two that are a pair.
 * Returns what follows, or NULL. */
static const char *read_unicode(struct reader *r, const char *p)
{
    unsigned code, low;

    if (!read_hex4(p + 2, &code)) {
        fail(r, p, "\\u needs four hexadecimal digits");
        return NULL;
    }
    p += 6;
    if (code >= 0xd800 && code <= 0xdbff && p[0] == '\\' && p[1] == 'u' && read_hex4(p + 2, &low) &&
        low >= 0xdc00 && low <= 0xdfff) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    append_utf8(r, code >= 0xd800 && code <= 0xdfff ? 0xfffd : code);
    return p;
}

static const char *read_escape(struct reader *r, const char *p)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;

    if (p[1] == 'u')
        return read_unicode(r, p);
    found = strchr(from, p[1]);
    if (p[1] == '\0' || found == NULL) {
        fail(r, p, "no such escape");
        return NULL;
    }
    append(r, &to[found - from], 1);
    return p + 2;
}

/* The rest of a string, from its first backslash on. */
static bool read_escaped(struct reader *r, const char *from, const char *p)
{
    r->used = 0;
    while (*p == '\\') {
        append(r, from, (size_t)(p - from));
        from = read_escape(r, p);
        if (from == NULL)
            return false;
        p = skip_plain(from);
    }
    if (*p != '"')
        return fail(r, p, "a string without an end, or with a control character");
    append(r, from, (size_t)(p - from));
    lua_pushlstring(r->L, r->buffer, r->used);
    r->at = p + 1;
    return true;
}

static bool read_string(struct reader *r)
{
    const char *from = r->at + 1;
    const char *p = skip_plain(from);

    if (*p != '"')
        return read_escaped(r, from, p);
    lua_pushlstring(r->L, from, (size_t)(p - from));
    r->at = p + 1;
    return true;
}

/* ----------------------------------------------------------------- numbers */

/* Moves *p behind digits; false when there are none. */
static bool skip_digits(const char **p)
{
    const char *from = *p;

    while (**p >= '0' && **p <= '9')
        ++*p;
    return *p > from;
}

static bool push_float(struct reader *r, const char *from, const char *end)
{
    double value;

    r->used = 0;
    append(r, from, (size_t)(end - from));
    append(r, "", 1);
    if (!tpb_float_parse(r->buffer, r->used - 1, &value))
        return fail(r, from, "not a number");
    lua_pushnumber(r->L, (lua_Number)value);
    return true;
}

static bool read_number(struct reader *r)
{
    const char *p = r->at, *from = p;
    bool whole = true;
    int64_t value;

    if (*p == '-')
        ++p;
    if (*p == '0')
        ++p;
    else if (!skip_digits(&p))
        return fail(r, p, "a value is expected");
    if (*p == '.') {
        whole = false;
        ++p;
        if (!skip_digits(&p))
            return fail(r, p, "a digit is expected");
    }
    if (*p == 'e' || *p == 'E') {
        whole = false;
        p += p[1] == '+' || p[1] == '-' ? 2 : 1;
        if (!skip_digits(&p))
            return fail(r, p, "a digit is expected");
    }
    r->at = p;
    if (!whole || !tpb_integer_parse(from, (size_t)(p - from), &value))
        return push_float(r, from, p);
    tpb_push_int64(r->L, value, r->int64_as_cdata);
    return true;
}

/* ------------------------------------------------------------------ tables */

/* Marks the table at the top as tidepool.array does. */
static void mark_list(struct reader *r)
{
    int slot = r->base + SLOT_MARK;

    if (lua_isnil(r->L, slot)) {
        luaL_getmetatable(r->L, TPB_ARRAY);
        lua_replace(r->L, slot);
    }
    lua_pushvalue(r->L, slot);
    lua_setmetatable(r->L, -2);
}

/* Reads a member's name and the colon; the name is pushed. */
static bool read_name(struct reader *r)
{
    if (skip_blanks(r) != '"')
        return fail(r, r->at, "a name in quotes is expected");
    if (!read_string(r))
        return false;
    if (skip_blanks(r) != ':')
        return fail(r, r->at, "':' is expected");
    r->at++;
    return true;
}

/* Pushes the table that begins here. *whole says that it is empty and closed;
 * else its first entry's value comes next. */
static bool open_table(struct reader *r, bool *whole)
{
    bool list = *r->at == '[';

    if (r->depth == TPB_JSON_DECODE_DEPTH) {
        tp__error_set(r->err, TP_ERR_DATABASE,
                      "JSON is nested too deeply at byte %zu (at most %d levels)",
                      (size_t)(r->at - r->text) + 1, TPB_JSON_DECODE_DEPTH);
        return false;
    }
    luaL_checkstack(r->L, LUA_MINSTACK, "nested JSON");
    r->at++;
    *whole = skip_blanks(r) == (list ? ']' : '}');
    if (*whole)
        lua_newtable(r->L);
    else
        lua_createtable(r->L, list ? r->list_room : 0, list ? 0 : r->object_room);
    if (list)
        mark_list(r);
    if (*whole) {
        r->at++;
        return true;
    }
    r->levels[r->depth++] = (struct level){.list = list};
    return list || read_name(r);
}

/* Puts the value at the top into the table that it belongs to. */
static void store(struct reader *r)
{
    struct level *level = &r->levels[r->depth - 1];

    level->count++;
    if (level->list)
        lua_rawseti(r->L, -2, level->count);
    else
        lua_rawset(r->L, -3);
}

/* What follows an entry: the next one, or the end, which makes the table *whole. */
static bool go_on(struct reader *r, bool *whole)
{
    struct level *level = &r->levels[r->depth - 1];
    char c = skip_blanks(r);

    *whole = c == (level->list ? ']' : '}');
    if (!*whole && c != ',')
        return fail(r, r->at, level->list ? "',' or ']' is expected" : "',' or '}' is expected");
    r->at++;
    if (!*whole)
        return level->list || read_name(r);
    *(level->list ? &r->list_room : &r->object_room) =
        level->count < ROOM_MAX ? level->count : ROOM_MAX;
    r->depth--;
    return true;
}

/* ------------------------------------------------------------------ values */

static bool read_word(struct reader *r)
{
    if (strncmp(r->at, "null", 4) == 0)
        tpb_push_null(r->L);
    else if (strncmp(r->at, "true", 4) == 0)
        lua_pushboolean(r->L, 1);
    else if (strncmp(r->at, "false", 5) == 0)
        lua_pushboolean(r->L, 0);
    else
        return fail(r, r->at, "a value is expected");
    r->at += *r->at == 'f' ? 5 : 4;
    return true;
}

static bool read_value(struct reader *r, bool *whole)
{
    char c = skip_blanks(r);

    *whole = true;
    if (c == '"')
        return read_string(r);
    if (c == '{' || c == '[')
        return open_table(r, whole);
    if (c == 'n' || c == 't' || c == 'f')
        return read_word(r);
    return read_number(r);
}

static bool read_document(struct reader *r)
{
    bool whole;

    do {
        if (!read_value(r, &whole))
            return false;
        while (whole && r->depth > 0) {
            store(r);
            if (!go_on(r, &whole))
                return false;
        }
    } while (!whole);
    return true;
}

bool tpb_json_decode(lua_State *L, const char *text, size_t len, bool int64_as_cdata,
                     struct tp_error *err)
{
    struct reader r; /* not initialised as a whole: it has 4 kB of levels */
    bool good;

    r.L = L;
    r.err = err;
    r.text = r.at = text;
    r.base = lua_gettop(L) + 1;
    r.depth = 0;
    r.int64_as_cdata = int64_as_cdata;
    r.list_room = r.object_room = 4;
    r.buffer = r.small;
    r.used = 0;
    r.room = sizeof r.small;
    luaL_checkstack(L, SLOTS + LUA_MINSTACK, "decoding JSON");
    lua_settop(L, r.base + SLOTS - 1);
    good = read_document(&r);
    if (good && (skip_blanks(&r), r.at != text + len))
        good = fail(&r, r.at, "text behind the value");
    if (good)
        lua_replace(L, r.base);
    lua_settop(L, good ? r.base : r.base - 1);
    return good;
}
