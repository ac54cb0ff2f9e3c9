/* The pool: slots, the queue of waiters, and the hand-off between them.
 *
 * It knows nothing of PostgreSQL: connections are `void *` behind a vtable of a few
 * functions, so it is tested with integers. It does no I/O and calls nothing of
 * the vtable under its lock; what has to be done (connect, mend, close) is left on
 * a list for the housekeeper (keeper.h).
 *
 * Slots. A slot's state is the list it is on:
 *
 *     EMPTY --> OPENING --> IDLE <--> LEASED --> MENDING --> IDLE
 *       ^          |          |         |           |
 *       +----------+----------+----> CLOSING <------+
 *
 * Only the housekeeper moves slots out of EMPTY, OPENING, MENDING and CLOSING.
 * A slot that becomes IDLE while somebody waits goes to the first waiter at once
 * (direct hand-off), so that there is never a waiter beside an idle connection and
 * nobody can overtake.
 *
 * Owns: the slots and, through the vtable, their connections.
 * Thread: any, unless a function says otherwise. */
#ifndef TP_POOL_H
#define TP_POOL_H

#include <pthread.h>
#include <stdatomic.h>

#include "adaptive.h"
#include "backoff.h"
#include "bell.h"
#include "budget.h"
#include "events.h"
#include "list.h"
#include "note.h"
#include "notification.h"
#include "tally.h"
#include "tidepool.h"
#include "wake.h"

/* What one repetition takes, and how many of them there may be at once when there were none for
 * long. */
enum { TP_RETRY_COST = 100, TP_RETRY_CREDIT = 100 * TP_RETRY_COST };

/* A connection that rested longer than this is looked at before it is lent: a look is a
 * system call, and one that was used a moment ago is known to live. Hang-ups are seen by
 * the housekeeper's epoll within a millisecond or so; this covers the time until it ran. */
enum { TP_LOOK_AFTER_US = 10 * 1000 };

/* A slot's generation: the upper bits change when the process was forked, the lower ones with
 * every acquire and release. */
enum { TP_ERA_SHIFT = 40 };

/* What a connection is waiting for. */
struct tp_wait {
    int fd;           /* -1: only the deadline, or a ring of the pool's wake-up */
    int events;       /* TP_READ | TP_WRITE */
    int64_t deadline; /* when to step again at the latest */
    int backend_pid;  /* after TP_DONE of TP_CHORE_OPEN */
};

/* What the housekeeper does with a connection. */
enum tp_chore {
    TP_CHORE_OPEN,    /* connect */
    TP_CHORE_PING,    /* one round trip, to see that it lives */
    TP_CHORE_RESET,   /* cancel what runs, roll back what is open */
    TP_CHORE_INQUIRE, /* ask which loans wait for locks: tp__inquiry_add */
    TP_CHORE_HEAR     /* of the one that listens: read on; see listen.h */
};

/* How many connections may be begun now; and what is missing for others. */
struct tp_permit {
    int count;
    int missing;   /* so many callers who wait are to step, and to see to it */
    int64_t until; /* when to ask again at the latest */
};

/* Connections, as the pool sees them. `open`, `step` and `close` are called by the
 * housekeeper (close also by whoever releases into a closed pool), `look` by an
 * acquirer; never two at once for one connection, never under the pool's lock. */
struct tp_pool_vtable {
    /* Begins to connect; NULL when even that failed. `step` finishes it. What the connection sees
     * of transactions it counts in `tally`, which outlives it; NULL: nowhere. */
    void *(*open)(void *ctx, struct tp_lease_tally *tally, struct tp_error *err);
    /* Moves a chore on. TP_WAIT: *wait says for what; after TP_DONE wait->fd is
     * the fd on which a hang-up shows, or -1, and wait->backend_pid is known. */
    enum tp_step (*step)(void *connection, enum tp_chore chore, int ready, struct tp_wait *wait,
                         struct tp_error *err);
    /* A look without waiting: false when the connection is known to be dead. */
    bool (*look)(void *connection);
    /* Closes and frees. `forked`: in a child of the process that opened it, where
     * only the descriptor may be closed. */
    void (*close)(void *connection, bool forked);
    /* A duplicate of its socket, on which it shows after `close` that the server has ended,
     * too, or TP_BUDGET_ENDED or _UNSEEN. NULL: it always has. Asked for only when there is a
     * budget. */
    int (*socket)(void *connection);
    /* With limits.by_permit: what may be begun of `wanted` connections that callers wait for.
     * Called under the pool's lock. */
    struct tp_permit (*permit)(void *ctx, int wanted, int64_t now);
    /* Of the connection that listens, see conn.h. False: it is lost; the next step says why. */
    bool (*ask)(void *connection, const char *sql);
    bool (*next_notification)(void *connection, tp_notification_fn *take, void *ctx);
    bool inquires; /* whether `step` knows TP_CHORE_INQUIRE */
};

