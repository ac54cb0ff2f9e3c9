#include "sqltext_token.h"

#include <string.h>

const char *tp__sql_skip_comment(const char *at, const char *end)
{
    int depth = 0;
    if (end - at < 2 || (memcmp(at, "--", 2) != 0 && memcmp(at, "/*", 2) != 0))
        return at;
    if (*at == '-') {
        while (at < end && *at != '\n' && *at != '\r')
            at++;
        return at;
    }
    do {
        if (end - at < 2)
            return end;
        bool opens = memcmp(at, "/*", 2) == 0, closes = memcmp(at, "*/", 2) == 0;
        depth += opens - closes;
        at += opens || closes ? 2 : 1;
    } while (depth > 0);
    return at;
}

static bool begins_word(char c)
{
    unsigned char lower = (unsigned char)c | 0x20;
    return (lower >= 'a' && lower <= 'z') || c == '_' || ((unsigned char)c & 0x80) != 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool has_digit(const char *at, const char *end)
{
    return at < end && is_digit(*at);
}

static void skip_blanks(struct tp_sql_reader *in)
{
    const char *behind = in->at;
    do {
        in->at = behind;
        while (in->at < in->end && strchr(" \t\n\r\f\v", *in->at) != NULL && *in->at != '\0')
            in->at++;
        behind = tp__sql_skip_comment(in->at, in->end);
    } while (behind != in->at);
}

/* From the opening quote on. A doubled quote is two strings here, which comes to the same. */
static void skip_string(struct tp_sql_reader *in, bool escapes)
{
    size_t backslashes = 0;
    for (in->at++; in->at < in->end; in->at++) {
        bool escaped = backslashes % 2 == 1;
        if (*in->at == '\'' && !(escaped && escapes))
            break;
        backslashes = *in->at == '\\' ? backslashes + 1 : 0;
    }
    in->unsure |= backslashes % 2 == 1;
    in->at += in->at < in->end;
}

/* Where a string goes on that has a quote before `in`: with a doubled quote, or behind the end of a
 * line; else NULL. */
static const char *goes_on(const struct tp_sql_reader *in)
{
    struct tp_sql_reader behind = *in;
    skip_blanks(&behind);
    bool quote = behind.at < behind.end && *behind.at == '\'';
    size_t blanks = (size_t)(behind.at - in->at);
    bool line = memchr(in->at, '\n', blanks) != NULL || memchr(in->at, '\r', blanks) != NULL;
    return quote && (blanks == 0 || line) ? behind.at : NULL;
}

/* E'...' from the quote on: backslashes escape in all of its parts. */
static void skip_escaped(struct tp_sql_reader *in)
{
    for (const char *part = in->at; part != NULL; part = goes_on(in)) {
        in->at = part;
        skip_string(in, true);
    }
}

static void skip_quoted(struct tp_sql_reader *in)
{
    const char *quote = memchr(in->at + 1, '"', (size_t)(in->end - in->at - 1));
    in->at = quote != NULL ? quote + 1 : in->end;
}

/* $tag$ any text $tag$; false when no such thing begins here. */
static bool skip_dollars(struct tp_sql_reader *in)
{
    const char *tag = in->at, *at = tag + 1;
    while (at < in->end && (begins_word(*at) || (at > tag + 1 && is_digit(*at))))
        at++;
    if (at == in->end || *at != '$')
        return false;
    size_t len = (size_t)(at + 1 - tag);
    const char *close = memmem(tag + len, (size_t)(in->end - tag) - len, tag, len);
    in->at = close != NULL ? close + len : in->end;
    return true;
}

static void skip_word(struct tp_sql_reader *in)
{
    while (in->at < in->end && (begins_word(*in->at) || is_digit(*in->at) || *in->at == '$'))
        in->at++;
}

static void skip_digits(struct tp_sql_reader *in)
{
    while (has_digit(in->at, in->end))
        in->at++;
}

/* 1, 1.5, .5, 1e-5. What other forms have besides (0x1F, 1_000) is a word behind the number. */
static void skip_number(struct tp_sql_reader *in)
{
    skip_digits(in);
    if (in->at < in->end && *in->at == '.' && !(in->end - in->at > 1 && in->at[1] == '.')) {
        in->at++;
        skip_digits(in);
    }
    if (in->at == in->end || (*in->at | 0x20) != 'e')
        return;
    const char *exponent = in->at + 1;
    if (exponent < in->end && (*exponent == '+' || *exponent == '-'))
        exponent++;
    if (!has_digit(exponent, in->end))
        return;
    in->at = exponent;
    skip_digits(in);
}

static enum tp_sql_token_kind skip_sign(struct tp_sql_reader *in)
{
    if (*in->at == '$' && has_digit(in->at + 1, in->end)) {
        in->at++;
        skip_digits(in);
        return TP_TOKEN_PARAM;
    }
    if (*in->at == '$' && skip_dollars(in))
        return TP_TOKEN_STRING;
    in->at++;
    return TP_TOKEN_SIGN;
}

static enum tp_sql_token_kind skip_token(struct tp_sql_reader *in)
{
    if (in->at == in->end)
        return TP_TOKEN_END;
    if (begins_word(*in->at)) {
        skip_word(in);
        return TP_TOKEN_WORD;
    }
    if (*in->at == '"') {
        skip_quoted(in);
        return TP_TOKEN_QUOTED;
    }
    if (*in->at == '\'') {
        skip_string(in, false);
        return TP_TOKEN_STRING;
    }
    if (is_digit(*in->at) || (*in->at == '.' && has_digit(in->at + 1, in->end))) {
        skip_number(in);
        return TP_TOKEN_NUMBER;
    }
    return skip_sign(in);
}

struct tp_sql_token tp__sql_next_token(struct tp_sql_reader *in)
{
    skip_blanks(in);
    struct tp_sql_token token = {.text = in->at};
    token.kind = skip_token(in);
    token.len = (size_t)(in->at - token.text);
    if (token.kind == TP_TOKEN_WORD && token.len == 1 && (*token.text | 0x20) == 'e' &&
        in->at < in->end && *in->at == '\'') { /* E'...' */
        skip_escaped(in);
        token.kind = TP_TOKEN_STRING;
        token.len = (size_t)(in->at - token.text);
    }
    return token;
}
