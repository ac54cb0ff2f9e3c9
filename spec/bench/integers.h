/* Connections that are integers, for benchmarks of the pool alone. */
#ifndef BENCH_INTEGERS_H
#define BENCH_INTEGERS_H

#include "pool.h"

static void *open_connection(void *ctx, struct tp_lease_tally *tally, struct tp_error *err)
{
    static int connection;
    (void)ctx;
    (void)tally;
    (void)err;
    return &connection;
}

static enum tp_step step_connection(void *ptr, enum tp_chore chore, int ready, struct tp_wait *wait,
                                    struct tp_error *err)
{
    (void)ptr;
    (void)chore;
    (void)ready;
    (void)wait;
    (void)err;
    return TP_DONE;
}

static bool look_at_connection(void *ptr)
{
    (void)ptr;
    return true;
}

static void close_connection(void *ptr, bool forked)
{
    (void)ptr;
    (void)forked;
}

static const struct tp_pool_vtable bench_integers = {
    .open = open_connection,
    .step = step_connection,
    .look = look_at_connection,
    .close = close_connection,
};

#endif
