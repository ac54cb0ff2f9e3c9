/* Shares: what each of several openers has of one pool.
 *
 * A share lends connections like the pool, until it is closed; then it lends no more, and
 * the pool goes on for the others. It knows what was lent through it (by its number in the
 * slots), so that it can be drained by itself (pool.h). Which shares a pool has, and that the pool
 * closes with the last, is the registry's business (registry.h).
 * Owns: a reference to its pool. A share is counted itself: operations keep it.
 * Thread: any. */
#ifndef TP_SHARE_H
#define TP_SHARE_H

#include "pool.h"

/* With one reference, without a pool; until it has one, it goes with free(3). NULL: no
 * memory. */
struct tp_share *tp__share_new(void);
/* Opens it; the reference to the pool is the share's from now on. */
void tp__share_begin(struct tp_share *share, tp_pool *pool);

/* Nothing is lent through it any more; whoever waits is refused. */
void tp__share_shut(struct tp_share *share);

#endif
