/* Reactors: one descriptor for any number of operations that wait. Pauses need no server. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tidepool.h"

enum { SOON_MS = 5000, OPS = 100 };

struct fixture {
    tp_pool *pool;
    tp_reactor *reactor;
    tp_op *ops[OPS];
};

static const char *no_variable(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
    return NULL;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    struct tp_error err;
    tp_config *config = tp_config_new();
    assert_non_null(config);
    assert_int_equal(tp_config_resolve(config, no_variable, NULL, &err), TP_OK);
    assert_int_equal(tp_pool_open(&fixture.pool, config, &err), TP_OK);
    fixture.reactor = tp_reactor_new();
    assert_non_null(fixture.reactor);
    for (int i = 0; i < OPS; i++) {
        fixture.ops[i] = tp_op_new(fixture.pool);
        assert_non_null(fixture.ops[i]);
        tp_op_use(fixture.ops[i], fixture.reactor, (uintptr_t)i + 1);
    }
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < OPS; i++)
        tp_op_free(fixture->ops[i]);
    tp_reactor_release(fixture->reactor);
    tp_pool_release(fixture->pool);
    return 0;
}

static void pause_for(const struct fixture *fixture, int i, int64_t ms)
{
    tp_op_pause(fixture->ops[i], tp_deadline_in_ms(ms));
    assert_int_equal(tp_reactor_step(fixture->ops[i]), TP_WAIT);
}

static bool readable_within(const struct fixture *fixture, int ms)
{
    struct pollfd item = {.fd = tp_reactor_fd(fixture->reactor), .events = POLLIN};
    return poll(&item, 1, ms) == 1;
}

static void the_earliest_deadline_is_known(void **state)
{
    struct fixture *fixture = *state;
    int64_t earliest = tp_deadline_in_ms(1000);
    for (int i = 0; i < OPS; i++)
        pause_for(fixture, i, 1000 + (i * 37) % OPS * 1000);
    assert_int_equal(tp_reactor_waiting(fixture->reactor), OPS);
    assert_in_range(tp_reactor_sleep(fixture->reactor), earliest, tp_deadline_in_ms(1000));
    tp_op_abandon(fixture->ops[0]);
    assert_in_range(tp_reactor_sleep(fixture->reactor), earliest + 1000 * 1000,
                    tp_deadline_in_ms(2000));
}

static void what_has_waited_long_enough_comes_next(void **state)
{
    struct fixture *fixture = *state;
    pause_for(fixture, 0, SOON_MS);
    pause_for(fixture, 1, 1);
    assert_true(tp_reactor_set_alarm(fixture->reactor));
    assert_true(readable_within(fixture, SOON_MS));
    tp_reactor_look(fixture->reactor);
    assert_ptr_equal(tp_reactor_next(fixture->reactor), fixture->ops[1]);
    assert_null(tp_reactor_next(fixture->reactor));
    assert_int_equal(tp_reactor_step(fixture->ops[1]), TP_DONE);
    assert_int_equal(tp_reactor_waiting(fixture->reactor), 1);
}

static void an_alarm_is_brought_forward_and_rings_again_after_it_has_rung(void **state)
{
    struct fixture *fixture = *state;
    pause_for(fixture, 0, SOON_MS);
    assert_true(tp_reactor_set_alarm(fixture->reactor));
    assert_false(readable_within(fixture, 20));
    for (int i = 1; i < 4; i++) {
        tp_reactor_look(fixture->reactor);
        pause_for(fixture, i, 5);
        assert_true(tp_reactor_set_alarm(fixture->reactor));
        assert_true(readable_within(fixture, SOON_MS / 2));
        tp_reactor_look(fixture->reactor);
        assert_ptr_equal(tp_reactor_next(fixture->reactor), fixture->ops[i]);
        assert_false(readable_within(fixture, 0));
    }
}

static void a_loop_that_sleeps_hears_of_an_earlier_deadline(void **state)
{
    struct fixture *fixture = *state;
    pause_for(fixture, 0, SOON_MS);
    (void)tp_reactor_sleep(fixture->reactor);
    assert_false(readable_within(fixture, 0));
    pause_for(fixture, 1, 1000);
    assert_true(readable_within(fixture, 0));
}

static void a_loop_that_sleeps_hears_that_nobody_waits_any_more(void **state)
{
    struct fixture *fixture = *state;
    pause_for(fixture, 0, SOON_MS);
    pause_for(fixture, 1, SOON_MS);
    (void)tp_reactor_sleep(fixture->reactor);
    tp_op_abandon(fixture->ops[0]);
    assert_false(readable_within(fixture, 0));
    tp_op_abandon(fixture->ops[1]);
    assert_true(readable_within(fixture, 0));
    tp_reactor_look(fixture->reactor);
    assert_int_equal(tp_reactor_waiting(fixture->reactor), 0);
    assert_null(tp_reactor_next(fixture->reactor));
    assert_false(readable_within(fixture, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_earliest_deadline_is_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_waited_long_enough_comes_next, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            an_alarm_is_brought_forward_and_rings_again_after_it_has_rung, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loop_that_sleeps_hears_of_an_earlier_deadline, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_loop_that_sleeps_hears_that_nobody_waits_any_more, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
