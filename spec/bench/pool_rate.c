/* W4 in the core alone: acquire + release of an idle connection on one thread. The pool is the real
 * one, with its statistics; its connections are integers. */
#include <pthread.h>
#include <stdlib.h>

#include "contest.h"
#include "integers.h"
#include "list.h"
#include "pool.h"

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

/* Acquire and release in the core. */
static void run_pool(long amount, struct contest_watch *watch)
{
    struct tp_pool_limits limits = {.min = 1, .max = 8};
    struct tp_error err;
    tp_pool *pool;
    if (tp__pool_new(&pool, &limits, &bench_integers, NULL, NULL, &err) != TP_OK)
        contest_fail("no pool");
    warm_up(pool);
    contest_start(watch);
    for (long i = 0; i < amount; i++) {
        tp_lease lease;
        bool scarce;
        if (!tp_pool_try_acquire(pool, &lease, &scarce)) {
            warm_up(pool); /* this thread did not run for a while */
            continue;
        }
        (void)tp__pool_return(lease.slot, lease.generation, TP_FATE_KEEP, TP_CLOSE_DEAD, NULL);
    }
    contest_stop(watch, amount);
    tp_pool_release(pool);
}

/* The least that a pool of threads needs: a mutex and a list. */
static void run_list(long amount, struct contest_watch *watch)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct tp_list head, nodes[8];
    tp__list_init(&head);
    for (int i = 0; i < 8; i++)
        tp__list_push_front(&head, &nodes[i]);
    contest_start(watch);
    for (long i = 0; i < amount; i++) {
        pthread_mutex_lock(&lock);
        struct tp_list *node = tp__list_first(&head);
        tp__list_remove(node);
        pthread_mutex_unlock(&lock);
        pthread_mutex_lock(&lock);
        tp__list_push_front(&head, node);
        pthread_mutex_unlock(&lock);
    }
    contest_stop(watch, amount);
}

int main(void)
{
    static const struct contest_workload workloads[] = {
        {"W4.core", run_pool}, {"W4.list", run_list}, {NULL, NULL}};
    return contest_serve("C", workloads);
}
