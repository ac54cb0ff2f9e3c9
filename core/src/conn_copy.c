/* COPY on a connection.
 *
 *     ask_copy -> ASKED -> IN  --(put*, end)--> libpq's to finish
 *                     \--> OUT --(next*)------> libpq's to finish
 *
 * libpq begins and ends it. On the way in it has two faults: while it is in a COPY it does
 * not look at the server's errors, so that an endless source would never hear of one; and
 * when a socket is full it reads as well, which hides them from anybody else. So between
 * the two moments messages are written to the socket from the caller's own memory, and what
 * the server says meanwhile is looked at here: notices are taken, an error or a
 * ReadyForQuery (the server has ended the COPY by itself and skips what still comes) is left
 * to libpq. Under TLS libpq writes; an error is then looked for in what OpenSSL has, and is
 * missed until the source ends when libpq has read it already. Under GSS encryption it is
 * not looked for.
 * The way out is libpq's; one message is one row. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "codec.h"
#include "conn.h"
#include "conn_impl.h"

enum {
    HEADER = 5,          /* type and length */
    MESSAGE = 64 * 1024, /* the server takes in a message as a whole */
    LOOK_AT = 4096,
    ERROR_AT_MOST = 1024 * 1024
};

/* ---------------------------------------------------------------- beginning */

enum tp_status tp__conn_ask_copy(struct tp_conn *conn, const char *sql, bool in)
{
    tp__conn_note_traces(conn, sql, strlen(sql));
    enum tp_status status = tp__conn_ask_simple(conn, sql);
    conn->copy = (struct tp_copy_stream){.state = TP_COPY_ASKED, .in = in};
    return status;
}

enum tp_step tp__conn_begin_copy(struct tp_conn *conn, const PGresult *pg)
{
    struct tp_copy_stream *copy = &conn->copy;
    ExecStatusType status = PQresultStatus(pg);
    if (copy->state != TP_COPY_ASKED || status != (copy->in ? PGRES_COPY_IN : PGRES_COPY_OUT))
        return TP_WAIT;
    copy->state = copy->in ? TP_COPY_IN : TP_COPY_OUT;
    copy->columns = PQnfields(pg);
    copy->binary = PQbinaryTuples(pg);
    return copy->in ? TP_SEND : TP_DATA;
}

void tp__conn_clear_copy(struct tp_conn *conn)
{
    PQfreemem(conn->copy.chunk);
    conn->copy = (struct tp_copy_stream){.state = TP_COPY_OFF};
}

int tp__conn_copy_columns(const struct tp_conn *conn)
{
    return conn->copy.columns;
}

bool tp__conn_copy_is_binary(const struct tp_conn *conn)
{
    return conn->copy.binary;
}

static enum tp_step lose(struct tp_conn *conn)
{
    char why[256];
    tp__conn_libpq_message(conn, why, sizeof why);
    tp__conn_lose(conn, TP_ERR_CONNECTION, why);
    return TP_FAILED;
}

/* -------------------------------------------------- what the server says meanwhile */

static bool is_plain(const struct tp_conn *conn)
{
    return !PQsslInUse(conn->pg) && !PQgssEncInUse(conn->pg);
}

