#include "codec_values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec_hex.h"

/* ------------------------------------------------------------------- lists */

void codec_add(struct tp_buf *list, const void *bytes, size_t len)
{
    char head[4];
    tp__put32(head, (uint32_t)len);
    tp__buf_append(list, head, sizeof head);
    tp__buf_append(list, bytes, len);
    assert_false(list->failed);
}

/* The item at an offset, which is moved behind it. */
static const char *item(const struct tp_buf *list, size_t *at, size_t *len)
{
    const char *data = list->data + *at + 4;
    *len = tp__get32((const unsigned char *)list->data + *at);
    *at += 4 + *len;
    return data;
}

size_t codec_count(const struct tp_buf *list)
{
    size_t count = 0, len;
    for (size_t at = 0; at < list->len; count++) {
        (void)item(list, &at, &len);
    }
    return count;
}

/* -------------------------------------------------------------------- hex */

static size_t bytes_of(const char *hex, unsigned char out[256])
{
    struct tp_cursor in = {hex, hex + strlen(hex)};
    size_t len = 0;
    while (in.at < in.end) {
        if (!tp__take(&in, ' ')) {
            assert_true(len < 256 && tp__take_hex(&in, &out[len++]));
        }
    }
    return len;
}

void codec_case_writes(const struct codec *codec, const char *hex, const char *text)
{
    unsigned char bytes[256];
    codec_writes(codec, bytes, bytes_of(hex, bytes), text);
}

void codec_case_reads(const struct codec *codec, const char *text, const char *hex)
{
    unsigned char bytes[256];
    codec_reads(codec, text, bytes, bytes_of(hex, bytes));
}

void codec_case_both_ways(const struct codec *codec, const char *hex, const char *text)
{
    codec_case_writes(codec, hex, text);
    codec_case_reads(codec, text, hex);
}

/* ------------------------------------------------------------------ server */

/* Sends the list as an array; the answer comes in binary. */
static PGresult *send_back(PGconn *conn, const struct codec *codec, const struct tp_buf *list)
{
    char sql[200], head[20];
    struct tp_buf array = {0};
    const uint32_t numbers[] = {1, 0, codec->oid, (uint32_t)codec_count(list), 1};
    for (size_t i = 0; i < 5; i++) {
        tp__put32(head + i * 4, numbers[i]);
    }
    tp__buf_append(&array, head, sizeof head);
    tp__buf_append(&array, list->data, list->len);
    assert_false(array.failed);
    const char *values[] = {array.data};
    const int lengths[] = {(int)array.len}, formats[] = {1};
    /* A cast to text is not always what the output function says: that of inet is not. */
    (void)snprintf(sql, sizeof sql,
                   "select v, format('%%s', v) from unnest($1::%s[]) with ordinality x(v, n) "
                   "order by n",
                   codec->type);
    PGresult *result = PQexecParams(conn, sql, 1, NULL, values, lengths, formats, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    }
    assert_int_equal(PQntuples(result), numbers[3]);
    tp__buf_free(&array);
    return result;
}

/* What is left may be well formed, so nothing is said of the answer. */
static void spoil(const struct codec *codec, uint64_t *seed, const char *bytes, size_t len)
{
    char copy[400];
    struct tp_buf out = {0};
    if (len == 0 || len > sizeof copy) {
        return;
    }
    memcpy(copy, bytes, len);
    copy[codec_draw(seed, 0, (int64_t)len - 1)] = (char)codec_draw(seed, -128, 127);
    if (codec_draw(seed, 0, 1) == 0) {
        len = (size_t)codec_draw(seed, 0, (int64_t)len - 1);
    }
    char *exact = malloc(len + (len == 0)); /* so that the sanitizer sees a step over the end */
    assert_non_null(exact);
    memcpy(exact, copy, len);
    (void)codec->format((const unsigned char *)exact, len, &out);
    assert_false(out.failed);
    free(exact);
    tp__buf_free(&out);
}

void codec_compare_values(PGconn *conn, const struct codec *codec, uint64_t *seed,
                          struct tp_buf *list)
{
    size_t at = 0, len;
    PGresult *result = send_back(conn, codec, list);
    for (int row = 0; row < PQntuples(result); row++) {
        const char *bytes = PQgetvalue(result, row, 0), *text = PQgetvalue(result, row, 1);
        size_t bytes_len = (size_t)PQgetlength(result, row, 0);
        codec_writes(codec, bytes, bytes_len, text);
        if (codec->parse != NULL) {
            codec_reads(codec, text, bytes, bytes_len);
        }
        const char *sent = item(list, &at, &len);
        spoil(codec, seed, sent, len);
    }
    PQclear(result);
    tp__buf_free(list);
}
