#include "config_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

/* HOME is nowhere unless the list says it: the password file of whoever runs the
 * tests must not matter. */
const char *look_up(void *env, const char *name)
{
    const char *const *list = env;
    size_t len = strlen(name);
    for (size_t i = 0; i < MOST && list[i] != NULL; i++) {
        if (strncmp(list[i], name, len) == 0 && list[i][len] == '=') {
            return list[i] + len + 1;
        }
    }
    return strcmp(name, "HOME") == 0 ? "/nonexistent" : NULL;
}

static enum tp_status say(tp_config *config, const char *setting, struct tp_error *err)
{
    char name[64];
    size_t len = strcspn(setting, "=");
    memcpy(name, setting, len);
    name[len] = '\0';
    return strcmp(name, "url") == 0 ? tp_config_set_url(config, setting + len + 1, err)
                                    : tp_config_set(config, name, setting + len + 1, err);
}

enum tp_status resolve(const struct setup *setup, tp_config **out, struct tp_error *err)
{
    enum tp_status status = TP_OK;
    tp_config *config = tp_config_new();
    assert_non_null(config);
    for (size_t i = 0; i < MOST && setup->code[i] != NULL && status == TP_OK; i++) {
        status = say(config, setup->code[i], err);
    }
    if (status == TP_OK) {
        status = tp_config_resolve(config, look_up, (void *)(uintptr_t)setup->env, err);
    }
    *out = config;
    return status;
}

tp_config *resolved(const struct setup *setup)
{
    tp_config *config = NULL;
    struct tp_error err;
    if (resolve(setup, &config, &err) != TP_OK) {
        fail_msg("%s", err.message);
    }
    return config;
}

const char *conninfo(const tp_config *config, const char *keyword)
{
    struct tp_conninfo info = tp__config_conninfo(config);
    const char *found = NULL;
    size_t i = 0;
    for (; info.keywords[i] != NULL; i++) {
        if (strcmp(info.keywords[i], keyword) == 0) {
            assert_null(found); /* each keyword once */
            found = info.values[i];
        }
    }
    assert_null(info.values[i]);
    return found;
}

void expect(const tp_config *config, const char *wanted)
{
    char key[64];
    bool ours = wanted[0] == '>';
    const char *from = ours ? wanted + 1 : wanted;
    size_t len = strcspn(from, "=");
    memcpy(key, from, len);
    key[len] = '\0';
    const char *found = ours ? tp_config_get(config, key) : conninfo(config, key);
    if (from[len] == '\0' ? found != NULL : found == NULL || strcmp(found, from + len + 1) != 0) {
        fail_msg("expected %s, found %s", wanted, found != NULL ? found : "nothing");
    }
}

static void expect_all(const tp_config *config, const char *const wanted[MOST])
{
    for (size_t i = 0; i < MOST && wanted[i] != NULL; i++) {
        expect(config, wanted[i]);
    }
}

bool warns(const tp_config *config, const char *text)
{
    const char *warning;
    for (size_t i = 0; (warning = tp_config_warning(config, i)) != NULL; i++) {
        if (strstr(warning, text) != NULL) {
            return true;
        }
    }
    return false;
}

size_t warning_count(const tp_config *config)
{
    size_t count = 0;
    while (tp_config_warning(config, count) != NULL) {
        count++;
    }
    return count;
}

void run_good(const struct good_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tp_config *config = resolved(&cases[i].setup);
        expect_all(config, cases[i].wanted);
        tp_config_free(config);
    }
}

void run_bad(const struct bad_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tp_config *config = NULL;
        struct tp_error err = {0};
        enum tp_status status = resolve(&cases[i].setup, &config, &err);
        if (status != cases[i].kind || strstr(err.message, cases[i].says) == NULL) {
            fail_msg("expected \"%s\", found status %d: %s", cases[i].says, (int)status,
                     err.message);
        }
        assert_false(tp_config_is_configured(config));
        tp_config_free(config);
    }
}
