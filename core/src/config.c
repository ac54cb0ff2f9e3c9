#include "config.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "config_state.h"
#include "error.h"

static enum tp_status no_memory(struct tp_error *err)
{
    return tp__error_set(err, TP_ERR_MEMORY, "out of memory");
}

/* ----------------------------------------------------------- libpq's keywords */

static pthread_mutex_t keywords_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tp_keyword *keywords; /* made once under keywords_lock, then never changed */
static size_t keyword_count;

static char *copy(const char *text)
{
    return strdup(text != NULL ? text : "");
}

static void keywords_free(struct tp_keyword *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].name);
        free(list[i].environment);
        free(list[i].compiled);
    }
    free(list);
}

static struct tp_keyword *keywords_copy(const PQconninfoOption *options, size_t count)
{
    struct tp_keyword *list = calloc(count, sizeof *list);
    bool complete = list != NULL;
    for (size_t i = 0; complete && i < count; i++) {
        list[i].name = copy(options[i].keyword);
        list[i].environment = copy(options[i].envvar);
        list[i].compiled = copy(options[i].compiled);
        list[i].secret = options[i].dispchar != NULL && options[i].dispchar[0] == '*';
        complete = list[i].name != NULL && list[i].environment != NULL && list[i].compiled != NULL;
    }
    if (!complete && list != NULL) {
        keywords_free(list, count);
        list = NULL;
    }
    return list;
}

static bool keywords_load_locked(void)
{
    if (keywords != NULL) {
        return true;
    }
    PQconninfoOption *options = PQconndefaults();
    if (options == NULL) {
        return false;
    }
    size_t count = 0;
    for (; options[count].keyword != NULL; count++) {
        /* libpq has read PGPASSWORD, which nobody asked for. */
        if (options[count].val != NULL) {
            explicit_bzero(options[count].val, strlen(options[count].val));
        }
    }
    keywords = keywords_copy(options, count);
    keyword_count = keywords != NULL ? count : 0;
    PQconninfoFree(options);
    return keywords != NULL;
}

bool tp__keywords_load(void)
{
    pthread_mutex_lock(&keywords_lock);
    bool loaded = keywords_load_locked();
    pthread_mutex_unlock(&keywords_lock);
    return loaded;
}

void tp__config_lock(void)
{
    pthread_mutex_lock(&keywords_lock);
}

void tp__config_unlock(void)
{
    pthread_mutex_unlock(&keywords_lock);
}

size_t tp__keyword_count(void)
{
    return keyword_count;
}

const struct tp_keyword *tp__keyword_at(size_t i)
{
    return &keywords[i];
}

size_t tp__keyword_find(const char *name)
{
    size_t i = 0;
    while (i < keyword_count && strcmp(keywords[i].name, name) != 0) {
        i++;
    }
    return i;
}

/* What libpq would refuse only when it connects, with the value in its message. */
static const struct keyword_rule {
    const char *keyword;
    const char *choices; /* NULL: a whole number */
    const char *must_be;
} keyword_rules[] = {
    {"client_encoding", "UTF8|UTF-8", "UTF8: all text is UTF-8 here"},
    {"channel_binding", "disable|prefer|require", "disable, prefer or require"},
    {"gssencmode", "disable|prefer|require", "disable, prefer or require"},
    {"keepalives", "0|1", "0 or 1"},
    {"keepalives_idle", NULL, "a whole number of seconds"},
    {"keepalives_interval", NULL, "a whole number of seconds"},
    {"keepalives_count", NULL, "a whole number"},
    {"tcp_user_timeout", NULL, "a whole number of milliseconds"},
    {"sslsni", "0|1", "0 or 1"},
    {"sslcompression", "0|1", "0 or 1"},
    {"ssl_max_protocol_version", "TLSv1.2|TLSv1.3", "TLSv1.2 or TLSv1.3"},
};

static enum tp_status keyword_check(const char *keyword, const char *text, const char *label,
                                    struct tp_error *err)
{
    int64_t number;
    size_t len;
    for (size_t i = 0; i < sizeof keyword_rules / sizeof *keyword_rules; i++) {
        const struct keyword_rule *rule = &keyword_rules[i];
        if (strcmp(rule->keyword, keyword) != 0 || text[0] == '\0') {
            continue;
        }
        bool good = rule->choices != NULL ? tp__choice_find(rule->choices, text, &len) != NULL
                                          : tp__whole_number(text, &number) && number <= INT32_MAX;
        if (!good) {
            return tp__error_set(err, TP_ERR_VALIDATION, "%s must be %s", label, rule->must_be);
        }
    }
    return TP_OK;
}

