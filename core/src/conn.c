/* The state of a connection and the requests on it. */
#include "conn.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "conn_impl.h"
#include "error.h"
#include "result.h"

/* ------------------------------------------------------------------- states */

/* Row: from, column: to, in the order of enum tp_conn_state. */
static const bool transitions[][TP_CONN_LOST + 1] = {
    /* RESOLVING  */ {false, true, false, false, false, true},
    /* CONNECTING */ {false, false, true, false, false, true},
    /* READY      */ {false, false, false, true, false, true},
    /* ASKING     */ {false, false, true, false, true, true},
    /* CANCELLING */ {false, false, false, true, false, true},
    /* LOST       */ {false, false, false, false, false, true},
};

void tp__conn_set_state(struct tp_conn *conn, enum tp_conn_state state)
{
    assert(transitions[conn->state][state]);
    conn->state = state;
}

int tp__conn_fd(const struct tp_conn *conn)
{
    if (conn->pg == NULL || conn->state == TP_CONN_RESOLVING || conn->state == TP_CONN_CANCELLING)
        return -1;
    return PQsocket(conn->pg);
}

int tp__conn_events(const struct tp_conn *conn)
{
    return conn->events;
}

int64_t tp__conn_deadline(const struct tp_conn *conn)
{
    bool again = conn->mending && conn->cancel_again < conn->deadline;
    return again ? conn->cancel_again : conn->deadline;
}

bool tp__conn_is_ready(const struct tp_conn *conn)
{
    return conn->state == TP_CONN_READY;
}

bool tp__conn_is_lost(const struct tp_conn *conn)
{
    return conn->state == TP_CONN_LOST;
}

int tp__conn_pid(const struct tp_conn *conn)
{
    return PQbackendPID(conn->pg);
}

enum tp_transaction_state tp__conn_transaction(const struct tp_conn *conn)
{
    if (conn->state == TP_CONN_LOST)
        return TP_TX_UNKNOWN;
    switch (PQtransactionStatus(conn->pg)) {
    case PQTRANS_IDLE:
        return TP_TX_IDLE;
    case PQTRANS_ACTIVE:
        return TP_TX_ACTIVE;
    case PQTRANS_INTRANS:
        return TP_TX_OPEN;
    case PQTRANS_INERROR:
        return TP_TX_FAILED;
    default:
        return TP_TX_UNKNOWN;
    }
}

void tp__conn_libpq_message(const struct tp_conn *conn, char *out, size_t room)
{
    const char *text = PQerrorMessage(conn->pg);
    tp__text_copy_n(out, room, text, strcspn(text, "\n"));
}

void tp__conn_lose(struct tp_conn *conn, enum tp_status kind, const char *why)
{
    if (conn->error.kind == TP_OK)
        tp__error_set(&conn->error, kind, "%s", why);
    tp__conn_set_state(conn, TP_CONN_LOST);
}

/* The socket is peeked at first: that is one cheap call in the usual case. What is
 * there is then given to libpq, which turns a FATAL message into a notice; behind it
 * comes the end of the stream. */
