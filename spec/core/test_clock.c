/* clock.c: time goes on, and deadlines neither overflow nor come early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#include "clock.h"

static void time_never_runs_backwards(void **state)
{
    (void)state;
    int64_t last = tp_now();
    for (int i = 0; i < 100000; i++) {
        int64_t now = tp_now();
        assert_true(now >= last);
        last = now;
    }
}

static void time_is_in_microseconds(void **state)
{
    (void)state;
    struct timespec pause = {.tv_sec = 0, .tv_nsec = 20 * 1000 * 1000};
    int64_t before = tp_now();
    assert_int_equal(nanosleep(&pause, NULL), 0);
    int64_t slept = tp_now() - before;
    assert_in_range(slept, 20000, 5000000);
}

static void the_coarse_clock_is_the_same_clock(void **state)
{
    (void)state;
    int64_t fine = tp_now();
    int64_t coarse = tp__now_coarse();
    assert_true(llabs(coarse - fine) < 1000000);
}

static void the_wall_clock_counts_from_1970(void **state)
{
    (void)state;
    int64_t seconds = tp__wall_us() / 1000000;
    assert_true(llabs(seconds - (int64_t)time(NULL)) <= 2);
}

static void a_deadline_is_milliseconds_from_now(void **state)
{
    (void)state;
    int64_t before = tp_now();
    int64_t deadline = tp_deadline_in_ms(250);
    assert_true(deadline >= before + 250000);
    assert_true(deadline <= tp_now() + 250000);
    assert_true(tp_deadline_in_ms(0) <= tp_now());
}

static void a_negative_or_endless_time_is_never(void **state)
{
    (void)state;
    assert_int_equal(tp_deadline_in_ms(-1), TP_NEVER);
    assert_int_equal(tp_deadline_in_ms(INT64_MAX), TP_NEVER);
    assert_int_equal(tp_deadline_in_ms(INT64_MAX / 1000), TP_NEVER);
    assert_int_equal(tp__after(5, -1), TP_NEVER);
    assert_int_equal(tp__after(5, TP_NEVER), TP_NEVER);
    assert_int_equal(tp__after(5, TP_NEVER - 4), TP_NEVER);
}

static void after_adds_where_the_sum_fits(void **state)
{
    (void)state;
    assert_int_equal(tp__after(5, 0), 5);
    assert_int_equal(tp__after(5, 7), 12);
    assert_int_equal(tp__after(5, TP_NEVER - 6), TP_NEVER - 1);
    assert_int_equal(tp__after(0, TP_NEVER), TP_NEVER);
}

static void poll_gets_milliseconds_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(tp__poll_ms(1001, 1), 1);
    assert_int_equal(tp__poll_ms(1002, 1), 2);
    assert_int_equal(tp__poll_ms(2, 1), 1);
    assert_int_equal(tp__poll_ms(1, 1), 0);
    assert_int_equal(tp__poll_ms(1, 2), 0);
    assert_int_equal(tp__poll_ms(TP_NEVER, 1), -1);
    assert_int_equal(tp__poll_ms(TP_NEVER - 1, 1), INT_MAX);
}

static void a_timespec_is_the_same_moment(void **state)
{
    (void)state;
    struct timespec ts = tp__timespec(3000042);
    assert_int_equal(ts.tv_sec, 3);
    assert_int_equal(ts.tv_nsec, 42000);
    ts = tp__timespec(-5);
    assert_int_equal(ts.tv_sec, 0);
    assert_int_equal(ts.tv_nsec, 0);
}

static int wait_until(int64_t deadline)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_condattr_t attr;
    pthread_cond_t cond;
    struct timespec ts = tp__timespec(deadline);
    assert_int_equal(pthread_condattr_init(&attr), 0);
    assert_int_equal(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC), 0);
    assert_int_equal(pthread_cond_init(&cond, &attr), 0);
    assert_int_equal(pthread_mutex_lock(&lock), 0);
    int rc = 0;
    while (rc == 0) { /* a spurious wakeup is no timeout */
        rc = pthread_cond_timedwait(&cond, &lock, &ts);
    }
    assert_int_equal(pthread_mutex_unlock(&lock), 0);
    assert_int_equal(pthread_cond_destroy(&cond), 0);
    assert_int_equal(pthread_condattr_destroy(&attr), 0);
    return rc;
}

static void a_timed_wait_does_not_end_before_the_deadline(void **state)
{
    (void)state;
    int64_t deadline = tp_deadline_in_ms(15);
    assert_int_equal(wait_until(deadline), ETIMEDOUT);
    assert_true(tp_now() >= deadline);
}

static void never_is_a_valid_time_in_the_far_future(void **state)
{
    (void)state;
    struct timespec ts = tp__timespec(TP_NEVER);
    int64_t ten_years_s = INT64_C(10) * 365 * 86400;
    assert_true(ts.tv_sec > tp_now() / 1000000 + ten_years_s);
    assert_true(ts.tv_sec <= INT32_MAX);
    assert_in_range(ts.tv_nsec, 0, 999999999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_never_runs_backwards),
        cmocka_unit_test(time_is_in_microseconds),
        cmocka_unit_test(the_coarse_clock_is_the_same_clock),
        cmocka_unit_test(the_wall_clock_counts_from_1970),
        cmocka_unit_test(a_deadline_is_milliseconds_from_now),
        cmocka_unit_test(a_negative_or_endless_time_is_never),
        cmocka_unit_test(after_adds_where_the_sum_fits),
        cmocka_unit_test(poll_gets_milliseconds_rounded_up),
        cmocka_unit_test(a_timespec_is_the_same_moment),
        cmocka_unit_test(a_timed_wait_does_not_end_before_the_deadline),
        cmocka_unit_test(never_is_a_valid_time_in_the_far_future),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
