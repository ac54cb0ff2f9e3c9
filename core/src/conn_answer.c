/* Answers on a connection: what comes back. */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>

#include "codec.h"
#include "conn.h"
#include "conn_impl.h"
#include "error.h"
#include "result.h"

/* ------------------------------------------------------------------- errors */

/* An error that ends the session, and one of libpq's own, is one of the connection. */
static void judge_error(struct tp_conn *conn)
{
    bool fatal =
        strcmp(conn->error.severity, "FATAL") == 0 || strcmp(conn->error.severity, "PANIC") == 0;
    if (strcmp(conn->error.code, "25006") == 0)
        conn->doubted = true;
    if (fatal || conn->error.code[0] == '\0') {
        conn->error.kind = TP_ERR_CONNECTION;
        conn->error.message[strcspn(conn->error.message, "\n")] = '\0';
    }
}

/* Of several errors the first has the reason: after 57P01 libpq adds one that says no more
 * than "server closed the connection unexpectedly". */
static void keep_error(struct tp_conn *conn, const PGresult *pg)
{
    if (conn->error.kind != TP_OK)
        return;
    tp__result_error(pg, &conn->error);
    judge_error(conn);
}

void tp__conn_on_error(void *ctx, const char *body, size_t len)
{
    struct tp_conn *conn = ctx;
    if (conn->error.kind != TP_OK)
        return;
    tp__wire_error(body, len, &conn->error);
    judge_error(conn);
}

static void keep_memory_error(struct tp_conn *conn, const char *what)
{
    if (conn->error.kind == TP_OK)
        tp__error_set(&conn->error, TP_ERR_MEMORY, "out of memory for %s", what);
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

/* ------------------------------------------------------------------ results */

static void clear_rows(struct tp_conn *conn)
{
    if (conn->pg_rows == NULL)
        return;
    PQclear(conn->pg_rows);
    conn->pg_rows = NULL;
    conn->next_row = 0;
}

void tp__conn_clear_answer(struct tp_conn *conn)
{
    clear_rows(conn);
    tp__columns_free(conn->found_columns);
    conn->found_columns = NULL;
    conn->columns = NULL;
    conn->complete = false;
    conn->row_failed = false;
    conn->command[0] = '\0';
    conn->count = 0;
    if (conn->copy.state != TP_COPY_OFF)
        tp__conn_clear_copy(conn);
}

static void keep_tag(struct tp_conn *conn, PGresult *pg)
{
    conn->count = tp__result_tag(PQcmdStatus(pg), conn->command, sizeof conn->command);
    tp__conn_note_tag(conn);
}

/* Rows have come in binary form because others were expected: without a prepared statement
 * the server does not notice that a table has changed. */
static bool are_understood(struct tp_conn *conn, const struct tp_columns *found)
{
    if (!conn->binary || (found->binary && tp__conn_has_settings(conn, found->needs)))
        return true;
    if (conn->error.kind == TP_OK)
        tp__error_set(&conn->error, TP_ERR_DATABASE,
                      "the statement's columns have changed, and its rows cannot be understood");
    return false;
}

/* The columns of a result: the expected ones, or those that it has itself. False: there is an
 * error. */
static bool find_columns(struct tp_conn *conn, const PGresult *pg)
{
    const struct tp_columns *expected = conn->expected != NULL ? conn->expected->columns : NULL;
    if (expected != NULL && tp__result_has_columns(pg, expected)) {
        conn->columns = expected;
        return true;
    }
    tp__columns_free(conn->found_columns);
    conn->found_columns = tp__result_columns(pg);
    conn->columns = conn->found_columns;
    if (conn->found_columns == NULL) {
        keep_memory_error(conn, "a result");
        return false;
    }
    (void)tp__columns_resolve(conn->found_columns, conn->env.catalog);
    return are_understood(conn, conn->found_columns);
}

/* A result of libpq's with rows: one of them, or all. */
static enum tp_step take_rows(struct tp_conn *conn, PGresult *pg)
{
    bool single = PQresultStatus(pg) == PGRES_SINGLE_TUPLE;
    if ((conn->columns == NULL || !single) && !find_columns(conn, pg)) {
        PQclear(pg);
        return TP_WAIT;
    }
    clear_rows(conn); /* behind an error there may be some that nobody takes */
    conn->pg_rows = pg;
    conn->next_row = 0;
    conn->complete = !single;
    if (single)
        return TP_ROWS;
    keep_tag(conn, pg);
    if (PQntuples(pg) > 0)
        return TP_ROWS;
    conn->complete = false;
    return TP_RESULT;
}

static enum tp_step take_command(struct tp_conn *conn, PGresult *pg)
{
    keep_tag(conn, pg);
    conn->statements_gone |=
        strcmp(conn->command, "DISCARD ALL") == 0 || strcmp(conn->command, "DEALLOCATE ALL") == 0;
    conn->columns = NULL;
    PQclear(pg);
    return TP_RESULT;
}

static void take_description(struct tp_conn *conn, PGresult *pg)
{
    conn->describing = false;
    conn->described = tp__result_description(pg, conn->prepared_sql.data, conn->prepared_sql.len);
    if (conn->described == NULL)
        keep_memory_error(conn, "a prepared statement");
    PQclear(pg);
}

static enum tp_step take_success(struct tp_conn *conn, PGresult *pg)
{
    bool is_xact = conn->xact_is_next;
    bool last = PQresultStatus(pg) != PGRES_SINGLE_TUPLE && conn->silent == 0;
    conn->xact_is_next = is_xact || (conn->asks_xact && last);
    if (is_xact) {
        tp__conn_take_xact(conn, pg);
        PQclear(pg);
    } else if (conn->silent > 0) {
        conn->silent--;
        PQclear(pg);
    } else if (conn->describing) {
        take_description(conn, pg);
    } else if (PQresultStatus(pg) == PGRES_COMMAND_OK) {
        return take_command(conn, pg);
    } else {
        return take_rows(conn, pg);
    }
    return TP_WAIT;
}

/* Takes one PGresult. TP_WAIT: it was nothing for the caller. */
static enum tp_step take(struct tp_conn *conn, PGresult *pg, ExecStatusType status)
{
    enum tp_step step = TP_WAIT;
    switch (status) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_SINGLE_TUPLE:
        return take_success(conn, pg);
    case PGRES_EMPTY_QUERY:
        if (!conn->pinging && conn->error.kind == TP_OK)
            tp__error_set(&conn->error, TP_ERR_VALIDATION, "the SQL text is empty");
        break;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        step = tp__conn_begin_copy(conn, pg);
        if (step == TP_WAIT)
            refuse_copy(conn, status == PGRES_COPY_IN);
        break;
    case PGRES_PIPELINE_SYNC:
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        keep_error(conn, pg);
    }
    PQclear(pg);
    return step;
}

