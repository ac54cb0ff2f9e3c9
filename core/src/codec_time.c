/* Dates and times: days from 2000-01-01 and microseconds from its midnight, in UTC.
 *
 * Days become years, months and days by the multiplications of C. Neri and L. Schneider,
 * "Euclidean affine functions and their application to calendar algorithms" (2022). What
 * is read is ISO 8601 as the server and programs write it, whatever the session's
 * DateStyle and TimeZone are: what depends on them is left to the server. */
#include "codec_time.h"

#include "codec.h"

enum {
    DAYS_TO_2000 = 2451545,      /* from Julian day 0, 4714-11-24 BC: the first one */
    AFTER_LAST_DAY = 2147483494, /* 5874898-06-03, counted from there */
    SECONDS_PER_DAY = 86400,
    AFTER_LAST_ZONE = 16 * 3600, /* seconds east or west */
    MOST_TEXT = 48,              /* "294276-12-31 23:59:59.999999+15:59:59 BC" and more */
};

#define MICROS_PER_DAY (SECONDS_PER_DAY * TP_MICROS_PER_SECOND)
#define FIRST_MOMENT (-DAYS_TO_2000 * MICROS_PER_DAY)
#define AFTER_LAST_MOMENT INT64_C(9223371331200000000) /* 294277-01-01 */

/* The year 0 is 1 BC, -1 is 2 BC. */
struct date {
    int64_t year;
    unsigned month, day;
};

/* ---------------------------------------------------------------- calendar */

/* `julian` counts from 4714-11-24 BC. Years begin in March here, so that the leap day is
 * their last, and are counted from 4801 BC, so that nothing is negative. */
static inline struct date date_of(uint64_t julian)
{
    uint64_t quarters = 4 * (julian + 32044) + 3; /* of days since -4800-03-01 */
    uint64_t century = quarters / 146097;
    uint32_t in_century = (uint32_t)(quarters % 146097) | 3;
    uint64_t scaled = UINT64_C(2939745) * in_century; /* 2^32 / 1461, rounded up */
    uint32_t year = (uint32_t)(scaled >> 32);
    uint32_t in_year = (uint32_t)scaled / 2939745 / 4; /* the day */
    uint32_t months = 2141 * in_year + 197913;         /* 2^16 / 30.6; from March, 3 */
    bool is_next = in_year >= 306;                     /* January and February */
    struct date date = {.year = (int64_t)(century * 100 + year) - 4800 + is_next,
                        .month = (months >> 16) - (is_next ? 12 : 0),
                        .day = (months & 0xFFFF) / 2141 + 1};
    return date;
}

/* Days from 2000-01-01, for any date that its callers' ranges admit: before 4801 BC the
 * result is off by a few days, and far below them. */
static int64_t days_of(const struct date *date)
{
    bool is_late = date->month > 2;
    int64_t year = date->year + (is_late ? 4800 : 4799);
    int64_t month = (int64_t)date->month - (is_late ? 3 : -9); /* March is 0 */
    int64_t leaps = year / 4 - year / 100 + year / 400;
    return year * 365 + leaps + (153 * month + 2) / 5 + date->day - 1 - 32044 - DAYS_TO_2000;
}

static unsigned days_in_month(const struct date *date)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = date->year % 4 == 0 && (date->year % 100 != 0 || date->year % 400 == 0);
    return date->month == 2 && is_leap ? 29 : days[date->month - 1];
}

/* ----------------------------------------------------------------- writing */

static inline char *put_date(char *at, const struct date *date)
{
    uint64_t year = (uint64_t)(date->year > 0 ? date->year : 1 - date->year);
    at = year < 10000 ? tp__put_4(at, (unsigned)year) : tp__put_number(at, year);
    *at = '-';
    at = tp__put_2(at + 1, date->month);
    *at = '-';
    return tp__put_2(at + 1, date->day);
}

static inline char *put_clock(char *at, uint64_t micros)
{
    uint64_t hours = micros / (uint64_t)TP_MICROS_PER_HOUR;
    return tp__put_minutes(tp__put_2(at, (unsigned)hours),
                           micros - hours * (uint64_t)TP_MICROS_PER_HOUR);
}

/* Zones are stored as seconds to the west and written as hours to the east. */
static char *put_zone(char *at, int32_t west)
{
    unsigned seconds = (unsigned)(west < 0 ? -west : west);
    *at = west <= 0 ? '+' : '-';
    at = tp__put_2(at + 1, seconds / 3600);
    if (seconds % 3600 != 0) {
        *at = ':';
        at = tp__put_2(at + 1, seconds / 60 % 60);
    }
    if (seconds % 60 != 0) {
        *at = ':';
        at = tp__put_2(at + 1, seconds % 60);
    }
    return at;
}

static inline char *put_era(char *at, const struct date *date)
{
    if (date->year > 0) {
        return at;
    }
    memcpy(at, " BC", 3);
    return at + 3;
}

/* Where to write a value; NULL when memory is short. finish takes the end of it. */
static inline char *begin(struct tp_buf *out)
{
    return tp__buf_reserve(out, MOST_TEXT) ? out->data + out->len : NULL;
}

