/* The bounded queue of what the core has to tell the program.
 *
 * The housekeeper never calls into the program; it leaves events here and the
 * program takes them when it next calls. When the queue is full the oldest event
 * is dropped and counted.
 * Owns: nothing. Thread: any; it has a lock of its own that is held for a copy. */
#ifndef TP_EVENTS_H
#define TP_EVENTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "tidepool.h"

enum { TP_EVENTS_ROOM = 128 };

struct tp_events {
    pthread_mutex_t lock;
    atomic_int waiting;
    size_t oldest;    /* guarded by lock */
    uint64_t dropped; /* guarded by lock */
    struct tp_event ring[TP_EVENTS_ROOM];
};

void tp__events_init(struct tp_events *events);
void tp__events_deinit(struct tp_events *events);
void tp__events_push(struct tp_events *events, const struct tp_event *event);
bool tp__events_pop(struct tp_events *events, struct tp_event *out, uint64_t *dropped);

#endif
