/* A pool's part in a budget of connections of all processes (budget.h).
 *
 * Every slot that is not EMPTY has taken a place; it gives it back when its connection has
 * been closed. Without a budget (pool->budget NULL) all of this does nothing.
 * Owns: nothing. Thread: the housekeeper's, but for those that say otherwise. */
#ifndef TP_POOL_BUDGET_H
#define TP_POOL_BUDGET_H

#include "pool.h"

/* At the beginning of a pass: gives back what has ended and learns what others wait for.
 * From here on pool->budget_due is when the next pass is due. */
void tp__pool_budget_pass(tp_pool *pool);
/* Takes places for up to `wanted` connections, of which callers wait for `demand`.
 * Errors: TP_ERR_CONNECTION. */
enum tp_status tp__pool_budget_take(tp_pool *pool, int wanted, int demand, int *granted,
                                    struct tp_error *err) TP_MUST_CHECK;
/* Gives back places for which no connection was begun. Thread: any. */
void tp__pool_budget_give(tp_pool *pool, int count);
/* Closes those that rest while others wait. */
void tp__pool_budget_reap_locked(tp_pool *pool, int64_t now);
/* Whether a connection that comes back is to be closed because others wait; counts it. */
bool tp__pool_budget_owes_locked(const struct tp_slot *slot, int64_t now);
/* Closes a connection (NULL: none was made) and lets its place come back. Thread: any. */
void tp__pool_close_connection(tp_pool *pool, void *connection);
/* Of a closed pool: leaves if nothing is on loan any more, once the server has closed what
 * was closed here, within `us`. Thread: any. */
void tp__pool_budget_leave(tp_pool *pool, int64_t us);
/* Fills the statistics. Thread: any. */
void tp__pool_budget_stats(tp_pool *pool, struct tp_stats *out);

#endif
