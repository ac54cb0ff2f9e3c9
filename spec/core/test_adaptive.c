/* adaptive.c: a limit that follows the throughput of models of servers. */
#include "fake_pool.h"

#include "adaptive.h"

/* What a server with `cores` processors does with so many connections, per window; past the knee
 * each connection costs a little. */
static double rate_of(int connections, double cores)
{
    double busy = connections < cores ? connections : cores;
    return 1000 * busy * (1 - 0.005 * connections);
}

struct model {
    struct tp_adaptive adaptive;
    struct tp_adaptive_counts counts;
    int64_t now;
    uint64_t seed;
};

static void begin(struct model *model, int min, int max)
{
    *model = (struct model){.now = 1, .seed = 7};
    tp__adaptive_init(&model->adaptive, true, min, max);
    tp__adaptive_look(&model->adaptive, &model->counts, model->now += TP_ADAPTIVE_WINDOW_US);
}

/* A window in which callers wait, or not; with a noise of one percent. */
static void pass(struct model *model, double cores, bool saturated)
{
    double noise = 0.99 + (double)tp__random_below(&model->seed, 2000) / 100000;
    uint64_t done = (uint64_t)(rate_of(model->adaptive.limit, cores) * noise);
    model->counts.queries += done;
    model->counts.returned += done;
    model->counts.handed += saturated ? done : done / 10;
    model->counts.waiting = saturated;
    tp__adaptive_look(&model->adaptive, &model->counts, model->now += TP_ADAPTIVE_WINDOW_US);
}

static void it_finds_the_number_past_which_throughput_stops_rising(void **state)
{
    (void)state;
    static const int cores[] = {1, 2, 4, 12};
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++) {
        struct model model;
        begin(&model, 0, 32);
        for (int n = 0; n < 200; n++)
            pass(&model, cores[i], true);
        for (int n = 0; n < 200; n++) {
            pass(&model, cores[i], true);
            assert_in_range(model.adaptive.limit, cores[i] * 3 / 4, cores[i] + 3);
        }
    }
}

static void it_follows_a_server_that_changes(void **state)
{
    (void)state;
    struct model model;
    begin(&model, 1, 32);
    for (int n = 0; n < 300; n++)
        pass(&model, 2, true);
    for (int n = 0; n < 500; n++)
        pass(&model, 8, true);
    assert_in_range(model.adaptive.limit, 6, 11);
    for (int n = 0; n < 1000; n++)
        pass(&model, 2, true);
    assert_in_range(model.adaptive.limit, 2, 4);
}

static void it_stays_within_min_and_max(void **state)
{
    (void)state;
    struct model model;
    begin(&model, 4, 6);
    for (int n = 0; n < 300; n++) {
        pass(&model, n < 150 ? 1 : 30, true);
        assert_in_range(model.adaptive.limit, 4, 6);
    }
}

static void without_waiting_callers_nothing_is_changed(void **state)
{
    (void)state;
    struct model model;
    begin(&model, 3, 32);
    for (int n = 0; n < 100; n++)
        pass(&model, 8, false);
    assert_int_equal(model.adaptive.limit, 3);
}

static void those_who_hold_all_and_wait_get_more(void **state)
{
    (void)state;
    struct model model;
    begin(&model, 1, 4);
    for (int n = 0; n < 10; n++) {
        model.counts.waiting = 1;
        tp__adaptive_look(&model.adaptive, &model.counts, model.now += TP_ADAPTIVE_WINDOW_US);
    }
    assert_int_equal(model.adaptive.limit, 4);
}

static void switched_off_the_limit_is_the_maximum(void **state)
{
    (void)state;
    struct tp_adaptive adaptive;
    struct tp_adaptive_counts counts = {.waiting = 1};
    tp__adaptive_init(&adaptive, false, 1, 9);
    tp__adaptive_look(&adaptive, &counts, TP_ADAPTIVE_WINDOW_US);
    assert_int_equal(adaptive.limit, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_the_number_past_which_throughput_stops_rising),
        cmocka_unit_test(it_follows_a_server_that_changes),
        cmocka_unit_test(it_stays_within_min_and_max),
        cmocka_unit_test(without_waiting_callers_nothing_is_changed),
        cmocka_unit_test(those_who_hold_all_and_wait_get_more),
        cmocka_unit_test(switched_off_the_limit_is_the_maximum),
    };
    return cmocka_run_group_tests_name("adaptive", tests, NULL, NULL);
}
