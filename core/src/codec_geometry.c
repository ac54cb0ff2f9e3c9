/* Geometric types: numbers in brackets.
 *
 * The text has the shortest digits (tp__float8_text), as the server writes it since
 * PostgreSQL 12. What the server's input functions refuse (a line without direction, a
 * negative radius) is refused here too, so that its message is the one that users know.
 * Source: geo_ops.c of PostgreSQL 15. */
#include "codec.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec_digits.h"

/* -------------------------------------------------------------------- text */

static char *put_double(char *at, const unsigned char *bytes)
{
    uint64_t bits = tp__get64(bytes);
    double value;
    memcpy(&value, &bits, sizeof value);
    return at + tp__float8_text(value, at);
}

/* "(x,y)" */
static void put_point(struct tp_buf *out, const unsigned char *bytes)
{
    if (!tp__buf_reserve(out, 3 + 2 * 32)) {
        return;
    }
    char *start = out->data + out->len, *at = start;
    *at++ = '(';
    at = put_double(at, bytes);
    *at++ = ',';
    at = put_double(at, bytes + 8);
    *at++ = ')';
    out->len += (size_t)(at - start);
}

static void put_number(struct tp_buf *out, const unsigned char *bytes)
{
    if (tp__buf_reserve(out, 32)) {
        char *at = out->data + out->len;
        out->len += (size_t)(put_double(at, bytes) - at);
    }
}

/* Points with commas between them, in the brackets given. */
static bool put_points(struct tp_buf *out, const unsigned char *bytes, size_t count,
                       const char *brackets)
{
    if (brackets[0] != '\0') {
        tp__buf_putc(out, brackets[0]);
    }
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            tp__buf_putc(out, ',');
        }
        put_point(out, bytes + i * 16);
    }
    if (brackets[0] != '\0') {
        tp__buf_putc(out, brackets[1]);
    }
    return true;
}

/* A count of points and the points. */
static bool put_counted(struct tp_buf *out, const unsigned char *bytes, size_t len,
                        const char *brackets)
{
    uint32_t count = len < 4 ? 0 : tp__get32(bytes);
    return count > 0 && (len - 4) % 16 == 0 && (len - 4) / 16 == count &&
           put_points(out, bytes + 4, count, brackets);
}

bool tp__point_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    return len == 16 && put_points(out, bytes, 1, "");
}

bool tp__lseg_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    return len == 32 && put_points(out, bytes, 2, "[]");
}

bool tp__box_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    return len == 32 && put_points(out, bytes, 2, "");
}

/* The first byte says whether it is closed. */
bool tp__path_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    return len > 1 && bytes[0] <= 1 &&
           put_counted(out, bytes + 1, len - 1, bytes[0] == 1 ? "()" : "[]");
}

bool tp__polygon_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    return put_counted(out, bytes, len, "()");
}

/* The three numbers of Ax + By + C = 0. */
bool tp__line_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    if (len != 24) {
        return false;
    }
    for (size_t i = 0; i < 3; i++) {
        tp__buf_putc(out, "{,,"[i]);
        put_number(out, bytes + i * 8);
    }
    tp__buf_putc(out, '}');
    return true;
}

/* The centre and the radius. */
bool tp__circle_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    if (len != 24) {
        return false;
    }
    tp__buf_putc(out, '<');
    put_point(out, bytes);
    tp__buf_putc(out, ',');
    put_number(out, bytes + 16);
    tp__buf_putc(out, '>');
    return true;
}

/* ------------------------------------------------------------------ binary */

static void skip_spaces(struct tp_cursor *in)
{
    while (in->at < in->end && (*in->at == ' ' || (*in->at >= '\t' && *in->at <= '\r'))) {
        in->at++;
    }
}

/* A character with white space before and behind it. */
static bool take_mark(struct tp_cursor *in, char mark)
{
    skip_spaces(in);
    if (!tp__take(in, mark)) {
        return false;
    }
    skip_spaces(in);
    return true;
}

static void skip_digits(struct tp_cursor *in)
{
    while (tp__at_digit(in)) {
        in->at++;
    }
}

/* Steps over a number in decimal. What else strtod knows, such as "0x1p3" and "1.", is
 * left to the server. */
static bool skip_decimal(struct tp_cursor *in)
{
    if (!tp__at_digit(in)) {
        return false;
    }
    skip_digits(in);
    if (tp__take(in, '.')) {
        if (!tp__at_digit(in)) {
            return false;
        }
        skip_digits(in);
    }
    if (tp__take(in, 'e') || tp__take(in, 'E')) {
        if (!tp__take(in, '-')) {
            (void)tp__take(in, '+');
        }
        if (!tp__at_digit(in)) {
            return false;
        }
        skip_digits(in);
    }
    return true;
}

/* Reads a decimal with a point, whatever the locale. False when it is out of range, which
 * the server says better. */
static bool read_decimal(const char *text, size_t len, double *out)
{
    char copy[64];
    if (len >= sizeof copy) {
        return false;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) {
        return false;
    }
    errno = 0;
    *out = strtod_l(copy, NULL, c_locale);
    bool fine = errno != ERANGE || (*out != 0 && isfinite(*out)); /* a denormal number is fine */
    freelocale(c_locale);
    return fine;
}

