/* Configurations: what code, URL and environment say, and what comes of it for libpq.
 *
 * One saying a line: "NAME=value" is a variable of the environment, ":name=value" an option
 * in code, ":url=..." a URL in code. A value never comes up in a message. */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "fuzz.h"

enum { LINES_AT_MOST = 24 };

struct sayings {
    char *lines[LINES_AT_MOST];
    int count;
};

static const char *look_up(void *ctx, const char *name)
{
    const struct sayings *said = ctx;
    size_t len = strlen(name);
    for (int i = 0; i < said->count; i++) {
        if (strncmp(said->lines[i], name, len) == 0 && said->lines[i][len] == '=')
            return said->lines[i] + len + 1;
    }
    return strcmp(name, "HOME") == 0 ? "/nonexistent" : NULL;
}

static enum tp_status say(tp_config *config, const char *line, struct tp_error *err)
{
    char name[64];
    size_t len = strcspn(line, "=");
    if (line[len] == '\0' || len >= sizeof name)
        return TP_OK;
    memcpy(name, line, len);
    name[len] = '\0';
    if (strcmp(name, "url") == 0)
        return tp_config_set_url(config, line + len + 1, err);
    return tp_config_set(config, name, line + len + 1, err);
}

/* Names are repeated in messages: those of options, and of a URL's parameters where the
 * password cannot reach (url.h). */
static bool is_in_a_name(const char *line)
{
    const char *value = strchr(line, '=');
    const char *query = value != NULL ? strchr(value, '?') : NULL;
    const char *last_at = value != NULL ? strrchr(value, '@') : NULL;
    if (value == NULL || strstr(line, FUZZ_SECRET) < value)
        return strstr(line, FUZZ_SECRET) != NULL;
    if (last_at != NULL && (query == NULL || last_at > query))
        query = last_at;
    for (; query != NULL; query = strpbrk(query + 1, "&?")) {
        size_t key = strcspn(query + 1, "=&");
        const char *found = strstr(query, FUZZ_SECRET);
        if ((found != NULL && found < query + 1 + key) || memchr(query, '%', key + 1) != NULL)
            return true;
    }
    return false;
}

static void check_resolved(const tp_config *config)
{
    struct tp_conninfo info = tp__config_conninfo(config);
    const struct tp_settings *settings = tp__config_settings(config);
    const struct tp_option_info *option;
    size_t count = 0;
    for (; info.keywords[count] != NULL; count++)
        fuzz_check(info.values[count] != NULL);
    fuzz_check(info.values[count] == NULL);
    fuzz_check((count > 0) == tp_config_is_configured(config));
    fuzz_check(settings->pool_min <= settings->pool_max && settings->pool_max > 0);
    for (size_t i = 0; (option = tp_option_at(i)) != NULL; i++) {
        const char *text = tp_config_get(config, option->name);
        fuzz_check(option->type != TP_OPTION_SECRET || text == NULL || strcmp(text, "***") == 0);
    }
}

static void run(const struct sayings *said, bool hidden)
{
    struct tp_error err = {.kind = TP_OK};
    enum tp_status status = TP_OK;
    const char *warning;
    tp_config *config = tp_config_new();
    fuzz_check(config != NULL);
    for (int i = 0; i < said->count && status == TP_OK; i++) {
        if (said->lines[i][0] == ':')
            status = say(config, said->lines[i] + 1, &err);
    }
    if (status == TP_OK)
        status = tp_config_resolve(config, look_up, (void *)(uintptr_t)said, &err);
    if (status == TP_OK)
        check_resolved(config);
    else
        fuzz_check_error(&err, hidden);
    for (size_t i = 0; status == TP_OK && (warning = tp_config_warning(config, i)) != NULL; i++)
        fuzz_check(!hidden || strstr(warning, FUZZ_SECRET) == NULL);
    tp_config_free(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct sayings said = {.count = 0};
    bool hidden = true;
    while (in.left > 0 && said.count < LINES_AT_MOST) {
        char *line = fuzz_text(&in, '\n');
        hidden = hidden && !is_in_a_name(line);
        said.lines[said.count++] = line;
    }
    run(&said, hidden);
    for (int i = 0; i < said.count; i++)
        free(said.lines[i]);
    return 0;
}
