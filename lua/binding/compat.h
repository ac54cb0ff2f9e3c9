/* Lua's headers for every file of the binding, and the C API of Lua 5.4 for the older ones.
 *
 * The binding is written against Lua 5.4. Here are, for Lua 5.1, 5.2, 5.3 and LuaJIT, the
 * functions that it uses and they lack, or have with another signature or return value:
 *
 *   lua_getfield, lua_rawgeti ...  return the type of what they push
 *   user values                    several, kept in one table: of a userdata's environment
 *                                  (5.1, LuaJIT) or of its one user value (5.2, 5.3)
 *   lua_Integer                    has 64 bits; where all numbers are doubles, a number is an
 *                                  integer when it is integral, in range and not -0.0
 *
 * What a module built for Lua 5.1 needs is there in LuaJIT, too, so that it may be loaded
 * there as well. Continuations (lua_callk and so on) are not emulated.
 * Owns: nothing. Errors: as the functions of 5.4. Thread: the lua_State's. */
#ifndef TPB_COMPAT_H
#define TPB_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifndef LUA_OK
#define LUA_OK 0
#endif

/* ------------------------------------------------------------ 5.1 and LuaJIT */

#if LUA_VERSION_NUM < 502

static inline int tpb_absindex(lua_State *L, int index)
{
    return index > 0 || index <= LUA_REGISTRYINDEX ? index : lua_gettop(L) + 1 + index;
}
#define lua_absindex tpb_absindex

#undef lua_rawlen
#define lua_rawlen lua_objlen

static inline void tpb_copy_value(lua_State *L, int from, int to)
{
    to = lua_absindex(L, to);
    lua_pushvalue(L, from);
    lua_replace(L, to);
}
#undef lua_copy
#define lua_copy tpb_copy_value

static inline void tpb_rawsetp(lua_State *L, int index, const void *key)
{
    index = lua_absindex(L, index);
    lua_pushlightuserdata(L, (void *)(uintptr_t)key);
    lua_insert(L, -2);
    lua_rawset(L, index);
}
#define lua_rawsetp tpb_rawsetp

static inline void tpb_setfuncs(lua_State *L, const luaL_Reg *functions, int upvalues)
{
    luaL_checkstack(L, upvalues + 1, "too many upvalues");
    for (; functions->name != NULL; functions++) {
        for (int i = 0; i < upvalues; i++)
            lua_pushvalue(L, -upvalues);
        lua_pushcclosure(L, functions->func, upvalues);
        lua_setfield(L, -(upvalues + 2), functions->name);
    }
    lua_pop(L, upvalues);
}
#undef luaL_setfuncs
#define luaL_setfuncs tpb_setfuncs
#undef luaL_newlib
#define luaL_newlib(L, functions)                                                  \
    (lua_createtable(L, 0, (int)(sizeof(functions) / sizeof((functions)[0])) - 1), \
     luaL_setfuncs(L, functions, 0))

static inline void tpb_setmetatable(lua_State *L, const char *name)
{
    luaL_getmetatable(L, name);
    lua_setmetatable(L, -2);
}
#undef luaL_setmetatable
#define luaL_setmetatable tpb_setmetatable

static inline void *tpb_testudata(lua_State *L, int index, const char *name)
{
    void *data = lua_touserdata(L, index);
    if (data == NULL || !lua_getmetatable(L, index))
        return NULL;
    luaL_getmetatable(L, name);
    if (!lua_rawequal(L, -1, -2))
        data = NULL;
    lua_pop(L, 2);
    return data;
}
#undef luaL_testudata
#define luaL_testudata tpb_testudata

static inline const char *tpb_tolstring(lua_State *L, int index, size_t *len)
{
    index = lua_absindex(L, index);
    if (luaL_callmeta(L, index, "__tostring")) {
        if (!lua_isstring(L, -1))
            luaL_error(L, "'__tostring' must return a string");
    } else if (lua_type(L, index) == LUA_TNUMBER || lua_type(L, index) == LUA_TSTRING) {
        lua_pushvalue(L, index);
    } else if (lua_isboolean(L, index)) {
        lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
    } else if (lua_isnil(L, index)) {
        lua_pushliteral(L, "nil");
    } else {
        lua_pushfstring(L, "%s: %p", luaL_typename(L, index), lua_topointer(L, index));
    }
    return lua_tolstring(L, -1, len);
}
#undef luaL_tolstring
#define luaL_tolstring tpb_tolstring

/* A buffer of 5.1 has its bytes in itself; more of them lie in a userdata. Nothing may be
 * added between the two calls. */
static inline char *tpb_buffinitsize(lua_State *L, luaL_Buffer *buffer, size_t size)
{
    luaL_buffinit(L, buffer);
    if (size > LUAL_BUFFERSIZE)
        buffer->p = lua_newuserdata(L, size);
    return buffer->p;
}
#undef luaL_buffinitsize
#define luaL_buffinitsize tpb_buffinitsize

static inline void tpb_pushresultsize(luaL_Buffer *buffer, size_t size)
{
    lua_pushlstring(buffer->L, buffer->p, size);
    if (buffer->p != buffer->buffer)
        lua_remove(buffer->L, -2);
}
#undef luaL_pushresultsize
#define luaL_pushresultsize tpb_pushresultsize

/* A file is a FILE *, which is NULL once it was closed. */
typedef struct luaL_Stream {
    union {
        FILE *f;
        void *closef;
    };
} luaL_Stream;

static inline int64_t tpb_len(lua_State *L, int index)
{
    if (!luaL_callmeta(L, index, "__len"))
        return (int64_t)lua_objlen(L, index);
    int64_t length = (int64_t)lua_tonumber(L, -1);
    lua_pop(L, 1);
    return length;
}
#undef luaL_len
#define luaL_len tpb_len