/* -------------------------------------------------------------------- values */

void tp__config_unsay(struct tp_value *value)
{
    tp__secret_free(value->text);
    value->text = NULL;
    value->source = TP_FROM_DEFAULT;
    value->variable[0] = '\0';
}

/* Takes `text`. */
static void put(struct tp_value *value, char *text, const struct tp_said *said)
{
    if (value->text != NULL && value->source > said->source) {
        tp__secret_free(text);
        return;
    }
    tp__config_unsay(value);
    value->text = text;
    value->source = said->source;
    snprintf(value->variable, sizeof value->variable, "%s", said->variable);
}

void tp__config_label(char out[TP_LABEL_ROOM], const char *name, const char *url_name,
                      const struct tp_said *said)
{
    if (said->source == TP_FROM_URL) {
        snprintf(out, TP_LABEL_ROOM, "%s in %s", url_name[0] != '\0' ? url_name : name,
                 said->variable[0] != '\0' ? said->variable : "the URL");
    } else {
        snprintf(out, TP_LABEL_ROOM, "%s", said->variable[0] != '\0' ? said->variable : name);
    }
}

void tp__config_label_of(const tp_config *config, enum tp_option_id id, char out[TP_LABEL_ROOM])
{
    const struct tp_option_info *info = &tp__option(id)->info;
    const struct tp_value *value = &config->values[id];
    tp__config_label(out, info->name, info->url,
                     &(struct tp_said){value->source, value->variable, false});
}

enum tp_status tp__config_say(tp_config *config, enum tp_option_id id, const char *text,
                              const struct tp_said *said, struct tp_error *err)
{
    const struct tp_option *option = tp__option(id);
    char label[TP_LABEL_ROOM], *canonical = NULL;
    tp__config_label(label, option->info.name, option->info.url, said);
    enum tp_status status = tp__option_parse(option, text, said->as_url, label, &canonical, err);
    if (status == TP_OK && config != NULL) {
        put(&config->values[id], canonical, said);
    } else {
        tp__secret_free(canonical);
    }
    return status;
}

enum tp_status tp__config_say_libpq(tp_config *config, size_t keyword, const char *text,
                                    const struct tp_said *said, struct tp_error *err)
{
    char name[TP_VARIABLE_ROOM], label[TP_LABEL_ROOM];
    snprintf(name, sizeof name, "libpq.%s", keywords[keyword].name);
    tp__config_label(label, name, keywords[keyword].name, said);
    enum tp_status status = keyword_check(keywords[keyword].name, text, label, err);
    if (status != TP_OK || config == NULL) {
        return status;
    }
    char *copied = strdup(text);
    if (copied == NULL) {
        return no_memory(err);
    }
    put(&config->libpq[keyword], copied, said);
    return TP_OK;
}

static enum tp_status unknown_parameter(const struct tp_url_param *param, const char *variable,
                                        struct tp_error *err)
{
    char name[64];
    const char *where = variable[0] != '\0' ? variable : "the URL";
    if (!param->may_name) {
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "%s has an unknown parameter ('@', '/', '?' and '&' in a password "
                             "must be percent-encoded)",
                             where);
    }
    const char *near = tp__option_nearest(param->key);
    enum tp_option_id id = near != NULL ? tp__option_by_name(near) : TP_OPTIONS;
    const char *suggestion = id != TP_OPTIONS ? tp__option(id)->info.url : "";
    tp__text_copy(name, sizeof name, param->key);
    return tp__error_set(err, TP_ERR_VALIDATION, "%s has an unknown parameter \"%s\"%s%s%s", where,
                         name, suggestion[0] != '\0' ? ": did you mean \"" : "", suggestion,
                         suggestion[0] != '\0' ? "\"?" : "");
}

