#include "events.h"

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
    case TP_EVENT_TLS_EXPIRING:
        return "tls_expiring";
    case TP_EVENT_TLS_RELOAD:
        return "tls_reload";
    }
    return "";
}

void tp__events_init(struct tp_events *events)
{
    pthread_mutex_init(&events->lock, NULL);
    atomic_init(&events->written, 0);
    events->floor = 0;
}

void tp__events_deinit(struct tp_events *events)
{
    pthread_mutex_destroy(&events->lock);
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
    events->ring[written % TP_EVENTS_ROOM] = *event;
    events->had[written % TP_EVENTS_ROOM] = false;
    atomic_store(&events->written, written + 1);
    pthread_mutex_unlock(&events->lock);
}

void tp__reader_begin(struct tp_reader *reader, const struct tp_events *events)
{
    atomic_init(&reader->next, atomic_load(&events->written));
    reader->dropped = 0;
}

/* Where the reader goes on: behind what was overwritten, and behind what another process is
 * told. */
static uint64_t position_locked(const struct tp_events *events, struct tp_reader *reader)
{
    uint64_t next = atomic_load_explicit(&reader->next, memory_order_relaxed);
    uint64_t written = atomic_load_explicit(&events->written, memory_order_relaxed);
    if (next < events->floor)
        next = events->floor;
    if (written - next > TP_EVENTS_ROOM) {
        reader->dropped += written - next - TP_EVENTS_ROOM;
        next = written - TP_EVENTS_ROOM;
    }
    return next;
}

bool tp__events_read(struct tp_events *events, struct tp_reader *reader, struct tp_event *out,
                     bool *first, uint64_t *dropped)
{
    pthread_mutex_lock(&events->lock);
    uint64_t next = position_locked(events, reader);
    bool any = next != atomic_load_explicit(&events->written, memory_order_relaxed);
    bool *had = &events->had[next % TP_EVENTS_ROOM];
    if (first != NULL)
        *first = any && !*had;
    if (any) {
        *out = events->ring[next % TP_EVENTS_ROOM];
        *had = true;
    }
    atomic_store_explicit(&reader->next, any ? next + 1 : next, memory_order_relaxed);
    if (dropped != NULL)
        *dropped = reader->dropped;
    pthread_mutex_unlock(&events->lock);
    return any;
}
