/* What tls, tls.mode, tls.verify and certificates, each said by anybody, come to in
 * libpq's terms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "config_case.h"

enum { ROOM = 8192 };

#define NO_FILE "/dev/null/none"

static char certificate_pem[ROOM], key_pem[ROOM], other_key_pem[ROOM];

static void drain(BIO *bio, char *out)
{
    int len = BIO_read(bio, out, ROOM - 1);
    assert_true(len > 0);
    out[len] = '\0';
    BIO_free(bio);
}

static void write_key(EVP_PKEY *key, char *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    drain(bio, out);
}

static int make_certificates(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    drain(bio, certificate_pem);
    write_key(key, key_pem);
    write_key(other, other_key_pem);
    X509_free(certificate);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    return 0;
}

/* check-length: table */
static void tls_becomes_an_sslmode(void **state)
{
    char ca[ROOM + 16];
    snprintf(ca, sizeof ca, "DB_SSL_CA=%s", certificate_pem);
    const struct good_case cases[] = {
        /* the profiles */
        {{{PARTS}, {0}}, {"sslmode=disable", ">tls=false"}},
        {{{PARTS, "APP_ENV=production"}, {0}}, {"sslmode=verify-full", ">tls=true"}},
        {{{PARTS, "DB_SSL=true"}, {0}}, {"sslmode=require", "sslrootcert=" NO_FILE}},
        {{{PARTS, "DB_SSL=true", "APP_ENV=production"}, {0}}, {"sslmode=verify-full"}},
        {{{PARTS, "DB_SSL=false", "APP_ENV=production"}, {0}}, {"sslmode=disable"}},
        {{{PARTS, "DB_SSL=true", ca}, {0}}, {"sslmode=verify-full"}},
        {{{PARTS, "DB_SSL=true"}, {0}},
         {"ssl_min_protocol_version=TLSv1.2", "channel_binding=prefer"}},
        {{{URL("sslmode=require&channel_binding=require&ssl_min_protocol_version=TLSv1.3")}, {0}},
         {"ssl_min_protocol_version=TLSv1.3", "channel_binding=require",
          ">tls.min_version=TLSv1.3"}},
        {{{URL("sslrootcert=system"), "SSL_CERT_FILE=/etc/passwd"}, {0}},
         {"sslmode=verify-full", "sslrootcert=/etc/passwd"}},
        {{{PARTS}, {"tls.server_name=db.example"}}, {"sslmode=verify-full", "host=h"}},
        /* verify */
        {{{PARTS, "DB_SSL=true", "DB_SSL_REJECT_UNAUTHORIZED=true"}, {0}}, {"sslmode=verify-full"}},
        {{{PARTS, "DB_SSL=true", "DB_SSL_REJECT_UNAUTHORIZED=false"}, {0}},
         {"sslmode=require", "sslrootcert=" NO_FILE}},
        {{{PARTS, "DB_SSL=true", "DB_SSL_REJECT_UNAUTHORIZED=false", ca}, {0}},
         {"sslmode=require", "sslrootcert=" NO_FILE}},
        {{{PARTS, "APP_ENV=production", "DB_SSL_REJECT_UNAUTHORIZED=false"}, {0}},
         {"sslmode=require", "sslrootcert=" NO_FILE}},
        {{{PARTS, "DB_SSL_REJECT_UNAUTHORIZED=false"}, {0}}, {"sslmode=disable"}},
        {{{PARTS, "DB_SSL_REJECT_UNAUTHORIZED=true"}, {0}}, {"sslmode=verify-full"}},
        {{{PARTS, "DB_SSL=false", "DB_SSL_REJECT_UNAUTHORIZED=true"}, {0}}, {"sslmode=disable"}},
        {{{PARTS, ca}, {0}}, {"sslmode=verify-full"}},
        {{{PARTS, ca, "DB_SSL=false"}, {0}}, {"sslmode=disable"}},
        /* sslmode in the URL */
        {{{URL("sslmode=disable"), "DB_SSL=true", "APP_ENV=production"}, {0}}, {"sslmode=disable"}},
        {{{URL("sslmode=prefer"), "DB_SSL=true"}, {0}}, {"sslmode=prefer", "sslrootcert=" NO_FILE}},
        {{{URL("sslmode=require"), "DB_SSL=false"}, {0}},
         {"sslmode=require", "sslrootcert=" NO_FILE}},
        {{{URL("sslmode=require"), "DB_SSL_REJECT_UNAUTHORIZED=true"}, {0}}, {"sslmode=require"}},
        {{{URL("sslmode=verify-ca"), "DB_SSL_REJECT_UNAUTHORIZED=false"}, {0}},
         {"sslmode=verify-ca"}},
        {{{URL("ssl=true"), "APP_ENV=production"}, {0}}, {"sslmode=require"}},
        /* code above the URL */
        {{{URL("sslmode=require")}, {"tls=false"}}, {"sslmode=disable"}},
        {{{URL("sslmode=prefer")}, {"tls=false"}}, {"sslmode=disable"}},
        {{{URL("sslmode=prefer")}, {"tls=true"}}, {"sslmode=require"}},
        {{{URL("sslmode=verify-ca")}, {"tls=true"}}, {"sslmode=verify-ca"}},
        {{{URL("sslmode=require")}, {"tls.verify=true"}}, {"sslmode=verify-full"}},
        {{{URL("sslmode=verify-ca")}, {"tls.verify=true"}}, {"sslmode=verify-ca"}},
        {{{URL("sslmode=verify-full")}, {"tls.verify=false"}},
         {"sslmode=require", "sslrootcert=" NO_FILE}},
        {{{URL("sslmode=disable")}, {"tls.mode=verify-full"}}, {"sslmode=verify-full"}},
        {{{URL("")}, {"tls.mode=require", "tls.verify=true"}}, {"sslmode=verify-full"}},
        /* sockets */
        {{{"DB_HOST=/tmp", "APP_ENV=production"}, {0}}, {"sslmode=disable", ">tls=false"}},
        {{{"DB_HOST=/tmp", "DB_SSL=true"}, {0}}, {"sslmode=disable"}},
        {{{"DB_HOST=/tmp,h", "APP_ENV=production", "DB_PASSWORD=x"}, {0}}, {"sslmode=verify-full"}},
        {{{"PGDATABASE=d", "APP_ENV=production"}, {0}}, {"sslmode=disable"}},
        {{{"PGSERVICE=d", "APP_ENV=production"}, {0}}, {"sslmode=verify-full"}},
        {{{0}, {"host=/tmp", "hostaddr=127.0.0.1", "profile=production"}}, {"sslmode=verify-full"}},
    };
    (void)state;
    run_good(cases, sizeof cases / sizeof *cases);
}

