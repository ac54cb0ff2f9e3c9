/* The circuit breaker of a pool: when to try to connect while that fails, and which callers are
 * told at once that it does.
 *
 *     CLOSED --(failures in a row)--> OPEN <--> HALF_OPEN --(a connection)--> CLOSED
 *
 * Closed, callers wait to their deadlines while one connection at a time is tried. Open, whoever
 * finds no connection that could serve is refused with the last error and the time of the next
 * try; half open, that try is under way, and callers wait for it for a moment. Tries are the
 * housekeeper's, by pauses that grow; but whoever comes after the last one has failed makes
 * another due, two to four times a second at most, so that a server that is back is found soon by
 * those who ask for it.
 *
 * A failure that will not pass by itself opens the breaker at once, and is told to all who wait.
 * When it is the server that refuses us (a wrong password, a database that does not exist),
 * nobody's coming makes the next try due: a role that many wrong passwords lock out is not to be
 * locked out by us. A server that says it is starting up (57P03) closes the breaker: it is worth
 * waiting for.
 *
 * Owns: nothing. Thread: the functions need the pool's lock. */
#ifndef TP_POOL_BREAKER_H
#define TP_POOL_BREAKER_H

#include "pool.h"

void tp__breaker_init(struct tp_breaker *breaker, const struct tp_pool_limits *limits);

/* An attempt that was begun then has failed at `now`; the last error is in the pool. */
void tp__breaker_failed_locked(tp_pool *pool, int64_t began, int64_t now);
void tp__breaker_connected_locked(tp_pool *pool);
/* What has failed before may work now: the next try is due. */
void tp__breaker_forgive_locked(tp_pool *pool);

/* When the next try is due while connecting fails. */
int64_t tp__breaker_next_try_locked(const tp_pool *pool);
/* Whether whoever comes now has to go away. Who is patient stays as long as there is hope at all.
 */
bool tp__breaker_refuses_locked(tp_pool *pool, bool patient, int64_t now);
/* Refuses those who have come to wait for nothing; with `failed` an attempt has ended so. */
void tp__breaker_dismiss_locked(tp_pool *pool, bool failed, int64_t now);
/* When dismiss is to be called again; TP_NEVER: after the next event. */
int64_t tp__breaker_dismiss_due_locked(const tp_pool *pool, int64_t now);

/* How long it is until a try that is due for who comes back then; 0: it is due. */
int64_t tp__breaker_wait_locked(const tp_pool *pool, int64_t now);

enum tp_breaker_state tp__breaker_state_locked(const tp_pool *pool);

#endif
