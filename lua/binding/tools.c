#include "tools.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "error.h"
#include "errors.h"
#include "json.h"
#include "json_decode.h"

#define TPB_TEXT "tidepool.text"

enum { DIGEST = 32 }; /* of SHA-256 */

/* A text in the making, which the collector frees when an error of Lua's cuts it short. */
static int text_gc(lua_State *L)
{
    tp__buf_free(luaL_checkudata(L, 1, TPB_TEXT));
    return 0;
}

static struct tp_buf *new_text(lua_State *L)
{
    struct tp_buf *text = lua_newuserdatauv(L, sizeof *text, 0);
    memset(text, 0, sizeof *text);
    luaL_setmetatable(L, TPB_TEXT);
    return text;
}

/* core.json_encode(value): the value as JSON, or nil and an error. */
static int json_encode(lua_State *L)
{
    struct tp_error err;
    luaL_checkany(L, 1);
    struct tp_buf *text = new_text(L);
    if (!tpb_json_encode(L, 1, text, &err))
        return tpb_fail(L, &err);
    lua_pushlstring(L, text->data, text->len);
    tp__buf_free(text);
    return 1;
}

/* core.json_decode(text): the value of a JSON text, or nil and an error. */
static int json_decode(lua_State *L)
{
    struct tp_error err;
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    if (!tpb_json_decode(L, text, len, false, &err))
        return tpb_fail(L, &err);
    return 1;
}

static void digest(lua_State *L, int index, unsigned char out[DIGEST])
{
    size_t len;
    const char *text = luaL_checklstring(L, index, &len);
    if (EVP_Digest(text, len, out, NULL, EVP_sha256(), NULL) != 1)
        luaL_error(L, "OpenSSL has no SHA-256");
}

/* core.same_secret(a, b): whether two texts are the same. How long it takes says nothing about
 * where they differ, nor, since digests are compared, about the length of the one that is not
 * known. */
static int same_secret(lua_State *L)
{
    unsigned char a[DIGEST], b[DIGEST];
    digest(L, 1, a);
    digest(L, 2, b);
    lua_pushboolean(L, CRYPTO_memcmp(a, b, DIGEST) == 0);
    return 1;
}

/* core.sha256(text): the digest in base64, as Content-Security-Policy has it. */
static int sha256(lua_State *L)
{
    unsigned char bytes[DIGEST], text[4 * ((DIGEST + 2) / 3) + 1];
    digest(L, 1, bytes);
    lua_pushlstring(L, (const char *)text, (size_t)EVP_EncodeBlock(text, bytes, DIGEST));
    return 1;
}

/* core.time(): seconds since 1970, with their fraction. */
static int wall_time(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)tp__wall_us() / 1e6);
    return 1;
}

/* core.exec(words, environment): the program words[1] takes the place of this one, with
 * `environment` added to its own. Comes back only when it cannot: nil and why. */
static int exec_program(lua_State *L)
{
    enum { WORDS_AT_MOST = 15 };
    char *words[WORDS_AT_MOST + 1] = {NULL};
    size_t count = lua_rawlen(L, 1);
    luaL_argcheck(L, count <= WORDS_AT_MOST, 1, "too many words");
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checkstack(L, WORDS_AT_MOST + 3, NULL);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        words[i] = (char *)(uintptr_t)luaL_checkstring(L, -1);
    }
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING, 2, "names expected");
        setenv(lua_tostring(L, -2), luaL_checkstring(L, -1), 1);
    }
    if (words[0] == NULL)
        return luaL_argerror(L, 1, "a program expected");
    execvp(words[0], words);
    lua_pushnil(L);
    lua_pushstring(L, strerror(errno));
    return 2;
}

void tpb_tools_open(lua_State *L, int index)
{
    static const luaL_Reg functions[] = {
        {"json_encode", json_encode},
        {"json_decode", json_decode},
        {"same_secret", same_secret},
        {"sha256", sha256},
        {"time", wall_time},
        {"exec", exec_program},
        {NULL, NULL},
    };
    for (const luaL_Reg *function = functions; function->name != NULL; function++) {
        lua_pushcfunction(L, function->func);
        lua_setfield(L, index, function->name);
    }
    luaL_newmetatable(L, TPB_TEXT);
    lua_pushcfunction(L, text_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
