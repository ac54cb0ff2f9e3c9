/* W1, W2, W3 and EACH on libpq. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "libpq.h"

enum { KEYS = 100000 };

/* What was read ends here, so that no compiler leaves the reading out. */
static volatile uint64_t sink;

static void prepare_once(PGconn *conn, const char *name, const char *sql, bool *done)
{
    if (!*done)
        PQclear(contest_check(conn, PQprepare(conn, name, sql, 0, NULL), PGRES_COMMAND_OK));
    *done = true;
}

/* Every value: its text or bytes, and its length. */
static void touch(const PGresult *result)
{
    int rows = PQntuples(result), columns = PQnfields(result);
    uint64_t sum = 0;
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++)
            sum += (uint64_t)PQgetlength(result, row, column) +
                   (unsigned char)*PQgetvalue(result, row, column);
    sink += sum;
}

/* Runs a statement with one binary int4 parameter `amount` times; `next` makes the parameter. */
static void run_statement(const char *name, long amount, int (*next)(long i),
                          struct contest_watch *watch)
{
    PGconn *conn = contest_connection();
    contest_start(watch);
    for (long i = 0; i < amount; i++) {
        uint32_t number = htonl((uint32_t)next(i));
        const char *value = (const char *)&number;
        int length = sizeof number, format = 1;
        PGresult *result = PQexecPrepared(conn, name, 1, &value, &length, &format, 1);
        touch(contest_check(conn, result, PGRES_TUPLES_OK));
        PQclear(result);
    }
    contest_stop(watch, amount);
}

static int random_key(long i)
{
    (void)i;
    return contest_random(KEYS);
}

static int counting(long i)
{
    return (int)i;
}

void libpq_point(long amount, struct contest_watch *watch)
{
    static bool prepared;
    prepare_once(contest_connection(), "point", "select * from bench_point where id = $1",
                 &prepared);
    run_statement("point", amount, random_key, watch);
}

void libpq_constant(long amount, struct contest_watch *watch)
{
    static bool prepared;
    prepare_once(contest_connection(), "constant", "select $1::int", &prepared);
    run_statement("constant", amount, counting, watch);
}

/* `amount` whole results of 100,000 rows. */
static void run_whole(long amount, int format, struct contest_watch *watch)
{
    static bool prepared;
    PGconn *conn = contest_connection();
    prepare_once(conn, "wide", "select * from bench_wide", &prepared);
    for (long i = 0; i < amount; i++) {
        contest_start(watch);
        PGresult *result = PQexecPrepared(conn, "wide", 0, NULL, NULL, NULL, format);
        touch(contest_check(conn, result, PGRES_TUPLES_OK));
        long rows = PQntuples(result);
        PQclear(result);
        contest_stop(watch, rows);
    }
}

void libpq_rows_text(long amount, struct contest_watch *watch)
{
    run_whole(amount, 0, watch);
}

void libpq_rows_binary(long amount, struct contest_watch *watch)
{
    run_whole(amount, 1, watch);
}

/* Reads the rows of the statement that was just sent one by one; notes how much memory was resident
 * when `mark` rows had been read. */
static long read_single(PGconn *conn, long mark, long *resident)
{
    long rows = 0;
    PGresult *result;
    if (!PQsetSingleRowMode(conn))
        contest_fail("no single-row mode");
    while ((result = PQgetResult(conn)) != NULL) {
        if (PQresultStatus(result) == PGRES_SINGLE_TUPLE) {
            touch(result);
            if (++rows == mark)
                *resident = contest_resident_kb();
        } else {
            contest_check(conn, result, PGRES_TUPLES_OK);
        }
        PQclear(result);
    }
    return rows;
}

static void run_single(long amount, int format, struct contest_watch *watch)
{
    static bool prepared;
    PGconn *conn = contest_connection();
    prepare_once(conn, "single", "select * from bench_wide", &prepared);
    for (long i = 0; i < amount; i++) {
        contest_start(watch);
        if (!PQsendQueryPrepared(conn, "single", 0, NULL, NULL, NULL, format))
            contest_fail("%s", PQerrorMessage(conn));
        contest_stop(watch, read_single(conn, -1, NULL));
    }
}

void libpq_rows_single(long amount, struct contest_watch *watch)
{
    run_single(amount, 0, watch);
}

void libpq_rows_binary_single(long amount, struct contest_watch *watch)
{
    run_single(amount, 1, watch);
}

void libpq_each(long amount, struct contest_watch *watch)
{
    PGconn *conn = contest_connection();
    char number[24];
    const char *value = number;
    long resident = 0;
    snprintf(number, sizeof number, "%ld", amount);
    contest_start(watch);
    if (!PQsendQueryParams(conn, "select * from bench_series($1)", 1, NULL, &value, NULL, NULL, 0))
        contest_fail("%s", PQerrorMessage(conn));
    contest_stop(watch, read_single(conn, KEYS, &resident));
    watch->kb = contest_resident_kb() - resident;
}
