/* codec_time.c and codec_interval.c: dates, times and intervals as the server writes them,
 * beside the server itself where there is one (TIDEPOOL_SEED repeats a run). */
#include "codec_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct codec date = {"date", 1082, tp__date_format, tp__date_parse};
static const struct codec daytime = {"time", 1083, tp__time_format, tp__time_parse};
static const struct codec timetz = {"timetz", 1266, tp__timetz_format, tp__timetz_parse};
static const struct codec timestamp = {"timestamp", 1114, tp__timestamp_format,
                                       tp__timestamp_parse};
static const struct codec timestamptz = {"timestamptz", 1184, tp__timestamptz_format,
                                         tp__timestamptz_parse};
static const struct codec interval = {"interval", 1186, tp__interval_format, tp__interval_parse};

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define FIRST_MOMENT (-2451545 * DAY)
#define LAST_MOMENT (INT64_C(9223371331200000000) - 1)
enum { FIRST_DATE = -2451545, LAST_DATE = 2145031948 };

static void date_writes(int32_t days, const char *text)
{
    char bytes[4];
    tp__put32(bytes, (uint32_t)days);
    codec_writes(&date, bytes, 4, text);
    if (text != NULL) {
        codec_reads(&date, text, bytes, 4);
    }
}

static void moment_writes(const struct codec *codec, int64_t micros, const char *text)
{
    char bytes[8];
    tp__put64(bytes, (uint64_t)micros);
    codec_writes(codec, bytes, 8, text);
    if (text != NULL) {
        codec_reads(codec, text, bytes, 8);
    }
}

static void timetz_writes(int64_t micros, int32_t west, const char *text)
{
    char bytes[12];
    tp__put64(bytes, (uint64_t)micros);
    tp__put32(bytes + 8, (uint32_t)west);
    codec_writes(&timetz, bytes, 12, text);
    if (text != NULL) {
        codec_reads(&timetz, text, bytes, 12);
    }
}

static void interval_writes(int32_t months, int32_t days, int64_t micros, const char *text)
{
    char bytes[16];
    tp__put64(bytes, (uint64_t)micros);
    tp__put32(bytes + 8, (uint32_t)days);
    tp__put32(bytes + 12, (uint32_t)months);
    codec_writes(&interval, bytes, 16, text);
    codec_reads(&interval, text, bytes, 16);
}

/* ------------------------------------------------------------- both ways */

static void dates_are_written_and_read(void **state)
{
    (void)state;
    date_writes(0, "2000-01-01");
    date_writes(-1, "1999-12-31");
    date_writes(59, "2000-02-29");
    date_writes(60, "2000-03-01");
    date_writes(-10957, "1970-01-01");
    date_writes(-36465, "1900-03-01");
    date_writes(-730119, "0001-01-01");
    date_writes(-730120, "0001-12-31 BC");
    date_writes(-746117, "0044-03-15 BC");
    date_writes(2921939, "9999-12-31");
    date_writes(2921940, "10000-01-01");
    date_writes(FIRST_DATE, "4714-11-24 BC");
    date_writes(LAST_DATE, "5874897-12-31");
    date_writes(INT32_MIN, "-infinity");
    date_writes(INT32_MAX, "infinity");
}

static void timestamps_are_written_and_read(void **state)
{
    (void)state;
    moment_writes(&timestamp, 0, "2000-01-01 00:00:00");
    moment_writes(&timestamp, -1, "1999-12-31 23:59:59.999999");
    moment_writes(&timestamp, 100000, "2000-01-01 00:00:00.1");
    moment_writes(&timestamp, 120, "2000-01-01 00:00:00.00012");
    moment_writes(&timestamp, 59 * DAY + 13 * HOUR + 61 * SECOND, "2000-02-29 13:01:01");
    moment_writes(&timestamp, 2921940 * DAY, "10000-01-01 00:00:00");
    moment_writes(&timestamp, -730120 * DAY + 500000, "0001-12-31 00:00:00.5 BC");
    moment_writes(&timestamp, FIRST_MOMENT, "4714-11-24 00:00:00 BC");
    moment_writes(&timestamp, LAST_MOMENT, "294276-12-31 23:59:59.999999");
    moment_writes(&timestamp, INT64_MAX, "infinity");
    moment_writes(&timestamp, INT64_MIN, "-infinity");
}

