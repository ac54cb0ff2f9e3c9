/* wake.c: rings are not lost, count as one, and cost nothing once rung. */
#include "fake_pool.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "wake.h"

static bool readable(const struct tp_wake *wake, int timeout_ms)
{
    struct pollfd on = {.fd = tp__wake_fd(wake), .events = POLLIN};
    return poll(&on, 1, timeout_ms) == 1;
}

static void a_ring_makes_it_readable_until_it_is_cleared(void **state)
{
    (void)state;
    struct tp_wake *wake = tp__wake_new();
    assert_non_null(wake);
    assert_false(readable(wake, 0));
    assert_false(tp__wake_clear(wake)); /* nobody has rung */
    tp__wake_ring(wake);
    assert_true(readable(wake, 0));
    assert_true(tp__wake_clear(wake));
    assert_false(readable(wake, 0));
    assert_false(tp__wake_clear(wake));
    tp__wake_release(wake);
}

static void many_rings_count_as_one(void **state)
{
    (void)state;
    struct tp_wake *wake = tp__wake_new();
    uint64_t count = 0;
    for (int i = 0; i < 1000; i++)
        tp__wake_ring(wake);
    assert_int_equal(read(tp__wake_fd(wake), &count, sizeof count), sizeof count);
    assert_int_equal(count, 1); /* one system call for all of them */
    assert_true(tp__wake_clear(wake));
    tp__wake_ring(wake); /* and it rings again afterwards */
    assert_true(readable(wake, 0));
    assert_true(tp__wake_clear(wake));
    tp__wake_release(wake);
}

static void the_last_reference_closes_the_descriptor(void **state)
{
    (void)state;
    struct tp_wake *wake = tp__wake_new();
    int fd = tp__wake_fd(wake);
    assert_ptr_equal(tp__wake_retain(wake), wake);
    tp__wake_release(wake);
    tp__wake_ring(wake); /* is still there */
    assert_true(readable(wake, 0));
    int copy = dup(fd);
    tp__wake_release(wake);
    assert_int_equal(close(fd), -1);
    close(copy);
    tp__wake_release(NULL);
}

struct bells {
    struct tp_wake *wake;
    atomic_int rung; /* work that was left before the ring */
    int rings;
};

static void *ring_often(void *arg)
{
    struct bells *bells = arg;
    for (int i = 0; i < bells->rings; i++) {
        atomic_fetch_add(&bells->rung, 1);
        tp__wake_ring(bells->wake);
    }
    return NULL;
}

/* Who clears first and looks for work then, and sleeps when there is none, sees all. */
static void no_ring_is_lost_between_threads(void **state)
{
    (void)state;
    enum { RINGERS = 3 };
    struct bells bells = {.wake = tp__wake_new(), .rung = 0, .rings = fake_rounds(1000000)};
    pthread_t threads[RINGERS];
    int seen = 0;
    for (int i = 0; i < RINGERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ring_often, &bells), 0);
    while (seen < RINGERS * bells.rings) {
        assert_true(readable(bells.wake, 20000)); /* else: work is left and nobody rings */
        assert_true(tp__wake_clear(bells.wake));
        seen = atomic_load(&bells.rung);
    }
    for (int i = 0; i < RINGERS; i++)
        pthread_join(threads[i], NULL);
    tp__wake_release(bells.wake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_makes_it_readable_until_it_is_cleared),
        cmocka_unit_test(many_rings_count_as_one),
        cmocka_unit_test(the_last_reference_closes_the_descriptor),
        cmocka_unit_test(no_ring_is_lost_between_threads),
    };
    return cmocka_run_group_tests_name("wake", tests, NULL, NULL);
}
