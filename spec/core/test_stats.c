/* stats.c: quantiles keep the bound that stats.h promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h" /* for its random numbers */
#include "stats.h"

enum { SAMPLES = 4999 }; /* no quantile of it is a whole rank */

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The value at the nearest rank of a sorted array. */
static int64_t exact_quantile(const int64_t *sorted, size_t n, double quantile)
{
    size_t rank = (size_t)(quantile * (double)n);
    rank += (double)rank < quantile * (double)n;
    return sorted[rank == 0 ? 0 : rank - 1];
}

static void check_bound(int64_t *values, size_t n)
{
    static const double quantiles[] = {0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1};
    struct tp_histogram histogram;
    tp__histogram_clear(&histogram);
    for (size_t i = 0; i < n; i++) {
        tp__histogram_record(&histogram, values[i]);
    }
    qsort(values, n, sizeof values[0], compare);
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        int64_t exact = exact_quantile(values, n, quantiles[i]);
        int64_t got = tp__histogram_quantile(&histogram, quantiles[i]);
        assert_true(got >= exact);
        assert_true(got - exact <= exact / 16);
        assert_true(got <= values[n - 1]);
    }
}

static void quantiles_are_within_a_sixteenth_of_the_truth(void **state)
{
    (void)state;
    static int64_t values[SAMPLES];
    uint64_t seed = 20240607;
    for (int magnitude = 1; magnitude <= 40; magnitude++) {
        for (size_t i = 0; i < SAMPLES; i++) {
            values[i] = tp__random_below(&seed, INT64_C(1) << magnitude);
        }
        check_bound(values, SAMPLES);
    }
    for (size_t i = 0; i < SAMPLES; i++) { /* all magnitudes at once */
        values[i] = tp__random_below(&seed, INT64_C(1) << tp__random_below(&seed, 41));
    }
    check_bound(values, SAMPLES);
}

/* The largest recorded value cuts every answer, so a much larger one goes in
 * first: the answer is then the bare edge of the bucket. */
static int64_t edge_above(int64_t us)
{
    struct tp_histogram histogram;
    tp__histogram_clear(&histogram);
    tp__histogram_record(&histogram, us);
    tp__histogram_record(&histogram, INT64_MAX);
    return tp__histogram_quantile(&histogram, 0.5);
}

static void every_value_up_to_15_is_exact(void **state)
{
    (void)state;
    for (int64_t us = 0; us <= 15; us++) {
        assert_int_equal(edge_above(us), us);
    }
}

static void edges_of_buckets_are_tight_up_to_the_last(void **state)
{
    (void)state;
    int64_t last = -1;
    for (int64_t us = 0; us < INT64_C(1) << 40; us = last + 1) {
        int64_t edge = edge_above(us);
        assert_true(edge > last);          /* the next bucket begins here */
        assert_true(edge - us <= us / 16); /* and is no wider than promised */
        assert_int_equal(edge_above(edge), edge);
        last = edge;
    }
    assert_int_equal(last, (INT64_C(1) << 40) - 1);
    assert_true(edge_above(INT64_C(1) << 40) <= (INT64_C(1) << 40) / 16 * 17);
}

static void values_past_the_range_share_the_last_bucket(void **state)
{
    (void)state;
    struct tp_histogram histogram;
    tp__histogram_clear(&histogram);
    tp__histogram_record(&histogram, (INT64_C(1) << 40) + 1);
    tp__histogram_record(&histogram, INT64_C(1) << 50);
    tp__histogram_record(&histogram, INT64_MAX);
    assert_int_equal(histogram.buckets[TP_HISTOGRAM_BUCKETS - 1], 3);
    assert_int_equal(tp__histogram_quantile(&histogram, 0.1), INT64_MAX);
}

static void negative_durations_count_as_zero(void **state)
{
    (void)state;
    struct tp_histogram histogram;
    tp__histogram_clear(&histogram);
    tp__histogram_record(&histogram, -5);
    tp__histogram_record(&histogram, INT64_MIN);
    assert_int_equal(tp__histogram_count(&histogram), 2);
    assert_int_equal(histogram.buckets[0], 2);
    assert_int_equal(histogram.sum_us, 0);
    assert_int_equal(tp__histogram_quantile(&histogram, 1), 0);
}

