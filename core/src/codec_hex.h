/* Hexadecimal digits for codecs.
 *
 * Owns: nothing. Errors: those that put need room that the caller has reserved; those that
 * take return false and may have moved the cursor. Thread: any. */
#ifndef TP_CODEC_HEX_H
#define TP_CODEC_HEX_H

#include <stdbool.h>

#include "codec_digits.h"

/* One byte as two small letters or digits; returns what is behind them. */
static inline char *tp__put_hex(char *at, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";
    at[0] = digits[byte >> 4];
    at[1] = digits[byte & 15];
    return at + 2;
}

/* The value of a digit, or one from 16 for any other character. */
static inline unsigned tp__hex_value(char c)
{
    unsigned digit = (unsigned)(unsigned char)c - '0';
    unsigned letter = ((unsigned)(unsigned char)c | 0x20) - 'a';
    return digit < 10 ? digit : letter < 6 ? letter + 10 : 16;
}

static inline bool tp__at_hex(const struct tp_cursor *in)
{
    return in->at < in->end && tp__hex_value(*in->at) < 16;
}

/* Two digits, as one byte. */
static inline bool tp__take_hex(struct tp_cursor *in, unsigned char *out)
{
    if (in->end - in->at < 2) {
        return false;
    }
    unsigned high = tp__hex_value(in->at[0]), low = tp__hex_value(in->at[1]);
    in->at += 2;
    *out = (unsigned char)(high << 4 | low);
    return (high | low) < 16;
}

#endif
