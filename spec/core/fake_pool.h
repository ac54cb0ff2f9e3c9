/* A pool over connections that are integers: the four functions of the vtable count
 * what is asked of them and follow a script. All fields may be read and written by
 * any thread at any time. */
#ifndef FAKE_POOL_H
#define FAKE_POOL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pool.h"

enum { FAKE_MOST = 64, FAKE_AT_MOST_US = 20 * 1000 * 1000, MS = 1000 };

/* Waits until the condition holds; the test fails when that takes too long. */
#define AWAIT(condition)                                          \
    do {                                                          \
        int64_t until_ = tp_now() + FAKE_AT_MOST_US;              \
        while (!(condition)) {                                    \
            if (tp_now() >= until_)                               \
                fail_msg("has not come in time: %s", #condition); \
            fake_breathe();                                       \
        }                                                         \
    } while (0)

struct fake {
    tp_pool *pool;

    /* the script */
    atomic_int fail_opens;      /* the next n connects fail; negative: all */
    atomic_bool fail_at_once;   /* they fail in open, not in step */
    atomic_bool permanent;      /* such failures are not retryable */
    atomic_bool server_gone;    /* such failures have the code 57P03 */
    atomic_bool wrong_password; /* such failures have the code 28P01 and are not retryable */
    atomic_bool hold_opens;     /* connects wait until this is false and the pool is rung */
    atomic_bool hold_chores;    /* so do pings and resets */
    atomic_bool hold_closes;    /* close does not return until this is false */
    atomic_bool fail_chores;    /* pings and resets fail */
    atomic_bool refuse_first;   /* the first descriptor hangs up, the second is good */
    atomic_int chore_takes_us;  /* pings and resets wait for so long */
    atomic_int blocked;         /* the backend that waits for a lock when it is asked; 0: none */

    /* what happened */
    atomic_int opens, failures, closes, forked_closes, pings, resets, inquiries, steps;
    atomic_int alive, most_alive;           /* opened and not closed */
    atomic_int connecting, most_connecting; /* between open and the end of that chore */
    atomic_int in_close;                    /* callers that are in close */
};

struct fake_conn {
    struct fake *fake;
    int id;       /* 1, 2, 3 in the order of opening */
    int fd, peer; /* of a socket pair */
    bool connecting;
    bool refused;
    int64_t chore_until; /* 0: no chore is under way */
    atomic_int users;
};

/* A connection on loan. */
struct held {
    struct tp_slot *slot;
    uint64_t generation;
};

/* No timeouts, fast backoff. */
struct tp_pool_limits fake_limits(int min, int max);
void fake_start(struct fake *fake, const struct tp_pool_limits *limits);
/* Frees the pool; the test fails when a connection was not closed. */
void fake_end(struct fake *fake);
/* Changes the script and lets the housekeeper look at it. */
void fake_say(struct fake *fake, atomic_bool *what, bool value);
void fake_breathe(void);

/* Takes a connection, waiting if need be; the test fails when none comes. */
struct held fake_take(struct fake *fake);
/* Begins to wait; the connection is expected not to be there. */
void fake_queue(struct fake *fake, struct tp_waiter *waiter);
/* Waits for a queued one, until its deadline. */
enum tp_acquired fake_wait(struct fake *fake, struct tp_waiter *waiter, int64_t deadline,
                           struct held *out, struct tp_error *err);
/* Whether the waiter has been served; takes what it got. */
bool fake_served(struct fake *fake, struct tp_waiter *waiter, struct held *out);
void fake_give(struct held held, enum tp_fate fate);
int fake_id(struct held held);
/* The server's end of the connection is closed. */
void fake_hang_up(struct held held);

struct tp_stats fake_stats(struct fake *fake);
/* Takes events until one of this type comes. */
void fake_next_event(struct fake *fake, enum tp_event_type type, struct tp_event *out);

/* How often the loops of a test run, fewer under a sanitizer that slows all down. */
int fake_rounds(int rounds);

/* ThreadSanitizer cannot start threads in the child of a process that had some ("dup
 * thread with used id"): a test whose child does so skips itself. */
#define SKIP_IF_CHILD_CANNOT_START_THREADS()                                              \
    do {                                                                                  \
        if (FAKE_UNDER_TSAN) {                                                            \
            print_message("# skipped: ThreadSanitizer starts no threads after a fork\n"); \
            skip();                                                                       \
        }                                                                                 \
    } while (0)

#if defined(__SANITIZE_THREAD__)
#define FAKE_UNDER_TSAN true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FAKE_UNDER_TSAN true
#endif
#endif
#ifndef FAKE_UNDER_TSAN
#define FAKE_UNDER_TSAN false
#endif

#endif
