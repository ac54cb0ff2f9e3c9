/* What a server says of its types, and then values of the types that come of it.
 *
 * Input: rows up to a NUL byte, one a line, cells by tabs ("-" is NULL); flags; a value of
 * the type in the first row. */
#include <stdlib.h>
#include <string.h>

#include "catalog.h"
#include "lua_values.h"

enum { TYPES_AT_MOST = 16, BINARY = 8 };

static const char *cell(char **at)
{
    size_t len = strcspn(*at, "\t");
    char *text = *at;
    *at += len + (text[len] != '\0');
    text[len] = '\0';
    return strcmp(text, "-") == 0 ? NULL : text;
}

/* Returns the oid, or 0 when there is no memory for the row. */
static uint32_t add_row(struct tp_catalog_answer *answer, char *line)
{
    const char *cells[TP_CATALOG_COLUMNS];
    for (int i = 0; i < TP_CATALOG_COLUMNS; i++)
        cells[i] = cell(&line);
    if (!tp__catalog_answer_add(answer, cells))
        return 0;
    return cells[0] != NULL ? (uint32_t)strtoul(cells[0], NULL, 10) : 0;
}

static int learn(struct tp_catalog *catalog, struct fuzz_input *in, uint32_t *oids)
{
    struct tp_catalog_answer *answer = tp__catalog_answer_new();
    char *text = fuzz_text(in, '\0');
    struct fuzz_input rows = {(const uint8_t *)text, strlen(text)};
    int count = 0;
    while (rows.left > 0 && count < TYPES_AT_MOST) {
        char *line = fuzz_text(&rows, '\n');
        oids[count++] = add_row(answer, line);
        free(line);
    }
    fuzz_check(tp__catalog_learn(catalog, answer, oids, count));
    free(text);
    return count;
}

static void run(lua_State *L, struct fuzz_input *in, const void *ctx)
{
    const struct tp_type *type = ctx;
    struct tp_error err = {.kind = TP_OK};
    int flags = fuzz_byte(in);
    if (!fuzz_decode(L, type, (flags & BINARY) != 0, flags, in->at, in->left, &err))
        fuzz_check_error(&err, false);
    else
        (void)fuzz_encode(L, type, type->binary);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct tp_catalog catalog;
    uint32_t oids[TYPES_AT_MOST] = {0};
    tp__catalog_init(&catalog);
    int count = learn(&catalog, &in, oids);
    for (int i = 0; i < count; i++) {
        const struct tp_type *type = tp__catalog_find(&catalog, oids[i]);
        fuzz_check(type != NULL);
        if (i == 0)
            fuzz_in_lua(run, &in, type);
    }
    tp__catalog_deinit(&catalog);
    return 0;
}