static void timestamps_with_a_zone_are_written_in_utc(void **state)
{
    (void)state;
    moment_writes(&timestamptz, 0, "2000-01-01 00:00:00+00");
    moment_writes(&timestamptz, -10, "1999-12-31 23:59:59.99999+00");
    moment_writes(&timestamptz, -730120 * DAY + 12 * HOUR, "0001-12-31 12:00:00+00 BC");
    moment_writes(&timestamptz, FIRST_MOMENT, "4714-11-24 00:00:00+00 BC");
    moment_writes(&timestamptz, LAST_MOMENT, "294276-12-31 23:59:59.999999+00");
    moment_writes(&timestamptz, INT64_MAX, "infinity");
    moment_writes(&timestamptz, INT64_MIN, "-infinity");
}

static void times_of_day_are_written_and_read(void **state)
{
    (void)state;
    moment_writes(&daytime, 0, "00:00:00");
    moment_writes(&daytime, 1, "00:00:00.000001");
    moment_writes(&daytime, 4 * HOUR + 5 * 60 * SECOND + 6 * SECOND + 789000, "04:05:06.789");
    moment_writes(&daytime, DAY - 1, "23:59:59.999999");
    moment_writes(&daytime, DAY, "24:00:00");
}

static void zones_are_written_as_short_as_they_can_be(void **state)
{
    (void)state;
    timetz_writes(HOUR, 0, "01:00:00+00");
    timetz_writes(HOUR, -7200, "01:00:00+02");
    timetz_writes(HOUR, 12600, "01:00:00-03:30");
    timetz_writes(HOUR, 12601, "01:00:00-03:30:01");
    timetz_writes(HOUR, -1, "01:00:00+00:00:01");
    timetz_writes(DAY, -57599, "24:00:00+15:59:59");
    timetz_writes(1, 57599, "00:00:00.000001-15:59:59");
}

static void intervals_have_the_signs_of_their_parts(void **state)
{
    (void)state;
    int64_t clock = 4 * HOUR + 5 * 60 * SECOND + 6789000;
    interval_writes(0, 0, 0, "00:00:00");
    interval_writes(1, 1, 0, "1 mon 1 day");
    interval_writes(14, 3, clock, "1 year 2 mons 3 days 04:05:06.789");
    interval_writes(14, -3, clock, "1 year 2 mons -3 days +04:05:06.789");
    interval_writes(-14, 3, -clock, "-1 years -2 mons +3 days -04:05:06.789");
    interval_writes(-12, 0, clock, "-1 years +04:05:06.789");
    interval_writes(-1, 1, clock, "-1 mons +1 day 04:05:06.789");
    interval_writes(-24, -1, 0, "-2 years -1 days");
    interval_writes(0, 0, -1, "-00:00:00.000001");
    interval_writes(0, 0, 100 * HOUR, "100:00:00");
    interval_writes(0, 90, 0, "90 days");
    interval_writes(INT32_MAX, INT32_MAX, INT64_MAX,
                    "178956970 years 7 mons 2147483647 days 2562047788:00:54.775807");
    interval_writes(INT32_MIN, INT32_MIN, INT64_MIN,
                    "-178956970 years -8 mons -2147483648 days -2562047788:00:54.775808");
}

/* ---------------------------------------------------------------- refused */

