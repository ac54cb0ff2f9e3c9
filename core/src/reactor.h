/* The inside of a reactor: what it has in each operation that waits with it.
 *
 * See tidepool.h for what it is. It watches the descriptors of those that wait for the
 * server (poller.h), is rung for those in a pool's queue (bell.h), and has the deadlines of
 * all in a heap, so that a loop needs one descriptor and one timer for everything.
 * Thread: the loop's. */
#ifndef TP_REACTOR_H
#define TP_REACTOR_H

#include "bell.h"
#include "poller.h"
#include "tidepool.h"

/* The place of an operation. All zero but `reactor` outside of a wait. */
struct tp_seat {
    tp_reactor *reactor; /* which is waited with, counted; NULL: the thread is blocked instead */
    struct tp_list link; /* of those that may go on, while `called` */
    bool taken;          /* it waits, and nothing has happened yet */
    bool called;         /* something has, and the loop has not been told */
    bool watched;        /* it is the user of its connection's watch */
    int ready;           /* what is known of the descriptor */
    int64_t deadline;    /* TP_NEVER: it is not in the heap */
    size_t place;        /* in the heap */
    int64_t turn_ends;   /* when it is to let others go on; 0: it has not gone on since it waited */
};

struct tp_bell *tp__reactor_bell(tp_reactor *reactor);
/* The operation waits no more: it has ended, or is given up. */
void tp__reactor_leave(tp_op *op);

#endif
