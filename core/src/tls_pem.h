/* Reading PEM from what a user gave: PEM text, base64 of it, or a path.
 *
 * Owns: a struct tp_pem owns its text, which may be a private key and is wiped
 * when freed.
 * Errors: TP_ERR_VALIDATION for a value that is none of the three, TP_ERR_TLS for
 * a file that cannot be read. A message has the label and nothing of the value.
 * Thread: one at a time. */
#ifndef TP_TLS_PEM_H
#define TP_TLS_PEM_H

#include "tidepool.h"

struct tp_pem {
    const char *label; /* for messages; the caller sets it */
    char *text;        /* NUL-terminated */
    size_t len;
    bool is_file; /* read from the user's path, which libpq can read as well */
};

/* Fills a struct of which only the label is set. Free it also after a failure. */
enum tp_status tp__pem_get(struct tp_pem *pem, const char *value,
                           struct tp_error *err) TP_MUST_CHECK;
void tp__pem_free(struct tp_pem *pem);

#endif
