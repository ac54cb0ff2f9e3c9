/* The end of a pool: closing, draining, and what a forked child makes of it. */
#include "fake_pool.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

/* -------------------------------------------------------------------- close */

static void a_pool_that_was_never_used_closes(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(2, 4);
    fake_start(&fake, &limits);
    tp_pool_close(fake.pool);
    tp_pool_close(fake.pool);
    assert_int_equal(fake.opens, 0);
    assert_int_equal(tp_pool_get_state(fake.pool, NULL, NULL), TP_POOL_CLOSED);
    fake_end(&fake);
}

static void closing_ends_idle_connections_at_once(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(3, 3);
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    AWAIT(fake_stats(&fake).idle == 2);
    fake_give(held, TP_FATE_KEEP);
    tp_pool_close(fake.pool);
    assert_int_equal(fake.alive, 0); /* it has waited for the housekeeper */
    assert_int_equal(fake_stats(&fake).closed[TP_CLOSE_POOL_CLOSED], 3);
    assert_true(tp_pool_is_closed(fake.pool));
    fake_end(&fake);
}

static void closing_refuses_all_who_wait_and_all_who_come(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiters[3], late;
    struct tp_error err;
    struct held unused;
    tp_lease lease;
    bool scarce;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    for (int i = 0; i < 3; i++)
        fake_queue(&fake, &waiters[i]);
    tp_pool_close(fake.pool);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fake_wait(&fake, &waiters[i], TP_NEVER, &unused, &err), TP_REFUSED);
        assert_int_equal(err.kind, TP_ERR_POOL_CLOSED);
        assert_string_equal(err.message, "the pool is closed");
    }
    memset(&late, 0, sizeof late);
    assert_int_equal(tp__pool_acquire(fake.pool, &late, &err), TP_REFUSED);
    assert_int_equal(err.kind, TP_ERR_POOL_CLOSED);
    assert_false(tp_pool_try_acquire(fake.pool, &lease, &scarce));
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void what_comes_back_to_a_closed_pool_is_closed(void **state)
{
    (void)state;
    static const enum tp_fate fates[] = {TP_FATE_KEEP, TP_FATE_RESET, TP_FATE_CLOSE};
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 3);
    struct tp_event event;
    struct held held[3];
    fake_start(&fake, &limits);
    for (int i = 0; i < 3; i++)
        held[i] = fake_take(&fake);
    tp_pool_close(fake.pool);
    assert_int_equal(fake.alive, 3);
    while (tp_pool_next_event(fake.pool, &event, NULL)) {
    }
    for (int i = 0; i < 3; i++) {
        fake_give(held[i], fates[i]);
        assert_int_equal(fake.alive, 2 - i);
        assert_true(tp_pool_next_event(fake.pool, &event, NULL));
        assert_int_equal(event.type, TP_EVENT_REMOVE);
        assert_string_equal(event.text, i < 2 ? "pool_closed" : "discarded");
    }
    assert_int_equal(fake_stats(&fake).active, 0);
    assert_int_equal(fake_stats(&fake).closed[TP_CLOSE_POOL_CLOSED], 2);
    fake_end(&fake);
}

static void connects_and_mending_under_way_end_with_the_pool(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 4);
    struct tp_waiter waiter;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    atomic_store(&fake.hold_chores, true);
    atomic_store(&fake.hold_opens, true);
    fake_give(held, TP_FATE_RESET);
    fake_queue(&fake, &waiter);
    AWAIT(fake.resets == 1 && fake.connecting == 1);
    tp_pool_close(fake.pool);
    assert_int_equal(fake.alive, 0);
    assert_int_equal(fake.connecting, 0);
    tp__pool_leave(fake.pool, &waiter);
    fake_end(&fake);
}

struct racer {
    struct held held;
    atomic_bool *go;
    int delay;
};

static void *give_at_go(void *arg)
{
    struct racer *racer = arg;
    while (!atomic_load(racer->go)) {
    }
    for (volatile int i = 0; i < racer->delay; i++) {
    }
    fake_give(racer->held, TP_FATE_KEEP);
    return NULL;
}

/* Whoever is first, the housekeeper's end or the return, the connection is closed, once,
 * when both are through. */
