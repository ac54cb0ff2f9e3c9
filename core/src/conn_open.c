/* Making a connection: names are resolved by an errand, then libpq is polled until it
 * is through or our own deadline has passed (PQconnectPoll ignores connect_timeout). */
#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "budget.h"
#include "clock.h"
#include "conn.h"
#include "conn_impl.h"
#include "error.h"
#include "sqltext.h"
#include "url.h"

enum {
    PARAMETERS_AT_MOST = 96,
    GREETING_AT_MOST = 256 * 1024, /* what comes before the first request */
};

/* Notices come while libpq parses. One of severity FATAL is the server's farewell to a
 * connection that was idle. */
static void on_notice(void *arg, const PGresult *notice)
{
    struct tp_conn *conn = arg;
    const char *code = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (severity != NULL && strcmp(severity, "FATAL") == 0 && conn->state == TP_CONN_READY)
        tp__conn_lose(conn, TP_ERR_CONNECTION, text != NULL ? text : "closed by the server");
    else if (conn->env.notice != NULL)
        conn->env.notice(conn->env.ctx, PQbackendPID(conn->pg), code, text);
}

/* ------------------------------------------------------------------- errors */

/* With PQERRORS_VERBOSE libpq writes "FATAL:  28P01: message"; the severity may be in
 * any language, the shape is not. Returns where the message begins, the code in *code. */
static const char *find_sqlstate(const char *text, char code[6])
{
    for (const char *at = strstr(text, ":  "); at != NULL; at = strstr(at + 1, ":  ")) {
        const char *found = at + 3;
        size_t len = 0;
        while (isdigit((unsigned char)found[len]) || isupper((unsigned char)found[len]))
            len++;
        if (len == 5 && found[5] == ':' && found[6] == ' ') {
            memcpy(code, found, 5);
            code[5] = '\0';
            return found + 7;
        }
    }
    return NULL;
}

/* Whether trying again is of any use: wrong passwords and missing databases are for
 * people to mend. 08 and 53 (too many connections) and 57P03 pass by themselves. */
static bool may_pass(const struct tp_error *err)
{
    if (err->kind == TP_ERR_TLS)
        return false;
    return strncmp(err->code, "28", 2) != 0 && strcmp(err->code, "3D000") != 0 &&
           strcmp(err->code, "0A000") != 0;
}

static bool speaks_of_tls(const char *text)
{
    bool tls = strstr(text, "SSL") != NULL || strstr(text, "certificate") != NULL ||
               strstr(text, "private key") != NULL || strstr(text, "channel binding") != NULL;
    return tls && strstr(text, "SYSCALL") == NULL;
}

/* With several hosts there are several messages; the last is the freshest. */
static const char *last_message(const char *text)
{
    const char *last = text;
    for (const char *at = strstr(text, "connection to server"); at != NULL;
         at = strstr(at + 1, "connection to server"))
        last = at;
    return last;
}

static enum tp_step open_failed(struct tp_conn *conn, struct tp_error *err)
{
    const char *text = last_message(PQerrorMessage(conn->pg));
    char code[6] = "";
    const char *said = find_sqlstate(text, code);
    const char *shown = said != NULL ? said : text;
    char line[512];
    tp__text_copy_n(line, sizeof line, shown, strcspn(shown, "\n"));
    tp__error_set(err, code[0] == '\0' && speaks_of_tls(line) ? TP_ERR_TLS : TP_ERR_CONNECTION,
                  "could not connect: %s", line);
    if (err->kind == TP_ERR_TLS)
        tp__text_copy(err->hint, sizeof err->hint, tp__conn_tls_hint(line));
    memcpy(err->code, code, sizeof err->code);
    if (code[0] != '\0')
        tp__text_copy(err->severity, sizeof err->severity, "FATAL");
    err->retryable = may_pass(err);
    if (code[0] == '\0' && PQconnectionNeedsPassword(conn->pg)) {
        err->retryable = false; /* libpq has noticed it: the server has not said anything */
        tp__text_copy(err->hint, sizeof err->hint,
                      "It can be given in the URL, as DB_PASSWORD, as the option password or in a "
                      "password file.");
    }
    tp__conn_set_state(conn, TP_CONN_LOST);
    return TP_FAILED;
}

