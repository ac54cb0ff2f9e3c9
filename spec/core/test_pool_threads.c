/* Many threads on few connections. Three things are watched while they run: a sampler
 * walks the pool's own queue under the pool's lock, and whoever has left it since the last
 * look must have stood before all who remain, and whoever is new behind them; the counts
 * of connections never exceed the maximum; and no connection has two users. */
#include "fake_pool.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"

enum { THREADS = 64, CONNECTIONS = 8, ACQUIRES = 200 * 1000, WAIT_US = 60 * 1000 * 1000 };

/* The waiter of a thread; `round` tells its stays in the queue apart. */
struct seat {
    struct tp_waiter waiter;
    uint64_t round;
};

struct stress {
    struct fake *fake;
    int rounds_each;
    int discard_every; /* 0: never */
    atomic_bool stop;
    /* what went wrong */
    atomic_int shared, timeouts, refused, overtaken, exceeded, samples, queued;
};

struct worker {
    struct stress *stress;
    struct seat seat;
};

static bool take(struct worker *worker, struct held *held)
{
    struct stress *stress = worker->stress;
    tp_pool *pool = stress->fake->pool;
    struct tp_waiter *waiter = &worker->seat.waiter;
    struct tp_error err;
    worker->seat.round++;
    enum tp_acquired how = tp__pool_acquire(pool, waiter, &err);
    if (how == TP_QUEUED) {
        atomic_fetch_add_explicit(&stress->queued, 1, memory_order_relaxed);
        how = fake_wait(stress->fake, waiter, tp_now() + WAIT_US, held, &err);
    } else if (how == TP_ACQUIRED) {
        held->slot = waiter->slot;
        held->generation = atomic_load(&waiter->slot->generation);
    }
    if (how == TP_REFUSED) {
        bool timed_out = err.kind == TP_ERR_POOL_TIMEOUT;
        atomic_fetch_add(timed_out ? &stress->timeouts : &stress->refused, 1);
    }
    return how == TP_ACQUIRED;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct stress *stress = worker->stress;
    for (int i = 1; i <= stress->rounds_each; i++) {
        struct held held;
        if (!take(worker, &held))
            return NULL;
        struct fake_conn *conn = held.slot->connection;
        if (atomic_exchange(&conn->users, 1) != 0)
            atomic_fetch_add(&stress->shared, 1);
        if (i % 16 == 0)
            fake_breathe(); /* so that others queue up, also on one core */
        if (atomic_exchange(&conn->users, 0) != 1)
            atomic_fetch_add(&stress->shared, 1);
        bool discard = stress->discard_every > 0 && i % stress->discard_every == 0;
        fake_give(held, discard ? TP_FATE_CLOSE : TP_FATE_KEEP);
    }
    return NULL;
}

/* ------------------------------------------------------------------ sampler */

struct queue {
    int count;
    struct {
        const struct seat *seat;
        uint64_t round;
    } places[THREADS];
};

static void copy_queue_locked(tp_pool *pool, struct queue *out)
{
    struct tp_list *node, *following;
    out->count = 0;
    TP_LIST_EACH(node, following, &pool->waiters)
    {
        const struct tp_waiter *waiter = TP_CONTAINER(node, struct tp_waiter, link);
        const struct seat *seat = (const struct seat *)(const void *)waiter;
        out->places[out->count].seat = seat;
        out->places[out->count++].round = seat->round;
    }
}

static bool same(const struct queue *a, int i, const struct queue *b, int k)
{
    return a->places[i].seat == b->places[k].seat && a->places[i].round == b->places[k].round;
}

/* The queue now is the end of the queue before, in its order, followed by new ones. */
static bool is_fifo(const struct queue *before, const struct queue *now)
{
    int left = 0;
    if (now->count > 0) {
        while (left < before->count && !same(before, left, now, 0))
            left++;
    } else {
        left = before->count;
    }
    for (int i = left; i < before->count; i++) {
        if (i - left >= now->count || !same(before, i, now, i - left))
            return false;
    }
    for (int i = before->count - left; i < now->count; i++) {
        for (int k = 0; k < before->count; k++) {
            if (same(before, k, now, i))
                return false; /* "new" ones that were there before */
        }
    }
    return true;
}

