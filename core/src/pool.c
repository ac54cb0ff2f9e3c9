/* Slots, waiters and hand-off; see pool.h for the states of a slot. */
#include "pool.h"

#include <string.h>

#include "clock.h"
#include "error.h"
#include "keeper.h"
#include "listen.h"
#include "pool_breaker.h"
#include "pool_budget.h"
#include "pool_ledger.h"
#include "pool_inquiry.h"
#include "pool_lent.h"
#include "pool_report.h"
#include "pool_stats.h"

/* How long whoever brings the last lease of a closed pool back waits for the server to end it;
 * only with a budget, where others wait for that. */
enum { LAST_ENDS_US = 100 * 1000 };

/* ------------------------------------------------------------------- slots */

void tp__slot_move_locked(struct tp_slot *slot, enum tp_slot_state to)
{
    tp_pool *pool = slot->pool;
    tp__list_remove(&slot->link);
    pool->stirred = true;
    pool->counts[slot->state]--;
    pool->counts[to]++;
    slot->state = to;
    if (to == TP_SLOT_IDLE)
        tp__list_push_front(&pool->lists[to], &slot->link);
    else
        tp__list_push_back(&pool->lists[to], &slot->link);
}

int tp__pool_total_locked(const tp_pool *pool)
{
    return pool->limits.max - pool->counts[TP_SLOT_EMPTY];
}

/* A ping is no use: the connection goes back to its place among the idle ones. */
void tp__slot_rest_again_locked(struct tp_slot *slot)
{
    struct tp_list *head = &slot->pool->lists[TP_SLOT_IDLE], *before = head->prev;
    while (before != head &&
           TP_CONTAINER(before, struct tp_slot, link)->idle_since < slot->idle_since)
        before = before->prev;
    tp__slot_move_locked(slot, TP_SLOT_IDLE);
    tp__list_remove(&slot->link);
    tp__list_insert(before, &slot->link);
}

void *tp__slot_take_connection_locked(struct tp_slot *slot)
{
    void *connection = slot->connection;
    slot->connection = NULL;
    return connection;
}

void tp__slot_emptied_locked(struct tp_slot *slot)
{
    slot->fd = -1;
    tp__add(&slot->pool->tally.counts.closed[slot->reason], 1);
    tp__slot_move_locked(slot, TP_SLOT_EMPTY);
}

void tp__slot_close_locked(struct tp_slot *slot, enum tp_close_reason reason)
{
    slot->reason = reason;
    tp__slot_move_locked(slot, TP_SLOT_CLOSING);
}

/* Written under the lock only; atomic because a borrower compares it without. */
static void next_generation_locked(struct tp_slot *slot)
{
    uint64_t now = atomic_load_explicit(&slot->generation, memory_order_relaxed);
    atomic_store_explicit(&slot->generation, now + 1, memory_order_relaxed);
}

static void lend_locked(struct tp_slot *slot, int64_t now, int64_t lent_at, const char *sql,
                        size_t len)
{
    next_generation_locked(slot);
    slot->acquired_at = now;
    slot->lent_at = lent_at;
    slot->user = NULL;
    slot->deadline = TP_NEVER;
    slot->share = 0;
    slot->comment = slot->application_name = NULL;
    slot->place[0] = '\0';
    tp__note_write(&slot->sql, sql, len);
    slot->told_held = slot->told_idle = false;
    atomic_store_explicit(&slot->tx_state, TP_TX_IDLE, memory_order_relaxed);
    atomic_store_explicit(&slot->quiet_since, now, memory_order_relaxed);
    if (slot->state != TP_SLOT_LEASED)
        tp__slot_move_locked(slot, TP_SLOT_LEASED);
    tp__add(&slot->tally->counts.acquires, 1);
}

static uint64_t number_of(const struct tp_share *share)
{
    return share != NULL ? share->number : 0;
}

static void leave_queue_locked(tp_pool *pool, struct tp_waiter *waiter)
{
    tp__list_remove(&waiter->link);
    waiter->queued = false;
    pool->waiting--;
    pool->stirred = true;
}

void tp__waiter_tell_locked(struct tp_waiter *waiter)
{
    if (waiter->bell != NULL)
        tp__bell_ring(waiter->bell, &waiter->rope);
    else if (waiter->has_cond)
        pthread_cond_signal(&waiter->cond);
}

