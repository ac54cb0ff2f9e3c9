/* errand.c: a blocking call elsewhere; forgotten or awaited, it is freed once. */
#include "fake_pool.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "errand.h"

struct job {
    struct tp_errand errand;
    atomic_bool go;
    pthread_t thread;
    sigset_t mask;
    int written;
};

static atomic_int destroyed;

static void job_run(struct tp_errand *errand)
{
    struct job *job = TP_CONTAINER(errand, struct job, errand);
    job->thread = pthread_self();
    pthread_sigmask(SIG_SETMASK, NULL, &job->mask);
    while (!atomic_load(&job->go))
        fake_breathe();
    job->written = 42;
}

static void job_destroy(struct tp_errand *errand)
{
    free(TP_CONTAINER(errand, struct job, errand));
    atomic_fetch_add(&destroyed, 1);
}

static struct job *new_job(bool go)
{
    struct job *job = calloc(1, sizeof *job);
    assert_non_null(job);
    job->errand.run = job_run;
    job->errand.destroy = job_destroy;
    atomic_store(&job->go, go);
    return job;
}

static bool rings(struct tp_wake *wake)
{
    struct pollfd on = {.fd = tp__wake_fd(wake), .events = POLLIN};
    return poll(&on, 1, 20000) == 1;
}

static void it_runs_elsewhere_and_rings_when_it_is_done(void **state)
{
    (void)state;
    struct tp_wake *wake = tp__wake_new();
    struct job *job = new_job(false);
    atomic_store(&destroyed, 0);
    assert_true(tp__errand_start(&job->errand, wake));
    assert_false(tp__errand_done(&job->errand));
    atomic_store(&job->go, true);
    assert_true(rings(wake));
    assert_true(tp__errand_done(&job->errand)); /* done before the ring */
    assert_int_equal(job->written, 42);
    assert_false(pthread_equal(job->thread, pthread_self()));
    assert_int_equal(destroyed, 0); /* the sender still has it */
    tp__errand_release(&job->errand);
    AWAIT(destroyed == 1);
    tp__wake_release(wake);
}

static void its_thread_takes_no_signals(void **state)
{
    (void)state;
    struct tp_wake *wake = tp__wake_new();
    struct job *job = new_job(true);
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_true(tp__errand_start(&job->errand, wake));
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    AWAIT(tp__errand_done(&job->errand));
    assert_true(sigismember(&job->mask, SIGINT) && sigismember(&job->mask, SIGTERM) &&
                sigismember(&job->mask, SIGCHLD) && sigismember(&job->mask, SIGALRM));
    assert_int_equal(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
    tp__errand_release(&job->errand);
    tp__wake_release(wake);
}

/* The pool that sent it is long gone: the errand keeps the wake-up alive. */
static void one_that_was_forgotten_ends_by_itself(void **state)
{
    (void)state;
    struct tp_wake *wake = tp__wake_new();
    struct job *job = new_job(false);
    int own = tp__wake_fd(wake), fd = dup(own);
    struct pollfd on = {.fd = fd, .events = POLLIN};
    atomic_store(&destroyed, 0);
    assert_true(tp__errand_start(&job->errand, wake));
    atomic_bool *go = &job->go;
    tp__wake_release(wake);
    tp__errand_release(&job->errand);
    assert_int_equal(destroyed, 0);
    atomic_store(go, true);
    AWAIT(destroyed == 1);
    assert_int_equal(poll(&on, 1, 0), 1);
    AWAIT(fcntl(own, F_GETFD) == -1);
    close(fd);
}

static void whoever_is_last_frees_it_once(void **state)
{
    (void)state;
    struct tp_wake *wake = tp__wake_new();
    int rounds = fake_rounds(300);
    atomic_store(&destroyed, 0);
    for (int i = 0; i < rounds; i++) {
        struct job *job = new_job(true);
        assert_true(tp__errand_start(&job->errand, wake));
        if (i % 2 == 0)
            AWAIT(tp__errand_done(&job->errand));
        tp__errand_release(&job->errand);
    }
    AWAIT(destroyed == rounds);
    tp__errand_release(NULL);
    tp__wake_release(wake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_runs_elsewhere_and_rings_when_it_is_done),
        cmocka_unit_test(its_thread_takes_no_signals),
        cmocka_unit_test(one_that_was_forgotten_ends_by_itself),
        cmocka_unit_test(whoever_is_last_frees_it_once),
    };
    return cmocka_run_group_tests_name("errand", tests, NULL, NULL);
}
