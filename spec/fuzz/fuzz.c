#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

uint8_t fuzz_byte(struct fuzz_input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

char *fuzz_text(struct fuzz_input *in, char end)
{
    const uint8_t *found = in->left > 0 ? memchr(in->at, end, in->left) : NULL;
    size_t len = found != NULL ? (size_t)(found - in->at) : in->left;
    size_t taken = found != NULL ? len + 1 : len;
    char *text = malloc(len + 1);
    fuzz_check(text != NULL);
    if (len > 0)
        memcpy(text, in->at, len);
    text[len] = '\0';
    in->at += taken;
    in->left -= taken;
    return text;
}

const char *fuzz_no_variable(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "HOME") == 0 ? "/nonexistent" : NULL;
}

static void check_shown(const char *text, size_t room, bool hidden)
{
    size_t len = strnlen(text, room);
    fuzz_check(len < room);
    fuzz_check(tp_utf8_valid(text, len));
    fuzz_check(!hidden || strstr(text, FUZZ_SECRET) == NULL);
}

void fuzz_check_error(const struct tp_error *err, bool hidden)
{
    fuzz_check(err->kind != TP_OK);
    check_shown(err->message, sizeof err->message, hidden);
    check_shown(err->detail, sizeof err->detail, hidden);
    check_shown(err->hint, sizeof err->hint, hidden);
    check_shown(err->where, sizeof err->where, hidden);
    check_shown(err->column, sizeof err->column, hidden);
    check_shown(err->severity, sizeof err->severity, hidden);
    check_shown(err->code, sizeof err->code, hidden);
}
