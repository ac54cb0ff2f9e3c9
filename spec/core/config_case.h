/* Cases of tp_config_*: an environment and settings in code, and what must come of
 * them. The environment is a list of "NAME=value", read by a lookup function. */
#ifndef CONFIG_CASE_H
#define CONFIG_CASE_H

#include "config.h"

enum { MOST = 12 };

/* A configuration in the making: lists end with NULL. */
struct setup {
    const char *env[MOST];  /* "NAME=value" */
    const char *code[MOST]; /* "option=value"; "url=" is for tp_config_set_url */
};

struct good_case {
    struct setup setup;
    const char *wanted[MOST]; /* see expect */
};

struct bad_case {
    struct setup setup;
    enum tp_status kind;
    const char *says; /* a part of the message */
};

/* Four variables that are enough, and a URL with parameters. */
#define PARTS "DB_HOST=h", "DB_NAME=d", "DB_USER=u", "DB_PASSWORD=p"
#define URL(parameters) "DATABASE_URL=postgresql://u:p@h/d?" parameters

/* The lookup function; `env` is the list. */
const char *look_up(void *env, const char *name);

/* The first failure of saying and resolving. *out is there in any case. */
enum tp_status resolve(const struct setup *setup, tp_config **out, struct tp_error *err);
/* Fails the test when it cannot be resolved. */
tp_config *resolved(const struct setup *setup);

/* What libpq is given for a keyword, or NULL. */
const char *conninfo(const tp_config *config, const char *keyword);

/* An expectation "key=value"; "key" alone expects that there is none. A key with a
 * '>' before it is one of tp_config_get, others are libpq's. */
void expect(const tp_config *config, const char *wanted);

bool warns(const tp_config *config, const char *text);
size_t warning_count(const tp_config *config);

void run_good(const struct good_case *cases, size_t count);
void run_bad(const struct bad_case *cases, size_t count);
#define RUN_GOOD(cases) run_good(cases, sizeof cases / sizeof *(cases))
#define RUN_BAD(cases) run_bad(cases, sizeof cases / sizeof *(cases))

#endif
