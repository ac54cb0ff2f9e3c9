/* Exponential backoff, and the random numbers that it and others jitter by. */
#include "backoff.h"

#include <limits.h>

#include "clock.h"

/* splitmix64: one addition and a finaliser, any seed is good. Source: Steele,
 * Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t next_random(uint64_t *seed)
{
    *seed += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = *seed;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

int64_t tp__random_below(uint64_t *seed, int64_t bound)
{
    if (bound <= 0) {
        return 0;
    }
    /* 2^64 mod bound of the smallest draws are thrown away: the others fall
     * evenly on the remainders. */
    uint64_t n = (uint64_t)bound;
    uint64_t surplus = (0 - n) % n;
    uint64_t draw;
    do {
        draw = next_random(seed);
    } while (draw < surplus);
    return (int64_t)(draw % n);
}

void tp__backoff_init(struct tp_backoff *backoff, int64_t base_us, int64_t max_us, uint64_t seed)
{
    backoff->base_us = base_us < 0 ? 0 : base_us;
    backoff->max_us = max_us < 0 ? 0 : max_us;
    backoff->jitter = 50;
    backoff->attempt = 0;
    backoff->seed = seed;
    if (seed == 0) {
        backoff->seed = (uint64_t)tp_now() ^ ((uint64_t)(uintptr_t)backoff << 20);
    }
}

void tp__backoff_reset(struct tp_backoff *backoff)
{
    backoff->attempt = 0;
}

/* base * 2^(attempt-1), cut at max. */
static int64_t ceiling(const struct tp_backoff *backoff)
{
    int64_t us = backoff->base_us;
    for (int i = 1; i < backoff->attempt && us > 0 && us < backoff->max_us; i++) {
        us = us > backoff->max_us / 2 ? backoff->max_us : us * 2;
    }
    return us < backoff->max_us ? us : backoff->max_us;
}

int64_t tp__backoff_next(struct tp_backoff *backoff)
{
    if (backoff->attempt < INT_MAX) {
        backoff->attempt++;
    }
    int64_t high = ceiling(backoff);
    int64_t drawn = high / 100 * backoff->jitter + high % 100 * backoff->jitter / 100;
    return high - drawn + tp__random_below(&backoff->seed, drawn + 1);
}
