/* What the C contestants of `make bench` have in common: the conversation with the runner, and a
 * watch.
 *
 * A contestant first says `ready <TAB> its name <TAB> its workloads` (or `absent <TAB> why`). It
 * then reads lines such as `W1 2000`, does that much of the workload and answers one line: `ok`, or
 * `failed` or `absent` and why, followed by the figures, all divided by tabs: operations=2000,
 * seconds=0.061, cpu=0.018 (of this process, kernel included), kb=12 (memory, where a workload is
 * about that). It ends with its input. */
#ifndef BENCH_CONTEST_H
#define BENCH_CONTEST_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct contest_watch {
    double seconds, cpu; /* so far */
    double began, began_cpu;
    long operations;
    long kb;
};

/* A workload may start and stop the watch several times; what lies between is not counted. */
void contest_start(struct contest_watch *watch);
void contest_stop(struct contest_watch *watch, long operations);

struct contest_workload {
    const char *name;
    void (*run)(long amount, struct contest_watch *watch);
};

/* Answers the runner until the input ends. `workloads` ends with a NULL name. */
int contest_serve(const char *label, const struct contest_workload *workloads);

/* Ends the program; the runner reads the message as the answer. */
_Noreturn void contest_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A connection to DATABASE_URL: the first call opens one that is kept, contest_connect a further
 * one. */
PGconn *contest_connection(void);
PGconn *contest_connect(void);

/* Checks that a result is `wanted`, else ends the program; returns it. */
PGresult *contest_check(PGconn *conn, PGresult *result, ExecStatusType wanted);

/* Runs a statement without parameters and forgets its result. */
void contest_exec(PGconn *conn, const char *sql);

/* A pseudo-random number from 1 to `most`. */
int contest_random(int most);

/* Kilobytes of this process that are resident now. */
long contest_resident_kb(void);

#endif