static void tls_mistakes_are_errors_at_once(void **state)
{
    char ca[ROOM + 16], cert[ROOM + 16], key[ROOM + 16];
    snprintf(ca, sizeof ca, "DB_SSL_CA=%s", key_pem);
    snprintf(cert, sizeof cert, "DB_SSL_CERT=%s", certificate_pem);
    snprintf(key, sizeof key, "DB_SSL_KEY=%s", other_key_pem);
    const struct bad_case cases[] = {
        {{{PARTS, "DB_SSL=true", "DB_SSL_CA=!!"}, {0}},
         TP_ERR_VALIDATION,
         "DB_SSL_CA is neither PEM"},
        {{{PARTS, "DB_SSL=true", ca}, {0}}, TP_ERR_TLS, "DB_SSL_CA has a private key"},
        {{{PARTS, "DB_SSL=true", cert}, {0}},
         TP_ERR_VALIDATION,
         "DB_SSL_CERT is set without tls.key"},
        {{{PARTS, "DB_SSL=true", cert, key}, {0}},
         TP_ERR_TLS,
         "DB_SSL_KEY does not match the certificate of DB_SSL_CERT"},
        {{{URL("sslmode=require&sslcrl=/x")}, {0}},
         TP_ERR_VALIDATION,
         "sslcrl in DATABASE_URL says nothing while the server is not verified"},
        {{{URL("sslmode=verify-full&sslcrl=/x")}, {0}},
         TP_ERR_VALIDATION,
         "sslcrl in DATABASE_URL is neither PEM"},
        {{{URL("channel_binding=require&sslmode=prefer")}, {0}},
         TP_ERR_VALIDATION,
         "channel_binding in DATABASE_URL (require) needs TLS"},
        {{{PARTS}, {"tls=true", "tls.min_version=TLSv1.1"}},
         TP_ERR_VALIDATION,
         "tls.min_version must be TLSv1.2 or TLSv1.3"},
        {{{URL(
              "sslmode=require&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2")},
          {0}},
         TP_ERR_VALIDATION,
         "ssl_min_protocol_version in DATABASE_URL is higher than"},
        {{{URL("sslrootcert=/no/such/file")}, {0}},
         TP_ERR_VALIDATION,
         "sslrootcert in DATABASE_URL is neither"},
        {{{PARTS}, {"tls=false", "tls.mode=require", "host=h"}},
         TP_ERR_VALIDATION,
         "tls (false) and tls.mode (require) contradict"},
        {{{PARTS}, {"tls.verify=false", "tls.mode=verify-ca", "host=h"}},
         TP_ERR_VALIDATION,
         "tls.mode (verify-ca) and tls.verify (false) contradict"},
    };
    (void)state;
    run_bad(cases, sizeof cases / sizeof *cases);
}

