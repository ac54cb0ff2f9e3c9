/* Acquire + release of an idle connection in the core alone, beside a mutex and a list:
 * pairs per second on one thread, medians of interleaved rounds. The pool is the real one;
 * its connections are integers. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "list.h"
#include "pool.h"

enum { PAIRS = 2 * 1000 * 1000, ROUNDS = 7 };

static int connection;

static void *open_connection(void *ctx, struct tp_error *err)
{
    (void)ctx;
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

static const struct tp_pool_vtable integers = {open_connection, step_connection, look_at_connection,
                                               close_connection};

/* Takes and returns a connection the long way, which makes it fresh. */
static void warm_up(tp_pool *pool)
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
    (void)tp__pool_return(waiter.slot, atomic_load(&waiter.slot->generation), TP_FATE_KEEP,
                          TP_CLOSE_DEAD, NULL);
}

static double pool_round(tp_pool *pool)
{
    int64_t began = tp_now();
    for (int i = 0; i < PAIRS; i++) {
        tp_lease lease;
        bool scarce;
        if (!tp_pool_try_acquire(pool, &lease, &scarce)) {
            warm_up(pool); /* this thread did not run for a while */
            continue;
        }
        (void)tp__pool_return(lease.slot, lease.generation, TP_FATE_KEEP, TP_CLOSE_DEAD, NULL);
    }
    return PAIRS / (double)(tp_now() - began);
}

static double list_round(void)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct tp_list head, nodes[8];
    tp__list_init(&head);
    for (int i = 0; i < 8; i++)
        tp__list_push_front(&head, &nodes[i]);
    int64_t began = tp_now();
    for (int i = 0; i < PAIRS; i++) {
        pthread_mutex_lock(&lock);
        struct tp_list *node = tp__list_first(&head);
        tp__list_remove(node);
        pthread_mutex_unlock(&lock);
        pthread_mutex_lock(&lock);
        tp__list_push_front(&head, node);
        pthread_mutex_unlock(&lock);
    }
    return PAIRS / (double)(tp_now() - began);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

int main(void)
{
    struct tp_pool_limits limits = {.min = 1, .max = 8};
    struct tp_error err;
    tp_pool *pool;
    double ours[ROUNDS], bare[ROUNDS];
    if (tp__pool_new(&pool, &limits, &integers, NULL, NULL, &err) != TP_OK)
        return 1;
    warm_up(pool);
    for (int round = 0; round < ROUNDS; round++) {
        ours[round] = pool_round(pool);
        bare[round] = list_round();
    }
    double mine = median(ours), list = median(bare);
    printf("C:   acquire + release %6.2f M/s, mutex and list alone %6.2f M/s, ratio %.2f\n", mine,
           list, mine / list);
    tp_pool_release(pool);
    return 0;
}