void tp__pool_serve_locked(struct tp_slot *slot, int64_t now)
{
    tp_pool *pool = slot->pool;
    struct tp_list *first = tp__list_first(&pool->waiters);
    if (first == NULL || pool->suspended) {
        slot->idle_since = now;
        tp__slot_move_locked(slot, TP_SLOT_IDLE);
        return;
    }
    struct tp_waiter *waiter = TP_CONTAINER(first, struct tp_waiter, link);
    int64_t lent_at = tp_now();
    pool->handed++;
    lend_locked(slot, now, lent_at, waiter->sql, waiter->sql_len);
    slot->owner = waiter->owner;
    slot->thread = waiter->thread;
    slot->share = number_of(waiter->share);
    waiter->slot = slot;
    tp__histogram_record(&pool->tally.wait, lent_at - waiter->since);
    leave_queue_locked(pool, waiter);
    tp__waiter_tell_locked(waiter);
}

void tp__pool_ask_waiters_locked(tp_pool *pool, int count)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &pool->waiters)
    {
        struct tp_waiter *waiter = TP_CONTAINER(node, struct tp_waiter, link);
        if (count == 0)
            break;
        if (waiter->asked)
            continue;
        waiter->asked = true;
        tp__waiter_tell_locked(waiter);
        count--;
    }
}

static void refuse_waiter_locked(tp_pool *pool, struct tp_waiter *waiter, enum tp_status status)
{
    waiter->failed = true;
    waiter->status = status;
    leave_queue_locked(pool, waiter);
    tp__waiter_tell_locked(waiter);
}

void tp__pool_refuse_locked(tp_pool *pool, enum tp_status status, bool all)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &pool->waiters)
    {
        struct tp_waiter *waiter = TP_CONTAINER(node, struct tp_waiter, link);
        if (all || !waiter->patient)
            refuse_waiter_locked(pool, waiter, status);
    }
}

void tp__share_shut_locked(struct tp_share *share)
{
    tp_pool *pool = share->pool;
    struct tp_list *node, *following;
    atomic_store(&share->closed, true);
    tp__listen_shut_locked(pool, share);
    TP_LIST_EACH(node, following, &pool->waiters)
    {
        struct tp_waiter *waiter = TP_CONTAINER(node, struct tp_waiter, link);
        if (waiter->share == share)
            refuse_waiter_locked(pool, waiter, TP_ERR_POOL_CLOSED);
    }
}

/* Why a connection must not be used again, if it must not. */
bool tp__slot_is_worn_locked(const struct tp_slot *slot, int64_t now, enum tp_close_reason *why)
{
    const tp_pool *pool = slot->pool;
    if (atomic_load_explicit(&slot->hangup, memory_order_relaxed))
        *why = TP_CLOSE_DEAD;
    else if (slot->epoch != atomic_load_explicit(&pool->epoch, memory_order_relaxed))
        *why = (enum tp_close_reason)atomic_load(&pool->epoch_ended);
    else if (now >= slot->expires_at)
        *why = TP_CLOSE_MAX_LIFETIME;
    else if (pool->limits.max_uses > 0 && slot->uses >= pool->limits.max_uses)
        *why = TP_CLOSE_MAX_USES;
    else
        return false;
    return true;
}

/* ------------------------------------------------------------------ acquire */

/* `waiter`: NULL when nothing is known of whoever takes it but the share. */
static void lend_idle_locked(struct tp_slot *slot, const struct tp_waiter *waiter,
                             const struct tp_share *share, int64_t now, int64_t lent_at)
{
    if (waiter != NULL)
        lend_locked(slot, now, lent_at, waiter->sql, waiter->sql_len);
    else
        lend_locked(slot, now, lent_at, NULL, 0);
    slot->share = number_of(share);
    slot->thread = (uintptr_t)pthread_self();
    slot->owner = waiter != NULL && waiter->owner != 0 ? waiter->owner : slot->thread;
    tp__histogram_record(&slot->pool->tally.wait, 0);
}

/* The most recently used idle connection that is not worn, or NULL. */
static struct tp_slot *take_idle_locked(tp_pool *pool, const struct tp_waiter *waiter, int64_t now,
                                        bool *closing)
{
    struct tp_list *first;
    while (!pool->suspended && (first = tp__list_first(&pool->lists[TP_SLOT_IDLE])) != NULL) {
        struct tp_slot *slot = TP_CONTAINER(first, struct tp_slot, link);
        enum tp_close_reason why;
        if (!tp__slot_is_worn_locked(slot, now, &why)) {
            lend_idle_locked(slot, waiter, waiter->share, now,
                             waiter->began > 0 ? waiter->began : tp__stats_now());
            return slot;
        }
        tp__slot_close_locked(slot, why);
        *closing = true;
    }
    return NULL;
}

