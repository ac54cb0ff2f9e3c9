/* Binary forms of the types that are shown as text, ranges among them. A text that is read is
 * written as one that is read as the same bytes, also one that was made of any bytes. */
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "fuzz.h"
#include "types.h"

/* The text of the bytes, in a block of its own so that nothing is read past its end. */
static char *format(const struct tp_type *type, const void *bytes, size_t len, size_t *text_len)
{
    struct tp_buf out = {0};
    char *text = NULL;
    if (tp__type_format(type, bytes != NULL ? bytes : "", len, &out)) {
        *text_len = out.len;
        text = malloc(out.len + 1);
        fuzz_check(text != NULL && !out.failed);
        if (out.len > 0)
            memcpy(text, out.data, out.len);
        text[out.len] = '\0';
    }
    tp__buf_free(&out);
    return text;
}

static void check_text(const struct tp_type *type, const char *text, size_t len)
{
    struct tp_buf parsed = {0}, again = {0};
    size_t shown_len;
    if (type->codec == NULL || type->codec->parse == NULL)
        return;
    if (type->codec->parse(text, len, &parsed)) {
        char *shown = format(type, parsed.data, parsed.len, &shown_len);
        fuzz_check(shown != NULL);
        fuzz_check(type->codec->parse(shown, shown_len, &again));
        fuzz_check(again.len == parsed.len && memcmp(again.data, parsed.data, again.len) == 0);
        free(shown);
    }
    tp__buf_free(&parsed);
    tp__buf_free(&again);
}

static bool is_shown(const struct tp_type *type)
{
    return type->binary &&
           (type->codec != NULL || type->kind == TP_KIND_RANGE || type->kind == TP_KIND_MULTIRANGE);
}

static const struct tp_type *choose(uint8_t n)
{
    static const struct tp_type *shown[256];
    static size_t seen, count;
    const struct tp_type *type;
    while ((type = tp__type_builtin_at(seen)) != NULL) {
        seen++;
        if (is_shown(type))
            shown[count++] = type;
    }
    return shown[n % count];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    bool text = fuzz_byte(&in) & 1;
    const struct tp_type *type = choose(fuzz_byte(&in));
    size_t len = in.left;
    char *shown = text ? NULL : format(type, in.at, in.left, &len);
    if (text || shown != NULL)
        check_text(type, text ? (const char *)in.at : shown, len);
    free(shown);
    return 0;
}
