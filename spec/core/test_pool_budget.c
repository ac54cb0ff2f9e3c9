/* Pools that share a budget of connections. */
#include "fake_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

static char name[TP_BUDGET_NAME_ROOM];

static const char *path(void)
{
    static char out[TP_BUDGET_NAME_ROOM + 48];
    snprintf(out, sizeof out, "/dev/shm/tidepool-%lu-%s", (unsigned long)geteuid(), name);
    return out;
}

static int new_name(void **state)
{
    static int count;
    (void)state;
    snprintf(name, sizeof name, "pools-%d-%d", (int)getpid(), ++count);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    (void)unlink(path());
    return 0;
}

static bool file_exists(void)
{
    struct stat is;
    return stat(path(), &is) == 0;
}

/* A pool of up to `max` connections, of which all pools together have up to `total`. */
static void start(struct fake *fake, int min, int max, int total)
{
    struct tp_error err;
    struct tp_pool_limits limits = fake_limits(min, max);
    fake_start(fake, &limits);
    assert_int_equal(tp__budget_new(&fake->pool->budget, name, total, &err), TP_OK);
}

static int used(struct fake *fake)
{
    return fake_stats(fake).budget_used;
}

/* ------------------------------------------------------------------- places */

static void each_connection_takes_a_place_until_it_is_closed(void **state)
{
    (void)state;
    static struct fake fake;
    struct held held[3];
    start(&fake, 0, 3, 5);
    for (int i = 0; i < 3; i++)
        held[i] = fake_take(&fake);
    assert_int_equal(used(&fake), 3);
    assert_int_equal(fake_stats(&fake).budget_max, 5);
    assert_int_equal(fake_stats(&fake).budget_processes, 1);
    fake_give(held[0], TP_FATE_CLOSE);
    AWAIT(used(&fake) == 2);
    fake_give(held[1], TP_FATE_KEEP);
    fake_give(held[2], TP_FATE_RESET);
    AWAIT(fake_stats(&fake).idle == 2);
    assert_int_equal(used(&fake), 2);
    fake_end(&fake);
    assert_false(file_exists());
}

static void a_place_is_held_until_the_connection_is_really_closed(void **state)
{
    (void)state;
    static struct fake fake;
    start(&fake, 0, 2, 1);
    struct held held = fake_take(&fake);
    atomic_store(&fake.hold_closes, true);
    fake_give(held, TP_FATE_CLOSE);
    AWAIT(fake.in_close == 1);
    assert_int_equal(used(&fake), 1);
    atomic_store(&fake.hold_closes, false);
    AWAIT(used(&fake) == 0);
    fake_end(&fake);
}

static void connects_that_fail_give_their_places_back(void **state)
{
    (void)state;
    static struct fake fake;
    start(&fake, 0, 1, 1);
    atomic_store(&fake.fail_opens, 3);
    fake_give(fake_take(&fake), TP_FATE_CLOSE);
    assert_int_equal(fake.failures, 3);
    atomic_store(&fake.fail_at_once, true);
    atomic_store(&fake.fail_opens, 3);
    AWAIT(used(&fake) == 0);
    struct held held = fake_take(&fake);
    assert_int_equal(used(&fake), 1);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void the_minimum_is_filled_with_what_is_left(void **state)
{
    (void)state;
    static struct fake a, b;
    start(&a, 0, 4, 4);
    struct held held[3];
    for (int i = 0; i < 3; i++)
        held[i] = fake_take(&a);
    start(&b, 3, 3, 4);
    fake_give(fake_take(&b), TP_FATE_KEEP);
    int64_t later = tp_now() + 100 * MS;
    AWAIT(tp_now() >= later);
    assert_int_equal(fake_stats(&b).total, 1);
    assert_int_equal(fake_stats(&a).total, 3);
    for (int i = 0; i < 3; i++)
        fake_give(held[i], TP_FATE_CLOSE);
    AWAIT(fake_stats(&b).total == 3);
    fake_end(&b);
    fake_end(&a);
}

/* --------------------------------------------------------------- who gives up */

/* Of what comes back next, how many connections it is going to give up. */
static int owes(struct fake *fake)
{
    pthread_mutex_lock(&fake->pool->lock);
    int busy = fake->pool->debt.busy;
    pthread_mutex_unlock(&fake->pool->lock);
    return busy;
}

static void what_rests_is_given_up_for_a_pool_that_waits(void **state)
{
    (void)state;
    static struct fake a, b;
    struct tp_waiter waiter;
    struct held held;
    start(&a, 1, 2, 2);
    start(&b, 0, 2, 2);
    struct held first = fake_take(&a), second = fake_take(&a);
    fake_give(first, TP_FATE_KEEP);
    fake_give(second, TP_FATE_KEEP);
    fake_queue(&b, &waiter);
    AWAIT(fake_served(&b, &waiter, &held));
    AWAIT(fake_stats(&a).closed[TP_CLOSE_BUDGET] == 1);
    assert_int_equal(fake_stats(&a).idle, 1);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&a);
    fake_end(&b);
}

