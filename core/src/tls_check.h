/* What is wrong with certificates, keys and lists of revoked certificates.
 *
 * Owns: the lists of certificates that are given out are the caller's.
 * Errors: TP_ERR_TLS, TP_ERR_VALIDATION, TP_ERR_MEMORY. A message has labels, names of
 * certificates and dates, and nothing of a key.
 * Thread: one at a time. */
#ifndef TP_TLS_CHECK_H
#define TP_TLS_CHECK_H

#include <openssl/x509.h>

#include "tls.h"
#include "tls_pem.h"

/* What there is to know of a certificate. */
void tp__tls_describe(struct tp_certificate *out, const X509 *certificate);

/* Reads certificates to trust: one is in date, and one is a root (libpq asks OpenSSL for
 * whole chains, so an intermediate alone is never enough). *longest is the one that lasts
 * longest. */
enum tp_status tp__tls_read_ca(const struct tp_pem *pem, STACK_OF(X509) * *out,
                               struct tp_certificate *longest, struct tp_error *err) TP_MUST_CHECK;

/* Reads the client's own certificate, which is in date and for clients, and its chain. */
enum tp_status tp__tls_read_chain(const struct tp_pem *pem, STACK_OF(X509) * *out,
                                  struct tp_error *err) TP_MUST_CHECK;

/* Whether a chain holds as far as `ca` (may be NULL) knows who issued it. *stranger tells
 * that it does not know that: the server may. */
enum tp_status tp__tls_check_chain(const struct tp_tls_source *source, STACK_OF(X509) * chain,
                                   STACK_OF(X509) * ca, bool *stranger,
                                   struct tp_error *err) TP_MUST_CHECK;

/* The key can be read and is that of the certificate. */
enum tp_status tp__tls_check_key(const struct tp_pem *pem, const struct tp_tls_source *source,
                                 X509 *certificate, struct tp_error *err) TP_MUST_CHECK;

/* The lists are in date, and at least one is signed by one of `ca` (NULL: not known), none
 * falsely. *until is when the first of them ends; 0: never. */
enum tp_status tp__tls_check_crl(const struct tp_pem *pem, const struct tp_tls_source *source,
                                 STACK_OF(X509) * ca, int64_t *until,
                                 struct tp_error *err) TP_MUST_CHECK;

#endif
