/* Where the connection comes from.
 *
 * The first of these that is set says where the server is, and the others have
 * no part in it: what code says, the URL in DB_CONNECTION_STRING, the one in
 * DATABASE_URL, the variables DB_HOST and so on, libpq's own variables.
 * What the chosen one leaves open, libpq's variables fill in, as in every program
 * that uses libpq, with one exception: PGHOST, PGHOSTADDR and PGPORT belong
 * together, so they do not mix with a source that names a host itself. */
#include "config_state.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

static const enum tp_option_id parts[] = {TP_OPT_HOST,     TP_OPT_HOSTADDR, TP_OPT_PORT,
                                          TP_OPT_DATABASE, TP_OPT_USER,     TP_OPT_PASSWORD};
enum { PARTS = sizeof parts / sizeof *parts };

/* ----------------------------------------------------------------------- code */

/* A copied template in code (usually by way of a file of settings) says nothing,
 * so the next source has its turn. */
static void drop_placeholders_of_code(tp_config *config)
{
    bool found = false;
    for (size_t i = 0; i < PARTS; i++) {
        const char *text = config->values[parts[i]].text;
        if (text != NULL && tp__is_placeholder(text)) {
            tp__config_warn(config, "%s has a your_ placeholder: it counts as not configured",
                            tp__option(parts[i])->info.name);
            found = true;
        }
    }
    for (size_t i = 0; found && i < PARTS; i++) {
        tp__config_unsay(&config->values[parts[i]]);
    }
}

/* A password alone does not say where the server is. */
static bool code_says_where(const tp_config *config)
{
    for (size_t i = 0; i < PARTS; i++) {
        if (parts[i] != TP_OPT_PASSWORD && tp__config_text(config, parts[i]) != NULL) {
            return true;
        }
    }
    return config->has_url || tp__config_libpq(config, "service") != NULL;
}

static enum tp_status from_code(tp_config *config, struct tp_error *err)
{
    drop_placeholders_of_code(config);
    if (!code_says_where(config)) {
        return TP_OK;
    }
    config->origin = TP_ORIGIN_CODE;
    return config->has_url ? tp__config_say_url(config, &config->url, "", err) : TP_OK;
}

/* ----------------------------------------------------------- URL of a variable */

static enum tp_status from_url_variable(tp_config *config, const char *variable,
                                        struct tp_error *err)
{
    char name[TP_VARIABLE_ROOM];
    char *text = tp__config_env_first(config, variable, name);
    struct tp_url url = {0};
    if (text == NULL) {
        return TP_OK;
    }
    enum tp_status status = tp__url_parse(&url, text, variable, err);
    if (status == TP_OK) {
        config->origin = TP_ORIGIN_URL;
        status = tp__config_say_url(config, &url, variable, err);
    }
    tp__url_deinit(&url);
    tp__secret_free(text);
    return status;
}

static enum tp_status from_url_variables(tp_config *config, struct tp_error *err)
{
    static const char *const variables[] = {"DB_CONNECTION_STRING", "DATABASE_URL"};
    enum tp_status status = TP_OK;
    for (size_t i = 0; i < sizeof variables / sizeof *variables && status == TP_OK &&
                       config->origin == TP_ORIGIN_NONE;
         i++) {
        status = from_url_variable(config, variables[i], err);
    }
    return status;
}

/* ------------------------------------------------------------ DB_HOST and so on */

/* Whether one of "A|B" has a placeholder; then it warns. */
static bool warns_of_placeholder(tp_config *config, const char *names)
{
    char name[TP_VARIABLE_ROOM];
    bool found = false;
    while (tp__config_next_name(&names, name)) {
        char *text = tp__config_env(config, name);
        if (text != NULL && tp__is_placeholder(text)) {
            tp__config_warn(config,
                            "%s has a your_ placeholder: DB_HOST, DB_NAME and so on count "
                            "as not configured",
                            name);
            found = true;
        }
        tp__secret_free(text);
    }
    return found;
}

static enum tp_status take_part(tp_config *config, enum tp_option_id id, struct tp_error *err)
{
    char variable[TP_VARIABLE_ROOM];
    char *text = tp__config_env_first(config, tp__option(id)->info.environment, variable);
    if (text == NULL) {
        return TP_OK;
    }
    const struct tp_said said = {TP_FROM_ENVIRONMENT, variable, false};
    enum tp_status status = tp__config_say(config, id, text, &said, err);
    tp__secret_free(text);
    return status;
}

