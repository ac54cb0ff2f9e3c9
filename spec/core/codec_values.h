/* Chosen values of a type beside the throwaway server (codec_case.h has random ones). */
#ifndef CODEC_VALUES_H
#define CODEC_VALUES_H

#include "codec_case.h"

/* Appends a value in its binary form to a list. */
void codec_add(struct tp_buf *list, const void *bytes, size_t len);
size_t codec_count(const struct tp_buf *list);

/* Sends the values, and the server sends them back in binary and as its output function
 * writes them: the codec writes and reads the same, when it can read. Then it is given
 * pieces of them, and values with a wrong byte, which must do no harm. Frees the list. */
void codec_compare_values(PGconn *conn, const struct codec *codec, uint64_t *seed,
                          struct tp_buf *list);

/* A codec's case in hexadecimal, with blanks wherever one likes: the bytes are written as
 * the text, and that is read as the bytes. */
void codec_case_both_ways(const struct codec *codec, const char *hex, const char *text);
void codec_case_writes(const struct codec *codec, const char *hex, const char *text);
void codec_case_reads(const struct codec *codec, const char *text, const char *hex);

#endif
