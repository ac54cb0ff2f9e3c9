/* Monotonic time. All times are int64_t microseconds; see tp_now. Thread: any. */
#ifndef TP_CLOCK_H
#define TP_CLOCK_H

#include <time.h>

#include "tidepool.h"

/* The same clock as tp_now at the kernel's tick (1 to 10 ms coarse), several
 * times cheaper: good enough for ages of connections. Source: clock_gettime(2),
 * CLOCK_MONOTONIC_COARSE. */
int64_t tp__now_coarse(void);

/* Wall-clock microseconds since 1970, for people. */
int64_t tp__wall_us(void);

/* deadline as the struct timespec that pthread_cond_timedwait wants on a
 * CLOCK_MONOTONIC condition variable. TP_NEVER becomes a time that does not
 * come. */
struct timespec tp__timespec(int64_t deadline);

/* What poll(2) wants: milliseconds until the deadline, rounded up (a deadline is
 * never met early), 0 when it has passed, -1 for TP_NEVER. */
int tp__poll_ms(int64_t deadline, int64_t now);

/* now + us without overflow; TP_NEVER when us is TP_NEVER or negative. */
int64_t tp__after(int64_t now, int64_t us);

#endif
