#include "tls.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "error.h"
#include "tls_check.h"
#include "tls_file.h"

/* The rules by which libpq would refuse a key file at the first connection
 * (manual, 34.19.2; a name with a colon is an engine's to libpq). */
static enum tp_status check_key_file(const struct tp_pem *pem, const char *path,
                                     struct tp_error *err)
{
    struct stat st;
    if (strchr(path, ':') != NULL) {
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "%s is a path with a ':' in it, which libpq takes for an engine's key",
                             pem->label);
    }
    if (stat(path, &st) != 0) {
        return tp__error_set(err, TP_ERR_TLS, "the file of %s cannot be read: %s", pem->label,
                             strerror(errno));
    }
    mode_t forbidden = st.st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;
    if ((st.st_mode & forbidden) != 0) {
        return tp__error_set(err, TP_ERR_TLS,
                             "the key file of %s can be read by others: its mode must be 0600, or "
                             "0640 when root owns it",
                             pem->label);
    }
    return TP_OK;
}

void tp__tls_init(struct tp_tls *tls)
{
    memset(tls, 0, sizeof *tls);
    tp__tls_file_init(&tls->ca);
    tp__tls_file_init(&tls->cert);
    tp__tls_file_init(&tls->key);
    tp__tls_file_init(&tls->crl);
}

void tp__tls_deinit(struct tp_tls *tls)
{
    tp__tls_file_deinit(&tls->ca);
    tp__tls_file_deinit(&tls->cert);
    tp__tls_file_deinit(&tls->key);
    tp__tls_file_deinit(&tls->crl);
    tp__tls_init(tls);
}

static enum tp_status load_ca(struct tp_tls *tls, const struct tp_tls_source *source,
                              STACK_OF(X509) * *ca, struct tp_error *err)
{
    if (source->ca == NULL) {
        return TP_OK;
    }
    struct tp_pem pem = {.label = source->ca_label};
    enum tp_status status = tp__pem_get(&pem, source->ca, err);
    tls->ca.from_path = pem.is_file;
    if (status == TP_OK) {
        status = tp__tls_read_ca(&pem, ca, &tls->authority, err);
    }
    if (status == TP_OK) {
        status = tp__tls_file_make(&tls->ca, &pem, NULL, err);
    }
    tp__pem_free(&pem);
    return status;
}

static enum tp_status load_crl(struct tp_tls *tls, const struct tp_tls_source *source,
                               STACK_OF(X509) * ca, struct tp_error *err)
{
    if (source->crl == NULL) {
        return TP_OK;
    }
    struct tp_pem pem = {.label = source->crl_label};
    enum tp_status status = tp__pem_get(&pem, source->crl, err);
    tls->crl.from_path = pem.is_file;
    if (status == TP_OK) {
        status = tp__tls_check_crl(&pem, source, ca, &tls->crl_until, err);
    }
    if (status == TP_OK) {
        status = tp__tls_file_make(&tls->crl, &pem, NULL, err);
    }
    tp__pem_free(&pem);
    return status;
}

/* Both are there. */
static enum tp_status load_pair(struct tp_tls *tls, const struct tp_tls_source *source,
                                STACK_OF(X509) * ca, struct tp_error *err)
{
    struct tp_pem cert = {.label = source->cert_label}, key = {.label = source->key_label};
    STACK_OF(X509) *chain = NULL;
    enum tp_status status;
    if ((status = tp__pem_get(&cert, source->cert, err)) != TP_OK ||
        (status = tp__tls_read_chain(&cert, &chain, err)) != TP_OK ||
        (status = tp__pem_get(&key, source->key, err)) != TP_OK ||
        (status = tp__tls_check_key(&key, source, sk_X509_value(chain, 0), err)) != TP_OK ||
        (status = tp__tls_check_chain(source, chain, ca, &tls->stranger, err)) != TP_OK) {
        goto out;
    }
    if (key.is_file && (status = check_key_file(&key, source->key, err)) != TP_OK) {
        goto out;
    }
    tls->cert.from_path = cert.is_file;
    tls->key.from_path = key.is_file;
    tp__tls_describe(&tls->own, sk_X509_value(chain, 0));
    status = tp__tls_file_make(&tls->cert, &cert, NULL, err);
    if (status == TP_OK) {
        status = tp__tls_file_make(&tls->key, &key, key.is_file ? source->key : NULL, err);
    }
out:
    sk_X509_pop_free(chain, X509_free);
    tp__pem_free(&cert);
    tp__pem_free(&key);
    return status;
}

static enum tp_status check_pair(const struct tp_tls_source *source, struct tp_error *err)
{
    bool lonely_key = source->cert == NULL;
    if ((source->cert == NULL) == (source->key == NULL)) {
        return TP_OK;
    }
    return tp__error_set(err, TP_ERR_VALIDATION,
                         "%s is set without %s: a client certificate and its key come together",
                         lonely_key ? source->key_label : source->cert_label,
                         lonely_key ? source->cert_label : source->key_label);
}

static enum tp_status load(struct tp_tls *tls, const struct tp_tls_source *source,
                           struct tp_error *err)
{
    STACK_OF(X509) *ca = NULL;
    enum tp_status status = load_ca(tls, source, &ca, err);
    if (status == TP_OK) {
        status = load_crl(tls, source, ca, err);
    }
    if (status == TP_OK) {
        status = check_pair(source, err);
    }
    if (status == TP_OK && source->cert != NULL) {
        status = load_pair(tls, source, ca, err);
    }
    sk_X509_pop_free(ca, X509_free);
    return status;
}

enum tp_status tp__tls_load(struct tp_tls *tls, const struct tp_tls_source *source,
                            struct tp_error *err)
{
    /* OpenSSL's error queue belongs to the thread, which may be nginx's: what was
     * on it stays, what happens here does not. */
    ERR_set_mark();
    enum tp_status status = load(tls, source, err);
    ERR_pop_to_mark();
    if (status != TP_OK) {
        tp__tls_deinit(tls);
    }
    return status;
}

const char *tp__tls_system_bundle(const char *preferred)
{
    const char *const places[] = {
        preferred != NULL ? preferred : "",
        X509_get_default_cert_file(),
        "/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
        "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
        "/etc/ssl/ca-bundle.pem",             /* SUSE */
        "/etc/ssl/cert.pem",                  /* BSD, macOS */
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (places[i][0] != '\0' && access(places[i], R_OK) == 0) {
            return places[i];
        }
    }
    return NULL;
}
