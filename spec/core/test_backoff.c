/* backoff.c: delays keep to their bounds and spread over them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "backoff.h"

static int64_t ceiling_of(int64_t base, int64_t max, int attempt)
{
    double ceiling = (double)base;
    for (int i = 1; i < attempt; i++) {
        ceiling *= 2;
    }
    return ceiling < (double)max ? (int64_t)ceiling : max;
}

static void each_delay_lies_between_half_its_ceiling_and_the_ceiling(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct tp_backoff backoff;
        tp__backoff_init(&backoff, 1000, 60000, seed);
        for (int attempt = 1; attempt <= 12; attempt++) {
            int64_t ceiling = ceiling_of(1000, 60000, attempt);
            int64_t delay = tp__backoff_next(&backoff);
            assert_in_range(delay, ceiling / 2, ceiling);
            assert_int_equal(backoff.attempt, attempt);
        }
    }
}

/* Counts the draws of many seeds in ten parts of [low, high]; an even draw of
 * 20,000 has 2,000 in each part, with a standard deviation of about 42. */
static void assert_even(const int parts[10])
{
    for (int i = 0; i < 10; i++) {
        assert_in_range(parts[i], 1750, 2250);
    }
}

static void the_delays_of_a_herd_spread_evenly(void **state)
{
    (void)state;
    int parts[10] = {0};
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        struct tp_backoff backoff;
        tp__backoff_init(&backoff, 10000, 1000000, seed);
        (void)tp__backoff_next(&backoff);
        int64_t delay = tp__backoff_next(&backoff) - 10000; /* of 10000 to 20000 */
        parts[delay == 10000 ? 9 : delay / 1000]++;
    }
    assert_even(parts);
}

static void one_generator_draws_evenly_too(void **state)
{
    (void)state;
    int parts[10] = {0};
    uint64_t seed = 42;
    for (int i = 0; i < 20000; i++) {
        parts[tp__random_below(&seed, 10)]++;
    }
    assert_even(parts);
}

/* With bound 3 * 2^61 a plain remainder of 64 bits would give the lower two thirds
 * 22,500 of 30,000 draws: each value there has three preimages, others two. */
static void a_large_bound_is_not_biased(void **state)
{
    (void)state;
    int lower = 0;
    uint64_t seed = 7;
    int64_t third = INT64_C(1) << 61;
    for (int i = 0; i < 30000; i++) {
        lower += tp__random_below(&seed, 3 * third) < third * 2;
    }
    assert_in_range(lower, 19500, 20500);
}

static void a_draw_is_below_its_bound(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int64_t bound = 1; bound > 0 && bound < INT64_MAX / 3; bound = bound * 3 + 1) {
        for (int i = 0; i < 100; i++) {
            int64_t draw = tp__random_below(&seed, bound);
            assert_true(draw >= 0 && draw < bound);
        }
    }
    assert_int_equal(tp__random_below(&seed, 0), 0);
    assert_int_equal(tp__random_below(&seed, -5), 0);
}

static void the_same_seed_gives_the_same_delays(void **state)
{
    (void)state;
    struct tp_backoff one, two, other;
    tp__backoff_init(&one, 1000000, 64000000, 99);
    tp__backoff_init(&two, 1000000, 64000000, 99);
    tp__backoff_init(&other, 1000000, 64000000, 100);
    int same_as_other = 0;
    for (int i = 0; i < 10; i++) {
        int64_t delay = tp__backoff_next(&one);
        assert_int_equal(delay, tp__backoff_next(&two));
        same_as_other += delay == tp__backoff_next(&other);
    }
    assert_in_range(same_as_other, 0, 2);
}

static void seed_zero_differs_from_object_to_object(void **state)
{
    (void)state;
    struct tp_backoff herd[50];
    for (int i = 0; i < 50; i++) {
        tp__backoff_init(&herd[i], 1000000000, 1000000000, 0);
        int64_t delay = tp__backoff_next(&herd[i]);
        for (int j = 0; j < i; j++) {
            assert_int_not_equal(herd[i].seed, herd[j].seed);
        }
        assert_in_range(delay, 500000000, 1000000000);
    }
}

static void reset_begins_again_at_the_base(void **state)
{
    (void)state;
    struct tp_backoff backoff;
    tp__backoff_init(&backoff, 1000, 1000000, 5);
    for (int i = 0; i < 8; i++) {
        (void)tp__backoff_next(&backoff);
    }
    tp__backoff_reset(&backoff);
    assert_in_range(tp__backoff_next(&backoff), 500, 1000);
}

static void extreme_settings_neither_overflow_nor_hang(void **state)
{
    (void)state;
    struct tp_backoff backoff;
    tp__backoff_init(&backoff, 1, INT64_MAX, 5);
    backoff.attempt = INT32_MAX;
    assert_true(tp__backoff_next(&backoff) >= INT64_MAX / 2);
    assert_true(tp__backoff_next(&backoff) >= INT64_MAX / 2);
    tp__backoff_init(&backoff, 5000, 100, 5); /* the base is above the cut */
    assert_in_range(tp__backoff_next(&backoff), 50, 100);
    tp__backoff_init(&backoff, 0, 1000, 5);
    backoff.attempt = INT32_MAX;
    assert_int_equal(tp__backoff_next(&backoff), 0);
    tp__backoff_init(&backoff, -5, -9, 5);
    assert_int_equal(tp__backoff_next(&backoff), 0);
}

static void the_smallest_delay_is_not_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 100; seed++) {
        struct tp_backoff backoff;
        tp__backoff_init(&backoff, 1, 1, seed);
        assert_int_equal(tp__backoff_next(&backoff), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_delay_lies_between_half_its_ceiling_and_the_ceiling),
        cmocka_unit_test(the_delays_of_a_herd_spread_evenly),
        cmocka_unit_test(one_generator_draws_evenly_too),
        cmocka_unit_test(a_large_bound_is_not_biased),
        cmocka_unit_test(a_draw_is_below_its_bound),
        cmocka_unit_test(the_same_seed_gives_the_same_delays),
        cmocka_unit_test(seed_zero_differs_from_object_to_object),
        cmocka_unit_test(reset_begins_again_at_the_base),
        cmocka_unit_test(extreme_settings_neither_overflow_nor_hang),
        cmocka_unit_test(the_smallest_delay_is_not_at_once),
    };
    return cmocka_run_group_tests_name("backoff", tests, NULL, NULL);
}