/* A look at what comes next: -1 when there is nothing, 0 at the end of the stream. */
static ssize_t peek(const struct tp_conn *conn, unsigned char *out, size_t room)
{
    SSL *tls = PQsslInUse(conn->pg) ? PQsslStruct(conn->pg, "OpenSSL") : NULL;
    if (tls != NULL) {
        ERR_clear_error();
        int got = SSL_peek(tls, out, (int)room);
        ERR_clear_error();
        return got > 0 ? got : -1;
    }
    if (!is_plain(conn))
        return -1;
    ssize_t got;
    do
        got = recv(PQsocket(conn->pg), out, room, MSG_PEEK | MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got < 0 && errno != EAGAIN ? 0 : got;
}

/* Whether a message that ends a COPY begins here: an ErrorResponse, whose first field is the
 * severity, or a ReadyForQuery. */
static bool is_end(const unsigned char *at, size_t len)
{
    if (len < HEADER + 1)
        return false;
    uint32_t size = tp__get32(at + 1);
    return (*at == 'Z' && size == HEADER) || (*at == 'E' && size < ERROR_AT_MOST && at[5] == 'S');
}

/* The size of a notice or the like when the whole of it is there, else 0. */
static size_t aside_size(const unsigned char *at, size_t len)
{
    if (len < HEADER || (*at != 'N' && *at != 'A' && *at != 'S'))
        return 0;
    size_t size = (size_t)tp__get32(at + 1) + 1;
    return size >= HEADER && size <= len ? size : 0;
}

/* Takes messages that are there and ends nothing. True: the server has ended the COPY, or
 * the stream has ended. */
static bool has_ended(struct tp_conn *conn)
{
    unsigned char bytes[LOOK_AT];
    for (;;) {
        ssize_t got = peek(conn, bytes, sizeof bytes);
        if (got <= 0)
            return got == 0;
        if (is_end(bytes, (size_t)got))
            return true;
        size_t size = aside_size(bytes, (size_t)got);
        if (size == 0 || !is_plain(conn)) {
            /* Large, or only a part of it: libpq can put it together. */
            (void)PQconsumeInput(conn->pg);
            (void)PQisBusy(conn->pg); /* parses */
            return false;
        }
        if (recv(PQsocket(conn->pg), bytes, size, MSG_DONTWAIT) == (ssize_t)size)
            tp__conn_on_other(conn, (char)*bytes, (const char *)bytes + HEADER, size - HEADER);
    }
}

/* ------------------------------------------------------------------ the way in */

void tp__conn_copy_put(struct tp_conn *conn, const char *data, size_t len)
{
    conn->copy.data = data;
    conn->copy.left = len;
}

void tp__conn_copy_end(struct tp_conn *conn, const char *failure)
{
    conn->copy.ending = true;
    conn->copy.failure = failure;
}

/* The caller's data is not there any more. A message that has been begun is filled up with
 * something, since it will not count. */
static void give_up(struct tp_copy_stream *copy)
{
    copy->data = copy->body = NULL;
    copy->left = 0;
    copy->ending = true;
    copy->failure = "given up by the client";
}

static void begin_message(struct tp_copy_stream *copy)
{
    size_t size = copy->left < MESSAGE ? copy->left : MESSAGE;
    copy->head[0] = 'd';
    tp__put32((char *)copy->head + 1, (uint32_t)size + 4);
    copy->head_left = HEADER;
    copy->body = copy->data;
    copy->body_left = size;
    copy->data += size;
    copy->left -= size;
}

static ssize_t send_some(struct tp_conn *conn)
{
    static char filling[4096];
    struct tp_copy_stream *copy = &conn->copy;
    size_t len = copy->body_left;
    if (copy->body == NULL && len > sizeof filling)
        len = sizeof filling;
    struct iovec parts[2] = {
        {.iov_base = copy->head + HEADER - copy->head_left, .iov_len = copy->head_left},
        {.iov_len = len},
    };
    /* sendmsg(2) reads from it; iovec knows no const. */
    const char *body = copy->body != NULL ? copy->body : filling;
    memcpy(&parts[1].iov_base, &body, sizeof body);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent;
    do
        sent = sendmsg(PQsocket(conn->pg), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static void note_sent(struct tp_copy_stream *copy, size_t sent)
{
    size_t head = sent < copy->head_left ? sent : copy->head_left;
    copy->head_left -= head;
    sent -= head;
    copy->body_left -= sent;
    if (copy->body != NULL)
        copy->body += sent;
}

enum sent { SENT_ALL, SENT_SOME, SENT_NOTHING_MORE };

/* Why nothing can be sent any more is for libpq to find out, from the server's last words. */
static enum sent send_plain(struct tp_conn *conn)
{
    struct tp_copy_stream *copy = &conn->copy;
    for (;;) {
        if (copy->head_left + copy->body_left == 0) {
            if (copy->left == 0)
                return SENT_ALL;
            begin_message(copy);
        }
        ssize_t sent = send_some(conn);
        if (sent < 0)
            return errno == EAGAIN ? SENT_SOME : SENT_NOTHING_MORE;
        note_sent(copy, (size_t)sent);
    }
}

/* One message at a time, so that libpq's buffer stays small. */
static enum sent send_by_libpq(struct tp_conn *conn)
{
    struct tp_copy_stream *copy = &conn->copy;
    for (;;) {
        int unsent = PQflush(conn->pg);
        if (unsent != 0)
            return unsent > 0 ? SENT_SOME : SENT_NOTHING_MORE;
        if (copy->left == 0)
            return SENT_ALL;
        int size = copy->left < MESSAGE ? (int)copy->left : MESSAGE;
        if (PQputCopyData(conn->pg, copy->data, size) <= 0)
            return SENT_NOTHING_MORE;
        copy->data += size;
        copy->left -= (size_t)size;
    }
}

/* CopyDone or CopyFail; what comes back is libpq's. */
static enum tp_step finish_in(struct tp_conn *conn)
{
    conn->copy.state = TP_COPY_OFF;
    if (PQputCopyEnd(conn->pg, conn->copy.failure) < 0)
        return lose(conn);
    conn->unsent = PQflush(conn->pg) > 0;
    conn->events = TP_READ | (conn->unsent ? TP_WRITE : 0);
    return TP_DONE;
}

static enum tp_step step_in(struct tp_conn *conn)
{
    struct tp_copy_stream *copy = &conn->copy;
    bool ended = has_ended(conn);
    if (ended || conn->mending)
        give_up(copy);
    enum sent sent = is_plain(conn) ? send_plain(conn) : send_by_libpq(conn);
    if (sent == SENT_SOME) {
        conn->events = TP_READ | TP_WRITE;
        return TP_WAIT;
    }
    conn->events = TP_READ;
    if (sent == SENT_NOTHING_MORE)
        give_up(copy);
    return copy->ending ? finish_in(conn) : TP_SEND;
}

/* ----------------------------------------------------------------- the way out */

/* libpq's next message, without waiting. False: there is none at hand, or no more at all. */
static bool fetch(struct tp_copy_stream *copy, PGconn *pg)
{
    PQfreemem(copy->chunk);
    copy->chunk = NULL;
    if (copy->over)
        return false;
    copy->chunk_len = PQgetCopyData(pg, &copy->chunk, 1);
    copy->over = copy->chunk_len < 0;
    if (copy->over)
        copy->chunk_len = 0;
    return copy->chunk_len > 0;
}

bool tp__conn_copy_next(struct tp_conn *conn, const char **data, size_t *len)
{
    struct tp_copy_stream *copy = &conn->copy;
    if (copy->state != TP_COPY_OUT || (copy->chunk_len == 0 && !fetch(copy, conn->pg)))
        return false;
    *data = copy->chunk;
    *len = (size_t)copy->chunk_len;
    copy->chunk_len = 0;
    return true;
}

/* What libpq has at hand is given out before more is read, so that it never has much. When
 * nobody wants it, it is dropped. */
static enum tp_step step_out(struct tp_conn *conn, bool readable)
{
    struct tp_copy_stream *copy = &conn->copy;
    conn->events = TP_READ;
    for (;;) {
        while (copy->chunk_len > 0 || fetch(copy, conn->pg)) {
            tp__conn_note_progress(conn);
            if (!conn->mending)
                return TP_DATA;
            copy->chunk_len = 0;
        }
        /* libpq says why, if the stream has ended. */
        if (copy->over || (readable && (!PQconsumeInput(conn->pg) || tp__conn_is_flooded(conn)))) {
            copy->state = TP_COPY_OFF;
            return TP_DONE;
        }
        if (!readable)
            return TP_WAIT;
        readable = false;
    }
}

enum tp_step tp__conn_step_copy(struct tp_conn *conn, bool readable)
{
    return conn->copy.state == TP_COPY_IN ? step_in(conn) : step_out(conn, readable);
}