/* A port or a password alone does not say where the server is. */
static bool variables_say_where(tp_config *config)
{
    static const char *const names[] = {"DB_HOST", "DB_NAME", "DB_DATABASE", "DB_USER",
                                        "DB_USERNAME"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) {
        char *text = tp__config_env(config, names[i]);
        found = text != NULL && text[0] != '\0';
        tp__secret_free(text);
    }
    return found;
}

static enum tp_status from_parts(tp_config *config, struct tp_error *err)
{
    bool placeholder = false;
    if (!variables_say_where(config)) {
        return TP_OK;
    }
    for (size_t i = 0; i < PARTS; i++) {
        placeholder |= warns_of_placeholder(config, tp__option(parts[i])->info.environment);
    }
    if (placeholder) {
        return TP_OK;
    }
    config->origin = TP_ORIGIN_PARTS;
    enum tp_status status = TP_OK;
    for (size_t i = 0; i < PARTS && status == TP_OK; i++) {
        status = take_part(config, parts[i], err);
    }
    return status;
}

/* ------------------------------------------------------------ libpq's variables */

static enum tp_status from_libpq(tp_config *config, struct tp_error *err)
{
    static const char *const names[] = {"PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE",
                                        "PGUSER"};
    (void)err;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *text = tp__config_env(config, names[i]);
        if (text != NULL && text[0] != '\0' && !tp__is_placeholder(text)) {
            config->origin = TP_ORIGIN_LIBPQ;
        }
        tp__secret_free(text);
    }
    return TP_OK;
}

enum tp_status tp__config_find_source(tp_config *config, struct tp_error *err)
{
    static enum tp_status (*const sources[])(tp_config *, struct tp_error *) = {
        from_code, from_url_variables, from_parts, from_libpq};
    enum tp_status status = TP_OK;
    for (size_t i = 0; i < sizeof sources / sizeof *sources && status == TP_OK &&
                       config->origin == TP_ORIGIN_NONE;
         i++) {
        status = sources[i](config, err);
    }
    return status;
}

static bool is_location(enum tp_option_id id)
{
    return id == TP_OPT_HOST || id == TP_OPT_HOSTADDR || id == TP_OPT_PORT;
}

/* Says what libpq's variable for a keyword says. */
static enum tp_status fill(tp_config *config, size_t keyword, enum tp_option_id id,
                           struct tp_error *err)
{
    const struct tp_value *value = id != TP_OPTIONS ? &config->values[id] : &config->libpq[keyword];
    char variable[TP_VARIABLE_ROOM];
    if (value->text != NULL && value->text[0] != '\0') {
        return TP_OK;
    }
    char *text = tp__config_env_first(config, tp__keyword_at(keyword)->environment, variable);
    if (text == NULL) {
        return TP_OK;
    }
    const struct tp_said said = {TP_FROM_ENVIRONMENT, variable, true};
    enum tp_status status = id != TP_OPTIONS
                                ? tp__config_say(config, id, text, &said, err)
                                : tp__config_say_libpq(config, keyword, text, &said, err);
    tp__secret_free(text);
    return status;
}

enum tp_status tp__config_fill_from_libpq(tp_config *config, struct tp_error *err)
{
    bool has_host = tp__config_text(config, TP_OPT_HOST) != NULL ||
                    tp__config_text(config, TP_OPT_HOSTADDR) != NULL;
    bool has_tls =
        tp__config_explicit(config, TP_OPT_TLS) || tp__config_explicit(config, TP_OPT_TLS_VERIFY);
    enum tp_status status = TP_OK;
    for (size_t i = 0;
         i < tp__keyword_count() && status == TP_OK && config->origin != TP_ORIGIN_NONE; i++) {
        const struct tp_keyword *keyword = tp__keyword_at(i);
        enum tp_option_id id = tp__option_by_url(keyword->name);
        /* The encoding is UTF8 whatever the user's terminal has. */
        if ((has_host && is_location(id)) || (has_tls && id == TP_OPT_TLS_MODE) ||
            strcmp(keyword->name, "client_encoding") == 0) {
            continue;
        }
        status = fill(config, i, id, err);
    }
    return status;
}

/* --------------------------------------------------------------------- checks */

/* Manual, 34.1.2: a path or, on Linux, a name that begins with '@'. An empty host
 * is libpq's own directory of sockets. */
static bool is_socket(const char *host, size_t len)
{
    return len == 0 || host[0] == '/' || host[0] == '@';
}

