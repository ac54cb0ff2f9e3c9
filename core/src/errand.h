/* One blocking call on a thread of its own.
 *
 * Some calls of libc and libpq block and cannot be made otherwise (getaddrinfo,
 * PQcancel). An errand runs one of them on a short-lived detached thread, with
 * all signals blocked, and rings a wake-up when it is done, so that nobody waits.
 * Owns: an errand is counted; the thread and the sender hold one reference each,
 * and the last one calls destroy. Whoever sent it may forget it at any time.
 * Thread: start and release by the sender. */
#ifndef TP_ERRAND_H
#define TP_ERRAND_H

#include <stdatomic.h>
#include <stdbool.h>

#include "wake.h"

struct tp_errand {
    void (*run)(struct tp_errand *errand);     /* on the thread */
    void (*destroy)(struct tp_errand *errand); /* frees the whole */
    struct tp_wake *wake;
    atomic_int refs;
    atomic_bool done;
};

/* Starts the errand, which is embedded in a larger struct with run and destroy
 * set. Returns false when no thread can be had; the caller's reference remains
 * in either case. */
bool tp__errand_start(struct tp_errand *errand, struct tp_wake *wake);
/* Whether run has returned; what it wrote is visible then. */
bool tp__errand_done(const struct tp_errand *errand);
void tp__errand_release(struct tp_errand *errand);

#endif
