/* Certificates and keys as a user gives them. No message may have anything of a key.
 *
 * Input: four values (authority, certificate, key, passphrase) with a NUL byte behind each.
 * Bytes below 8 stand for texts that are made when the program starts, so that no key is
 * among the inputs: see insert. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "fuzz.h"
#include "tls.h"

enum { CERTIFICATE = 1, KEY, ENCRYPTED_KEY, OTHER_KEY, TEXTS, BASE64 = TEXTS, BACKSLASHES, CUT };

static char *texts[TEXTS];

static char *text_of(BIO *bio)
{
    char *at;
    long len = BIO_get_mem_data(bio, &at);
    char *text = strndup(at, (size_t)len);
    BIO_free(bio);
    return text;
}

static char *key_text(EVP_PKEY *key, const EVP_CIPHER *cipher)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char passphrase[] = FUZZ_SECRET;
    int len = cipher != NULL ? (int)strlen(passphrase) : 0;
    fuzz_check(PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, passphrase, len, NULL, NULL) == 1);
    return text_of(bio);
}

static char *certificate_text(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 24L * 3600 * 30);
    X509_set_pubkey(certificate, key);
    fuzz_check(X509_sign(certificate, key, EVP_sha256()) > 0);
    fuzz_check(PEM_write_bio_X509(bio, certificate) == 1);
    X509_free(certificate);
    return text_of(bio);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    texts[CERTIFICATE] = certificate_text(key);
    texts[KEY] = key_text(key, NULL);
    texts[ENCRYPTED_KEY] = key_text(key, EVP_aes_128_cbc());
    texts[OTHER_KEY] = key_text(other, NULL);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    return 0;
}

/* Changes what is there so far: to base64, to a text with "\n" written out, or cut in half. */
static void change(struct tp_buf *out, uint8_t how)
{
    struct tp_buf changed = {0};
    size_t len = out->len;
    if (how == CUT) {
        out->len /= 2;
        return;
    }
    fuzz_check(tp__buf_reserve(&changed, 2 * len + 4));
    if (how == BASE64 && len > 0)
        changed.len = (size_t)EVP_EncodeBlock((unsigned char *)changed.data,
                                              (const unsigned char *)out->data, (int)len);
    for (size_t i = 0; how == BACKSLASHES && i < len; i++)
        tp__buf_append(&changed, out->data[i] == '\n' ? "\\n" : out->data + i,
                       out->data[i] == '\n' ? 2 : 1);
    tp__buf_free(out);
    *out = changed;
}

/* The next value; NULL when it is empty. */
static char *value(struct fuzz_input *in)
{
    struct tp_buf out = {0};
    uint8_t byte;
    while ((byte = fuzz_byte(in)) != 0 && out.len < 64 * 1024) {
        if (byte < TEXTS)
            tp__buf_puts(&out, texts[byte]);
        else if (byte <= CUT)
            change(&out, byte);
        else
            tp__buf_putc(&out, (char)byte);
    }
    char *text = out.len > 0 ? strdup(tp__buf_cstr(&out)) : NULL;
    tp__buf_free(&out);
    return text;
}

/* No line of a key's is in a message. */
static void check_message(const struct tp_error *err)
{
    static const int keys[] = {KEY, ENCRYPTED_KEY, OTHER_KEY};
    fuzz_check_error(err, true);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char piece[13] = "";
        const char *line = strchr(texts[keys[i]], '\n') + 1;
        memcpy(piece, line + 40, sizeof piece - 1);
        fuzz_check(strstr(err->message, piece) == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct tp_error err = {.kind = TP_OK};
    struct tp_tls tls;
    char *ca = value(&in), *cert = value(&in), *key = value(&in), *passphrase = value(&in);
    struct tp_tls_source source = {.ca = ca,
                                   .cert = cert,
                                   .key = key,
                                   .ca_label = "DB_SSL_CA",
                                   .cert_label = "DB_SSL_CERT",
                                   .key_label = "DB_SSL_KEY",
                                   .key_password = passphrase};
    tp__tls_init(&tls);
    if (tp__tls_load(&tls, &source, &err) == TP_OK)
        fuzz_check((key != NULL) == (cert != NULL) && (key != NULL) == (tls.key.path[0] != '\0'));
    else
        check_message(&err);
    tp__tls_deinit(&tls);
    free(ca);
    free(cert);
    free(key);
    free(passphrase);
    return 0;
}