/* It has ended. */
static void forget_xact(struct tp_conn *conn)
{
    if (conn->transaction == TP_TX_IDLE) {
        conn->xact[0] = '\0';
        conn->writes_unseen = false;
    }
}

static enum tp_transaction_state transaction_of(PGTransactionStatusType status)
{
    switch (status) {
    case PQTRANS_IDLE:
        return TP_TX_IDLE;
    case PQTRANS_INTRANS:
        return TP_TX_OPEN;
    case PQTRANS_INERROR:
        return TP_TX_FAILED;
    default:
        return TP_TX_UNKNOWN;
    }
}

/* What is quoted, checked and sent as UTF-8 would be read as something else by the server, which
 * is how quotes are smuggled past a client (CVE-2025-1094); and its text would not be UTF-8. */
static void lose_encoding(struct tp_conn *conn, const char *name)
{
    char why[160];
    snprintf(why, sizeof why,
             "client_encoding is %.40s now: it has to stay UTF8, so the connection is closed",
             name);
    tp__conn_lose(conn, TP_ERR_VALIDATION, why);
}

bool tp__conn_keeps_utf8(struct tp_conn *conn)
{
    const char *name = pg_encoding_to_char(PQclientEncoding(conn->pg));
    if (strcmp(name, "UTF8") != 0 && PQparameterStatus(conn->pg, "client_encoding") != NULL)
        lose_encoding(conn, name);
    return conn->state != TP_CONN_LOST;
}

