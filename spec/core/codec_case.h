/* Cases of codecs (codec.h), and codecs beside the throwaway server's own functions. */
#ifndef CODEC_CASE_H
#define CODEC_CASE_H

#include <libpq-fe.h>

#include "codec.h"
#include "live_server.h"

struct codec {
    const char *type; /* in SQL */
    uint32_t oid;
    tp_format_fn *format;
    tp_parse_fn *parse;
};

/* The bytes are written as `text`; NULL: they are refused. */
void codec_writes(const struct codec *codec, const void *bytes, size_t len, const char *text);
/* The text is read as these bytes. */
void codec_reads(const struct codec *codec, const char *text, const void *bytes, size_t len);
void codec_refuses(const struct codec *codec, const char *text);
/* Reads the text and writes it again, as `again`. */
void codec_rewrites(const struct codec *codec, const char *text, const char *again);
/* Nothing is done with a buffer that is out of memory. */
void codec_leaves_a_failed_buffer_alone(const struct codec *codec, const void *bytes, size_t len,
                                        const char *text);

/* A seed for random numbers, which it prints: from the environment (TIDEPOOL_SEED) or the
 * clock. */
uint64_t codec_seed(void);
/* An even draw from low to high. */
int64_t codec_draw(uint64_t *seed, int64_t low, int64_t high);

/* A connection; the test skips itself when there is no server. */
PGconn *codec_connect(void);
void codec_do(PGconn *conn, const char *sql);

/* Appends a random value. */
typedef void codec_generator(uint64_t *seed, struct tp_buf *out);
/* Sends random values in their binary form: what comes back in that form is written as
 * the text that comes back, and the text is read as that form. */
void codec_compare(PGconn *conn, const struct codec *codec, uint64_t *seed, codec_generator *value);
/* Whatever of these texts is read at all, the server reads as the same bytes. Returns the
 * percentage that was read. */
int codec_compare_reading(PGconn *conn, const struct codec *codec, uint64_t *seed,
                          codec_generator *text);
/* Changes a text in one place. */
void codec_spoil(uint64_t *seed, struct tp_buf *text, const char *alphabet);

#endif
