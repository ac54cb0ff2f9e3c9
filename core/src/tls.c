#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "error.h"
#include "tls_pem.h"

/* ------------------------------------------------------------------- checks */

static enum tp_status no_memory(struct tp_error *err)
{
    return tp__error_set(err, TP_ERR_MEMORY, "out of memory");
}

static BIO *open_pem(const struct tp_pem *pem)
{
    return BIO_new_mem_buf(pem->text, (int)pem->len);
}

static X509 *next_certificate(BIO *bio)
{
    return PEM_read_bio_X509(bio, NULL, NULL, NULL);
}

/* Says why a text has no certificate in it. */
static enum tp_status not_a_certificate(const struct tp_pem *pem, struct tp_error *err)
{
    bool key = strstr(pem->text, "PRIVATE KEY-----") != NULL;
    return tp__error_set(err, TP_ERR_TLS, "%s %s", pem->label,
                         key ? "has a private key where a certificate should be"
                             : "has no certificate in it that can be read");
}

static void spell_time(const ASN1_TIME *time, char *out, size_t room)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 || strftime(out, room, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0) {
        snprintf(out, room, "an unknown date");
    }
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
    char when[64];
    int date = date_of(certificate);
    if (date == 0) {
        return TP_OK;
    }
    spell_time(date > 0 ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate), when,
               sizeof when);
    return tp__error_set(err, TP_ERR_TLS,
                         date > 0 ? "the certificate of %s expired on %s"
                                  : "the certificate of %s is not valid before %s",
                         pem->label, when);
}

/* A bundle will do when one of its certificates is in date: those of public
 * authorities always have some that are not. */
static enum tp_status check_ca(const struct tp_pem *pem, struct tp_error *err)
{
    BIO *bio = open_pem(pem);
    if (bio == NULL) {
        return no_memory(err);
    }
    enum tp_status status = TP_OK;
    X509 *certificate = next_certificate(bio);
    if (certificate == NULL) {
        status = not_a_certificate(pem, err);
    }
    while (certificate != NULL) {
        status = check_date(pem, certificate, err);
        X509_free(certificate);
        certificate = status == TP_OK ? NULL : next_certificate(bio);
    }
    BIO_free(bio);
    return status;
}

/* Reads the client's own certificate, the first of its chain. */
static enum tp_status check_cert(const struct tp_pem *pem, X509 **out, struct tp_error *err)
{
    BIO *bio = open_pem(pem);
    if (bio == NULL) {
        return no_memory(err);
    }
    X509 *certificate = next_certificate(bio);
    BIO_free(bio);
    if (certificate == NULL) {
        return not_a_certificate(pem, err);
    }
    enum tp_status status = check_date(pem, certificate, err);
    if (status != TP_OK) {
        X509_free(certificate);
        return status;
    }
    *out = certificate;
    return TP_OK;
}

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

