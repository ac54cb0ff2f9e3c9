#include "errand.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

static void *errand_main(void *arg)
{
    struct tp_errand *errand = arg;
    errand->run(errand);
    atomic_store_explicit(&errand->done, true, memory_order_release);
    tp__wake_ring(errand->wake);
    tp__errand_release(errand);
    return NULL;
}

/* The new thread inherits the mask, so it never sees a signal of the program. */
static int start_detached(struct tp_errand *errand)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;

    if (pthread_attr_init(&attr) != 0)
        return -1;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, (size_t)512 * 1024);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, &attr, errand_main, errand);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return failed;
}

bool tp__errand_start(struct tp_errand *errand, struct tp_wake *wake)
{
    errand->wake = tp__wake_retain(wake);
    atomic_init(&errand->refs, 2);
    atomic_init(&errand->done, false);
    if (start_detached(errand) == 0)
        return true;
    atomic_store(&errand->refs, 1);
    return false;
}

bool tp__errand_done(const struct tp_errand *errand)
{
    return atomic_load_explicit(&errand->done, memory_order_acquire);
}

void tp__errand_release(struct tp_errand *errand)
{
    if (errand == NULL || atomic_fetch_sub(&errand->refs, 1) != 1)
        return;
    struct tp_wake *wake = errand->wake;
    errand->destroy(errand);
    tp__wake_release(wake);
}