bool tp__config_only_sockets(const tp_config *config)
{
    const char *host = tp__config_text(config, TP_OPT_HOST);
    if (tp__config_text(config, TP_OPT_HOSTADDR) != NULL) {
        return false;
    }
    if (host == NULL) {
        return tp__config_libpq(config, "service") == NULL; /* which may name a host */
    }
    for (;;) {
        size_t len = strcspn(host, ",");
        if (!is_socket(host, len)) {
            return false;
        }
        if (host[len] == '\0') {
            return true;
        }
        host += len + 1;
    }
}

static size_t list_length(const char *list)
{
    size_t count = 1;
    for (; *list != '\0'; list++) {
        count += *list == ',' ? 1 : 0;
    }
    return count;
}

static enum tp_status check_lists(const tp_config *config, struct tp_error *err)
{
    const char *host = tp__config_text(config, TP_OPT_HOST);
    const char *address = tp__config_text(config, TP_OPT_HOSTADDR);
    const char *port = tp__config_text(config, TP_OPT_PORT);
    char label[TP_LABEL_ROOM];
    size_t hosts = list_length(address != NULL ? address : host != NULL ? host : "");
    if (host != NULL && address != NULL && list_length(host) != hosts) {
        tp__config_label_of(config, TP_OPT_HOSTADDR, label);
        return tp__error_set(err, TP_ERR_VALIDATION, "%s has %zu addresses for %zu hosts", label,
                             hosts, list_length(host));
    }
    if (port != NULL && list_length(port) != 1 && list_length(port) != hosts) {
        tp__config_label_of(config, TP_OPT_PORT, label);
        return tp__error_set(err, TP_ERR_VALIDATION, "%s has %zu ports for %zu hosts", label,
                             list_length(port), hosts);
    }
    return TP_OK;
}

static bool home_of_user(char *out, size_t room)
{
    char text[4096];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(geteuid(), &entry, text, sizeof text, &found) != 0 || found == NULL) {
        return false;
    }
    return (size_t)snprintf(out, room, "%s", entry.pw_dir) < room;
}

/* Whether libpq has a file to look the password up in (manual, 34.16). */
static bool has_password_file(tp_config *config)
{
    const char *file = tp__config_libpq(config, "passfile"); /* or PGPASSFILE */
    if (file != NULL) {
        return access(file, R_OK) == 0;
    }
    char home[2048], path[sizeof home + sizeof "/.pgpass"];
    char *variable = tp__config_env(config, "HOME");
    bool known = variable != NULL && variable[0] != '\0'
                     ? (size_t)snprintf(home, sizeof home, "%s", variable) < sizeof home
                     : home_of_user(home, sizeof home);
    tp__secret_free(variable);
    if (!known) {
        return false;
    }
    snprintf(path, sizeof path, "%s/.pgpass", home);
    return access(path, R_OK) == 0;
}

/* A forgotten DB_PASSWORD is the commonest mistake, and shows up only when a
 * server asks for one; PGPASSWORD has filled the password in by now. */
static enum tp_status check_password(tp_config *config, struct tp_error *err)
{
    if (config->asks_password || config->origin != TP_ORIGIN_PARTS ||
        tp__config_text(config, TP_OPT_PASSWORD) != NULL || tp__config_only_sockets(config) ||
        tp__config_text(config, TP_OPT_TLS_CERT) != NULL || has_password_file(config)) {
        return TP_OK;
    }
    return tp__error_set(err, TP_ERR_VALIDATION,
                         "DB_PASSWORD is empty: a connection over TCP needs a password, a password "
                         "file or a client certificate");
}

/* The port that the server has when nobody says it. A service may say it in its
 * own file, which libpq reads later. */
static void default_port(tp_config *config)
{
    bool has_host = tp__config_text(config, TP_OPT_HOST) != NULL ||
                    tp__config_text(config, TP_OPT_HOSTADDR) != NULL;
    size_t keyword = tp__keyword_find("port");
    if (tp__config_text(config, TP_OPT_PORT) == NULL && keyword < tp__keyword_count() &&
        (has_host || tp__config_libpq(config, "service") == NULL)) {
        tp__config_work_out(config, TP_OPT_PORT, tp__keyword_at(keyword)->compiled);
    }
}

enum tp_status tp__config_check_source(tp_config *config, struct tp_error *err)
{
    if (config->origin == TP_ORIGIN_NONE) {
        return TP_OK;
    }
    default_port(config);
    enum tp_status status = check_lists(config, err);
    return status != TP_OK ? status : check_password(config, err);
}
