/* Listeners, and the one connection of a pool that hears for all of them.
 *
 *     OFF --> OPENING --> IDLE <--> ASKING        IDLE, ASKING: LISTEN and UNLISTEN, then notes
 *      ^         |          |         |
 *      +---------+----------+---------+           lost, replaced, or nobody listens any more
 *
 * The housekeeper alone moves the connection; it has no slot, so it is none of pool.max. What it
 * reads is put into the queues of those that listen to the channel, which are bounded.
 *
 * A loss is told to a listener as a gap in its queue, when LISTEN has been acknowledged on the next
 * connection, and before anything that comes on it.
 * Owns: the connection; channels and queues. Thread: see each; guarded by the pool's lock. */
#ifndef TP_LISTEN_H
#define TP_LISTEN_H

#include "pool.h"

/* --- listen.c: for whoever waits ------------------------------------------- */

/* Whether the listener is listened for (`heard`: has something to be taken), or refused, or has to
 * give up because the deadline has passed. TP_QUEUED: the waiter waits. */
enum tp_acquired tp__listener_poll(struct tp_listener *listener, struct tp_waiter *waiter,
                                   int64_t deadline, bool heard, struct tp_error *err);
/* The waiter waits no more. */
void tp__listener_leave(struct tp_listener *listener, struct tp_waiter *waiter);
tp_pool *tp__listener_pool(const struct tp_listener *listener);

/* Ends the listeners of a share, or with NULL all of the pool's: TP_ERR_POOL_CLOSED. */
void tp__listen_shut_locked(tp_pool *pool, const struct tp_share *share);
/* Has somebody who waits for a notification step, since a password is missing. */
void tp__listen_ask_locked(tp_pool *pool);
int tp__listen_count_locked(const tp_pool *pool);
/* Whether anybody listens, or ever has. */
bool tp__listen_has_begun(tp_pool *pool);
/* The pool is freed; nobody listens any more. */
void tp__listen_free(tp_pool *pool);
/* In a child of fork: all of it is the parent's. */
void tp__listen_forked(tp_pool *pool);

/* --- listen_keeper.c: the housekeeper's -------------------------------------- */

/* How many connections are to be made now: 0 or 1. */
int tp__listen_wants_locked(const tp_pool *pool, int64_t now);
/* The server is there: if it was not when it was tried last, it is tried again at once. */
void tp__listen_hurry_locked(tp_pool *pool, int64_t now);
/* One was to be, and so many may be of all that the pool wants; -1: the budget is out of order.
 * Returns how many are taken: 0 or 1. */
int tp__listen_begin_locked(tp_pool *pool, int granted, int64_t now);
void tp__listen_pass(tp_pool *pool, bool rung);
/* When the next pass is due. */
int64_t tp__listen_due_locked(const tp_pool *pool);
/* The pool is closed and its housekeeper has ended. */
void tp__listen_end(tp_pool *pool);

#endif