static enum tp_step finish(struct tp_conn *conn)
{
    conn->transaction = transaction_of(PQtransactionStatus(conn->pg));
    tp__conn_note_state(conn);
    forget_xact(conn);
    conn->read_aside = false;
    if (conn->pipelined && PQstatus(conn->pg) == CONNECTION_OK)
        (void)PQexitPipelineMode(conn->pg);
    if (PQstatus(conn->pg) == CONNECTION_BAD || conn->error.kind == TP_ERR_CONNECTION) {
        char why[256];
        tp__conn_libpq_message(conn, why, sizeof why);
        tp__conn_lose(conn, TP_ERR_CONNECTION, why);
    } else if (!conn->whole && conn->error.kind == TP_OK) {
        /* libpq passes over what it does not understand, and forgets to say so. */
        tp__conn_lose(conn, TP_ERR_CONNECTION, "the server's answer breaks the protocol");
    } else if (conn->state != TP_CONN_LOST && tp__conn_keeps_utf8(conn)) {
        tp__conn_set_state(conn, TP_CONN_READY);
    }
    return conn->error.kind == TP_OK ? TP_DONE : TP_FAILED;
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
        if (pg == NULL) {
            if (conn->one_by_one)
                (void)PQsetSingleRowMode(conn->pg); /* of the next command */
            continue;
        }
        tp__conn_note_progress(conn);
        ExecStatusType status = PQresultStatus(pg);
        if (conn->whole) /* this one is of another result */
            conn->columns = NULL;
        if (status != PGRES_PIPELINE_SYNC)
            conn->whole = status != PGRES_SINGLE_TUPLE;
        enum tp_step step = take(conn, pg, status);
        if (step != TP_WAIT && conn->error.kind == TP_OK)
            return step;
        if (status == PGRES_PIPELINE_SYNC || conn->state == TP_CONN_LOST)
            return finish(conn);
    }
}

/* ---------------------------------------------------------------- the socket */

/* A backend that is told to end while it is idle says 57P01 and closes its socket, perhaps
 * with our request unread in it. The kernel then resets the connection instead of ending
 * it in an orderly way (RFC 1122, 4.2.2.13; unix sockets alike), and that is the proof: a
 * request that was read to its end leaves nothing unread, and one that was not cannot have
 * been committed, since the commit comes with its last message. */
static void look_for_reset(struct tp_conn *conn)
{
    int failure = 0;
    socklen_t len = sizeof failure;
    if (conn->command[0] == '\0' && strcmp(conn->error.code, "57P01") == 0 &&
        getsockopt(PQsocket(conn->pg), SOL_SOCKET, SO_ERROR, &failure, &len) == 0)
        conn->unread = failure == ECONNRESET || failure == EPIPE;
}

static enum tp_step lose(struct tp_conn *conn, const char *why)
{
    tp__conn_lose(conn, TP_ERR_CONNECTION, why);
    return TP_FAILED;
}

/* ------------------------------------------------------------------- floods */

/* How many bytes have come; of a unix socket nobody knows. */
static int64_t heard(const struct tp_conn *conn)
{
    struct tcp_info info = {.tcpi_state = 0};
    socklen_t len = sizeof info;
    const SSL *tls = PQsslStruct(conn->pg, "OpenSSL");
    if (tls != NULL)
        return (int64_t)BIO_number_read(SSL_get_rbio(tls));
    return getsockopt(PQsocket(conn->pg), IPPROTO_TCP, TCP_INFO, &info, &len) == 0
               ? (int64_t)info.tcpi_bytes_received
               : 0;
}

/* Asking costs a system call, so it is asked when libpq has read a few times in vain. */
enum { LOOKS_BEFORE_ASKING = 16 };

void tp__conn_note_progress(struct tp_conn *conn)
{
    conn->looks = 0;
    conn->heard = -1;
}

static void lose_flooded(struct tp_conn *conn, int64_t bytes)
{
    char why[200];
    snprintf(why, sizeof why,
             "the server sent %lld bytes of one message or without a result, which is more than "
             "limits.result_bytes (or max_result_bytes) allows: the connection is closed",
             (long long)bytes);
    tp__conn_lose(conn, TP_ERR_VALIDATION, why);
}

