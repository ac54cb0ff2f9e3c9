/* What counting costs in the core, without a server: `count`, what is counted of a query on a
 * connection that is held; `lease`, acquire and release. Prints nanoseconds of the best round. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "integers.h"
#include "pool.h"
#include "pool_stats.h"

enum { TIMES = 2000000, ROUNDS = 15 };

static void give_back(tp_lease lease)
{
    struct tp_usage usage = {.query_us = -1, .ended = tp__stats_now()};
    (void)tp__pool_return(lease.slot, lease.generation, TP_FATE_KEEP, TP_CLOSE_DEAD, &usage);
}

/* The long way, until one has been made. */
static tp_lease take(tp_pool *pool)
{
    struct tp_waiter waiter = {.sql = NULL};
    struct tp_error err;
    int64_t deadline = tp_deadline_in_ms(5000);
    enum tp_acquired how = tp__pool_acquire(pool, &waiter, &err);
    while (how == TP_QUEUED) {
        tp__pool_park(pool, &waiter, deadline);
        how = tp__pool_poll(pool, &waiter, deadline, &err);
    }
    if (how != TP_ACQUIRED)
        abort();
    return (tp_lease){waiter.slot, atomic_load(&waiter.slot->generation)};
}

static void count(tp_pool *pool)
{
    tp_lease lease = take(pool);
    struct tp_usage usage = {.query_us = 0};
    for (int i = 0; i < TIMES; i++) {
        usage.query_us = 90 + i % 64;
        tp__slot_count_statement(lease.slot, TP_STATEMENT_HIT);
        tp__slot_count(lease.slot, &usage);
    }
    give_back(lease);
}

static void lend(tp_pool *pool)
{
    for (int i = 0; i < TIMES; i++) {
        tp_lease lease;
        bool scarce;
        if (!tp_pool_try_acquire(pool, &lease, &scarce))
            lease = take(pool); /* this thread did not run for a while */
        give_back(lease);
    }
}

static double now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

int main(int argc, char **argv)
{
    struct tp_pool_limits limits = {.min = 1, .max = 1};
    struct tp_error err;
    tp_pool *pool;
    double best = 1e18;
    if (argc != 2 || tp__pool_new(&pool, &limits, &bench_integers, NULL, NULL, &err) != TP_OK)
        return 2;
    for (int round = 0; round < ROUNDS; round++) {
        double began = now_ns();
        (strcmp(argv[1], "count") == 0 ? count : lend)(pool);
        double took = (now_ns() - began) / TIMES;
        best = took < best ? took : best;
    }
    printf("%.1f\n", best);
    tp_pool_release(pool);
    return 0;
}
