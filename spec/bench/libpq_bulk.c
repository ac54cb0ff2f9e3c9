/* W6 and W7 on libpq: 10,000 rows by pipelined inserts and by COPY. The table is emptied while the
 * watch stands. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libpq.h"

enum { ROWS = 10000, CHUNK = 8192, ROW_SPACE = 128 };

/* One row as a program has it. */
struct row {
    int32_t id;
    double score;
    bool active;
    int name_length;
    char name[28];
};

static const struct row *native_rows(void)
{
    static struct row rows[ROWS];
    for (int i = 0; i < ROWS && rows[0].id == 0; i++) {
        struct row *row = &rows[ROWS - 1 - i];
        row->id = ROWS - i;
        row->name_length = snprintf(row->name, sizeof row->name, "name %d", ROWS - i);
        row->score = (ROWS - i) * 0.5;
        row->active = (ROWS - i) % 3 == 0;
    }
    return rows;
}

static char *put_bytes(char *to, const void *bytes, size_t length)
{
    memcpy(to, bytes, length);
    return to + length;
}

static char *put_int4(char *to, int32_t number)
{
    uint32_t bits = htonl((uint32_t)number);
    return put_bytes(to, &bits, sizeof bits);
}

static char *put_float8(char *to, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    to = put_int4(to, (int32_t)(bits >> 32));
    return put_int4(to, (int32_t)bits);
}

/* Takes the results that are there without waiting; `left` is how many statements have none yet. */
static void take_results(PGconn *conn, long *left)
{
    while (*left > 0 && !PQisBusy(conn)) {
        PGresult *result = PQgetResult(conn);
        if (result == NULL)
            continue; /* the end of one statement's results */
        contest_check(conn, result, *left == 1 ? PGRES_PIPELINE_SYNC : PGRES_COMMAND_OK);
        PQclear(result);
        --*left;
    }
}

/* Sends what is queued; until all is sent, and after it while `left` statements have no result and
 * `finish` is set, reads what comes: a server whose answers nobody reads stops reading too. */
static void pump(PGconn *conn, long *left, bool finish)
{
    for (;;) {
        int unsent = PQflush(conn);
        if (unsent < 0)
            contest_fail("%s", PQerrorMessage(conn));
        if (unsent == 0 && (!finish || *left == 0))
            return;
        struct pollfd wait = {PQsocket(conn), (short)(POLLIN | (unsent ? POLLOUT : 0)), 0};
        if (poll(&wait, 1, 10000) <= 0)
            contest_fail("no answer in 10 s");
        if ((wait.revents & POLLIN) != 0) {
            if (!PQconsumeInput(conn))
                contest_fail("%s", PQerrorMessage(conn));
            take_results(conn, left);
        }
    }
}

static void send_insert(PGconn *conn, const struct row *row)
{
    static const int formats[] = {1, 1, 1, 1};
    char id[4], score[8], active = (char)row->active;
    const char *values[] = {id, row->name, score, &active};
    int lengths[] = {4, row->name_length, 8, 1};
    put_int4(id, row->id);
    put_float8(score, row->score);
    if (!PQsendQueryPrepared(conn, "insert", 4, values, lengths, formats, 1))
        contest_fail("%s", PQerrorMessage(conn));
}

static void insert_all(PGconn *conn, const struct row *rows)
{
    long left = ROWS + 3; /* with BEGIN, COMMIT and the end of the pipeline */
    if (!PQsendQueryParams(conn, "begin", 0, NULL, NULL, NULL, NULL, 0))
        contest_fail("%s", PQerrorMessage(conn));
    for (int i = 0; i < ROWS; i++) {
        send_insert(conn, &rows[i]);
        if (i % 64 == 63)
            pump(conn, &left, false);
    }
    if (!PQsendQueryParams(conn, "commit", 0, NULL, NULL, NULL, NULL, 0) || !PQpipelineSync(conn))
        contest_fail("%s", PQerrorMessage(conn));
    pump(conn, &left, true);
}

void libpq_insert(long amount, struct contest_watch *watch)
{
    static bool prepared;
    PGconn *conn = contest_connection();
    const struct row *rows = native_rows();
    if (!prepared) {
        PGresult *result =
            PQprepare(conn, "insert", "insert into bench_insert values ($1, $2, $3, $4)", 0, NULL);
        PQclear(contest_check(conn, result, PGRES_COMMAND_OK));
        prepared = true;
    }
    for (long i = 0; i < amount; i++) {
        contest_exec(conn, "truncate bench_insert");
        contest_start(watch);
        if (!PQenterPipelineMode(conn) || PQsetnonblocking(conn, 1) != 0)
            contest_fail("no pipeline mode");
        insert_all(conn, rows);
        if (!PQexitPipelineMode(conn) || PQsetnonblocking(conn, 0) != 0)
            contest_fail("the pipeline does not end: %s", PQerrorMessage(conn));
        contest_stop(watch, ROWS);
    }
}

