#include "sqltext_fold.h"

#include <string.h>
#include <strings.h>

#include "sqltext_token.h"

static const char more[] = "...";

struct folding {
    struct tp_sql_reader in;
    struct tp_sql_token last; /* what was written last, as it is in the text */
    struct tp_sql_token stop; /* a semicolon that is not written yet, since nothing may come */
    const char *rows_end;     /* behind a row of VALUES that is nothing but values, or NULL */
    char *out;
    size_t len, room;
    uint64_t hash;
    bool cut;
};

static bool is_sign(const struct tp_sql_token *token, const char *signs)
{
    return token->kind == TP_TOKEN_SIGN && *token->text != '\0' &&
           strchr(signs, *token->text) != NULL;
}

static bool is_word(const struct tp_sql_token *token, const char *word)
{
    return token->kind == TP_TOKEN_WORD && token->len == strlen(word) &&
           strncasecmp(token->text, word, token->len) == 0;
}

static bool is_constant(const struct tp_sql_token *token)
{
    return token->kind == TP_TOKEN_STRING || token->kind == TP_TOKEN_NUMBER;
}

static const char *end_of(const struct tp_sql_token *token)
{
    return token->text + token->len;
}

/* ------------------------------------------------------------------- writing */

static char small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* FNV-1a. */
static void write_text(struct folding *f, const char *text, size_t len, bool in_small)
{
    f->cut |= len + sizeof more > f->room - f->len;
    for (size_t i = 0; i < len; i++) {
        char c = in_small ? small(text[i]) : text[i];
        f->hash = (f->hash ^ (unsigned char)c) * 0x100000001b3u;
        if (!f->cut)
            f->out[f->len++] = c;
    }
}

/* Whether there is a blank between two tokens, wherever the text has some. */
static bool are_parted(const struct tp_sql_token *last, const struct tp_sql_token *token)
{
    bool adjacent = end_of(last) == token->text;
    if (last->text == NULL || is_sign(token, ",;).]:") || is_sign(last, "([.:"))
        return false;
    if (is_sign(token, "(["))
        return !adjacent || is_word(last, "in") || is_word(last, "values");
    return !(adjacent && last->kind == TP_TOKEN_SIGN && token->kind == TP_TOKEN_SIGN) ||
           is_sign(last, ",;)]");
}

static void write_token(struct folding *f, const struct tp_sql_token *token)
{
    if (f->stop.text != NULL) {
        write_text(f, ";", 1, false);
        f->last = f->stop;
        f->stop.text = NULL;
    }
    if (are_parted(&f->last, token))
        write_text(f, " ", 1, false);
    if (is_constant(token))
        write_text(f, "?", 1, false);
    else
        write_text(f, token->text, token->len, token->kind == TP_TOKEN_WORD);
    f->last = *token;
}

/* --------------------------------------------------------------------- lists */

/* Behind the closing sign of a list that has nothing but constants and parameters, perhaps
 * with a sign or a cast, when such a list begins at `in`; else NULL. */
static const char *behind_list(struct tp_sql_reader in, char closing)
{
    struct tp_sql_token token, last = {.kind = TP_TOKEN_END};
    int values = 0;
    while ((token = tp__sql_next_token(&in)).kind != TP_TOKEN_END) {
        bool type = token.kind == TP_TOKEN_WORD && is_sign(&last, ":");
        if (token.kind == TP_TOKEN_SIGN && *token.text == closing)
            return values > 0 ? in.at : NULL;
        if (is_constant(&token) || token.kind == TP_TOKEN_PARAM)
            values++;
        else if (!type && !is_sign(&token, ",+-:"))
            return NULL;
        last = token;
    }
    return NULL;
}

static void write_short(struct folding *f, const struct tp_sql_token *opening, const char *end)
{
    struct tp_sql_token closing = {.kind = TP_TOKEN_SIGN, .text = end - 1, .len = 1};
    write_token(f, opening);
    write_text(f, more, 3, false);
    f->in.at = end;
    write_token(f, &closing);
}

/* The rows behind one that is nothing but values, as long as they are that, too. */
static void skip_rows(struct folding *f)
{
    bool any = false;
    for (;;) {
        struct tp_sql_reader in = f->in;
        struct tp_sql_token comma = tp__sql_next_token(&in), opening = tp__sql_next_token(&in);
        const char *end =
            is_sign(&comma, ",") && is_sign(&opening, "(") ? behind_list(in, ')') : NULL;
        if (end == NULL)
            break;
        f->in.at = end;
        any = true;
    }
    if (any)
        write_text(f, ", ...", 5, false);
    f->rows_end = NULL;
}

