/* The binary forms of types that Lua sees as text.
 *
 * A codec turns what a type's send function writes into exactly the text that its output
 * function writes (under DateStyle ISO, IntervalStyle postgres and TimeZone UTC), and
 * text into what its receive function reads. Each file codec_*.c holds one family.
 * Owns: nothing; the bytes are borrowed for the call.
 * Returns: false for bytes that no server sends; for text that the codec does not
 * understand, though the server may (such a value is sent as text then). On false the
 * buffer may have been appended to; the caller cuts it back.
 * Errors: none but that; a buffer out of memory has `failed` set. Thread: any.
 * Source: the *_send, *_recv, *_out and *_in functions of PostgreSQL 15. */
#ifndef TP_CODEC_H
#define TP_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "tidepool.h"

/* Appends the text of a value. No NUL is put behind it. */
typedef bool tp_format_fn(const unsigned char *bytes, size_t len, struct tp_buf *out);
/* Appends the binary form of a text. */
typedef bool tp_parse_fn(const char *text, size_t len, struct tp_buf *out);

/* Session settings on which a type's text depends: it equals the binary form's only
 * when the session has these. */
enum tp_codec_needs {
    TP_NEEDS_ISO_DATES = 1,     /* DateStyle ISO */
    TP_NEEDS_UTC = 2,           /* TimeZone UTC */
    TP_NEEDS_ISO_INTERVALS = 4, /* IntervalStyle postgres */
};

/* codec_numeric.c */
tp_format_fn tp__numeric_format;
tp_parse_fn tp__numeric_parse;

/* codec_time.c; timestamps and dates also when they are BC or infinite */
tp_format_fn tp__date_format, tp__time_format, tp__timetz_format;
tp_format_fn tp__timestamp_format, tp__timestamptz_format, tp__interval_format;
tp_parse_fn tp__date_parse, tp__time_parse, tp__timetz_parse;
tp_parse_fn tp__timestamp_parse, tp__timestamptz_parse, tp__interval_parse;

/* codec_net.c */
tp_format_fn tp__inet_format, tp__macaddr_format; /* inet and cidr; macaddr and macaddr8 */
tp_parse_fn tp__inet_parse, tp__cidr_parse, tp__macaddr_parse, tp__macaddr8_parse;

/* codec_bits.c: bit strings, uuid and tsvector */
tp_format_fn tp__bit_format, tp__uuid_format, tp__tsvector_format;
tp_parse_fn tp__bit_parse, tp__uuid_parse;

/* codec_geometry.c */
tp_format_fn tp__point_format, tp__line_format, tp__lseg_format, tp__box_format;
tp_format_fn tp__path_format, tp__polygon_format, tp__circle_format;
tp_parse_fn tp__point_parse, tp__line_parse, tp__lseg_parse, tp__box_parse;
tp_parse_fn tp__path_parse, tp__polygon_parse, tp__circle_parse;

/* codec_plain.c: "char"; xid, cid and xid8; types whose binary form is their text */
tp_format_fn tp__char_format, tp__uint_format, tp__same_format;
tp_parse_fn tp__same_parse;
/* The text of a value of any type that is shown as text: TEXT, NUMERIC, RANGE, MULTIRANGE,
 * and the numbers and booleans that a range can be of. */
bool tp__type_format(const struct tp_type *type, const unsigned char *bytes, size_t len,
                     struct tp_buf *out);

/* codec_float.c: the shortest digits that read back as the same number, written as
 * float4out and float8out write them. Returns the length; needs room for 32 bytes. */
size_t tp__float8_text(double value, char *out);
size_t tp__float4_text(float value, char *out);

/* Big-endian integers. */
static inline uint16_t tp__get16(const unsigned char *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}
static inline uint32_t tp__get32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
static inline uint64_t tp__get64(const unsigned char *at)
{
    return (uint64_t)tp__get32(at) << 32 | tp__get32(at + 4);
}
static inline void tp__put16(char *at, uint16_t value)
{
    at[0] = (char)(value >> 8);
    at[1] = (char)value;
}
static inline void tp__put32(char *at, uint32_t value)
{
    tp__put16(at, (uint16_t)(value >> 16));
    tp__put16(at + 2, (uint16_t)value);
}
static inline void tp__put64(char *at, uint64_t value)
{
    tp__put32(at, (uint32_t)(value >> 32));
    tp__put32(at + 4, (uint32_t)value);
}

#endif