static void bytes_that_no_server_sends_are_refused(void **state)
{
    (void)state;
    static const unsigned char zeros[24];
    static const struct {
        const struct codec *codec;
        size_t len;
    } sizes[] = {{&date, 4},      {&daytime, 8},     {&timetz, 12},
                 {&timestamp, 8}, {&timestamptz, 8}, {&interval, 16}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t len = 0; len <= sizeof zeros; len++) {
            if (len != sizes[i].len) {
                codec_writes(sizes[i].codec, zeros, len, NULL);
            }
        }
    }
    date_writes(FIRST_DATE - 1, NULL);
    date_writes(LAST_DATE + 1, NULL);
    moment_writes(&timestamp, FIRST_MOMENT - 1, NULL);
    moment_writes(&timestamp, LAST_MOMENT + 1, NULL);
    moment_writes(&timestamptz, INT64_MIN + 1, NULL);
    moment_writes(&timestamptz, INT64_MAX - 1, NULL);
    moment_writes(&daytime, -1, NULL);
    moment_writes(&daytime, DAY + 1, NULL);
    timetz_writes(-1, 0, NULL);
    timetz_writes(DAY + 1, 0, NULL);
    timetz_writes(0, 57600, NULL);
    timetz_writes(0, -57600, NULL);
    timetz_writes(0, INT32_MIN, NULL);
}

/* Every text of a NULL-terminated list. */
static void all_refused(const struct codec *codec, const char *const *texts)
{
    while (*texts != NULL) {
        codec_refuses(codec, *texts++);
    }
}
#define REFUSED(codec, ...) all_refused(codec, (const char *const[]){__VA_ARGS__, NULL})

static void texts_that_are_no_dates_are_refused(void **state)
{
    (void)state;
    REFUSED(&date, "", "2024", "2024-01", "2024-01-1", "2024-1-01", "24-01-01", "2024-13-01",
            "2024-00-01", "2024-01-00", "2024-04-31", "2023-02-29", "1900-02-29", "1800-02-29",
            "0101-02-29 BC", "9999999-12-31 BC", "4801-03-01 BC", "4802-02-28 BC", "2024/01/01",
            "0000-01-01", "0000-01-01 BC", "2024-01-01 ", " 2024-01-01", "2024-01-01BC",
            "2024-01-01 bc", "2024-01-01 AD", "2024-01-01 BCx", "20240101", "-2024-01-01", "now",
            "today", "epoch", "infinity ", "+infinity", "--infinity", "inf", "5874898-01-01",
            "99999999-01-01", "4714-11-23 BC", "4715-01-01 BC", "2024-01-01 00:00:00",
            "2024-01-01 00:00:00 BC");
}

static void texts_that_are_no_timestamps_are_refused(void **state)
{
    (void)state;
    REFUSED(&timestamp, "", "2024-01-01T", "2024-01-01 ", "2024-01-01  10:00:00",
            "2024-01-01 1:00:00", "2024-01-01 10", "2024-01-01 10:", "2024-01-01 10:0",
            "2024-01-01 10:00:", "2024-01-01 10:00:0", "2024-01-01 10:00:00.",
            "2024-01-01 10:00:00.1234567", "2024-01-01 10:00:00,5", "2024-01-01 24:00:01",
            "2024-01-01 25:00:00", "2024-01-01 10:60:00", "2024-01-01 10:00:60", "2024-01-01 -1:00",
            "2024-01-01 10:00:00+00", "2024-01-01 10:00:00Z", "2024-01-01 10:00:00 BCE",
            "2024-02-30 10:00:00", "294276-12-31 24:00:00", "294277-01-01", "9999999-01-01",
            "4714-11-23 23:59:59 BC", "10:00:00", "now", "2024-01-01 10:00:00 PM");
    REFUSED(&daytime, "", "10", "10:", "1:00", "24:00:01", "10:00 ", "10:00:00+00", "10:00 PM",
            "T10:00", "100000", "infinity");
}

