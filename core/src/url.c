#include "url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "error.h"

struct parser {
    const char *at;    /* what has not been read yet */
    const char *label; /* how messages call the URL */
    struct tp_url url;
    bool after_secret; /* a password was among the parameters */
    struct tp_error *err;
};

void tp__secret_free(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

void tp__url_deinit(struct tp_url *url)
{
    for (size_t i = 0; i < url->count; i++) {
        tp__secret_free(url->params[i].key);
        tp__secret_free(url->params[i].value);
    }
    free(url->params);
    url->params = NULL;
    url->count = 0;
}

static size_t scheme_len(const char *text)
{
    static const char *const schemes[] = {"postgresql://", "postgres://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t len = strlen(schemes[i]);
        if (strncmp(text, schemes[i], len) == 0) {
            return len;
        }
    }
    return 0;
}

bool tp__url_scheme(const char *text)
{
    return scheme_len(text) > 0;
}

bool tp__is_placeholder(const char *text)
{
    for (const char *at = text; (at = strstr(at, "your_")) != NULL; at++) {
        if (at == text || !isalnum((unsigned char)at[-1])) {
            return true;
        }
    }
    return false;
}

static enum tp_status no_memory(const struct parser *p)
{
    return tp__error_set(p->err, TP_ERR_MEMORY, "out of memory");
}

static enum tp_status refuse(const struct parser *p, const char *what)
{
    return tp__error_set(p->err, TP_ERR_VALIDATION, "%s %s", p->label, what);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes [from, to) into *out, which the caller owns. `what` is what
 * messages call it. */
static enum tp_status decode(const struct parser *p, const char *what, const char *from,
                             const char *to, char **out)
{
    char *text = malloc((size_t)(to - from) + 1);
    if (text == NULL) {
        return no_memory(p);
    }
    const char *wrong = NULL;
    size_t len = 0;
    for (const char *at = from; at < to && wrong == NULL; at++) {
        char c = *at;
        if (c == '%') {
            int high = to - at > 2 ? hex_digit(at[1]) : -1;
            int low = to - at > 2 ? hex_digit(at[2]) : -1;
            if (high < 0 || low < 0) {
                wrong = "has a '%' without two hexadecimal digits behind it (a '%' is written %25)";
            } else if (high == 0 && low == 0) {
                wrong = "has a %00, which no value can contain";
            }
            c = (char)(high * 16 + low);
            at += 2;
        }
        text[len++] = c;
        text[len] = '\0';
    }
    if (wrong != NULL) {
        explicit_bzero(text, len);
        free(text);
        return tp__error_set(p->err, TP_ERR_VALIDATION, "the %s in %s %s", what, p->label, wrong);
    }
    text[len] = '\0';
    *out = text;
    return TP_OK;
}

/* Takes both strings, also on failure. */
static enum tp_status add(struct parser *p, char *key, char *value, bool may_name)
{
    struct tp_url_param *params = NULL;
    if (key != NULL && value != NULL) {
        params = realloc(p->url.params, (p->url.count + 1) * sizeof *params);
    }
    if (params == NULL) {
        tp__secret_free(key);
        tp__secret_free(value);
        return no_memory(p);
    }
    p->url.params = params;
    p->url.params[p->url.count++] = (struct tp_url_param){key, value, may_name};
    return TP_OK;
}

/* A part before the '?'. An empty one says nothing. */
static enum tp_status add_part(struct parser *p, const char *key, const char *what,
                               const char *from, const char *to)
{
    char *value = NULL;
    if (from == to) {
        return TP_OK;
    }
    enum tp_status status = decode(p, what, from, to, &value);
    return status != TP_OK ? status : add(p, strdup(key), value, true);
}

/* "user:password@", if there is an '@' before the first '/'. As in libpq, the
 * first '@' ends it and the first ':' divides it. */
static enum tp_status parse_user(struct parser *p)
{
    const char *end = p->at + strcspn(p->at, "@/");
    if (*end != '@') {
        return TP_OK;
    }
    const char *from = p->at;
    const char *colon = memchr(from, ':', (size_t)(end - from));
    p->at = end + 1;
    enum tp_status status = add_part(p, "user", "user name", from, colon != NULL ? colon : end);
    if (status == TP_OK && colon != NULL) {
        status = add_part(p, "password", "password", colon + 1, end);
    }
    return status;
}

/* Reads the inside of "[...]" and moves behind it. */
static enum tp_status parse_bracketed(struct parser *p, struct tp_buf *hosts)
{
    const char *from = p->at + 1;
    size_t len = strcspn(from, "]/?@");
    if (from[len] != ']') {
        return refuse(p, "has a '[' without the ']' that ends an IPv6 address");
    }
    if (len == 0) {
        return refuse(p, "has empty brackets where an IPv6 address should be");
    }
    p->at = from + len + 1;
    if (*p->at != '\0' && strchr(":/?,", *p->at) == NULL) {
        return refuse(p, "has something unexpected behind the ']' of an IPv6 address");
    }
    tp__buf_append(hosts, from, len);
    return TP_OK;
}

/* One "host:port" of a list. */
static enum tp_status parse_host(struct parser *p, struct tp_buf *hosts, struct tp_buf *ports)
{
    if (*p->at == '[') {
        enum tp_status status = parse_bracketed(p, hosts);
        if (status != TP_OK) {
            return status;
        }
    } else {
        size_t len = strcspn(p->at, ":/?,");
        tp__buf_append(hosts, p->at, len);
        p->at += len;
    }
    if (*p->at == ':') {
        size_t len = strcspn(++p->at, "/?,");
        tp__buf_append(ports, p->at, len);
        p->at += len;
    }
    return TP_OK;
}

static enum tp_status add_hosts(struct parser *p, const struct tp_buf *hosts,
                                const struct tp_buf *ports)
{
    if (hosts->failed || ports->failed) {
        return no_memory(p);
    }
    if (memchr(hosts->data, '@', hosts->len) != NULL || memchr(ports->data, '@', ports->len)) {
        return refuse(p, "has more than one '@' before the host: within a user name or password, "
                         "'@' is written %40");
    }
    enum tp_status status = add_part(p, "host", "host", hosts->data, hosts->data + hosts->len);
    if (status == TP_OK) {
        status = add_part(p, "port", "port", ports->data, ports->data + ports->len);
    }
    return status;
}

/* A malformed URL may have a piece of its password here. */
static void wipe(struct tp_buf *buf)
{
    if (buf->data != NULL) {
        explicit_bzero(buf->data, buf->room);
    }
    tp__buf_free(buf);
}

static enum tp_status parse_hosts(struct parser *p)
{
    struct tp_buf hosts = {0}, ports = {0};
    enum tp_status status = TP_OK;
    /* All the room at once: growing would leave copies behind. */
    if (!tp__buf_reserve(&hosts, strlen(p->at) + 1) ||
        !tp__buf_reserve(&ports, strlen(p->at) + 1)) {
        status = no_memory(p);
        goto out;
    }
    while ((status = parse_host(p, &hosts, &ports)) == TP_OK && *p->at == ',') {
        tp__buf_putc(&hosts, ',');
        tp__buf_putc(&ports, ',');
        p->at++;
    }
    if (status == TP_OK) {
        status = add_hosts(p, &hosts, &ports);
    }
out:
    wipe(&hosts);
    wipe(&ports);
    return status;
}

static enum tp_status parse_database(struct parser *p)
{
    if (*p->at != '/') {
        return TP_OK;
    }
    const char *from = p->at + 1;
    size_t len = strcspn(from, "?");
    if (memchr(from, '@', len) != NULL) {
        return refuse(p, "has an '@' behind the host: within a password, '/' is written %2F and "
                         "'@' is written %40");
    }
    p->at = from + len;
    return add_part(p, "dbname", "database name", from, from + len);
}

static bool is_secret(const char *key)
{
    return strcmp(key, "password") == 0 || strcmp(key, "sslpassword") == 0;
}

/* libpq's help for users of JDBC: ssl=true is sslmode=require. */
static enum tp_status add_param(struct parser *p, char *key, char *value)
{
    /* With the password "1/x?w=d", "postgresql://u:1/x?w=d@h" has a piece of it
     * where parameters are; so has "password=p&w=d" with the password "p&w=d". */
    bool may_name = strchr(p->at, '@') == NULL && !p->after_secret;
    p->after_secret = p->after_secret || is_secret(key);
    if (strcmp(key, "ssl") != 0) {
        return add(p, key, value, may_name);
    }
    bool known = strcmp(value, "true") == 0;
    tp__secret_free(key);
    tp__secret_free(value);
    if (!known) {
        return refuse(p, "has an ssl parameter that is not ssl=true: say sslmode instead");
    }
    return add(p, strdup("sslmode"), strdup("require"), may_name);
}

/* One "name=value" that ends at `end`. */
static enum tp_status parse_param(struct parser *p, const char *end)
{
    size_t len = (size_t)(end - p->at);
    const char *equals = memchr(p->at, '=', len);
    if (equals == NULL) {
        return refuse(p, "has a parameter without '=' ('&' is written %26 within a value, "
                         "'?' is written %3F within a password)");
    }
    if (memchr(equals + 1, '=', (size_t)(end - equals - 1)) != NULL) {
        return refuse(p, "has a parameter with a second '=' (within a value it is written %3D)");
    }
    char *key = NULL, *value = NULL;
    enum tp_status status = decode(p, "name of a parameter", p->at, equals, &key);
    if (status == TP_OK) {
        status = decode(p, "value of a parameter", equals + 1, end, &value);
    }
    if (status != TP_OK) {
        tp__secret_free(key);
        return status;
    }
    return add_param(p, key, value);
}

static enum tp_status parse_params(struct parser *p)
{
    if (*p->at != '?') {
        return TP_OK;
    }
    p->at++;
    while (*p->at != '\0') {
        const char *end = p->at + strcspn(p->at, "&");
        enum tp_status status = parse_param(p, end);
        if (status != TP_OK) {
            return status;
        }
        p->at = *end == '&' ? end + 1 : end;
    }
    return TP_OK;
}

static bool has_control_character(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return true;
        }
    }
    return false;
}

static enum tp_status parse(struct parser *p)
{
    if (has_control_character(p->at)) {
        return refuse(p, "has a line break or another control character in it");
    }
    size_t scheme = scheme_len(p->at);
    if (scheme == 0) {
        return refuse(p, "must begin with postgresql:// or postgres://");
    }
    p->at += scheme;
    static enum tp_status (*const steps[])(struct parser *) = {parse_user, parse_hosts,
                                                               parse_database, parse_params};
    enum tp_status status = TP_OK;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && status == TP_OK; i++) {
        status = steps[i](p);
    }
    return status;
}

enum tp_status tp__url_parse(struct tp_url *out, const char *text, const char *label,
                             struct tp_error *err)
{
    struct parser p = {.at = text, .label = label, .err = err};
    enum tp_status status = parse(&p);
    if (status != TP_OK) {
        tp__url_deinit(&p.url);
        return status;
    }
    *out = p.url;
    return TP_OK;
}