static void what_comes_back_while_the_pool_closes_is_closed_too(void **state)
{
    (void)state;
    static struct fake fake;
    int rounds = fake_rounds(600);
    for (int i = 0; i < rounds; i++) {
        struct tp_pool_limits limits = fake_limits(0, 2);
        struct racer racers[2];
        pthread_t threads[2];
        atomic_bool go = false;
        fake_start(&fake, &limits);
        for (int k = 0; k < 2; k++) {
            racers[k] = (struct racer){.held = fake_take(&fake), .go = &go, .delay = i * 97 * k};
            assert_int_equal(pthread_create(&threads[k], NULL, give_at_go, &racers[k]), 0);
        }
        atomic_store(&go, true);
        tp_pool_close(fake.pool);
        for (int k = 0; k < 2; k++)
            pthread_join(threads[k], NULL);
        assert_int_equal(fake.alive, 0);
        assert_int_equal(fake.closes, 2);
        fake_end(&fake);
    }
}

/* -------------------------------------------------------------------- drain */

struct drain {
    tp_pool *pool;
    int64_t deadline;
    enum tp_status status;
    struct tp_error err;
    atomic_bool over;
};

static void *drain_pool(void *arg)
{
    struct drain *drain = arg;
    drain->status = tp_pool_drain(drain->pool, drain->deadline, &drain->err);
    atomic_store(&drain->over, true);
    return NULL;
}

static void draining_refuses_newcomers_and_waits_for_what_is_out(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    struct tp_waiter waiter;
    struct tp_error err;
    struct held unused;
    pthread_t thread;
    fake_start(&fake, &limits);
    struct drain drain = {.pool = fake.pool, .deadline = TP_NEVER, .over = false};
    struct held held[2] = {fake_take(&fake), fake_take(&fake)};
    fake_queue(&fake, &waiter);
    assert_int_equal(pthread_create(&thread, NULL, drain_pool, &drain), 0);
    AWAIT(tp_pool_get_state(fake.pool, NULL, NULL) == TP_POOL_DRAINING);
    assert_int_equal(fake_wait(&fake, &waiter, TP_NEVER, &unused, &err), TP_REFUSED);
    assert_int_equal(err.kind, TP_ERR_POOL_CLOSED);
    memset(&waiter, 0, sizeof waiter);
    assert_int_equal(tp__pool_acquire(fake.pool, &waiter, &err), TP_REFUSED);
    assert_string_equal(err.message, "the pool is draining");
    fake_give(held[0], TP_FATE_KEEP);
    AWAIT(fake_stats(&fake).closed[TP_CLOSE_POOL_CLOSED] == 1); /* not kept for anybody */
    assert_false(atomic_load(&drain.over));
    fake_give(held[1], TP_FATE_KEEP);
    pthread_join(thread, NULL);
    assert_int_equal(drain.status, TP_OK);
    assert_int_equal(fake.alive, 0);
    assert_int_equal(tp_pool_get_state(fake.pool, NULL, NULL), TP_POOL_CLOSED);
    fake_end(&fake);
}

static void draining_gives_up_at_its_deadline_and_closes(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 2);
    pthread_t thread;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    struct drain drain = {.pool = fake.pool, .deadline = tp_now() + 30 * MS, .over = false};
    assert_int_equal(pthread_create(&thread, NULL, drain_pool, &drain), 0);
    pthread_join(thread, NULL);
    assert_true(tp_now() >= drain.deadline);
    assert_int_equal(drain.status, TP_ERR_TIMEOUT);
    assert_non_null(strstr(drain.err.message, "1 connection"));
    assert_true(tp_pool_is_closed(fake.pool));
    assert_int_equal(fake.alive, 1);
    fake_give(held, TP_FATE_KEEP);
    assert_int_equal(fake.alive, 0);
    fake_end(&fake);
}

static void draining_does_not_wait_for_what_the_caller_holds(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_error err;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    assert_int_equal(tp_pool_drain(fake.pool, TP_NEVER, &err), TP_ERR_TIMEOUT);
    fake_give(held, TP_FATE_KEEP);
    fake_end(&fake);
}

static void draining_an_idle_pool_is_closing_it(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(2, 2);
    struct tp_error err;
    fake_start(&fake, &limits);
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    assert_int_equal(tp_pool_drain(fake.pool, tp_now(), &err), TP_OK);
    assert_int_equal(tp_pool_drain(fake.pool, tp_now(), &err), TP_OK);
    assert_int_equal(fake.alive, 0);
    fake_end(&fake);
}

/* --------------------------------------------------------------------- fork */

