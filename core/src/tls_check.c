#include "tls_check.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "error.h"

enum { NAME_ROOM = sizeof(((struct tp_certificate *)NULL)->subject) };

static enum tp_status no_memory(struct tp_error *err)
{
    return tp__error_set(err, TP_ERR_MEMORY, "out of memory");
}

static BIO *open_pem(const struct tp_pem *pem)
{
    return BIO_new_mem_buf(pem->text, (int)pem->len);
}

/* ----------------------------------------------------------- names and dates */

/* As RFC 2253 writes it, in UTF-8. */
static void spell_name(const X509_NAME *name, char out[NAME_ROOM])
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = 0;
    if (bio != NULL &&
        X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >=
            0) {
        len = BIO_get_mem_data(bio, &text);
    }
    tp__text_copy_n(out, NAME_ROOM, text, len > 0 ? (size_t)len : 0);
    BIO_free(bio);
}

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm tm;
    return time != NULL && ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void spell_time(const ASN1_TIME *time, char *out, size_t room)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 || strftime(out, room, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0) {
        snprintf(out, room, "an unknown date");
    }
}

void tp__tls_describe(struct tp_certificate *out, const X509 *certificate)
{
    out->known = true;
    spell_name(X509_get_subject_name(certificate), out->subject);
    spell_name(X509_get_issuer_name(certificate), out->issuer);
    out->not_before = seconds_of(X509_get0_notBefore(certificate));
    out->not_after = seconds_of(X509_get0_notAfter(certificate));
}

/* Past its end: 1; before its beginning: -1; valid today: 0. */
static int date_of(const X509 *certificate)
{
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
        return 1;
    }
    return X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0 ? -1 : 0;
}

static enum tp_status check_date(const struct tp_pem *pem, const X509 *certificate,
                                 struct tp_error *err)
{
    char when[64], name[NAME_ROOM];
    int date = date_of(certificate);
    if (date == 0) {
        return TP_OK;
    }
    spell_time(date > 0 ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate), when,
               sizeof when);
    spell_name(X509_get_subject_name(certificate), name);
    return tp__error_set(err, TP_ERR_TLS,
                         date > 0 ? "the certificate of %s (%s) expired on %s: renew it"
                                  : "the certificate of %s (%s) is not valid before %s: is the "
                                    "clock right?",
                         pem->label, name, when);
}

/* -------------------------------------------------------------- certificates */

/* Says why a text has no certificate in it. */
static enum tp_status not_a_certificate(const struct tp_pem *pem, struct tp_error *err)
{
    bool key = strstr(pem->text, "PRIVATE KEY-----") != NULL;
    return tp__error_set(err, TP_ERR_TLS, "%s %s", pem->label,
                         key ? "has a private key where a certificate should be"
                             : "has no certificate in it that can be read");
}

static void free_all(STACK_OF(X509) * list)
{
    sk_X509_pop_free(list, X509_free);
}

/* All certificates of a text, one at least. */
static enum tp_status read_all(const struct tp_pem *pem, STACK_OF(X509) * *out,
                               struct tp_error *err)
{
    BIO *bio = open_pem(pem);
    STACK_OF(X509) *list = sk_X509_new_null();
    X509 *certificate = NULL;
    bool kept = bio != NULL && list != NULL;
    while (kept && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        kept = sk_X509_push(list, certificate) > 0;
    }
    BIO_free(bio);
    enum tp_status status = TP_OK;
    if (!kept) {
        X509_free(certificate);
        status = no_memory(err);
    } else if (sk_X509_num(list) == 0) {
        status = not_a_certificate(pem, err);
    }
    if (status != TP_OK) {
        free_all(list);
        return status;
    }
    *out = list;
    return TP_OK;
}

static bool is_root(X509 *certificate)
{
    return X509_check_issued(certificate, certificate) == X509_V_OK;
}

static enum tp_status no_root(const struct tp_pem *pem, const X509 *certificate,
                              struct tp_error *err)
{
    char name[NAME_ROOM], issuer[NAME_ROOM];
    spell_name(X509_get_subject_name(certificate), name);
    spell_name(X509_get_issuer_name(certificate), issuer);
    return tp__error_set(err, TP_ERR_TLS,
                         "%s has no root certificate: \"%s\" was issued by \"%s\", whose "
                         "certificate must be added",
                         pem->label, name, issuer);
}

/* A bundle will do when one of its certificates is in date: those of public
 * authorities always have some that are not. */
static enum tp_status check_ca(const struct tp_pem *pem, STACK_OF(X509) * list,
                               struct tp_certificate *longest, struct tp_error *err)
{
    X509 *last = NULL, *in_date = NULL;
    bool has_root = false;
    for (int i = 0; i < sk_X509_num(list); i++) {
        X509 *certificate = sk_X509_value(list, i);
        has_root = has_root || is_root(certificate);
        in_date = date_of(certificate) == 0 ? certificate : in_date;
        if (last == NULL ||
            ASN1_TIME_compare(X509_get0_notAfter(certificate), X509_get0_notAfter(last)) > 0) {
            last = certificate;
        }
    }
    if (in_date == NULL) {
        return check_date(pem, last, err);
    }
    if (!has_root) {
        return no_root(pem, last, err);
    }
    tp__tls_describe(longest, last);
    return TP_OK;
}