static void an_empty_histogram_says_zero(void **state)
{
    (void)state;
    struct tp_histogram histogram;
    struct tp_latency latency;
    memset(&histogram, 1, sizeof histogram);
    tp__histogram_clear(&histogram);
    memset(&latency, 1, sizeof latency);
    tp__histogram_summary(&histogram, &latency);
    assert_int_equal(tp__histogram_quantile(&histogram, 0.99), 0);
    assert_int_equal(latency.count, 0);
    assert_int_equal(latency.mean, 0);
    assert_int_equal(latency.p50, 0);
    assert_int_equal(latency.p95, 0);
    assert_int_equal(latency.p99, 0);
    assert_int_equal(latency.max, 0);
}

static void quantiles_out_of_range_are_the_ends(void **state)
{
    (void)state;
    struct tp_histogram histogram;
    tp__histogram_clear(&histogram);
    tp__histogram_record(&histogram, 3);
    tp__histogram_record(&histogram, 9);
    assert_int_equal(tp__histogram_quantile(&histogram, -1), 3);
    assert_int_equal(tp__histogram_quantile(&histogram, 2), 9);
    assert_int_equal(tp__histogram_quantile(&histogram, __builtin_nan("")), 3);
}

static void a_merge_is_as_if_recorded_together(void **state)
{
    (void)state;
    struct tp_histogram one, two, both;
    uint64_t seed = 11;
    tp__histogram_clear(&one);
    tp__histogram_clear(&two);
    tp__histogram_clear(&both);
    for (int i = 0; i < 1000; i++) {
        int64_t us = tp__random_below(&seed, 1000000);
        tp__histogram_record(i % 3 == 0 ? &one : &two, us);
        tp__histogram_record(&both, us);
    }
    tp__histogram_merge(&one, &two);
    assert_memory_equal(&one, &both, sizeof one);
}

static void a_summary_has_mean_percentiles_and_maximum(void **state)
{
    (void)state;
    struct tp_histogram histogram;
    struct tp_latency latency;
    tp__histogram_clear(&histogram);
    for (int64_t us = 1; us <= 1000; us++) {
        tp__histogram_record(&histogram, us);
    }
    tp__histogram_summary(&histogram, &latency);
    assert_int_equal(latency.count, 1000);
    assert_int_equal(latency.sum, 500500);
    assert_int_equal(latency.mean, 500);
    assert_int_equal(latency.max, 1000);
    assert_in_range(latency.p50, 500, 531);
    assert_in_range(latency.p95, 950, 1000);
    assert_in_range(latency.p99, 990, 1000);
    assert_in_range(latency.p999, 999, 1000);
}

static void a_summary_has_cumulative_counts_at_fixed_bounds(void **state)
{
    (void)state;
    static struct tp_histogram histogram;
    struct tp_latency latency;
    static int64_t values[SAMPLES];
    uint64_t seed = 5;
    tp__histogram_clear(&histogram);
    for (size_t i = 0; i < SAMPLES; i++) {
        values[i] = tp__random_below(&seed, INT64_C(1) << tp__random_below(&seed, 28));
        tp__histogram_record(&histogram, values[i]);
    }
    tp__histogram_summary(&histogram, &latency);
    for (size_t b = 0; b < TP_LATENCY_BOUNDS; b++) {
        int64_t bound = tp_latency_bounds[b];
        uint64_t least = 0, most = 0;
        for (size_t i = 0; i < SAMPLES; i++) {
            least += values[i] <= bound;
            most += values[i] <= bound + bound / 16;
        }
        assert_in_range(latency.up_to[b], least, most);
        assert_true(b == 0 || latency.up_to[b] >= latency.up_to[b - 1]);
    }
    assert_true(latency.up_to[TP_LATENCY_BOUNDS - 1] <= latency.count);
    assert_true(latency.p99 <= latency.p999 && latency.p999 <= latency.max);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_within_a_sixteenth_of_the_truth),
        cmocka_unit_test(every_value_up_to_15_is_exact),
        cmocka_unit_test(edges_of_buckets_are_tight_up_to_the_last),
        cmocka_unit_test(values_past_the_range_share_the_last_bucket),
        cmocka_unit_test(negative_durations_count_as_zero),
        cmocka_unit_test(an_empty_histogram_says_zero),
        cmocka_unit_test(quantiles_out_of_range_are_the_ends),
        cmocka_unit_test(a_merge_is_as_if_recorded_together),
        cmocka_unit_test(a_summary_has_mean_percentiles_and_maximum),
        cmocka_unit_test(a_summary_has_cumulative_counts_at_fixed_bounds),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
