/* Certificates and keys: how they are given, how they are checked, and what libpq
 * gets. All of them are made here, with OpenSSL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "tls.h"

enum { ROOM = 8192, DAY = 86400 };

static char folder[] = "/tmp/tidepool-test-tls-XXXXXX";
static char ca_pem[ROOM], cert_pem[ROOM], key_pem[ROOM], other_key_pem[ROOM], locked_key_pem[ROOM];
static char expired_pem[ROOM], expired_key_pem[ROOM], early_pem[ROOM], two_ca_pem[2 * ROOM];
static char chain_pem[2 * ROOM];

static void drain(BIO *bio, char *out)
{
    int len = BIO_read(bio, out, ROOM - 1);
    assert_true(len > 0);
    out[len] = '\0';
    BIO_free(bio);
}

static void write_key(EVP_PKEY *key, const char *passphrase, char *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char phrase[32] = "";
    snprintf(phrase, sizeof phrase, "%s", passphrase != NULL ? passphrase : "");
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key,
                                                   passphrase != NULL ? EVP_aes_256_cbc() : NULL,
                                                   phrase, (int)strlen(phrase), NULL, NULL),
                     1);
    drain(bio, out);
}

/* A self-signed certificate that is valid from and until so many seconds from now. */
static void write_certificate(EVP_PKEY *key, long from, long until, char *out)
{
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), from);
    X509_gmtime_adj(X509_getm_notAfter(certificate), until);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    drain(bio, out);
    X509_free(certificate);
}

static int make_certificates(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    write_certificate(other, -DAY, DAY, ca_pem);
    write_certificate(key, -DAY, DAY, cert_pem);
    write_certificate(key, -2 * DAY, -DAY, expired_pem);
    write_certificate(key, DAY, 2 * DAY, early_pem);
    write_key(key, NULL, key_pem);
    write_key(key, NULL, expired_key_pem);
    write_key(other, NULL, other_key_pem);
    write_key(key, "sesame", locked_key_pem);
    snprintf(two_ca_pem, sizeof two_ca_pem, "%s%s", expired_pem, ca_pem);
    snprintf(chain_pem, sizeof chain_pem, "%s%s", cert_pem, ca_pem);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static const char *file_of(const char *name, const char *text, mode_t mode)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"ca", "cert", "key", "empty", "a:b"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

static void base64_of(const char *text, char *out)
{
    EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)text, (int)strlen(text));
}

static struct tp_tls_source source_of(const char *ca, const char *cert, const char *key)
{
    return (struct tp_tls_source){ca,           cert, key,  "DB_SSL_CA", "DB_SSL_CERT",
                                  "DB_SSL_KEY", NULL, NULL, NULL};
}

/* Reads what libpq would read. */
static void assert_path_has(const char *path, const char *text)
{
    char found[2 * ROOM];
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = read(fd, found, sizeof found - 1);
    assert_true(len >= 0);
    found[len] = '\0';
    close(fd);
    assert_string_equal(found, text);
}

static void assert_loads(const struct tp_tls_source *source, const char *ca, const char *cert,
                         const char *key)
{
    struct tp_tls tls;
    struct tp_error err;
    tp__tls_init(&tls);
    enum tp_status status = tp__tls_load(&tls, source, &err);
    if (status != TP_OK) {
        fail_msg("%s", err.message);
    }
    const char *texts[] = {ca, cert, key};
    const struct tp_tls_file *files[] = {&tls.ca, &tls.cert, &tls.key};
    for (size_t i = 0; i < 3; i++) {
        if (texts[i] == NULL) {
            assert_string_equal(files[i]->path, "");
        } else {
            assert_path_has(files[i]->path, texts[i]);
        }
    }
    tp__tls_deinit(&tls);
    assert_string_equal(tls.ca.path, "");
    assert_int_equal(tls.key.fd, -1);
}

