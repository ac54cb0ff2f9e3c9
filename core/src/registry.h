/* The registry: every database of the process, its name and its shares.
 *
 * A name stands for one pool from the first tp_share_open to the last tp_share_close. A
 * pool without a name has one share. The registry also makes forks safe: while the process
 * is being forked nobody is within what the databases keep under locks of their own, so the
 * child finds it whole. In the child a name stands for the child's own pool; shares that
 * were opened by other threads do not count there, because those threads are gone.
 * Owns: nothing; it lists what is there. Thread: any. */
#ifndef TP_REGISTRY_H
#define TP_REGISTRY_H

#include "database.h"
#include "share.h"

void tp__registry_add(struct tp_database *database);
void tp__registry_remove(struct tp_database *database);

/* The share is about to be drained. True: it is the last of its pool, which nobody finds by
 * its name any more, so the pool is to be drained as a whole. */
bool tp__registry_begin_drain(struct tp_share *share);

/* The process is about to end: pools that are opened from now on take no work. All those that
 * there are, each with a reference of the caller's, as is the list; NULL: no memory, none. */
tp_pool **tp__registry_end(size_t *count);

#endif
