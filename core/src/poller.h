/* Which connections of an event loop can be read or written: one epoll(7) set.
 *
 * A connection stays in the set between its requests, so that waiting for an answer costs
 * no system call of its own; it leaves it when it speaks while nobody waits for it, when
 * it goes over to another loop, and when it is closed.
 * Owns: its descriptor. Watches belong to the connections. Errors: false when descriptors
 * are short. Thread: tp__watch_forget any; the rest is for the thread of the loop.
 * Source: epoll(7), level-triggered. */
#ifndef TP_POLLER_H
#define TP_POLLER_H

#include <stdbool.h>

#include "list.h"

struct tp_poller {
    int fd;                 /* readable when something is ready */
    struct tp_list watches; /* guarded by the lock of all pollers */
};

/* What a connection has in some set. All zero at first. */
struct tp_watch {
    struct tp_poller *poller; /* guarded, as all of it, by the lock of all pollers */
    struct tp_list link;
    int fd;
    int events; /* TP_READ | TP_WRITE */
    void *user; /* who waits; NULL: nobody */
};

bool tp__poller_init(struct tp_poller *poller);
/* Forgets its watches first. `forked`: in a child of the process that made it, where
 * closing the descriptor is all that may be done. */
void tp__poller_deinit(struct tp_poller *poller, bool forked);
/* Adds a descriptor that is always watched; it is reported with `user` NULL. */
bool tp__poller_add(struct tp_poller *poller, int fd);

/* `user` waits for the events on fd. False: it cannot be watched. */
bool tp__poller_watch(struct tp_poller *poller, struct tp_watch *watch, int fd, int events,
                      void *user);
/* Nobody waits any more; it may stay in the set. */
void tp__watch_leave(struct tp_watch *watch);
/* It leaves the set: the descriptor is about to be closed. `forked`: by a child, which must
 * not touch the set of its parent. */
void tp__watch_forget(struct tp_watch *watch, bool forked);

/* Looks without waiting: `ready` is called with each user whose connection is ready
 * (TP_READ | TP_WRITE), who then waits no more, and with NULL for a descriptor that was
 * added. It must not call back. */
void tp__poller_look(struct tp_poller *poller, void (*ready)(void *ctx, void *user, int events),
                     void *ctx);

#endif
