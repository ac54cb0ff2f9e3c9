/* Intervals: microseconds, days and months, as IntervalStyle postgres writes them.
 *
 * A sign is written where there is a minus, and a plus behind what was negative. */
#include "codec.h"
#include "codec_time.h"

enum { INTERVAL_BYTES = 16, MOST_TEXT = 96 };

struct interval {
    int64_t micros;
    int32_t days, months;
};

/* --------------------------------------------------------------- writing */

/* Where the text is written, and what the next part's sign depends on. */
struct writer {
    char *at;
    bool is_empty, is_after_minus;
};

static uint64_t magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

static void put_sign(struct writer *out, bool is_negative)
{
    if (!out->is_empty) {
        *out->at++ = ' ';
    }
    if (is_negative || out->is_after_minus) {
        *out->at++ = is_negative ? '-' : '+';
    }
    out->is_empty = false;
    out->is_after_minus = is_negative;
}

/* "3 days"; a part that is 0 is left out and does not change the next one's sign. */
static void put_part(struct writer *out, int64_t value, const char *unit)
{
    if (value == 0) {
        return;
    }
    put_sign(out, value < 0);
    out->at = tp__put_number(out->at, magnitude(value));
    *out->at++ = ' ';
    size_t len = strlen(unit);
    memcpy(out->at, unit, len);
    out->at += len;
    if (value != 1) {
        *out->at++ = 's';
    }
}

static void put_clock(struct writer *out, int64_t micros)
{
    uint64_t hours = magnitude(micros) / (uint64_t)TP_MICROS_PER_HOUR;
    put_sign(out, micros < 0);
    out->at = hours < 100 ? tp__put_2(out->at, (unsigned)hours) : tp__put_number(out->at, hours);
    out->at = tp__put_minutes(out->at, magnitude(micros) % (uint64_t)TP_MICROS_PER_HOUR);
}

/* Returns the end of the text; needs room for MOST_TEXT bytes. */
static char *write_interval(const struct interval *interval, char *at)
{
    struct writer out = {.at = at, .is_empty = true};
    put_part(&out, interval->months / 12, "year");
    put_part(&out, interval->months % 12, "mon");
    put_part(&out, interval->days, "day");
    if (interval->micros != 0 || out.is_empty) {
        put_clock(&out, interval->micros);
    }
    return out.at;
}

bool tp__interval_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    if (len != INTERVAL_BYTES) {
        return false;
    }
    if (tp__buf_reserve(out, MOST_TEXT)) {
        struct interval interval = {.micros = (int64_t)tp__get64(bytes),
                                    .days = (int32_t)tp__get32(bytes + 8),
                                    .months = (int32_t)tp__get32(bytes + 12)};
        out->len = (size_t)(write_interval(&interval, out->data + out->len) - out->data);
    }
    return true;
}

/* --------------------------------------------------------------- reading */

/* The signs and spaces taken here may be wrong: what was read is written again, and only
 * the same text is accepted. Returns whether there is a minus. */
static bool take_sign(struct tp_cursor *in)
{
    (void)tp__take(in, ' ');
    return !tp__take(in, '+') && tp__take(in, '-');
}

/* 0 when the next part is of another unit. */
static int64_t take_part(struct tp_cursor *in, const char *unit)
{
    const char *start = in->at;
    bool is_negative = take_sign(in);
    int64_t value;
    if (!tp__take_number(in, 1, 10, &value) || !tp__take(in, ' ') || !tp__take_word(in, unit)) {
        in->at = start;
        return 0;
    }
    (void)tp__take(in, 's');
    return is_negative ? -value : value;
}

/* 0 for no clock or one outside of int64. */
static int64_t take_clock(struct tp_cursor *in)
{
    bool is_negative = take_sign(in);
    int64_t hours, rest, micros;
    if (!tp__take_number(in, 2, 10, &hours) || !tp__take_minutes(in, &rest)) {
        return 0;
    }
    if (__builtin_mul_overflow(is_negative ? -hours : hours, TP_MICROS_PER_HOUR, &micros) ||
        __builtin_add_overflow(micros, is_negative ? -rest : rest, &micros)) {
        return 0;
    }
    return micros;
}

/* Whether the text is what the server would write for this interval. */
static bool is_text_of(const struct interval *interval, const char *text, size_t len)
{
    char again[MOST_TEXT];
    size_t written = (size_t)(write_interval(interval, again) - again);
    return written == len && memcmp(text, again, len) == 0;
}

bool tp__interval_parse(const char *text, size_t len, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    int64_t years = take_part(&in, "year");
    int64_t months = years * 12 + take_part(&in, "mon");
    int64_t days = take_part(&in, "day");
    /* What does not fit into 32 bits becomes another number, and so another text. */
    struct interval interval = {take_clock(&in), (int32_t)days, (int32_t)months};
    if (!is_text_of(&interval, text, len)) {
        return false;
    }
    char bytes[INTERVAL_BYTES];
    tp__put64(bytes, (uint64_t)interval.micros);
    tp__put32(bytes + 8, (uint32_t)interval.days);
    tp__put32(bytes + 12, (uint32_t)interval.months);
    tp__buf_append(out, bytes, sizeof bytes);
    return true;
}