static void what_depends_on_the_sessions_zone_is_left_to_the_server(void **state)
{
    (void)state;
    REFUSED(&timestamptz, "2024-01-01", "2024-01-01 10:00:00", "2024-01-01T10:00", "2024-01-01Z",
            "2024-01-01+02", "2024-01-01 10:00:00 BC", "2024-01-01 10:00:00 UTC",
            "2024-01-01 10:00:00 Europe/Paris");
    REFUSED(&timetz, "10:00", "10:00:00.5", "10:00:00 CET");
}

static void zones_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const zones[] = {
        "+",      "+1",        "+123",         "+12345", "+16",     "-16",      "+1600",
        "+15:60", "+15:00:60", "+02:",         "+02:0",  "+02:00:", "+02:00:0", "ZZ",
        "Z ",     " Z",        "+02:00:00:00", "+0260",  "*02",     "+-2",      "+0200:00"};
    for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "2024-01-01 10:00:00%s", zones[i]);
        codec_refuses(&timestamptz, text);
        codec_refuses(&timetz, text + 11);
    }
}

static void intervals_of_other_styles_are_left_to_the_server(void **state)
{
    (void)state;
    REFUSED(&interval, "", " ", "1", "1 day ", " 1 day", "1 days", "2 day", "1  day", "+1 day",
            "01 day", "0 days", "-0 days", "1 month", "12 mons", "1 mon 1 year", "1 hour",
            "-1 days 04:00:00", "1 day +04:00:00", "1 day 00:00:00", "4:00:00", "04:00", "04:60:00",
            "04:00:60", "-00:00:00", "04:00:00.", "04:00:00.50", "04:00:00.1234567", "004:00:00",
            "P1D", "@ 1 day", "1-2", "1 day ago", "2147483648 days", "-2147483649 days",
            "178956971 years", "178956970 years 8 mons", "2562047788:00:54.775808",
            "-2562047788:00:54.775809", "9999999999:00:00", "99999999999 days", "infinity");
}

/* ------------------------------------------------------------------- read */

static void programs_may_write_otherwise_than_the_server(void **state)
{
    (void)state;
    codec_rewrites(&timestamp, "2024-05-06T07:08:09.100", "2024-05-06 07:08:09.1");
    codec_rewrites(&timestamp, "2024-05-06 07:08", "2024-05-06 07:08:00");
    codec_rewrites(&timestamp, "2024-05-06", "2024-05-06 00:00:00");
    codec_rewrites(&timestamp, "0044-03-15 BC", "0044-03-15 00:00:00 BC");
    codec_rewrites(&timestamp, "2024-12-31 24:00:00", "2025-01-01 00:00:00");
    codec_rewrites(&timestamp, "Infinity", "infinity");
    codec_rewrites(&timestamp, "-INFINITY", "-infinity");
    codec_rewrites(&date, "-Infinity", "-infinity");
    codec_rewrites(&date, "00044-03-15", "0044-03-15");
    codec_rewrites(&date, "0001-02-29 BC", "0001-02-29 BC");
    codec_rewrites(&date, "0401-02-29 BC", "0401-02-29 BC");
    codec_rewrites(&daytime, "07:08", "07:08:00");
    codec_rewrites(&timetz, "07:08Z", "07:08:00+00");
    codec_rewrites(&timetz, "07:08:09.5-0330", "07:08:09.5-03:30");
    codec_rewrites(&timetz, "07:08:09-00:00", "07:08:09+00");
}