static enum tp_acquired refuse(struct tp_error *err, enum tp_status status, const char *why)
{
    tp__error_set(err, status, "%s", why);
    return TP_REFUSED;
}

static enum tp_acquired join_queue_locked(tp_pool *pool, struct tp_waiter *waiter, bool *ring,
                                          struct tp_error *err)
{
    int cap = pool->limits.max_waiting;
    if (cap > 0 && pool->waiting >= cap) {
        tp__error_set(err, TP_ERR_BUSY, "%d callers wait for a connection already (max_waiting)",
                      pool->waiting);
        return TP_REFUSED;
    }
    if (tp__breaker_refuses_locked(pool, waiter->patient, tp_now())) {
        tp__report_refusal_locked(pool, TP_ERR_CONNECTION, err);
        return TP_REFUSED;
    }
    if (!tp__keeper_start_locked(pool))
        return refuse(err, TP_ERR_CONNECTION, "the pool's housekeeper thread could not start");
    waiter->since = tp_now();
    waiter->thread = (uintptr_t)pthread_self();
    if (waiter->owner == 0)
        waiter->owner = waiter->thread;
    waiter->slot = NULL;
    waiter->failed = waiter->asked = false;
    waiter->queued = true;
    tp__list_push_back(&pool->waiters, &waiter->link);
    pool->waiting++;
    /* When all are lent the housekeeper can do little, and hears of the next return. */
    *ring |=
        tp__inquiry_joined_locked(pool, waiter) || pool->counts[TP_SLOT_LEASED] < pool->limits.max;
    return TP_QUEUED;
}

static bool is_closed_for_locked(const tp_pool *pool, const struct tp_share *share)
{
    return pool->closed || pool->draining ||
           (share != NULL && atomic_load_explicit(&share->closed, memory_order_relaxed));
}

enum tp_acquired tp__pool_acquire(tp_pool *pool, struct tp_waiter *waiter, struct tp_error *err)
{
    enum tp_acquired how;
    bool ring = false;