/* `label` and `says` are parts of the message; "c4nary" is in the values. */
static void assert_refuses(const struct tp_tls_source *source, enum tp_status kind,
                           const char *label, const char *says)
{
    struct tp_tls tls;
    struct tp_error err;
    tp__tls_init(&tls);
    enum tp_status status = tp__tls_load(&tls, source, &err);
    if (status != kind || strstr(err.message, label) == NULL || strstr(err.message, says) == NULL) {
        fail_msg("status %d: %s", (int)status, status == TP_OK ? "" : err.message);
    }
    assert_null(strstr(err.message, "c4nary"));
    assert_string_equal(tls.ca.path, "");
    assert_string_equal(tls.cert.path, "");
    assert_int_equal(tls.ca.fd, -1);
    assert_int_equal(ERR_peek_error(), 0);
}

static void pem_text_is_taken(void **state)
{
    (void)state;
    struct tp_tls_source source = source_of(ca_pem, cert_pem, key_pem);
    assert_loads(&source, ca_pem, cert_pem, key_pem);
    source = source_of(ca_pem, NULL, NULL);
    assert_loads(&source, ca_pem, NULL, NULL);
    source = source_of(two_ca_pem, chain_pem, key_pem);
    assert_loads(&source, two_ca_pem, chain_pem, key_pem);
    source = source_of(NULL, NULL, NULL);
    assert_loads(&source, NULL, NULL, NULL);
}

static void base64_of_pem_is_taken(void **state)
{
    char ca[2 * ROOM], cert[2 * ROOM], key[2 * ROOM], wrapped[3 * ROOM];
    (void)state;
    base64_of(ca_pem, ca);
    base64_of(cert_pem, cert);
    base64_of(key_pem, key);
    struct tp_tls_source source = source_of(ca, cert, key);
    assert_loads(&source, ca_pem, cert_pem, key_pem);
    size_t len = 0; /* as base64(1) wraps it, and without padding */
    for (size_t i = 0; ca[i] != '\0' && ca[i] != '='; i++) {
        wrapped[len++] = ca[i];
        if (i % 76 == 75) {
            wrapped[len++] = '\n';
        }
    }
    wrapped[len] = '\0';
    source = source_of(wrapped, NULL, NULL);
    assert_loads(&source, ca_pem, NULL, NULL);
}

static void line_breaks_may_be_written_as_escapes(void **state)
{
    char escaped[2 * ROOM];
    size_t len = 0;
    (void)state;
    for (const char *at = ca_pem; *at != '\0'; at++) {
        if (*at == '\n') {
            escaped[len++] = '\\';
        }
        escaped[len++] = *at == '\n' ? 'n' : *at;
    }
    escaped[len] = '\0';
    struct tp_tls_source source = source_of(escaped, NULL, NULL);
    assert_loads(&source, ca_pem, NULL, NULL);
}

static void files_are_given_to_libpq_as_checked_copies(void **state)
{
    (void)state;
    char ca[256], cert[256], key[256];
    snprintf(ca, sizeof ca, "%s", file_of("ca", ca_pem, 0644));
    snprintf(cert, sizeof cert, "%s", file_of("cert", cert_pem, 0644));
    snprintf(key, sizeof key, "%s", file_of("key", key_pem, 0600));
    struct tp_tls_source source = source_of(ca, cert, key);
    struct tp_tls tls;
    struct tp_error err;
    tp__tls_init(&tls);
    assert_int_equal(tp__tls_load(&tls, &source, &err), TP_OK);
    assert_int_equal(unlink(ca), 0);
    assert_path_has(tls.ca.path, ca_pem);
    assert_path_has(tls.key.path, key_pem);
    assert_true(tls.ca.from_path && tls.key.from_path && !tls.crl.from_path);
    tp__tls_deinit(&tls);
    assert_int_equal(access(key, F_OK), 0); /* the user's file stays */
}

