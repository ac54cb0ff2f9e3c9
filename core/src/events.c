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
    }
    return "";
}

void tp__events_init(struct tp_events *events)
{
    pthread_mutex_init(&events->lock, NULL);
    atomic_init(&events->waiting, 0);
    events->oldest = 0;
    events->dropped = 0;
}

void tp__events_deinit(struct tp_events *events)
{
    pthread_mutex_destroy(&events->lock);
}

void tp__events_push(struct tp_events *events, const struct tp_event *event)
{
    pthread_mutex_lock(&events->lock);
    int waiting = atomic_load(&events->waiting);
    if (waiting == TP_EVENTS_ROOM) {
        events->oldest = (events->oldest + 1) % TP_EVENTS_ROOM;
        events->dropped++;
        waiting--;
    }
    events->ring[(events->oldest + (size_t)waiting) % TP_EVENTS_ROOM] = *event;
    atomic_store(&events->waiting, waiting + 1);
    pthread_mutex_unlock(&events->lock);
}

bool tp__events_pop(struct tp_events *events, struct tp_event *out, uint64_t *dropped)
{
    pthread_mutex_lock(&events->lock);
    int waiting = atomic_load(&events->waiting);
    if (waiting > 0) {
        *out = events->ring[events->oldest];
        events->oldest = (events->oldest + 1) % TP_EVENTS_ROOM;
        atomic_store(&events->waiting, waiting - 1);
    }
    if (dropped != NULL)
        *dropped = events->dropped;
    pthread_mutex_unlock(&events->lock);
    return waiting > 0;
}