static enum tp_step open_timed_out(struct tp_conn *conn, struct tp_error *err)
{
    int64_t ms = tp__config_settings(conn->env.config)->connect_timeout_us / 1000;
    tp__error_set(err, TP_ERR_CONNECTION, "could not connect within %lld ms (%s)", (long long)ms,
                  conn->state == TP_CONN_RESOLVING ? "the host name was not resolved"
                                                   : "the server did not answer");
    err->retryable = true;
    tp__conn_set_state(conn, TP_CONN_LOST);
    return TP_FAILED;
}

/* --------------------------------------------------------------- connecting */

/* One parameter of the arrays for libpq; later ones of the same name win. */
struct parameters {
    const char *keywords[PARAMETERS_AT_MOST + 1];
    const char *values[PARAMETERS_AT_MOST + 1];
    int count;
};

static void put(struct parameters *out, const char *keyword, const char *value)
{
    if (value == NULL)
        return;
    for (int i = 0; i < out->count; i++) {
        if (strcmp(out->keywords[i], keyword) == 0) {
            out->values[i] = value;
            return;
        }
    }
    if (out->count < PARAMETERS_AT_MOST) {
        out->keywords[out->count] = keyword;
        out->values[out->count++] = value;
    }
}

static const char *parameter(const struct tp_conn *conn, const char *keyword)
{
    struct tp_conninfo info = tp__config_conninfo(conn->env.config);
    const char *found = NULL;
    for (size_t i = 0; info.keywords[i] != NULL; i++) {
        if (strcmp(info.keywords[i], keyword) == 0)
            found = info.values[i];
    }
    return found;
}

/* Kerberos may ask the network for names and tickets, blocking; it is used when asked
 * for. */
static void collect_parameters(const struct tp_conn *conn, struct parameters *out)
{
    struct tp_conninfo info = tp__config_conninfo(conn->env.config);
    out->count = 0;
    put(out, "gssencmode", "disable");
    for (size_t i = 0; info.keywords[i] != NULL; i++)
        put(out, info.keywords[i], info.values[i]);
    put(out, "password", conn->env.password);
    struct tp_tls_parameter files[TP_TLS_PARAMETERS];
    tp__keyring_parameters(conn->env.keyring, files);
    for (size_t i = 0; i < TP_TLS_PARAMETERS; i++) {
        if (strcmp(files[i].value, TP_TLS_NO_FILE) != 0) /* as the configuration has it */
            put(out, files[i].keyword, files[i].value);
    }
}

/* The names are asked for and verified, the addresses are connected to. */
static void put_hosts(struct tp_conn *conn, struct parameters *out, const char *hosts,
                      const char *addresses)
{
    const char *name = tp__config_settings(conn->env.config)->tls_server_name;
    const char *names = name != NULL ? tp__conn_server_names(conn, hosts, addresses) : hosts;
    put(out, "host", names != NULL ? names : hosts);
}

static void forget_password(struct tp_conn *conn)
{
    tp__secret_free(conn->env.password);
    conn->env.password = NULL;
}

static const char *value_of(const struct parameters *with, const char *keyword)
{
    for (int i = 0; i < with->count; i++) {
        if (strcmp(with->keywords[i], keyword) == 0)
            return with->values[i];
    }
    return NULL;
}

static enum tp_step begin_connecting(struct tp_conn *conn, struct parameters *with,
                                     struct tp_error *err)
{
    with->keywords[with->count] = NULL;
    with->values[with->count] = NULL;
    tp__conn_note_hosts(conn, value_of(with, "host"), value_of(with, "hostaddr"),
                        value_of(with, "port"));
    conn->pg = PQconnectStartParams(with->keywords, with->values, 0);
    if (!tp__conn_has_other_hosts(conn))
        forget_password(conn);
    if (conn->pg == NULL) {
        tp__error_set(err, TP_ERR_MEMORY, "out of memory for a connection");
        tp__conn_set_state(conn, TP_CONN_LOST);
        return TP_FAILED;
    }
    tp__conn_set_state(conn, TP_CONN_CONNECTING);
    PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(conn->pg, on_notice, conn);
    if (PQstatus(conn->pg) == CONNECTION_BAD)
        return open_failed(conn, err);
    tp__conn_watch_host(conn, false);
    conn->events = TP_WRITE;
    return TP_WAIT;
}

