/* Certificates and keys: from a path, PEM text or base64 of PEM to something
 * that libpq can be given, checked with OpenSSL before any connection.
 *
 *   tls_pem.c      a value to PEM
 *   tls_check.c    what is wrong with it
 *   tls_file.c     PEM to a file name for libpq
 *   tls.c          the whole of a configuration
 *   tls_keyring.c  what is in force, counted, and renewed when files rotate
 *
 * PEM reaches libpq as /proc/self/fd/N of a sealed memfd (mode 0600) and never
 * touches a disk. libpq 15 takes only file names; a memfd of mode 0600 passes its
 * permission check (measured). Where there is no memfd or no /proc, a file of mode
 * 0600 in a folder of mode 0700 takes its place until tp__tls_deinit; a key that is
 * a file already is then given to libpq as it is.
 *
 * The user's files are read here too and given as copies: what libpq uses is what was
 * checked, a file that is half written or gone breaks nothing, and a list of revoked
 * certificates that has gone, which libpq would pass over in silence, stays in force.
 * Owns: struct tp_tls owns its memfds until tp__tls_deinit.
 * Errors: TP_ERR_TLS or TP_ERR_VALIDATION; the message names the option or
 * variable that the caller passed as `label` and contains nothing of its value.
 * Thread: one at a time. */
#ifndef TP_TLS_H
#define TP_TLS_H

#include <sys/types.h>

#include "tidepool.h"

/* A path below a device: no file can be there, whoever runs this. In libpq 15 an
 * unset sslrootcert, sslcert, sslkey or sslcrl means a file in ~/.postgresql, while
 * one that is set and does not exist means none (fe-secure-openssl.c,
 * initialize_SSL: stat fails with ENOTDIR, which it takes like ENOENT; a list of
 * revoked certificates that cannot be loaded is passed over; the key is not looked
 * at without a certificate). An empty text would count as unset. */
#define TP_TLS_NO_FILE "/dev/null/none"

struct tp_tls_file {
    int fd;          /* memfd, or -1 when `path` is a file */
    pid_t made_by;   /* the process that made the file and removes it; 0: the user's file */
    char path[4096]; /* what libpq is given; empty when there is none */
    bool from_path;  /* the user gave a path */
};

struct tp_tls {
    struct tp_tls_file ca, cert, key, crl;
    struct tp_certificate authority; /* of those of `ca`, the one that lasts longest */
    struct tp_certificate own;       /* the first of `cert` */
    int64_t crl_until;               /* the next update of `crl`; 0: there is none */
    bool stranger; /* `own` comes from none of `ca`, which servers may be content with */
};

struct tp_tls_source {
    const char *ca, *cert, *key;                   /* path, PEM or base64; NULL when unset */
    const char *ca_label, *cert_label, *key_label; /* for messages: "DB_SSL_CA", "tls.ca" */
    const char *key_password;                      /* of an encrypted key, or NULL */
    const char *crl, *crl_label;
};

void tp__tls_init(struct tp_tls *tls);
void tp__tls_deinit(struct tp_tls *tls);
/* Decodes and checks: each is PEM of the right kind and in date, `ca` has a root, the
 * key matches the certificate, which is for clients, and cert and key come together; the
 * certificate's chain holds as far as `ca` knows its issuers, and `crl` is theirs. Text
 * that is neither PEM nor base64 of PEM and names a readable file is a path. On failure
 * *tls is empty. */
enum tp_status tp__tls_load(struct tp_tls *tls, const struct tp_tls_source *source,
                            struct tp_error *err) TP_MUST_CHECK;

/* The certificates that the system trusts: `preferred` (SSL_CERT_FILE, may be
 * NULL) or the first of the usual places that can be read; NULL when there is
 * none. Static, or `preferred`. */
const char *tp__tls_system_bundle(const char *preferred);

#endif
