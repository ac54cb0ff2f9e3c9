/* Small codecs, ranges, and the one door to all of them: the text of any value. */
#include <string.h>

#include "codec.h"
#include "types.h"

enum { OID_OID = 26 };

static void put_integer(struct tp_buf *out, uint64_t magnitude, bool negative)
{
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude > 0);
    if (negative)
        digits[--at] = '-';
    tp__buf_append(out, digits + at, sizeof digits - at);
}

/* xid, cid: 32 bits; xid8: 64. */
bool tp__uint_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    if (len != 4 && len != 8)
        return false;
    put_integer(out, len == 4 ? tp__get32(bytes) : tp__get64(bytes), false);
    return true;
}

/* One byte; 0 is the empty text, and what is no ASCII is written in octal digits. */
bool tp__char_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    if (len != 1)
        return false;
    if (bytes[0] >= 128)
        tp__buf_printf(out, "\\%03o", bytes[0]);
    else if (bytes[0] != 0)
        tp__buf_putc(out, (char)bytes[0]);
    return true;
}

bool tp__same_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    tp__buf_append(out, bytes, len);
    return true;
}

bool tp__same_parse(const char *text, size_t len, struct tp_buf *out)
{
    tp__buf_append(out, text, len);
    return true;
}

static bool format_signed(const struct tp_type *type, const unsigned char *bytes, size_t len,
                          struct tp_buf *out)
{
    int64_t value;
    if (len == 8)
        value = (int64_t)tp__get64(bytes);
    else if (len == 4)
        value = type->base == OID_OID ? (int64_t)tp__get32(bytes) : (int32_t)tp__get32(bytes);
    else if (len == 2)
        value = (int16_t)tp__get16(bytes);
    else
        return false;
    put_integer(out, value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0);
    return true;
}

static bool format_float(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    char text[32];
    size_t used;
    if (len == 8) {
        uint64_t bits = tp__get64(bytes);
        double value;
        memcpy(&value, &bits, sizeof value);
        used = tp__float8_text(value, text);
    } else if (len == 4) {
        uint32_t bits = tp__get32(bytes);
        float value;
        memcpy(&value, &bits, sizeof value);
        used = tp__float4_text(value, text);
    } else {
        return false;
    }
    tp__buf_append(out, text, used);
    return true;
}

/* ------------------------------------------------------------------- ranges */

/* Flags of range_send. Source: utils/rangetypes.h. */
enum { IS_EMPTY = 1, LOWER_IN = 2, UPPER_IN = 4, NO_LOWER = 8, NO_UPPER = 16 };

static bool wants_quotes(const char *text, size_t len)
{
    static const char special[] = "\"\\()[], \t\n\r\v\f";
    for (size_t i = 0; i < len; i++) {
        if (strchr(special, text[i]) != NULL)
            return true;
    }
    return len == 0;
}

/* The bound's text stands at the end of `out` from `start` on; it is quoted in place. */
static void quote_bound(struct tp_buf *out, size_t start)
{
    size_t len = out->len - start, more = 2;
    if (out->failed || !wants_quotes(out->data + start, len))
        return;
    for (size_t i = start; i < out->len; i++)
        more += out->data[i] == '"' || out->data[i] == '\\';
    if (!tp__buf_reserve(out, more))
        return;
    char *from = out->data + out->len, *to = from + more;
    out->len += more;
    *--to = '"';
    while (from > out->data + start) {
        *--to = *--from;
        if (*from == '"' || *from == '\\')
            *--to = *from;
    }
    *--to = '"';
}

/* Takes a length and as many bytes from *bytes. */
static bool take_part(const unsigned char **bytes, size_t *len, const unsigned char **part,
                      size_t *part_len)
{
    if (*len < 4)
        return false;
    uint32_t size = tp__get32(*bytes);
    if (size > *len - 4)
        return false;
    *part = *bytes + 4;
    *part_len = size;
    *bytes += 4 + size;
    *len -= 4 + size;
    return true;
}

static bool format_bound(const struct tp_type *subtype, const unsigned char **bytes, size_t *len,
                         struct tp_buf *out)
{
    const unsigned char *part;
    size_t part_len, start = out->len;
    if (!take_part(bytes, len, &part, &part_len) || !tp__type_format(subtype, part, part_len, out))
        return false;
    quote_bound(out, start);
    return true;
}

static bool format_range(const struct tp_type *subtype, const unsigned char *bytes, size_t len,
                         struct tp_buf *out)
{
    if (len == 0)
        return false;
    unsigned flags = *bytes++;
    len--;
    if ((flags & IS_EMPTY) != 0) {
        tp__buf_puts(out, "empty");
        return len == 0;
    }
    tp__buf_putc(out, (flags & LOWER_IN) != 0 ? '[' : '(');
    if ((flags & NO_LOWER) == 0 && !format_bound(subtype, &bytes, &len, out))
        return false;
    tp__buf_putc(out, ',');
    if ((flags & NO_UPPER) == 0 && !format_bound(subtype, &bytes, &len, out))
        return false;
    tp__buf_putc(out, (flags & UPPER_IN) != 0 ? ']' : ')');
    return len == 0;
}

static bool format_multirange(const struct tp_type *range, const unsigned char *bytes, size_t len,
                              struct tp_buf *out)
{
    const unsigned char *part;
    size_t part_len;
    if (len < 4)
        return false;
    uint32_t count = tp__get32(bytes);
    bytes += 4;
    len -= 4;
    tp__buf_putc(out, '{');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            tp__buf_putc(out, ',');
        if (!take_part(&bytes, &len, &part, &part_len) ||
            !format_range(range->element, part, part_len, out))
            return false;
    }
    tp__buf_putc(out, '}');
    return len == 0;
}

/* ---------------------------------------------------------------- the door */

bool tp__type_format(const struct tp_type *type, const unsigned char *bytes, size_t len,
                     struct tp_buf *out)
{
    switch (type->kind) {
    case TP_KIND_INT:
        return format_signed(type, bytes, len, out);
    case TP_KIND_FLOAT:
        return format_float(bytes, len, out);
    case TP_KIND_BOOL:
        tp__buf_putc(out, len == 1 && bytes[0] != 0 ? 't' : 'f');
        return len == 1;
    case TP_KIND_RANGE:
        return format_range(type->element, bytes, len, out);
    case TP_KIND_MULTIRANGE:
        return format_multirange(type->element, bytes, len, out);
    case TP_KIND_TEXT:
    case TP_KIND_NUMERIC:
        if (type->codec != NULL)
            return type->codec->format(bytes, len, out);
        tp__buf_append(out, bytes, len);
        return true;
    default:
        return false;
    }
}