/* The host that libpq is at does not answer. */
static enum tp_step leave_host(struct tp_conn *conn, struct tp_error *err)
{
    struct parameters with;
    if (conn->state != TP_CONN_CONNECTING || !tp__conn_drop_host(conn))
        return open_timed_out(conn, err);
    PQfinish(conn->pg);
    conn->pg = NULL;
    conn->deadline = tp__after(tp_now(), tp__config_settings(conn->env.config)->connect_timeout_us);
    collect_parameters(conn, &with);
    put(&with, "host", conn->hosts.names);
    put(&with, "hostaddr", conn->hosts.addresses);
    put(&with, "port", conn->hosts.ports);
    return begin_connecting(conn, &with, err);
}

static enum tp_step resolved(struct tp_conn *conn, struct tp_error *err)
{
    struct parameters with;
    const char *hosts, *addresses, *ports;
    if (tp__resolve_result(conn->resolve, &hosts, &addresses, &ports, err) != TP_OK) {
        err->retryable = true;
        tp__conn_set_state(conn, TP_CONN_LOST);
        return TP_FAILED;
    }
    collect_parameters(conn, &with);
    put_hosts(conn, &with, hosts, addresses);
    put(&with, "hostaddr", addresses);
    put(&with, "port", ports);
    return begin_connecting(conn, &with, err);
}

static enum tp_step connected(struct tp_conn *conn, struct tp_error *err)
{
    tp__keyring_release(conn->env.keyring);
    conn->env.keyring = NULL;
    forget_password(conn);
    tp__conn_forget_hosts(conn);
    PQsetErrorVerbosity(conn->pg, PQERRORS_DEFAULT);
    if (PQsetnonblocking(conn->pg, 1) != 0)
        return open_failed(conn, err);
    if (!tp__conn_keeps_utf8(conn)) {
        *err = conn->error;
        err->kind = TP_ERR_CONNECTION; /* nobody here has asked for it */
        return TP_FAILED;
    }
    conn->events = 0;
    conn->transaction = TP_TX_IDLE;
    conn->deadline = TP_NEVER;
    tp__conn_set_state(conn, TP_CONN_READY);
    return TP_DONE;
}

/* libpq takes a call for the news that its socket is ready: in the middle of a TCP
 * handshake PQconnectPoll would block until its end (measured). Rings that were meant for
 * others come here, too. */
static bool is_socket_ready(const struct tp_conn *conn)
{
    struct pollfd on = {.fd = PQsocket(conn->pg),
                        .events = conn->events == TP_WRITE ? POLLOUT : POLLIN};
    return poll(&on, 1, 0) != 0;
}

static enum tp_step poll_connecting(struct tp_conn *conn, struct tp_error *err)
{
    if (!is_socket_ready(conn))
        return TP_WAIT;
    switch (PQconnectPoll(conn->pg)) {
    case PGRES_POLLING_OK:
        return connected(conn, err);
    case PGRES_POLLING_FAILED:
        return open_failed(conn, err);
    case PGRES_POLLING_WRITING:
        tp__conn_watch_host(conn, true);
        conn->events = TP_WRITE;
        return TP_WAIT;
    default:
        tp__conn_watch_host(conn, true);
        conn->events = TP_READ;
        if (!tp__conn_is_flooded(conn))
            return TP_WAIT;
        *err = conn->error;
        err->kind = TP_ERR_CONNECTION;
        return TP_FAILED;
    }
}

