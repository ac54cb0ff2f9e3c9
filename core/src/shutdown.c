/* Signals that end the process in an orderly way.
 *
 * The handler counts, and writes to an eventfd; a thread that waits for it has every pool of the
 * process take no new work, waits until what is lent has come back or the time is over, closes,
 * and has the signal do what it does by itself. So it makes no difference what the program's own
 * threads are busy with: whoever waits for a connection hears that the pool is closed, whoever
 * holds one goes on until it gives it back.
 *
 * The handler does nothing but what signal-safety(7) allows. */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "registry.h"

/* What the shell adds to the number of the signal that has ended a process. */
enum { EXIT_BY_SIGNAL = 128 };

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"TERM", SIGTERM}, {"INT", SIGINT},   {"HUP", SIGHUP},
    {"QUIT", SIGQUIT}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2},
};

static struct {
    pthread_mutex_t lock; /* of those who set it up */
    atomic_int pid;       /* the process that has the thread; 0: none */
    atomic_int fd;
    atomic_int first; /* the signal that came first; 0: none yet */
    _Atomic int64_t drain_us;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

/* ---------------------------------------------------------------------- handler */

/* The first process of a container is not ended by what signals do by themselves. */
static void raise_by_default(int number)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    sigaction(number, &action, NULL);
    if (getpid() == 1)
        _exit(EXIT_BY_SIGNAL + number);
    raise(number);
}

/* The signal is blocked while its handler runs, so what is raised here counts when that ends.
 * In a child of fork nobody would read what is written, or the parent would. */
static void on_signal(int number)
{
    int error = errno, none = 0;
    uint64_t one = 1;
    bool first = atomic_load(&watch.pid) == getpid() &&
                 atomic_compare_exchange_strong(&watch.first, &none, number);
    if (!first || write(atomic_load(&watch.fd), &one, sizeof one) < 0)
        raise_by_default(number);
    errno = error;
}

/* ----------------------------------------------------------------------- thread */

static void drain_all(int64_t deadline)
{
    size_t count;
    tp_pool **pools = tp__registry_end(&count);
    for (size_t i = 0; i < count; i++) {
        struct tp_waiter waiter = {.queued = false};
        (void)tp__pool_begin_drain(pools[i], &waiter);
        tp__pool_leave_drain(pools[i], &waiter);
    }
    for (size_t i = 0; i < count; i++) {
        struct tp_error err;
        (void)!tp_pool_drain(pools[i], deadline, &err); /* what is still out ends with us */
    }
    free(pools); /* the references are kept: the process ends */
}

/* What the program has printed is not lost, unless that would have to wait. */
static void flush_output(void)
{
    struct pollfd on = {.fd = fileno(stdout), .events = POLLOUT};
    if (on.fd < 0 || poll(&on, 1, 0) != 1 || (on.revents & POLLOUT) == 0 ||
        ftrylockfile(stdout) != 0)
        return;
    fflush_unlocked(stdout);
    funlockfile(stdout);
}

/* This thread blocks it until then. */
static void end_by(int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    raise_by_default(number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    _exit(EXIT_BY_SIGNAL + number);
}

static void *watch_main(void *arg)
{
    struct pollfd on = {.fd = atomic_load(&watch.fd), .events = POLLIN};
    (void)arg;
    while (poll(&on, 1, -1) != 1) {
    }
    drain_all(tp__after(tp_now(), atomic_load(&watch.drain_us)));
    flush_output();
    end_by(atomic_load(&watch.first));
    return NULL;
}

static bool start_thread(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, &attr, watch_main, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return started;
}

/* In a child of fork the parent's descriptor is closed and another made. */
static enum tp_status start_locked(struct tp_error *err)
{
    if (atomic_load(&watch.pid) == getpid())
        return TP_OK;
    int old = atomic_exchange(&watch.fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (old >= 0)
        close(old);
    atomic_store(&watch.first, 0);
    if (atomic_load(&watch.fd) < 0 || !start_thread())
        return tp__error_set(err, TP_ERR_MEMORY, "no descriptor or thread to watch for signals");
    atomic_store(&watch.pid, getpid());
    return TP_OK;
}

/* ---------------------------------------------------------------------- setting up */

/* The interpreter's own handler for SIGINT, which would raise an error in the middle of
 * whatever the program does: it is in the main program, as no library's is, and is told no
 * more than the number. */
static bool is_interpreters(int number, const struct sigaction *action)
{
    Dl_info handler, program;
    if (number != SIGINT || (action->sa_flags & SA_SIGINFO) != 0)
        return false;
    return dladdr((void *)(uintptr_t)action->sa_handler, &handler) != 0 &&
           dladdr((void *)(uintptr_t)getauxval(AT_ENTRY), &program) != 0 &&
           handler.dli_fbase == program.dli_fbase;
}

static bool is_free(int number)
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) != 0)
        return false;
    return action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN ||
           action.sa_handler == on_signal || is_interpreters(number, &action);
}

int tp_signal_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (strcmp(signals[i].name, name) == 0)
            return signals[i].number;
    }
    return 0;
}

static const char *name_of(int number)
{
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (signals[i].number == number)
            return signals[i].name;
    }
    return NULL;
}

static enum tp_status check(const int *numbers, size_t count, struct tp_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const char *name = name_of(numbers[i]);
        if (name == NULL)
            return tp__error_set(err, TP_ERR_VALIDATION, "no orderly end by signal %d", numbers[i]);
        if (!is_free(numbers[i]))
            return tp__error_set(err, TP_ERR_VALIDATION,
                                 "there is a handler for SIG%s already, which would not be called "
                                 "any more",
                                 name);
    }
    return TP_OK;
}

static void install(const int *numbers, size_t count)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < count; i++)
        sigaction(numbers[i], &action, NULL);
}

enum tp_status tp_shutdown_on(const int *numbers, size_t count, int64_t drain_us,
                              struct tp_error *err)
{
    pthread_mutex_lock(&watch.lock);
    enum tp_status status = check(numbers, count, err);
    if (status == TP_OK)
        status = start_locked(err);
    if (status == TP_OK) {
        atomic_store(&watch.drain_us, drain_us);
        install(numbers, count);
    }
    pthread_mutex_unlock(&watch.lock);
    return status;
}
