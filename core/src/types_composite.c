/* The text forms of composite values and of hstore, walked without allocation. Both quote
 * with '"'; in a composite value a quote is doubled or has a backslash before it. */
#include <string.h>

#include "tidepool.h"

struct reader {
    const char *at, *end;
    char *out; /* where unescaped text goes; it is shorter than what it came from */
};

static bool take(struct reader *reader, char c)
{
    if (reader->at == reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

/* One quoted stretch, its opening quote taken. `doubled`: two quotes are one. */
static bool take_quoted(struct reader *reader, bool doubled)
{
    while (reader->at < reader->end) {
        char c = *reader->at++;
        if (c == '"' && !(doubled && take(reader, '"')))
            return true;
        if (c == '\\') {
            if (reader->at == reader->end)
                return false;
            c = *reader->at++;
        }
        *reader->out++ = c;
    }
    return false;
}

/* A field: quoted and bare stretches mixed, up to a comma or the closing parenthesis. */
static bool take_field(struct reader *reader)
{
    while (reader->at < reader->end && *reader->at != ',' && *reader->at != ')') {
        char c = *reader->at++;
        if (c == '(')
            return false;
        if (c == '"') {
            if (!take_quoted(reader, true))
                return false;
            continue;
        }
        if (c == '\\') {
            if (reader->at == reader->end)
                return false;
            c = *reader->at++;
        }
        *reader->out++ = c;
    }
    return true;
}

bool tp_composite_walk(const char *text, size_t len, char *scratch, tp_composite_visit_fn *visit,
                       void *ctx)
{
    struct reader reader = {.at = text, .end = text + len, .out = scratch};
    if (!take(&reader, '('))
        return false;
    for (int field = 0;; field++) {
        const char *from = reader.at;
        char *value = reader.out;
        if (!take_field(&reader))
            return false;
        bool null = reader.at == from;
        if (!visit(ctx, field, null ? NULL : value, (size_t)(reader.out - value)))
            return false;
        if (take(&reader, ')'))
            return reader.at == reader.end;
        if (!take(&reader, ','))
            return false;
    }
}

static void skip_spaces(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\n'))
        reader->at++;
}

/* The server writes keys and values in quotes; only NULL has none. */
static bool take_pair(struct reader *reader, tp_hstore_visit_fn *visit, void *ctx)
{
    char *key = reader->out;
    if (!take(reader, '"') || !take_quoted(reader, false))
        return false;
    size_t key_len = (size_t)(reader->out - key);
    if (!take(reader, '=') || !take(reader, '>'))
        return false;
    if (reader->end - reader->at >= 4 && memcmp(reader->at, "NULL", 4) == 0) {
        reader->at += 4;
        return visit(ctx, key, key_len, NULL, 0);
    }
    char *value = reader->out;
    if (!take(reader, '"') || !take_quoted(reader, false))
        return false;
    return visit(ctx, key, key_len, value, (size_t)(reader->out - value));
}

bool tp_hstore_walk(const char *text, size_t len, char *scratch, tp_hstore_visit_fn *visit,
                    void *ctx)
{
    struct reader reader = {.at = text, .end = text + len, .out = scratch};
    skip_spaces(&reader);
    if (reader.at == reader.end)
        return true;
    do {
        skip_spaces(&reader);
        if (!take_pair(&reader, visit, ctx))
            return false;
        skip_spaces(&reader);
    } while (take(&reader, ','));
    return reader.at == reader.end;
}
