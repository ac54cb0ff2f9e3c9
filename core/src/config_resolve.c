/* tp_config_resolve: who says what, in the order of precedence. */
#include "config_state.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "error.h"
#include "ledger.h"

#define BUDGET_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."

/* ---------------------------------------------------------------- environment */

static const char *process_env(void *ctx, const char *name)
{
    (void)ctx;
    return getenv(name);
}

char *tp__config_env(tp_config *config, const char *name)
{
    const char *text = config->lookup(config->lookup_ctx, name);
    if (text == NULL) {
        return NULL;
    }
    char *copied = strdup(text);
    config->memory_short = config->memory_short || copied == NULL;
    return copied;
}

bool tp__config_next_name(const char **names, char name[TP_VARIABLE_ROOM])
{
    size_t len = strcspn(*names, "|");
    if (len == 0 || len >= TP_VARIABLE_ROOM) {
        return false;
    }
    memcpy(name, *names, len);
    name[len] = '\0';
    *names += len;
    *names += **names == '|' ? 1 : 0;
    return true;
}

/* A variable that is there but says nothing: empty, as compose files leave it, or
 * never filled in. Takes the text in that case. */
static bool says_nothing(tp_config *config, char *text, const char *name)
{
    bool placeholder = tp__is_placeholder(text);
    if (text[0] != '\0' && !placeholder) {
        return false;
    }
    if (placeholder) {
        tp__config_warn(config, "%s has a your_ placeholder: it counts as not set", name);
    }
    tp__secret_free(text);
    return true;
}

char *tp__config_env_first(tp_config *config, const char *names, char variable[TP_VARIABLE_ROOM])
{
    char name[TP_VARIABLE_ROOM];
    char *first = NULL;
    while (tp__config_next_name(&names, name)) {
        char *text = tp__config_env(config, name);
        if (text == NULL || says_nothing(config, text, name)) {
            continue;
        }
        if (first == NULL) {
            first = text;
            memcpy(variable, name, sizeof name);
            continue;
        }
        if (strcmp(first, text) != 0) {
            tp__config_warn(config, "%s and %s differ: %s is used", variable, name, variable);
        }
        tp__secret_free(text);
    }
    return first;
}

/* Options that say where the server is come from one source only, which
 * config_source.c chooses. */
static bool is_part(enum tp_option_id id)
{
    return id <= TP_OPT_HOSTADDR;
}

static enum tp_status read_environment(tp_config *config, struct tp_error *err)
{
    enum tp_status status = TP_OK;
    for (int i = 0; i < TP_OPTIONS && status == TP_OK; i++) {
        enum tp_option_id id = (enum tp_option_id)i;
        const struct tp_option *option = tp__option(id);
        char variable[TP_VARIABLE_ROOM];
        if (is_part(id) || id == TP_OPT_PROFILE ||
            (config->production && (option->flags & TP_OPTION_DEVELOPMENT_ENV) != 0)) {
            continue;
        }
        char *text = tp__config_env_first(config, option->info.environment, variable);
        if (text != NULL) {
            const struct tp_said said = {TP_FROM_ENVIRONMENT, variable, false};
            status = tp__config_say(config, id, text, &said, err);
            tp__secret_free(text);
        }
    }
    return status;
}

/* ------------------------------------------------------------ profile, defaults */

static const char *profile_name(const char *text)
{
    return strcasecmp(text, "production") == 0 ? "production" : "development";
}

/* Any name but production is development, so that "staging" and "test" are no
 * errors; two variables differ only when they mean different profiles. */
static enum tp_status profile_from_environment(tp_config *config, struct tp_error *err)
{
    const char *names = tp__option(TP_OPT_PROFILE)->info.environment;
    char name[TP_VARIABLE_ROOM], first[TP_VARIABLE_ROOM] = "";
    const char *profile = "development";
    while (tp__config_next_name(&names, name)) {
        char *text = tp__config_env(config, name);
        if (text == NULL || says_nothing(config, text, name)) {
            continue;
        }
        if (first[0] == '\0') {
            memcpy(first, name, sizeof name);
            profile = profile_name(text);
        } else if (strcmp(profile, profile_name(text)) != 0) {
            tp__config_warn(config, "%s and %s differ: %s is used", first, name, first);
        }
        tp__secret_free(text);
    }
    const struct tp_said said = {first[0] != '\0' ? TP_FROM_ENVIRONMENT : TP_FROM_DEFAULT, first,
                                 false};
    return tp__config_say(config, TP_OPT_PROFILE, profile, &said, err);
}

static enum tp_status resolve_profile(tp_config *config, struct tp_error *err)
{
    if (!tp__config_explicit(config, TP_OPT_PROFILE)) {
        enum tp_status status = profile_from_environment(config, err);
        if (status != TP_OK) {
            return status;
        }
    }
    config->production = strcmp(config->values[TP_OPT_PROFILE].text, "production") == 0;
    return TP_OK;
}

