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
    if (us < 0) {
        us = 0;
    }
    histogram->count++;
    histogram->sum_us += (uint64_t)us;
    histogram->max_us = us > histogram->max_us ? us : histogram->max_us;
    histogram->buckets[bucket_of((uint64_t)us)]++;
}

void tp__histogram_merge(struct tp_histogram *into, const struct tp_histogram *from)
{
    into->count += from->count;
    into->sum_us += from->sum_us;
    into->max_us = from->max_us > into->max_us ? from->max_us : into->max_us;
    for (size_t i = 0; i < TP_HISTOGRAM_BUCKETS; i++) {
        into->buckets[i] += from->buckets[i];
    }
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

int64_t tp__histogram_quantile(const struct tp_histogram *histogram, double quantile)
{
    if (histogram->count == 0) {
        return 0;
    }
    uint64_t rank = rank_of(histogram->count, quantile);
    uint64_t seen = 0;
    for (size_t i = 0; i < TP_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank) {
            int64_t edge = upper_edge(i);
            return edge < histogram->max_us ? edge : histogram->max_us;
        }
    }
    return histogram->max_us;
}

void tp__histogram_summary(const struct tp_histogram *histogram, struct tp_latency *out)
{
    out->count = histogram->count;
    out->mean = histogram->count == 0 ? 0 : (int64_t)(histogram->sum_us / histogram->count);
    out->p50 = tp__histogram_quantile(histogram, 0.50);
    out->p95 = tp__histogram_quantile(histogram, 0.95);
    out->p99 = tp__histogram_quantile(histogram, 0.99);
    out->max = histogram->max_us;
}
