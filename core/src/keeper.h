/* The housekeeper: one thread per pool that connects, pings, mends, reaps and
 * closes, so that no caller ever waits for any of it.
 *
 * It starts with the first acquire of a process, blocks all signals, never holds
 * the pool's lock while it does I/O, and never touches a Lua state. It sleeps in
 * epoll_wait until a connection is ready, a time has come or the pool rings.
 * Owns: its thread. Thread: start under the pool's lock; stop by any, once. */
#ifndef TP_KEEPER_H
#define TP_KEEPER_H

#include "pool.h"

/* Starts the thread if it does not run; failure is reported by the next acquire. */
bool tp__keeper_start_locked(tp_pool *pool);
/* Ends the thread and waits for it. The pool is closed before. */
void tp__keeper_stop(tp_pool *pool);

#endif
