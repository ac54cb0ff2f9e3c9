/* numeric: decimal digits in groups of four.
 *
 * The binary form is the number of groups, the weight (the first group counts 10000^weight),
 * the sign, the number of digits behind the point as the text has them, and the groups,
 * without zeros at either end. */
#include "codec.h"
#include "codec_digits.h"

enum {
    HEADER = 8,
    POSITIVE = 0x0000,
    NEGATIVE = 0x4000,
    NOT_A_NUMBER = 0xC000,
    INFINITE = 0xD000,
    MINUS_INFINITE = 0xF000,
    MOST_WEIGHT = 0x7FFF,
    MOST_SCALE = 0x3FFF,
};

/* ----------------------------------------------------------------- writing */

/* A number in its binary form, without groups of zero at the front. */
struct number {
    const unsigned char *groups;
    int count, weight, scale;
};

static const char *special_text(uint16_t sign)
{
    return sign == NOT_A_NUMBER     ? "NaN"
           : sign == INFINITE       ? "Infinity"
           : sign == MINUS_INFINITE ? "-Infinity"
                                    : NULL;
}

static inline unsigned group_at(const struct number *number, int i)
{
    return tp__get16(number->groups + 2 * (size_t)i);
}

/* The groups from `first` to before `end` (below 0 and behind the last one they are 0). */
static char *put_groups(char *at, const struct number *number, int first, int end)
{
    for (; first < end && first < 0; first++) {
        at = tp__put_4(at, 0);
    }
    int there = end < number->count ? end : number->count;
    for (; first < there; first++) {
        at = tp__put_4(at, group_at(number, first));
    }
    for (; first < end; first++) {
        at = tp__put_4(at, 0);
    }
    return at;
}

static char *put_whole(char *at, const struct number *number)
{
    if (number->weight < 0 || number->count == 0) {
        *at = '0';
        return at + 1;
    }
    at = tp__put_number(at, group_at(number, 0));
    return put_groups(at, number, 1, number->weight + 1);
}

/* The last group may have more digits than the scale: they are written and not counted. */
static char *put_decimals(char *at, const struct number *number)
{
    if (number->scale == 0) {
        return at;
    }
    int first = number->count == 0 ? 0 : number->weight + 1;
    *at = '.';
    (void)put_groups(at + 1, number, first, first + (number->scale + 3) / 4);
    return at + 1 + number->scale;
}

static bool groups_are_valid(const struct number *number)
{
    unsigned most = 0;
    for (int i = 0; i < number->count; i++) {
        unsigned group = group_at(number, i);
        most = group > most ? group : most;
    }
    return most < 10000;
}

bool tp__numeric_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    if (len < HEADER || len != HEADER + 2 * (size_t)tp__get16(bytes)) {
        return false;
    }
    struct number number = {.groups = bytes + HEADER,
                            .count = tp__get16(bytes),
                            .weight = (int16_t)tp__get16(bytes + 2),
                            .scale = tp__get16(bytes + 6)};
    uint16_t sign = tp__get16(bytes + 4);
    const char *special = special_text(sign);
    if (special != NULL && number.count == 0) {
        tp__buf_puts(out, special);
        return true;
    }
    if ((sign != POSITIVE && sign != NEGATIVE) || number.scale > MOST_SCALE ||
        !groups_are_valid(&number)) {
        return false;
    }
    for (; number.count > 0 && group_at(&number, 0) == 0; number.count--) {
        number.groups += 2;
        number.weight--;
    }
    int whole = number.weight < 0 ? 0 : number.weight;
    /* The sign, the point, and groups of four with a part of one at either end. */
    if (!tp__buf_reserve(out, (size_t)(whole * 4 + number.scale) + 16)) {
        return true;
    }
    char *at = out->data + out->len;
    *at = '-';
    at = put_whole(at + (sign == NEGATIVE), &number);
    out->len = (size_t)(put_decimals(at, &number) - out->data);
    return true;
}

/* ----------------------------------------------------------------- reading */

/* A text taken apart: what of it are digits, and where the point belongs. */
struct decimal {
    const char *digits, *end; /* with a point among them */
    int64_t before, behind;   /* digits before and behind the point */
    int64_t exponent;
};

static bool take_special(const char *text, size_t len, uint16_t *sign)
{
    struct tp_cursor in = {text, text + len};
    if (tp__take_anycase(&in, "nan")) {
        *sign = NOT_A_NUMBER;
        return in.at == in.end;
    }
    *sign = tp__take(&in, '-') ? MINUS_INFINITE : INFINITE;
    if (*sign == INFINITE) {
        (void)tp__take(&in, '+');
    }
    return (tp__take_anycase(&in, "infinity") || tp__take_anycase(&in, "inf")) && in.at == in.end;
}