struct tp_pool_limits {
    int min, max;
    int max_waiting;                                                        /* 0: no limit */
    int events;                                                             /* 0: the default */
    int64_t idle_timeout_us, max_lifetime_us, max_uses, health_interval_us; /* 0: off */
    int64_t leak_after_us; /* on loan for so long: it is warned of; 0: never */
    int64_t idle_tx_us; /* idle in a transaction for so long: the server ends it; 0: it does not */
    int64_t connect_base_us, connect_max_us; /* backoff between failed connects */
    bool by_permit;       /* connections are begun as vtable->permit says, and only such as somebody
                             waits for; else all may be */
    bool several_servers; /* what one of them says is not about connections to the others */
    bool adaptive;        /* between min and max as many as are of use */
    int retry_percent;    /* repetitions per 100 queries; 100: any number */
    int breaker_failures; /* in a row, until callers fail fast; 0: never */
    int64_t breaker_open_us; /* the longest time between tries then */
    int64_t refused_base_us; /* backoff after wrong passwords; 0: the default */
};

/* See pool_breaker.h. */
struct tp_breaker {
    struct tp_backoff pauses;   /* closed */
    struct tp_backoff probes;   /* open */
    struct tp_backoff refusals; /* the server does not let us in */
    bool open;
    bool for_good;      /* the last failure will not pass by itself */
    bool asked;         /* somebody has queued since then */
    int rounds;         /* failures since a connection was made; those that came together are one */
    int64_t failed_at;  /* the last one */
    int64_t next_at;    /* when to try again, */
    int64_t asked_at;   /* and when somebody waits, if that is sooner */
    int64_t decided_at; /* when it was last decided how many connections to begin */
};

enum tp_slot_state {
    TP_SLOT_EMPTY,
    TP_SLOT_OPENING,
    TP_SLOT_IDLE,
    TP_SLOT_LEASED,
    TP_SLOT_MENDING,
    TP_SLOT_CLOSING,
    TP_SLOT_STATES
};

struct tp_slot {
    struct tp_list link; /* guarded by pool->lock, as everything here but the atomics */
    enum tp_slot_state state;
    tp_pool *pool;                /* constant, as the next */
    struct tp_lease_tally *tally; /* of whoever has the connection now: see tally.h */
    void *connection;
    _Atomic uint64_t generation; /* changes with every acquire and release */
    atomic_bool hangup;          /* the other end has closed */
    atomic_int tx_state;         /* enum tp_transaction_state, of the borrower */
    _Atomic int64_t quiet_since; /* when its last statement ended; 0: one is under way */
    bool told_held, told_idle;   /* while LEASED: the program was warned of it */
    enum tp_chore chore;         /* while OPENING or MENDING */
    enum tp_close_reason reason; /* while CLOSING */
    int backend_pid;
    uint64_t epoch; /* the pool's epoch at its birth */
    int64_t uses;
    int64_t opened_at, expires_at, idle_since, checked_at, acquired_at;
    int64_t lent_at;  /* as acquired_at, by the exact clock */
    uintptr_t owner;  /* the coroutine that acquired it, or the thread */
    uintptr_t thread; /* the thread */
    uint64_t share;   /* the number of the share that it was lent to, or 0 */
    const void *user; /* the operation that runs on it; of the borrower alone, as: */
    int64_t deadline; /* of all that the borrower does with it; TP_NEVER: none */
    const char *comment, *application_name; /* see tp_lease_set_tags */
    char place[80];                         /* where in the program */
    int line;
    struct tp_note sql; /* the beginning of the borrower's last statement; written by it alone */
    /* of the housekeeper alone; due and ready are 0 whenever there is no chore */
    int fd, armed_events;
    int64_t due; /* when to step the chore, whatever happens */
    int ready;   /* what is known of the fd: TP_READ | TP_WRITE */
};