enum tp_status tp__config_say_url(tp_config *config, const struct tp_url *url, const char *variable,
                                  struct tp_error *err)
{
    const struct tp_said said = {TP_FROM_URL, variable, true};
    enum tp_status status = TP_OK;
    for (size_t i = 0; i < url->count && status == TP_OK; i++) {
        const struct tp_url_param *param = &url->params[i];
        enum tp_option_id id = tp__option_by_url(param->key);
        size_t keyword = tp__keyword_find(param->key);
        if (id != TP_OPTIONS) {
            status = tp__config_say(config, id, param->value, &said, err);
        } else if (keyword < keyword_count) {
            status = tp__config_say_libpq(config, keyword, param->value, &said, err);
        } else {
            status = unknown_parameter(param, variable, err);
        }
    }
    return status;
}

void tp__config_work_out(tp_config *config, enum tp_option_id id, const char *text)
{
    struct tp_value *value = &config->values[id];
    if (value->text != NULL && strcmp(value->text, text) == 0) {
        return;
    }
    char *copied = strdup(text);
    config->memory_short = config->memory_short || copied == NULL;
    tp__config_unsay(value);
    value->text = copied;
    value->source = TP_FROM_PROFILE;
}

const char *tp__config_text(const tp_config *config, enum tp_option_id id)
{
    const char *text = config->values[id].text;
    return text != NULL && text[0] != '\0' ? text : NULL;
}

bool tp__config_true(const tp_config *config, enum tp_option_id id)
{
    const char *text = config->values[id].text;
    return text != NULL && strcmp(text, "true") == 0;
}

int64_t tp__config_number(const tp_config *config, enum tp_option_id id)
{
    int64_t number = 0;
    const char *text = config->values[id].text;
    return text != NULL && tp__whole_number(text, &number) ? number : 0;
}

bool tp__config_explicit(const tp_config *config, enum tp_option_id id)
{
    const struct tp_value *value = &config->values[id];
    return value->text != NULL && value->source >= TP_FROM_ENVIRONMENT;
}

const char *tp__config_libpq(const tp_config *config, const char *keyword)
{
    size_t i = tp__keyword_find(keyword);
    const char *text = i < keyword_count ? config->libpq[i].text : NULL;
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* ------------------------------------------------------- the public functions */

tp_config *tp_config_new(void)
{
    if (!tp__keywords_load()) {
        return NULL;
    }
    tp_config *config = calloc(1, sizeof *config);
    if (config == NULL) {
        return NULL;
    }
    config->libpq = calloc(keyword_count, sizeof *config->libpq);
    if (config->libpq == NULL) {
        tp_config_free(config);
        return NULL;
    }
    return config;
}

void tp_config_free(tp_config *config)
{
    if (config == NULL) {
        return;
    }
    for (int id = 0; id < TP_OPTIONS; id++) {
        tp__config_unsay(&config->values[id]);
    }
    for (size_t i = 0; config->libpq != NULL && i < keyword_count; i++) {
        tp__config_unsay(&config->libpq[i]);
    }
    for (size_t i = 0; i < config->warning_count; i++) {
        free(config->warnings[i]);
    }
    free(config->libpq);
    free(config->warnings);
    tp__secret_free(config->server_options);
    free(config->keywords);
    free(config->keyword_values);
    tp__url_deinit(&config->url);
    tp__keyring_release(config->keyring);
    free(config);
}

static enum tp_status unknown_option(const char *name, struct tp_error *err)
{
    char cleaned[64];
    const char *near = tp__option_nearest(name), *member = tp__option_of_group(name);
    tp__text_copy(cleaned, sizeof cleaned, name);
    if (member != NULL) {
        return tp__error_set(
            err, TP_ERR_VALIDATION,
            "\"%s\" has to be a table: it stands for several options, such as \"%s\"", cleaned,
            member);
    }
    return tp__error_set(err, TP_ERR_VALIDATION, "unknown option \"%s\"%s%s%s", cleaned,
                         near != NULL ? ": did you mean \"" : "", near != NULL ? near : "",
                         near != NULL ? "\"?" : "");
}

/* "libpq.keepalives": whatever libpq knows and no option of ours stands for. */
static enum tp_status set_libpq(tp_config *config, const char *keyword, const char *text,
                                struct tp_error *err)
{
    enum tp_option_id id = tp__option_by_url(keyword);
    size_t found = tp__keyword_find(keyword);
    char cleaned[64];
    tp__text_copy(cleaned, sizeof cleaned, keyword);
    if (id != TP_OPTIONS) {
        return tp__error_set(err, TP_ERR_VALIDATION, "libpq.%s is the option \"%s\" here", cleaned,
                             tp__option(id)->info.name);
    }
    if (found == keyword_count) {
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "unknown option \"libpq.%s\": libpq has no such parameter", cleaned);
    }
    return tp__config_say_libpq(config, found, text, &(struct tp_said){TP_FROM_CODE, "", false},
                                err);
}

