/* Addresses: inet and cidr, macaddr and macaddr8.
 *
 * The binary form of inet and cidr: family, bits of the netmask, whether it is a cidr, the
 * count of bytes, the bytes.
 * Source: network_send, inet_out, cidr_out, macaddr_out and macaddr8_out of PostgreSQL 15. */
#include "codec.h"

#include <string.h>

#include "codec_digits.h"
#include "codec_hex.h"

enum { IPV4 = 2, IPV6 = 3 }; /* families, whatever the systems at both ends call them */

struct address {
    unsigned char bytes[16];
    unsigned len, bits;
    bool is_cidr;
};

/* A cidr has no bits right of its netmask. */
static bool is_network(const struct address *address)
{
    for (unsigned i = address->bits / 8; i < address->len; i++) {
        unsigned host = i == address->bits / 8 ? 0xFFU >> address->bits % 8 : 0xFF;
        if ((address->bytes[i] & host) != 0) {
            return false;
        }
    }
    return true;
}

/* -------------------------------------------------------- inet, cidr: text */

static char *put_ipv4(char *at, const unsigned char bytes[4])
{
    for (int i = 0; i < 4; i++) {
        if (i > 0) {
            *at++ = '.';
        }
        at = tp__put_number(at, bytes[i]);
    }
    return at;
}

/* The first of the longest runs of zero words, when it has two at least: what "::" stands
 * for. */
static int longest_gap(const unsigned char bytes[16], int *out_len)
{
    int best = 8, best_len = 1, run = 0;
    for (int i = 0; i < 8; i++) {
        run = tp__get16(bytes + (size_t)i * 2) == 0 ? run + 1 : 0;
        if (run > best_len) {
            best_len = run;
            best = i + 1 - run;
        }
    }
    *out_len = best < 8 ? best_len : 0;
    return best;
}

static char *put_word(char *at, uint16_t word)
{
    char digits[4],
        *end = tp__put_hex(tp__put_hex(digits, (unsigned char)(word >> 8)), (unsigned char)word);
    const char *first = digits;
    while (first < end - 1 && *first == '0') {
        first++;
    }
    memcpy(at, first, (size_t)(end - first));
    return at + (end - first);
}

static char *put_ipv6(char *at, const unsigned char bytes[16])
{
    int gap_len, gap = longest_gap(bytes, &gap_len);
    /* IPv4-compatible and IPv4-mapped addresses end like an IPv4 address. */
    bool dotted = gap == 0 && (gap_len == 6 || (gap_len == 5 && tp__get16(bytes + 10) == 0xFFFF));
    int words = dotted ? 6 : 8;
    for (int i = 0; i < words; i++) {
        if (i == gap) {
            *at++ = ':';
            i += gap_len - 1; /* the next word, or the end, writes the second one */
            if (gap + gap_len == 8) {
                *at++ = ':';
            }
            continue;
        }
        if (i > 0) {
            *at++ = ':';
        }
        at = put_word(at, tp__get16(bytes + (size_t)i * 2));
    }
    if (dotted) {
        *at++ = ':';
        at = put_ipv4(at, bytes + 12);
    }
    return at;
}

static bool read_address(const unsigned char *bytes, size_t len, struct address *out)
{
    if (len < 4) {
        return false;
    }
    *out = (struct address){.len = bytes[3], .bits = bytes[1], .is_cidr = bytes[2] == 1};
    if (bytes[0] != (out->len == 4 ? IPV4 : IPV6) || (out->len != 4 && out->len != 16) ||
        len != 4 + (size_t)out->len || out->bits > out->len * 8 || bytes[2] > 1) {
        return false;
    }
    memcpy(out->bytes, bytes + 4, out->len);
    return !out->is_cidr || is_network(out);
}

bool tp__inet_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    struct address address;
    if (!read_address(bytes, len, &address)) {
        return false;
    }
    if (!tp__buf_reserve(out, 64)) { /* 8 words of 4 digits, 7 colons and "/128" have 43 */
        return true;
    }
    char *start = out->data + out->len;
    char *at = (address.len == 4 ? put_ipv4 : put_ipv6)(start, address.bytes);
    if (address.is_cidr || address.bits < address.len * 8) {
        *at++ = '/';
        at = tp__put_number(at, address.bits);
    }
    out->len += (size_t)(at - start);
    return true;
}

/* ------------------------------------------------------ inet, cidr: binary */

/* A decimal number up to a limit below 1000. A zero in front is left to the server. */
static bool take_small(struct tp_cursor *in, unsigned limit, unsigned *out)
{
    int64_t value;
    const char *start = in->at;
    if (!tp__take_number(in, 1, 3, &value) || value > limit ||
        (*start == '0' && in->at > start + 1)) {
        return false;
    }
    *out = (unsigned)value;
    return true;
}

static bool take_ipv4(struct tp_cursor *in, unsigned char out[4])
{
    for (int i = 0; i < 4; i++) {
        unsigned byte;
        if ((i > 0 && !tp__take(in, '.')) || !take_small(in, 255, &byte)) {
            return false;
        }
        out[i] = (unsigned char)byte;
    }
    return true;
}

