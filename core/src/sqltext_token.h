/* The tokens of an SQL text.
 *
 * Owns: nothing; a token points into the text. Thread: any. Source: PostgreSQL manual 4.1,
 * "Lexical Structure". */
#ifndef TP_SQLTEXT_TOKEN_H
#define TP_SQLTEXT_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

enum tp_sql_token_kind {
    TP_TOKEN_END,
    TP_TOKEN_WORD,   /* a keyword or a name */
    TP_TOKEN_QUOTED, /* "a name" */
    TP_TOKEN_STRING, /* 'text', which a doubled quote parts in two, E'text', $tag$text$tag$ */
    TP_TOKEN_NUMBER,
    TP_TOKEN_PARAM, /* $1 */
    TP_TOKEN_SIGN   /* one byte of anything else, such as '(' */
};

struct tp_sql_token {
    enum tp_sql_token_kind kind;
    const char *text;
    size_t len;
};

struct tp_sql_reader {
    const char *at, *end;
    bool unsure; /* where a string ends depends on standard_conforming_strings */
};

/* Behind the comment that begins here, which may have others in it; `at` when none does. */
const char *tp__sql_skip_comment(const char *at, const char *end);

/* The next token, behind blanks and comments. */
struct tp_sql_token tp__sql_next_token(struct tp_sql_reader *in);

#endif
