/* UTF-8 of one character. Layer 0; tidepool.h has the public functions of text.c
 * (tp_utf8_valid, tp_quote_identifier). Thread: any. */
#ifndef TP_TEXT_H
#define TP_TEXT_H

#include <stddef.h>

/* The length in bytes (1 to 4) of the character that `text` begins with, or 0
 * when its first `len` bytes do not begin with valid UTF-8 (RFC 3629). */
size_t tp__utf8_length(const char *text, size_t len);

#endif
