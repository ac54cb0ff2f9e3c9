/* The bounded queue of what the core has to tell the program.
 *
 * The housekeeper never calls into the program; it leaves events here and the
 * program takes them when it next calls. Several readers may read one queue, each of
 * which gets every event that comes after it has begun. When the queue is full the
 * oldest event is overwritten; a reader that had not taken it counts it as dropped, and is told
 * by an event of its own before the next one.
 * Owns: the ring. Thread: any; it has a lock of its own that is held for a copy. A reader
 * may be used by several threads, which then share what there is. */
#ifndef TP_EVENTS_H
#define TP_EVENTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "tidepool.h"

enum { TP_EVENTS_ROOM = 128 }; /* where nobody says otherwise */

/* How far one reader has come. */
struct tp_reader {
    _Atomic uint64_t next; /* written under the queue's lock */
    uint64_t dropped;      /* guarded by the queue's lock */
};

struct tp_events {
    pthread_mutex_t lock;
    _Atomic uint64_t written; /* the n-th event is at n % room; changed under lock */
    uint64_t floor;           /* events before this one are the parent process's */
    struct tp_event *ring;    /* guarded by lock */
    bool *had;                /* by some reader */
    size_t room;              /* constant */
};

/* False: no memory. */
bool tp__events_init(struct tp_events *events, size_t room);
void tp__events_deinit(struct tp_events *events);
/* In a child of fork: the lock may be held by a thread that is not here, and what was not
 * taken yet is told in the parent. */
void tp__events_start_afresh(struct tp_events *events);
void tp__events_push(struct tp_events *events, const struct tp_event *event);

/* Begins with what comes from now on. */
void tp__reader_begin(struct tp_reader *reader, const struct tp_events *events);
/* Takes the oldest event that the reader has not had; false when there is none. *first tells
 * whether no other reader has had it (may be NULL). *dropped is how many this one missed of
 * all time (may be NULL). */
bool tp__events_read(struct tp_events *events, struct tp_reader *reader, struct tp_event *out,
                     bool *first, uint64_t *dropped);

/* Whether there is one; without the lock, cheap enough for every call. */
static inline bool tp__events_has_news(const struct tp_events *events,
                                       const struct tp_reader *reader)
{
    return atomic_load_explicit(&events->written, memory_order_relaxed) !=
           atomic_load_explicit(&reader->next, memory_order_relaxed);
}

#endif
