#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "codec.h"
#include "error.h"

enum {
    HEADER = 5,              /* type and length */
    DATA_ROW = 7,            /* and the number of columns */
    KEPT_ROOM = 8 * 1024,    /* of a buffer between two exchanges */
    LARGE_ROOM = 128 * 1024, /* for a result that fills the small one */
    READS_AT_ONCE = 32,      /* then the caller looks at the clock */
};

/* ------------------------------------------------------------------ sending */

static char *put_cstring(char *to, const char *text, size_t len)
{
    memcpy(to, text, len + 1);
    return to + len + 1;
}

static char *put_value(char *to, const struct tp_param *param)
{
    tp__put32(to, param->data != NULL ? (uint32_t)param->len : UINT32_MAX);
    if (param->data != NULL && param->len > 0)
        memcpy(to + 4, param->data, param->len);
    return to + 4 + (param->data != NULL ? param->len : 0);
}

/* The unnamed portal, the statement, a format for each parameter, the parameters, and one
 * format for all columns. */
static char *put_bind(char *to, const char *name, size_t name_len, int n,
                      const struct tp_param *params, bool binary)
{
    *to++ = '\0';
    to = put_cstring(to, name, name_len);
    tp__put16(to, (uint16_t)n);
    to += 2;
    for (int i = 0; i < n; i++, to += 2)
        tp__put16(to, params[i].binary);
    tp__put16(to, (uint16_t)n);
    to += 2;
    for (int i = 0; i < n; i++)
        to = put_value(to, &params[i]);
    tp__put16(to, 1);
    tp__put16(to + 2, binary);
    return to + 4;
}

bool tp__wire_add(struct tp_wire *wire, const char *name, int n, const struct tp_param *params,
                  bool binary)
{
    /* The unnamed portal, all rows. */
    static const char execute[] = {'E', 0, 0, 0, 9, 0, 0, 0, 0, 0};
    size_t name_len = strlen(name), body = 4 + 1 + name_len + 1 + 2 + 2 + 4;
    for (int i = 0; i < n; i++)
        body += 2 + 4 + (params[i].data != NULL ? params[i].len : 0);
    if (body > INT32_MAX || !tp__buf_reserve(&wire->out, 1 + body + sizeof execute))
        return false;
    char *to = wire->out.data + wire->out.len;
    *to = 'B';
    tp__put32(to + 1, (uint32_t)body);
    to = put_bind(to + HEADER, name, name_len, n, params, binary);
    memcpy(to, execute, sizeof execute);
    wire->out.len += 1 + body + sizeof execute;
    wire->open++;
    return true;
}

size_t tp__wire_unsent(const struct tp_wire *wire)
{
    return wire->out.len - wire->sent;
}

/* What cannot be sent will never be; why that is so is for the reading side to find out,
 * where the server's last words may be. */
void tp__wire_send(struct tp_wire *wire)
{
    struct tp_buf *out = &wire->out;
    while (wire->sent < out->len) {
        ssize_t n = send(wire->fd, out->data + wire->sent, out->len - wire->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            wire->sent += (size_t)n;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            wire->failure = errno, wire->sent = out->len;
    }
    if (wire->sent == 0 || wire->sent < out->len / 2)
        return; /* not yet worth moving the rest */
    memmove(out->data, out->data + wire->sent, out->len - wire->sent);
    out->len -= wire->sent;
    wire->sent = 0;
}

bool tp__wire_sync(struct tp_wire *wire)
{
    static const char sync[] = {'S', 0, 0, 0, 4};
    tp__buf_append(&wire->out, sync, sizeof sync);
    if (wire->out.failed)
        return false;
    tp__wire_send(wire);
    return true;
}

void tp__wire_begin(struct tp_wire *wire, int fd, const struct tp_wire_events *on)
{
    tp__buf_clear(&wire->out);
    wire->active = true;
    wire->fd = fd;
    wire->columns = 0;
    wire->open = 0;
    wire->failed = false;
    wire->on = *on;
    wire->sent = wire->len = wire->at = 0;
    wire->why = NULL;
    wire->failure = 0;
    wire->longest = INT32_MAX - 1;
    wire->too_long = 0;
}

void tp__wire_expect(struct tp_wire *wire, int columns)
{
    wire->columns = columns;
}

/* ------------------------------------------------------------------ reading */

static enum tp_wire_got lost(struct tp_wire *wire, const char *why, int failure)
{
    if (wire->why == NULL) {
        wire->why = why;
        if (failure != 0)
            wire->failure = failure;
    }
    return TP_WIRE_LOST;
}

static enum tp_wire_got broken(struct tp_wire *wire)
{
    return lost(wire, "the server's answer breaks the protocol", 0);
}

static bool grow(struct tp_wire *wire, size_t room)
{
    unsigned char *in = realloc(wire->in, room);
    if (in == NULL)
        return false;
    wire->in = in;
    wire->room = room;
    return true;
}

/* Room for the rest of a message of which a part is there; `size` is its length, 0 when
 * that is not known yet. */
static bool make_room(struct tp_wire *wire, size_t size)
{
    size_t left = wire->len - wire->at;
    if (wire->at > 0) {
        memmove(wire->in, wire->in + wire->at, left);
        wire->len = left;
        wire->at = 0;
    }
    if (size > wire->room)
        return grow(wire, size);
    if (wire->room == 0)
        return grow(wire, KEPT_ROOM);
    return left < wire->room || grow(wire, LARGE_ROOM);
}

/* A reset that comes behind the end of the stream does not show when reading. */
static int pending_error(int fd)
{
    int failure = 0;
    socklen_t len = sizeof failure;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) == 0 ? failure : 0;
}

