#include "events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tp_event_name(enum tp_event_type type)
{
    switch (type) {
    case TP_EVENT_CONNECT:
        return "connect";
    case TP_EVENT_REMOVE:
        return "remove";
    case TP_EVENT_ERROR:
        return "error";
    case TP_EVENT_RETRY:
        return "retry";
    case TP_EVENT_STATE:
        return "state";
    case TP_EVENT_NOTICE:
        return "notice";
    case TP_EVENT_ROLLBACK:
        return "rollback";
    case TP_EVENT_LEAK:
        return "leak";
    case TP_EVENT_TLS_EXPIRING:
        return "tls_expiring";
    case TP_EVENT_TLS_RELOAD:
        return "tls_reload";
    case TP_EVENT_BREAKER:
        return "breaker";
    case TP_EVENT_OVERFLOW:
        return "overflow";
    case TP_EVENT_HELD:
        return "held";
    case TP_EVENT_RETURNED:
        return "returned";
    case TP_EVENT_IDLE_TX:
        return "idle_in_transaction";
    }
    return "";
}

bool tp__events_init(struct tp_events *events, size_t room)
{
    events->ring = calloc(room, sizeof *events->ring);
    events->had = calloc(room, sizeof *events->had);
    if (events->ring == NULL || events->had == NULL) {
        free(events->ring);
        free(events->had);
        return false;
    }
    pthread_mutex_init(&events->lock, NULL);
    atomic_init(&events->written, 0);
    events->floor = 0;
    events->room = room;
    return true;
}

void tp__events_deinit(struct tp_events *events)
{
    pthread_mutex_destroy(&events->lock);
    free(events->ring);
    free(events->had);
}

void tp__events_start_afresh(struct tp_events *events)
{
    pthread_mutex_init(&events->lock, NULL);
    events->floor = atomic_load(&events->written);
}

void tp__events_push(struct tp_events *events, const struct tp_event *event)
{
    pthread_mutex_lock(&events->lock);
    uint64_t written = atomic_load_explicit(&events->written, memory_order_relaxed);
    events->ring[written % events->room] = *event;
    events->had[written % events->room] = false;
    atomic_store(&events->written, written + 1);
    pthread_mutex_unlock(&events->lock);
}

void tp__reader_begin(struct tp_reader *reader, const struct tp_events *events)
{
    atomic_init(&reader->next, atomic_load(&events->written));
    reader->dropped = 0;
}

/* Where the reader goes on: behind what was overwritten (*missed of them), and behind what
 * another process is told. */
static uint64_t position_locked(const struct tp_events *events, const struct tp_reader *reader,
                                uint64_t *missed)
{
    uint64_t next = atomic_load_explicit(&reader->next, memory_order_relaxed);
    uint64_t written = atomic_load_explicit(&events->written, memory_order_relaxed);
    if (next < events->floor)
        next = events->floor;
    *missed = written - next > events->room ? written - next - events->room : 0;
    return next + *missed;
}

static void tell_overflow(const struct tp_events *events, uint64_t missed, struct tp_event *out)
{
    size_t oldest = atomic_load(&events->written) % events->room;
    memset(out, 0, sizeof *out);
    out->type = TP_EVENT_OVERFLOW;
    out->wall_us = events->ring[oldest].wall_us;
    snprintf(out->text, sizeof out->text,
             "%" PRIu64 " events were dropped because nobody took them (limits.events = %zu)",
             missed, events->room);
}

bool tp__events_read(struct tp_events *events, struct tp_reader *reader, struct tp_event *out,
                     bool *first, uint64_t *dropped)
{
    pthread_mutex_lock(&events->lock);
    uint64_t missed, next = position_locked(events, reader, &missed);
    bool any = next != atomic_load_explicit(&events->written, memory_order_relaxed);
    bool *had = &events->had[next % events->room];
    if (first != NULL)
        *first = missed > 0 || (any && !*had);
    if (missed > 0) {
        reader->dropped += missed;
        tell_overflow(events, missed, out);
    } else if (any) {
        *out = events->ring[next % events->room];
        *had = true;
        next++;
    }
    atomic_store_explicit(&reader->next, next, memory_order_relaxed);
    if (dropped != NULL)
        *dropped = reader->dropped;
    pthread_mutex_unlock(&events->lock);
    return any;
}
