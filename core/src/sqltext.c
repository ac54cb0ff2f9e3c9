#include "sqltext.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

/* -------------------------------------------------------------------- tokens */

enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_OTHER };

struct token {
    enum token_kind kind;
    const char *text; /* TOKEN_OTHER: one byte, such as '(' */
    size_t len;
};

struct reader {
    const char *at, *end;
    bool unsure; /* where a string ends depends on standard_conforming_strings */
};

static bool begins_word(char c)
{
    unsigned char lower = (unsigned char)c | 0x20;
    return (lower >= 'a' && lower <= 'z') || c == '_' || ((unsigned char)c & 0x80) != 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void skip_blanks(struct reader *in)
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
static void skip_string(struct reader *in, bool escapes)
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

static void skip_quoted(struct reader *in)
{
    const char *quote = memchr(in->at + 1, '"', (size_t)(in->end - in->at - 1));
    in->at = quote != NULL ? quote + 1 : in->end;
}

/* $tag$ any text $tag$; false when no such thing begins here. */
static bool skip_dollars(struct reader *in)
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

static void skip_word(struct reader *in)
{
    while (in->at < in->end && (begins_word(*in->at) || is_digit(*in->at) || *in->at == '$'))
        in->at++;
}

static struct token next_token(struct reader *in)
{
    skip_blanks(in);
    struct token token = {.kind = TOKEN_OTHER, .text = in->at};
    if (in->at == in->end) {
        token.kind = TOKEN_END;
    } else if (begins_word(*in->at)) {
        token.kind = TOKEN_WORD;
        skip_word(in);
    } else if (*in->at == '"') {
        token.kind = TOKEN_QUOTED;
        skip_quoted(in);
    } else if (*in->at == '\'') {
        skip_string(in, false);
    } else if (*in->at != '$' || !skip_dollars(in)) {
        in->at++;
    }
    token.len = (size_t)(in->at - token.text);
    if (token.kind == TOKEN_WORD && token.len == 1 && (*token.text | 0x20) == 'e' &&
        in->at < in->end && *in->at == '\'') { /* E'...' */
        skip_string(in, true);
        token.kind = TOKEN_OTHER;
        token.text = "'";
    }
    return token;
}

/* As strcmp does, but ASCII letters of the text count as small ones, whatever the locale. */
static int compare(const struct token *token, const char *word)
{
    for (size_t i = 0; i < token->len; i++) {
        char c = token->text[i];
        int order = (c >= 'A' && c <= 'Z' ? c | 0x20 : (unsigned char)c) - (unsigned char)word[i];
        if (order != 0)
            return order;
    }
    return word[token->len] == '\0' ? 0 : -1;
}

static bool is_word(const struct token *token, const char *word)
{
    return token->kind == TOKEN_WORD && compare(token, word) == 0;
}

static bool is_sign(const struct token *token, char sign)
{
    return token->kind == TOKEN_OTHER && *token->text == sign;
}

/* -------------------------------------------------------------------- traces */

/* What statements begin with that leave nothing behind, if what they call does not. */
static const char *const harmless_beginnings[] = {
    "abort",    "analyze",  "begin",     "checkpoint", "commit", "copy",  "delete",
    "end",      "fetch",    "insert",    "lock",       "merge",  "move",  "notify",
    "release",  "rollback", "savepoint", "select",     "show",   "start", "table",
    "truncate", "update",   "vacuum",    "values",     "with",
};

static const char *const harmless_words[] = {
#include "sqltext_words.inc"
};

static int compare_word(const void *token, const void *word)
{
    return compare(token, *(const char *const *)word);
}

static bool is_among(const struct token *token, const char *const *words, size_t count)
{
    return token->kind == TOKEN_WORD &&
           bsearch(token, words, count, sizeof *words, compare_word) != NULL;
}

/* Where in a statement the look is. */
enum place { AT_BEGINNING, AFTER_SET, IN_SET, INSIDE };

struct look {
    enum place place;
    unsigned traces;
    struct token last;   /* what came last, but for dots in a name */
    struct token before; /* what came before the name that ends with `last` */
    struct token schema; /* of that name, the part before its last one */
    int parts;           /* how many it has; 0: `last` is no name */
    bool dotted;         /* the name goes on behind a dot */
};

static void look_at_beginning(struct look *look, const struct token *token)
{
    if (is_sign(token, '('))
        return;
    look->place = INSIDE;
    if (is_word(token, "set"))
        look->place = AFTER_SET;
    else if (is_word(token, "load"))
        look->traces |= TP_LEAVES_FOR_GOOD;
    else if (!is_among(token, harmless_beginnings,
                       sizeof harmless_beginnings / sizeof *harmless_beginnings))
        look->traces |= TP_LEAVES_STATE;
}

/* What holds for the transaction alone is gone with it. */
static void look_after_set(struct look *look, const struct token *token)
{
    look->place = INSIDE;
    if (is_word(token, "local") || is_word(token, "transaction") || is_word(token, "constraints"))
        return;
    look->traces |= is_word(token, "seed") ? TP_LEAVES_FOR_GOOD : TP_LEAVES_STATE;
    look->place = IN_SET; /* SET SESSION seed */
}

/* A parenthesis behind a name. Behind INTO, COPY and AS it is that of a table or an alias,
 * and its columns follow. */
static void look_at_call(struct look *look)
{
    const struct token *before = &look->before;
    bool known =
        is_among(&look->last, harmless_words, sizeof harmless_words / sizeof *harmless_words);
    bool builtin = look->parts == 1 || (look->parts == 2 && is_word(&look->schema, "pg_catalog"));
    if (is_word(before, "into") || is_word(before, "as") || is_word(before, "copy"))
        return;
    if (is_word(&look->last, "setseed"))
        look->traces |= TP_LEAVES_FOR_GOOD;
    else if (!known || !builtin)
        look->traces |= TP_LEAVES_STATE;
}

static void look_at_word(struct look *look, const struct token *token)
{
    bool into = is_word(token, "into");
    if (into && !is_word(&look->last, "insert") && !is_word(&look->last, "merge"))
        look->traces |= TP_LEAVES_STATE; /* SELECT INTO makes a table, perhaps a temporary one */
    if (look->place == IN_SET && is_word(token, "seed"))
        look->traces |= TP_LEAVES_FOR_GOOD;
}

/* Names may have several parts with dots between them. */
static void follow_name(struct look *look, const struct token *token)
{
    bool is_name = token->kind == TOKEN_WORD || token->kind == TOKEN_QUOTED;
    bool goes_on = look->dotted && is_name;
    look->dotted = is_sign(token, '.') && look->parts > 0;
    if (look->dotted)
        return;
    if (goes_on)
        look->schema = look->last;
    else
        look->before = look->last;
    look->parts = goes_on ? look->parts + 1 : is_name;
    look->last = *token;
}

unsigned tp__sql_traces(const char *sql, size_t len)
{
    struct reader in = {.at = sql, .end = sql + len};
    struct look look = {.place = AT_BEGINNING};
    struct token token;
    while ((token = next_token(&in)).kind != TOKEN_END) {
        if (is_sign(&token, ';'))
            look.place = AT_BEGINNING;
        else if (look.place == AT_BEGINNING)
            look_at_beginning(&look, &token);
        else if (look.place == AFTER_SET)
            look_after_set(&look, &token);
        else if (token.kind == TOKEN_WORD)
            look_at_word(&look, &token);
        else if (is_sign(&token, '(') && look.parts > 0)
            look_at_call(&look);
        follow_name(&look, &token);
    }
    return look.traces | (in.unsure ? TP_LEAVES_STATE : 0);
}

/* --------------------------------------------------------------------- writing */

/* In the order of the alphabet. */
static const char *const reading_beginnings[] = {
    "abort",   "begin",   "checkpoint", "close",    "commit",    "deallocate", "declare",
    "discard", "end",     "explain",    "fetch",    "listen",    "load",       "move",
    "prepare", "release", "reset",      "rollback", "savepoint", "select",     "set",
    "show",    "start",   "table",      "unlisten", "vacuum",    "values",
};

bool tp__sql_may_write(const char *sql, size_t len)
{
    struct reader in = {.at = sql, .end = sql + len};
    struct token token = next_token(&in);
    while (is_sign(&token, '(') || is_sign(&token, ';'))
        token = next_token(&in);
    return token.kind != TOKEN_END &&
           !is_among(&token, reading_beginnings,
                     sizeof reading_beginnings / sizeof *reading_beginnings);
}
