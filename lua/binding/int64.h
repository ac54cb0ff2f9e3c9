/* Integers of 64 bits in Lua, exact everywhere.
 *
 *   Lua 5.3 and later   integers
 *   Lua 5.1, 5.2        numbers up to 2^53 in absolute value, past it strings of digits
 *   LuaJIT              the same; past it int64_t of the FFI where the program asks for that.
 *                       As a parameter it may give an int64_t or uint64_t of the FFI.
 *
 * Owns: two Lua functions in the registry, once they are used. Errors: none but what Lua's
 * allocator raises. Thread: the lua_State's. */
#ifndef TPB_INT64_H
#define TPB_INT64_H

#include <stdbool.h>

#include "compat.h"

/* An int64_t or uint64_t of the FFI, by its digits. */
struct tpb_int64 {
    char digits[24];
    bool fits;     /* in 64 bits with a sign */
    int64_t value; /* then */
};

#if LUA_VERSION_NUM >= 503

static inline void tpb_push_int64(lua_State *L, int64_t value, bool cdata)
{
    (void)cdata;
    lua_pushinteger(L, (lua_Integer)value);
}

static inline bool tpb_has_cdata(lua_State *L)
{
    (void)L;
    return false;
}

static inline bool tpb_read_int64(lua_State *L, int index, struct tpb_int64 *out)
{
    (void)L, (void)index, (void)out;
    return false;
}

#else

/* Pushes the value; one past 2^53 as an int64_t of the FFI when `cdata` is true. */
void tpb_push_int64(lua_State *L, int64_t value, bool cdata);
/* Whether there is an FFI. */
bool tpb_has_cdata(lua_State *L);
/* Whether the value is an int64_t or uint64_t of the FFI. */
bool tpb_read_int64(lua_State *L, int index, struct tpb_int64 *out);

#endif

#endif