static enum tp_status apply_defaults(tp_config *config, struct tp_error *err)
{
    enum tp_status status = TP_OK;
    for (int i = 0; i < TP_OPTIONS && status == TP_OK; i++) {
        enum tp_option_id id = (enum tp_option_id)i;
        const struct tp_option_info *info = &tp__option(id)->info;
        const char *text = config->production ? info->production : info->development;
        bool same = strcmp(info->production, info->development) == 0;
        const struct tp_said said = {same ? TP_FROM_DEFAULT : TP_FROM_PROFILE, "", false};
        if (config->values[id].text == NULL && text[0] != '\0') {
            status = tp__config_say(config, id, text, &said, err);
        }
    }
    return status;
}

/* --------------------------------------------------------------------- checks */

static enum tp_status greater_than(const tp_config *config, enum tp_option_id low,
                                   enum tp_option_id high, struct tp_error *err)
{
    char low_label[TP_LABEL_ROOM], high_label[TP_LABEL_ROOM];
    tp__config_label_of(config, low, low_label);
    tp__config_label_of(config, high, high_label);
    return tp__error_set(err, TP_ERR_VALIDATION, "%s (%s) is greater than %s (%s)", low_label,
                         config->values[low].text, high_label, config->values[high].text);
}

/* Two options of which one may not exceed the other. When only one was said, the
 * profile's value for the other one gives way. */
static enum tp_status check_pair(tp_config *config, enum tp_option_id low, enum tp_option_id high,
                                 struct tp_error *err)
{
    if (tp__config_number(config, low) <= tp__config_number(config, high)) {
        return TP_OK;
    }
    if (tp__config_explicit(config, low) && tp__config_explicit(config, high)) {
        return greater_than(config, low, high, err);
    }
    if (tp__config_explicit(config, high)) {
        tp__config_work_out(config, low, config->values[high].text);
    } else {
        tp__config_work_out(config, high, config->values[low].text);
    }
    return TP_OK;
}

/* The name becomes that of a file, so it has letters, digits and a few signs. */
static bool budget_name_valid(const char *name)
{
    size_t len = strlen(name);
    return len <= 64 && name[0] != '.' && strspn(name, BUDGET_LETTERS) == len;
}

static enum tp_status check_budget(tp_config *config, struct tp_error *err)
{
    const char *name = tp__config_text(config, TP_OPT_BUDGET);
    char label[TP_LABEL_ROOM];
    bool limited = tp__config_number(config, TP_OPT_MAX_TOTAL) > 0;
    tp__config_label_of(config, TP_OPT_BUDGET, label);
    if (name != NULL && !budget_name_valid(name)) {
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "%s must be at most 64 letters, digits, '_', '-' and '.', and not "
                             "begin with '.'",
                             label);
    }
    if (name != NULL && !limited && !tp__config_true(config, TP_OPT_STATS_SHARED)) {
        return tp__error_set(err, TP_ERR_VALIDATION, "%s needs pool.max_total", label);
    }
    return limited ? check_pair(config, TP_OPT_POOL_MIN, TP_OPT_MAX_TOTAL, err) : TP_OK;
}

/* Where there are other processes that it is about. */
static void find_shared(tp_config *config)
{
    bool shared = tp__config_number(config, TP_OPT_MAX_TOTAL) > 0 || tp__worker_is_declared();
    if (tp__config_text(config, TP_OPT_STATS_SHARED) == NULL)
        tp__config_work_out(config, TP_OPT_STATS_SHARED, shared ? "true" : "false");
}

static enum tp_status check_numbers(tp_config *config, struct tp_error *err)
{
    enum tp_status status = check_pair(config, TP_OPT_POOL_MIN, TP_OPT_POOL_MAX, err);
    find_shared(config);
    if (status == TP_OK) {
        status = check_budget(config, err);
    }
    return status != TP_OK ? status : check_pair(config, TP_OPT_RETRY_BASE, TP_OPT_RETRY_MAX, err);
}

/* ---------------------------------------------------------------------- steps */

typedef enum tp_status step_fn(tp_config *config, struct tp_error *err);

static enum tp_status run_steps(tp_config *config, struct tp_error *err)
{
    static step_fn *const steps[] = {
        resolve_profile,        tp__config_find_source,
        read_environment,       tp__config_fill_from_libpq,
        apply_defaults,         tp__config_check_libpq,
        check_numbers,          tp__config_check_source,
        tp__config_resolve_tls, tp__config_build,
    };
    enum tp_status status = TP_OK;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && status == TP_OK; i++) {
        status = steps[i](config, err);
        if (status == TP_OK && config->memory_short) {
            status = tp__error_set(err, TP_ERR_MEMORY, "out of memory");
        }
    }
    return status;
}

enum tp_status tp_config_resolve(tp_config *config, tp_getenv_fn *lookup, void *ctx,
                                 struct tp_error *err)
{
    if (config->resolved) {
        return tp__error_set(err, TP_ERR_VALIDATION, "the configuration was resolved before");
    }
    config->lookup = lookup != NULL ? lookup : process_env;
    config->lookup_ctx = ctx;
    enum tp_status status = run_steps(config, err);
    config->lookup = NULL;
    config->lookup_ctx = NULL;
    config->resolved = status == TP_OK;
    return status;
}
