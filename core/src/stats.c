/* Log-linear histograms of durations.
 *
 * Buckets 0 to 15 hold the values 0 to 15. From 16 on, the values from 2^e to
 * 2^(e+1)-1 share 16 buckets of 2^(e-4) values each, so a bucket is never wider
 * than a sixteenth of its smallest value. The last bucket has whatever lies past
 * 2^40; its upper edge is the largest value recorded. */
#include "stats.h"

#include <string.h>

enum { SUB_BITS = 4, LAST_EXPONENT = 40, LAST_BUCKET = TP_HISTOGRAM_BUCKETS - 1 };

_Static_assert(1 << SUB_BITS == TP_HISTOGRAM_SUB, "SUB_BITS is the logarithm of TP_HISTOGRAM_SUB");
_Static_assert(LAST_BUCKET >= TP_HISTOGRAM_SUB * (LAST_EXPONENT - SUB_BITS + 1) + 1,
               "2^40 and what lies past it need a bucket each");

static size_t bucket_of(uint64_t us)
{
    if (us < TP_HISTOGRAM_SUB) {
        return (size_t)us;
    }
    if (us > UINT64_C(1) << LAST_EXPONENT) {
        return LAST_BUCKET;
    }
    unsigned shift = 63U - (unsigned)__builtin_clzll(us) - SUB_BITS;
    return TP_HISTOGRAM_SUB * (size_t)shift + (size_t)(us >> shift);
}

/* The largest value that falls into a bucket; the inverse of bucket_of. */
static int64_t upper_edge(size_t bucket)
{
    if (bucket < TP_HISTOGRAM_SUB) {
        return (int64_t)bucket;
    }
    if (bucket == LAST_BUCKET) {
        return INT64_MAX;
    }
    size_t shift = bucket / TP_HISTOGRAM_SUB - 1;
    int64_t first = (int64_t)(TP_HISTOGRAM_SUB + bucket % TP_HISTOGRAM_SUB);
    return ((first + 1) << shift) - 1;
}

void tp__histogram_clear(struct tp_histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void tp__histogram_record(struct tp_histogram *histogram, int64_t us)
{
    uint64_t value = us > 0 ? (uint64_t)us : 0;
    tp__add(&histogram->sum_us, value);
    if (value > tp__read(&histogram->max_us))
        atomic_store_explicit(&histogram->max_us, value, memory_order_relaxed);
    tp__add(&histogram->buckets[bucket_of(value)], 1);
}

void tp__histogram_merge(struct tp_histogram *into, const struct tp_histogram *from)
{
    uint64_t max = tp__read(&from->max_us);
    tp__add(&into->sum_us, tp__read(&from->sum_us));
    if (max > tp__read(&into->max_us))
        atomic_store_explicit(&into->max_us, max, memory_order_relaxed);
    for (size_t i = 0; i < TP_HISTOGRAM_BUCKETS; i++) {
        uint64_t more = tp__read(&from->buckets[i]);
        if (more > 0)
            tp__add(&into->buckets[i], more);
    }
}

uint64_t tp__histogram_count(const struct tp_histogram *histogram)
{
    uint64_t count = 0;
    for (size_t i = 0; i < TP_HISTOGRAM_BUCKETS; i++)
        count += tp__read(&histogram->buckets[i]);
    return count;
}

/* The nearest rank, from 1 to count; anything that is not within 0 to 1 (NaN
 * too) counts as the nearer end. */
static uint64_t rank_of(uint64_t count, double quantile)
{
    if (!(quantile > 0)) {
        return 1;
    }
    if (quantile >= 1) {
        return count;
    }
    double exact = quantile * (double)count;
    uint64_t rank = (uint64_t)exact;
    rank += (double)rank < exact;
    return rank == 0 ? 1 : rank;
}

static int64_t max_of(const struct tp_histogram *histogram)
{
    uint64_t max = tp__read(&histogram->max_us);
    return max < INT64_MAX ? (int64_t)max : INT64_MAX;
}

static int64_t quantile_of(const struct tp_histogram *histogram, uint64_t count, double quantile)
{
    int64_t max = max_of(histogram);
    uint64_t rank = rank_of(count, quantile), seen = 0;
    for (size_t i = 0; i < TP_HISTOGRAM_BUCKETS; i++) {
        seen += tp__read(&histogram->buckets[i]);
        if (seen >= rank) {
            int64_t edge = upper_edge(i);
            return edge < max ? edge : max;
        }
    }
    return max;
}

int64_t tp__histogram_quantile(const struct tp_histogram *histogram, double quantile)
{
    uint64_t count = tp__histogram_count(histogram);
    return count > 0 ? quantile_of(histogram, count, quantile) : 0;
}

/* A bucket that has a bound within it counts as a whole as being up to it. */
static void cumulate(const struct tp_histogram *histogram, struct tp_latency *out)
{
    uint64_t seen = 0;
    size_t next = 0;
    for (size_t b = 0; b < TP_LATENCY_BOUNDS; b++) {
        size_t last = bucket_of((uint64_t)tp_latency_bounds[b]);
        for (; next <= last; next++)
            seen += tp__read(&histogram->buckets[next]);
        out->up_to[b] = seen;
    }
}

const int64_t tp_latency_bounds[TP_LATENCY_BOUNDS] = {
    100,   250,    500,    1000,   2500,    5000,    10000,   25000,
    50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000,
};

void tp__histogram_summary(const struct tp_histogram *histogram, struct tp_latency *out)
{
    uint64_t count = tp__histogram_count(histogram);
    *out = (struct tp_latency){.count = count, .sum = tp__read(&histogram->sum_us)};
    cumulate(histogram, out);
    if (count == 0)
        return;
    out->mean = (int64_t)(out->sum / count);
    out->p50 = quantile_of(histogram, count, 0.50);
    out->p95 = quantile_of(histogram, count, 0.95);
    out->p99 = quantile_of(histogram, count, 0.99);
    out->p999 = quantile_of(histogram, count, 0.999);
    out->max = max_of(histogram);
}
