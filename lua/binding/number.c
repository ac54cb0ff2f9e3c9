#include "number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reads text whose '.' strtod did not take, by putting the locale's own point
 * in its place. A fraction longer than the buffer is cut: a double depends on
 * no more than about 770 digits. */
static bool parse_localised(const char *text, size_t len, double *out)
{
    char copy[1400], half[16];
    size_t whole = strcspn(text, "."), rest = len - whole - 1;
    int point = snprintf(half, sizeof half, "%.1f", 0.5) - 2;
    char *end;

    if (point < 1 || whole > 400) {
        *out = text[0] == '-' ? -HUGE_VAL : HUGE_VAL;
        return whole > 400;
    }
    if (rest > 900)
        rest = 900;
    int n = snprintf(copy, sizeof copy, "%.*s%.*s%.*s", (int)whole, text, point, half + 1,
                     (int)rest, text + whole + 1);
    *out = strtod(copy, &end);
    return end == copy + n;
}

bool tpb_float_parse(const char *text, size_t len, double *out)
{
    char *end;

    if (len == 0 || strspn(text, "0123456789+-.eE") != len) {
        bool negative = len > 0 && text[0] == '-';
        if (strcmp(text, "NaN") == 0)
            *out = (double)NAN;
        else if (strcmp(text + negative, "Infinity") == 0)
            *out = negative ? -HUGE_VAL : HUGE_VAL;
        else
            return false;
        return true;
    }
    *out = strtod(text, &end);
    if (end == text + len)
        return true;
    return *end == '.' && parse_localised(text, len, out);
}

bool tpb_integer_parse(const char *text, size_t len, int64_t *out)
{
    bool negative = len > 0 && text[0] == '-';
    size_t i = negative ? 1 : 0;
    uint64_t value = 0, limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);

    /* Nineteen digits always fit an unsigned 64-bit number. */
    if (len == i || len - i > 19)
        return false;
    for (; i < len; ++i) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (value > limit)
        return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}
