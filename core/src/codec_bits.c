/* Bit strings, uuid and tsvector.
 *
 * Source: bit_send, varbit_send, uuid_send and tsvectorsend of PostgreSQL 15. */
#include "codec.h"

#include <string.h>

#include "codec_digits.h"
#include "codec_hex.h"

/* ------------------------------------------------------------- bit, varbit */

/* A count of bits, and the bits from the highest of each byte on. */
bool tp__bit_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    static const char nibbles[] =
        "0000000100100011010001010110011110001001101010111100110111101111";
    uint32_t count = len < 4 ? UINT32_MAX : tp__get32(bytes);
    size_t bytes_of_bits = ((size_t)count + 7) / 8;
    if (count > INT32_MAX || bytes_of_bits != len - 4) {
        return false;
    }
    if (bytes_of_bits == 0 || !tp__buf_reserve(out, bytes_of_bits * 8)) {
        return true;
    }
    char *at = out->data + out->len;
    for (size_t i = 0; i < bytes_of_bits; i++, at += 8) {
        memcpy(at, nibbles + (size_t)(bytes[4 + i] >> 4) * 4, 4);
        memcpy(at + 4, nibbles + (size_t)(bytes[4 + i] & 15) * 4, 4);
    }
    out->len += count;
    return true;
}

bool tp__bit_parse(const char *text, size_t len, struct tp_buf *out)
{
    size_t bytes_of_bits = (len + 7) / 8;
    if (len > INT32_MAX - 8) { /* the most that the server takes */
        return false;
    }
    if (!tp__buf_reserve(out, 4 + bytes_of_bits)) {
        return true;
    }
    char *at = out->data + out->len;
    tp__put32(at, (uint32_t)len);
    memset(at + 4, 0, bytes_of_bits);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '1') {
            at[4 + i / 8] = (char)(at[4 + i / 8] | 0x80 >> i % 8);
        } else if (text[i] != '0') {
            return false;
        }
    }
    out->len += 4 + bytes_of_bits;
    return true;
}

/* -------------------------------------------------------------------- uuid */

bool tp__uuid_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    if (len != 16) {
        return false;
    }
    if (!tp__buf_reserve(out, 36)) {
        return true;
    }
    char *at = out->data + out->len;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *at++ = '-';
        }
        at = tp__put_hex(at, bytes[i]);
    }
    out->len += 36;
    return true;
}

/* As uuid_in: in braces or not, with a hyphen or none after any four digits but the last. */
bool tp__uuid_parse(const char *text, size_t len, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    unsigned char bytes[16];
    bool braces = tp__take(&in, '{');
    for (int i = 0; i < 16; i++) {
        if (!tp__take_hex(&in, &bytes[i])) {
            return false;
        }
        if (i % 2 == 1 && i < 15) {
            (void)tp__take(&in, '-');
        }
    }
    if ((braces && !tp__take(&in, '}')) || in.at < in.end) {
        return false;
    }
    tp__buf_append(out, bytes, sizeof bytes);
    return true;
}

/* ---------------------------------------------------------------- tsvector */

/* Quotes and backslashes are doubled. The bytes are in the client's encoding, UTF-8, where
 * no part of another character looks like one of them. */
static void put_lexeme(struct tp_buf *out, const char *lexeme, size_t len)
{
    tp__buf_putc(out, '\'');
    while (len > 0) {
        size_t plain = 0;
        while (plain < len && lexeme[plain] != '\'' && lexeme[plain] != '\\') {
            plain++;
        }
        size_t with_special = plain + (plain < len);
        tp__buf_append(out, lexeme, with_special);
        if (plain < len) {
            tp__buf_putc(out, lexeme[plain]);
        }
        lexeme += with_special;
        len -= with_special;
    }
    tp__buf_putc(out, '\'');
}

/* Places in the document, with the weight in the two highest bits; D, the lowest, is not
 * written. */
static void put_positions(struct tp_buf *out, const unsigned char *bytes, size_t count)
{
    if (!tp__buf_reserve(out, count * 7)) { /* ",16383A" */
        return;
    }
    char *start = out->data + out->len, *at = start;
    for (size_t i = 0; i < count; i++) {
        uint16_t position = tp__get16(bytes + i * 2);
        *at++ = i == 0 ? ':' : ',';
        at = tp__put_number(at, position & 0x3FFF);
        if (position >> 14 != 0) {
            *at++ = "DCBA"[position >> 14];
        }
    }
    out->len += (size_t)(at - start);
}

/* One lexeme: its text up to a NUL, how many positions, and these. Returns its length in
 * bytes, or 0 when it is cut off. */
static size_t put_entry(struct tp_buf *out, const unsigned char *bytes, size_t len)
{
    const unsigned char *nul = memchr(bytes, '\0', len);
    size_t text_len = nul == NULL ? len : (size_t)(nul - bytes);
    if (len - text_len < 3) {
        return 0;
    }
    size_t count = tp__get16(nul + 1), head = text_len + 3;
    if ((len - head) / 2 < count) {
        return 0;
    }
    put_lexeme(out, (const char *)bytes, text_len);
    put_positions(out, nul + 3, count);
    return head + count * 2;
}

bool tp__tsvector_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    if (len < 4) {
        return false;
    }
    size_t at = 4;
    for (uint32_t left = tp__get32(bytes), first = left; left > 0; left--) {
        if (left < first) {
            tp__buf_putc(out, ' ');
        }
        size_t taken = put_entry(out, bytes + at, len - at);
        if (taken == 0) {
            return false;
        }
        at += taken;
    }
    return at == len;
}
