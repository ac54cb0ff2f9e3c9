#include "contest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

void contest_start(struct contest_watch *watch)
{
    watch->began_cpu = cpu_seconds();
    watch->began = clock_seconds();
}

void contest_stop(struct contest_watch *watch, long operations)
{
    watch->seconds += clock_seconds() - watch->began;
    watch->cpu += cpu_seconds() - watch->began_cpu;
    watch->operations += operations;
}

void contest_fail(const char *format, ...)
{
    va_list args;
    char text[512];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text[strcspn(text, "\r\n")] = '\0';
    printf("failed\t%s\n", text);
    fflush(stdout);
    _exit(1);
}

static void answer(const struct contest_workload *workloads, const char *name, long amount)
{
    for (; workloads->name != NULL; workloads++) {
        if (strcmp(workloads->name, name) != 0)
            continue;
        struct contest_watch watch = {.operations = 0};
        workloads->run(amount, &watch);
        printf("ok\toperations=%ld\tseconds=%.6f\tcpu=%.6f\tkb=%ld\n", watch.operations,
               watch.seconds, watch.cpu, watch.kb);
        return;
    }
    printf("absent\tno workload %s\n", name);
}

int contest_serve(const char *label, const struct contest_workload *workloads)
{
    char name[32];
    long amount;
    printf("ready\t%s\t", label);
    for (const struct contest_workload *w = workloads; w->name != NULL; w++)
        printf("%s%s", w == workloads ? "" : " ", w->name);
    printf("\n");
    fflush(stdout);
    while (scanf("%31s %ld", name, &amount) == 2) {
        answer(workloads, name, amount);
        fflush(stdout);
    }
    return 0;
}

PGconn *contest_connect(void)
{
    PGconn *conn = PQconnectdb(getenv("DATABASE_URL"));
    if (PQstatus(conn) != CONNECTION_OK)
        contest_fail("%s", PQerrorMessage(conn));
    return conn;
}

PGconn *contest_connection(void)
{
    static PGconn *conn;
    if (conn == NULL)
        conn = contest_connect();
    return conn;
}

PGresult *contest_check(PGconn *conn, PGresult *result, ExecStatusType wanted)
{
    if (PQresultStatus(result) != wanted)
        contest_fail("%s: %s", PQresStatus(PQresultStatus(result)), PQerrorMessage(conn));
    return result;
}

void contest_exec(PGconn *conn, const char *sql)
{
    PQclear(contest_check(conn, PQexec(conn, sql), PGRES_COMMAND_OK));
}

int contest_random(int most)
{
    static uint32_t state = 2463534242;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (int)(state % (uint32_t)most) + 1;
}

long contest_resident_kb(void)
{
    long size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &size, &pages) != 2)
        contest_fail("cannot read /proc/self/statm");
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}