static inline void finish(struct tp_buf *out, const char *end)
{
    out->len = (size_t)(end - out->data);
}

bool tp__date_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    int32_t days = len == 4 ? (int32_t)tp__get32(bytes) : AFTER_LAST_DAY;
    if (len == 4 && (days == INT32_MIN || days == INT32_MAX)) {
        tp__buf_puts(out, days < 0 ? "-infinity" : "infinity");
        return true;
    }
    if (days < -DAYS_TO_2000 || days >= AFTER_LAST_DAY - DAYS_TO_2000) {
        return false;
    }
    char *at = begin(out);
    if (at != NULL) {
        struct date date = date_of((uint64_t)((int64_t)days + DAYS_TO_2000));
        finish(out, put_era(put_date(at, &date), &date));
    }
    return true;
}

static inline bool format_moment(const unsigned char *bytes, size_t len, bool with_zone,
                                 struct tp_buf *out)
{
    if (len != 8) {
        return false;
    }
    int64_t moment = (int64_t)tp__get64(bytes);
    if (moment < FIRST_MOMENT || moment >= AFTER_LAST_MOMENT) {
        bool is_infinite = moment == INT64_MIN || moment == INT64_MAX;
        tp__buf_puts(out, !is_infinite ? "" : moment < 0 ? "-infinity" : "infinity");
        return is_infinite;
    }
    char *at = begin(out);
    if (at == NULL) {
        return true;
    }
    uint64_t micros = (uint64_t)moment - (uint64_t)FIRST_MOMENT; /* may leave int64 */
    uint64_t julian = micros / (uint64_t)MICROS_PER_DAY;
    struct date date = date_of(julian);
    at = put_date(at, &date);
    *at = ' ';
    at = put_clock(at + 1, micros - julian * (uint64_t)MICROS_PER_DAY);
    if (with_zone) {
        memcpy(at, "+00", 3);
        at += 3;
    }
    finish(out, put_era(at, &date));
    return true;
}

bool tp__timestamp_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    return format_moment(bytes, len, false, out);
}

bool tp__timestamptz_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    return format_moment(bytes, len, true, out);
}

/* A day's end is a time of day too: 24:00:00. */
bool tp__time_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    uint64_t micros = len == 8 ? tp__get64(bytes) : UINT64_MAX;
    if (micros > (uint64_t)MICROS_PER_DAY) {
        return false;
    }
    char *at = begin(out);
    if (at != NULL) {
        finish(out, put_clock(at, micros));
    }
    return true;
}

bool tp__timetz_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    int32_t west = len == 12 ? (int32_t)tp__get32(bytes + 8) : AFTER_LAST_ZONE;
    if (west <= -AFTER_LAST_ZONE || west >= AFTER_LAST_ZONE || !tp__time_format(bytes, 8, out)) {
        return false;
    }
    char *at = begin(out);
    if (at != NULL) {
        finish(out, put_zone(at, west));
    }
    return true;
}

/* ----------------------------------------------------------------- reading */

/* "2024-02-29"; the year has four digits at least, or the order would be a guess. */
static bool take_date(struct tp_cursor *in, struct date *date)
{
    int64_t month, day;
    if (!tp__take_number(in, 4, 7, &date->year) || !tp__take(in, '-') ||
        !tp__take_number(in, 2, 2, &month) || !tp__take(in, '-') ||
        !tp__take_number(in, 2, 2, &day)) {
        return false;
    }
    date->month = (unsigned)month;
    date->day = (unsigned)day;
    return true;
}

/* What may stand behind all else; then the date is complete, and is checked. There is no
 * year 0 in a text. */
static bool take_era(struct tp_cursor *in, struct date *date)
{
    if (date->year < 1) {
        return false;
    }
    if (tp__take_word(in, " BC")) {
        date->year = 1 - date->year;
    }
    return in->at == in->end && date->month >= 1 && date->month <= 12 && date->day >= 1 &&
           date->day <= days_in_month(date);
}

/* Six digits are microseconds; how more would be rounded is the server's business. */
static bool take_fraction(struct tp_cursor *in, int64_t *micros)
{
    const char *start = in->at;
    if (!tp__take_number(in, 1, 6, micros)) {
        return false;
    }
    for (int64_t digits = in->at - start; digits < 6; digits++) {
        *micros *= 10;
    }
    return true;
}

bool tp__take_minutes(struct tp_cursor *in, int64_t *micros)
{
    int64_t minutes, seconds = 0, fraction = 0;
    if (!tp__take(in, ':') || !tp__take_number(in, 2, 2, &minutes) || minutes > 59) {
        return false;
    }
    if (tp__take(in, ':')) {
        if (!tp__take_number(in, 2, 2, &seconds) || seconds > 59 ||
            (tp__take(in, '.') && !take_fraction(in, &fraction))) {
            return false;
        }
    }
    *micros = (minutes * 60 + seconds) * TP_MICROS_PER_SECOND + fraction;
    return true;
}

