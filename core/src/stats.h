/* Log-linear histograms of durations.
 *
 * Each power of two of microseconds is divided into 16 equal buckets, so that a
 * percentile is off by at most 1/16 (6.25 %) of itself; values up to 15 µs are
 * exact. Values past 2^40 µs (12 days) go to the last bucket. Recording is a
 * few instructions and never allocates.
 * Owns: nothing (a plain struct of about 5 kB).
 * Thread: one writes at a time, others may read meanwhile: each word is atomic, and what is
 * read may lack what is recorded just then. */
#ifndef TP_STATS_H
#define TP_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "tidepool.h"

enum { TP_HISTOGRAM_SUB = 16, TP_HISTOGRAM_BUCKETS = TP_HISTOGRAM_SUB * (40 - 4 + 2) };

struct tp_histogram {
    _Atomic uint64_t sum_us, max_us;
    _Atomic uint64_t buckets[TP_HISTOGRAM_BUCKETS];
};

/* Adds to a word that nobody else writes to now: a locked instruction is not needed. */
static inline void tp__add(_Atomic uint64_t *word, uint64_t more)
{
    uint64_t now = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, now + more, memory_order_relaxed);
}

static inline uint64_t tp__read(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

void tp__histogram_clear(struct tp_histogram *histogram);
void tp__histogram_record(struct tp_histogram *histogram, int64_t us);
/* Adds `from` into `into`. */
void tp__histogram_merge(struct tp_histogram *into, const struct tp_histogram *from);
uint64_t tp__histogram_count(const struct tp_histogram *histogram);
/* The value below which `quantile` (0 to 1) of the values lie: the upper edge of
 * its bucket, never above the largest value recorded; 0 when empty. */
int64_t tp__histogram_quantile(const struct tp_histogram *histogram, double quantile);
void tp__histogram_summary(const struct tp_histogram *histogram, struct tp_latency *out);

#endif
