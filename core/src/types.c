/* What is known of PostgreSQL's built-in types, and the text form of bytea. */
#include "types.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

/* ----------------------------------------------------------------- the table */

static const struct row {
    uint32_t oid;
    const char *name;
    enum tp_type_kind kind;
    uint32_t element;
    char delimiter;
} ROWS[] = {
#include "types_table.inc"
};
enum { COUNT = sizeof ROWS / sizeof ROWS[0] };

/* TEXT types whose binary form is their text. */
static const uint32_t SAME[] = {19, 25, 705, 1042, 1043, 1790, 2275, 2278};

/* Types whose binary form is made into text, or can be made from it. */
static const struct tp_codec CODECS[] = {
    {18, tp__char_format, NULL, 0},
    {28, tp__uint_format, NULL, 0},
    {29, tp__uint_format, NULL, 0},
    {600, tp__point_format, tp__point_parse, 0},
    {601, tp__lseg_format, tp__lseg_parse, 0},
    {602, tp__path_format, tp__path_parse, 0},
    {603, tp__box_format, tp__box_parse, 0},
    {604, tp__polygon_format, tp__polygon_parse, 0},
    {628, tp__line_format, tp__line_parse, 0},
    {650, tp__inet_format, tp__cidr_parse, 0},
    {718, tp__circle_format, tp__circle_parse, 0},
    {774, tp__macaddr_format, tp__macaddr8_parse, 0},
    {829, tp__macaddr_format, tp__macaddr_parse, 0},
    {869, tp__inet_format, tp__inet_parse, 0},
    {1082, tp__date_format, tp__date_parse, TP_NEEDS_ISO_DATES},
    {1083, tp__time_format, tp__time_parse, 0},
    {1114, tp__timestamp_format, tp__timestamp_parse, TP_NEEDS_ISO_DATES},
    {1184, tp__timestamptz_format, tp__timestamptz_parse, TP_NEEDS_ISO_DATES | TP_NEEDS_UTC},
    {1186, tp__interval_format, tp__interval_parse, TP_NEEDS_ISO_INTERVALS},
    {1266, tp__timetz_format, tp__timetz_parse, 0},
    {1560, tp__bit_format, tp__bit_parse, 0},
    {1562, tp__bit_format, tp__bit_parse, 0},
    {1700, tp__numeric_format, tp__numeric_parse, 0},
    {2950, tp__uuid_format, tp__uuid_parse, 0},
    {3614, tp__tsvector_format, NULL, 0},
    {5069, tp__uint_format, NULL, 0},
};

/* --------------------------------------------------------------- the types */

static struct tp_type types[COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int compare_row(const void *oid, const void *row)
{
    uint32_t a = *(const uint32_t *)oid;
    uint32_t b = ((const struct row *)row)->oid;
    return (a > b) - (a < b);
}

static struct tp_type *find(uint32_t oid)
{
    const struct row *row = bsearch(&oid, ROWS, COUNT, sizeof ROWS[0], compare_row);
    return row != NULL ? &types[row - ROWS] : NULL;
}

static const struct tp_codec *codec_of(uint32_t oid)
{
    for (size_t i = 0; i < sizeof CODECS / sizeof CODECS[0]; i++) {
        if (CODECS[i].oid == oid) {
            return &CODECS[i];
        }
    }
    return NULL;
}

static bool is_its_text(uint32_t oid)
{
    for (size_t i = 0; i < sizeof SAME / sizeof SAME[0]; i++) {
        if (SAME[i] == oid) {
            return true;
        }
    }
    return false;
}

void tp__type_judge(struct tp_type *type)
{
    int depth = 0; /* a type may be said to be in itself, see catalog.c */
    type->needs = type->codec != NULL ? type->codec->needs : 0;
    switch (type->kind) {
    case TP_KIND_TEXT:
        type->binary = type->codec != NULL || is_its_text(type->oid);
        break;
    case TP_KIND_ARRAY:
    case TP_KIND_RANGE:
    case TP_KIND_MULTIRANGE:
        type->binary = type->element->binary;
        type->needs |= type->element->needs;
        depth = type->element->depth + 1;
        break;
    case TP_KIND_COMPOSITE:
        type->binary = true;
        for (int i = 0; i < type->nfields; i++) {
            type->binary = type->binary && type->fields[i].type->binary;
            type->needs |= type->fields[i].type->needs;
            if (depth <= type->fields[i].type->depth) {
                depth = type->fields[i].type->depth + 1;
            }
        }
        break;
    default:
        type->binary = true;
    }
    type->depth = depth;
}

/* An element's row can stand behind that of its array, so arrays come last; a range
 * needs its subtype, a multirange its range, and both can be elements. */
static void judge_all(void)
{
    for (int depth = 0; depth < 4; depth++) {
        for (int i = 0; i < COUNT; i++) {
            tp__type_judge(&types[i]);
        }
    }
}

static void make_types(void)
{
    for (int i = 0; i < COUNT; i++) {
        types[i] = (struct tp_type){
            .oid = ROWS[i].oid,
            .base = ROWS[i].oid,
            .name = ROWS[i].name,
            .kind = ROWS[i].kind,
            .delimiter = ROWS[i].delimiter,
            .element = ROWS[i].element != 0 ? find(ROWS[i].element) : NULL,
            .codec = codec_of(ROWS[i].oid),
        };
    }
    judge_all();
}

const struct tp_type *tp_type_builtin(uint32_t oid)
{
    pthread_once(&once, make_types);
    return find(oid);
}

const struct tp_type *tp__type_builtin_at(size_t i)
{
    pthread_once(&once, make_types);
    return i < COUNT ? &types[i] : NULL;
}

/* -------------------------------------------------------------------- bytea */

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