/* One opener's part in a pool; see share.h. */
struct tp_share {
    tp_pool *pool; /* counted */
    atomic_int refs;
    uint64_t number;         /* of this process: never given twice, never 0 */
    atomic_bool closed;      /* written under pool->lock */
    uintptr_t opener;        /* the thread */
    struct tp_list link;     /* among those of the pool that are open; the registry's, as: */
    bool counted;            /* is on that list */
    struct tp_reader reader; /* of the pool's events */
};

/* One caller in the queue. It lies in the caller's memory; while `queued` it is
 * guarded by pool->lock. */
struct tp_waiter {
    struct tp_list link;
    struct tp_slot *slot; /* what it was handed */
    bool queued, failed;
    bool asked;   /* there is something for it to see to: a step is to look for it */
    bool patient; /* waits on while the breaker is open */
    bool has_cond;
    struct tp_bell *bell; /* rung instead of the condition; NULL: a thread waits */
    struct tp_rope rope;
    int64_t began;                 /* the caller's wish for a connection; 0: now */
    int64_t since;                 /* in the queue */
    int64_t deadline, patience_us; /* whichever ends the wait first; 0: not said */
    int64_t look_at;               /* see pool_inquiry.h */
    pthread_cond_t cond;
    enum tp_status status;
    uintptr_t owner;        /* the coroutine that waits; 0: the thread */
    uintptr_t thread;       /* the thread */
    struct tp_share *share; /* of whoever waits; NULL: nobody's */
    const char *sql;        /* what the connection is wanted for; may be NULL */
    size_t sql_len;
};

struct tp_pool {
    pthread_mutex_t lock;
    atomic_int refs;
    const struct tp_pool_vtable *vtable;
    void *ctx;
    void (*free_ctx)(void *ctx);
    struct tp_pool_limits limits;
    atomic_uint fork_count; /* of tp__fork_count when it was made */

    struct tp_slot *slots;          /* limits.max of them */
    struct tp_lease_tally *tallies; /* the same number */
    struct tp_list lists[TP_SLOT_STATES];
    int counts[TP_SLOT_STATES];
    struct tp_list waiters;
    struct tp_list drainers; /* who wait for the last lease to come back */
    int waiting;
    bool configured, draining, closed;
    bool suspended;         /* nothing is lent, connected or pinged for now */
    _Atomic uint64_t epoch; /* bumped when the server is known to have gone */
    atomic_int epoch_ended; /* enum tp_close_reason: why the last one ended */

    /* what it may have of all processes' connections: pool_budget.h */
    struct tp_budget *budget;            /* constant; NULL: as many as it likes */
    struct tp_budget_debt debt;          /* guarded by lock, as the next two */
    struct tp_budget_view budget_view;   /* as it was last asked */
    bool budget_refused;                 /* then less was to be had than was wanted */
    int64_t budget_due, budget_tried_at; /* the housekeeper's */

    /* what it tells other processes of its statistics: pool_ledger.h */
    struct tp_ledger *ledger; /* constant; NULL: nothing */
    bool stirred;             /* something has changed since it was published; guarded by lock, */
    bool resting;             /* and this: the housekeeper is to be told when something does */
    int64_t publish_due;      /* the housekeeper's */

    /* the housekeeper's */
    bool keeper_started;
    atomic_bool keeper_stop;
    pthread_t keeper;
    int epoll_fd;
    struct tp_wake *wake;
    struct tp_breaker breaker; /* guarded by lock */
    int64_t permit_due;        /* when to ask for a permit again */
    uint64_t jitter_seed;