/* Runs `body` in a child, which has passed when it returns 0. */
static void in_child(int (*body)(struct fake *, struct held), struct fake *fake, struct held held)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka would go on with the other tests */
        signal(SIGABRT, SIG_DFL);
        alarm(20); /* a child that hangs ends */
        _exit(body(fake, held));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define CHECK(condition)               \
    do {                               \
        if (!(condition))              \
            return __LINE__ % 250 + 1; \
    } while (0)

/* Without the failing of fake_take, whose long jump is of no use in a child. */
static bool child_take(struct fake *fake, struct held *held)
{
    struct tp_waiter waiter;
    struct tp_error err;
    memset(&waiter, 0, sizeof waiter);
    enum tp_acquired how = tp__pool_acquire(fake->pool, &waiter, &err);
    held->slot = waiter.slot;
    if (how == TP_QUEUED)
        return fake_wait(fake, &waiter, tp_now() + FAKE_AT_MOST_US / 2, held, &err) == TP_ACQUIRED;
    if (how == TP_ACQUIRED)
        held->generation = atomic_load(&held->slot->generation);
    return how == TP_ACQUIRED;
}

static int child_starts_afresh(struct fake *fake, struct held inherited)
{
    struct held held;
    int opens = fake->opens, closes = fake->closes, alive = fake->alive;
    tp_lease lease = {inherited.slot, inherited.generation};
    CHECK(!tp_lease_valid(&lease));
    CHECK(child_take(fake, &held));
    CHECK(fake->forked_closes == alive); /* leased and idle, by their descriptor only */
    CHECK(fake->closes == closes);
    CHECK(fake->opens == opens + 1);
    CHECK(fake_id(held) == opens + 1);
    CHECK(!tp__pool_return(inherited.slot, inherited.generation, TP_FATE_KEEP, 0, NULL));
    CHECK(!tp_lease_valid(&lease));
    CHECK(tp__pool_return(held.slot, held.generation, TP_FATE_KEEP, 0, NULL));
    CHECK(fake_stats(fake).idle == 1);
    tp_pool_release(fake->pool);
    CHECK(fake->alive == 0);
    return 0;
}

static void a_forked_child_makes_connections_of_its_own(void **state)
{
    (void)state;
    SKIP_IF_CHILD_CANNOT_START_THREADS();
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 3);
    fake_start(&fake, &limits);
    struct held held[2] = {fake_take(&fake), fake_take(&fake)};
    fake_give(held[0], TP_FATE_KEEP);
    in_child(child_starts_afresh, &fake, held[1]); /* whose slot the child does not use */
    assert_int_equal(fake.alive, 2);               /* and the parent's go on */
    fake_give(held[1], TP_FATE_KEEP);
    held[0] = fake_take(&fake);
    assert_int_equal(fake_id(held[0]), 2);
    fake_give(held[0], TP_FATE_KEEP);
    assert_int_equal(fake_stats(&fake).idle, 2);
    fake_end(&fake);
}

static void a_child_of_a_parent_that_waits_is_served(void **state)
{
    (void)state;
    SKIP_IF_CHILD_CANNOT_START_THREADS();
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    struct tp_waiter waiter;
    struct held next;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    fake_queue(&fake, &waiter);
    in_child(child_starts_afresh, &fake, held);
    fake_give(held, TP_FATE_KEEP);
    assert_true(fake_served(&fake, &waiter, &next));
    fake_give(next, TP_FATE_KEEP);
    fake_end(&fake);
}

static int child_reads_and_leaves(struct fake *fake, struct held inherited)
{
    struct tp_event event;
    struct tp_stats stats;
    (void)inherited;
    CHECK(!tp_pool_next_event(fake->pool, &event, NULL)); /* the parent's are not told again */
    tp_pool_stats(fake->pool, &stats);
    CHECK(stats.total == 0);
    CHECK(tp_pool_get_state(fake->pool, NULL, NULL) != TP_POOL_CLOSED);
    tp_pool_release(fake->pool);
    return 0;
}

static int child_reads_events_first(struct fake *fake, struct held inherited)
{
    struct tp_event event;
    (void)inherited;
    while (tp_pool_next_event(fake->pool, &event, NULL)) {
    }
    assert_true(tp_pool_take_retry(fake->pool, 1, NULL, "in the child"));
    CHECK(tp_pool_next_event(fake->pool, &event, NULL));
    return 0;
}

struct holder {
    pthread_mutex_t *lock;
    atomic_bool held, let_go;
};

static void *hold_lock(void *arg)
{
    struct holder *holder = arg;
    pthread_mutex_lock(holder->lock);
    atomic_store(&holder->held, true);
    while (!atomic_load(&holder->let_go))
        fake_breathe();
    pthread_mutex_unlock(holder->lock);
    return NULL;
}

