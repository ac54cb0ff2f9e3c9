#include "sqltext.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sqltext_token.h"

/* As strcmp does, but ASCII letters of the text count as small ones, whatever the locale. */
static int compare(const struct tp_sql_token *token, const char *word)
{
    for (size_t i = 0; i < token->len; i++) {
        char c = token->text[i];
        int order = (c >= 'A' && c <= 'Z' ? c | 0x20 : (unsigned char)c) - (unsigned char)word[i];
        if (order != 0)
            return order;
    }
    return word[token->len] == '\0' ? 0 : -1;
}

static bool is_word(const struct tp_sql_token *token, const char *word)
{
    return token->kind == TP_TOKEN_WORD && compare(token, word) == 0;
}

static bool is_sign(const struct tp_sql_token *token, char sign)
{
    return token->kind == TP_TOKEN_SIGN && *token->text == sign;
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

static bool is_among(const struct tp_sql_token *token, const char *const *words, size_t count)
{
    return token->kind == TP_TOKEN_WORD &&
           bsearch(token, words, count, sizeof *words, compare_word) != NULL;
}

/* Where in a statement the look is. */
enum place { AT_BEGINNING, AFTER_SET, IN_SET, INSIDE };

struct look {
    enum place place;
    unsigned traces;
    struct tp_sql_token last;   /* what came last, but for dots in a name */
    struct tp_sql_token before; /* what came before the name that ends with `last` */
    struct tp_sql_token schema; /* of that name, the part before its last one */
    int parts;                  /* how many it has; 0: `last` is no name */
    bool dotted;                /* the name goes on behind a dot */
};

static void look_at_beginning(struct look *look, const struct tp_sql_token *token)
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
static void look_after_set(struct look *look, const struct tp_sql_token *token)
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
    const struct tp_sql_token *before = &look->before;
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

static void look_at_word(struct look *look, const struct tp_sql_token *token)
{
    bool into = is_word(token, "into");
    if (into && !is_word(&look->last, "insert") && !is_word(&look->last, "merge"))
        look->traces |= TP_LEAVES_STATE; /* SELECT INTO makes a table, perhaps a temporary one */
    if (look->place == IN_SET && is_word(token, "seed"))
        look->traces |= TP_LEAVES_FOR_GOOD;
}

/* Names may have several parts with dots between them. */
static void follow_name(struct look *look, const struct tp_sql_token *token)
{
    bool is_name = token->kind == TP_TOKEN_WORD || token->kind == TP_TOKEN_QUOTED;
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
    struct tp_sql_reader in = {.at = sql, .end = sql + len};
    struct look look = {.place = AT_BEGINNING};
    struct tp_sql_token token;
    while ((token = tp__sql_next_token(&in)).kind != TP_TOKEN_END) {
        if (is_sign(&token, ';'))
            look.place = AT_BEGINNING;
        else if (look.place == AT_BEGINNING)
            look_at_beginning(&look, &token);
        else if (look.place == AFTER_SET)
            look_after_set(&look, &token);
        else if (token.kind == TP_TOKEN_WORD)
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

/* The first word of the first statement, or what stands there instead. */
static struct tp_sql_token first_token(struct tp_sql_reader *in)
{
    struct tp_sql_token token = tp__sql_next_token(in);
    while (is_sign(&token, '(') || is_sign(&token, ';'))
        token = tp__sql_next_token(in);
    return token;
}

bool tp__sql_may_write(const char *sql, size_t len)
{
    struct tp_sql_reader in = {.at = sql, .end = sql + len};
    struct tp_sql_token token = first_token(&in);
    return token.kind != TP_TOKEN_END &&
           !is_among(&token, reading_beginnings,
                     sizeof reading_beginnings / sizeof *reading_beginnings);
}

/* In the order of the alphabet. Source: PreventInTransactionBlock in PostgreSQL, and the manual's
 * 43.8, "Transaction Management". */
static const char *const committing_beginnings[] = {
    "call", "cluster", "do", "reindex", "vacuum",
};

bool tp__sql_may_commit(const char *sql, size_t len)
{
    struct tp_sql_reader in = {.at = sql, .end = sql + len};
    struct tp_sql_token token = first_token(&in);
    if (is_among(&token, committing_beginnings,
                 sizeof committing_beginnings / sizeof *committing_beginnings))
        return true;
    while (token.kind != TP_TOKEN_END && !is_word(&token, "concurrently"))
        token = tp__sql_next_token(&in);
    return token.kind != TP_TOKEN_END;
}
