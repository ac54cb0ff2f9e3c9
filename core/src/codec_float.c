/* The text of floating-point numbers: the shortest digits that read back as the number.
 *
 * All decimals between the two midpoints to the neighbouring numbers read back as it. Of
 * the decimals strictly between them the server writes one with the fewest digits, of
 * these the closest, and of two that are equally close the one that ends in an even digit.
 * (A midpoint itself may read back too, and be shorter: 1e23 does. It is not written.)
 *
 * The three bounds are scaled by a power of ten, so that one of the integers between them,
 * or one of their multiples of ten, is the answer. The power is rounded to 128 bits; the
 * scaled value is cut to an integer whose last bit is set when there was a remainder, and
 * then compares with any even integer as the exact value does. That the rounded power
 * never makes another integer or hides a remainder was proved for all exponents by the
 * best approximations of 2^q / 10^k. The only exception, 8887055249355788 * 2^664, is
 * 3/4 above an integer and not compared with anything that near.
 * Method: R. Giulietti, "The Schubfach way to render doubles"; limits of plain notation:
 * PostgreSQL's float8out and float4out with extra_float_digits 1. */
#include "codec.h"

#include <assert.h>
#include <string.h>

#include "codec_digits.h"

enum { LEAST_POWER = -292, GREATEST_POWER = 324 };

static const uint64_t powers[][2] = {
#include "codec_float_powers.inc"
};
static_assert(sizeof powers / sizeof powers[0] == GREATEST_POWER - LEAST_POWER + 1,
              "one entry for each power");

/* c * 2^q. */
struct binary {
    uint64_t c;
    int q;
    bool lopsided; /* a power of two: the number below is half as far as the one above */
};

/* digits * 10^exponent. */
struct decimal {
    uint64_t digits;
    int exponent;
};

/* What differs between the two types. */
struct kind {
    int fraction_bits, exponent_bits;
    int plain_below;        /* numbers from 10^this are written with an exponent */
    uint64_t plain_integer; /* 10^plain_below */
};
static const struct kind float8 = {52, 11, 15, UINT64_C(1000000000000000)};
static const struct kind float4 = {23, 8, 6, 1000000};

/* ------------------------------------------------------------------ digits */

/* The high half of a product of 128 bits, and its low half. */
static inline uint64_t multiply(uint64_t a, uint64_t b, uint64_t *low)
{
#ifdef __SIZEOF_INT128__
    unsigned __int128 product = (unsigned __int128)a * b;
    *low = (uint64_t)product;
    return (uint64_t)(product >> 64);
#else
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
    uint64_t other = a0 * b1 + (uint32_t)middle;
    *low = a * b;
    return a1 * b1 + (middle >> 32) + (other >> 32);
#endif
}

/* The first 64 of the 192 bits of value * power; odd when there is something behind them. */
static inline uint64_t scale(uint64_t value, const uint64_t power[2])
{
    uint64_t rest, ignored;
    uint64_t whole = multiply(value, power[0], &rest);
    uint64_t carry = multiply(value, power[1], &ignored);
    rest += carry;
    whole += rest < carry;
    return whole | (rest != 0);
}

/* The logarithms are floors, right for all exponents that occur; integers of one below
 * zero are shifted as every compiler for two's complement does. */
static struct decimal shortest(struct binary number)
{
    /* 10^k is at most the distance of the midpoints, and 10^(k+1) is more. */
    int k = (number.q * 1262611 - (number.lopsided ? 524031 : 0)) >> 22;
    int shift = number.q + ((-k * 1741647) >> 19) + 1; /* 1 to 4 */
    const uint64_t *power = powers[-k - LEAST_POWER];
    /* In quarters of 10^k. */
    uint64_t exact = scale(4 * number.c << shift, power);
    uint64_t low = scale((4 * number.c - (number.lopsided ? 1 : 2)) << shift, power);
    uint64_t high = scale((4 * number.c + 2) << shift, power);

