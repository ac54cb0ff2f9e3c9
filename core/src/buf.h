/* A growable byte buffer.
 *
 * Owns: its memory, until tp__buf_free. A zeroed struct is an empty buffer.
 * Errors: the first allocation that fails sets `failed`; everything after it is
 * a no-op, so that a run of appends is checked once at its end.
 * Thread: one at a time. */
#ifndef TP_BUF_H
#define TP_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "tidepool.h"

struct tp_buf {
    char *data;
    size_t len, room;
    bool failed;
};

void tp__buf_free(struct tp_buf *buf);  /* back to the empty state */
void tp__buf_clear(struct tp_buf *buf); /* len = 0, failed = false; keeps the memory */
/* Room for `more` bytes past len; false (and failed) when memory is short. */
bool tp__buf_reserve(struct tp_buf *buf, size_t more);
void tp__buf_append(struct tp_buf *buf, const void *data, size_t len);
void tp__buf_puts(struct tp_buf *buf, const char *text);
void tp__buf_putc(struct tp_buf *buf, char c);
void tp__buf_printf(struct tp_buf *buf, const char *fmt, ...) TP_PRINTF(2, 3);
/* The contents with a NUL behind them (not counted in len); NULL when failed. */
const char *tp__buf_cstr(struct tp_buf *buf);

#endif
