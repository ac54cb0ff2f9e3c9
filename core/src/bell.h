/* What tells an event loop, which waits for a descriptor, which of many parked waiters may
 * go on: they need no descriptor of their own.
 *
 * Owns: its wake-up and its lock; the ropes belong to those who wait.
 * Errors: false from init when descriptors are short. Thread: tp__bell_ring any; the rest
 * is for the thread of the loop. */
#ifndef TP_BELL_H
#define TP_BELL_H

#include <pthread.h>
#include <stdbool.h>

#include "list.h"
#include "wake.h"

/* The rope of one waiter. */
struct tp_rope {
    struct tp_list link; /* guarded by the bell's lock */
    bool pulled;
};

struct tp_bell {
    pthread_mutex_t lock;
    struct tp_list pulled;
    struct tp_wake *wake;
    pthread_t attendant; /* the thread of the loop, while `attended` */
    bool attended;       /* of that thread alone */
};

bool tp__bell_init(struct tp_bell *bell);
void tp__bell_deinit(struct tp_bell *bell);

/* Between the two the calling thread promises to look at what was pulled before it waits:
 * what it pulls itself makes no noise. */
void tp__bell_attend(struct tp_bell *bell);
void tp__bell_leave(struct tp_bell *bell);

/* The waiter may go on: it is put on the list, and the descriptor becomes readable. */
void tp__bell_ring(struct tp_bell *bell, struct tp_rope *rope);
/* Takes the rope off the list, if it is there. */
void tp__bell_still(struct tp_bell *bell, struct tp_rope *rope);
/* Takes the first rope that was pulled; NULL: there is none. */
struct tp_rope *tp__bell_take(struct tp_bell *bell);
bool tp__bell_was_rung(struct tp_bell *bell);

#endif