static void zones_are_added_to_the_time(void **state)
{
    (void)state;
    static const char *const zones[][2] = {
        {"Z", "07:08:09+00"},        {"z", "07:08:09+00"},     {"+00", "07:08:09+00"},
        {"-00", "07:08:09+00"},      {"+02", "05:08:09+00"},   {"-02", "09:08:09+00"},
        {"+05:30", "01:38:09+00"},   {"-0330", "10:38:09+00"}, {"+00:00:09", "07:08:00+00"},
        {"-00:00:01", "07:08:10+00"}};
    for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++) {
        char text[64], expected[64];
        (void)snprintf(text, sizeof text, "2024-05-06T07:08:09%s", zones[i][0]);
        (void)snprintf(expected, sizeof expected, "2024-05-06 %s", zones[i][1]);
        codec_rewrites(&timestamptz, text, expected);
    }
    codec_rewrites(&timestamptz, "2024-01-01 00:30:00+01", "2023-12-31 23:30:00+00");
    codec_rewrites(&timestamptz, "0001-01-01 00:00:00+01", "0001-12-31 23:00:00+00 BC");
    codec_rewrites(&timestamptz, "4714-11-23 23:00:00-01 BC", "4714-11-24 00:00:00+00 BC");
    codec_rewrites(&timestamptz, "294277-01-01 00:59:59+01", "294276-12-31 23:59:59+00");
    codec_refuses(&timestamptz, "4714-11-24 00:00:00+00:00:01 BC");
    codec_refuses(&timestamptz, "294276-12-31 23:59:59-00:00:01");
}

/* ---------------------------------------------------------------- random */

static void every_day_of_four_centuries_follows_the_one_before(void **state)
{
    (void)state;
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int days = 0;
    for (int year = 2000; year < 2400; year++) {
        bool is_leap = year % 4 == 0 && (year % 100 != 0 || year == 2000);
        for (int month = 1; month <= 12; month++) {
            for (int day = 1; day <= month_days[month - 1] + (month == 2 && is_leap); day++) {
                char text[48];
                (void)snprintf(text, sizeof text, "%04d-%02d-%02d", year, month, day);
                date_writes(days, text);
                /* The calendar repeats itself after 400 years. */
                (void)snprintf(text, sizeof text, "%04d-%02d-%02d", year + 290000, month, day);
                date_writes(days + 725 * 146097, text);
                days++;
            }
        }
    }
    assert_int_equal(days, 146097);
}

static void put_int(struct tp_buf *out, int64_t value, size_t len)
{
    char bytes[8];
    tp__put64(bytes, (uint64_t)value);
    tp__buf_append(out, bytes + 8 - len, len);
}

static void random_date(uint64_t *seed, struct tp_buf *out)
{
    static const int32_t low[] = {-40000, FIRST_DATE, FIRST_DATE, 0};
    static const int32_t high[] = {40000, 3000000, FIRST_DATE + 400, LAST_DATE};
    int64_t which = codec_draw(seed, 0, 20);
    int32_t days = which < 20 ? (int32_t)codec_draw(seed, low[which % 4], high[which % 4])
                   : codec_draw(seed, 0, 1) ? INT32_MAX
                                            : INT32_MIN;
    put_int(out, days, 4);
}

/* With all, some or none of the digits behind the point. */
static int64_t blunt(uint64_t *seed, int64_t micros)
{
    static const int64_t units[] = {1, 1, 1, 10, 1000, 100000, SECOND, 60 * SECOND, DAY};
    int64_t unit = units[codec_draw(seed, 0, 8)];
    return micros / unit * unit;
}

static void random_moment(uint64_t *seed, struct tp_buf *out)
{
    int64_t century = 36525 * DAY, moment;
    switch (codec_draw(seed, 0, 30)) {
    case 0:
        moment = codec_draw(seed, 0, 1) ? INT64_MAX : INT64_MIN;
        break;
    case 1:
        moment = codec_draw(seed, 0, 1) ? FIRST_MOMENT : LAST_MOMENT;
        break;
    case 2:
    case 3:
        moment = codec_draw(seed, 0, LAST_MOMENT);
        break;
    case 4:
    case 5:
    case 6:
        moment = codec_draw(seed, FIRST_MOMENT, 0);
        break;
    default:
        moment = codec_draw(seed, -century, century);
        break;
    }
    put_int(out, moment == INT64_MAX || moment == INT64_MIN ? moment : blunt(seed, moment), 8);
}

