/* registry.c and share.c: names, joining, counted closing, draining, forks. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live_server.h"
#include "registry.h"

static char server_url[512];

static void make_url(void)
{
    char *at = server_url, *end = server_url + sizeof server_url;
    at += snprintf(at, (size_t)(end - at), "postgresql://%s@/", live_is("USER"));
    at += snprintf(at, (size_t)(end - at), "%s?", live_is("DATABASE"));
    at += snprintf(at, (size_t)(end - at), "host=%s", live_is("SOCKET"));
    snprintf(at, (size_t)(end - at), "&port=%s", live_is("PORT"));
}

/* A NULL-terminated list of "name=value"; "url" is the server's with what follows. */
static enum tp_status try_open(tp_share **out, const char *const *settings, bool *joined,
                               struct tp_error *err)
{
    tp_config *config = tp_config_new();
    enum tp_status status = TP_OK;
    for (; *settings != NULL && status == TP_OK; settings++) {
        char name[64], url[sizeof server_url + 64];
        const char *value = strchr(*settings, '=') + 1;
        snprintf(name, sizeof name, "%.*s", (int)(value - *settings) - 1, *settings);
        snprintf(url, sizeof url, "%s%s", server_url, value);
        status = strcmp(name, "url") == 0 ? tp_config_set_url(config, url, err)
                                          : tp_config_set(config, name, value, err);
    }
    if (status == TP_OK)
        status = tp_config_resolve(config, NULL, NULL, err);
    if (status == TP_OK)
        status = tp_share_open(out, config, joined, err);
    if (status != TP_OK)
        tp_config_free(config);
    return status;
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static tp_share *opened(const char *const *settings, bool joins)
{
    tp_share *share;
    struct tp_error err;
    bool joined;
    if (try_open(&share, settings, &joined, &err) != TP_OK)
        fail_msg("%s", err.message);
    assert_int_equal(joined, joins);
    return share;
}
#define OPEN(...) opened(LIST("url=", "pool.min=0", "pool.max=2", __VA_ARGS__), false)
#define JOIN(...) opened(LIST(__VA_ARGS__), true)

/* The option that another opener may not say so. */
static void refused(const char *const *settings, const char *option)
{
    tp_share *share = NULL;
    struct tp_error err;
    char message[128];
    bool joined;
    snprintf(message, sizeof message, "the pool \"main\" is open already, with another \"%s\"",
             option);
    assert_int_equal(try_open(&share, settings, &joined, &err), TP_ERR_VALIDATION);
    assert_string_equal(err.message, message);
    assert_null(share);
}
#define REFUSED(option, ...) refused(LIST("name=main", __VA_ARGS__), option)

static tp_op *op_of(tp_share *share)
{
    tp_op *op = tp_op_new(tp_share_pool(share));
    tp_op_set_share(op, share);
    return op;
}

/* Whether it still lends: TP_OK, or the kind of the error. Thread: any. */
static enum tp_status asks(tp_share *share)
{
    tp_op *op = op_of(share);
    struct ask ask = {.sql = "select 1"};
    struct live_result *result;
    enum tp_status kind = TP_OK;
    live_begin(op, NULL, &ask);
    if (live_collect(op, &ask, &result) != TP_DONE)
        kind = tp_op_error(op)->kind;
    live_result_free(result);
    tp_op_free(op);
    return kind;
}

static tp_lease borrow(tp_share *share)
{
    tp_op *op = op_of(share);
    tp_lease lease = live_acquire(op);
    tp_op_free(op);
    return lease;
}

/* -------------------------------------------------------------------- names */

static void a_name_stands_for_one_pool(void **state)
{
    (void)state;
    tp_share *first = OPEN("name=main"), *second = JOIN("name=main");
    tp_share *other = OPEN("name=other"), *alone = OPEN("pool.max=2");
    assert_ptr_equal(tp_share_pool(first), tp_share_pool(second));
    assert_ptr_not_equal(tp_share_pool(first), tp_share_pool(other));
    assert_ptr_not_equal(tp_share_pool(first), tp_share_pool(alone));
    assert_int_equal(asks(first), TP_OK);
    assert_int_equal(asks(second), TP_OK);
    assert_int_equal(live_stats(tp_share_pool(first)).connects, 1);
    tp_share_release(first);
    tp_share_release(second);
    tp_share_release(other);
    tp_share_release(alone);
}

static void pools_without_a_name_are_not_shared(void **state)
{
    (void)state;
    tp_share *a = OPEN("pool.max=2"), *b = OPEN("name="), *c = OPEN("name=");
    assert_ptr_not_equal(tp_share_pool(a), tp_share_pool(b));
    assert_ptr_not_equal(tp_share_pool(b), tp_share_pool(c));
    tp_share_release(a);
    tp_share_release(b);
    tp_share_release(c);
}

static void a_name_is_free_again_after_the_last_close(void **state)
{
    (void)state;
    tp_share *old = OPEN("name=main"), *joined = JOIN("name=main");
    tp_share_close(old);
    tp_share_close(joined);
    tp_share *new = OPEN("name=main", "pool.max=1");
    assert_ptr_not_equal(tp_share_pool(old), tp_share_pool(new));
    assert_int_equal(asks(new), TP_OK);
    assert_int_equal(asks(old), TP_ERR_POOL_CLOSED);
    tp_share_release(old);
    tp_share_release(joined);
    tp_share_release(new);
}

static void who_joins_may_say_again_what_the_pool_has(void **state)
{
    (void)state;
    tp_share *first = OPEN("name=main", "password=secret", "tls.verify=true", "libpq.keepalives=1");
    tp_share *others[] = {
        JOIN("name=main", "url=", "pool.min=0", "pool.max=2", "password=secret"),
        JOIN("name=main", "pool.max=2"),
        JOIN("name=main", "tls.verify=yes", "libpq.keepalives=1"),
        JOIN("name=main", "password=secret"),
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        tp_share_release(others[i]);
    tp_share_release(first);
}

static void another_setting_is_refused_by_its_name(void **state)
{
    (void)state;
    tp_share *first = OPEN("name=main", "password=secret");
    REFUSED("pool.max", "pool.max=3");
    REFUSED("pool.max", "url=&pool_max=4", "password=secret");
    REFUSED("pool.min", "pool.min=1", "pool.max=3");
    REFUSED("password", "password=another");
    REFUSED("password", "url=");
    REFUSED("host", "host=db.example", "user=x", "password=secret");
    REFUSED("application_name", "url=&application_name=x", "password=secret");
    REFUSED("libpq.keepalives", "libpq.keepalives=0");
    REFUSED("log.queries", "log.queries=false");
    assert_int_equal(asks(first), TP_OK);
    tp_share_release(first);
}

/* ------------------------------------------------------------------ closing */

static void the_last_close_closes_the_pool(void **state)
{
    (void)state;
    tp_share *a = OPEN("name=main"), *b = JOIN("name=main"), *c = JOIN("name=main");
    tp_pool *pool = tp_pool_retain(tp_share_pool(a));
    assert_int_equal(asks(a), TP_OK);
    tp_share_close(b);
    tp_share_close(b);
    tp_share_close(b); /* counts once */
    assert_true(tp_share_is_closed(b));
    assert_false(tp_share_is_closed(a));
    tp_share_release(c); /* closes it */
    assert_false(tp_pool_is_closed(pool));
    assert_int_equal(asks(a), TP_OK);
    tp_share_close(a);
    assert_true(tp_pool_is_closed(pool));
    assert_int_equal(live_stats(pool).total, 0);
    tp_share_release(a);
    tp_share_release(b);
    tp_pool_release(pool);
}

static void a_closed_share_lends_no_more_while_others_do(void **state)
{
    (void)state;
    tp_share *a = OPEN("name=main"), *b = JOIN("name=main");
    tp_lease lease;
    bool scarce;
    assert_int_equal(asks(a), TP_OK);
    tp_share_close(a);
    assert_int_equal(asks(a), TP_ERR_POOL_CLOSED);
    assert_false(tp_share_try_acquire(a, &lease, &scarce));
    assert_int_equal(asks(b), TP_OK);
    assert_true(tp_share_try_acquire(b, &lease, &scarce));
    live_release(&lease);
    tp_share_release(a);
    tp_share_release(b);
}

static void what_a_closed_share_has_lent_goes_back_to_the_pool(void **state)
{
    (void)state;
    tp_share *a = OPEN("name=main", "pool.max=2"), *b = JOIN("name=main");
    tp_lease lease = borrow(a);
    tp_op *op = tp_op_new(tp_share_pool(a));
    int pid = tp_lease_backend_pid(&lease);
    tp_share_close(a);
    assert_int_equal(live_value(op, &lease, "select pg_backend_pid()"), pid);
    live_release(&lease);
    assert_int_equal(live_stats(tp_share_pool(b)).idle, 1);
    lease = borrow(b);
    assert_int_equal(tp_lease_backend_pid(&lease), pid);
    live_release(&lease);
    tp_op_free(op);
    tp_share_release(a);
    tp_share_release(b);
}

static void waiters_of_a_closed_share_are_refused_and_others_wait_on(void **state)
{
    (void)state;
    struct ask ask = {.sql = "select 7"};
    tp_share *a = opened(LIST("url=", "name=main", "pool.min=0", "pool.max=1"), false);
    tp_share *b = JOIN("name=main");
    tp_lease lease = borrow(b);
    tp_op *of_a = op_of(a), *of_b = op_of(b);
    live_begin(of_a, NULL, &ask);
    live_begin(of_b, NULL, &ask);
    assert_int_equal(tp_op_step(of_a, 0), TP_WAIT);
    assert_int_equal(tp_op_step(of_b, 0), TP_WAIT);
    tp_share_close(a);
    assert_int_equal(tp_op_step(of_a, 0), TP_FAILED);
    assert_int_equal(tp_op_error(of_a)->kind, TP_ERR_POOL_CLOSED);
    assert_string_equal(tp_op_error(of_a)->message,
                        "this database object is closed; its pool is open elsewhere");
    assert_int_equal(tp_op_step(of_b, 0), TP_WAIT);
    live_release(&lease);
    assert_int_equal(live_finish(of_b, &ask), TP_DONE);
    assert_int_equal(live_number(of_b), 7);
    tp_op_free(of_a);
    tp_op_free(of_b);
    tp_share_release(a);
    tp_share_release(b);
}

/* An operation keeps its share, so it may be freed after everything else. */
static void operations_outlive_their_share(void **state)
{
    (void)state;
    tp_share *share = OPEN("name=main");
    tp_op *op = op_of(share);
    DO(op, NULL, .sql = "select 1");
    tp_share_close(share);
    tp_share_release(share);
    assert_int_equal(TRY(op, NULL, .sql = "select 1"), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_POOL_CLOSED);
    tp_op_free(op);
}

/* ----------------------------------------------------------------- draining */

/* TP_OK, or the kind of the error; `message` may be NULL. */
static enum tp_status drain(tp_share *share, int64_t ms, char message[128])
{
    tp_op *op = op_of(share);
    enum tp_status kind = TP_OK;
    tp_op_drain(op, tp_deadline_in_ms(ms));
    if (tp_drive(op) != TP_DONE)
        kind = tp_op_error(op)->kind;
    if (message != NULL)
        snprintf(message, 128, "%.127s", tp_op_error(op)->message);
    tp_op_free(op);
    return kind;
}

struct held_back {
    tp_share *share;
    tp_lease lease;
    atomic_bool borrowed, release;
};

static void *hold_back(void *arg)
{
    struct held_back *held = arg;
    held->lease = borrow(held->share);
    atomic_store(&held->borrowed, true);
    int64_t until = tp_now() + FAKE_AT_MOST_US;
    while (!atomic_load(&held->release) && tp_now() < until)
        usleep(1000);
    live_release(&held->lease);
    return NULL;
}

static pthread_t begin_holding(struct held_back *held, tp_share *share)
{
    pthread_t thread;
    held->share = share;
    assert_int_equal(pthread_create(&thread, NULL, hold_back, held), 0);
    int64_t until = tp_now() + FAKE_AT_MOST_US;
    while (!atomic_load(&held->borrowed) && tp_now() < until)
        usleep(1000);
    assert_true(atomic_load(&held->borrowed));
    return thread;
}

static void draining_a_share_waits_for_what_it_has_lent_alone(void **state)
{
    (void)state;
    char message[128];
    struct held_back mine = {.borrowed = false}, theirs = {.borrowed = false};
    tp_share *a = OPEN("name=main"), *b = JOIN("name=main");
    pthread_t threads[] = {begin_holding(&mine, a), begin_holding(&theirs, b)};
    assert_int_equal(drain(a, 50, message), TP_ERR_TIMEOUT);
    assert_string_equal(message, "1 connection was still in use");
    assert_int_equal(asks(a), TP_ERR_POOL_CLOSED);
    atomic_store(&mine.release, true);
    pthread_join(threads[0], NULL);
    assert_int_equal(drain(a, 10000, NULL), TP_OK);
    assert_int_equal(asks(b), TP_OK); /* the pool goes on, and what b lent is still out */
    assert_int_equal(live_stats(tp_share_pool(b)).active, 1);
    atomic_store(&theirs.release, true);
    pthread_join(threads[1], NULL);
    tp_share_release(a);
    tp_share_release(b);
}

static void *drain_it(void *arg)
{
    return (void *)(uintptr_t)drain(arg, 10000, NULL);
}

static void draining_ends_as_soon_as_the_last_loan_is_back(void **state)
{
    (void)state;
    struct held_back held = {.borrowed = false};
    tp_share *a = OPEN("name=main"), *b = JOIN("name=main");
    pthread_t holder = begin_holding(&held, a), drainer;
    void *status = NULL;
    assert_int_equal(pthread_create(&drainer, NULL, drain_it, a), 0);
    int64_t until = tp_now() + FAKE_AT_MOST_US;
    while (!tp_share_is_closed(a) && tp_now() < until)
        usleep(1000);
    int64_t began = tp_now();
    atomic_store(&held.release, true);
    pthread_join(drainer, &status);
    assert_int_equal((uintptr_t)status, TP_OK);
    assert_true(tp_now() - began < 5 * 1000 * 1000);
    pthread_join(holder, NULL);
    tp_share_release(a);
    tp_share_release(b);
}

static void draining_the_last_share_drains_the_pool_and_frees_the_name(void **state)
{
    (void)state;
    struct held_back held = {.borrowed = false};
    tp_share *a = OPEN("name=main");
    pthread_t holder = begin_holding(&held, a), drainer;
    void *status = NULL;
    assert_int_equal(pthread_create(&drainer, NULL, drain_it, a), 0);
    int64_t until = tp_now() + FAKE_AT_MOST_US;
    while (tp_pool_get_state(tp_share_pool(a), NULL, NULL) != TP_POOL_DRAINING && tp_now() < until)
        usleep(1000);
    tp_share *b = OPEN("name=main");
    assert_int_equal(asks(b), TP_OK);
    atomic_store(&held.release, true);
    pthread_join(drainer, &status);
    pthread_join(holder, NULL);
    assert_int_equal((uintptr_t)status, TP_OK);
    assert_int_equal(tp_pool_get_state(tp_share_pool(a), NULL, NULL), TP_POOL_CLOSED);
    assert_int_equal(drain(a, 0, NULL), TP_OK);
    assert_int_equal(asks(b), TP_OK);
    tp_share_release(a);
    tp_share_release(b);
}

/* ------------------------------------------------------------------- events */

static int count_events(tp_share *share, enum tp_event_type type, int *firsts)
{
    struct tp_event event;
    bool first;
    int count = 0;
    while (tp_share_next_event(share, &event, &first)) {
        count += event.type == type;
        *firsts += event.type == type && first;
    }
    return count;
}

static void every_share_hears_of_what_comes_after_it_was_opened(void **state)
{
    (void)state;
    int firsts = 0;
    tp_share *a = OPEN("name=main");
    assert_int_equal(asks(a), TP_OK);
    tp_share *b = JOIN("name=main");
    assert_false(tp_share_has_events(b));
    tp_lease leases[] = {borrow(a), borrow(b)};
    assert_true(tp_share_has_events(b));
    assert_int_equal(count_events(b, TP_EVENT_CONNECT, &firsts), 1);
    assert_int_equal(count_events(a, TP_EVENT_CONNECT, &firsts), 2);
    assert_int_equal(firsts, 2);
    live_release(&leases[0]);
    live_release(&leases[1]);
    tp_share_release(a);
    tp_share_release(b);
}

/* ------------------------------------------------------------------ threads */

static void *open_and_close_often(void *arg)
{
    size_t wrong = 0;
    for (int i = 0; i < *(int *)arg; i++) {
        tp_share *share;
        struct tp_error err;
        bool joined;
        if (try_open(&share, LIST("url=", "name=main", "pool.min=0", "pool.max=2"), &joined,
                     &err) != TP_OK) {
            wrong++;
            continue;
        }
        if (i % 4 == 0)
            tp_share_close(share);
        else if (i % 4 == 1)
            wrong += drain(share, 5000, NULL) != TP_OK;
        tp_share_release(share);
    }
    return (void *)wrong;
}

static void threads_that_open_and_close_at_once_leave_nothing_behind(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    int rounds = fake_rounds(400);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close_often, &rounds), 0);
    for (int i = 0; i < THREADS; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    tp_share_release(OPEN("name=main")); /* the name is free */
}

/* --------------------------------------------------------------------- fork */

#define CHECK(condition)               \
    do {                               \
        if (!(condition))              \
            return __LINE__ % 250 + 1; \
    } while (0)

static void in_child(int (*body)(void *), void *arg)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka would go on with the other tests */
        signal(SIGABRT, SIG_DFL);
        alarm(30);
        _exit(body(arg));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* The share of another thread does not count in the child. */
struct family {
    tp_share *mine, *theirs;
    tp_lease lease;
    int pid;
};

static int close_mine(void *arg)
{
    struct family *family = arg;
    struct tp_error err;
    tp_pool *pool = tp_share_pool(family->mine);
    CHECK(tp_lease_is_inherited(&family->lease));
    CHECK(!tp_lease_valid(&family->lease));
    CHECK(tp_lease_release(&family->lease, &err) == TP_ERR_VALIDATION);
    CHECK(strstr(err.message, "parent process") != NULL);
    tp_share *joined;
    bool was_there;
    CHECK(try_open(&joined, LIST("name=main"), &was_there, &err) == TP_OK && was_there);
    CHECK(asks(joined) == TP_OK);
    CHECK(tp_lease_is_inherited(&family->lease)); /* also after the pool began afresh */
    tp_lease lease = borrow(joined);
    CHECK(tp_lease_backend_pid(&lease) != family->pid && !tp_lease_is_inherited(&lease));
    CHECK(tp_lease_release(&lease, &err) == TP_OK);
    tp_share_close(family->mine);
    CHECK(!tp_pool_is_closed(pool));
    tp_share_close(joined);
    CHECK(tp_pool_is_closed(pool));
    tp_share_close(family->theirs);
    return 0;
}

static void *open_theirs(void *arg)
{
    struct family *family = arg;
    family->theirs = JOIN("name=main");
    return NULL;
}

static void a_child_has_a_pool_of_its_own_under_the_name(void **state)
{
    (void)state;
    SKIP_IF_CHILD_CANNOT_START_THREADS();
    pthread_t thread;
    struct family family = {.mine = OPEN("name=main")};
    assert_int_equal(pthread_create(&thread, NULL, open_theirs, &family), 0);
    pthread_join(thread, NULL);
    family.lease = borrow(family.mine);
    family.pid = tp_lease_backend_pid(&family.lease);
    in_child(close_mine, &family);
    assert_true(tp_lease_valid(&family.lease));
    assert_false(tp_lease_is_inherited(&family.lease));
    live_release(&family.lease);
    assert_int_equal(asks(family.mine), TP_OK);
    assert_int_equal(asks(family.theirs), TP_OK);
    assert_int_equal(live_stats(tp_share_pool(family.mine)).connects, 1);
    tp_share_release(family.mine);
    tp_share_release(family.theirs);
}

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN true
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN false
#endif

/* Other threads are within what the databases keep under locks while this one forks. */
struct busy {
    tp_share *share;
    atomic_bool stop;
};

static void *keep_busy(void *arg)
{
    struct busy *busy = arg;
    tp_op *op = op_of(busy->share);
    size_t wrong = 0;
    for (unsigned i = 0; !atomic_load(&busy->stop); i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "select %u, array[1]::int[]", i % 300);
        struct ask ask = {.sql = sql};
        struct live_result *result;
        live_begin(op, NULL, &ask);
        wrong += live_collect(op, &ask, &result) != TP_DONE;
        live_result_free(result);
    }
    tp_op_free(op);
    return (void *)wrong;
}