static void the_minimum_gives_way_to_the_share_of_others(void **state)
{
    (void)state;
    static struct fake a, b;
    struct tp_waiter waiter;
    struct held held;
    start(&a, 4, 4, 4);
    start(&b, 0, 4, 4);
    fake_give(fake_take(&a), TP_FATE_KEEP);
    AWAIT(fake_stats(&a).idle == 4);
    fake_queue(&b, &waiter);
    AWAIT(fake_served(&b, &waiter, &held));
    assert_int_equal(fake_stats(&a).idle, 3);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&a);
    fake_end(&b);
}

static void a_pool_in_demand_keeps_no_more_than_its_share(void **state)
{
    (void)state;
    static struct fake a, b;
    struct tp_waiter own, other;
    struct held out[2], got;
    start(&a, 0, 2, 2);
    start(&b, 0, 2, 2);
    for (int i = 0; i < 2; i++)
        out[i] = fake_take(&a);
    fake_queue(&a, &own);
    fake_queue(&b, &other);
    AWAIT(owes(&a) == 1);
    fake_give(out[0], TP_FATE_KEEP);
    AWAIT(fake_served(&b, &other, &got));
    assert_false(fake_served(&a, &own, &out[0]));
    fake_give(out[1], TP_FATE_KEEP); /* it owes nothing more */
    AWAIT(fake_served(&a, &own, &out[1]));
    assert_int_equal(fake_stats(&a).closed[TP_CLOSE_BUDGET], 1);
    fake_give(out[1], TP_FATE_KEEP);
    fake_give(got, TP_FATE_KEEP);
    fake_end(&a);
    fake_end(&b);
}

static atomic_bool stop;

/* Asks again as soon as it was served, so that no connection ever rests. */
static void *use_without_end(void *arg)
{
    struct fake *fake = arg;
    while (!atomic_load(&stop)) {
        struct held held = fake_take(fake);
        fake_breathe();
        fake_give(held, TP_FATE_KEEP);
    }
    return NULL;
}

static void more_pools_than_places_take_turns(void **state)
{
    (void)state;
    enum { POOLS = 3 };
    static struct fake fakes[POOLS];
    pthread_t threads[POOLS];
    atomic_store(&stop, false);
    for (int i = 0; i < POOLS; i++) {
        start(&fakes[i], 0, 1, 1);
        assert_int_equal(pthread_create(&threads[i], NULL, use_without_end, &fakes[i]), 0);
    }
    AWAIT(fakes[0].opens > 1 && fakes[1].opens > 1 && fakes[2].opens > 1);
    atomic_store(&stop, true);
    for (int i = 0; i < POOLS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < POOLS; i++)
        fake_end(&fakes[i]);
}

/* ------------------------------------------------------------------- errors */

static void a_timeout_says_how_the_budget_stands(void **state)
{
    (void)state;
    static struct fake a, b;
    struct tp_waiter waiter;
    struct tp_error err;
    struct held unused;
    start(&a, 0, 2, 2);
    start(&b, 0, 2, 2);
    struct held first = fake_take(&a), second = fake_take(&a);
    fake_queue(&b, &waiter);
    assert_int_equal(fake_wait(&b, &waiter, tp_now() + 50 * MS, &unused, &err), TP_REFUSED);
    assert_int_equal(err.kind, TP_ERR_POOL_TIMEOUT);
    assert_non_null(strstr(
        err.message, "; budget: 2 of 2 connections are taken, by 1 process (pool.max_total)"));
    fake_give(first, TP_FATE_KEEP);
    fake_give(second, TP_FATE_KEEP);
    fake_give(fake_take(&b), TP_FATE_KEEP);
    fake_end(&a);
    fake_end(&b);
}

