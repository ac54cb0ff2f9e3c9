/* The queue of one listener: notifications, and gaps where some are missing.
 *
 *     front (a gap, or nothing) | ring: oldest ... newest
 *
 * A gap in front needs no memory, so one can be told when there is none for anything else. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "listen_impl.h"

enum { TELL_AGAIN_US = 1000 * 1000 };

const char *tp_gap_name(enum tp_gap gap)
{
    switch (gap) {
    case TP_GAP_LOST:
        return "lost";
    case TP_GAP_REPLACED:
        return "replaced";
    case TP_GAP_OVERFLOW:
        return "overflow";
    case TP_GAP_NONE:
        break;
    }
    return "";
}

/* ----------------------------------------------------------------- messages */

struct tp_message *tp__message_new(const char *channel, const char *payload, int backend_pid)
{
    size_t channel_len = strlen(channel) + 1, payload_len = strlen(payload) + 1;
    struct tp_message *message = malloc(sizeof *message + channel_len + payload_len);
    if (message == NULL)
        return NULL;
    message->next = NULL;
    atomic_init(&message->refs, 1);
    message->backend_pid = backend_pid;
    memcpy(message->channel, channel, channel_len);
    message->payload = memcpy(message->channel + channel_len, payload, payload_len);
    return message;
}

void tp__message_release(struct tp_message *message)
{
    if (message != NULL && atomic_fetch_sub(&message->refs, 1) == 1)
        free(message);
}

/* --------------------------------------------------------------------- ring */

static struct tp_heard *at(struct tp_listener *listener, size_t i)
{
    assert(listener->room > 0);
    return &listener->ring[(listener->first + i) % listener->room];
}

static bool make_room(struct tp_listener *listener)
{
    if (listener->used < listener->room)
        return true;
    size_t room = listener->room > 0 ? 2 * listener->room : 16;
    struct tp_heard *ring = malloc(room * sizeof *ring);
    if (ring == NULL)
        return false;
    for (size_t i = 0; i < listener->used; i++)
        ring[i] = *at(listener, i);
    free(listener->ring);
    listener->ring = ring;
    listener->room = room;
    listener->first = 0;
    return true;
}

static struct tp_heard pop(struct tp_listener *listener)
{
    struct tp_heard heard = *at(listener, 0);
    listener->first = (listener->first + 1) % listener->room;
    listener->used--;
    listener->notes -= heard.message != NULL;
    return heard;
}

/* A queue that was long once does not keep its memory. */
static void shrink(struct tp_listener *listener)
{
    enum { KEEP = 1024 };
    if (listener->used > 0 || listener->room <= KEEP)
        return;
    free(listener->ring);
    listener->ring = NULL;
    listener->room = listener->first = 0;
}

/* ---------------------------------------------------------------- overflows */

/* Two gaps with nothing in between are one; the graver reason counts. */
static void merge(struct tp_heard *into, enum tp_gap gap, int64_t dropped)
{
    bool unknown = into->dropped < 0 || dropped < 0;
    into->dropped = unknown ? -1 : into->dropped + dropped;
    if (gap > into->gap)
        into->gap = gap;
}

/* The first entry becomes part of the gap in front. True: it was a notification. */
static bool drop_first(struct tp_listener *listener)
{
    struct tp_heard heard = pop(listener);
    if (heard.message == NULL)
        merge(&listener->front, heard.gap, heard.dropped);
    else
        merge(&listener->front, TP_GAP_OVERFLOW, 1);
    tp__message_release(heard.message);
    return heard.message != NULL;
}

static void drop_all(struct tp_listener *listener)
{
    while (listener->used > 0)
        (void)drop_first(listener);
}