static int64_t skip_digits(struct tp_cursor *in)
{
    const char *start = in->at;
    while (tp__at_digit(in)) {
        in->at++;
    }
    return in->at - start;
}

/* An exponent of more than six digits is out of the range of all but zeros. */
static bool take_exponent(struct tp_cursor *in, int64_t *exponent)
{
    *exponent = 0;
    if (!tp__take_anycase(in, "e")) {
        return true;
    }
    bool is_negative = tp__take(in, '-');
    if (!is_negative) {
        (void)tp__take(in, '+');
    }
    if (!tp__take_number(in, 1, 6, exponent)) {
        return false;
    }
    *exponent = is_negative ? -*exponent : *exponent;
    return true;
}

static bool take_decimal(struct tp_cursor *in, struct decimal *out)
{
    out->digits = in->at;
    out->before = skip_digits(in);
    out->behind = tp__take(in, '.') ? skip_digits(in) : 0;
    out->end = in->at;
    return out->before + out->behind > 0 && take_exponent(in, &out->exponent) && in->at == in->end;
}

/* Cuts zeros off both ends; `before` then is where the first digit that is left stands,
 * and may be negative. */
static void strip(struct decimal *decimal)
{
    while (decimal->digits < decimal->end && (*decimal->digits == '0' || *decimal->digits == '.')) {
        decimal->before -= *decimal->digits++ == '0';
    }
    while (decimal->digits < decimal->end && (decimal->end[-1] == '0' || decimal->end[-1] == '.')) {
        decimal->end--;
    }
}

/* Writes the groups; `place` is the first digit's power of ten, counted from the last place
 * of some group below all of them, so that it stays positive. */
static char *put_parsed(char *at, const struct decimal *decimal, int64_t place)
{
    unsigned group = 0;
    for (const char *digit = decimal->digits; digit < decimal->end; digit++) {
        if (*digit == '.') {
            continue;
        }
        group = group * 10 + (unsigned)(*digit - '0');
        if (place-- % 4 == 0) {
            tp__put16(at, (uint16_t)group);
            at += 2;
            group = 0;
        }
    }
    if (place % 4 != 3) { /* the last group has zeros at its end */
        for (; place % 4 != 3; place--) {
            group *= 10;
        }
        tp__put16(at, (uint16_t)group);
        at += 2;
    }
    return at;
}

static void put_header(char *at, size_t count, int64_t weight, uint16_t sign, int64_t scale)
{
    tp__put16(at, (uint16_t)count);
    tp__put16(at + 2, (uint16_t)weight);
    tp__put16(at + 4, sign);
    tp__put16(at + 6, (uint16_t)scale);
}

static bool put_special(uint16_t sign, struct tp_buf *out)
{
    char header[HEADER];
    put_header(header, 0, 0, sign, sign == NOT_A_NUMBER ? 0 : 32); /* 32: of the sign's bits */
    tp__buf_append(out, header, HEADER);
    return true;
}

bool tp__numeric_parse(const char *text, size_t len, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    struct decimal decimal;
    uint16_t sign;
    if (take_special(text, len, &sign)) {
        return put_special(sign, out);
    }
    sign = tp__take(&in, '-') ? NEGATIVE : POSITIVE;
    if (sign == POSITIVE) {
        (void)tp__take(&in, '+');
    }
    if (!take_decimal(&in, &decimal)) {
        return false;
    }
    int64_t scale = decimal.behind > decimal.exponent ? decimal.behind - decimal.exponent : 0;
    strip(&decimal);
    bool is_zero = decimal.digits == decimal.end;
    /* 0xFFFF groups are more than the scale allows; rounding is towards zero, so add them. */
    int64_t place = decimal.before + decimal.exponent - 1 + INT64_C(4) * 0xFFFF;
    int64_t weight = is_zero ? 0 : place / 4 - 0xFFFF;
    if (scale > MOST_SCALE || weight > MOST_WEIGHT) {
        return false;
    }
    if (tp__buf_reserve(out, HEADER + (size_t)(decimal.end - decimal.digits) / 2 + 4)) {
        char *header = out->data + out->len, *groups = header + HEADER;
        char *end = is_zero ? groups : put_parsed(groups, &decimal, place);
        put_header(header, (size_t)(end - groups) / 2, weight, is_zero ? POSITIVE : sign, scale);
        out->len = (size_t)(end - out->data);
    }
    return true;
}