enum tp_status tp__tls_read_ca(const struct tp_pem *pem, STACK_OF(X509) * *out,
                               struct tp_certificate *longest, struct tp_error *err)
{
    STACK_OF(X509) *list = NULL;
    enum tp_status status = read_all(pem, &list, err);
    if (status == TP_OK) {
        status = check_ca(pem, list, longest, err);
    }
    if (status != TP_OK) {
        free_all(list);
        return status;
    }
    *out = list;
    return TP_OK;
}

enum tp_status tp__tls_read_chain(const struct tp_pem *pem, STACK_OF(X509) * *out,
                                  struct tp_error *err)
{
    STACK_OF(X509) *list = NULL;
    enum tp_status status = read_all(pem, &list, err);
    if (status != TP_OK) {
        return status;
    }
    X509 *own = sk_X509_value(list, 0);
    status = check_date(pem, own, err);
    if (status == TP_OK && X509_check_purpose(own, X509_PURPOSE_SSL_CLIENT, 0) == 0) {
        status = tp__error_set(err, TP_ERR_TLS,
                               "the certificate of %s is not for clients (its key usage): servers "
                               "refuse it",
                               pem->label);
    }
    if (status != TP_OK) {
        free_all(list);
        return status;
    }
    *out = list;
    return TP_OK;
}

/* --------------------------------------------------------------------- chain */

/* The certificate of that name, or NULL. */
static X509 *find_named(STACK_OF(X509) * list, const X509_NAME *name)
{
    for (int i = 0; i < sk_X509_num(list); i++) {
        if (X509_NAME_cmp(X509_get_subject_name(sk_X509_value(list, i)), name) == 0) {
            return sk_X509_value(list, i);
        }
    }
    return NULL;
}

/* Whether the chain ended where nobody of `ca` has signed. */
static bool is_open_end(int code)
{
    return code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
           code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
           code == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
           code == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
           code == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
}

static enum tp_status broken_chain(const struct tp_tls_source *source, X509_STORE_CTX *ctx,
                                   STACK_OF(X509) * ca, bool *stranger, struct tp_error *err)
{
    char name[NAME_ROOM];
    int code = X509_STORE_CTX_get_error(ctx);
    X509 *at = X509_STORE_CTX_get_current_cert(ctx);
    spell_name(X509_get_subject_name(at), name);
    if (!is_open_end(code)) {
        return tp__error_set(err, TP_ERR_TLS, "the chain of %s to %s is broken at \"%s\": %s",
                             source->cert_label, source->ca_label, name,
                             X509_verify_cert_error_string(code));
    }
    if (!is_root(at) && find_named(ca, X509_get_issuer_name(at)) != NULL) {
        return tp__error_set(err, TP_ERR_TLS,
                             "\"%s\" of %s was not signed by the certificate of %s that has its "
                             "issuer's name, but by an older or newer one",
                             name, source->cert_label, source->ca_label);
    }
    *stranger = true;
    return TP_OK;
}

static X509_STORE *store_of(STACK_OF(X509) * ca)
{
    X509_STORE *store = X509_STORE_new();
    for (int i = 0; store != NULL && i < sk_X509_num(ca); i++) {
        if (X509_STORE_add_cert(store, sk_X509_value(ca, i)) != 1) {
            X509_STORE_free(store);
            store = NULL;
        }
    }
    return store;
}

enum tp_status tp__tls_check_chain(const struct tp_tls_source *source, STACK_OF(X509) * chain,
                                   STACK_OF(X509) * ca, bool *stranger, struct tp_error *err)
{
    if (ca == NULL) {
        return TP_OK;
    }
    X509_STORE *store = store_of(ca);
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    enum tp_status status;
    if (store == NULL || ctx == NULL ||
        X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain) != 1 ||
        X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) != 1) {
        status = no_memory(err);
    } else if (X509_verify_cert(ctx) == 1) {
        status = TP_OK;
    } else {
        status = broken_chain(source, ctx, ca, stranger, err);
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return status;
}

/* ----------------------------------------------------------------------- key */

/* Gives the passphrase of an encrypted key; without one OpenSSL would ask for it
 * at the terminal. */
static int give_passphrase(char *out, int room, int writing, void *ctx)
{
    const char *passphrase = ctx;
    (void)writing;
    if (passphrase == NULL || strlen(passphrase) > (size_t)room) {
        return -1;
    }
    memcpy(out, passphrase, strlen(passphrase));
    return (int)strlen(passphrase);
}

