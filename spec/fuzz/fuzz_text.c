/* What is read of texts without a Lua state: the walks over containers, bytea, tags, the
 * beginning of a statement, identifiers, errors. */
#include <stdlib.h>
#include <string.h>

#include "description.h"
#include "error.h"
#include "fuzz.h"
#include "result.h"
#include "text.h"
#include "wire.h"

/* The scratch memory that a walk's pieces have to lie in. */
struct walk {
    const char *scratch;
    size_t room;
    int depth;
};

static void check_piece(const struct walk *walk, const char *text, size_t len)
{
    fuzz_check(text >= walk->scratch && text + len <= walk->scratch + walk->room);
}

static bool visit_array(void *ctx, int event, const char *text, size_t len)
{
    struct walk *walk = ctx;
    if (event == 'v' && text != NULL)
        check_piece(walk, text, len);
    walk->depth += event == '{' ? 1 : event == '}' ? -1 : 0;
    fuzz_check(walk->depth >= 0 && walk->depth <= 6);
    return true;
}

static bool visit_field(void *ctx, int field, const char *text, size_t len)
{
    fuzz_check(field >= 0);
    if (text != NULL)
        check_piece(ctx, text, len);
    return true;
}

static bool visit_pair(void *ctx, const char *key, size_t key_len, const char *value,
                       size_t value_len)
{
    check_piece(ctx, key, key_len);
    if (value != NULL)
        check_piece(ctx, value, value_len);
    return true;
}

static void walk_all(const char *text, size_t len)
{
    char *scratch = malloc(len);
    struct walk walk = {.scratch = scratch, .room = len};
    fuzz_check(scratch != NULL);
    if (tp_array_walk(text, len, ',', scratch, visit_array, &walk))
        fuzz_check(walk.depth == 0);
    (void)tp_composite_walk(text, len, scratch, visit_field, &walk);
    (void)tp_hstore_walk(text, len, scratch, visit_pair, &walk);
    free(scratch);
}

static void decode_bytea(const char *text, size_t len)
{
    unsigned char *bytes = malloc(len);
    fuzz_check(bytes != NULL);
    long got = tp_bytea_decode(text, len, bytes);
    fuzz_check(got >= -1 && got <= (long)len);
    free(bytes);
}

/* What is quoted reads back as the same. */
static void quote(const char *text, size_t len)
{
    size_t room = 2 * len + 3, at = 1, back = 0;
    char *out = malloc(room);
    fuzz_check(out != NULL);
    long needed = tp_quote_identifier(text, len, out, room);
    fuzz_check((needed >= 0) ==
               (len > 0 && memchr(text, '\0', len) == NULL && tp_utf8_valid(text, len)));
    for (; needed >= 0 && at < (size_t)needed - 1; at++, back++) {
        fuzz_check(back < len && out[at] == text[back]);
        if (out[at] == '"')
            fuzz_check(out[++at] == '"');
    }
    fuzz_check(needed < 0 || (back == len && (size_t)needed < room && out[at] == '"'));
    free(out);
}

static void read_error(const char *text, size_t len)
{
    struct tp_error err;
    char small[8];
    tp__wire_error(text, len, &err);
    fuzz_check(err.kind == TP_ERR_DATABASE && tp_utf8_valid(err.message, strlen(err.message)));
    fuzz_check(strnlen(err.code, sizeof err.code) < sizeof err.code);
    tp__text_copy_n(small, sizeof small, text, len);
    fuzz_check(strlen(small) < sizeof small && tp_utf8_valid(small, strlen(small)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    const char *text = (const char *)data;
    char command[16];
    walk_all(text, size);
    decode_bytea(text, size);
    quote(text, size);
    read_error(text, size);
    (void)tp__sql_is_plain(text, size);
    char *tag = fuzz_text(&in, '\0');
    fuzz_check(tp__result_tag(tag, command, sizeof command) >= 0);
    fuzz_check(strlen(command) < sizeof command);
    free(tag);
    return 0;
}
