/* Monotonic time, deadlines, and what system calls want of them. */
#include "clock.h"

#include <limits.h>

enum { US_PER_MS = 1000, US_PER_S = 1000000, NS_PER_US = 1000 };

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts); /* cannot fail for the clocks used here */
    return (int64_t)ts.tv_sec * US_PER_S + ts.tv_nsec / NS_PER_US;
}

int64_t tp_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t tp__now_coarse(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    return read_clock(CLOCK_MONOTONIC_COARSE);
#else
    return tp_now();
#endif
}

int64_t tp__wall_us(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t tp__after(int64_t now, int64_t us)
{
    if (us < 0 || (now > 0 && us > TP_NEVER - now)) {
        return TP_NEVER;
    }
    return now + us;
}

int64_t tp_deadline_in_ms(int64_t ms)
{
    if (ms < 0 || ms > TP_NEVER / US_PER_MS) {
        return TP_NEVER;
    }
    return tp__after(tp_now(), ms * US_PER_MS);
}

struct timespec tp__timespec(int64_t deadline)
{
    /* The monotonic clock counts from boot, so 68 years of it do not come, and
     * they fit a time_t of any width and every kernel's idea of a valid time. */
    static const int64_t latest = (int64_t)INT32_MAX * US_PER_S;
    if (deadline > latest) {
        deadline = latest;
    } else if (deadline < 0) {
        deadline = 0;
    }
    struct timespec ts = {
        .tv_sec = (time_t)(deadline / US_PER_S),
        .tv_nsec = (long)(deadline % US_PER_S * NS_PER_US),
    };
    return ts;
}

int tp__poll_ms(int64_t deadline, int64_t now)
{
    if (deadline == TP_NEVER) {
        return -1;
    }
    if (deadline <= now) {
        return 0;
    }
    int64_t us = deadline - now;
    int64_t ms = us / US_PER_MS + (us % US_PER_MS != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}
