/* What a configuration knew of secrets is nowhere in memory once it is freed, whether it was
 * good or bad. libpq's copies, which are made when a connection is, are not looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tidepool.h"
#include "url.h"

/* Sanitizers have a memory of their own, of what was freed, too: with them the cases are run to
 * find other faults. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* The secret is only here, and with every bit turned. */
static const unsigned char masked[] = {
    (unsigned char)~'k', (unsigned char)~'a', (unsigned char)~'n', (unsigned char)~'a',
    (unsigned char)~'r', (unsigned char)~'i', (unsigned char)~'_', (unsigned char)~'7',
    (unsigned char)~'v', (unsigned char)~'o', (unsigned char)~'g', (unsigned char)~'l',
};
enum { SECRET_LEN = sizeof masked, PIECE = 8 };

/* The text with the secret for each '$'; to be wiped by the caller. */
static char *with_secret(const char *text)
{
    size_t len = 0, room = strlen(text) + 4 * sizeof masked + 1;
    char *out = malloc(room);
    assert_non_null(out);
    for (; *text != '\0'; text++) {
        if (*text != '$')
            out[len++] = *text;
        for (size_t i = 0; *text == '$' && i < SECRET_LEN; i++)
            out[len++] = (char)~masked[i];
    }
    out[len] = '\0';
    assert_true(len < room);
    return out;
}

static bool is_piece(const unsigned char *at, size_t from)
{
    for (size_t i = 0; i < PIECE; i++) {
        if ((at[i] ^ masked[from + i]) != 0xff)
            return false;
    }
    return true;
}

/* Pieces of the secret in [at, end). The memory of others is read, perhaps while they write it. */
__attribute__((no_sanitize("address", "thread"))) static int pieces_in(const unsigned char *at,
                                                                       const unsigned char *end)
{
    int count = 0;
    for (; at + PIECE <= end; at++) {
        for (size_t from = 0; from + PIECE <= SECRET_LEN; from++)
            count += is_piece(at, from);
    }
    return count;
}

/* In whatever may be written: the heap, the data of libraries. Below the stack the dynamic linker
 * leaves vector registers, with what memcpy(3) has moved last. */
static int pieces_in_memory(void)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to;
        char access[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, access) == 3 && access[0] == 'r' &&
            access[1] == 'w' && strstr(line, "[v") == NULL && strstr(line, "[stack]") == NULL &&
            to - from < (uintptr_t)1 << 28)
            count += pieces_in((const unsigned char *)from, (const unsigned char *)to);
    }
    fclose(maps);
    return count;
}

static const char *look_up(void *ctx, const char *name)
{
    const char *variable = ctx;
    size_t len = strlen(name);
    if (variable != NULL && strncmp(variable, name, len) == 0 && variable[len] == '=')
        return variable + len + 1;
    return NULL;
}

/* `variable` is "NAME=value", `option` "name=value", `url` a URL; each may be NULL. */
static void configure(const char *variable, const char *option, const char *url)
{
    struct tp_error err;
    tp_config *config = tp_config_new();
    assert_non_null(config);
    bool good = url == NULL || tp_config_set_url(config, url, &err) == TP_OK;
    if (good && option != NULL) {
        char *name = strndup(option, strcspn(option, "="));
        good = tp_config_set(config, name, option + strlen(name) + 1, &err) == TP_OK;
        free(name);
    }
    if (good)
        (void)!tp_config_resolve(config, look_up, (void *)(uintptr_t)variable, &err);
    tp_config_free(config);
}

struct case_of {
    const char *variable, *option, *url;
};

static void run(const struct case_of *with)
{
    char *texts[] = {with->variable != NULL ? with_secret(with->variable) : NULL,
                     with->option != NULL ? with_secret(with->option) : NULL,
                     with->url != NULL ? with_secret(with->url) : NULL};
    assert_true(SANITIZED || pieces_in_memory() > 0); /* it would be seen */
    configure(texts[0], texts[1], texts[2]);
    for (size_t i = 0; i < 3; i++)
        tp__secret_free(texts[i]);
    if (!SANITIZED && pieces_in_memory() > 0)
        fail_msg("%s %s %s", with->variable, with->option, with->url);
}

static void a_freed_configuration_leaves_no_secret(void **state)
{
    static const struct case_of cases[] = {
        {NULL, NULL, "postgresql://u:$@h/d"},
        {NULL, NULL, "postgresql://u:%20$@h/d"},
        {NULL, NULL, "postgresql://h/d?password=$&sslpassword=$"},
        {NULL, NULL, "postgresql://u:$@h:x/d"},
        {NULL, NULL, "postgresql://u:$@h,@g:$/d"},
        {NULL, NULL, "postgresql://u:$%zz@h/d"},
        {NULL, NULL, "postgresql://u:$@h/d?bad"},
        {NULL, NULL, "postgresql://u:p/$@h/d"},
        {NULL, NULL, "host=h password=$"},
        {NULL, "password=$", "postgresql://u@h/d"},
        {NULL, "password=$", "postgresql://u@h/d?pool_max=x"},
        {NULL, "libpq.sslpassword=$", "postgresql://u@h/d"},
        {NULL, "tls.key=$", "postgresql://u@h/d"},
        {NULL, "tls.key=-----BEGIN PRIVATE KEY-----\n$\n-----END PRIVATE KEY-----\n",
         "postgresql://u@h/d"},
        {NULL, "pool.max=$", "postgresql://u@h/d"},
        {NULL, "port=$", NULL},
        {NULL, "options=-c app.token=$", "postgresql://u@h/d"},
        {"DATABASE_URL=postgresql://u:$@h/d", NULL, NULL},
        {"DB_CONNECTION_STRING=postgresql://u:$@h:x/d", NULL, NULL},
        {"DB_PASSWORD=$", "host=h", NULL},
        {"DB_SSL_KEY=$", "host=h", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run(&cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_freed_configuration_leaves_no_secret),
    };
    return cmocka_run_group_tests_name("wipe", tests, NULL, NULL);
}