static enum tp_status check_key(const struct tp_pem *pem, const struct tp_tls_source *source,
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

/* ------------------------------------------------------- what libpq is given */

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

/* Whether libpq will be able to open it: not without /proc, and not in a process
 * that changed its user and may not look at its own /proc/self/fd. */
static bool can_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static bool make_memfd(struct tp_tls_file *file, const struct tp_pem *pem)
{
    int fd = memfd_create("tidepool-pem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return false;
    }
    snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", fd);
    /* The mode must be set before the seals, and libpq refuses a key that others
     * may read. */
    if (write_all(fd, pem->text, pem->len) && fchmod(fd, S_IRUSR | S_IWUSR) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0 &&
        can_open(file->path)) {
        file->fd = fd;
        return true;
    }
    close(fd);
    file->path[0] = '\0';
    return false;
}

/* Removes the file and the folder that was made for it. */
static void remove_file(struct tp_tls_file *file)
{
    char *slash = strrchr(file->path, '/');
    (void)unlink(file->path);
    if (slash != NULL) {
        *slash = '\0';
        (void)rmdir(file->path);
    }
}

/* mkdtemp makes the folder with mode 0700. */
static bool make_file(struct tp_tls_file *file, const struct tp_pem *pem)
{
    static const char name[] = "/tidepool.pem";
    const char *where = getenv("TMPDIR");
    int len = snprintf(file->path, sizeof file->path - sizeof name, "%s/tidepool-XXXXXX",
                       where != NULL && where[0] == '/' ? where : "/tmp");
    if (len < 0 || (size_t)len >= sizeof file->path - sizeof name || mkdtemp(file->path) == NULL) {
        file->path[0] = '\0';
        return false;
    }
    memcpy(file->path + len, name, sizeof name);
    int fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    bool made = fd >= 0 && write_all(fd, pem->text, pem->len);
    if (fd >= 0 && close(fd) != 0) {
        made = false;
    }
    if (made) {
        file->made_by = getpid();
        return true;
    }
    remove_file(file);
    file->path[0] = '\0';
    return false;
}

static enum tp_status provide(struct tp_tls_file *file, const struct tp_pem *pem, const char *value,
                              struct tp_error *err)
{
    if (pem->is_file) {
        if (strlen(value) >= sizeof file->path) {
            return tp__error_set(err, TP_ERR_VALIDATION, "%s is too long a path", pem->label);
        }
        memcpy(file->path, value, strlen(value) + 1);
        return TP_OK;
    }
    if (make_memfd(file, pem) || make_file(file, pem)) {
        return TP_OK;
    }
    return tp__error_set(err, TP_ERR_TLS, "%s cannot be stored for libpq: %s", pem->label,
                         strerror(errno));
}

/* ---------------------------------------------------------------- the whole */

static void file_init(struct tp_tls_file *file)
{
    file->fd = -1;
    file->made_by = 0;
    file->path[0] = '\0';
}

static void file_deinit(struct tp_tls_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    /* A child of fork shares the file with its parent, who still needs it. */
    if (file->made_by != 0 && file->made_by == getpid()) {
        remove_file(file);
    }
    file_init(file);
}

void tp__tls_init(struct tp_tls *tls)
{
    file_init(&tls->ca);
    file_init(&tls->cert);
    file_init(&tls->key);
}

void tp__tls_deinit(struct tp_tls *tls)
{
    file_deinit(&tls->ca);
    file_deinit(&tls->cert);
    file_deinit(&tls->key);
}

static enum tp_status load_ca(struct tp_tls *tls, const struct tp_tls_source *source,
                              struct tp_error *err)
{
    if (source->ca == NULL) {
        return TP_OK;
    }
    struct tp_pem pem = {.label = source->ca_label};
    enum tp_status status = tp__pem_get(&pem, source->ca, err);
    if (status == TP_OK) {
        status = check_ca(&pem, err);
    }
    if (status == TP_OK) {
        status = provide(&tls->ca, &pem, source->ca, err);
    }
    tp__pem_free(&pem);
    return status;
}

/* Both are there. */
static enum tp_status load_pair(struct tp_tls *tls, const struct tp_tls_source *source,
                                struct tp_error *err)
{
    struct tp_pem cert = {.label = source->cert_label}, key = {.label = source->key_label};
    X509 *certificate = NULL;
    enum tp_status status;
    if ((status = tp__pem_get(&cert, source->cert, err)) != TP_OK ||
        (status = check_cert(&cert, &certificate, err)) != TP_OK ||
        (status = tp__pem_get(&key, source->key, err)) != TP_OK ||
        (status = check_key(&key, source, certificate, err)) != TP_OK) {
        goto out;
    }
    if (key.is_file && (status = check_key_file(&key, source->key, err)) != TP_OK) {
        goto out;
    }
    status = provide(&tls->cert, &cert, source->cert, err);
    if (status == TP_OK) {
        status = provide(&tls->key, &key, source->key, err);
    }
out:
    X509_free(certificate);
    tp__pem_free(&cert);
    tp__pem_free(&key);
    return status;
}

static enum tp_status load(struct tp_tls *tls, const struct tp_tls_source *source,
                           struct tp_error *err)
{
    enum tp_status status = load_ca(tls, source, err);
    if (status != TP_OK || (source->cert == NULL && source->key == NULL)) {
        return status;
    }
    if (source->cert == NULL || source->key == NULL) {
        bool lonely_key = source->cert == NULL;
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "%s is set without %s: a client certificate and its key come together",
                             lonely_key ? source->key_label : source->cert_label,
                             lonely_key ? source->cert_label : source->key_label);
    }
    return load_pair(tls, source, err);
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