static void a_budget_that_cannot_be_used_refuses_whoever_waits(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_waiter waiter;
    struct tp_error err;
    struct held unused;
    start(&fake, 0, 1, 1);
    FILE *file = fopen(path(), "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0644), 0);
    fclose(file);
    fake_queue(&fake, &waiter);
    assert_int_equal(fake_wait(&fake, &waiter, TP_NEVER, &unused, &err), TP_REFUSED);
    assert_int_equal(err.kind, TP_ERR_CONNECTION);
    assert_non_null(strstr(err.message, path()));
    assert_int_equal(fake.opens, 0);
    assert_int_equal(unlink(path()), 0);
    AWAIT(tp__pool_acquire(fake.pool, &waiter, &err) == TP_QUEUED &&
          fake_wait(&fake, &waiter, TP_NEVER, &unused, &err) == TP_ACQUIRED);
    fake_give(unused, TP_FATE_KEEP);
    fake_end(&fake);
}

/* ---------------------------------------------------------------- end, forks */

static void a_closed_pool_gives_back_what_was_on_loan_when_it_returns(void **state)
{
    (void)state;
    static struct fake a, b;
    start(&a, 0, 2, 2);
    start(&b, 0, 2, 2);
    struct held lent = fake_take(&a), idle = fake_take(&a);
    fake_give(idle, TP_FATE_KEEP);
    tp_pool_close(a.pool);
    assert_int_equal(used(&b), 1);
    fake_give(lent, TP_FATE_KEEP);
    assert_int_equal(used(&b), 0);
    assert_int_equal(used(&a), 0);
    assert_int_equal(fake_stats(&b).budget_processes, 1);
    fake_end(&b);
    assert_false(file_exists()); /* the closed one has left */
    fake_end(&a);
}

static void in_child(struct fake *fake)
{
    struct tp_waiter waiter;
    struct tp_error err;
    struct held held;
    alarm(20);
    signal(SIGABRT, SIG_DFL);
    memset(&waiter, 0, sizeof waiter);
    if (tp__pool_acquire(fake->pool, &waiter, &err) != TP_QUEUED ||
        fake_wait(fake, &waiter, tp_now() + 10 * 1000 * MS, &held, &err) != TP_ACQUIRED)
        _exit(1);
    struct tp_stats stats = fake_stats(fake);
    if (stats.budget_used != 3 || stats.budget_processes != 2 || fake->forked_closes != 2)
        _exit(2);
    tp_pool_release(fake->pool); /* the connection on loan, too */
    _exit(0);
}

static void a_forked_child_takes_places_of_its_own(void **state)
{
    (void)state;
    SKIP_IF_CHILD_CANNOT_START_THREADS();
    static struct fake fake;
    int status = -1;
    start(&fake, 0, 3, 3);
    struct held first = fake_take(&fake), second = fake_take(&fake);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        in_child(&fake);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(used(&fake), 2);
    assert_int_equal(fake_stats(&fake).budget_processes, 1);
    fake_give(first, TP_FATE_KEEP);
    fake_give(second, TP_FATE_KEEP);
    fake_end(&fake);
    assert_false(file_exists());
}

#define TEST(what) cmocka_unit_test_setup_teardown(what, new_name, remove_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_connection_takes_a_place_until_it_is_closed),
        TEST(a_place_is_held_until_the_connection_is_really_closed),
        TEST(connects_that_fail_give_their_places_back),
        TEST(the_minimum_is_filled_with_what_is_left),
        TEST(what_rests_is_given_up_for_a_pool_that_waits),
        TEST(the_minimum_gives_way_to_the_share_of_others),
        TEST(a_pool_in_demand_keeps_no_more_than_its_share),
        TEST(more_pools_than_places_take_turns),
        TEST(a_timeout_says_how_the_budget_stands),
        TEST(a_budget_that_cannot_be_used_refuses_whoever_waits),
        TEST(a_closed_pool_gives_back_what_was_on_loan_when_it_returns),
        TEST(a_forked_child_takes_places_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
