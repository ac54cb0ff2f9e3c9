#include "pool_stats.h"

#include <string.h>

#include "pool_breaker.h"
#include "pool_budget.h"

/* ----------------------------------------------------------------- counting */

static void count_failure(struct tp_lease_tally *tally, enum tp_status kind, const char *code)
{
    tp__add(&tally->counts.errors_by_kind[kind], 1);
    if (code != NULL)
        tp__classes_add(&tally->classes, code, 1);
}

void tp__slot_count(struct tp_slot *slot, const struct tp_usage *usage)
{
    struct tp_lease_tally *tally = slot->tally;
    if (usage->query_us >= 0) {
        tp__add(&tally->counts.queries, 1);
        tp__histogram_record(&tally->query, usage->query_us);
        if (usage->slow)
            tp__add(&tally->counts.slow_queries, 1);
        if (usage->failed)
            tp__add(&tally->counts.query_failures, 1);
    }
    if (usage->failed)
        count_failure(tally, usage->kind, usage->code);
    if (usage->rollback)
        tp__add(&tally->counts.rollbacks, 1);
}

void tp__slot_count_return(struct tp_slot *slot, const struct tp_usage *usage)
{
    int64_t ended = usage != NULL && usage->ended > 0 ? usage->ended : tp_now();
    if (usage != NULL)
        tp__slot_count(slot, usage);
    tp__histogram_record(&slot->tally->held, ended - slot->lent_at);
}

void tp__slot_count_statement(struct tp_slot *slot, enum tp_statement_event event)
{
    struct tp_lease_counts *counts = &slot->tally->counts;
    switch (event) {
    case TP_STATEMENT_HIT:
        tp__add(&counts->statement_hits, 1);
        break;
    case TP_STATEMENT_PREPARED:
        tp__add(&counts->statements_prepared, 1);
        break;
    case TP_STATEMENT_EVICTED:
        tp__add(&counts->statement_evictions, 1);
        break;
    }
}

void tp__slot_count_leak(struct tp_slot *slot)
{
    tp__add(&slot->tally->counts.leaks, 1);
}

void tp__pool_count_connect_failure_locked(tp_pool *pool, const struct tp_error *err)
{
    tp__add(&pool->tally.counts.connect_failures, 1);
    count_failure(&pool->tally.leases, err->kind, err->code);
}

/* --------------------------------------------------------------------- sums */

uint64_t tp__pool_queries(const tp_pool *pool)
{
    uint64_t queries = 0;
    for (int i = 0; i < pool->limits.max; i++)
        queries += tp__read(&pool->tallies[i].counts.queries);
    return queries;
}

void tp__pool_sum(const tp_pool *pool, struct tp_tally *into)
{
    for (int i = 0; i < pool->limits.max; i++)
        tp__tally_add_leases(into, &pool->tallies[i]);
    tp__tally_add(into, &pool->tally);
}

void tp__pool_report_now(tp_pool *pool, struct tp_stats *out)
{
    tp__pool_lock(pool);
    out->idle = pool->counts[TP_SLOT_IDLE];
    out->active = pool->counts[TP_SLOT_LEASED];
    out->connecting = pool->counts[TP_SLOT_OPENING];
    out->mending = pool->counts[TP_SLOT_MENDING];
    out->total = out->idle + out->active + out->mending;
    out->waiting = pool->waiting;
    out->max = pool->limits.max;
    out->limit = pool->adaptive.limit;
    out->min = pool->limits.min;
    out->breaker = tp__breaker_state_locked(pool);
    pthread_mutex_unlock(&pool->lock);
}

void tp_pool_stats(tp_pool *pool, struct tp_stats *out)
{
    struct tp_tally sum;
    memset(&sum, 0, sizeof sum);
    memset(out, 0, sizeof *out);
    tp__pool_mind_fork(pool);
    tp__pool_sum(pool, &sum);
    tp__pool_report_now(pool, out);
    tp__pool_budget_stats(pool, out);
    tp__tally_report(&sum, out);
}

void tp__pool_stats_forked(tp_pool *pool)
{
    memset(&pool->tally, 0, sizeof pool->tally);
    for (int i = 0; i < pool->limits.max; i++) {
        if (tp__read(&pool->tallies[i].counts.acquires) > 0)
            memset(&pool->tallies[i], 0, sizeof pool->tallies[i]);
    }
    pool->credited = 0;
}
