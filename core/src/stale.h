/* Statements that must be prepared anew, told to all connections of a pool.
 *
 * When the server says that a cached plan is stale, the one connection that heard it
 * drops the statement, and the news is left here: every other connection looks before
 * it uses a statement. A connection that missed more than the ring holds drops all.
 * Owns: nothing. Thread: any; the usual look is one atomic load. */
#ifndef TP_STALE_H
#define TP_STALE_H

#include <pthread.h>
#include <stdatomic.h>

#include "statements.h"

enum { TP_STALE_ROOM = 64 };

struct tp_stale {
    pthread_mutex_t lock;
    _Atomic uint64_t count;
    uint64_t hashes[TP_STALE_ROOM]; /* guarded by lock; the n-th news is at n % ROOM */
};

void tp__stale_init(struct tp_stale *stale);
void tp__stale_deinit(struct tp_stale *stale);
void tp__stale_tell(struct tp_stale *stale, uint64_t hash);
/* Whether there is news since `seen`. */
static inline bool tp__stale_has_news(const struct tp_stale *stale, uint64_t seen)
{
    return atomic_load_explicit(&stale->count, memory_order_acquire) != seen;
}
/* The next news after *seen, which is moved on: a hash, or 0 for "drop all". */
uint64_t tp__stale_next(struct tp_stale *stale, uint64_t *seen);

#endif
