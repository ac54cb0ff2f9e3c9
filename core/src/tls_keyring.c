#include "tls_keyring.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "error.h"

enum { CA, CERT, KEY, CRL, VALUES };

/* By what a file is known again. A file that is put in another's place has another inode,
 * also behind a link; one that is written over has another time of change. */
struct stamp {
    bool is_file;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct tp_keyring {
    atomic_int refs;
    struct tp_tls tls;
    char *values[VALUES], *labels[VALUES]; /* NULL: not said */
    char *key_password, *bundle;
    bool trusts;
    struct stamp stamps[VALUES];
};

static void wipe(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

static void keyring_free(struct tp_keyring *keyring)
{
    for (int i = 0; i < VALUES; i++) {
        wipe(keyring->values[i]);
        free(keyring->labels[i]);
    }
    wipe(keyring->key_password);
    free(keyring->bundle);
    tp__tls_deinit(&keyring->tls);
    free(keyring);
}

static bool copy(char **out, const char *text)
{
    *out = text != NULL ? strdup(text) : NULL;
    return text == NULL || *out != NULL;
}

static bool take_values(struct tp_keyring *keyring, const struct tp_tls_source *source)
{
    const char *const values[VALUES] = {source->ca, source->cert, source->key, source->crl};
    const char *const labels[VALUES] = {source->ca_label, source->cert_label, source->key_label,
                                        source->crl_label};
    bool copied = copy(&keyring->key_password, source->key_password);
    for (int i = 0; i < VALUES; i++) {
        copied = copy(&keyring->values[i], values[i]) && copied;
        copied = copy(&keyring->labels[i], labels[i]) && copied;
    }
    return copied;
}

/* Taken before the files are read, so that a change meanwhile is seen later. PEM and base64 of it
 * are longer than any path, and no file's name. */
static struct stamp stamp_of(const char *value)
{
    struct stat st;
    if (value == NULL || stat(value, &st) != 0) {
        return (struct stamp){.is_file = false};
    }
    return (struct stamp){true, st.st_dev, st.st_ino, st.st_size, st.st_ctim};
}

static bool same(const struct stamp *a, const struct stamp *b)
{
    return a->is_file == b->is_file && a->device == b->device && a->inode == b->inode &&
           a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}

enum tp_status tp__keyring_new(struct tp_keyring **out, const struct tp_tls_source *source,
                               const struct tp_keyring_use *use, struct tp_error *err)
{
    struct tp_keyring *keyring = calloc(1, sizeof *keyring);
    if (keyring == NULL) {
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory");
    }
    atomic_init(&keyring->refs, 1);
    tp__tls_init(&keyring->tls);
    keyring->trusts = use->trusts;
    if (!take_values(keyring, source) || !copy(&keyring->bundle, use->bundle)) {
        keyring_free(keyring);
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory");
    }
    for (int i = 0; i < VALUES; i++) {
        keyring->stamps[i] = stamp_of(keyring->values[i]);
    }
    enum tp_status status = tp__tls_load(&keyring->tls, source, err);
    if (status != TP_OK) {
        keyring_free(keyring);
        return status;
    }
    *out = keyring;
    return TP_OK;
}

struct tp_keyring *tp__keyring_retain(struct tp_keyring *keyring)
{
    if (keyring != NULL) {
        atomic_fetch_add(&keyring->refs, 1);
    }
    return keyring;
}

void tp__keyring_release(struct tp_keyring *keyring)
{
    if (keyring != NULL && atomic_fetch_sub(&keyring->refs, 1) == 1) {
        keyring_free(keyring);
    }
}

const struct tp_tls *tp__keyring_tls(const struct tp_keyring *keyring)
{
    return &keyring->tls;
}

bool tp__keyring_is_stale(const struct tp_keyring *keyring)
{
    const struct tp_tls *tls = &keyring->tls;
    const bool from_path[VALUES] = {tls->ca.from_path, tls->cert.from_path, tls->key.from_path,
                                    tls->crl.from_path};
    for (int i = 0; i < VALUES; i++) {
        if (!from_path[i]) {
            continue;
        }
        struct stamp now = stamp_of(keyring->values[i]);
        if (!same(&now, &keyring->stamps[i])) {
            return true;
        }
    }
    return false;
}

static const char *or_old(const char *value, const char *old)
{
    return value != NULL ? value : old;
}

enum tp_status tp__keyring_renew(struct tp_keyring **out, const struct tp_keyring *old,
                                 const struct tp_tls_values *values, struct tp_error *err)
{
    static const struct tp_tls_values none = {NULL, NULL, NULL, NULL};
    values = values != NULL ? values : &none;
    const struct tp_tls_source source = {
        .ca = or_old(values->ca, old->values[CA]),
        .cert = or_old(values->cert, old->values[CERT]),
        .key = or_old(values->key, old->values[KEY]),
        .crl = or_old(values->crl, old->values[CRL]),
        .ca_label = old->labels[CA],
        .cert_label = old->labels[CERT],
        .key_label = old->labels[KEY],
        .crl_label = old->labels[CRL],
        .key_password = old->key_password,
    };
    const struct tp_keyring_use use = {old->trusts, old->bundle};
    return tp__keyring_new(out, &source, &use, err);
}

static const char *path_or_none(const char *path)
{
    return path != NULL && path[0] != '\0' ? path : TP_TLS_NO_FILE;
}

static const char *root_of(const struct tp_keyring *keyring)
{
    if (!keyring->trusts) {
        return NULL;
    }
    return keyring->tls.ca.path[0] != '\0' ? keyring->tls.ca.path : keyring->bundle;
}

void tp__keyring_parameters(const struct tp_keyring *keyring,
                            struct tp_tls_parameter out[TP_TLS_PARAMETERS])
{
    const struct tp_tls *tls = keyring != NULL ? &keyring->tls : NULL;
    out[0] = (struct tp_tls_parameter){"sslrootcert",
                                       path_or_none(tls != NULL ? root_of(keyring) : NULL)};
    out[1] =
        (struct tp_tls_parameter){"sslcert", path_or_none(tls != NULL ? tls->cert.path : NULL)};
    out[2] = (struct tp_tls_parameter){"sslkey", path_or_none(tls != NULL ? tls->key.path : NULL)};
    out[3] = (struct tp_tls_parameter){"sslcrl", path_or_none(tls != NULL ? tls->crl.path : NULL)};
}
