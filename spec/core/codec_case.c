#include "codec_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h" /* for its random numbers */
#include "clock.h"

enum { TEXT_OID = 25, BATCH = 1000, BATCHES = 20 };

/* ----------------------------------------------------------------- cases */

/* Calls either function with a copy of exactly this size, so that the sanitizer sees any
 * step over its end, and with a buffer that holds something already. */
static bool call(const struct codec *codec, bool writes, const void *data, size_t len,
                 struct tp_buf *out)
{
    unsigned char *copy = malloc(len + (len == 0));
    assert_non_null(copy);
    memcpy(copy, data, len);
    *out = (struct tp_buf){0};
    tp__buf_puts(out, "before");
    bool fine = writes ? codec->format(copy, len, out) : codec->parse((const char *)copy, len, out);
    free(copy);
    assert_false(out->failed);
    assert_true(out->len >= 6 && memcmp(out->data, "before", 6) == 0);
    return fine;
}

/* What was appended; a NUL is put behind it. */
static const char *appended(struct tp_buf *out, size_t *len)
{
    *len = out->len - 6;
    return tp__buf_cstr(out) + 6;
}

static bool is_appended(struct tp_buf *out, const void *expected, size_t len)
{
    size_t there;
    const char *data = appended(out, &there);
    return there == len && memcmp(data, expected, len) == 0;
}

void codec_writes(const struct codec *codec, const void *bytes, size_t len, const char *text)
{
    struct tp_buf out;
    size_t there;
    bool fine = call(codec, true, bytes, len, &out);
    if (fine && (text == NULL || !is_appended(&out, text, strlen(text)))) {
        fail_msg("%s %s was written as %s", codec->type, text == NULL ? "(invalid)" : text,
                 appended(&out, &there));
    } else if (!fine && text != NULL) {
        fail_msg("%s %s was not written", codec->type, text);
    }
    tp__buf_free(&out);
}

void codec_reads(const struct codec *codec, const char *text, const void *bytes, size_t len)
{
    struct tp_buf out;
    if (!call(codec, false, text, strlen(text), &out)) {
        fail_msg("%s %s was not read", codec->type, text);
    }
    if (!is_appended(&out, bytes, len)) {
        fail_msg("%s %s was read as something else", codec->type, text);
    }
    tp__buf_free(&out);
}

void codec_refuses(const struct codec *codec, const char *text)
{
    struct tp_buf out;
    if (call(codec, false, text, strlen(text), &out)) {
        fail_msg("%s '%s' was read", codec->type, text);
    }
    tp__buf_free(&out);
}

void codec_rewrites(const struct codec *codec, const char *text, const char *again)
{
    struct tp_buf out;
    size_t len;
    if (!call(codec, false, text, strlen(text), &out)) {
        fail_msg("%s %s was not read", codec->type, text);
    }
    const char *bytes = appended(&out, &len);
    codec_writes(codec, bytes, len, again);
    tp__buf_free(&out);
}

void codec_leaves_a_failed_buffer_alone(const struct codec *codec, const void *bytes, size_t len,
                                        const char *text)
{
    struct tp_buf out = {.failed = true};
    assert_true(codec->format(bytes, len, &out));
    assert_true(codec->parse(text, strlen(text), &out));
    assert_true(out.failed);
    assert_int_equal(out.len, 0);
    assert_null(out.data);
}

/* ---------------------------------------------------------------- random */

uint64_t codec_seed(void)
{
    const char *given = getenv("TIDEPOOL_SEED");
    uint64_t seed = given == NULL ? (uint64_t)tp_now() : strtoull(given, NULL, 10);
    print_message("           TIDEPOOL_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

int64_t codec_draw(uint64_t *seed, int64_t low, int64_t high)
{
    return low + tp__random_below(seed, high - low + 1);
}

void codec_spoil(uint64_t *seed, struct tp_buf *text, const char *alphabet)
{
    char c = alphabet[codec_draw(seed, 0, (int64_t)strlen(alphabet) - 1)];
    if (text->len == 0 || !tp__buf_reserve(text, 1)) {
        return;
    }
    char *at = text->data + codec_draw(seed, 0, (int64_t)text->len - 1);
    size_t behind = (size_t)(text->data + text->len - at);
    switch (codec_draw(seed, 0, 2)) {
    case 0:
        *at = c;
        break;
    case 1:
        memmove(at + 1, at, behind);
        *at = c;
        text->len++;
        break;
    default:
        memmove(at, at + 1, behind - 1);
        text->len--;
        break;
    }
}

/* ---------------------------------------------------------------- server */

PGconn *codec_connect(void)
{
    if (live_is("SOCKET") == NULL) {
        print_message("# skipped: TIDEPOOL_TEST_SOCKET is not set (spec/support/pg.sh run)\n");
        skip();
    }
    const char *const names[] = {"host", "port", "user", "dbname", "options", "connect_timeout",
                                 NULL};
    const char *const values[] = {live_is("SOCKET"),
                                  live_is("PORT"),
                                  live_is("USER"),
                                  live_is("DATABASE"),
                                  "-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC "
                                  "-c statement_timeout=20s -c client_min_messages=warning",
                                  "20",
                                  NULL};
    PGconn *conn = PQconnectdbParams(names, values, 0);
    if (PQstatus(conn) != CONNECTION_OK) {
        fail_msg("%s", PQerrorMessage(conn));
    }
    return conn;
}

void codec_do(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    }
    PQclear(result);
}

static void put_int(struct tp_buf *out, uint32_t value)
{
    char bytes[4];
    tp__put32(bytes, value);
    tp__buf_append(out, bytes, sizeof bytes);
}

/* The binary form of an array of random values. */
static void generate(struct tp_buf *array, uint32_t oid, uint64_t *seed, codec_generator *value)
{
    struct tp_buf one = {0};
    const uint32_t head[] = {1, 0, oid, BATCH, 1}; /* dimensions, NULLs, type, length, bound */
    tp__buf_clear(array);
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++) {
        put_int(array, head[i]);
    }
    for (int i = 0; i < BATCH; i++) {
        tp__buf_clear(&one);
        value(seed, &one);
        put_int(array, (uint32_t)one.len);
        tp__buf_append(array, one.data, one.len);
    }
    assert_false(array->failed);
    tp__buf_free(&one);
}

