/* The life of a pool: made, counted, forked, drained, closed, freed. */
#include "pool.h"

#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "keeper.h"
#include "pool_breaker.h"
#include "pool_budget.h"
#include "pool_ledger.h"
#include "pool_inquiry.h"
#include "pool_stats.h"

/* How long a connection may have rested to be handed over unasked when the pool is resumed. */
enum { RESTED_LONG_US = 30 * 1000 * 1000 };

unsigned tp__fork_count;

/* In a child several threads may come upon an inherited pool at once. */
static pthread_mutex_t afresh_lock = PTHREAD_MUTEX_INITIALIZER;

static void count_fork(void)
{
    tp__fork_count++;
    pthread_mutex_init(&afresh_lock, NULL);
}

static void begin_watching(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

void tp__pool_watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin_watching);
}

/* ------------------------------------------------------------ life of a pool */

static void init_sync(tp_pool *pool)
{
    pthread_mutex_init(&pool->lock, NULL);
}

static void init_slots(tp_pool *pool)
{
    for (int state = 0; state < TP_SLOT_STATES; state++) {
        tp__list_init(&pool->lists[state]);
        pool->counts[state] = 0;
    }
    tp__list_init(&pool->waiters);
    tp__list_init(&pool->drainers);
    pool->waiting = 0;
    for (int i = 0; i < pool->limits.max; i++) {
        struct tp_slot *slot = &pool->slots[i];
        slot->pool = pool;
        slot->tally = &pool->tallies[i];
        slot->state = TP_SLOT_EMPTY;
        slot->connection = NULL;
        slot->fd = -1;
        slot->due = 0;
        slot->ready = 0;
        tp__list_push_back(&pool->lists[TP_SLOT_EMPTY], &slot->link);
        pool->counts[TP_SLOT_EMPTY]++;
    }
}

enum tp_status tp__pool_new(tp_pool **out, const struct tp_pool_limits *limits,
                            const struct tp_pool_vtable *vtable, void *ctx,
                            void (*free_ctx)(void *), struct tp_error *err)
{
    tp__pool_watch_forks();

    tp_pool *pool = calloc(1, sizeof *pool);
    struct tp_slot *slots = calloc((size_t)limits->max, sizeof *slots);
    struct tp_lease_tally *tallies = calloc((size_t)limits->max, sizeof *tallies);
    struct tp_wake *wake = tp__wake_new();
    size_t events = limits->events > 0 ? (size_t)limits->events : TP_EVENTS_ROOM;
    if (pool == NULL || slots == NULL || tallies == NULL || wake == NULL ||
        !tp__events_init(&pool->events, events)) {
        free(pool);
        free(slots);
        free(tallies);
        tp__wake_release(wake);
        return tp__error_set(err, TP_ERR_MEMORY, "no memory or file descriptors for a pool");
    }
    pool->limits = *limits;
    pool->vtable = vtable;
    pool->ctx = ctx;
    pool->free_ctx = free_ctx;
    pool->slots = slots;
    pool->tallies = tallies;
    pool->wake = wake;
    pool->inquiry = tp__inquiry_new(pool);
    pool->configured = true;
    pool->epoll_fd = -1;
    pool->permit_due = pool->publish_due = TP_NEVER;
    tp__adaptive_init(&pool->adaptive, limits->adaptive, limits->min, limits->max);
    pool->retry_credit = TP_RETRY_CREDIT;
    atomic_init(&pool->fork_count, tp__fork_count);
    pool->reported_state = TP_POOL_STARTING;
    atomic_init(&pool->refs, 1);
    init_sync(pool);
    init_slots(pool);
    tp__reader_begin(&pool->reader, &pool->events);
    tp__breaker_init(&pool->breaker, limits);
    pool->jitter_seed = (uint64_t)tp_now() ^ (uint64_t)(uintptr_t)pool;
    *out = pool;
    return TP_OK;
}

tp_pool *tp_pool_retain(tp_pool *pool)
{
    atomic_fetch_add(&pool->refs, 1);
    return pool;
}

void tp_pool_release(tp_pool *pool)
{
    if (pool == NULL || atomic_fetch_sub(&pool->refs, 1) != 1)
        return;
    tp_pool_close(pool);
    for (int i = 0; i < pool->limits.max; i++) {
        if (pool->slots[i].connection != NULL)
            tp__pool_close_connection(pool, pool->slots[i].connection);
    }
    if (pool->budget != NULL)
        tp__budget_leave(pool->budget, tp_now() + TP_BUDGET_LEAVE_US);
    tp__budget_free(pool->budget);
    tp__pool_ledger_leave(pool);
    tp__ledger_free(pool->ledger);
    if (pool->free_ctx != NULL)
        pool->free_ctx(pool->ctx);
    tp__wake_release(pool->wake);
    tp__events_deinit(&pool->events);
    tp__inquiry_free(pool->inquiry);
    pthread_mutex_destroy(&pool->lock);
    free(pool->slots);
    free(pool->tallies);
    free(pool);
}

