/* A growable byte buffer that remembers its first failure. */
#include "buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST_ROOM = 64 };

void tp__buf_free(struct tp_buf *buf)
{
    free(buf->data);
    *buf = (struct tp_buf){0};
}

void tp__buf_clear(struct tp_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

/* The room to ask for: doubled until it fits, so that n appends copy O(n) bytes;
 * 0 when no object can be that large. */
static size_t room_for(size_t room, size_t needed)
{
    if (needed > PTRDIFF_MAX) {
        return 0;
    }
    if (room < SMALLEST_ROOM) {
        room = SMALLEST_ROOM;
    }
    while (room < needed) {
        room = room > PTRDIFF_MAX / 2 ? PTRDIFF_MAX : room * 2;
    }
    return room;
}

bool tp__buf_reserve(struct tp_buf *buf, size_t more)
{
    if (buf->failed) {
        return false;
    }
    if (more <= buf->room - buf->len) {
        return true;
    }
    size_t room = more > SIZE_MAX - buf->len ? 0 : room_for(buf->room, buf->len + more);
    char *data = room == 0 ? NULL : realloc(buf->data, room);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->room = room;
    return true;
}

void tp__buf_append(struct tp_buf *buf, const void *data, size_t len)
{
    if (len > 0 && tp__buf_reserve(buf, len)) {
        memcpy(buf->data + buf->len, data, len);
        buf->len += len;
    }
}

void tp__buf_puts(struct tp_buf *buf, const char *text)
{
    tp__buf_append(buf, text, strlen(text));
}

void tp__buf_putc(struct tp_buf *buf, char c)
{
    if (tp__buf_reserve(buf, 1)) {
        buf->data[buf->len++] = c;
    }
}

void tp__buf_printf(struct tp_buf *buf, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int needed = vsnprintf(NULL, 0, fmt, args);
    if (needed < 0) {
        buf->failed = true;
    } else if (tp__buf_reserve(buf, (size_t)needed + 1)) { /* vsnprintf writes a NUL too */
        (void)vsnprintf(buf->data + buf->len, (size_t)needed + 1, fmt, again);
        buf->len += (size_t)needed;
    }
    va_end(again);
    va_end(args);
}

const char *tp__buf_cstr(struct tp_buf *buf)
{
    if (!tp__buf_reserve(buf, 1)) {
        return NULL;
    }
    buf->data[buf->len] = '\0';
    return buf->data;
}