    struct tp_inquiry *inquiry; /* pool_inquiry.h; NULL: nothing can be asked */

    /* what went on; guarded by lock */
    uint64_t connect_failures_in_row;
    bool ever_connected;
    enum tp_pool_state reported_state;
    struct tp_error last_error;
    struct tp_tally tally; /* of what is counted under the lock */
    struct tp_adaptive adaptive;
    uint64_t returned, handed; /* leases; those that somebody waited for */
    int64_t retry_credit;      /* in hundredths of a repetition */
    uint64_t credited;         /* queries that have earned it */

    struct tp_listening *listening; /* guarded by lock; listen.h; NULL: nobody has listened yet */

    struct tp_events events;
    struct tp_reader reader; /* of whoever has no share */
};

/* A pool with one reference; `ctx` is given to vtable->open and freed by free_ctx
 * (may be NULL) with the pool. Errors: TP_ERR_MEMORY; ctx is then not freed. */
enum tp_status tp__pool_new(tp_pool **out, const struct tp_pool_limits *limits,
                            const struct tp_pool_vtable *vtable, void *ctx,
                            void (*free_ctx)(void *), struct tp_error *err) TP_MUST_CHECK;

enum tp_acquired {
    TP_ACQUIRED, /* waiter->slot is the caller's */
    TP_QUEUED,   /* wait */
    TP_REFUSED   /* err says why */
};

/* Takes the most recently used idle connection, or joins the queue. The slot may
 * be stale: the caller checks it (op.c) and comes back if it is dead. */
enum tp_acquired tp__pool_acquire(tp_pool *pool, struct tp_waiter *waiter, struct tp_error *err);

/* Whether a queued waiter was served or refused, or has to give up because `now`
 * has reached `deadline`; TP_QUEUED otherwise. */
enum tp_acquired tp__pool_poll(tp_pool *pool, struct tp_waiter *waiter, int64_t deadline,
                               struct tp_error *err);

/* Parks the calling thread until the waiter is served or refused or the deadline
 * has passed. */
void tp__pool_park(tp_pool *pool, struct tp_waiter *waiter, int64_t deadline);

/* Gives up what parking has made. */
void tp__waiter_deinit(struct tp_waiter *waiter);

/* As tp_pool_try_acquire, for a share (NULL: nobody's). */
bool tp__pool_try_acquire(tp_pool *pool, const struct tp_share *share, tp_lease *out, bool *scarce);

/* Whether every connection that may exist is leased by the calling thread, so that
 * parking it would be a deadlock with itself. */
bool tp__pool_all_held_by_caller(tp_pool *pool);
/* Whether the waiter, a coroutine, holds a connection itself and every other is held by it or
 * by coroutines that wait here, too: none of them could ever go on. */
bool tp__pool_is_deadlocked(tp_pool *pool, const struct tp_waiter *waiter);

/* Takes no new work, or with waiter->share none through this share. True: the waiter is to be
 * parked until others have given back what they hold, or the deadline has passed; then, or at once,
 * tp__pool_end_drain. */
bool tp__pool_begin_drain(tp_pool *pool, struct tp_waiter *waiter);
bool tp__pool_is_draining(tp_pool *pool, struct tp_waiter *waiter);
enum tp_status tp__pool_end_drain(tp_pool *pool, struct tp_waiter *waiter,
                                  struct tp_error *err) TP_MUST_CHECK;
/* The same for a pool that is suspended and goes on later; waiter->share is NULL. */
bool tp__pool_begin_suspend(tp_pool *pool, struct tp_waiter *waiter);
bool tp__pool_is_suspending(tp_pool *pool, struct tp_waiter *waiter);
enum tp_status tp__pool_end_suspend(tp_pool *pool, struct tp_waiter *waiter,
                                    struct tp_error *err) TP_MUST_CHECK;
void tp__pool_leave_drain(tp_pool *pool, struct tp_waiter *waiter);

/* Leaves the queue; a connection that was handed over meanwhile is given back. */
void tp__pool_leave(tp_pool *pool, struct tp_waiter *waiter);

