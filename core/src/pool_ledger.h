/* A pool's part in the statistics of several processes (ledger.h).
 *
 * The housekeeper publishes them every TP_PUBLISH_US while something changes; whoever asks and
 * whoever closes publishes them besides. Without a ledger (pool->ledger NULL) nothing is done.
 * Owns: nothing. Thread: any, unless it says otherwise. */
#ifndef TP_POOL_LEDGER_H
#define TP_POOL_LEDGER_H

#include "ledger.h"
#include "pool.h"

enum { TP_PUBLISH_US = 200 * 1000 };

/* Publishes what has changed, when it is time; pool->publish_due is when the next pass is due for
 * that. Thread: the housekeeper. */
void tp__pool_ledger_pass(tp_pool *pool);
/* Something happens: true when the housekeeper is to be woken, since it rests. */
bool tp__pool_stirs_locked(tp_pool *pool);
/* Of a closed pool: publishes for the last time if nothing is on loan any more. */
void tp__pool_ledger_leave(tp_pool *pool);

#endif