/* A thread that does not exist in the child held it at the moment of the fork. */
static void in_child_under_lock(struct fake *fake, pthread_mutex_t *lock,
                                int (*body)(struct fake *, struct held))
{
    struct holder holder = {.lock = lock, .held = false, .let_go = false};
    struct held none = {NULL, 0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hold_lock, &holder), 0);
    AWAIT(atomic_load(&holder.held));
    in_child(body, fake, none);
    atomic_store(&holder.let_go, true);
    pthread_join(thread, NULL);
}

static void a_lock_that_was_held_at_the_fork_does_not_block_the_child(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(1, 1);
    fake_start(&fake, &limits);
    fake_give(fake_take(&fake), TP_FATE_KEEP);
    in_child_under_lock(&fake, &fake.pool->lock, child_reads_and_leaves);
    in_child_under_lock(&fake, &fake.pool->events.lock, child_reads_and_leaves);
    in_child_under_lock(&fake, &fake.pool->events.lock, child_reads_events_first);
    fake_end(&fake);
}

static int child_uses_the_pool(struct fake *fake, struct held inherited)
{
    struct held held;
    (void)inherited;
    CHECK(fake->in_close == 1);
    CHECK(child_take(fake, &held));
    CHECK(fake->forked_closes == 0); /* the parent was closing it: it is nobody's */
    return 0;
}

static void a_connection_that_is_being_closed_at_the_fork_is_left_alone(void **state)
{
    (void)state;
    SKIP_IF_CHILD_CANNOT_START_THREADS();
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    atomic_store(&fake.hold_closes, true);
    fake_give(held, TP_FATE_CLOSE);
    AWAIT(fake.in_close == 1);
    in_child(child_uses_the_pool, &fake, held);
    atomic_store(&fake.hold_closes, false);
    AWAIT(fake.alive == 0);
    fake_end(&fake);
}

/* A child that never touches the pool has copies of its descriptors. */
static void a_child_that_does_nothing_does_not_disturb_the_parent(void **state)
{
    (void)state;
    static struct fake fake;
    struct tp_pool_limits limits = fake_limits(0, 1);
    int stop[2], peer;
    fake_start(&fake, &limits);
    struct held held = fake_take(&fake);
    assert_int_equal(pipe(stop), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char byte;
        alarm(60);
        close(stop[1]);
        (void)!read(stop[0], &byte, 1);
        _exit(0);
    }
    close(stop[0]);
    peer = dup(((struct fake_conn *)held.slot->connection)->peer);
    fake_give(held, TP_FATE_CLOSE);
    held = fake_take(&fake); /* the next connection of the same slot */
    assert_int_equal(fake_id(held), 2);
    shutdown(peer, SHUT_RDWR);
    close(peer);
    int64_t later = tp_now() + 50 * MS;
    AWAIT(tp_now() >= later);
    assert_false(atomic_load(&held.slot->hangup)); /* it was the first one's */
    fake_give(held, TP_FATE_KEEP);
    assert_int_equal(fake_stats(&fake).idle, 1);
    close(stop[1]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_that_was_never_used_closes),
        cmocka_unit_test(closing_ends_idle_connections_at_once),
        cmocka_unit_test(closing_refuses_all_who_wait_and_all_who_come),
        cmocka_unit_test(what_comes_back_to_a_closed_pool_is_closed),
        cmocka_unit_test(connects_and_mending_under_way_end_with_the_pool),
        cmocka_unit_test(what_comes_back_while_the_pool_closes_is_closed_too),
        cmocka_unit_test(draining_refuses_newcomers_and_waits_for_what_is_out),
        cmocka_unit_test(draining_gives_up_at_its_deadline_and_closes),
        cmocka_unit_test(draining_does_not_wait_for_what_the_caller_holds),
        cmocka_unit_test(draining_an_idle_pool_is_closing_it),
        cmocka_unit_test(a_forked_child_makes_connections_of_its_own),
        cmocka_unit_test(a_child_of_a_parent_that_waits_is_served),
        cmocka_unit_test(a_lock_that_was_held_at_the_fork_does_not_block_the_child),
        cmocka_unit_test(a_connection_that_is_being_closed_at_the_fork_is_left_alone),
        cmocka_unit_test(a_child_that_does_nothing_does_not_disturb_the_parent),
    };
    return cmocka_run_group_tests_name("pool: close, drain, fork", tests, NULL, NULL);
}
