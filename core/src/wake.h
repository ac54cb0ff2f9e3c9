/* A wake-up that any thread may ring and one thread waits for with poll or epoll.
 *
 * It is an eventfd(2) with a reference count, because a thread that does an errand
 * (a slow resolver) may outlive the pool that sent it.
 * Owns: its file descriptor, until the last release. Errors: NULL from new when
 * file descriptors or memory are short. Thread: any. */
#ifndef TP_WAKE_H
#define TP_WAKE_H

#include <stdbool.h>

struct tp_wake;

struct tp_wake *tp__wake_new(void);
struct tp_wake *tp__wake_retain(struct tp_wake *wake);
void tp__wake_release(struct tp_wake *wake);
int tp__wake_fd(const struct tp_wake *wake);
/* Makes the fd readable. Rings that come before tp__wake_clear count as one and
 * cost no system call after the first. */
void tp__wake_ring(struct tp_wake *wake);
/* Makes the fd unreadable again and returns whether it had been rung; call it before
 * looking for work. */
bool tp__wake_clear(struct tp_wake *wake);

#endif
