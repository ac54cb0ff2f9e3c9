/* What a tp_config is made of, for the files that fill it:
 *
 *   config.c           values and who said them; what the public header promises
 *   config_resolve.c   the steps of tp_config_resolve; environment and profile
 *   config_source.c    where the connection comes from
 *   config_tls.c       tls, tls.mode, tls.verify and certificates to libpq's sslmode
 *   config_libpq.c     which releases of libpq will do
 *   config_conninfo.c  the parameters for libpq and the settings of the engine
 *
 * Nobody else includes this. Thread: one at a time until resolved. */
#ifndef TP_CONFIG_STATE_H
#define TP_CONFIG_STATE_H

#include "config.h"
#include "options.h"
#include "tls_keyring.h"
#include "url.h"

enum { TP_VARIABLE_ROOM = 64, TP_LABEL_ROOM = 160 };

/* Who said a value. */
struct tp_said {
    enum tp_config_source source;
    const char *variable; /* the environment variable that had it or its URL, or "" */
    bool as_url;          /* written as in a URL: libpq's units */
};

/* Its text is owned and wiped when freed; NULL when nobody said it. */
struct tp_value {
    char *text;
    enum tp_config_source source;
    char variable[TP_VARIABLE_ROOM];
};

/* One of libpq's parameters, as PQconndefaults lists them. Static. */
struct tp_keyword {
    char *name;
    char *environment; /* or "" */
    char *compiled;    /* the default, or "" */
    bool secret;
};

/* What was chosen of "code > DB_CONNECTION_STRING > DATABASE_URL > DB_* > PG*". */
enum tp_origin {
    TP_ORIGIN_NONE, /* nothing says where the server is */
    TP_ORIGIN_CODE,
    TP_ORIGIN_URL, /* of the environment */
    TP_ORIGIN_PARTS,
    TP_ORIGIN_LIBPQ
};

struct tp_config {
    struct tp_value values[TP_OPTIONS];
    struct tp_value *libpq; /* one for each of libpq's keywords */
    struct tp_url url;      /* said in code */
    bool has_url, resolved, production;
    bool asks_password;
    bool memory_short; /* an allocation failed where no status could say so */
    enum tp_origin origin;
    char **warnings;
    size_t warning_count;

    tp_getenv_fn *lookup; /* only during tp_config_resolve */
    void *lookup_ctx;

    struct tp_keyring *keyring; /* counted; NULL: TLS is off */
    struct tp_settings settings;
    char *server_options; /* options with the timeouts that the server counts */
    const char **keywords, **keyword_values;
};

/* libpq's keywords. The first call asks libpq; false when memory is short. */
bool tp__keywords_load(void);
size_t tp__keyword_count(void);
const struct tp_keyword *tp__keyword_at(size_t i);
/* The index of a keyword, or tp__keyword_count() when libpq has none of that name. */
size_t tp__keyword_find(const char *name);

/* Checks and stores a value unless a higher source has said one. With `config`
 * NULL it is only checked. */
enum tp_status tp__config_say(tp_config *config, enum tp_option_id id, const char *text,
                              const struct tp_said *said, struct tp_error *err) TP_MUST_CHECK;
enum tp_status tp__config_say_libpq(tp_config *config, size_t keyword, const char *text,
                                    const struct tp_said *said, struct tp_error *err) TP_MUST_CHECK;
/* Says whatever a URL says. */
enum tp_status tp__config_say_url(tp_config *config, const struct tp_url *url, const char *variable,
                                  struct tp_error *err) TP_MUST_CHECK;
/* Forgets a value. */
void tp__config_unsay(struct tp_value *value);
/* Replaces a value by one that was worked out. */
void tp__config_work_out(tp_config *config, enum tp_option_id id, const char *text);

/* How messages call an option whose value was said so. */
void tp__config_label(char out[TP_LABEL_ROOM], const char *name, const char *url_name,
                      const struct tp_said *said);
/* The same for a value that is there, or the option's name for one that is not. */
void tp__config_label_of(const tp_config *config, enum tp_option_id id, char out[TP_LABEL_ROOM]);

/* The value's text, or NULL when it is empty or nobody said it. */
const char *tp__config_text(const tp_config *config, enum tp_option_id id);
bool tp__config_true(const tp_config *config, enum tp_option_id id);
int64_t tp__config_number(const tp_config *config, enum tp_option_id id);
/* Whether the value was said by somebody rather than being a default. */
bool tp__config_explicit(const tp_config *config, enum tp_option_id id);
/* The text of one of libpq's parameters, or NULL. */
const char *tp__config_libpq(const tp_config *config, const char *keyword);

/* A copy of a variable, or NULL when it is not set. Free it with
 * tp__secret_free. */
char *tp__config_env(tp_config *config, const char *name);
/* The first of "A|B" that has a value and is no placeholder, and its name. Warns
 * when another one has a different value. */
char *tp__config_env_first(tp_config *config, const char *names, char variable[TP_VARIABLE_ROOM]);
/* Copies the first name of *names to `name` and moves *names behind it. */
bool tp__config_next_name(const char **names, char name[TP_VARIABLE_ROOM]);
void tp__config_warn(tp_config *config, const char *fmt, ...) TP_PRINTF(2, 3);

/* config_source.c: the connection's source; libpq's variables for what is still
 * open; and the checks that concern both. */
enum tp_status tp__config_find_source(tp_config *config, struct tp_error *err) TP_MUST_CHECK;
enum tp_status tp__config_fill_from_libpq(tp_config *config, struct tp_error *err) TP_MUST_CHECK;
enum tp_status tp__config_check_source(tp_config *config, struct tp_error *err) TP_MUST_CHECK;
/* Whether every host is a Unix-domain socket. */
bool tp__config_only_sockets(const tp_config *config);

/* config_tls.c */
enum tp_status tp__config_resolve_tls(tp_config *config, struct tp_error *err) TP_MUST_CHECK;

/* config_libpq.c */
enum tp_status tp__config_check_libpq(tp_config *config, struct tp_error *err) TP_MUST_CHECK;

/* config_conninfo.c */
enum tp_status tp__config_build(tp_config *config, struct tp_error *err) TP_MUST_CHECK;

#endif