bool tp__conn_look(struct tp_conn *conn)
{
    char byte;
    if (conn->state != TP_CONN_READY)
        return false;
    for (int i = 0; i < 8; i++) {
        ssize_t got = recv(PQsocket(conn->pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return true; /* silence, as it should be */
        if (got <= 0 || !PQconsumeInput(conn->pg))
            break;
        (void)PQisBusy(conn->pg); /* parses what was read */
        if (conn->state == TP_CONN_LOST || PQstatus(conn->pg) == CONNECTION_BAD)
            break;
    }
    if (conn->state != TP_CONN_LOST)
        tp__conn_lose(conn, TP_ERR_CONNECTION, "the server closed the connection");
    return false;
}

/* --------------------------------------------------------------- statements */

struct tp_statement *tp__conn_find(struct tp_conn *conn, const char *sql, size_t len, uint64_t hash)
{
    return tp__statements_find(&conn->statements, sql, len, hash);
}

void tp__conn_drop(struct tp_conn *conn, uint64_t hash)
{
    tp__statements_drop(&conn->statements, hash);
}

void tp__conn_forget_statements(struct tp_conn *conn)
{
    tp__statements_forget(&conn->statements);
}

uint64_t *tp__conn_stale_seen(struct tp_conn *conn)
{
    return &conn->stale_seen;
}

bool tp__conn_prepare_evicted(const struct tp_conn *conn)
{
    return conn->evicted;
}

struct tp_statement *tp__conn_undescribed(struct tp_conn *conn, const char *sql, size_t len,
                                          int nparams)
{
    tp__statement_free(conn->undescribed);
    conn->undescribed = tp__statement_new(&conn->statements, sql, len, nparams, false);
    if (conn->undescribed != NULL)
        memset(conn->undescribed->types, 0, (size_t)nparams * sizeof(uint32_t));
    return conn->undescribed;
}

/* The description of a prepared statement becomes an entry of the cache. */
static void remember(struct tp_conn *conn, PGresult *described)
{
    int nparams = PQnparams(described);
    bool named = conn->preparing->name[0] != '\0';
    struct tp_statement *known = tp__statement_new(&conn->statements, conn->preparing->sql,
                                                   conn->preparing->sql_len, nparams, false);
    if (known == NULL) {
        tp__error_set(&conn->error, TP_ERR_MEMORY, "out of memory for a prepared statement");
        return;
    }
    if (named)
        memcpy(known->name, conn->preparing->name, sizeof known->name);
    for (int i = 0; i < nparams; i++)
        known->types[i] = PQparamtype(described, i);
    conn->evicted = tp__statements_insert(&conn->statements, known);
}

/* ---------------------------------------------------------------- beginning */

static void begin(struct tp_conn *conn)
{
    tp_result_free(conn->result);
    conn->result = NULL;
    tp__error_clear(&conn->error);
    conn->pipelined = false;
    conn->pinging = false;
    conn->described = 0;
    conn->unread = false;
    tp__conn_set_state(conn, TP_CONN_ASKING);
}

/* After a PQsend*: `sent` is its return. */
static enum tp_status begun(struct tp_conn *conn, int sent)
{
    char why[256];
    int left = sent ? PQflush(conn->pg) : -1;
    if (left >= 0) {
        conn->unsent = left > 0;
        conn->events = TP_READ | (conn->unsent ? TP_WRITE : 0);
        return TP_OK;
    }
    tp__conn_libpq_message(conn, why, sizeof why);
    tp__conn_lose(conn, TP_ERR_CONNECTION, why);
    return TP_ERR_CONNECTION;
}

enum tp_status tp__conn_ask_simple(struct tp_conn *conn, const char *sql)
{
    begin(conn);
    return begun(conn, PQsendQuery(conn->pg, sql));
}

enum tp_status tp__conn_ask_ping(struct tp_conn *conn)
{
    begin(conn);
    conn->pinging = true;
    return begun(conn, PQsendQuery(conn->pg, ""));
}

/* Names that the cache has let go of ride along, a few at a time. They are numbers
 * of ours, so no quoting is needed. */
static bool send_deallocations(struct tp_conn *conn)
{
    for (int i = 0; i < 4; i++) {
        char sql[48];
        struct tp_statement *dead = tp__statements_take_dead(&conn->statements);
        if (dead == NULL)
            return true;
        snprintf(sql, sizeof sql, "DEALLOCATE %s", dead->name);
        tp__statement_free(dead);
        if (!PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0))
            return false;
    }
    return true;
}

/* Parse, Describe and Sync as one write. In a failed transaction nothing can be
 * deallocated, so the names wait for a better time. */
static bool send_prepare(struct tp_conn *conn)
{
    const struct tp_statement *new = conn->preparing;
    return PQenterPipelineMode(conn->pg) &&
           (tp__conn_transaction(conn) == TP_TX_FAILED || send_deallocations(conn)) &&
           PQsendPrepare(conn->pg, new->name, new->sql, 0, NULL) &&
           PQsendDescribePrepared(conn->pg, new->name) && PQpipelineSync(conn->pg);
}

enum tp_status tp__conn_ask_prepare(struct tp_conn *conn, const char *sql, size_t len)
{
    bool named = tp__config_settings(conn->env.config)->prepare;
    begin(conn);
    conn->pipelined = true;
    conn->evicted = false;
    tp__statement_free(conn->preparing);
    conn->preparing = tp__statement_new(&conn->statements, sql, len, 0, named);
    if (conn->preparing == NULL) {
        tp__error_set(&conn->error, TP_ERR_MEMORY, "out of memory for a prepared statement");
        tp__conn_set_state(conn, TP_CONN_READY);
        return TP_ERR_MEMORY;
    }
    return begun(conn, send_prepare(conn));
}

static bool make_room(struct tp_conn *conn, int nparams)
{
    if (nparams <= conn->room)
        return true;
    size_t room = (size_t)nparams + 16;
    const char **values = realloc(conn->values, room * sizeof *values);
    if (values != NULL)
        conn->values = values;
    int *lengths = realloc(conn->lengths, room * sizeof *lengths);
    if (lengths != NULL)
        conn->lengths = lengths;
    int *formats = realloc(conn->formats, room * sizeof *formats);
    if (formats != NULL)
        conn->formats = formats;
    if (values == NULL || lengths == NULL || formats == NULL)
        return false;
    conn->room = (int)room;
    return true;
}

static int send_execute(struct tp_conn *conn, const struct tp_statement *statement)
{
    int n = statement->nparams;
    if (statement->name[0] != '\0')
        return PQsendQueryPrepared(conn->pg, statement->name, n, conn->values, conn->lengths,
                                   conn->formats, 0);
    return PQsendQueryParams(conn->pg, statement->sql, n, statement->types, conn->values,
                             conn->lengths, conn->formats, 0);
}

enum tp_status tp__conn_ask_execute(struct tp_conn *conn, const struct tp_statement *statement,
                                    const struct tp_param *params)
{
    begin(conn);
    if (!make_room(conn, statement->nparams)) {
        tp__error_set(&conn->error, TP_ERR_MEMORY, "out of memory for parameters");
        tp__conn_set_state(conn, TP_CONN_READY);
        return TP_ERR_MEMORY;
    }
    for (int i = 0; i < statement->nparams; i++) {
        conn->values[i] = params[i].data;
        conn->lengths[i] = (int)params[i].len;
        conn->formats[i] = params[i].binary;
    }
    return begun(conn, send_execute(conn, statement));
}

/* ------------------------------------------------------------------ results */

static void keep_error(struct tp_conn *conn, const PGresult *pg)
{
    /* Of several errors the first has the reason: after 57P01 libpq adds one that
     * says no more than "server closed the connection unexpectedly". */
    if (conn->error.kind != TP_OK)
        return;
    tp__result_error(pg, &conn->error);
    bool fatal =
        strcmp(conn->error.severity, "FATAL") == 0 || strcmp(conn->error.severity, "PANIC") == 0;
    if (fatal || conn->error.code[0] == '\0') {
        conn->error.kind = TP_ERR_CONNECTION;
        conn->error.message[strcspn(conn->error.message, "\n")] = '\0';
    }
}

static void keep_result(struct tp_conn *conn, PGresult *pg)
{
    tp_result *result = tp__result_new(pg);
    if (result != NULL)
        conn->result = tp__result_append(conn->result, result);
    else if (conn->error.kind == TP_OK)
        tp__error_set(&conn->error, TP_ERR_MEMORY, "out of memory for a result");
}

/* COPY cannot be spoken by this request. The way in can be refused politely; the way
 * out cannot be stopped without reading it all, so the connection is given up. */
static void refuse_copy(struct tp_conn *conn, bool in)
{
    if (conn->error.kind == TP_OK)
        tp__error_set(&conn->error, TP_ERR_VALIDATION, "COPY %s cannot be sent as a query",
                      in ? "FROM STDIN" : "TO STDOUT");
    if (in)
        (void)PQputCopyEnd(conn->pg, "refused by the client");
    else
        tp__conn_set_state(conn, TP_CONN_LOST);
}

/* Takes one PGresult; true when it was the last of a pipeline. */
static bool take(struct tp_conn *conn, PGresult *pg)
{
    ExecStatusType status = PQresultStatus(pg);
    switch (status) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        if (!conn->pipelined) {
            keep_result(conn, pg);
            return false;
        }
        break;
    case PGRES_EMPTY_QUERY:
        if (!conn->pinging && conn->error.kind == TP_OK)
            tp__error_set(&conn->error, TP_ERR_VALIDATION, "the SQL text is empty");
        break;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        refuse_copy(conn, status == PGRES_COPY_IN);
        break;
    case PGRES_PIPELINE_SYNC:
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        keep_error(conn, pg);
    }
    PQclear(pg);
    return status == PGRES_PIPELINE_SYNC;
}

