/* Decimal digits for codecs: written two at a time, read with a cursor.
 *
 * Owns: nothing. Errors: those that put need room that the caller has reserved; those that
 * take leave the cursor where it was when they return false. Thread: any. */
#ifndef TP_CODEC_DIGITS_H
#define TP_CODEC_DIGITS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* ----------------------------------------------------------------- writing */

/* Two digits of a value below 100; returns what is behind them, as all of these do. */
static inline char *tp__put_2(char *at, unsigned value)
{
    static const char pairs[201] = "00010203040506070809101112131415161718192021222324"
                                   "25262728293031323334353637383940414243444546474849"
                                   "50515253545556575859606162636465666768697071727374"
                                   "75767778798081828384858687888990919293949596979899";
    memcpy(at, pairs + (size_t)value * 2, 2);
    return at + 2;
}

/* Four digits of a value below 10000. */
static inline char *tp__put_4(char *at, unsigned value)
{
    return tp__put_2(tp__put_2(at, value / 100), value % 100);
}

/* All digits of a value below 10^19. */
static inline char *tp__put_number(char *at, uint64_t value)
{
    at++;
    for (uint64_t limit = 10; value >= limit; limit *= 10) {
        at++;
    }
    char *first = at;
    for (; value >= 100; value /= 100) {
        first -= 2;
        (void)tp__put_2(first, (unsigned)(value % 100));
    }
    if (value >= 10) {
        (void)tp__put_2(first - 2, (unsigned)value);
    } else {
        first[-1] = (char)('0' + value);
    }
    return at;
}

/* Microseconds below a second as ".5": without zeros at the end, and nothing for none. */
static inline char *tp__put_fraction(char *at, unsigned micros)
{
    if (micros == 0) {
        return at;
    }
    *at = '.';
    at = tp__put_4(tp__put_2(at + 1, micros / 10000), micros % 10000);
    while (at[-1] == '0') {
        at--;
    }
    return at;
}

/* ----------------------------------------------------------------- reading */

struct tp_cursor {
    const char *at, *end;
};

static inline bool tp__is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool tp__at_digit(const struct tp_cursor *in)
{
    return in->at < in->end && tp__is_digit(*in->at);
}

static inline bool tp__take(struct tp_cursor *in, char c)
{
    bool is_there = in->at < in->end && *in->at == c;
    in->at += is_there;
    return is_there;
}

static inline bool tp__take_word(struct tp_cursor *in, const char *word)
{
    size_t len = strlen(word);
    bool is_there = (size_t)(in->end - in->at) >= len && memcmp(in->at, word, len) == 0;
    in->at += is_there ? len : 0;
    return is_there;
}

/* The same for a word of small ASCII letters that the text may have in any case: only the
 * capital and the small letter are equal to it once the bit between them is set. */
static inline bool tp__take_anycase(struct tp_cursor *in, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(in->end - in->at) < len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if ((in->at[i] | 0x20) != word[i]) {
            return false;
        }
    }
    in->at += len;
    return true;
}

/* A run of digits, all that there are; false when they are not `least` to `most` (at most
 * 18, so that any fits). */
static inline bool tp__take_number(struct tp_cursor *in, int least, int most, int64_t *out)
{
    const char *start = in->at;
    int64_t value = 0;
    while (tp__at_digit(in) && in->at - start < most) {
        value = value * 10 + (*in->at++ - '0');
    }
    if (in->at - start < least || tp__at_digit(in)) {
        in->at = start;
        return false;
    }
    *out = value;
    return true;
}

#endif