/* libpq expects to be treated at first as if PQconnectPoll had said WRITING. */
enum tp_step tp__conn_step_open(struct tp_conn *conn, struct tp_error *err)
{
    if (tp_now() >= conn->deadline)
        return leave_host(conn, err);
    if (conn->state == TP_CONN_CONNECTING)
        return poll_connecting(conn, err);
    if (conn->resolve == NULL) {
        struct parameters with;
        collect_parameters(conn, &with);
        if (parameter(conn, "hostaddr") != NULL)
            put_hosts(conn, &with, parameter(conn, "host"), parameter(conn, "hostaddr"));
        return begin_connecting(conn, &with, err);
    }
    return tp__resolve_done(conn->resolve) ? resolved(conn, err) : TP_WAIT;
}

struct tp_conn *tp__conn_open(const struct tp_conn_env *env, struct tp_error *err)
{
    const struct tp_settings *settings = tp__config_settings(env->config);
    struct tp_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL || !tp__statements_init(&conn->statements, settings->statement_cache_size)) {
        free(conn);
        tp__error_set(err, TP_ERR_MEMORY, "out of memory for a connection");
        return NULL;
    }
    conn->env = *env;
    tp__keyring_retain(conn->env.keyring);
    conn->state = TP_CONN_RESOLVING;
    conn->most_bytes = GREETING_AT_MOST;
    conn->traces_most =
        settings->reset == TP_RESET_NEVER ? 0 : TP_LEAVES_STATE | TP_LEAVES_FOR_GOOD;
    conn->traces_least = settings->reset == TP_RESET_ALWAYS ? TP_LEAVES_STATE : 0;
    conn->traces = conn->traces_least;
    conn->deadline = tp__after(tp_now(), settings->connect_timeout_us);
    const char *hosts = parameter(conn, "host");
    bool renamed = hosts != NULL && settings->tls_server_name != NULL;
    if (parameter(conn, "hostaddr") != NULL || (!renamed && !tp__resolve_needed(hosts)))
        return conn;
    conn->resolve = tp__resolve_start(hosts, parameter(conn, "port"), env->wake);
    if (conn->resolve == NULL) {
        conn->env.password = NULL; /* the caller's still */
        tp__conn_close(conn, false);
        tp__error_set(err, TP_ERR_CONNECTION, "no thread to resolve host names with");
        err->retryable = true;
        return NULL;
    }
    return conn;
}

int tp__conn_dup_socket(const struct tp_conn *conn)
{
    int fd = conn->pg != NULL ? PQsocket(conn->pg) : -1;
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    return fd < 0 ? TP_BUDGET_ENDED : copy < 0 ? TP_BUDGET_UNSEEN : copy;
}

/* In a forked child PQfinish would tell the server goodbye in the parent's name, so the
 * descriptor is closed under libpq. The rest is left as it is: another thread may have been
 * changing it when the process was forked. What stays is on a list, so that it is not taken
 * for a leak. */
static void close_inherited(struct tp_conn *conn)
{
    static struct tp_conn *_Atomic kept;
    int fd = conn->pg != NULL ? PQsocket(conn->pg) : -1;
    if (fd >= 0)
        close(fd);
    conn->inherited = atomic_exchange(&kept, conn);
}

void tp__conn_close(struct tp_conn *conn, bool forked)
{
    tp__watch_forget(&conn->watch, forked);
    if (forked) {
        close_inherited(conn);
        return;
    }
    tp__conn_end_block(conn);
    tp__resolve_free(conn->resolve);
    forget_password(conn);
    tp__conn_forget_hosts(conn);
    tp__buf_free(&conn->names);
    tp__keyring_release(conn->env.keyring);
    tp__conn_cancel_behind(conn);
    tp__conn_forget_cancel(conn);
    if (conn->pg != NULL)
        PQfinish(conn->pg);
    tp__conn_clear_answer(conn);
    tp__description_release(conn->described);
    tp__description_release(conn->expected);
    tp__statements_deinit(&conn->statements);
    tp__buf_free(&conn->prepared_sql);
    tp__buf_free(&conn->row);
    tp__buf_free(&conn->marked_sql);
    tp__buf_free(&conn->to_deallocate);
    tp__wire_deinit(&conn->wire);
    free(conn->values);
    free(conn->lengths);
    free(conn->formats);
    free(conn);
}