/* Takes all of the locks, again and again. */
static void *forget_often(void *arg)
{
    struct busy *busy = arg;
    while (!atomic_load(&busy->stop))
        tp_pool_forget_types(tp_share_pool(busy->share));
    return NULL;
}

static int ask_and_close(void *arg)
{
    tp_share *share = *(tp_share **)arg;
    CHECK(asks(share) == TP_OK);
    tp_pool_forget_types(tp_share_pool(share));
    CHECK(asks(share) == TP_OK);
    tp_share_release(share);
    return 0;
}

static void a_child_of_a_busy_parent_finds_everything_whole(void **state)
{
    (void)state;
    SKIP_IF_CHILD_CANNOT_START_THREADS();
    if (UNDER_ASAN) {
        print_message("# skipped: AddressSanitizer's own allocator is not made for forks\n");
        skip();
    }
    tp_share *mine = OPEN("name=main");
    struct busy busy = {.share = JOIN("name=main")};
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, keep_busy, &busy), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, forget_often, &busy), 0);
    for (int i = 0; i < fake_rounds(40); i++)
        in_child(ask_and_close, &mine);
    atomic_store(&busy.stop, true);
    for (int i = 0; i < 2; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    tp_share_release(mine);
    tp_share_release(busy.share);
}

/* In a child threads may come upon the inherited pool at the same moment. */
static void *ask_once(void *arg)
{
    return (void *)(uintptr_t)asks(arg);
}