/* Not more than once a second, so that it does not push all other events out. */
static void report_overflow(struct tp_listener *listener)
{
    int64_t now = tp_now();
    if (listener->told_at != 0 && now - listener->told_at < TELL_AGAIN_US)
        return;
    listener->told_at = now;
    tp__pool_event(listener->pool, TP_EVENT_GAP, 0, 0, NULL,
                   "overflow: a listener has %zu notifications that nobody takes, and drops some",
                   listener->notes);
}

static void append(struct tp_listener *listener, const struct tp_heard *heard)
{
    listener->used++;
    *at(listener, listener->used - 1) = *heard;
    listener->notes += heard->message != NULL;
}

/* -------------------------------------------------------------------- pushing */

/* Of those who wait, one for each thing that there is. */
static void tell_one(struct tp_listener *listener)
{
    struct tp_list *first = tp__list_first(&listener->waiters);
    if (first == NULL)
        return;
    struct tp_waiter *waiter = TP_CONTAINER(first, struct tp_waiter, link);
    tp__list_remove(first);
    waiter->queued = false;
    tp__waiter_tell_locked(waiter);
}

void tp__listener_tell_all_locked(struct tp_listener *listener)
{
    while (!tp__list_empty(&listener->waiters))
        tell_one(listener);
}

void tp__listener_push_gap_locked(struct tp_listener *listener, enum tp_gap gap, int64_t dropped)
{
    struct tp_heard *last =
        listener->used > 0 ? at(listener, listener->used - 1) : &listener->front;
    if (last->message == NULL) {
        merge(last, gap, dropped);
    } else if (make_room(listener)) {
        append(listener, &(struct tp_heard){.gap = gap, .dropped = dropped});
    } else {
        drop_all(listener);
        merge(&listener->front, gap, dropped);
    }
    tell_one(listener);
}

void tp__listener_push_locked(struct tp_listener *listener, struct tp_message *message)
{
    if (listener->notes >= listener->limit) {
        report_overflow(listener);
        if (listener->overflow == TP_OVERFLOW_NEWEST) {
            tp__listener_push_gap_locked(listener, TP_GAP_OVERFLOW, 1);
            return;
        }
        if (listener->overflow == TP_OVERFLOW_GAP)
            drop_all(listener);
        while (listener->notes >= listener->limit)
            (void)drop_first(listener);
    }
    if (!make_room(listener)) {
        drop_all(listener);
        merge(&listener->front, TP_GAP_OVERFLOW, 1);
    } else {
        atomic_fetch_add(&message->refs, 1);
        append(listener, &(struct tp_heard){.message = message, .gap = TP_GAP_NONE});
    }
    tell_one(listener);
}

/* --------------------------------------------------------------------- taking */

bool tp__listener_has_news_locked(const struct tp_listener *listener)
{
    return listener->front.gap != TP_GAP_NONE || listener->used > 0;
}

void tp__listener_clear_locked(struct tp_listener *listener)
{
    drop_all(listener);
    listener->front = (struct tp_heard){.gap = TP_GAP_NONE};
    shrink(listener);
}

/* What was taken before is let go without the lock. */
bool tp_listener_take(tp_listener *listener, struct tp_notification *out)
{
    struct tp_heard heard = {.gap = TP_GAP_NONE};
    bool any = false;
    if (listener->fork_count == tp__fork_count) {
        tp__pool_lock(listener->pool);
        any = tp__listener_has_news_locked(listener);
        if (listener->front.gap != TP_GAP_NONE) {
            heard = listener->front;
            listener->front = (struct tp_heard){.gap = TP_GAP_NONE};
        } else if (any) {
            heard = pop(listener);
            shrink(listener);
        }
        pthread_mutex_unlock(&listener->pool->lock);
    }
    tp__message_release(listener->taken);
    listener->taken = heard.message;
    *out = (struct tp_notification){.gap = heard.gap, .dropped = heard.dropped};
    if (heard.message != NULL) {
        out->channel = heard.message->channel;
        out->payload = heard.message->payload;
        out->backend_pid = heard.message->backend_pid;
    }
    return any;
}
