/* A pool's statistics: who counts what, and the sums.
 *
 * Thread: of tp__slot_* the borrower of the slot, who is the only one to count there; of the
 * others any, unless they say otherwise. */
#ifndef TP_POOL_STATS_H
#define TP_POOL_STATS_H

#include "pool.h"

/* Counts what was done on a connection that stays leased. */
void tp__slot_count(struct tp_slot *slot, const struct tp_usage *usage);
/* The same and the end of the lease; `usage` may be NULL. */
void tp__slot_count_return(struct tp_slot *slot, const struct tp_usage *usage);
enum tp_statement_event { TP_STATEMENT_HIT, TP_STATEMENT_PREPARED, TP_STATEMENT_EVICTED };
void tp__slot_count_statement(struct tp_slot *slot, enum tp_statement_event event);
/* The borrower has lost it. */
void tp__slot_count_leak(struct tp_slot *slot);

void tp__pool_count_connect_failure_locked(tp_pool *pool, const struct tp_error *err);
/* How many queries there were so far. */
uint64_t tp__pool_queries(const tp_pool *pool);
/* Adds all that this process has counted. */
void tp__pool_sum(const tp_pool *pool, struct tp_tally *into);
/* How its connections stand now; the rest is left as it is. */
void tp__pool_report_now(tp_pool *pool, struct tp_stats *out);
/* In a child of fork nothing has been counted. Thread: the only one. */
void tp__pool_stats_forked(tp_pool *pool);

#endif
