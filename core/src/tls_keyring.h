/* The certificates and keys in force: counted, so that connections in the making keep
 * what they began with, and never changed: what takes its place is another one.
 *
 * Owns: what tp_tls owns, and copies of the values, which are wiped.
 * Errors: as tp__tls_load. Thread: retain and release any; the rest reads only. */
#ifndef TP_TLS_KEYRING_H
#define TP_TLS_KEYRING_H

#include "tls.h"

struct tp_keyring;

/* How it is used. */
struct tp_keyring_use {
    bool trusts;        /* the server is verified by something */
    const char *bundle; /* by this file when there is no `ca`; NULL: by nothing */
};

/* Loads what `source` has; one reference. */
enum tp_status tp__keyring_new(struct tp_keyring **out, const struct tp_tls_source *source,
                               const struct tp_keyring_use *use,
                               struct tp_error *err) TP_MUST_CHECK;
struct tp_keyring *tp__keyring_retain(struct tp_keyring *keyring);
void tp__keyring_release(struct tp_keyring *keyring); /* NULL is fine */

/* Borrowed. */
const struct tp_tls *tp__keyring_tls(const struct tp_keyring *keyring);

/* Whether a file that it was read from has changed or gone. Looks at the files. */
bool tp__keyring_is_stale(const struct tp_keyring *keyring);
/* Another one from the same paths and texts, read anew, but for those of `values` (may be
 * NULL) that say something. */
enum tp_status tp__keyring_renew(struct tp_keyring **out, const struct tp_keyring *old,
                                 const struct tp_tls_values *values,
                                 struct tp_error *err) TP_MUST_CHECK;

/* What libpq is to be given, for all of its parameters that would otherwise mean a file of
 * ~/.postgresql. Without a keyring: none. Values are borrowed from the keyring. */
enum { TP_TLS_PARAMETERS = 4 };
struct tp_tls_parameter {
    const char *keyword, *value;
};
void tp__keyring_parameters(const struct tp_keyring *keyring,
                            struct tp_tls_parameter out[TP_TLS_PARAMETERS]);

#endif
