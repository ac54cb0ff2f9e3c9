/* What a pool tells people: its statistics, its state, and why a caller did not get
 * a connection. Thread: the *_locked functions need the pool's lock. */
#ifndef TP_POOL_REPORT_H
#define TP_POOL_REPORT_H

#include "pool.h"

/* No connection came free: who holds them, since when, for what and where; or, when
 * there is no server, the last connection error. */
void tp__report_timeout_locked(const tp_pool *pool, int64_t waited_us, struct tp_error *err);
/* The caller holds every connection itself. Takes the lock. */
void tp__report_self_blocked(tp_pool *pool, struct tp_error *err);
/* Appends "held for 1.5 s by app.lua:12, in a transaction: select 1" to a text. */
void tp__report_holder_locked(const struct tp_slot *slot, int64_t now, char *out, size_t room);
/* The error of a waiter that was refused with this status. */
void tp__report_refusal_locked(const tp_pool *pool, enum tp_status status, struct tp_error *err);

#endif
