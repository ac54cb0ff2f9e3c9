/* Connection URLs: postgresql://user:password@host:port/database?name=value&...
 *
 * The grammar is that of the PostgreSQL manual, 34.1.1.2, as libpq 15 reads it.
 * Beyond libpq, a raw '@' in the host or in the path and control characters are
 * refused: they are what is left of a password that was not percent-encoded, and
 * would otherwise travel on as a host or a database name into other messages.
 * Owns: a struct tp_url owns its strings; they are wiped when freed.
 * Errors: TP_ERR_VALIDATION; a message names the URL by the caller's `label` and
 * contains nothing of its text.
 * Thread: one at a time. */
#ifndef TP_URL_H
#define TP_URL_H

#include "tidepool.h"

struct tp_url_param {
    char *key, *value; /* decoded */
    bool may_name;     /* the key is surely no piece of a badly encoded secret */
};

/* What a URL says, in order, the parts before the '?' first under libpq's
 * keywords (user, password, host, port, dbname). A later one wins. */
struct tp_url {
    struct tp_url_param *params;
    size_t count;
};

/* Parses into *out, which is untouched on failure. */
enum tp_status tp__url_parse(struct tp_url *out, const char *text, const char *label,
                             struct tp_error *err) TP_MUST_CHECK;
void tp__url_deinit(struct tp_url *url);

/* Whether the text begins as a connection URL does. */
bool tp__url_scheme(const char *text);

/* Whether the text has a "your_" that begins a word, as in a template that was
 * copied but not filled in. */
bool tp__is_placeholder(const char *text);

/* Wipes a string and frees it; NULL is fine. */
void tp__secret_free(char *text);

#endif