/* The upper half of a generation counts forks, so that a lease of the parent's is known. */
static void start_slot_afresh(tp_pool *pool, struct tp_slot *slot)
{
    if (slot->connection != NULL)
        pool->vtable->close(slot->connection, true);
    uint64_t era = atomic_load(&slot->generation) >> TP_ERA_SHIFT;
    atomic_store(&slot->generation, (era + 1) << TP_ERA_SHIFT);
}

/* In a child of fork: the threads of the parent, its housekeeper among them, do not
 * exist here, and the connections belong to the parent. Everything starts afresh;
 * leases that were out become invalid. */
static void start_afresh(tp_pool *pool)
{
    init_sync(pool);
    tp__events_start_afresh(&pool->events);
    for (int i = 0; i < pool->limits.max; i++)
        start_slot_afresh(pool, &pool->slots[i]);
    init_slots(pool);
    tp__inquiry_start_afresh(pool);
    tp__pool_stats_forked(pool);
    tp__ledger_forked(pool->ledger);
    pool->resting = false;
    tp__breaker_init(&pool->breaker, &pool->limits);
    pool->suspended = false;
    tp__budget_forked(pool->budget); /* after their sockets: see budget_table.h */
    pool->budget_refused = false;
    if (pool->epoll_fd >= 0)
        close(pool->epoll_fd);
    pool->epoll_fd = -1;
    pool->keeper_started = false;
    struct tp_wake *wake = tp__wake_new();
    if (wake != NULL) {
        tp__wake_release(pool->wake);
        pool->wake = wake;
    } else {
        pool->closed = true; /* without a descriptor there is no housekeeper */
    }
}

void tp__pool_start_afresh(tp_pool *pool)
{
    pthread_mutex_lock(&afresh_lock);
    if (atomic_load(&pool->fork_count) != tp__fork_count) {
        start_afresh(pool);
        atomic_store_explicit(&pool->fork_count, tp__fork_count, memory_order_release);
    }
    pthread_mutex_unlock(&afresh_lock);
}

/* -------------------------------------------------------------- drain, close */

void tp_pool_close(tp_pool *pool)
{
    tp__pool_lock(pool);
    bool first = !pool->closed;
    bool stop = first && pool->keeper_started;
    pool->closed = true;
    if (first) {
        tp__pool_refuse_locked(pool, TP_ERR_POOL_CLOSED, true);
        struct tp_list *node, *following;
        TP_LIST_EACH(node, following, &pool->lists[TP_SLOT_IDLE])
        tp__slot_close_locked(TP_CONTAINER(node, struct tp_slot, link), TP_CLOSE_POOL_CLOSED);
        tp__pool_report_state_locked(pool);
    }
    tp__pool_tell_drainers_locked(pool);
    pthread_mutex_unlock(&pool->lock);
    if (stop)
        tp__keeper_stop(pool);
}

/* Whether draining is about this slot: it is lent, of one share by that one. */
static bool is_out(const struct tp_slot *slot, const struct tp_share *share)
{
    return slot->state == TP_SLOT_LEASED && (share == NULL || slot->share == share->number);
}

/* What the waiter holds itself cannot come back meanwhile: of a coroutine its own leases, of
 * a thread all that it has taken. */
static bool others_hold_locked(const tp_pool *pool, const struct tp_waiter *waiter)
{
    for (int i = 0; i < pool->limits.max; i++) {
        const struct tp_slot *slot = &pool->slots[i];
        bool own = waiter->bell != NULL ? slot->owner == waiter->owner
                                        : slot->thread == (uintptr_t)pthread_self();
        if (is_out(slot, waiter->share) && !own)
            return true;
    }
    return false;
}

/* They look again themselves at who holds what. */
void tp__pool_tell_drainers_locked(tp_pool *pool)
{
    struct tp_list *node;
    while ((node = tp__list_first(&pool->drainers)) != NULL) {
        struct tp_waiter *waiter = TP_CONTAINER(node, struct tp_waiter, link);
        tp__list_remove(node);
        waiter->queued = false;
        tp__waiter_tell_locked(waiter);
    }
}

static bool join_drain_locked(tp_pool *pool, struct tp_waiter *waiter)
{
    if (waiter->queued)
        return true;
    if (pool->closed || !others_hold_locked(pool, waiter))
        return false;
    waiter->queued = true;
    tp__list_push_back(&pool->drainers, &waiter->link);
    return true;
}

bool tp__pool_begin_drain(tp_pool *pool, struct tp_waiter *waiter)
{
    waiter->queued = false;
    tp__pool_lock(pool);
    if (waiter->share != NULL) {
        tp__share_shut_locked(waiter->share);
    } else if (!pool->closed) {
        pool->draining = true;
        tp__pool_refuse_locked(pool, TP_ERR_POOL_CLOSED, true);
        tp__pool_report_state_locked(pool);
    }
    bool waits = join_drain_locked(pool, waiter);
    pthread_mutex_unlock(&pool->lock);
    return waits;
}

