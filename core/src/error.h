/* Filling and cleaning struct tp_error.
 *
 * Owns: nothing; the struct is the caller's. Returns: the status that was set,
 * so that `return tp__error_set(...)` reads well. Thread: any. */
#ifndef TP_ERROR_H
#define TP_ERROR_H

#include "tidepool.h"

/* Empties an error (sets the first byte of each string; does not clear 4 kB). */
void tp__error_clear(struct tp_error *err);

/* Sets kind and message and empties the rest. `err` may be NULL. */
enum tp_status tp__error_set(struct tp_error *err, enum tp_status kind, const char *fmt, ...)
    TP_PRINTF(3, 4);

/* Copies text that came from a server or a library into a field of an error:
 * cut to `room` bytes at a character's boundary, with every byte that is not
 * valid UTF-8 replaced by U+FFFD and control characters other than newline and
 * tab by a space. `text` may be NULL (gives ""). */
void tp__text_copy(char *out, size_t room, const char *text);
/* The same for text with a length (it may contain NUL bytes). */
void tp__text_copy_n(char *out, size_t room, const char *text, size_t len);

#endif
