/* Lua values of any shape to every type. What has a binary form is understood when it comes
 * back in that form, and is then sent as the same.
 *
 * Input: the type, flags, and a program that builds the value: see build. */
#include <string.h>

#include "lua_values.h"
#include "values.h"

enum { DEPTH_AT_MOST = 40, SEND_BINARY = 16 };

static uint64_t number(struct fuzz_input *in, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | fuzz_byte(in);
    return value;
}

static void push_string(lua_State *L, struct fuzz_input *in)
{
    size_t len = fuzz_byte(in);
    len = len < in->left ? len : in->left;
    lua_pushlstring(L, (const char *)in->at, len);
    in->at += len;
    in->left -= len;
}

static void push_float(lua_State *L, struct fuzz_input *in)
{
    uint64_t bits = number(in, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    lua_pushnumber(L, value);
}

static int nothing(lua_State *L)
{
    (void)L;
    return 0;
}

static void build(lua_State *L, struct fuzz_input *in, int depth);

/* Entries until a byte is 0: in turn at the next index, or by a key of any kind. */
static void push_table(lua_State *L, struct fuzz_input *in, int depth)
{
    lua_newtable(L);
    for (uint8_t how = fuzz_byte(in); how != 0 && depth < DEPTH_AT_MOST; how = fuzz_byte(in)) {
        if (how & 1)
            lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1) + 1);
        else if (how & 2)
            push_string(L, in);
        else
            build(L, in, depth + 1);
        bool can_be_key = !lua_isnil(L, -1) && (lua_type(L, -1) != LUA_TNUMBER ||
                                                lua_tonumber(L, -1) == lua_tonumber(L, -1));
        build(L, in, depth + 1);
        if (can_be_key)
            lua_rawset(L, -3);
        else
            lua_pop(L, 2);
    }
}

/* Pushes the mark's value: what tidepool.json and tidepool.array make of another. */
static void push_marked(lua_State *L, struct fuzz_input *in, int depth, bool json)
{
    lua_newtable(L);
    tpb_register_values(L, lua_gettop(L));
    lua_getfield(L, -1, json ? "json" : "array");
    if (json)
        build(L, in, depth + 1);
    else
        push_table(L, in, depth + 1);
    if (lua_isnil(L, -1))
        lua_pop(L, 1), lua_newtable(L);
    lua_call(L, 1, 1);
    lua_remove(L, -2);
}

static void build(lua_State *L, struct fuzz_input *in, int depth)
{
    luaL_checkstack(L, LUA_MINSTACK, "building a value");
    switch (depth < DEPTH_AT_MOST ? fuzz_byte(in) % 12 : 0) {
    case 1:
        lua_pushboolean(L, fuzz_byte(in) & 1);
        return;
    case 2:
        lua_pushinteger(L, (int8_t)fuzz_byte(in));
        return;
    case 3:
        lua_pushinteger(L, (lua_Integer)number(in, 8));
        return;
    case 4:
        push_float(L, in);
        return;
    case 5:
    case 6:
        push_string(L, in);
        return;
    case 7:
    case 8:
        push_table(L, in, depth);
        return;
    case 9:
    case 10:
        push_marked(L, in, depth, fuzz_byte(in) & 1);
        return;
    case 11:
        lua_pushcfunction(L, nothing);
        return;
    default:
        tpb_push_null(L);
    }
}

static void run(lua_State *L, struct fuzz_input *in, const void *ctx)
{
    struct tp_error err = {.kind = TP_OK};
    const struct tp_type *type = fuzz_type(in);
    int flags = fuzz_byte(in);
    bool binary = (flags & SEND_BINARY) != 0;
    size_t len;
    (void)ctx;
    build(L, in, 0);
    if (tpb_is_null(L, -1) || !fuzz_encode(L, type, binary))
        return;
    const char *bytes = lua_tolstring(L, -1, &len);
    bool good = fuzz_decode(L, type, binary, flags, bytes, len, &err);
    if (fuzz_holds_json(type))
        return;
    /* Strings go as text as they are: then it is the server that refuses them. */
    fuzz_check(good || !binary);
    if (good && fuzz_encode(L, type, binary)) {
        bytes = lua_tolstring(L, -1, &len);
        fuzz_check(fuzz_decode(L, type, binary, flags, bytes, len, &err));
        fuzz_check(fuzz_equal(L, lua_gettop(L) - 2, lua_gettop(L)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    fuzz_in_lua(run, &in, NULL);
    return 0;
}