static void switched_off_verification_is_warned_of_once(void **state)
{
    static const struct {
        struct setup setup;
        size_t count;
    } cases[] = {
        {{{PARTS, "DB_SSL=true", "DB_SSL_REJECT_UNAUTHORIZED=false"}, {0}}, 1},
        {{{PARTS, "DB_SSL_REJECT_UNAUTHORIZED=false"}, {0}}, 0},
        {{{PARTS, "DB_SSL=true"}, {0}}, 0},
        {{{URL("sslmode=require"), "DB_SSL_REJECT_UNAUTHORIZED=false"}, {0}}, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tp_config *config = resolved(&cases[i].setup);
        assert_int_equal(warning_count(config), cases[i].count);
        assert_true(cases[i].count == 0 || warns(config, "DB_SSL_REJECT_UNAUTHORIZED switches"));
        tp_config_free(config);
    }
}

/* What a file of ~/.postgresql could replace is said, whatever the mode. */
static void files_of_the_home_directory_have_no_say(void **state)
{
    char cert[ROOM + 16], key[ROOM + 16];
    snprintf(cert, sizeof cert, "tls.cert=%s", certificate_pem);
    snprintf(key, sizeof key, "tls.key=%s", key_pem);
    const struct good_case cases[] = {
        {{{URL("sslmode=require")}, {0}},
         {"sslrootcert=" NO_FILE, "sslcert=" NO_FILE, "sslkey=" NO_FILE, "sslcrl=" NO_FILE}},
        {{{URL("sslmode=prefer")}, {0}}, {"sslrootcert=" NO_FILE, "sslcert=" NO_FILE}},
        {{{URL("sslmode=verify-full"), "SSL_CERT_FILE=/etc/passwd"}, {0}},
         {"sslrootcert=/etc/passwd", "sslcert=" NO_FILE, "sslcrl=" NO_FILE}},
        {{{URL("sslmode=require&sslcrldir=/x")}, {0}}, {"sslcrl", "sslcrldir=/x"}},
    };
    (void)state;
    run_good(cases, sizeof cases / sizeof *cases);
    const struct setup mutual = {{URL("sslmode=require")}, {cert, key}};
    tp_config *config = resolved(&mutual);
    assert_int_equal(access(conninfo(config, "sslcert"), R_OK), 0);
    assert_int_equal(access(conninfo(config, "sslkey"), R_OK), 0);
    expect(config, ">tls.key=***");
    tp_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_becomes_an_sslmode),
        cmocka_unit_test(tls_mistakes_are_errors_at_once),
        cmocka_unit_test(switched_off_verification_is_warned_of_once),
        cmocka_unit_test(files_of_the_home_directory_have_no_say),
    };
    return cmocka_run_group_tests(tests, make_certificates, NULL);
}