static bool take_clock(struct tp_cursor *in, int64_t *micros)
{
    int64_t hours, rest;
    if (!tp__take_number(in, 2, 2, &hours) || !tp__take_minutes(in, &rest)) {
        return false;
    }
    *micros = hours * TP_MICROS_PER_HOUR + rest;
    return *micros <= MICROS_PER_DAY;
}

/* "Z", "+hh", "+hh:mm", "+hh:mm:ss" or "+hhmm", as seconds to the west. */
static bool take_zone(struct tp_cursor *in, int32_t *west)
{
    *west = 0;
    if (tp__take_anycase(in, "z")) {
        return true;
    }
    bool is_west = tp__take(in, '-');
    int64_t hours, minutes = 0, seconds = 0;
    if (!is_west && !tp__take(in, '+')) {
        return false;
    }
    if (tp__take_number(in, 4, 4, &hours)) {
        minutes = hours % 100;
        hours /= 100;
    } else if (!tp__take_number(in, 2, 2, &hours)) {
        return false;
    } else if (tp__take(in, ':')) {
        if (!tp__take_number(in, 2, 2, &minutes) ||
            (tp__take(in, ':') && !tp__take_number(in, 2, 2, &seconds))) {
            return false;
        }
    }
    int32_t east = (int32_t)(hours * 3600 + minutes * 60 + seconds);
    *west = is_west ? east : -east;
    return minutes < 60 && seconds < 60 && east < AFTER_LAST_ZONE;
}

/* "infinity" or "-infinity", and nothing else. */
static bool is_infinite(const char *text, size_t len, bool *is_negative)
{
    struct tp_cursor in = {text, text + len};
    *is_negative = tp__take(&in, '-');
    return tp__take_anycase(&in, "infinity") && in.at == in.end;
}

static void append32(struct tp_buf *out, int32_t value)
{
    char bytes[4];
    tp__put32(bytes, (uint32_t)value);
    tp__buf_append(out, bytes, sizeof bytes);
}

static void append64(struct tp_buf *out, int64_t value)
{
    char bytes[8];
    tp__put64(bytes, (uint64_t)value);
    tp__buf_append(out, bytes, sizeof bytes);
}

bool tp__date_parse(const char *text, size_t len, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    struct date date;
    bool is_negative;
    if (is_infinite(text, len, &is_negative)) {
        append32(out, is_negative ? INT32_MIN : INT32_MAX);
        return true;
    }
    if (!take_date(&in, &date) || !take_era(&in, &date)) {
        return false;
    }
    int64_t days = days_of(&date);
    if (days < -DAYS_TO_2000 || days >= AFTER_LAST_DAY - DAYS_TO_2000) {
        return false;
    }
    append32(out, (int32_t)days);
    return true;
}

/* Days and microseconds as one number; only their sum, in UTC, has to be in the range. */
static bool moment_of(const struct date *date, int64_t micros, int64_t *moment)
{
    int64_t days = days_of(date);
    if (__builtin_mul_overflow(days, MICROS_PER_DAY, moment) ||
        __builtin_add_overflow(*moment, micros, moment)) {
        return false;
    }
    return *moment >= FIRST_MOMENT && *moment < AFTER_LAST_MOMENT;
}

/* Without a clock and a zone a timestamptz depends on the session; a timestamp's zone is
 * ignored by the server. Both are left to it. */
static bool parse_moment(const char *text, size_t len, bool with_zone, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    struct date date;
    int64_t micros = 0, moment;
    int32_t west = 0;
    bool is_negative;
    if (is_infinite(text, len, &is_negative)) {
        append64(out, is_negative ? INT64_MIN : INT64_MAX);
        return true;
    }
    if (!take_date(&in, &date)) {
        return false;
    }
    bool has_clock = tp__take(&in, 'T');
    if (!has_clock && in.end - in.at > 1 && tp__is_digit(in.at[1])) { /* and not " BC" */
        has_clock = tp__take(&in, ' ');
    }
    if ((has_clock && !take_clock(&in, &micros)) ||
        (with_zone && (!has_clock || !take_zone(&in, &west))) || !take_era(&in, &date) ||
        !moment_of(&date, micros + west * TP_MICROS_PER_SECOND, &moment)) {
        return false;
    }
    append64(out, moment);
    return true;
}

bool tp__timestamp_parse(const char *text, size_t len, struct tp_buf *out)
{
    return parse_moment(text, len, false, out);
}

bool tp__timestamptz_parse(const char *text, size_t len, struct tp_buf *out)
{
    return parse_moment(text, len, true, out);
}

bool tp__time_parse(const char *text, size_t len, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    int64_t micros;
    if (!take_clock(&in, &micros) || in.at != in.end) {
        return false;
    }
    append64(out, micros);
    return true;
}

bool tp__timetz_parse(const char *text, size_t len, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    int64_t micros;
    int32_t west;
    if (!take_clock(&in, &micros) || !take_zone(&in, &west) || in.at != in.end) {
        return false;
    }
    append64(out, micros);
    append32(out, west);
    return true;
}
