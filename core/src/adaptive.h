/* How many connections are of use: the number past which throughput stops rising, found by trying.
 *
 * While callers wait, the number goes up as long as more are done in the same time, and goes
 * back when not; now and then a larger and a smaller one are tried again. Fewer connections
 * that do as much are better: each statement is served sooner. Without waiting callers nothing
 * can be told, and nothing is changed.
 * Owns: nothing. Thread: under the pool's lock. */
#ifndef TP_ADAPTIVE_H
#define TP_ADAPTIVE_H

#include <stdbool.h>
#include <stdint.h>

/* How long is counted between two decisions. */
enum { TP_ADAPTIVE_WINDOW_US = 500 * 1000 };

struct tp_adaptive {
    bool on;
    int min, max;
    int limit; /* of connections, now */

    int from;         /* the limit before the one that is tried; 0: none is tried */
    double from_rate; /* what was done with it */
    bool down;        /* the next try is a smaller one */
    int hold;         /* windows until then */
    int windows;      /* that count, at this limit; */
    double rate;      /* their mean */
    bool settled;     /* one window has passed since the limit was changed */

    int64_t window_began; /* and what the counters were then: */
    uint64_t queries, returned, handed;
};

/* What has happened since the pool was opened. */
struct tp_adaptive_counts {
    uint64_t queries;
    uint64_t returned; /* leases that came back */
    uint64_t handed;   /* those of them that somebody waited for */
    int waiting;       /* now */
};

/* Switched off, `max` is the limit. */
void tp__adaptive_init(struct tp_adaptive *adaptive, bool on, int min, int max);
/* To be called from time to time; decides when a window has passed. */
void tp__adaptive_look(struct tp_adaptive *adaptive, const struct tp_adaptive_counts *counts,
                       int64_t now);

#endif
