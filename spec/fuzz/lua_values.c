#include "lua_values.h"

#include <stdlib.h>
#include <string.h>

#include "catalog.h"
#include "decode.h"
#include "encode.h"
#include "values.h"

enum { TYPES_AT_MOST = 256 };

/* What a catalog says of the types that are not built in; see tp__catalog_ask. */
static const char *const looked_up[][TP_CATALOG_COLUMNS] = {
    {"90001", "mood", "public", "e", "0", ",", NULL, NULL},
    {"90002", "positive", "public", "d", "23", ",", NULL, NULL},
    {"90003", "pair", "public", "c", "0", ",", "id\x01name\x01tags", "23,25,1009"},
    {"90004", "_pair", "public", "a", "90003", ",", NULL, NULL},
    {"90005", "nest", "public", "c", "0", ",", "one\x01many\x01at", "90003,90004,1114"},
    {"90006", "hstore", "public", "b", "0", ",", NULL, NULL},
    {"90007", "vector", "public", "b", "0", ",", NULL, NULL},
    {"90008", "_vector", "public", "a", "90007", ",", NULL, NULL},
    {"90009", "_hstore", "public", "a", "90006", ",", NULL, NULL},
    {"90010", "span", "public", "r", "1700", ",", NULL, NULL},
    {"90011", "spans", "public", "m", "90010", ",", NULL, NULL},
    {"90012", "_spans", "public", "a", "90011", ",", NULL, NULL},
    {"90013", "_positive", "public", "a", "90002", ",", NULL, NULL},
};
enum { LOOKED_UP = sizeof looked_up / sizeof looked_up[0] };

static const struct tp_type *types[TYPES_AT_MOST];
static int type_count;

static void find_types(void)
{
    static struct tp_catalog catalog;
    const struct tp_type *type;
    tp__catalog_init(&catalog);
    struct tp_catalog_answer *answer = tp__catalog_answer_new();
    for (size_t i = 0; i < LOOKED_UP; i++)
        fuzz_check(tp__catalog_answer_add(answer, looked_up[i]));
    fuzz_check(tp__catalog_learn(&catalog, answer, NULL, 0));
    for (size_t i = 0; i < LOOKED_UP; i++) {
        type = tp__catalog_find(&catalog, (uint32_t)strtoul(looked_up[i][0], NULL, 10));
        fuzz_check(type != NULL && type->name[0] != '\0');
        types[type_count++] = type;
    }
    for (size_t i = 0; (type = tp__type_builtin_at(i)) != NULL && type_count < TYPES_AT_MOST; i++)
        types[type_count++] = type;
}

const struct tp_type *fuzz_type(struct fuzz_input *in)
{
    if (type_count == 0)
        find_types();
    return types[fuzz_byte(in) % type_count];
}

bool fuzz_holds_json(const struct tp_type *type)
{
    bool holds = type->kind == TP_KIND_JSON;
    for (int i = 0; i < type->nfields; i++)
        holds = holds || fuzz_holds_json(type->fields[i].type);
    return holds || (type->kind == TP_KIND_ARRAY && fuzz_holds_json(type->element));
}

struct call {
    fuzz_body *body;
    struct fuzz_input *in;
    const void *ctx;
};

static int call_body(lua_State *L)
{
    const struct call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    call->body(L, call->in, call->ctx);
    return 0;
}

/* A new state each time: executions do not depend on each other, and libFuzzer, which looks
 * for leaks when there was more malloc than free, need not look. */
void fuzz_in_lua(fuzz_body *body, struct fuzz_input *in, const void *ctx)
{
    struct call call = {body, in, ctx};
    lua_State *L = luaL_newstate();
    fuzz_check(L != NULL);
    lua_newtable(L);
    tpb_register_values(L, 1);
    lua_settop(L, 0);
    lua_pushcfunction(L, call_body);
    lua_pushlightuserdata(L, &call);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        const char *why = lua_tostring(L, -1);
        fuzz_check(why != NULL &&
                   (strstr(why, "stack overflow") != NULL || strstr(why, "memory") != NULL));
    }
    lua_close(L);
}

/* One that nobody connects with. */
static tp_pool *any_pool(void)
{
    static tp_pool *pool;
    struct tp_error err;
    if (pool == NULL) {
        tp_config *config = tp_config_new();
        fuzz_check(config != NULL && tp_config_set(config, "host", "/nonexistent", &err) == TP_OK);
        fuzz_check(tp_config_resolve(config, fuzz_no_variable, NULL, &err) == TP_OK);
        fuzz_check(tp_pool_open(&pool, config, &err) == TP_OK);
    }
    return pool;
}

bool fuzz_decode(lua_State *L, const struct tp_type *type, bool binary, int flags,
                 const void *bytes, size_t len, struct tp_error *err)
{
    static struct tp_buf scratch;
    struct tpb_decode how = {.null_sentinel = flags & 1,
                             .numeric_as_number = (flags & 2) != 0,
                             .int64_as_cdata = (flags & 4) != 0};
    struct tpb_decoder decoder = {
        .L = L, .how = &how, .err = err, .scratch = &scratch, .column = "c", .pool = any_pool()};
    int top = lua_gettop(L);
    bool good = tpb_push_value(&decoder, type, binary, bytes, len);
    fuzz_check(!good || lua_gettop(L) == top + 1);
    if (!good)
        lua_settop(L, top);
    return good;
}

bool fuzz_encode(lua_State *L, const struct tp_type *type, bool binary)
{
    static struct tp_buf out;
    struct tp_error err = {.kind = TP_OK};
    int top = lua_gettop(L);
    tp__buf_clear(&out);
    bool good = binary ? tpb_encode_binary(L, top, type, 0, &out, &err)
                       : tpb_encode_text(L, top, type, 0, &out, &err);
    lua_settop(L, top);
    if (good)
        lua_pushlstring(L, out.data, out.len);
    else
        fuzz_check_error(&err, false);
    return good;
}

/* ---------------------------------------------------------------- comparing */

/* A NaN is one like any other; 5 and 5.0 are the same, as they are in JSON. */
static bool same_number(lua_State *L, int a, int b)
{
    lua_Number x = lua_tonumber(L, a), y = lua_tonumber(L, b);
    return lua_rawequal(L, a, b) || (x != x && y != y);
}

static bool has_all_of(lua_State *L, int a, int b)
{
    lua_pushnil(L);
    while (lua_next(L, a) != 0) {
        lua_pushvalue(L, -2);
        lua_rawget(L, b);
        if (!fuzz_equal(L, lua_gettop(L) - 1, lua_gettop(L)))
            return false;
        lua_pop(L, 2);
    }
    return true;
}

bool fuzz_equal(lua_State *L, int a, int b)
{
    int top = lua_gettop(L);
    if (lua_type(L, a) != lua_type(L, b))
        return false;
    if (lua_type(L, a) == LUA_TNUMBER)
        return same_number(L, a, b);
    if (lua_type(L, a) != LUA_TTABLE)
        return lua_rawequal(L, a, b);
    luaL_checkstack(L, LUA_MINSTACK, "comparing");
    bool same = has_all_of(L, a, b) && has_all_of(L, b, a);
    lua_settop(L, top);
    return same;
}
