/* Certificates and keys: from a path, PEM text or base64 of PEM to something
 * that libpq can be given, checked with OpenSSL before any connection.
 *
 * PEM that was given in memory reaches libpq as /proc/self/fd/N of a sealed
 * memfd (mode 0600) and never touches a disk. libpq 15 takes only file names;
 * a memfd of mode 0600 passes its permission check (measured). Where there is no
 * memfd or no /proc, a file of mode 0600 in a folder of mode 0700 takes its
 * place until tp__tls_deinit.
 * Owns: struct tp_tls owns its memfds until tp__tls_deinit.
 * Errors: TP_ERR_TLS or TP_ERR_VALIDATION; the message names the option or
 * variable that the caller passed as `label` and contains nothing of its value.
 * Thread: one at a time. */
#ifndef TP_TLS_H
#define TP_TLS_H

#include <sys/types.h>

#include "tidepool.h"

struct tp_tls_file {
    int fd;          /* memfd, or -1 when `path` is a file */
    pid_t made_by;   /* the process that made the file and removes it; 0: the user's file */
    char path[4096]; /* what libpq is given; empty when there is none */
};

struct tp_tls {
    struct tp_tls_file ca, cert, key;
};

struct tp_tls_source {
    const char *ca, *cert, *key;                   /* path, PEM or base64; NULL when unset */
    const char *ca_label, *cert_label, *key_label; /* for messages: "DB_SSL_CA", "tls.ca" */
    const char *key_password;                      /* of an encrypted key, or NULL */
};

void tp__tls_init(struct tp_tls *tls);
void tp__tls_deinit(struct tp_tls *tls);
/* Decodes and checks: each is PEM of the right kind and in date, the key matches
 * the certificate, cert and key come together. Text that is neither PEM nor
 * base64 of PEM and names a readable file is a path. On failure *tls is empty. */
enum tp_status tp__tls_load(struct tp_tls *tls, const struct tp_tls_source *source,
                            struct tp_error *err) TP_MUST_CHECK;

/* The certificates that the system trusts: `preferred` (SSL_CERT_FILE, may be
 * NULL) or the first of the usual places that can be read; NULL when there is
 * none. Static, or `preferred`. */
const char *tp__tls_system_bundle(const char *preferred);

#endif
