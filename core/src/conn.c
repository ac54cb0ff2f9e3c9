/* The state of a connection, and what it knows of its statements. */
#include "conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "conn_impl.h"
#include "error.h"
#include "sqltext.h"

/* ------------------------------------------------------------------- states */

/* Row: from, column: to, in the order of enum tp_conn_state. */
static const bool transitions[][TP_CONN_LOST + 1] = {
    /* RESOLVING  */ {false, true, false, false, false, true},
    /* CONNECTING */ {false, true, true, false, false, true},
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

struct tp_watch *tp__conn_watch(struct tp_conn *conn)
{
    return &conn->watch;
}

int64_t tp__conn_deadline(const struct tp_conn *conn)
{
    if (conn->mending && conn->paused)
        return tp_now();
    bool again = conn->mending && conn->cancel_again < conn->deadline;
    return again ? conn->cancel_again : conn->deadline;
}

void *tp__conn_owner(const struct tp_conn *conn)
{
    return conn->env.ctx;
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
    switch (conn->state) {
    case TP_CONN_READY:
        return conn->transaction;
    case TP_CONN_ASKING:
    case TP_CONN_CANCELLING:
        return TP_TX_ACTIVE;
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
        conn->read_aside = true;
        (void)PQisBusy(conn->pg); /* parses what was read */
        if (!tp__conn_keeps_utf8(conn) || PQstatus(conn->pg) == CONNECTION_BAD)
            break;
    }
    if (conn->state != TP_CONN_LOST)
        tp__conn_lose(conn, TP_ERR_CONNECTION, "the server closed the connection");
    return false;
}

/* --------------------------------------------------------------- statements */

void tp__conn_note_traces(struct tp_conn *conn, const char *sql, size_t len)
{
    conn->traces |= tp__sql_traces(sql, len) & conn->traces_most;
}

unsigned tp__conn_traces(const struct tp_conn *conn)
{
    return conn->traces;
}

struct tp_statement *tp__conn_find(struct tp_conn *conn, const char *sql, size_t len, uint64_t hash)
{
    if (conn->statements_gone)
        tp__conn_forget_statements(conn);
    return tp__statements_find(&conn->statements, sql, len, hash);
}

struct tp_statement *tp__conn_remember(struct tp_conn *conn, struct tp_description *description,
                                       bool *evicted)
{
    struct tp_statement *known = tp__statement_new(description, conn->prepared_name);
    *evicted = known != NULL && tp__statements_insert(&conn->statements, known);
    return known;
}

bool tp__conn_had_other_columns(const struct tp_conn *conn)
{
    const struct tp_description *expected = conn->expected;
    return expected != NULL && expected->described && conn->found_columns != NULL &&
           (expected->columns != NULL || conn->found_columns->count > 0);
}

bool tp__conn_has_parsed(const struct tp_conn *conn)
{
    return conn->pipelined && conn->silent == 0;
}

struct tp_columns *tp__conn_take_found_columns(struct tp_conn *conn)
{
    struct tp_columns *columns = conn->found_columns;
    conn->found_columns = NULL;
    if (columns != NULL)
        conn->columns = NULL;
    return columns;
}

void tp__conn_drop(struct tp_conn *conn, uint64_t hash)
{
    tp__statements_drop(&conn->statements, hash);
}

void tp__conn_forget_statements(struct tp_conn *conn)
{
    conn->statements_gone = false;
    tp__statements_forget(&conn->statements);
}

uint64_t *tp__conn_stale_seen(struct tp_conn *conn)
{
    return &conn->stale_seen;
}

bool tp__conn_was_unread(const struct tp_conn *conn)
{
    return conn->unread;
}

bool tp__conn_is_doubted(const struct tp_conn *conn)
{
    return conn->doubted;
}

bool tp__conn_is_read_only(const struct tp_conn *conn)
{
    return conn->read_only;
}

const struct tp_error *tp__conn_error(const struct tp_conn *conn)
{
    return &conn->error;
}

int tp__conn_server_version(const struct tp_conn *conn)
{
    return PQserverVersion(conn->pg);
}