/* Reads what is there. TP_WIRE_DONE: something was. */
static enum tp_wire_got read_more(struct tp_wire *wire, size_t size)
{
    bool filled = wire->len == wire->room && wire->room == KEPT_ROOM;
    if (!make_room(wire, size) || (filled && !grow(wire, LARGE_ROOM)))
        return lost(wire, "out of memory for a row", 0);
    ssize_t n;
    do
        n = recv(wire->fd, wire->in + wire->len, wire->room - wire->len, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return TP_WIRE_WAIT;
    if (n <= 0)
        return lost(wire, "server closed the connection unexpectedly",
                    n < 0 ? errno : pending_error(wire->fd));
    wire->len += (size_t)n;
    return TP_WIRE_DONE;
}

/* An execution is complete: one that was asked for, and not behind an error. */
static enum tp_wire_got complete(struct tp_wire *wire, const char *tag)
{
    if (wire->open == 0 || wire->failed)
        return broken(wire);
    wire->open--;
    wire->tag = tag;
    return TP_WIRE_RESULT;
}

/* ReadyForQuery. Behind it come at most messages that nobody asked for; a part of one
 * would be missed by libpq, whose turn is next. */
static enum tp_wire_got end(struct tp_wire *wire, const unsigned char *body, size_t len)
{
    if (len != 1 || (wire->open > 0 && !wire->failed))
        return broken(wire);
    wire->transaction = (char)body[0];
    while (wire->at + HEADER <= wire->len) {
        const unsigned char *at = wire->in + wire->at;
        size_t size = (size_t)tp__get32(at + 1) + 1;
        if ((*at != 'N' && *at != 'A' && *at != 'S') || size < HEADER ||
            size > wire->len - wire->at)
            break;
        wire->at += size;
        wire->on.other(wire->on.ctx, (char)*at, (const char *)at + HEADER, size - HEADER);
    }
    if (wire->at < wire->len) /* the server's farewell, most likely: the answer is whole */
        (void)lost(wire, "server closed the connection unexpectedly", 0);
    wire->active = false;
    if (wire->room > KEPT_ROOM || wire->out.room > KEPT_ROOM)
        tp__wire_deinit(wire); /* an idle connection is small */
    return TP_WIRE_DONE;
}

/* One message that is whole; rows are left where they are. TP_WIRE_WAIT: go on. */
static enum tp_wire_got take_message(struct tp_wire *wire, const unsigned char *at, size_t size)
{
    const unsigned char *body = at + HEADER;
    size_t len = size - HEADER;
    if (*at == 'D')
        return wire->open > 0 && !wire->failed ? TP_WIRE_ROWS : broken(wire);
    wire->at += size;
    switch (*at) {
    case '2':
        return TP_WIRE_WAIT;
    case 'I': /* the text was empty */
        return complete(wire, "");
    case 'C':
        if (len == 0 || body[len - 1] != '\0')
            return broken(wire);
        return complete(wire, (const char *)body);
    case 'Z':
        return end(wire, body, len);
    case 'E':
        wire->failed = true;
        wire->on.error(wire->on.ctx, (const char *)body, len);
        return TP_WIRE_WAIT;
    case 'N':
    case 'A':
    case 'S':
        wire->on.other(wire->on.ctx, (char)*at, (const char *)body, len);
        return TP_WIRE_WAIT;
    default:
        return broken(wire);
    }
}

/* How long a message can be. What no server sends is refused before there is room made for
 * it, and before there is any waiting for its end. */
static uint32_t longest(unsigned char type)
{
    switch (type) {
    case 'D':
    case 'E':
    case 'N':
    case 'A':
    case 'S':
        return INT32_MAX - 1;
    case '2':
    case 'C':
    case 'I':
    case 'Z':
        return 1024;
    default:
        return 0;
    }
}

/* The length of the message that begins at wire->at; 0 when it is not known yet. False for
 * one that is none. */
static bool measure(const struct tp_wire *wire, size_t *size)
{
    *size = 0;
    if (wire->len - wire->at < HEADER)
        return true;
    const unsigned char *at = wire->in + wire->at;
    uint32_t said = tp__get32(at + 1);
    *size = (size_t)said + 1;
    return said >= 4 && said <= longest(*at);
}

static bool skip_rows(struct tp_wire *wire)
{
    size_t size;
    while (wire->at < wire->len && wire->in[wire->at] == 'D' && measure(wire, &size) && size > 0 &&
           size <= wire->len - wire->at)
        wire->at += size;
    return wire->why == NULL;
}

enum tp_wire_got tp__wire_step(struct tp_wire *wire, bool readable)
{
    size_t size;
    int reads = 0;
    if (tp__wire_unsent(wire) > 0)
        tp__wire_send(wire);
    if (!skip_rows(wire))
        return TP_WIRE_LOST;
    for (bool first = wire->len == 0 && !readable; !first;) {
        if (!measure(wire, &size))
            return broken(wire);
        if (size > (size_t)wire->longest + 1) {
            wire->too_long = (uint32_t)(size - 1);
            return lost(wire, "a message is too long", 0);
        }
        bool whole = size > 0 && size <= wire->len - wire->at;
        if (!whole && reads++ == READS_AT_ONCE)
            return TP_WIRE_WAIT;
        enum tp_wire_got got =
            whole ? take_message(wire, wire->in + wire->at, size) : read_more(wire, size);
        if (whole ? got != TP_WIRE_WAIT : got != TP_WIRE_DONE)
            return got;
    }
    return TP_WIRE_WAIT;
}

/* --------------------------------------------------------------------- rows */

/* Whether the cells' lengths fill the row. */
static bool is_whole(const unsigned char *cells, size_t len, int count)
{
    const unsigned char *end = cells + len;
    for (int i = 0; i < count; i++) {
        if (end - cells < 4)
            return false;
        uint32_t size = tp__get32(cells);
        cells += 4;
        if (size == UINT32_MAX)
            continue;
        if (size > (size_t)(end - cells))
            return false;
        cells += size;
    }
    return cells == end;
}

bool tp__wire_next_row(struct tp_wire *wire, struct tp_row *row)
{
    size_t size;
    const unsigned char *at = wire->len > 0 ? wire->in + wire->at : NULL;
    if (wire->at >= wire->len || *at != 'D' || !measure(wire, &size) || size == 0 ||
        size > wire->len - wire->at)
        return false;
    wire->at += size;
    *row = (struct tp_row){.cells = at + DATA_ROW, .len = size - DATA_ROW};
    if (size >= DATA_ROW && tp__get16(at + HEADER) == wire->columns &&
        is_whole(row->cells, row->len, wire->columns))
        return true;
    (void)broken(wire);
    return false;
}

void tp__wire_deinit(struct tp_wire *wire)
{
    tp__buf_free(&wire->out);
    free(wire->in);
    wire->in = NULL;
    wire->room = wire->len = wire->at = wire->sent = 0;
}

/* ------------------------------------------------------------------- errors */

/* Where a field of an error goes; NULL for one that is not kept. */
static char *room_for(struct tp_error *err, char field, size_t *room)
{
    switch (field) {
    case 'V':
        return *room = sizeof err->severity, err->severity;
    case 'C':
        return *room = sizeof err->code, err->code;
    case 'M':
        return *room = sizeof err->message, err->message;
    case 'D':
        return *room = sizeof err->detail, err->detail;
    case 'H':
        return *room = sizeof err->hint, err->hint;
    case 'W':
        return *room = sizeof err->where, err->where;
    case 's':
        return *room = sizeof err->schema, err->schema;
    case 't':
        return *room = sizeof err->table, err->table;
    case 'c':
        return *room = sizeof err->column, err->column;
    case 'n':
        return *room = sizeof err->constraint, err->constraint;
    default:
        return NULL;
    }
}

/* Source: PostgreSQL manual 55.8. */
void tp__wire_error(const char *body, size_t len, struct tp_error *err)
{
    const char *end = body + len;
    tp__error_clear(err);
    err->kind = TP_ERR_DATABASE;
    while (body < end && *body != '\0') {
        char field = *body++;
        const char *text_end = memchr(body, '\0', (size_t)(end - body));
        size_t room;
        if (text_end == NULL)
            break;
        char *to = room_for(err, field, &room);
        if (to != NULL)
            tp__text_copy(to, room, body);
        else if (field == 'P')
            err->position = (int)strtol(body, NULL, 10);
        body = text_end + 1;
    }
    err->retryable = tp_sqlstate_retryable(err->code);
}