bool tp__pool_is_draining(tp_pool *pool, struct tp_waiter *waiter)
{
    tp__pool_lock(pool);
    bool waits = join_drain_locked(pool, waiter);
    pthread_mutex_unlock(&pool->lock);
    return waits;
}

void tp__pool_leave_drain(tp_pool *pool, struct tp_waiter *waiter)
{
    tp__pool_lock(pool);
    if (waiter->queued)
        tp__list_remove(&waiter->link);
    waiter->queued = false;
    pthread_mutex_unlock(&pool->lock);
    tp__waiter_deinit(waiter);
}

static int count_out_locked(const tp_pool *pool, const struct tp_share *share)
{
    int out = 0;
    for (int i = 0; i < pool->limits.max; i++)
        out += is_out(&pool->slots[i], share);
    return out;
}

static enum tp_status still_out(int out, struct tp_error *err)
{
    return tp__error_set(err, TP_ERR_TIMEOUT, "%d connection%s still in use", out,
                         out == 1 ? " was" : "s were");
}

enum tp_status tp__pool_end_drain(tp_pool *pool, struct tp_waiter *waiter, struct tp_error *err)
{
    tp__pool_leave_drain(pool, waiter);
    tp__pool_lock(pool);
    int out = count_out_locked(pool, waiter->share);
    pthread_mutex_unlock(&pool->lock);
    if (waiter->share == NULL)
        tp_pool_close(pool);
    return out > 0 ? still_out(out, err) : TP_OK;
}

enum tp_status tp_pool_drain(tp_pool *pool, int64_t deadline, struct tp_error *err)
{
    struct tp_waiter waiter = {.queued = false};
    bool waits = tp__pool_begin_drain(pool, &waiter);
    while (waits && tp_now() < deadline) {
        tp__pool_park(pool, &waiter, deadline);
        waits = tp__pool_is_draining(pool, &waiter);
    }
    return tp__pool_end_drain(pool, &waiter, err);
}

/* ---------------------------------------------------------- suspend, resume */

static void suspend_locked(tp_pool *pool)
{
    pool->suspended = true;
    tp__pool_report_state_locked(pool);
}

void tp_pool_suspend(tp_pool *pool)
{
    tp__pool_lock(pool);
    suspend_locked(pool);
    pthread_mutex_unlock(&pool->lock);
}

bool tp__pool_begin_suspend(tp_pool *pool, struct tp_waiter *waiter)
{
    waiter->queued = false;
    tp__pool_lock(pool);
    suspend_locked(pool);
    bool waits = join_drain_locked(pool, waiter);
    pthread_mutex_unlock(&pool->lock);
    return waits;
}

bool tp__pool_is_suspending(tp_pool *pool, struct tp_waiter *waiter)
{
    tp__pool_lock(pool);
    bool waits = pool->suspended && join_drain_locked(pool, waiter);
    pthread_mutex_unlock(&pool->lock);
    return waits;
}

enum tp_status tp__pool_end_suspend(tp_pool *pool, struct tp_waiter *waiter, struct tp_error *err)
{
    tp__pool_leave_drain(pool, waiter);
    tp__pool_lock(pool);
    bool suspended = pool->suspended;
    int out = count_out_locked(pool, NULL);
    pthread_mutex_unlock(&pool->lock);
    if (!suspended)
        return tp__error_set(err, TP_ERR_BUSY, "the pool was resumed meanwhile");
    return out > 0 ? still_out(out, err) : TP_OK;
}

/* Those who wait are served in their order. A connection that rested long is asked first, by
 * the housekeeper. */
static void serve_queue_locked(tp_pool *pool)
{
    struct tp_list *node, *following;
    int64_t now = tp_now();
    int wanted = pool->waiting;
    TP_LIST_EACH(node, following, &pool->lists[TP_SLOT_IDLE])
    {
        struct tp_slot *slot = TP_CONTAINER(node, struct tp_slot, link);
        enum tp_close_reason why;
        if (wanted == 0)
            break;
        if (tp__slot_is_worn_locked(slot, now, &why)) {
            tp__slot_close_locked(slot, why);
            continue;
        }
        wanted--;
        if (now - slot->idle_since < RESTED_LONG_US) {
            tp__pool_serve_locked(slot, now);
        } else {
            slot->chore = TP_CHORE_PING;
            tp__slot_move_locked(slot, TP_SLOT_MENDING);
        }
    }
}

void tp_pool_resume(tp_pool *pool)
{
    tp__pool_lock(pool);
    bool was = pool->suspended;
    pool->suspended = false;
    if (was && !pool->closed) {
        tp__breaker_forgive_locked(pool);
        serve_queue_locked(pool);
    }
    tp__pool_tell_drainers_locked(pool);
    tp__pool_report_state_locked(pool);
    pthread_mutex_unlock(&pool->lock);
    tp__wake_ring(pool->wake);
}

void tp_pool_evict_all(tp_pool *pool)
{
    tp__pool_mind_fork(pool);
    tp__pool_bump_epoch(pool, TP_CLOSE_EVICTED);
}