static enum tp_step finish(struct tp_conn *conn)
{
    if (conn->pipelined && PQstatus(conn->pg) == CONNECTION_OK)
        (void)PQexitPipelineMode(conn->pg);
    tp__statement_free(conn->preparing);
    conn->preparing = NULL;
    if (PQstatus(conn->pg) == CONNECTION_BAD || conn->error.kind == TP_ERR_CONNECTION) {
        char why[256];
        tp__conn_libpq_message(conn, why, sizeof why);
        tp__conn_lose(conn, TP_ERR_CONNECTION, why);
    } else if (conn->state != TP_CONN_LOST) {
        tp__conn_set_state(conn, TP_CONN_READY);
    }
    return conn->error.kind == TP_OK ? TP_DONE : TP_FAILED;
}

/* The second answer without a command tag is the description: the first is that of
 * Parse, and those of DEALLOCATE have a tag. */
static void take_description(struct tp_conn *conn, PGresult *pg)
{
    if (PQresultStatus(pg) == PGRES_COMMAND_OK && PQcmdStatus(pg)[0] == '\0' &&
        ++conn->described == 2)
        remember(conn, pg);
}

/* In a pipeline a NULL ends one command only. PQgetResult does not block here: either
 * libpq has a whole answer, or the connection is down and it says so at once. */