static void memory_becomes_a_sealed_private_memfd(void **state)
{
    (void)state;
    struct tp_tls_source source = source_of(NULL, cert_pem, key_pem);
    struct tp_tls tls;
    struct tp_error err;
    struct stat st;
    tp__tls_init(&tls);
    assert_int_equal(tp__tls_load(&tls, &source, &err), TP_OK);
    int fd = tls.key.fd;
    assert_true(fd >= 0);
    assert_int_equal(strncmp(tls.key.path, "/proc/self/fd/", 14), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GET_SEALS),
                     F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
    assert_int_equal(write(fd, "x", 1), -1);
    tp__tls_deinit(&tls);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
    tp__tls_deinit(&tls); /* twice is fine */
}

static void dates_are_checked(void **state)
{
    (void)state;
    struct tp_tls_source source = source_of(NULL, expired_pem, expired_key_pem);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_CERT", "expired on 20");
    source = source_of(expired_pem, NULL, NULL);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_CA", " UTC");
    source = source_of(NULL, early_pem, key_pem);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_CERT", "not valid before 20");
}

static void a_key_must_match_its_certificate(void **state)
{
    (void)state;
    struct tp_tls_source source = source_of(NULL, cert_pem, other_key_pem);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_KEY", "does not match");
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_CERT", "does not match");
}

static void certificate_and_key_come_together(void **state)
{
    (void)state;
    struct tp_tls_source source = source_of(NULL, cert_pem, NULL);
    assert_refuses(&source, TP_ERR_VALIDATION, "DB_SSL_CERT is set without DB_SSL_KEY", "together");
    source = source_of(NULL, NULL, key_pem);
    assert_refuses(&source, TP_ERR_VALIDATION, "DB_SSL_KEY is set without DB_SSL_CERT", "together");
}

static void the_wrong_kind_is_named(void **state)
{
    static const char broken[] = "-----BEGIN CERTIFICATE-----\nc4nary\n-----END CERTIFICATE-----\n";
    (void)state;
    struct tp_tls_source source = source_of(key_pem, NULL, NULL);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_CA", "private key where a certificate");
    source = source_of(NULL, key_pem, key_pem);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_CERT", "private key where a certificate");
    source = source_of(NULL, cert_pem, cert_pem);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_KEY", "certificate where a private key");
    source = source_of(broken, NULL, NULL);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_CA", "no certificate in it that can be read");
    source = source_of(ca_pem, broken, key_pem);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_CERT", "no certificate");
}

static void what_is_nothing_of_the_three_is_refused(void **state)
{
    static const char *const values[] = {
        "c4nary", "/no/such/c4nary.pem", "YzRuYXJ5", "c4nary!", "====", "c4na=ry",
    };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct tp_tls_source source = source_of(values[i], NULL, NULL);
        assert_refuses(&source, TP_ERR_VALIDATION, "DB_SSL_CA", "neither PEM");
        source = source_of(NULL, cert_pem, values[i]);
        assert_refuses(&source, TP_ERR_VALIDATION, "DB_SSL_KEY", "neither PEM");
    }
    struct tp_tls_source source = source_of("/tmp", NULL, NULL);
    assert_refuses(&source, TP_ERR_VALIDATION, "DB_SSL_CA", "no file of certificates");
    source = source_of("/dev/zero", NULL, NULL);
    assert_refuses(&source, TP_ERR_VALIDATION, "DB_SSL_CA", "no file of certificates");
    source = source_of(file_of("empty", "", 0600), NULL, NULL);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_CA", "no certificate");
}

static void a_key_file_that_libpq_would_refuse_is_refused(void **state)
{
    (void)state;
    struct tp_tls_source source = source_of(NULL, cert_pem, file_of("key", key_pem, 0644));
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_KEY", "0600");
    source = source_of(NULL, cert_pem, file_of("a:b", key_pem, 0600));
    assert_refuses(&source, TP_ERR_VALIDATION, "DB_SSL_KEY", "':'");
}

static void an_encrypted_key_needs_its_passphrase(void **state)
{
    (void)state;
    struct tp_tls_source source = source_of(NULL, cert_pem, locked_key_pem);
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_KEY", "is encrypted: say its passphrase");
    source.key_password = "c4nary";
    assert_refuses(&source, TP_ERR_TLS, "DB_SSL_KEY", "cannot be decrypted");
    source.key_password = "sesame";
    assert_loads(&source, NULL, cert_pem, locked_key_pem);
}