/* True: the list was written. */
static bool fold_list(struct folding *f, const struct tp_sql_token *opening)
{
    bool rows = is_sign(opening, "(") && is_word(&f->last, "values");
    bool in = is_sign(opening, "(") && is_word(&f->last, "in");
    bool array = is_sign(opening, "[") && is_word(&f->last, "array");
    const char *end =
        rows || in || array ? behind_list(f->in, *opening->text == '(' ? ')' : ']') : NULL;
    if (rows)
        f->rows_end = end;
    if (end == NULL || rows)
        return false;
    write_short(f, opening, end);
    return true;
}

/* ------------------------------------------------------------------ constants */

/* What a sign behind it belongs to the number for, not to a sum. */
static bool comes_before_value(const struct tp_sql_token *token)
{
    static const char *const words[] = {"and",    "between", "by",   "case",   "else",
                                        "from",   "having",  "in",   "limit",  "not",
                                        "offset", "on",      "or",   "return", "returning",
                                        "select", "set",     "then", "when",   "where"};
    if (token->text == NULL)
        return true;
    if (token->kind == TP_TOKEN_SIGN)
        return !is_sign(token, ")]");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (is_word(token, words[i]))
            return true;
    }
    return false;
}

static bool begins_number(const struct tp_sql_reader *in)
{
    const char *at = in->at;
    at += at < in->end && *at == '.';
    return at < in->end && *at >= '0' && *at <= '9';
}

/* B'1', X'1', N'a' and U&'a': a letter that belongs to the string behind it. */
static bool is_prefix(struct folding *f, const struct tp_sql_token *token)
{
    const char *at = f->in.at, *end = f->in.end;
    if (token->kind != TP_TOKEN_WORD || token->len != 1 || at == end)
        return false;
    if (is_word(token, "u") && end - at > 1 && at[0] == '&' && at[1] == '\'') {
        f->in.at++;
        return true;
    }
    return *at == '\'' && strchr("bBxXnN", *token->text) != NULL;
}

/* The rest of 0x1F and of 1_000. */
static bool is_rest_of_number(const struct folding *f, const struct tp_sql_token *token)
{
    if (f->last.kind != TP_TOKEN_NUMBER || token->kind != TP_TOKEN_WORD ||
        end_of(&f->last) != token->text)
        return false;
    return *token->text == '_' ||
           (f->last.len == 1 && *f->last.text == '0' && strchr("xXoObB", *token->text) != NULL);
}

/* What is of a constant that is written already, or will be. */
static bool is_of_constant(struct folding *f, const struct tp_sql_token *token)
{
    if (token->kind == TP_TOKEN_STRING && f->last.kind == TP_TOKEN_STRING)
        return true; /* 'it''s', or one that goes on in the next line */
    if (is_rest_of_number(f, token) || is_prefix(f, token))
        return true;
    return is_sign(token, "+-") && begins_number(&f->in) && comes_before_value(&f->last);
}

size_t tp__sql_fold(const char *sql, size_t len, char *out, size_t room, uint64_t *hash)
{
    struct folding f = {.out = out, .room = room, .hash = 0xcbf29ce484222325u};
    struct tp_sql_token token;
    f.in = (struct tp_sql_reader){.at = sql,
                                  .end = sql + (len < TP_FOLD_LOOKS_AT ? len : TP_FOLD_LOOKS_AT)};
    while ((token = tp__sql_next_token(&f.in)).kind != TP_TOKEN_END) {
        if (is_sign(&token, ";")) {
            f.stop = f.last.text != NULL ? token : f.stop;
            continue;
        }
        if (is_of_constant(&f, &token) || (is_sign(&token, "([") && fold_list(&f, &token)))
            continue;
        write_token(&f, &token);
        if (f.rows_end != NULL && f.in.at == f.rows_end)
            skip_rows(&f);
    }
    if (f.cut) {
        memcpy(out + f.len, more, 3);
        f.len += 3;
    }
    out[f.len] = '\0';
    *hash = f.hash;
    return f.len;
}
