#include "int64.h"

#if LUA_VERSION_NUM < 503

#include "number.h"

/* LuaJIT's type for values of its FFI, which lua.h has no name for. */
enum { TYPE_CDATA = 10 };

/* Only what Lua code can do with the FFI is documented, so that is done in Lua. */
static const char functions[] =
    "local ffi = require 'ffi'\n"
    "local int64, uint64 = ffi.typeof 'int64_t', ffi.typeof 'uint64_t'\n"
    "local function make(high, low)\n"
    "    return int64(high) * 4294967296 + int64(low)\n"
    "end\n"
    "local function digits(value)\n"
    "    if ffi.istype(int64, value) or ffi.istype(uint64, value) then\n"
    "        return (tostring(value):gsub('U?LL$', ''))\n"
    "    end\n"
    "end\n"
    "return { make = make, digits = digits }";

static const char key = 'f'; /* its address is the functions' key in the registry */

/* Pushes the table of the functions; false, and nothing pushed, where there is no FFI. */
static bool push_functions(lua_State *L)
{
    luaL_checkstack(L, 6, "an integer of 64 bits");
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key) == LUA_TTABLE)
        return true;
    lua_pop(L, 1);
    if (luaL_loadstring(L, functions) != LUA_OK || lua_pcall(L, 0, 1, 0) != LUA_OK) {
        lua_pop(L, 1);
        return false;
    }
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
    return true;
}

bool tpb_has_cdata(lua_State *L)
{
    if (!push_functions(L))
        return false;
    lua_pop(L, 1);
    return true;
}

void tpb_push_int64(lua_State *L, int64_t value, bool cdata)
{
    const int64_t exact = INT64_C(1) << 53;
    char text[24];

    if (value >= -exact && value <= exact) {
        lua_pushnumber(L, (lua_Number)value);
    } else if (cdata && push_functions(L)) {
        lua_getfield(L, -1, "make");
        lua_remove(L, -2);
        lua_pushnumber(L, (lua_Number)(value >> 32));
        lua_pushnumber(L, (lua_Number)(uint32_t)value);
        lua_call(L, 2, 1);
    } else {
        lua_pushlstring(L, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)value));
    }
}

bool tpb_read_int64(lua_State *L, int index, struct tpb_int64 *out)
{
    size_t len = 0;

    if (lua_type(L, index) != TYPE_CDATA)
        return false;
    index = lua_absindex(L, index);
    if (!push_functions(L))
        return false;
    lua_getfield(L, -1, "digits");
    lua_pushvalue(L, index);
    lua_call(L, 1, 1);
    const char *digits = lua_tolstring(L, -1, &len);
    if (digits != NULL) {
        snprintf(out->digits, sizeof out->digits, "%s", digits);
        out->fits = tpb_integer_parse(digits, len, &out->value);
    }
    lua_pop(L, 2);
    return digits != NULL;
}

#endif