static enum tp_step collect(struct tp_conn *conn)
{
    for (;;) {
        bool down = PQstatus(conn->pg) == CONNECTION_BAD;
        if (!down && PQisBusy(conn->pg))
            return TP_WAIT;
        PGresult *pg = PQgetResult(conn->pg);
        if (pg == NULL && (down || !conn->pipelined))
            return finish(conn);
        if (pg == NULL)
            continue;
        if (conn->pipelined)
            take_description(conn, pg);
        if (take(conn, pg) || conn->state == TP_CONN_LOST)
            return finish(conn);
    }
}

/* A backend that is told to end while it is idle says 57P01 and closes its socket, perhaps
 * with our request unread in it. The kernel then resets the connection instead of ending
 * it in an orderly way (RFC 1122, 4.2.2.13; unix sockets alike), and that is the proof: a
 * request that was read to its end leaves nothing unread, and one that was not cannot have
 * been committed, since the commit comes with its last message. */
static void look_for_reset(struct tp_conn *conn)
{
    int failure = 0;
    socklen_t len = sizeof failure;
    if (conn->result == NULL && strcmp(conn->error.code, "57P01") == 0 &&
        getsockopt(PQsocket(conn->pg), SOL_SOCKET, SO_ERROR, &failure, &len) == 0)
        conn->unread = failure == ECONNRESET || failure == EPIPE;
}

bool tp__conn_was_unread(const struct tp_conn *conn)
{
    return conn->unread;
}

enum tp_step tp__conn_step(struct tp_conn *conn, int ready)
{
    if (conn->state == TP_CONN_LOST)
        return TP_FAILED;
    if (conn->unsent) {
        conn->unsent = PQflush(conn->pg) > 0; /* a failure shows when reading */
        conn->events = TP_READ | (conn->unsent ? TP_WRITE : 0);
    }
    if ((ready & TP_READ) != 0 && conn->error.kind != TP_OK)
        look_for_reset(conn);
    if ((ready & TP_READ) != 0 && !PQconsumeInput(conn->pg) &&
        PQstatus(conn->pg) != CONNECTION_BAD) {
        tp__conn_lose(conn, TP_ERR_CONNECTION, "reading from the server failed");
        return TP_FAILED;
    }
    return collect(conn);
}

tp_result *tp__conn_take_result(struct tp_conn *conn)
{
    tp_result *result = conn->result;
    conn->result = NULL;
    return result;
}

const struct tp_error *tp__conn_error(const struct tp_conn *conn)
{
    return &conn->error;
}
