/* What the codecs of times and of intervals share: the time of day behind the hours.
 *
 * Owns: nothing. Errors: false when the text is not one. Thread: any. */
#ifndef TP_CODEC_TIME_H
#define TP_CODEC_TIME_H

#include "codec_digits.h"

#define TP_MICROS_PER_SECOND INT64_C(1000000)
#define TP_MICROS_PER_HOUR (3600 * TP_MICROS_PER_SECOND)

/* Microseconds below an hour as ":mm:ss" and a fraction; needs room for 13 bytes. */
static inline char *tp__put_minutes(char *at, uint64_t micros)
{
    unsigned seconds = (unsigned)(micros / (uint64_t)TP_MICROS_PER_SECOND);
    *at = ':';
    at = tp__put_2(at + 1, seconds / 60);
    *at = ':';
    at = tp__put_2(at + 1, seconds % 60);
    return tp__put_fraction(at, (unsigned)(micros % (uint64_t)TP_MICROS_PER_SECOND));
}

/* ":mm", which ":ss" may follow, which a fraction of at most six digits may follow. */
bool tp__take_minutes(struct tp_cursor *in, int64_t *micros);

#endif