/* One to four digits. */
static bool take_word(struct tp_cursor *in, uint16_t *out)
{
    unsigned word = 0;
    const char *start = in->at;
    while (tp__at_hex(in) && in->at < start + 4) {
        word = word << 4 | tp__hex_value(*in->at++);
    }
    *out = (uint16_t)word;
    return in->at > start && !tp__at_hex(in);
}

/* Words, the last two perhaps as an IPv4 address, with at most one "::". Returns how many
 * bytes they are, or 17 when they are malformed; `gap` is where the "::" was, or 16. */
static unsigned take_words(struct tp_cursor *in, unsigned char out[16], unsigned *gap)
{
    unsigned len = 0;
    *gap = 16;
    if (tp__take_word(in, "::")) {
        *gap = 0;
        if (!tp__at_hex(in)) {
            return len;
        }
    }
    for (;;) {
        const char *start = in->at;
        uint16_t word;
        if (len > 14 || !take_word(in, &word)) {
            return 17;
        }
        if (in->at < in->end && *in->at == '.') {
            in->at = start;
            return len <= 12 && take_ipv4(in, out + len) ? len + 4 : 17;
        }
        tp__put16((char *)out + len, word);
        len += 2;
        if (tp__take_word(in, "::")) {
            if (*gap < 16 || len == 16) {
                return 17;
            }
            *gap = len;
            if (!tp__at_hex(in)) {
                return len;
            }
        } else if (!tp__take(in, ':')) {
            return len;
        }
    }
}

static bool take_ipv6(struct tp_cursor *in, unsigned char out[16])
{
    unsigned gap, len = take_words(in, out, &gap);
    if (gap == 16 || len > 14) {
        return gap == 16 && len == 16;
    }
    memmove(out + 16 - (len - gap), out + gap, len - gap);
    memset(out + gap, 0, 16 - len);
    return true;
}

static bool read_text(const char *text, size_t len, struct address *out)
{
    struct tp_cursor in = {text, text + len};
    bool is_ipv6 = len > 0 && memchr(text, ':', len) != NULL;
    out->len = is_ipv6 ? 16 : 4;
    out->bits = out->len * 8;
    if (!(is_ipv6 ? take_ipv6 : take_ipv4)(&in, out->bytes)) {
        return false;
    }
    if (tp__take(&in, '/') && !take_small(&in, out->len * 8, &out->bits)) {
        return false;
    }
    return in.at == in.end;
}

static bool parse(const char *text, size_t len, bool is_cidr, struct tp_buf *out)
{
    struct address address;
    if (!read_text(text, len, &address) || (is_cidr && !is_network(&address))) {
        return false;
    }
    const unsigned char head[4] = {address.len == 4 ? IPV4 : IPV6, (unsigned char)address.bits,
                                   is_cidr, (unsigned char)address.len};
    tp__buf_append(out, head, sizeof head);
    tp__buf_append(out, address.bytes, address.len);
    return true;
}

bool tp__inet_parse(const char *text, size_t len, struct tp_buf *out)
{
    return parse(text, len, false, out);
}

/* Abbreviations like "10.1", which the server completes, are left to it. */
bool tp__cidr_parse(const char *text, size_t len, struct tp_buf *out)
{
    return parse(text, len, true, out);
}

/* ------------------------------------------------------- macaddr, macaddr8 */

bool tp__macaddr_format(const unsigned char *bytes, size_t len, struct tp_buf *out)
{
    if (len != 6 && len != 8) {
        return false;
    }
    if (!tp__buf_reserve(out, len * 3)) {
        return true;
    }
    char *at = tp__put_hex(out->data + out->len, bytes[0]);
    for (size_t i = 1; i < len; i++) {
        *at++ = ':';
        at = tp__put_hex(at, bytes[i]);
    }
    out->len += len * 3 - 1;
    return true;
}

/* Bytes in groups of one size with one separator: 08:00:2b:01:02:03, 08-00-2b-01-02-03,
 * 08002b:010203, 0800.2b01.0203 or 08002b010203. */
static bool parse_mac(const char *text, size_t len, size_t count, struct tp_buf *out)
{
    struct tp_cursor in = {text, text + len};
    unsigned char bytes[8];
    size_t group = count, done = 0;
    char separator = 0;
    while (done < count) {
        if (!tp__take_hex(&in, &bytes[done++])) {
            return false;
        }
        bool is_more = done < count && in.at < in.end;
        if (is_more && separator == 0 && tp__hex_value(*in.at) > 15) {
            separator = *in.at;
            group = done;
        }
        if (is_more && done % group == 0 && !tp__take(&in, separator)) {
            return false;
        }
    }
    bool is_known = separator == 0 || separator == '-' || separator == (group == 2 ? '.' : ':');
    if (!is_known || count % group != 0 || in.at < in.end) {
        return false;
    }
    tp__buf_append(out, bytes, count);
    return true;
}

bool tp__macaddr_parse(const char *text, size_t len, struct tp_buf *out)
{
    return parse_mac(text, len, 6, out);
}

/* That the server makes eight bytes of six is left to it. */
bool tp__macaddr8_parse(const char *text, size_t len, struct tp_buf *out)
{
    return parse_mac(text, len, 8, out);
}