bool tp__conn_is_flooded(struct tp_conn *conn)
{
    bool asks = conn->state == TP_CONN_CONNECTING || ++conn->looks >= LOOKS_BEFORE_ASKING;
    if (conn->most_bytes == INT64_MAX || !asks)
        return false;
    conn->looks = 0;
    int64_t now = heard(conn);
    if (conn->heard < 0)
        conn->heard = now;
    if (now - conn->heard <= conn->most_bytes)
        return false;
    lose_flooded(conn, now - conn->heard);
    return true;
}

/* -------------------------------------------------------------------- wire */

unsigned tp__conn_setting_need(const char *name, const char *value)
{
    static const char *const utc[] = {"UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "Etc/Zulu"};
    if (strcmp(name, "DateStyle") == 0)
        return value != NULL && strncmp(value, "ISO", 3) == 0 ? 0 : TP_NEEDS_ISO_DATES;
    if (strcmp(name, "IntervalStyle") == 0)
        return value != NULL && strcmp(value, "postgres") == 0 ? 0 : TP_NEEDS_ISO_INTERVALS;
    if (strcmp(name, "TimeZone") != 0)
        return 0;
    for (size_t i = 0; value != NULL && i < sizeof utc / sizeof utc[0]; i++) {
        if (strcmp(value, utc[i]) == 0)
            return 0;
    }
    return TP_NEEDS_UTC;
}

/* libpq does not hear of it, and goes on to say what was before: so a setting counts as met
 * when both say so. */
static void note_setting(struct tp_conn *conn, const char *name, const char *value)
{
    unsigned all = tp__conn_setting_need(name, NULL);
    if (strcmp(name, "client_encoding") == 0 &&
        pg_char_to_encoding(value) != pg_char_to_encoding("UTF8"))
        lose_encoding(conn, value);
    conn->unmet = (conn->unmet & ~all) | tp__conn_setting_need(name, value);
}

void tp__conn_on_other(void *ctx, char type, const char *body, size_t len)
{
    struct tp_conn *conn = ctx;
    size_t name_len = strnlen(body, len);
    if (type == 'S' && name_len + 1 < len && body[len - 1] == '\0')
        note_setting(conn, body, body + name_len + 1);
    if (type == 'N' && conn->env.notice != NULL) {
        struct tp_error notice;
        tp__wire_error(body, len, &notice);
        conn->env.notice(conn->env.ctx, PQbackendPID(conn->pg), notice.code, notice.message);
    }
}

/* The stream has ended, or cannot be understood. */
static enum tp_step lose_wire(struct tp_conn *conn)
{
    if (conn->wire.too_long > 0) {
        lose_flooded(conn, conn->wire.too_long);
        return TP_FAILED;
    }
    conn->unread = conn->command[0] == '\0' && strcmp(conn->error.code, "57P01") == 0 &&
                   (conn->wire.failure == ECONNRESET || conn->wire.failure == EPIPE);
    return lose(conn, conn->wire.why);
}

static enum tp_step end_wire(struct tp_conn *conn)
{
    char status = conn->wire.transaction;
    conn->transaction = status == 'I' ? TP_TX_IDLE : status == 'T' ? TP_TX_OPEN : TP_TX_FAILED;
    tp__conn_note_state(conn);
    forget_xact(conn);
    if (conn->error.kind == TP_ERR_CONNECTION)
        return lose(conn, "");
    if (conn->state == TP_CONN_LOST) /* by what came beside the rows */
        return TP_FAILED;
    tp__conn_set_state(conn, conn->wire.why == NULL ? TP_CONN_READY : TP_CONN_LOST);
    return conn->error.kind == TP_OK ? TP_DONE : TP_FAILED;
}

static enum tp_step step_wire(struct tp_conn *conn, bool readable)
{
    static const struct tp_columns no_columns = {.id = 0};
    switch (tp__wire_step(&conn->wire, readable)) {
    case TP_WIRE_WAIT:
        conn->events = TP_READ | (tp__wire_unsent(&conn->wire) > 0 ? TP_WRITE : 0);
        return TP_WAIT;
    case TP_WIRE_ROWS:
        if (conn->columns == NULL) /* SELECT FROM t has rows, and is described like INSERT */
            conn->columns = &no_columns;
        return TP_ROWS;
    case TP_WIRE_RESULT:
        conn->count = tp__result_tag(conn->wire.tag, conn->command, sizeof conn->command);
        tp__conn_note_tag(conn);
        return TP_RESULT;
    case TP_WIRE_DONE:
        return end_wire(conn);
    case TP_WIRE_LOST:
        break;
    }
    return lose_wire(conn);
}

/* PQconsumeInput takes what it has room for. What is left in the socket will be announced
 * again; what OpenSSL has taken from there already would not be. */
static bool consume(struct tp_conn *conn)
{
    SSL *tls = PQsslStruct(conn->pg, "OpenSSL");
    do {
        if (!PQconsumeInput(conn->pg))
            return PQstatus(conn->pg) == CONNECTION_BAD; /* collect finds that out */
    } while (tls != NULL && SSL_pending(tls) > 0);
    return !tp__conn_is_flooded(conn);
}

static enum tp_step step_libpq(struct tp_conn *conn, bool readable)
{
    clear_rows(conn);
    if (conn->complete) {
        conn->complete = false;
        return TP_RESULT;
    }
    if (conn->unsent) {
        conn->unsent = PQflush(conn->pg) > 0; /* a failure shows when reading */
        conn->events = TP_READ | (conn->unsent ? TP_WRITE : 0);
    }
    if (conn->copy.state >= TP_COPY_IN) {
        enum tp_step step = tp__conn_step_copy(conn, readable);
        if (step != TP_DONE)
            return step;
        readable = true;
    }
    if (readable && conn->error.kind != TP_OK)
        look_for_reset(conn);
    if (readable && !consume(conn))
        return lose(conn, "reading from the server failed");
    return collect(conn);
}

enum tp_step tp__conn_step(struct tp_conn *conn, int ready)
{
    bool readable = (ready & TP_READ) != 0;
    if (conn->state == TP_CONN_LOST)
        return TP_FAILED;
    if (conn->row_failed)
        return lose(conn, "out of memory for a row of a result");
    return conn->wire.active ? step_wire(conn, readable) : step_libpq(conn, readable);
}

/* --------------------------------------------------------------------- rows */

const struct tp_columns *tp__conn_columns(const struct tp_conn *conn)
{
    return conn->columns;
}

bool tp__conn_rows_are_binary(const struct tp_conn *conn)
{
    return conn->binary;
}

size_t tp__conn_rows_at_hand(const struct tp_conn *conn)
{
    return conn->pg_rows != NULL ? (size_t)PQntuples(conn->pg_rows) : 0;
}

const char *tp__conn_command(const struct tp_conn *conn)
{
    return conn->command;
}

int64_t tp__conn_count(const struct tp_conn *conn)
{
    return conn->count;
}

/* A row of libpq's as the message that it was. */
static bool next_of_libpq(struct tp_conn *conn, struct tp_row *row)
{
    const PGresult *pg = conn->pg_rows;
    if (conn->next_row >= PQntuples(pg))
        return false;
    tp__buf_clear(&conn->row);
    for (int i = 0; i < conn->columns->count; i++) {
        bool null = PQgetisnull(pg, conn->next_row, i);
        int len = null ? -1 : PQgetlength(pg, conn->next_row, i);
        if (!tp__buf_reserve(&conn->row, 4 + (null ? 0 : (size_t)len)))
            break;
        tp__put32(conn->row.data + conn->row.len, (uint32_t)len);
        conn->row.len += 4;
        if (!null)
            tp__buf_append(&conn->row, PQgetvalue(pg, conn->next_row, i), (size_t)len);
    }
    conn->next_row++;
    conn->row_failed = conn->row.failed;
    *row = (struct tp_row){.cells = (const unsigned char *)conn->row.data, .len = conn->row.len};
    return !conn->row_failed;
}

bool tp__conn_next_row(struct tp_conn *conn, struct tp_row *row)
{
    if (conn->wire.active)
        return tp__wire_next_row(&conn->wire, row);
    return conn->pg_rows != NULL && !conn->row_failed && next_of_libpq(conn, row);
}
