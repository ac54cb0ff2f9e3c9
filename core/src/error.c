/* Filling and cleaning struct tp_error, and the words for statuses. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

static const char REPLACEMENT[] = "\xEF\xBF\xBD"; /* U+FFFD */

static const char *const STATUS_NAMES[] = {
    [TP_OK] = "ok",
    [TP_ERR_DATABASE] = "database",
    [TP_ERR_VALIDATION] = "validation",
    [TP_ERR_CONNECTION] = "connection",
    [TP_ERR_TLS] = "tls",
    [TP_ERR_POOL_TIMEOUT] = "pool_timeout",
    [TP_ERR_TIMEOUT] = "timeout",
    [TP_ERR_POOL_CLOSED] = "pool_closed",
    [TP_ERR_NOT_CONFIGURED] = "not_configured",
    [TP_ERR_COMMIT_UNKNOWN] = "commit_unknown",
    [TP_ERR_BUSY] = "busy",
    [TP_ERR_MEMORY] = "memory",
};

const char *tp_status_name(enum tp_status status)
{
    size_t i = (size_t)status;
    return i < sizeof STATUS_NAMES / sizeof STATUS_NAMES[0] ? STATUS_NAMES[i] : "unknown";
}

void tp__error_clear(struct tp_error *err)
{
    err->kind = TP_OK;
    err->retryable = false;
    err->attempts = 0;
    err->position = 0;
    err->code[0] = '\0';
    err->severity[0] = '\0';
    err->message[0] = '\0';
    err->detail[0] = '\0';
    err->hint[0] = '\0';
    err->where[0] = '\0';
    err->schema[0] = '\0';
    err->table[0] = '\0';
    err->column[0] = '\0';
    err->constraint[0] = '\0';
    err->query[0] = '\0';
}

enum tp_status tp__error_set(struct tp_error *err, enum tp_status kind, const char *fmt, ...)
{
    if (err == NULL) {
        return kind;
    }
    /* Formatted apart, because an argument may be a field of *err. Twice the
     * room, because vsnprintf may cut within a character: cleaning makes text at
     * most half as long, so the cut falls outside of what is kept. */
    char text[2 * sizeof err->message + 4];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof text, fmt, args) < 0) {
        text[0] = '\0';
    }
    va_end(args);
    tp__error_clear(err);
    err->kind = kind;
    tp__text_copy(err->message, sizeof err->message, text);
    return kind;
}

/* C0 without newline and tab, DEL, and C1 (U+0080 to U+009F), which terminals
 * obey too. `text` begins with a valid character of `length` bytes. */
static bool is_control(const char *text, size_t length)
{
    unsigned char first = (unsigned char)text[0];
    if (length == 1) {
        return (first < 0x20 && first != '\n' && first != '\t') || first == 0x7F;
    }
    return length == 2 && first == 0xC2 && (unsigned char)text[1] < 0xA0;
}

void tp__text_copy_n(char *out, size_t room, const char *text, size_t len)
{
    size_t used = 0;
    if (room == 0) {
        return;
    }
    for (size_t at = 0; text != NULL && at < len;) {
        size_t step = tp__utf8_length(text + at, len - at);
        const char *piece = text + at;
        size_t size = step;
        if (step == 0) {
            piece = REPLACEMENT;
            size = sizeof REPLACEMENT - 1;
            step = 1;
        } else if (is_control(piece, step)) {
            piece = " ";
            size = 1;
        }
        if (size >= room - used) {
            break;
        }
        memcpy(out + used, piece, size);
        used += size;
        at += step;
    }
    out[used] = '\0';
}

void tp__text_copy(char *out, size_t room, const char *text)
{
    tp__text_copy_n(out, room, text, text == NULL ? 0 : strlen(text));
}