static bool take_double(struct tp_cursor *in, double *out)
{
    const char *start = in->at;
    if (tp__take_anycase(in, "nan")) {
        *out = NAN;
        return true;
    }
    bool negative = tp__take(in, '-');
    if (!negative) {
        (void)tp__take(in, '+');
    }
    if (tp__take_anycase(in, "infinity") || tp__take_anycase(in, "inf")) {
        *out = negative ? -INFINITY : INFINITY;
        return true;
    }
    return skip_decimal(in) && read_decimal(start, (size_t)(in->at - start), out);
}

static void append_double(struct tp_buf *out, double value)
{
    char bytes[8];
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    tp__put64(bytes, bits);
    tp__buf_append(out, bytes, sizeof bytes);
}

/* "x,y" */
static bool take_pair(struct tp_cursor *in, struct tp_buf *out)
{
    double x, y;
    if (!take_double(in, &x) || !take_mark(in, ',') || !take_double(in, &y)) {
        return false;
    }
    append_double(out, x);
    append_double(out, y);
    return true;
}

static bool take_point(struct tp_cursor *in, struct tp_buf *out)
{
    return take_mark(in, '(') && take_pair(in, out) && take_mark(in, ')');
}

/* Whether two brackets are opened: the outer one is around a list of points. */
static bool is_wrapped(struct tp_cursor in)
{
    bool one = take_mark(&in, '(');
    return one && take_mark(&in, '(');
}

/* All of a text as a list of points, in brackets or not. Returns how many; 0 when it is
 * none. `open` says whether the brackets are square. */
static uint32_t read_points(const char *text, size_t len, struct tp_buf *out, bool *open)
{
    struct tp_cursor in = {text, text + len};
    uint32_t count = 0;
    *open = take_mark(&in, '[');
    bool wrapped = !*open && is_wrapped(in) && take_mark(&in, '(');
    do {
        if (!take_point(&in, out)) {
            return 0;
        }
        count++;
    } while (take_mark(&in, ','));
    if ((*open && !take_mark(&in, ']')) || (wrapped && !take_mark(&in, ')'))) {
        return 0;
    }
    return in.at == in.end ? count : 0;
}

bool tp__point_parse(const char *text, size_t len, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    skip_spaces(&in);
    bool fine = in.at < in.end && *in.at == '(' ? take_point(&in, out) : take_pair(&in, out);
    return fine && in.at == in.end;
}

bool tp__lseg_parse(const char *text, size_t len, struct tp_buf *out)
{
    bool open;
    return read_points(text, len, out, &open) == 2;
}

/* Puts the larger one first; NaN is larger than any number. */
static void put_in_order(char *first, char *second)
{
    double high, low;
    uint64_t high_bits = tp__get64((unsigned char *)first);
    uint64_t low_bits = tp__get64((unsigned char *)second);
    memcpy(&high, &high_bits, sizeof high);
    memcpy(&low, &low_bits, sizeof low);
    if (high < low || (isnan(low) && !isnan(high))) {
        tp__put64(first, low_bits);
        tp__put64(second, high_bits);
    }
}

/* The upper right corner comes first. */
bool tp__box_parse(const char *text, size_t len, struct tp_buf *out)
{
    size_t start = out->len;
    bool open;
    if (read_points(text, len, out, &open) != 2 || open) {
        return false;
    }
    if (!out->failed) {
        put_in_order(out->data + start, out->data + start + 16);
        put_in_order(out->data + start + 8, out->data + start + 24);
    }
    return true;
}

bool tp__path_parse(const char *text, size_t len, struct tp_buf *out)
{
    size_t start = out->len;
    bool open;
    tp__buf_append(out, "\0\0\0\0", 5);
    uint32_t count = read_points(text, len, out, &open);
    if (count > 0 && !out->failed) {
        out->data[start] = !open;
        tp__put32(out->data + start + 1, count);
    }
    return count > 0;
}

bool tp__polygon_parse(const char *text, size_t len, struct tp_buf *out)
{
    size_t start = out->len;
    bool open;
    tp__buf_append(out, "\0\0\0", 4);
    uint32_t count = read_points(text, len, out, &open);
    if (count > 0 && !out->failed) {
        tp__put32(out->data + start, count);
    }
    return count > 0 && !open;
}

/* A line by two of its points is left to the server. */
bool tp__line_parse(const char *text, size_t len, struct tp_buf *out)
{
    static const double zero = 1.0E-06; /* what the server takes for 0 */
    struct tp_cursor in = {text, text + len};
    double numbers[3];
    for (int i = 0; i < 3; i++) {
        if (!take_mark(&in, i == 0 ? '{' : ',') || !take_double(&in, &numbers[i])) {
            return false;
        }
        append_double(out, numbers[i]);
    }
    bool has_direction = !(fabs(numbers[0]) <= zero && fabs(numbers[1]) <= zero);
    return take_mark(&in, '}') && in.at == in.end && has_direction;
}

bool tp__circle_parse(const char *text, size_t len, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    double radius;
    bool round = is_wrapped(in) && take_mark(&in, '(');
    if ((!round && !take_mark(&in, '<')) || !take_point(&in, out) || !take_mark(&in, ',') ||
        !take_double(&in, &radius)) {
        return false;
    }
    append_double(out, radius);
    return take_mark(&in, round ? ')' : '>') && in.at == in.end && !(radius < 0);
}
