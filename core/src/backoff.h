/* Exponential backoff with jitter.
 *
 * The n-th delay is drawn evenly from the upper half of [0, ceiling], or another part of it, where
 * ceiling is base * 2^(n-1) cut at max: it spreads a herd and never retries at once.
 * Owns: nothing. Thread: one object is used by one thread at a time. */
#ifndef TP_BACKOFF_H
#define TP_BACKOFF_H

#include <stdint.h>

struct tp_backoff {
    int64_t base_us, max_us;
    int jitter;    /* how much of the ceiling is drawn, in percent: 50 */
    int attempt;   /* delays given since the last reset */
    uint64_t seed; /* state of the generator (splitmix64) */
};

/* `seed` 0 means: from the clock and the address of the object. */
void tp__backoff_init(struct tp_backoff *backoff, int64_t base_us, int64_t max_us, uint64_t seed);
void tp__backoff_reset(struct tp_backoff *backoff);
/* The next delay in microseconds. */
int64_t tp__backoff_next(struct tp_backoff *backoff);
/* An even draw from [0, bound); 0 when bound is not positive. Also used for the
 * jitter of lifetimes. */
int64_t tp__random_below(uint64_t *seed, int64_t bound);

#endif