enum tp_status tp_config_set(tp_config *config, const char *name, const char *value,
                             struct tp_error *err)
{
    if (strncmp(name, "libpq.", strlen("libpq.")) == 0) {
        return set_libpq(config, name + strlen("libpq."), value, err);
    }
    enum tp_option_id id = tp__option_by_name(name);
    if (id == TP_OPTIONS) {
        return unknown_option(name, err);
    }
    return tp__config_say(config, id, value, &(struct tp_said){TP_FROM_CODE, "", false}, err);
}

void tp_config_ask_password(tp_config *config)
{
    config->asks_password = true;
}

enum tp_status tp_config_set_url(tp_config *config, const char *url, struct tp_error *err)
{
    if (tp__is_placeholder(url)) {
        tp__config_warn(config, "the URL has a your_ placeholder: it counts as not configured");
        return TP_OK;
    }
    struct tp_url parsed = {0};
    enum tp_status status = tp__url_parse(&parsed, url, "the URL", err);
    if (status != TP_OK) {
        return status;
    }
    status = tp__config_say_url(NULL, &parsed, "", err);
    if (status != TP_OK) {
        tp__url_deinit(&parsed);
        return status;
    }
    tp__url_deinit(&config->url);
    config->url = parsed;
    config->has_url = true;
    return TP_OK;
}

bool tp_config_is_configured(const tp_config *config)
{
    return config->resolved && config->origin != TP_ORIGIN_NONE;
}

const char *tp_config_warning(const tp_config *config, size_t i)
{
    return i < config->warning_count ? config->warnings[i] : NULL;
}

void tp__config_warn(tp_config *config, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    bool made = vasprintf(&text, fmt, args) >= 0;
    va_end(args);
    char **warnings = NULL;
    if (made) {
        warnings = realloc(config->warnings, (config->warning_count + 1) * sizeof *warnings);
    }
    if (warnings == NULL) {
        config->memory_short = true;
        if (made) {
            free(text);
        }
        return;
    }
    config->warnings = warnings;
    config->warnings[config->warning_count++] = text;
}

/* The value of any option, libpq's included, or NULL. */
static const struct tp_value *find_value(const tp_config *config, const char *name, bool *secret)
{
    if (strncmp(name, "libpq.", strlen("libpq.")) == 0) {
        size_t i = tp__keyword_find(name + strlen("libpq."));
        *secret = i < keyword_count && keywords[i].secret;
        return i < keyword_count ? &config->libpq[i] : NULL;
    }
    enum tp_option_id id = tp__option_by_name(name);
    *secret = id != TP_OPTIONS && tp__option(id)->info.type == TP_OPTION_SECRET;
    return id != TP_OPTIONS ? &config->values[id] : NULL;
}

const char *tp_config_get(const tp_config *config, const char *name)
{
    bool secret = false;
    const struct tp_value *value = find_value(config, name, &secret);
    if (value == NULL || value->text == NULL) {
        return NULL;
    }
    return secret ? "***" : value->text;
}

bool tp_config_knows(const tp_config *config, const char *name)
{
    bool secret;
    return find_value(config, name, &secret) != NULL;
}

int64_t tp_config_int(const tp_config *config, const char *name)
{
    enum tp_option_id id = tp__option_by_name(name);
    return id != TP_OPTIONS ? tp__config_number(config, id) : 0;
}

bool tp_config_bool(const tp_config *config, const char *name)
{
    enum tp_option_id id = tp__option_by_name(name);
    return id != TP_OPTIONS && tp__config_true(config, id);
}

const struct tp_settings *tp__config_settings(const tp_config *config)
{
    return &config->settings;
}

struct tp_conninfo tp__config_conninfo(const tp_config *config)
{
    return (struct tp_conninfo){config->keywords, config->keyword_values};
}

struct tp_keyring *tp__config_keyring(const tp_config *config)
{
    return config->keyring;
}