static void random_time(uint64_t *seed, struct tp_buf *out)
{
    put_int(out, blunt(seed, codec_draw(seed, 0, codec_draw(seed, 0, 9) ? DAY : SECOND)), 8);
}

static void random_timetz(uint64_t *seed, struct tp_buf *out)
{
    static const int64_t units[] = {1, 60, 1800, 3600};
    int64_t unit = units[codec_draw(seed, 0, 3)];
    random_time(seed, out);
    put_int(out, codec_draw(seed, -57599, 57599) / unit * unit, 4);
}

/* None, one, a few, or any that fits. */
static int64_t random_part(uint64_t *seed, int64_t most)
{
    switch (codec_draw(seed, 0, 6)) {
    case 0:
    case 1:
        return 0;
    case 2:
        return codec_draw(seed, -1, 1);
    case 3:
        return codec_draw(seed, 0, 1) ? most : -most - 1;
    case 4:
        return codec_draw(seed, -most / 2, most / 2);
    default:
        return codec_draw(seed, -40, 40);
    }
}

static void random_interval(uint64_t *seed, struct tp_buf *out)
{
    int64_t micros =
        codec_draw(seed, 0, 2) ? codec_draw(seed, -DAY, DAY) : random_part(seed, INT64_MAX);
    put_int(out, micros == INT64_MIN ? micros : blunt(seed, micros), 8);
    put_int(out, random_part(seed, INT32_MAX), 4);
    put_int(out, random_part(seed, INT32_MAX), 4);
}

/* The text of a random value, now and then spoilt. */
static void random_text(const struct codec *codec, codec_generator *value, uint64_t *seed,
                        struct tp_buf *out)
{
    struct tp_buf bytes = {0};
    value(seed, &bytes);
    assert_true(codec->format((const unsigned char *)bytes.data, bytes.len, out));
    for (int64_t i = codec_draw(seed, 0, 4); i > 2; i--) {
        codec_spoil(seed, out, "0123456789012345678900::--++ .TZBCyds");
    }
    tp__buf_free(&bytes);
}

static void date_text(uint64_t *seed, struct tp_buf *out)
{
    random_text(&date, random_date, seed, out);
}

static void time_text(uint64_t *seed, struct tp_buf *out)
{
    random_text(&daytime, random_time, seed, out);
}

static void timetz_text(uint64_t *seed, struct tp_buf *out)
{
    random_text(&timetz, random_timetz, seed, out);
}

/* The server does not read what it writes for the lowest of int64. */
static void interval_text(uint64_t *seed, struct tp_buf *out)
{
    random_text(&interval, random_interval, seed, out);
    if (strstr(tp__buf_cstr(out), "-2562047788:00:54.775808") != NULL) {
        tp__buf_clear(out);
        tp__buf_puts(out, "00:00:00");
    }
}

static void timestamp_text(uint64_t *seed, struct tp_buf *out)
{
    random_text(&timestamp, random_moment, seed, out);
}

/* A date and a time with any separator and any zone, for either is read by itself. */
static void timestamptz_text(uint64_t *seed, struct tp_buf *out)
{
    struct tp_buf time = {0};
    random_text(&date, random_date, seed, out);
    if (codec_draw(seed, 0, 1)) {
        random_text(&timetz, random_timetz, seed, &time);
    } else {
        random_text(&daytime, random_time, seed, &time);
        tp__buf_printf(&time, codec_draw(seed, 0, 1) ? "%+03d%02d" : "Z",
                       (int)codec_draw(seed, -15, 15), (int)codec_draw(seed, 0, 59));
    }
    const char *era = strstr(tp__buf_cstr(out), " BC");
    out->len = era != NULL ? (size_t)(era - out->data) : out->len;
    tp__buf_putc(out, codec_draw(seed, 0, 1) ? 'T' : ' ');
    tp__buf_append(out, time.data, time.len);
    tp__buf_puts(out, era != NULL ? " BC" : "");
    tp__buf_free(&time);
}

