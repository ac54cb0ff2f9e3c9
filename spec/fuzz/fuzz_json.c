/* JSON to Lua and back: what was read is written, and read again as the same. */
#include <string.h>

#include "json.h"
#include "json_decode.h"
#include "lua_values.h"

static void run(lua_State *L, struct fuzz_input *in, const void *ctx)
{
    static struct tp_buf out;
    struct tp_error err = {.kind = TP_OK};
    size_t len = in->left;
    (void)ctx;
    char *text = lua_newuserdatauv(L, len + 1, 0);
    if (len > 0)
        memcpy(text, in->at, len);
    text[len] = '\0';
    if (!tpb_json_decode(L, text, len, false, &err)) {
        fuzz_check(lua_gettop(L) == 1);
        fuzz_check_error(&err, false);
        return;
    }
    fuzz_check(lua_gettop(L) == 2);
    tp__buf_clear(&out);
    if (!tpb_json_encode(L, 2, &out, &err)) {
        fuzz_check_error(&err, false); /* too deep, or no UTF-8 */
        return;
    }
    const char *again = tp__buf_cstr(&out);
    fuzz_check(tpb_json_decode(L, again, out.len, false, &err));
    fuzz_check(fuzz_equal(L, 2, 3));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    fuzz_in_lua(run, &in, NULL);
    return 0;
}
