/* The question which loans wait for a lock, and of whom: asked before callers give up.
 *
 * When a caller has waited for a connection for half of its time, the housekeeper asks the server
 * on a connection of its own, so that the answer is there when the time is up; nobody waits for
 * it. At most once in a second, and only of a pool that makes no connection for those who wait. The
 * connection is one more than pool.max; it is made then, within pool.max_total, and closed when it
 * was not used for ten seconds or when others want its place.
 *
 *     OFF --> OPENING --> ASKING <--> RESTING
 *      ^         |           |           |
 *      +---------+-----------+-----------+
 *
 * Without effect where the pool's vtable cannot ask, and where the program makes the passwords:
 * those are made for callers.
 * Owns: its connection. Thread: the housekeeper, but for those that say otherwise. */
#ifndef TP_POOL_INQUIRY_H
#define TP_POOL_INQUIRY_H

#include "pool.h"

/* NULL: nothing can be asked, or no memory. */
struct tp_inquiry *tp__inquiry_new(tp_pool *pool);
/* These may be given NULL. */
void tp__inquiry_free(struct tp_inquiry *inquiry);
void tp__inquiry_start_afresh(tp_pool *pool);

/* A caller begins to wait. True: the housekeeper is to be rung. Thread: any, with the lock. */
bool tp__inquiry_joined_locked(tp_pool *pool, struct tp_waiter *waiter);
/* What is known of loans that wait, unless it is too old; NULL: nothing. *count may be 0.
 * Thread: any, with the lock, while which it is valid. */
const struct tp_blocked *tp__inquiry_answer_locked(const tp_pool *pool, int64_t now, int *count);

/* Moves it on. */
void tp__inquiry_pass(tp_pool *pool, bool rung);
/* When to do that again at the latest. */
int64_t tp__inquiry_due_locked(const tp_pool *pool);
/* A part of the answer, while it is asked. */
void tp__inquiry_add(tp_pool *pool, const struct tp_blocked *blocked);
/* Another's descriptor has this number now. */
void tp__inquiry_forget_fd(tp_pool *pool, const struct tp_slot *slot, int fd);
/* The housekeeper has ended. */
void tp__inquiry_close(tp_pool *pool);

#endif
