#include "pool_ledger.h"

#include <string.h>

#include "listen.h"
#include "pool_budget.h"
#include "pool_stats.h"

bool tp__pool_stirs_locked(tp_pool *pool)
{
    bool rested = pool->resting;
    pool->resting = false;
    return rested;
}

/* ----------------------------------------------------------------- publishing */

static void set_gauges(const struct tp_stats *now, int gauges[TP_GAUGES])
{
    gauges[TP_GAUGE_IDLE] = now->idle;
    gauges[TP_GAUGE_ACTIVE] = now->active;
    gauges[TP_GAUGE_CONNECTING] = now->connecting;
    gauges[TP_GAUGE_MENDING] = now->mending;
    gauges[TP_GAUGE_WAITING] = now->waiting;
    gauges[TP_GAUGE_MAX] = now->max;
    gauges[TP_GAUGE_MIN] = now->min;
    gauges[TP_GAUGE_LIMIT] = now->limit;
    gauges[TP_GAUGE_OPEN] = now->breaker == TP_BREAKER_OPEN;
    gauges[TP_GAUGE_HALF_OPEN] = now->breaker == TP_BREAKER_HALF_OPEN;
    gauges[TP_GAUGE_LISTENERS] = now->listeners;
}

/* Whoever only asks is not one of those that are counted. */
static bool has_counted(tp_pool *pool, const struct tp_tally *tally)
{
    const struct tp_pool_counts *counts = &tally->counts;
    return tp__read(&tally->leases.counts.acquires) > 0 || tp__read(&counts->connects) > 0 ||
           tp__read(&counts->connect_failures) > 0 || tp__read(&counts->acquire_timeouts) > 0 ||
           tp__read(&counts->acquire_cancels) > 0 || tp__read(&counts->fail_fast) > 0 ||
           tp__listen_has_begun(pool);
}

/* *now, which may be NULL, gets what is so now. */
static enum tp_status publish(tp_pool *pool, struct tp_stats *now, struct tp_error *err)
{
    struct tp_account own;
    struct tp_stats stats;
    if (now == NULL)
        now = &stats;
    memset(&own, 0, sizeof own);
    tp__pool_sum(pool, &own.tally);
    tp__pool_report_now(pool, now);
    set_gauges(now, own.gauges);
    return has_counted(pool, &own.tally) ? tp__ledger_publish(pool->ledger, &own, err) : TP_OK;
}

/* Whoever asks is told when it does not work. */
static void publish_quietly(tp_pool *pool)
{
    struct tp_error err;
    enum tp_status status = publish(pool, NULL, &err);
    (void)status;
}

void tp__pool_ledger_pass(tp_pool *pool)
{
    int64_t now = tp_now();
    if (pool->ledger == NULL || (pool->publish_due != TP_NEVER && now < pool->publish_due))
        return;
    pthread_mutex_lock(&pool->lock);
    bool busy = pool->stirred || pool->waiting > 0 || pool->counts[TP_SLOT_LEASED] > 0;
    pool->stirred = false;
    pool->resting = !busy;
    pthread_mutex_unlock(&pool->lock);
    pool->publish_due = busy ? now + TP_PUBLISH_US : TP_NEVER;
    if (busy)
        publish_quietly(pool);
}

void tp__pool_ledger_leave(tp_pool *pool)
{
    if (pool->ledger == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    bool out = tp__pool_total_locked(pool) > 0;
    pthread_mutex_unlock(&pool->lock);
    if (out)
        return;
    publish_quietly(pool);
    tp__ledger_leave(pool->ledger);
}

/* -------------------------------------------------------------------- asking */

static void take_gauges(const int gauges[TP_GAUGES], struct tp_stats *out)
{
    out->idle = gauges[TP_GAUGE_IDLE];
    out->active = gauges[TP_GAUGE_ACTIVE];
    out->connecting = gauges[TP_GAUGE_CONNECTING];
    out->mending = gauges[TP_GAUGE_MENDING];
    out->total = out->idle + out->active + out->mending;
    out->waiting = gauges[TP_GAUGE_WAITING];
    out->max = gauges[TP_GAUGE_MAX];
    out->min = gauges[TP_GAUGE_MIN];
    out->limit = gauges[TP_GAUGE_LIMIT];
    out->listeners = gauges[TP_GAUGE_LISTENERS];
    out->breaker = gauges[TP_GAUGE_OPEN] > 0        ? TP_BREAKER_OPEN
                   : gauges[TP_GAUGE_HALF_OPEN] > 0 ? TP_BREAKER_HALF_OPEN
                                                    : TP_BREAKER_CLOSED;
}

static enum tp_status sum_shared(tp_pool *pool, struct tp_stats *out, struct tp_error *err)
{
    struct tp_account sum;
    enum tp_status status = publish(pool, out, err);
    if (status == TP_OK)
        status = tp__ledger_read(pool->ledger, &sum, err);
    if (status != TP_OK)
        return status;
    tp__tally_report(&sum.tally, out);
    tp__pool_budget_stats(pool, out);
    take_gauges(sum.gauges, out);
    out->processes = sum.processes;
    return TP_OK;
}

enum tp_status tp_pool_shared_stats(tp_pool *pool, struct tp_stats *out, struct tp_error *err)
{
    tp__pool_mind_fork(pool);
    if (pool->ledger != NULL)
        return sum_shared(pool, out, err);
    tp_pool_stats(pool, out);
    out->processes = 1;
    return TP_OK;
}
