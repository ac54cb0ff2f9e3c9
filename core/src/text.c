/* UTF-8 and quoting. */
#include "text.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "tidepool.h"

/* Well-formed sequences by their lead byte; bytes after the second are always
 * 80..BF. The narrower ranges of the second byte keep out overlong forms (E0,
 * F0), surrogates (ED) and what lies past U+10FFFF (F4).
 * Source: RFC 3629, section 4. */
static const struct sequence {
    unsigned char lead_low, lead_high, length, second_low, second_high;
} SEQUENCES[] = {
    {0xC2, 0xDF, 2, 0x80, 0xBF}, {0xE0, 0xE0, 3, 0xA0, 0xBF}, {0xE1, 0xEC, 3, 0x80, 0xBF},
    {0xED, 0xED, 3, 0x80, 0x9F}, {0xEE, 0xEF, 3, 0x80, 0xBF}, {0xF0, 0xF0, 4, 0x90, 0xBF},
    {0xF1, 0xF3, 4, 0x80, 0xBF}, {0xF4, 0xF4, 4, 0x80, 0x8F},
};

static const struct sequence *find_sequence(unsigned char lead)
{
    for (size_t i = 0; i < sizeof SEQUENCES / sizeof SEQUENCES[0]; i++) {
        if (lead >= SEQUENCES[i].lead_low && lead <= SEQUENCES[i].lead_high) {
            return &SEQUENCES[i];
        }
    }
    return NULL;
}

size_t tp__utf8_length(const char *text, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)text;
    if (len == 0) {
        return 0;
    }
    if (bytes[0] < 0x80) {
        return 1;
    }
    const struct sequence *sequence = find_sequence(bytes[0]);
    if (sequence == NULL || sequence->length > len || bytes[1] < sequence->second_low ||
        bytes[1] > sequence->second_high) {
        return 0;
    }
    for (size_t i = 2; i < sequence->length; i++) {
        if ((bytes[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return sequence->length;
}

/* How many bytes at the start are ASCII, counted in blocks of eight: most text
 * is nothing else, and a block costs one load and one test. */
static size_t ascii_blocks(const char *text, size_t len)
{
    size_t done = 0;
    uint64_t block;
    while (len - done >= sizeof block) {
        memcpy(&block, text + done, sizeof block);
        if ((block & UINT64_C(0x8080808080808080)) != 0) {
            break;
        }
        done += sizeof block;
    }
    return done;
}

bool tp_utf8_valid(const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        at += ascii_blocks(text + at, len - at);
        /* Finish the block that stopped the fast path before trying it again. */
        for (size_t end = at + sizeof(uint64_t); at < end && at < len;) {
            size_t step = tp__utf8_length(text + at, len - at);
            if (step == 0) {
                return false;
            }
            at += step;
        }
    }
    return true;
}

/* Writes one byte if there is room; the final NUL takes the last place anyway. */
static size_t put(char *out, size_t room, size_t at, char c)
{
    if (at < room) {
        out[at] = c;
    }
    return at + 1;
}

/* Twice the length, and the quotes, fit a long. */
static bool can_be_quoted(const char *text, size_t len)
{
    return len <= LONG_MAX / 2 - 4 && memchr(text, '\0', len) == NULL && tp_utf8_valid(text, len);
}

/* Behind what was put already: the text between quotes, with each quote and each `also` in it
 * doubled. */
static long put_quoted(const char *text, size_t len, char quote, char also, char *out, size_t room,
                       size_t at)
{
    at = put(out, room, at, quote);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == quote || text[i] == also) {
            at = put(out, room, at, text[i]);
        }
        at = put(out, room, at, text[i]);
    }
    at = put(out, room, at, quote);
    if (room > 0) {
        out[at < room ? at : room - 1] = '\0';
    }
    return (long)at;
}

long tp_quote_identifier(const char *text, size_t len, char *out, size_t room)
{
    if (len == 0 || !can_be_quoted(text, len)) {
        return -1;
    }
    return put_quoted(text, len, '"', '"', out, room, 0);
}

/* A backslash means itself or not, depending on the session's standard_conforming_strings; only
 * in E'' it always means the same. The blank keeps the E apart from a word before it. */
long tp_quote_literal(const char *text, size_t len, char *out, size_t room)
{
    if (!can_be_quoted(text, len)) {
        return -1;
    }
    size_t at = 0;
    bool escapes = memchr(text, '\\', len) != NULL;
    if (escapes) {
        at = put(out, room, at, ' ');
        at = put(out, room, at, 'E');
    }
    return put_quoted(text, len, '\'', escapes ? '\\' : '\'', out, room, at);
}