static enum tp_status not_a_key(const struct tp_pem *pem, const char *passphrase,
                                struct tp_error *err)
{
    const char *why = "has no private key in it that can be read";
    if (strstr(pem->text, "ENCRYPTED") != NULL) {
        why = passphrase == NULL ? "is encrypted: say its passphrase as libpq.sslpassword"
                                 : "cannot be decrypted with libpq.sslpassword";
    } else if (strstr(pem->text, "PRIVATE KEY-----") == NULL &&
               strstr(pem->text, "CERTIFICATE-----") != NULL) {
        why = "has a certificate where a private key should be";
    }
    return tp__error_set(err, TP_ERR_TLS, "%s %s", pem->label, why);
}

enum tp_status tp__tls_check_key(const struct tp_pem *pem, const struct tp_tls_source *source,
                                 X509 *certificate, struct tp_error *err)
{
    BIO *bio = open_pem(pem);
    if (bio == NULL) {
        return no_memory(err);
    }
    char *passphrase = (char *)(uintptr_t)source->key_password; /* only read: the API is old */
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, passphrase);
    BIO_free(bio);
    if (key == NULL) {
        return not_a_key(pem, source->key_password, err);
    }
    enum tp_status status = TP_OK;
    if (X509_check_private_key(certificate, key) != 1) {
        status =
            tp__error_set(err, TP_ERR_TLS, "the key of %s does not match the certificate of %s",
                          pem->label, source->cert_label);
    }
    EVP_PKEY_free(key);
    return status;
}

/* ----------------------------------------------------------- revoked certificates */

/* A list that is out of date makes OpenSSL refuse every server. */
static enum tp_status check_crl_date(const struct tp_pem *pem, const X509_CRL *crl,
                                     struct tp_error *err)
{
    char when[64];
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
    if (next != NULL && X509_cmp_current_time(next) < 0) {
        spell_time(next, when, sizeof when);
        return tp__error_set(err, TP_ERR_TLS,
                             "the list of revoked certificates of %s ended on %s: fetch the next "
                             "one from its authority",
                             pem->label, when);
    }
    if (X509_cmp_current_time(X509_CRL_get0_lastUpdate(crl)) > 0) {
        spell_time(X509_CRL_get0_lastUpdate(crl), when, sizeof when);
        return tp__error_set(err, TP_ERR_TLS,
                             "the list of revoked certificates of %s is not valid before %s: is "
                             "the clock right?",
                             pem->label, when);
    }
    return TP_OK;
}

/* *known: one of `ca` has the issuer's name. */
static enum tp_status check_crl_issuer(const struct tp_tls_source *source, X509_CRL *crl,
                                       STACK_OF(X509) * ca, bool *known, struct tp_error *err)
{
    X509 *issuer = find_named(ca, X509_CRL_get_issuer(crl));
    if (issuer == NULL) {
        return TP_OK;
    }
    *known = true;
    if (X509_CRL_verify(crl, X509_get0_pubkey(issuer)) == 1) {
        return TP_OK;
    }
    return tp__error_set(err, TP_ERR_TLS,
                         "the list of revoked certificates of %s was not signed by the certificate "
                         "of %s that has its issuer's name",
                         source->crl_label, source->ca_label);
}

static enum tp_status read_crls(const struct tp_pem *pem, const struct tp_tls_source *source,
                                BIO *bio, STACK_OF(X509) * ca, int64_t *until, struct tp_error *err)
{
    X509_CRL *crl;
    int count = 0;
    bool known = false;
    enum tp_status status = TP_OK;
    *until = 0;
    for (; status == TP_OK && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL;
         count++) {
        int64_t next = seconds_of(X509_CRL_get0_nextUpdate(crl));
        *until = next > 0 && (*until == 0 || next < *until) ? next : *until;
        status = check_crl_date(pem, crl, err);
        if (status == TP_OK && ca != NULL) {
            status = check_crl_issuer(source, crl, ca, &known, err);
        }
        X509_CRL_free(crl);
    }
    if (status == TP_OK && count == 0) {
        return tp__error_set(err, TP_ERR_TLS,
                             "%s has no list of revoked certificates (X509 CRL) in it that can be "
                             "read",
                             pem->label);
    }
    if (status == TP_OK && ca != NULL && !known) {
        return tp__error_set(err, TP_ERR_TLS,
                             "the list of revoked certificates of %s is not from any authority of "
                             "%s, so no server could be verified",
                             pem->label, source->ca_label);
    }
    return status;
}

enum tp_status tp__tls_check_crl(const struct tp_pem *pem, const struct tp_tls_source *source,
                                 STACK_OF(X509) * ca, int64_t *until, struct tp_error *err)
{
    BIO *bio = open_pem(pem);
    if (bio == NULL) {
        return no_memory(err);
    }
    enum tp_status status = read_crls(pem, source, bio, ca, until, err);
    BIO_free(bio);
    return status;
}
