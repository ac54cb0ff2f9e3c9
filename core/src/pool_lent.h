/* Connections on loan: who has them, and warnings about those that are kept for too long.
 *
 * A loan is warned of once when it is older than pool.leak_after_ms, and once when it is idle in a
 * transaction for half the time after which the server ends it. Nothing is counted or timed by
 * the borrower for that: the housekeeper looks.
 * Owns: nothing. Thread: the *_locked functions need the pool's lock. */
#ifndef TP_POOL_LENT_H
#define TP_POOL_LENT_H

#include "pool.h"

/* Tells the program of loans that have become too old or idle. */
void tp__lent_warn_locked(tp_pool *pool, int64_t now);
/* When to do that again at the latest; TP_NEVER when nothing is to be warned of. */
int64_t tp__lent_due_locked(const tp_pool *pool, int64_t now);
/* A loan that the program was warned of ends. */
void tp__lent_came_back_locked(const struct tp_slot *slot);

#endif