#endif

/* --------------------------------------- 5.1, LuaJIT and 5.2: numbers are doubles */

#if LUA_VERSION_NUM < 503

#undef lua_Integer
#define lua_Integer int64_t
#undef lua_pushinteger
#define lua_pushinteger(L, value) lua_pushnumber(L, (lua_Number)(value))

static inline int64_t tpb_tointegerx(lua_State *L, int index, int *integral)
{
    double value = lua_tonumber(L, index);
    int good = (value != 0 || lua_isnumber(L, index)) && value >= -0x1p63 && value < 0x1p63 &&
               floor(value) == value;
    if (integral != NULL)
        *integral = good;
    return good ? (int64_t)value : 0;
}
#undef lua_tointegerx
#define lua_tointegerx tpb_tointegerx
#undef lua_tointeger
#define lua_tointeger(L, index) tpb_tointegerx(L, index, NULL)

static inline int tpb_isinteger(lua_State *L, int index)
{
    int integral;
    if (lua_type(L, index) != LUA_TNUMBER)
        return 0;
    double value = lua_tonumber(L, index);
    return tpb_tointegerx(L, index, &integral) != 0 || (integral && !signbit(value));
}
#define lua_isinteger tpb_isinteger

/* What pushes a value returns its type. */

static inline int tpb_getfield(lua_State *L, int index, const char *name)
{
    (lua_getfield)(L, index, name);
    return lua_type(L, -1);
}
#define lua_getfield tpb_getfield

static inline int tpb_gettable(lua_State *L, int index)
{
    (lua_gettable)(L, index);
    return lua_type(L, -1);
}
#define lua_gettable tpb_gettable

static inline int tpb_rawget(lua_State *L, int index)
{
    (lua_rawget)(L, index);
    return lua_type(L, -1);
}
#define lua_rawget tpb_rawget

static inline int tpb_getglobal(lua_State *L, const char *name)
{
    lua_getglobal(L, name);
    return lua_type(L, -1);
}
#undef lua_getglobal
#define lua_getglobal tpb_getglobal

static inline int tpb_rawgetp(lua_State *L, int index, const void *key)
{
    index = lua_absindex(L, index);
    lua_pushlightuserdata(L, (void *)(uintptr_t)key);
    (lua_rawget)(L, index);
    return lua_type(L, -1);
}
#undef lua_rawgetp
#define lua_rawgetp tpb_rawgetp

/* Their own functions take an int as the index. */
static inline int tpb_rawgeti(lua_State *L, int index, int64_t n)
{
    if (n >= INT32_MIN && n <= INT32_MAX) {
        (lua_rawgeti)(L, index, (int)n);
    } else {
        index = lua_absindex(L, index);
        lua_pushinteger(L, n);
        (lua_rawget)(L, index);
    }
    return lua_type(L, -1);
}
#define lua_rawgeti tpb_rawgeti

static inline void tpb_rawseti(lua_State *L, int index, int64_t n)
{
    if (n >= INT32_MIN && n <= INT32_MAX) {
        (lua_rawseti)(L, index, (int)n);
        return;
    }
    index = lua_absindex(L, index);
    lua_pushinteger(L, n);
    lua_insert(L, -2);
    lua_rawset(L, index);
}
#define lua_rawseti tpb_rawseti

static inline int tpb_geti(lua_State *L, int index, int64_t n)
{
    index = lua_absindex(L, index);
    lua_pushinteger(L, n);
    return lua_gettable(L, index);
}
#define lua_geti tpb_geti

static inline void tpb_seti(lua_State *L, int index, int64_t n)
{
    index = lua_absindex(L, index);
    lua_pushinteger(L, n);
    lua_insert(L, -2);
    lua_settable(L, index);
}
#define lua_seti tpb_seti

#endif

/* ------------------------------------------------------------- all before 5.4 */

#if LUA_VERSION_NUM < 504

#if LUA_VERSION_NUM < 502
#define TPB_GETVALUES(L, index) lua_getfenv(L, index)
#define TPB_SETVALUES(L, index) lua_setfenv(L, index)
#else
#define TPB_GETVALUES(L, index) lua_getuservalue(L, index)
#define TPB_SETVALUES(L, index) lua_setuservalue(L, index)
#endif

static inline void *tpb_newuserdatauv(lua_State *L, size_t size, int values)
{
    void *data = lua_newuserdata(L, size);
    if (values > 0) {
        lua_createtable(L, values, 0);
        TPB_SETVALUES(L, -2);
    }
    return data;
}
#define lua_newuserdatauv tpb_newuserdatauv

static inline int tpb_getiuservalue(lua_State *L, int index, int n)
{
    TPB_GETVALUES(L, index);
    lua_rawgeti(L, -1, n);
    lua_remove(L, -2);
    return lua_type(L, -1);
}
#define lua_getiuservalue tpb_getiuservalue

static inline int tpb_setiuservalue(lua_State *L, int index, int n)
{
    TPB_GETVALUES(L, index);
    lua_insert(L, -2);
    lua_rawseti(L, -2, n);
    lua_pop(L, 1);
    return 1;
}
#define lua_setiuservalue tpb_setiuservalue

/* In 5.4 lua_gc takes as many arguments as the work needs, here always three. Lua 5.1 cannot
 * tell whether its collector runs: then it is taken to be stopped, and left alone. */
#ifndef LUA_GCISRUNNING
#define LUA_GCISRUNNING 9
#define TPB_GC(L, what, data, ...) ((what) == LUA_GCISRUNNING ? 0 : (lua_gc)(L, what, data))
#else
#define TPB_GC(L, what, data, ...) (lua_gc)(L, what, data)
#endif
#define lua_gc(...) TPB_GC(__VA_ARGS__, 0, 0)

#endif

#endif