static int ask_from_threads(void *arg)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, ask_once, arg) == 0);
    for (int i = 0; i < 4; i++) {
        void *status = NULL;
        pthread_join(threads[i], &status);
        CHECK((uintptr_t)status == TP_OK);
    }
    struct tp_stats stats = live_stats(tp_share_pool(arg));
    CHECK(stats.active == 0 && stats.idle >= 1 && stats.idle <= 2);
    tp_share_release(arg);
    return 0;
}

static void threads_of_a_child_begin_afresh_once(void **state)
{
    (void)state;
    SKIP_IF_CHILD_CANNOT_START_THREADS();
    tp_share *share = OPEN("name=main");
    tp_lease lease = borrow(share);
    for (int i = 0; i < fake_rounds(20); i++)
        in_child(ask_from_threads, share);
    live_release(&lease);
    assert_int_equal(asks(share), TP_OK);
    tp_share_release(share);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_stands_for_one_pool),
        cmocka_unit_test(pools_without_a_name_are_not_shared),
        cmocka_unit_test(a_name_is_free_again_after_the_last_close),
        cmocka_unit_test(who_joins_may_say_again_what_the_pool_has),
        cmocka_unit_test(another_setting_is_refused_by_its_name),
        cmocka_unit_test(the_last_close_closes_the_pool),
        cmocka_unit_test(a_closed_share_lends_no_more_while_others_do),
        cmocka_unit_test(what_a_closed_share_has_lent_goes_back_to_the_pool),
        cmocka_unit_test(waiters_of_a_closed_share_are_refused_and_others_wait_on),
        cmocka_unit_test(operations_outlive_their_share),
        cmocka_unit_test(draining_a_share_waits_for_what_it_has_lent_alone),
        cmocka_unit_test(draining_ends_as_soon_as_the_last_loan_is_back),
        cmocka_unit_test(draining_the_last_share_drains_the_pool_and_frees_the_name),
        cmocka_unit_test(every_share_hears_of_what_comes_after_it_was_opened),
        cmocka_unit_test(threads_that_open_and_close_at_once_leave_nothing_behind),
        cmocka_unit_test(a_child_has_a_pool_of_its_own_under_the_name),
        cmocka_unit_test(a_child_of_a_busy_parent_finds_everything_whole),
        cmocka_unit_test(threads_of_a_child_begin_afresh_once),
    };
    if (!live_is_there())
        return 0;
    make_url();
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