static char *put_number(char *to, int number)
{
    char digits[12];
    int count = 0;
    for (; number > 0 || count == 0; number /= 10)
        digits[count++] = (char)('0' + number % 10);
    while (count > 0)
        *to++ = digits[--count];
    return to;
}

static char *put_text_row(char *to, const struct row *row)
{
    to = put_number(to, row->id);
    *to++ = '\t';
    to = put_bytes(to, row->name, (size_t)row->name_length);
    *to++ = '\t';
    to += snprintf(to, 32, "%.17g", row->score);
    *to++ = '\t';
    *to++ = row->active ? 't' : 'f';
    *to++ = '\n';
    return to;
}

static char *put_binary_row(char *to, const struct row *row)
{
    to = put_bytes(to, "\0\4", 2);
    to = put_int4(put_int4(to, 4), row->id);
    to = put_int4(to, row->name_length);
    to = put_bytes(to, row->name, (size_t)row->name_length);
    to = put_float8(put_int4(to, 8), row->score);
    to = put_int4(to, 1);
    *to++ = (char)row->active;
    return to;
}

static void put_copy_data(PGconn *conn, const char *data, size_t length)
{
    if (length > 0 && PQputCopyData(conn, data, (int)length) != 1)
        contest_fail("%s", PQerrorMessage(conn));
}

static void begin_copy(PGconn *conn, const char *sql)
{
    PQclear(contest_check(conn, PQexec(conn, sql), PGRES_COPY_IN));
}

static void end_copy(PGconn *conn)
{
    PGresult *result;
    if (PQputCopyEnd(conn, NULL) != 1)
        contest_fail("%s", PQerrorMessage(conn));
    while ((result = PQgetResult(conn)) != NULL)
        PQclear(contest_check(conn, result, PGRES_COMMAND_OK));
}

/* Formats the rows into a buffer and sends it whenever it has grown to CHUNK bytes. */
static void copy_rows(PGconn *conn, bool binary, const struct row *rows)
{
    char buffer[CHUNK + ROW_SPACE], *end = buffer;
    begin_copy(conn, binary ? "copy bench_insert from stdin (format binary)"
                            : "copy bench_insert from stdin");
    if (binary)
        end = put_bytes(end, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
    for (int i = 0; i < ROWS; i++) {
        end = binary ? put_binary_row(end, &rows[i]) : put_text_row(end, &rows[i]);
        if (end - buffer >= CHUNK) {
            put_copy_data(conn, buffer, (size_t)(end - buffer));
            end = buffer;
        }
    }
    if (binary)
        end = put_bytes(end, "\377\377", 2);
    put_copy_data(conn, buffer, (size_t)(end - buffer));
    end_copy(conn);
}

static void run_copy(long amount, bool binary, struct contest_watch *watch)
{
    PGconn *conn = contest_connection();
    const struct row *rows = native_rows();
    for (long i = 0; i < amount; i++) {
        contest_exec(conn, "truncate bench_insert");
        contest_start(watch);
        copy_rows(conn, binary, rows);
        contest_stop(watch, ROWS);
    }
}

void libpq_copy(long amount, struct contest_watch *watch)
{
    run_copy(amount, false, watch);
}

void libpq_copy_binary(long amount, struct contest_watch *watch)
{
    run_copy(amount, true, watch);
}

/* The same rows as text that is there already. */
void libpq_copy_ready(long amount, struct contest_watch *watch)
{
    PGconn *conn = contest_connection();
    const struct row *rows = native_rows();
    char *text = malloc(ROWS * (size_t)ROW_SPACE), *end = text;
    if (text == NULL)
        contest_fail("out of memory");
    for (int i = 0; i < ROWS; i++)
        end = put_text_row(end, &rows[i]);
    for (long i = 0; i < amount; i++) {
        contest_exec(conn, "truncate bench_insert");
        contest_start(watch);
        begin_copy(conn, "copy bench_insert from stdin");
        for (const char *at = text; at < end; at += CHUNK)
            put_copy_data(conn, at, end - at < CHUNK ? (size_t)(end - at) : CHUNK);
        end_copy(conn);
        contest_stop(watch, ROWS);
    }
    free(text);
}