    tp__pool_lock(pool);
    if (!pool->configured) {
        (void)tp__report_unconfigured(err);
        how = TP_REFUSED;
    } else if (is_closed_for_locked(pool, waiter->share)) {
        tp__report_refusal_locked(pool, TP_ERR_POOL_CLOSED, err);
        how = TP_REFUSED;
    } else {
        waiter->slot = take_idle_locked(pool, waiter, tp__now_coarse(), &ring);
        how = waiter->slot != NULL ? TP_ACQUIRED : join_queue_locked(pool, waiter, &ring, err);
        ring |= tp__pool_stirs_locked(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    if (ring)
        tp__wake_ring(pool->wake);
    return how;
}

/* The first idle connection, if it was used a moment ago and is not worn. */
static struct tp_slot *take_fresh_locked(tp_pool *pool, const struct tp_share *share)
{
    struct tp_list *first = tp__list_first(&pool->lists[TP_SLOT_IDLE]);
    if (first == NULL || pool->suspended || is_closed_for_locked(pool, share))
        return NULL;
    struct tp_slot *slot = TP_CONTAINER(first, struct tp_slot, link);
    int64_t now = TP_COUNTS ? tp_now() : tp__now_coarse();
    enum tp_close_reason why;
    if (now - slot->idle_since >= TP_LOOK_AFTER_US || tp__slot_is_worn_locked(slot, now, &why))
        return NULL;
    lend_idle_locked(slot, NULL, share, now, now);
    return slot;
}

/* More than half of the pool is out, or the pool is so small that this is soon so; or whoever keeps
 * one for long is to be named. */
static bool is_scarce_locked(const tp_pool *pool)
{
    return pool->limits.max <= 4 || pool->limits.leak_after_us > 0 ||
           pool->counts[TP_SLOT_LEASED] * 2 > pool->limits.max;
}

bool tp__pool_try_acquire(tp_pool *pool, const struct tp_share *share, tp_lease *out, bool *scarce)
{
    tp__pool_lock(pool);
    struct tp_slot *slot = take_fresh_locked(pool, share);
    bool ring = slot != NULL && tp__pool_stirs_locked(pool);
    out->slot = slot;
    if (slot != NULL) {
        out->generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
        *scarce = is_scarce_locked(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    if (ring)
        tp__wake_ring(pool->wake);
    return slot != NULL;
}

bool tp_pool_try_acquire(tp_pool *pool, tp_lease *out, bool *scarce)
{
    return tp__pool_try_acquire(pool, NULL, out, scarce);
}

static enum tp_acquired poll_locked(tp_pool *pool, struct tp_waiter *waiter, int64_t deadline,
                                    struct tp_error *err)
{
    waiter->asked = false;
    if (waiter->slot != NULL)
        return TP_ACQUIRED;
    if (waiter->failed) {
        tp__report_refusal_locked(pool, waiter->status, err);
        return TP_REFUSED;
    }
    if (tp_now() < deadline)
        return TP_QUEUED;
    tp__report_timeout_locked(pool, tp_now() - waiter->since, err);
    leave_queue_locked(pool, waiter);
    tp__add(&pool->tally.counts.acquire_timeouts, 1);
    return TP_REFUSED;
}

enum tp_acquired tp__pool_poll(tp_pool *pool, struct tp_waiter *waiter, int64_t deadline,
                               struct tp_error *err)
{
    tp__pool_lock(pool);
    enum tp_acquired how = poll_locked(pool, waiter, deadline, err);
    pthread_mutex_unlock(&pool->lock);
    if (how != TP_QUEUED)
        tp__waiter_deinit(waiter);
    return how;
}

void tp__waiter_deinit(struct tp_waiter *waiter)
{
    if (waiter->has_cond)
        pthread_cond_destroy(&waiter->cond);
    waiter->has_cond = false;
}

bool tp__pool_all_held_by_caller(tp_pool *pool)
{
    bool all = true;
    tp__pool_lock(pool);
    for (int i = 0; all && i < pool->limits.max; i++) {
        const struct tp_slot *slot = &pool->slots[i];
        all = slot->state == TP_SLOT_LEASED && slot->thread == (uintptr_t)pthread_self();
    }
    pthread_mutex_unlock(&pool->lock);
    return all;
}

static bool waits_locked(const tp_pool *pool, uintptr_t owner)
{
    const struct tp_list *node = pool->waiters.next;
    for (; node != &pool->waiters; node = node->next) {
        if (TP_CONTAINER(node, struct tp_waiter, link)->owner == owner)
            return true;
    }
    return false;
}

bool tp__pool_is_deadlocked(tp_pool *pool, const struct tp_waiter *waiter)
{
    bool holds = false, stuck = true;
    tp__pool_lock(pool);
    for (int i = 0; i < pool->limits.max; i++)
        holds |= pool->slots[i].state == TP_SLOT_LEASED && pool->slots[i].owner == waiter->owner;
    for (int i = 0; holds && stuck && i < pool->limits.max; i++) {
        const struct tp_slot *slot = &pool->slots[i];
        stuck = slot->state == TP_SLOT_LEASED && waits_locked(pool, slot->owner);
    }
    pthread_mutex_unlock(&pool->lock);
    return holds && stuck;
}

void tp__pool_park(tp_pool *pool, struct tp_waiter *waiter, int64_t deadline)
{
    struct timespec until = tp__timespec(deadline);

    tp__pool_lock(pool);
    if (!waiter->has_cond) {
        pthread_condattr_t attr;
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&waiter->cond, &attr);
        pthread_condattr_destroy(&attr);
        waiter->has_cond = true;
    }
    int status = 0;
    while (waiter->queued && !waiter->asked && status == 0)
        status = pthread_cond_timedwait(&waiter->cond, &pool->lock, &until);
    pthread_mutex_unlock(&pool->lock);
}

void tp__pool_leave(tp_pool *pool, struct tp_waiter *waiter)
{
    tp__pool_lock(pool);
    if (waiter->queued) {
        leave_queue_locked(pool, waiter);
        tp__add(&pool->tally.counts.acquire_cancels, 1);
    }
    struct tp_slot *slot = waiter->slot;
    uint64_t generation = slot != NULL ? atomic_load(&slot->generation) : 0;
    pthread_mutex_unlock(&pool->lock);
    tp__waiter_deinit(waiter);
    waiter->slot = NULL;
    if (slot != NULL)
        (void)tp__pool_return(slot, generation, TP_FATE_KEEP, TP_CLOSE_IN_DOUBT, NULL);
}

/* ------------------------------------------------------------------- return */

bool tp__pool_is_over_limit_locked(const tp_pool *pool)
{
    return tp__pool_total_locked(pool) - pool->counts[TP_SLOT_CLOSING] > pool->adaptive.limit;
}

/* Decides what becomes of the connection; true when the housekeeper has work. */
static bool settle_locked(struct tp_slot *slot, enum tp_fate fate, enum tp_close_reason reason)
{
    tp_pool *pool = slot->pool;
    int64_t now = tp__now_coarse();
    if (fate != TP_FATE_CLOSE) {
        enum tp_close_reason worn;
        if (pool->closed || pool->draining)
            fate = TP_FATE_CLOSE, reason = TP_CLOSE_POOL_CLOSED;
        else if (tp__slot_is_worn_locked(slot, now, &worn))
            fate = TP_FATE_CLOSE, reason = worn;
        else if (fate == TP_FATE_KEEP && tp__pool_budget_owes_locked(slot, now))
            fate = TP_FATE_CLOSE, reason = TP_CLOSE_BUDGET;
        else if (tp__pool_is_over_limit_locked(pool))
            fate = TP_FATE_CLOSE, reason = TP_CLOSE_SHRUNK;
    }
    if (fate == TP_FATE_KEEP) {
        tp__pool_serve_locked(slot, now);
        return false;
    }
    if (fate == TP_FATE_RESET) {
        slot->chore = TP_CHORE_RESET;
        slot->idle_since = now;
        tp__slot_move_locked(slot, TP_SLOT_MENDING);
        return true;
    }
    tp__slot_close_locked(slot, reason);
    return true;
}

/* The housekeeper of a closed pool has gone: the connection is closed here. */
static void close_here(struct tp_slot *slot, void *connection)
{
    tp_pool *pool = slot->pool;
    tp__pool_close_connection(pool, connection);
    tp__pool_event(pool, TP_EVENT_REMOVE, slot->backend_pid, 0, NULL, "%s",
                   tp_close_reason_name(slot->reason));
    pthread_mutex_lock(&pool->lock);
    tp__slot_emptied_locked(slot);
    pthread_mutex_unlock(&pool->lock);
    tp__pool_ledger_leave(pool);
    tp__pool_budget_leave(pool, LAST_ENDS_US);
}

bool tp__pool_return(struct tp_slot *slot, uint64_t generation, enum tp_fate fate,
                     enum tp_close_reason reason, const struct tp_usage *usage)
{
    tp_pool *pool = slot->pool;
    tp__pool_lock(pool);
    if (slot->state != TP_SLOT_LEASED || atomic_load(&slot->generation) != generation) {
        pthread_mutex_unlock(&pool->lock);
        return false;
    }
    tp__slot_count_return(slot, usage);
    next_generation_locked(slot);
    if (slot->told_held)
        tp__lent_came_back_locked(slot);
    slot->uses++;
    pool->returned++;
    bool ring = settle_locked(slot, fate, reason);
    bool orphan = slot->state == TP_SLOT_CLOSING && pool->closed && !pool->keeper_started;
    void *connection = orphan ? tp__slot_take_connection_locked(slot) : NULL;
    tp__pool_tell_drainers_locked(pool);
    pthread_mutex_unlock(&pool->lock);
    if (orphan)
        close_here(slot, connection);
    else if (ring)
        tp__wake_ring(pool->wake);
    return true;
}

/* Each query earns a part of a repetition. */
static void earn_credit_locked(tp_pool *pool)
{
    uint64_t queries = tp__pool_queries(pool);
    uint64_t more = queries - pool->credited;
    pool->credited = queries;
    if (more > TP_RETRY_CREDIT)
        more = TP_RETRY_CREDIT;
    pool->retry_credit += (int64_t)more * pool->limits.retry_percent;
    if (pool->retry_credit > TP_RETRY_CREDIT)
        pool->retry_credit = TP_RETRY_CREDIT;
}

bool tp_pool_take_retry(tp_pool *pool, int attempt, const char *code, const char *why)
{
    tp__pool_lock(pool);
    earn_credit_locked(pool);
    bool free = pool->limits.retry_percent >= 100;
    bool granted = free || pool->retry_credit >= TP_RETRY_COST;
    pool->retry_credit -= granted && !free ? TP_RETRY_COST : 0;
    tp__add(&pool->tally.counts.retries, granted);
    tp__add(&pool->tally.counts.retries_refused, !granted);
    pthread_mutex_unlock(&pool->lock);
    if (granted)
        tp__pool_event(pool, TP_EVENT_RETRY, 0, attempt, code, "%s", why);
    return granted;
}

void tp__pool_note_place(struct tp_slot *slot, const char *place, int line)
{
    size_t len = strnlen(place, sizeof slot->place - 1);
    tp__pool_lock(slot->pool);
    memcpy(slot->place, place, len);
    slot->place[len] = '\0';
    slot->line = line;
    pthread_mutex_unlock(&slot->pool->lock);
}

void tp__pool_bump_epoch(tp_pool *pool, enum tp_close_reason why)
{
    atomic_store(&pool->epoch_ended, (int)why);
    atomic_fetch_add(&pool->epoch, 1);
    tp__wake_ring(pool->wake);
}