/* ---------------------------------------------------------------- server */

static const struct {
    const struct codec *codec;
    codec_generator *value, *text;
} kinds[] = {{&date, random_date, date_text},
             {&daytime, random_time, time_text},
             {&timetz, random_timetz, timetz_text},
             {&timestamp, random_moment, timestamp_text},
             {&timestamptz, random_moment, timestamptz_text},
             {&interval, random_interval, interval_text}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static void times_are_what_the_server_writes_and_reads(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    for (int i = 0; i < KINDS; i++) {
        codec_compare(conn, kinds[i].codec, &seed, kinds[i].value);
    }
    PQfinish(conn);
}

static void texts_of_times_are_read_as_the_server_does_in_any_session(void **state)
{
    (void)state;
    static const char *const sessions[] = {
        "set DateStyle to ISO, MDY", "set DateStyle to German, DMY", "set DateStyle to SQL, YMD",
        "set TimeZone to 'America/St_Johns'", "set IntervalStyle to sql_standard"};
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    for (size_t j = 0; j < sizeof sessions / sizeof sessions[0]; j++) {
        codec_do(conn, sessions[j]);
        for (int i = 0; i < KINDS; i++) {
            int read = codec_compare_reading(conn, kinds[i].codec, &seed, kinds[i].text);
            assert_in_range(read, 20, 95);
        }
    }
    PQfinish(conn);
}

static void a_buffer_out_of_memory_is_left_alone(void **state)
{
    (void)state;
    static const unsigned char zeros[16];
    static const unsigned char infinite[] = {127, 255, 255, 255, 255, 255, 255, 255};
    codec_leaves_a_failed_buffer_alone(&date, zeros, 4, "2000-01-01");
    codec_leaves_a_failed_buffer_alone(&date, infinite, 4, "infinity");
    codec_leaves_a_failed_buffer_alone(&daytime, zeros, 8, "00:00:00");
    codec_leaves_a_failed_buffer_alone(&timetz, zeros, 12, "00:00:00+00");
    codec_leaves_a_failed_buffer_alone(&timestamp, zeros, 8, "2000-01-01 00:00:00");
    codec_leaves_a_failed_buffer_alone(&timestamptz, zeros, 8, "2000-01-01 00:00:00+00");
    codec_leaves_a_failed_buffer_alone(&timestamptz, infinite, 8, "infinity");
    codec_leaves_a_failed_buffer_alone(&interval, zeros, 16, "1 day");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_written_and_read),
        cmocka_unit_test(timestamps_are_written_and_read),
        cmocka_unit_test(timestamps_with_a_zone_are_written_in_utc),
        cmocka_unit_test(times_of_day_are_written_and_read),
        cmocka_unit_test(zones_are_written_as_short_as_they_can_be),
        cmocka_unit_test(intervals_have_the_signs_of_their_parts),
        cmocka_unit_test(bytes_that_no_server_sends_are_refused),
        cmocka_unit_test(texts_that_are_no_dates_are_refused),
        cmocka_unit_test(texts_that_are_no_timestamps_are_refused),
        cmocka_unit_test(what_depends_on_the_sessions_zone_is_left_to_the_server),
        cmocka_unit_test(zones_that_are_none_are_refused),
        cmocka_unit_test(intervals_of_other_styles_are_left_to_the_server),
        cmocka_unit_test(programs_may_write_otherwise_than_the_server),
        cmocka_unit_test(zones_are_added_to_the_time),
        cmocka_unit_test(every_day_of_four_centuries_follows_the_one_before),
        cmocka_unit_test(a_buffer_out_of_memory_is_left_alone),
        cmocka_unit_test(times_are_what_the_server_writes_and_reads),
        cmocka_unit_test(texts_of_times_are_read_as_the_server_does_in_any_session),
    };
    return cmocka_run_group_tests_name("codec_time", tests, NULL, NULL);
}