/* How a connection comes back. */
enum tp_fate {
    TP_FATE_KEEP,  /* clean: to the next waiter, or idle */
    TP_FATE_RESET, /* to be mended first */
    TP_FATE_CLOSE  /* with a reason */
};
/* What the borrower did with it, for the statistics; query_us < 0: no query. */
struct tp_usage {
    int64_t query_us;
    bool slow;
    bool failed;
    enum tp_status kind; /* of the failure */
    const char *code;    /* its SQLSTATE; empty or NULL: none */
    bool rollback;       /* came back in an open transaction */
    int64_t ended;       /* when it is given back; 0: now */
};

/* Gives a leased connection back. False when `generation` is not the slot's: it was
 * given back before. `usage` may be NULL. */
bool tp__pool_return(struct tp_slot *slot, uint64_t generation, enum tp_fate fate,
                     enum tp_close_reason reason, const struct tp_usage *usage);

/* Notes where a borrower is, for the errors of others; slot->sql has what it is asking. */
void tp__pool_note_place(struct tp_slot *slot, const char *place, int line);

/* Every connection made before now is replaced, for this reason: the server was restarted,
 * or the certificates are others. */
void tp__pool_bump_epoch(tp_pool *pool, enum tp_close_reason why);

void tp__pool_event(tp_pool *pool, enum tp_event_type type, int pid, int attempt, const char *code,
                    const char *fmt, ...) TP_PRINTF(6, 7);

/* How often this process has been forked since the library was loaded (0 in the first).
 * Source: pthread_atfork(3). */
extern unsigned tp__fork_count;
/* Begins to count them. */
void tp__pool_watch_forks(void);
/* Forgets what belongs to the parent, at the first use in a child; of several threads that
 * come at once, one does it and the others wait. */
void tp__pool_start_afresh(tp_pool *pool);

static inline void tp__pool_mind_fork(tp_pool *pool)
{
    if (atomic_load_explicit(&pool->fork_count, memory_order_acquire) != tp__fork_count)
        tp__pool_start_afresh(pool);
}

static inline void tp__pool_lock(tp_pool *pool)
{
    tp__pool_mind_fork(pool);
    pthread_mutex_lock(&pool->lock);
}

/* --- for keeper.c: the caller holds the lock ------------------------------ */

void tp__slot_move_locked(struct tp_slot *slot, enum tp_slot_state to);
/* One that was pinged goes back to its place among the idle ones. */
void tp__slot_rest_again_locked(struct tp_slot *slot);
/* To the list of those that the housekeeper closes. */
void tp__slot_close_locked(struct tp_slot *slot, enum tp_close_reason reason);
/* The connection, to be closed by the caller: a child that is forked meanwhile must not
 * find it here. */
void *tp__slot_take_connection_locked(struct tp_slot *slot);
/* Its connection has been closed and freed. */
void tp__slot_emptied_locked(struct tp_slot *slot);
/* Whether a connection must not be used again, and why. */
bool tp__slot_is_worn_locked(const struct tp_slot *slot, int64_t now, enum tp_close_reason *why);
/* A lease came back while the pool drains. */
void tp__pool_tell_drainers_locked(tp_pool *pool);
/* The waiter has what it waited for. */
void tp__waiter_tell_locked(struct tp_waiter *waiter);
/* Has so many of those who wait, the first first, step. */
void tp__pool_ask_waiters_locked(tp_pool *pool, int count);
/* A connection is ready for use: to the first waiter, or idle. */
void tp__pool_serve_locked(struct tp_slot *slot, int64_t now);
/* Refuses every waiter with this status, or those that are not patient; the last error has the
 * words. */
void tp__pool_refuse_locked(tp_pool *pool, enum tp_status status, bool all);
/* Nothing is lent through the share any more, and its waiters are refused. */
void tp__share_shut_locked(struct tp_share *share);
/* Whether there are more than pool.adaptive has found to be of use. */
bool tp__pool_is_over_limit_locked(const tp_pool *pool);
/* Connections that exist or are being made. */
int tp__pool_total_locked(const tp_pool *pool);
/* Pushes a state event when the state is not the one last reported. */
void tp__pool_report_state_locked(tp_pool *pool);

#endif
