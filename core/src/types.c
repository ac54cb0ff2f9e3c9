/* What is known of PostgreSQL's built-in types, and the text form of bytea. */
#include <limits.h>
#include <stdlib.h>

#include "tidepool.h"

static const struct tp_type_info TYPES[] = {
#include "types_table.inc"
};

static int compare_oid(const void *oid, const void *row)
{
    uint32_t a = *(const uint32_t *)oid;
    uint32_t b = ((const struct tp_type_info *)row)->oid;
    return (a > b) - (a < b);
}

void tp_type_lookup(uint32_t oid, struct tp_type_info *out)
{
    const struct tp_type_info *found =
        bsearch(&oid, TYPES, sizeof TYPES / sizeof TYPES[0], sizeof TYPES[0], compare_oid);
    if (found != NULL) {
        *out = *found;
        return;
    }
    *out = (struct tp_type_info){.oid = oid, .name = "", .kind = TP_KIND_TEXT, .delimiter = ','};
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20); /* to lower case; makes no digit of anything else */
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Pairs of digits; white space between pairs is allowed. Source: PostgreSQL
 * manual 8.4.1. */
static long decode_hex(const char *text, size_t len, unsigned char *out)
{
    long written = 0;
    for (size_t at = 0; at < len;) {
        if (is_space(text[at])) {
            at++;
            continue;
        }
        int high = hex_digit(text[at]);
        int low = at + 1 < len ? hex_digit(text[at + 1]) : -1;
        if (high < 0 || low < 0) {
            return -1;
        }
        out[written++] = (unsigned char)(high << 4 | low);
        at += 2;
    }
    return written;
}

/* The byte that three octal digits stand for, or -1. */
static int octal_byte(const char *digits, size_t len)
{
    if (len < 3 || digits[0] < '0' || digits[0] > '3' || digits[1] < '0' || digits[1] > '7' ||
        digits[2] < '0' || digits[2] > '7') {
        return -1;
    }
    return (digits[0] - '0') << 6 | (digits[1] - '0') << 3 | (digits[2] - '0');
}

/* Bytes as they are, "\\" for a backslash and "\ooo" for any byte. Source:
 * PostgreSQL manual 8.4.2. */
static long decode_escape(const char *text, size_t len, unsigned char *out)
{
    long written = 0;
    for (size_t at = 0; at < len;) {
        if (text[at] != '\\') {
            out[written++] = (unsigned char)text[at++];
        } else if (at + 1 < len && text[at + 1] == '\\') {
            out[written++] = '\\';
            at += 2;
        } else {
            int byte = octal_byte(text + at + 1, len - at - 1);
            if (byte < 0) {
                return -1;
            }
            out[written++] = (unsigned char)byte;
            at += 4;
        }
    }
    return written;
}

long tp_bytea_decode(const char *text, size_t len, unsigned char *out)
{
    if (len > LONG_MAX) {
        return -1;
    }
    if (len >= 2 && text[0] == '\\' && text[1] == 'x') {
        return decode_hex(text + 2, len - 2, out);
    }
    return decode_escape(text, len, out);
}
