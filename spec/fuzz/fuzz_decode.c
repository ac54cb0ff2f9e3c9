/* Values to Lua, of every type, from their text and binary forms. Where they can be sent
 * again they come back, and from then on as they were: the first time a form that no server
 * writes may have become the usual one.
 *
 * Input: the type, flags, and the value's bytes. */
#include <string.h>

#include "lua_values.h"

enum { BINARY = 8, SEND_BINARY = 16 };

/* Sends the value at the top, and pushes what comes back; false when it cannot be sent. */
static bool there_and_back(lua_State *L, const struct tp_type *type, int flags)
{
    struct tp_error err = {.kind = TP_OK};
    bool binary = (flags & SEND_BINARY) != 0;
    size_t len;
    if (!fuzz_encode(L, type, binary))
        return false;
    const char *bytes = lua_tolstring(L, -1, &len);
    fuzz_check(fuzz_decode(L, type, binary, flags, bytes, len, &err));
    lua_remove(L, -2);
    return true;
}

static void run(lua_State *L, struct fuzz_input *in, const void *ctx)
{
    struct tp_error err = {.kind = TP_OK};
    const struct tp_type *type = fuzz_type(in);
    int flags = fuzz_byte(in);
    (void)ctx;
    if (!fuzz_decode(L, type, (flags & BINARY) != 0, flags, in->at, in->left, &err)) {
        fuzz_check_error(&err, false);
        return;
    }
    if (fuzz_holds_json(type) || !there_and_back(L, type, flags))
        return;
    fuzz_check(there_and_back(L, type, flags));
    fuzz_check(fuzz_equal(L, 2, 3));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    fuzz_in_lua(run, &in, NULL);
    return 0;
}