static void openssl_s_error_queue_is_left_as_it_was(void **state)
{
    (void)state;
    struct tp_tls tls;
    struct tp_error err;
    struct tp_tls_source source = source_of("-----BEGIN CERTIFICATE-----\nx", NULL, NULL);
    tp__tls_init(&tls);
    ERR_raise(ERR_LIB_USER, 42);
    unsigned long before = ERR_peek_error();
    assert_int_equal(tp__tls_load(&tls, &source, &err), TP_ERR_TLS);
    assert_int_equal(ERR_get_error(), before);
    assert_int_equal(ERR_get_error(), 0);
}

/* Runs in a child, where TMPDIR can be set without harm. Returns 0 when all is well. */
static int load_without_memfd(void)
{
    struct tp_tls_source source = source_of(NULL, cert_pem, key_pem);
    struct tp_tls tls;
    struct stat st;
    char parent[4096];
    tp__tls_init(&tls);
    setenv("TMPDIR", folder, 1);
    if (tp__tls_load(&tls, &source, NULL) != TP_OK || tls.key.fd != -1 ||
        stat(tls.key.path, &st) != 0 || (st.st_mode & 07777) != 0600) {
        return 1;
    }
    snprintf(parent, sizeof parent, "%s", tls.key.path);
    *strrchr(parent, '/') = '\0';
    if (stat(parent, &st) != 0 || (st.st_mode & 07777) != 0700 ||
        strncmp(parent, folder, strlen(folder)) != 0) {
        return 2;
    }
    if (fork() == 0) { /* a child of fork leaves the file to its parent */
        tp__tls_deinit(&tls);
        _exit(0);
    }
    wait(NULL);
    char path[4096];
    snprintf(path, sizeof path, "%s", tls.key.path);
    if (access(path, R_OK) != 0) {
        return 3;
    }
    tp__tls_deinit(&tls);
    return access(path, F_OK) == 0 || access(parent, F_OK) == 0 ? 4 : 0;
}

/* Stands for libc's function, also for the code under test. */
static bool memfd_is_missing;
int memfd_create(const char *name, unsigned flags)
{
    if (memfd_is_missing) {
        errno = ENOSYS;
        return -1;
    }
    return (int)syscall(SYS_memfd_create, name, flags);
}

static void without_memfd_a_private_file_takes_its_place(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        memfd_is_missing = true;
        _exit(load_without_memfd());
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_int_equal(how, 0);
}

static void the_system_s_bundle_is_found(void **state)
{
    (void)state;
    const char *path = file_of("ca", ca_pem, 0644);
    assert_ptr_equal(tp__tls_system_bundle(path), path);
    const char *bundle = tp__tls_system_bundle("/no/such/file");
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) == 0) {
        assert_non_null(bundle);
        assert_int_equal(access(bundle, R_OK), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pem_text_is_taken),
        cmocka_unit_test(base64_of_pem_is_taken),
        cmocka_unit_test(line_breaks_may_be_written_as_escapes),
        cmocka_unit_test(files_are_given_to_libpq_as_checked_copies),
        cmocka_unit_test(memory_becomes_a_sealed_private_memfd),
        cmocka_unit_test(dates_are_checked),
        cmocka_unit_test(a_key_must_match_its_certificate),
        cmocka_unit_test(certificate_and_key_come_together),
        cmocka_unit_test(the_wrong_kind_is_named),
        cmocka_unit_test(what_is_nothing_of_the_three_is_refused),
        cmocka_unit_test(a_key_file_that_libpq_would_refuse_is_refused),
        cmocka_unit_test(an_encrypted_key_needs_its_passphrase),
        cmocka_unit_test(openssl_s_error_queue_is_left_as_it_was),
        cmocka_unit_test(without_memfd_a_private_file_takes_its_place),
        cmocka_unit_test(the_system_s_bundle_is_found),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_folder);
}
