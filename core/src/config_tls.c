/* From tls, tls.mode, tls.verify and the certificates to libpq's sslmode.
 *
 *   sockets only, and no mode said    disable (libpq never encrypts a socket)
 *   a mode said, by a higher source   that mode; a verify of the same or a higher
 *   than tls or by the same one       source raises or lowers it
 *   tls said                          off: disable; on: see below
 *   nothing said                      as the profile, where asking to verify or
 *                                     giving certificates means on
 *   on                                verify-full when in production, when verify
 *                                     was said or when there are certificates;
 *                                     require with verify off, and otherwise
 *
 * A mode that verifies takes the system's certificates when none are given: libpq
 * 15 by itself only knows ~/.postgresql/root.crt. */
#include "config_state.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "error.h"

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool verifies(const char *mode)
{
    return is(mode, "verify-ca") || is(mode, "verify-full");
}

static bool encrypts(const char *mode)
{
    return is(mode, "require") || verifies(mode);
}

/* Whether something was said that makes sense with a verified server only. */
static bool has_certificates(const tp_config *config)
{
    static const enum tp_option_id ids[] = {TP_OPT_TLS_CA, TP_OPT_TLS_CERT, TP_OPT_TLS_KEY,
                                            TP_OPT_TLS_CRL, TP_OPT_TLS_SERVER_NAME};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (tp__config_text(config, ids[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static enum tp_status contradict(const tp_config *config, enum tp_option_id a, enum tp_option_id b,
                                 struct tp_error *err)
{
    char a_label[TP_LABEL_ROOM], b_label[TP_LABEL_ROOM];
    tp__config_label_of(config, a, a_label);
    tp__config_label_of(config, b, b_label);
    return tp__error_set(err, TP_ERR_VALIDATION, "%s (%s) and %s (%s) contradict each other",
                         a_label, config->values[a].text, b_label, config->values[b].text);
}

/* The mode when TLS is on and nobody said more. */
static const char *mode_when_on(const tp_config *config)
{
    bool wanted = config->production || tp__config_explicit(config, TP_OPT_TLS_VERIFY) ||
                  has_certificates(config);
    return wanted && tp__config_true(config, TP_OPT_TLS_VERIFY) ? "verify-full" : "require";
}

/* The mode that was said, as a verify of the same or a higher source changes it. */
static enum tp_status mode_as_said(const tp_config *config, const char **out, struct tp_error *err)
{
    const struct tp_value *mode = &config->values[TP_OPT_TLS_MODE];
    const struct tp_value *verify = &config->values[TP_OPT_TLS_VERIFY];
    *out = mode->text;
    if (!tp__config_explicit(config, TP_OPT_TLS_VERIFY) || verify->source < mode->source ||
        is(mode->text, "disable")) {
        return TP_OK;
    }
    if (tp__config_true(config, TP_OPT_TLS_VERIFY)) {
        *out = verifies(mode->text) ? mode->text : "verify-full";
        return TP_OK;
    }
    if (verifies(mode->text) && verify->source == mode->source) {
        return contradict(config, TP_OPT_TLS_MODE, TP_OPT_TLS_VERIFY, err);
    }
    *out = verifies(mode->text) ? "require" : mode->text;
    return TP_OK;
}

static enum tp_status choose_mode(const tp_config *config, const char **out, struct tp_error *err)
{
    const struct tp_value *mode = &config->values[TP_OPT_TLS_MODE];
    const struct tp_value *tls = &config->values[TP_OPT_TLS];
    bool has_mode = tp__config_explicit(config, TP_OPT_TLS_MODE);
    bool has_tls = tp__config_explicit(config, TP_OPT_TLS);
    bool on = tp__config_true(config, TP_OPT_TLS);
    if (has_mode && has_tls && mode->source == tls->source && on == is(mode->text, "disable")) {
        return contradict(config, TP_OPT_TLS, TP_OPT_TLS_MODE, err);
    }
    if (has_mode && has_tls && tls->source > mode->source &&
        !(on ? encrypts(mode->text) : is(mode->text, "disable"))) {
        has_mode = false; /* overruled */
    }
    if (has_mode) {
        return mode_as_said(config, out, err);
    }
    bool asked = has_certificates(config) || (tp__config_explicit(config, TP_OPT_TLS_VERIFY) &&
                                              tp__config_true(config, TP_OPT_TLS_VERIFY));
    bool socket = tp__config_only_sockets(config);
    *out = !socket && (on || (asked && !has_tls)) ? mode_when_on(config) : "disable";
    return TP_OK;
}

/* Whether verification was switched off by whoever decides about the mode. */
static bool verify_is_off(const tp_config *config, const char *mode)
{
    const struct tp_value *verify = &config->values[TP_OPT_TLS_VERIFY];
    bool overruled = tp__config_explicit(config, TP_OPT_TLS_MODE) &&
                     config->values[TP_OPT_TLS_MODE].source > verify->source;
    return !is(mode, "disable") && !verifies(mode) && !overruled &&
           !tp__config_true(config, TP_OPT_TLS_VERIFY);
}

/* --------------------------------------------------------------------- checks */

static enum tp_status needs(const tp_config *config, enum tp_option_id id, const char *what,
                            struct tp_error *err)
{
    char label[TP_LABEL_ROOM];
    tp__config_label_of(config, id, label);
    return tp__error_set(err, TP_ERR_VALIDATION, "%s %s", label, what);
}

static bool requires_binding(const tp_config *config)
{
    const char *binding = tp__config_text(config, TP_OPT_TLS_CHANNEL_BINDING);
    return binding != NULL && is(binding, "require");
}

/* What libpq would refuse at each connection, or what would say nothing. */
static enum tp_status check_mode(const tp_config *config, const char *mode, struct tp_error *err)
{
    const char *most = tp__config_libpq(config, "ssl_max_protocol_version");
    const char *least = tp__config_text(config, TP_OPT_TLS_MIN_VERSION);
    if (requires_binding(config) && !encrypts(mode)) {
        return needs(config, TP_OPT_TLS_CHANNEL_BINDING,
                     "(require) needs TLS: set tls, or tls.mode to require or more", err);
    }
    if (most != NULL && least != NULL && strcasecmp(most, least) < 0) {
        return needs(config, TP_OPT_TLS_MIN_VERSION,
                     "is higher than libpq's ssl_max_protocol_version", err);
    }
    return TP_OK;
}

/* ---------------------------------------------------------------- certificates */

/* What the server is verified by. */
struct trust {
    const char *ca; /* the user's; NULL: `use` says */
    struct tp_keyring_use use;
    char *preferred; /* SSL_CERT_FILE; owned */
};

static enum tp_status use_system_bundle(tp_config *config, const char *mode, struct trust *trust,
                                        struct tp_error *err)
{
    trust->preferred = tp__config_env(config, "SSL_CERT_FILE");
    trust->use.bundle = tp__tls_system_bundle(trust->preferred);
    if (trust->use.bundle != NULL) {
        return TP_OK;
    }
    return tp__error_set(err, TP_ERR_TLS,
                         "TLS mode %s needs certificates to trust, and the system has none "
                         "where they are usually kept: set tls.ca or DB_SSL_CA",
                         mode);
}

static enum tp_status choose_trust(tp_config *config, const char *mode, struct trust *trust,
                                   struct tp_error *err)
{
    char label[TP_LABEL_ROOM];
    trust->ca = tp__config_text(config, TP_OPT_TLS_CA);
    bool system = trust->ca != NULL && is(trust->ca, "system");
    if (system) {
        trust->ca = NULL;
    }
    trust->use.trusts = true;
    if (verify_is_off(config, mode)) {
        trust->use.trusts = false;
        tp__config_label_of(config, TP_OPT_TLS_VERIFY, label);
        tp__config_warn(config,
                        "%s switches the verification of the server's certificate off: "
                        "anybody on the way can read and change what is sent",
                        label);
    } else if (trust->ca == NULL && (system || verifies(mode))) {
        return use_system_bundle(config, mode, trust, err);
    }
    bool verified = trust->use.trusts && (trust->ca != NULL || trust->use.bundle != NULL);
    if (!verified && tp__config_text(config, TP_OPT_TLS_CRL) != NULL) {
        return needs(config, TP_OPT_TLS_CRL,
                     "says nothing while the server is not verified: set tls.ca, or tls.mode to "
                     "verify-full",
                     err);
    }
    return TP_OK;
}

static enum tp_status load_certificates(tp_config *config, const struct trust *trust,
                                        struct tp_error *err)
{
    char ca[TP_LABEL_ROOM], cert[TP_LABEL_ROOM], key[TP_LABEL_ROOM], crl[TP_LABEL_ROOM];
    tp__config_label_of(config, TP_OPT_TLS_CA, ca);
    tp__config_label_of(config, TP_OPT_TLS_CERT, cert);
    tp__config_label_of(config, TP_OPT_TLS_KEY, key);
    tp__config_label_of(config, TP_OPT_TLS_CRL, crl);
    const struct tp_tls_source source = {
        .ca = trust->ca,
        .cert = tp__config_text(config, TP_OPT_TLS_CERT),
        .key = tp__config_text(config, TP_OPT_TLS_KEY),
        .ca_label = ca,
        .cert_label = cert,
        .key_label = key,
        .key_password = tp__config_libpq(config, "sslpassword"),
        .crl = tp__config_text(config, TP_OPT_TLS_CRL),
        .crl_label = crl,
    };
    enum tp_status status = tp__keyring_new(&config->keyring, &source, &trust->use, err);
    if (status == TP_OK && tp__keyring_tls(config->keyring)->stranger) {
        tp__config_warn(config,
                        "the certificate of %s was issued by none of %s: that is right only when "
                        "the server trusts another authority for its clients",
                        cert, ca);
    }
    return status;
}

static enum tp_status resolve_certificates(tp_config *config, const char *mode,
                                           struct tp_error *err)
{
    struct trust trust = {.preferred = NULL};
    enum tp_status status = choose_trust(config, mode, &trust, err);
    if (status == TP_OK) {
        status = load_certificates(config, &trust, err);
    }
    tp__secret_free(trust.preferred);
    return status;
}

enum tp_status tp__config_resolve_tls(tp_config *config, struct tp_error *err)
{
    const char *mode = "disable";
    if (config->origin == TP_ORIGIN_NONE) {
        return TP_OK;
    }
    enum tp_status status = choose_mode(config, &mode, err);
    if (status == TP_OK) {
        status = check_mode(config, mode, err);
    }
    if (status == TP_OK && !is(mode, "disable")) {
        status = resolve_certificates(config, mode, err);
    }
    if (status == TP_OK) {
        tp__config_work_out(config, TP_OPT_TLS, is(mode, "disable") ? "false" : "true");
        tp__config_work_out(config, TP_OPT_TLS_MODE, mode);
    }
    return status;
}