static bool counts_are_right(const struct tp_stats *stats)
{
    int all = stats->idle + stats->active + stats->connecting + stats->mending;
    return all <= CONNECTIONS && stats->idle >= 0 && stats->active >= 0 && stats->connecting >= 0 &&
           !(stats->idle > 0 && stats->waiting > 0);
}

static void *sample(void *arg)
{
    struct stress *stress = arg;
    tp_pool *pool = stress->fake->pool;
    static struct queue queues[2];
    int now = 0;
    queues[1].count = 0;
    while (!atomic_load(&stress->stop)) {
        struct tp_stats stats;
        pthread_mutex_lock(&pool->lock);
        copy_queue_locked(pool, &queues[now]);
        pthread_mutex_unlock(&pool->lock);
        if (!is_fifo(&queues[1 - now], &queues[now]))
            atomic_fetch_add(&stress->overtaken, 1);
        tp_pool_stats(pool, &stats);
        if (!counts_are_right(&stats))
            atomic_fetch_add(&stress->exceeded, 1);
        atomic_fetch_add(&stress->samples, 1);
        now = 1 - now;
        fake_breathe();
    }
    return NULL;
}

/* --------------------------------------------------------------------- tests */

static void run(struct stress *stress, int acquires)
{
    static struct worker workers[THREADS];
    static pthread_t threads[THREADS];
    pthread_t sampler;
    stress->rounds_each = acquires / THREADS;
    memset(workers, 0, sizeof workers);
    int64_t began = tp_now();
    assert_int_equal(pthread_create(&sampler, NULL, sample, stress), 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i].stress = stress;
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    int64_t took = tp_now() - began;
    atomic_store(&stress->stop, true);
    pthread_join(sampler, NULL);
    int done = stress->rounds_each * THREADS;
    print_message("# %d acquires by %d threads on %d connections: %lld ms, %lld per second; "
                  "%d waited, %d samples\n",
                  done, THREADS, CONNECTIONS, (long long)(took / 1000),
                  (long long)(INT64_C(1000000) * done / (took + 1)), stress->queued,
                  stress->samples);
}

static void check(struct stress *stress)
{
    struct tp_stats stats = fake_stats(stress->fake);
    assert_int_equal(stress->timeouts, 0); /* a wake-up that was lost ends here */
    assert_int_equal(stress->refused, 0);
    assert_int_equal(stress->shared, 0);
    assert_int_equal(stress->overtaken, 0);
    assert_int_equal(stress->exceeded, 0);
    assert_true(stress->samples > 10);
    assert_true(stress->queued > 100);
    assert_int_equal(stats.acquires, (uint64_t)stress->rounds_each * THREADS);
    assert_int_equal(stats.active, 0);
    assert_int_equal(stats.waiting, 0);
    assert_true(stress->fake->most_alive <= CONNECTIONS);
}

static void everybody_is_served_in_turn_and_alone(void **state)
{
    (void)state;
    static struct fake fake;
    static struct stress stress;
    struct tp_pool_limits limits = fake_limits(CONNECTIONS, CONNECTIONS);
    fake_start(&fake, &limits);
    stress.fake = &fake;
    run(&stress, fake_rounds(ACQUIRES));
    check(&stress);
    assert_int_equal(fake.opens, CONNECTIONS);
    fake_end(&fake);
}

static void the_same_while_connections_come_and_go(void **state)
{
    (void)state;
    static struct fake fake;
    static struct stress stress;
    struct tp_pool_limits limits = fake_limits(2, CONNECTIONS);
    limits.max_uses = 200;
    limits.max_lifetime_us = 50 * MS;
    limits.idle_timeout_us = 1 * MS;
    limits.health_interval_us = 1 * MS;
    fake_start(&fake, &limits);
    stress.fake = &fake;
    stress.discard_every = 50;
    run(&stress, fake_rounds(ACQUIRES / 4));
    check(&stress);
    assert_true(fake.opens > CONNECTIONS * 4);
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_is_served_in_turn_and_alone),
        cmocka_unit_test(the_same_while_connections_come_and_go),
    };
    return cmocka_run_group_tests_name("pool: threads", tests, NULL, NULL);
}