/* Asks about the array, in binary. */
static PGresult *ask(PGconn *conn, const char *sql, const struct tp_buf *array)
{
    const char *values[] = {array->data};
    const int lengths[] = {(int)array->len}, formats[] = {1};
    PGresult *result = PQexecParams(conn, sql, 1, NULL, values, lengths, formats, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    }
    assert_int_equal(PQntuples(result), BATCH);
    return result;
}

/* The next element of the array; begin at 20, behind the head. */
static const char *element(const struct tp_buf *array, size_t *at, size_t *len)
{
    const char *data = array->data + *at + 4;
    *len = tp__get32((const unsigned char *)array->data + *at);
    *at += 4 + *len;
    return data;
}

static void compare_batch(PGconn *conn, const struct codec *codec, struct tp_buf *array)
{
    char sql[128];
    size_t at = 20, len;
    (void)snprintf(sql, sizeof sql, "select v, v::text from unnest($1::%s[]) v", codec->type);
    PGresult *result = ask(conn, sql, array);
    for (int row = 0; row < BATCH; row++) {
        const char *sent = element(array, &at, &len), *text = PQgetvalue(result, row, 1);
        const char *bytes = PQgetvalue(result, row, 0);
        codec_writes(codec, sent, len, text);
        codec_writes(codec, bytes, (size_t)PQgetlength(result, row, 0), text);
        codec_reads(codec, text, bytes, (size_t)PQgetlength(result, row, 0));
    }
    PQclear(result);
}

void codec_compare(PGconn *conn, const struct codec *codec, uint64_t *seed, codec_generator *value)
{
    struct tp_buf array = {0};
    for (int i = fake_rounds(BATCHES); i > 0; i--) {
        generate(&array, codec->oid, seed, value);
        compare_batch(conn, codec, &array);
    }
    tp__buf_free(&array);
}

/* Returns how many texts were read. */
static int compare_reading_batch(PGconn *conn, const struct codec *codec, struct tp_buf *array)
{
    int read = 0;
    size_t at = 20, len;
    PGresult *result = ask(conn, "select pg_temp.reading(v) from unnest($1::text[]) v", array);
    for (int row = 0; row < BATCH; row++) {
        struct tp_buf out;
        const char *text = element(array, &at, &len);
        const char *bytes = PQgetvalue(result, row, 0);
        if (call(codec, false, text, len, &out)) {
            if (PQgetisnull(result, row, 0)) {
                fail_msg("%s: the server refuses '%.*s'", codec->type, (int)len, text);
            }
            if (!is_appended(&out, bytes, (size_t)PQgetlength(result, row, 0))) {
                fail_msg("%s: the server reads '%.*s' otherwise", codec->type, (int)len, text);
            }
            read++;
        }
        tp__buf_free(&out);
    }
    PQclear(result);
    return read;
}

int codec_compare_reading(PGconn *conn, const struct codec *codec, uint64_t *seed,
                          codec_generator *text)
{
    struct tp_buf array = {0};
    char sql[256];
    int read = 0, batches = fake_rounds(BATCHES) / 4 + 1;
    (void)snprintf(sql, sizeof sql,
                   "create function pg_temp.reading(v text) returns %s language plpgsql "
                   "as $$ begin return v::%s; exception when others then return null; end $$",
                   codec->type, codec->type);
    codec_do(conn, "drop function if exists pg_temp.reading(text)");
    codec_do(conn, sql);
    for (int i = batches; i > 0; i--) {
        generate(&array, TEXT_OID, seed, text);
        read += compare_reading_batch(conn, codec, &array);
    }
    tp__buf_free(&array);
    return read * 100 / (batches * BATCH);
}