    uint64_t tens = exact / 40; /* at most one multiple of 10^(k+1) lies between */
    bool below = low < tens * 40, above = (tens + 1) * 40 < high;
    if (below != above) {
        return (struct decimal){tens + above, k + 1};
    }
    uint64_t ones = exact / 4;
    below = low < ones * 4;
    above = (ones + 1) * 4 < high;
    if (below && above) {
        uint64_t middle = ones * 4 + 2;
        above = exact > middle || (exact == middle && ones % 2 == 1);
    }
    return (struct decimal){ones + above, k};
}

/* -------------------------------------------------------------------- text */

static char *put_zeros(char *at, int count)
{
    memset(at, '0', (size_t)count);
    return at + count;
}

static char *put_digits(char *at, const char *digits, int count)
{
    memcpy(at, digits, (size_t)count);
    return at + count;
}

/* `point` is where the decimal point is among the digits; -3 to 15. */
static char *put_plain(char *at, const char *digits, int count, int point)
{
    if (point <= 0) {
        at = put_digits(at, "0.", 2);
        return put_digits(put_zeros(at, -point), digits, count);
    }
    if (point >= count) {
        return put_zeros(put_digits(at, digits, count), point - count);
    }
    at = put_digits(at, digits, point);
    *at++ = '.';
    return put_digits(at, digits + point, count - point);
}

static char *put_scientific(char *at, const char *digits, int count, int exponent)
{
    *at++ = digits[0];
    if (count > 1) {
        *at++ = '.';
        at = put_digits(at, digits + 1, count - 1);
    }
    *at++ = 'e';
    *at++ = exponent < 0 ? '-' : '+';
    unsigned absolute = (unsigned)(exponent < 0 ? -exponent : exponent);
    return absolute < 100 ? tp__put_2(at, absolute) : tp__put_number(at, absolute);
}

static char *put_decimal(char *at, struct decimal decimal, const struct kind *kind)
{
    char digits[20];
    int count = (int)(tp__put_number(digits, decimal.digits) - digits);
    int point = count + decimal.exponent;
    while (count > 1 && digits[count - 1] == '0') {
        count--;
    }
    if (point < -3 || point > kind->plain_below) {
        return put_scientific(at, digits, count, point - 1);
    }
    return put_plain(at, digits, count, point);
}

/* The number in an integer, or 0 when it is none that is written plainly. */
static uint64_t plain_integer(struct binary number, const struct kind *kind)
{
    if (number.q > 0 || number.q < -kind->fraction_bits) {
        return 0;
    }
    uint64_t integer = number.c >> -number.q;
    bool is_whole = integer << -number.q == number.c;
    return is_whole && integer < kind->plain_integer ? integer : 0;
}

/* A number from its bits without the sign. */
static char *put_number(char *at, uint64_t bits, const struct kind *kind)
{
    int special = (1 << kind->exponent_bits) - 1, exponent = (int)(bits >> kind->fraction_bits);
    uint64_t implied = UINT64_C(1) << kind->fraction_bits, fraction = bits & (implied - 1);
    if (exponent == special) {
        return put_digits(at, "Infinity", 8);
    }
    if (bits == 0) {
        return put_zeros(at, 1);
    }
    int bias = special / 2 + kind->fraction_bits;
    struct binary number = {fraction, 1 - bias, false};
    if (exponent != 0) {
        number.c |= implied;
        number.q = exponent - bias;
        number.lopsided = fraction == 0 && exponent > 1;
    }
    uint64_t integer = plain_integer(number, kind);
    return integer != 0 ? tp__put_number(at, integer) : put_decimal(at, shortest(number), kind);
}

static size_t put_text(char *out, bool negative, uint64_t bits, const struct kind *kind)
{
    uint64_t infinity = ((UINT64_C(1) << kind->exponent_bits) - 1) << kind->fraction_bits;
    if (bits > infinity) {
        memcpy(out, "NaN", 3); /* has no sign in text */
        return 3;
    }
    out[0] = '-';
    return (size_t)(put_number(out + negative, bits, kind) - out);
}

size_t tp__float8_text(double value, char *out)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put_text(out, bits >> 63 != 0, bits & INT64_MAX, &float8);
}

size_t tp__float4_text(float value, char *out)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return put_text(out, bits >> 31 != 0, bits & INT32_MAX, &float4);
}
