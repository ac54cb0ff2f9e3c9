/* Listeners, their channels, and waiting with them; see listen.h. */
#include "listen.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "description.h"
#include "error.h"
#include "keeper.h"
#include "listen_impl.h"
#include "pool_report.h"

/* Those of the parents of this process: nobody uses them, and they are not to be taken for a
 * leak. */
static struct tp_listening *_Atomic inherited;

/* ----------------------------------------------------------------- channels */

static struct tp_list *bucket_of(struct tp_listening *listening, const char *name, size_t len)
{
    return &listening->buckets[tp__sql_hash(name, len) % TP_CHANNEL_BUCKETS];
}

struct tp_channel *tp__channel_find(struct tp_listening *listening, const char *name, size_t len)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, bucket_of(listening, name, len))
    {
        struct tp_channel *channel = TP_CONTAINER(node, struct tp_channel, bucket);
        if (strncmp(channel->name, name, len) == 0 && channel->name[len] == '\0')
            return channel;
    }
    return NULL;
}

static struct tp_channel *find_or_add(struct tp_listening *listening, const char *name, size_t len)
{
    struct tp_channel *channel = tp__channel_find(listening, name, len);
    if (channel == NULL)
        channel = calloc(1, sizeof *channel);
    else
        return channel;
    if (channel == NULL)
        return NULL;
    memcpy(channel->name, name, len);
    tp__list_init(&channel->subscriptions);
    tp__list_push_back(&listening->channels, &channel->link);
    tp__list_push_back(bucket_of(listening, name, len), &channel->bucket);
    return channel;
}

void tp__channel_tidy(struct tp_channel *channel)
{
    if (!tp__list_empty(&channel->subscriptions) || channel->listened ||
        channel->asked != TP_ASKED_NOTHING)
        return;
    tp__list_remove(&channel->link);
    tp__list_remove(&channel->bucket);
    free(channel);
}

/* ------------------------------------------------------------ of a whole pool */

struct tp_listening *tp__listening_of_locked(tp_pool *pool)
{
    if (pool->listening != NULL)
        return pool->listening;
    struct tp_listening *listening = calloc(1, sizeof *listening);
    if (listening == NULL)
        return NULL;
    tp__list_init(&listening->listeners);
    tp__list_init(&listening->channels);
    for (int i = 0; i < TP_CHANNEL_BUCKETS; i++)
        tp__list_init(&listening->buckets[i]);
    tp__backoff_init(&listening->backoff, pool->limits.connect_base_us, pool->limits.connect_max_us,
                     0);
    listening->epoll_fd = listening->armed_fd = -1;
    pool->listening = listening;
    return listening;
}

int tp__listen_count_locked(const tp_pool *pool)
{
    return pool->listening != NULL ? pool->listening->count : 0;
}

bool tp__listen_has_begun(tp_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool has = pool->listening != NULL;
    pthread_mutex_unlock(&pool->lock);
    return has;
}

void tp__listen_free(tp_pool *pool)
{
    free(pool->listening);
    pool->listening = NULL;
}

/* The housekeeper may have been in the midst of it, so nothing but the connection is touched. */
void tp__listen_forked(tp_pool *pool)
{
    struct tp_listening *listening = pool->listening;
    if (listening == NULL)
        return;
    if (listening->connection != NULL)
        pool->vtable->close(listening->connection, true);
    if (listening->epoll_fd >= 0)
        close(listening->epoll_fd);
    pool->listening = NULL;
    listening->inherited = atomic_exchange(&inherited, listening);
}

/* -------------------------------------------------------------- begin and end */

static void subscribe(struct tp_listener *listener, struct tp_channel *channel)
{
    struct tp_subscription *subscription = &listener->subscriptions[listener->count++];
    subscription->listener = listener;
    subscription->channel = channel;
    listener->pool->listening->changed |= !channel->listened;
    tp__list_push_back(&channel->subscriptions, &subscription->link);
}

static void unsubscribe(struct tp_listener *listener)
{
    while (listener->count > 0) {
        struct tp_subscription *subscription = &listener->subscriptions[--listener->count];
        assert(subscription->link.prev != NULL);
        tp__list_remove(&subscription->link);
        listener->pool->listening->changed = true;
        tp__channel_tidy(subscription->channel);
    }
}

void tp__listener_end_locked(struct tp_listener *listener, enum tp_status status)
{
    if (listener->status != TP_OK)
        return;
    listener->status = status;
    tp__list_remove(&listener->link);
    listener->pool->listening->count--;
    listener->pool->stirred = true;
    unsubscribe(listener);
    tp__listener_clear_locked(listener);
    tp__listener_tell_all_locked(listener);
}

void tp__listen_shut_locked(tp_pool *pool, const struct tp_share *share)
{
    struct tp_list *node, *following;
    if (pool->listening == NULL)
        return;
    TP_LIST_EACH(node, following, &pool->listening->listeners)
    {
        struct tp_listener *listener = TP_CONTAINER(node, struct tp_listener, link);
        if (share == NULL || listener->share == share)
            tp__listener_end_locked(listener, TP_ERR_POOL_CLOSED);
    }
    tp__wake_ring(pool->wake);
}

static enum tp_status check_channel(const char *name, size_t len, struct tp_error *err)
{
    if (len == 0)
        return tp__error_set(err, TP_ERR_VALIDATION, "the name of a channel is empty");
    if (len >= TP_CHANNEL_ROOM)
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "the name of a channel has %zu bytes; it can have %d", len,
                             TP_CHANNEL_ROOM - 1);
    if (memchr(name, '\0', len) != NULL || !tp_utf8_valid(name, len))
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "the name of a channel has a NUL byte or is not valid UTF-8");
    return TP_OK;
}

/* A channel that is named twice counts once. */
static bool is_repeated(const struct tp_listening_to *to, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (to->lengths[k] == to->lengths[i] &&
            memcmp(to->channels[k], to->channels[i], to->lengths[i]) == 0)
            return true;
    }
    return false;
}

static struct tp_listener *new_listener(tp_share *share, const struct tp_listening_to *to)
{
    struct tp_listener *listener = calloc(1, sizeof *listener);
    struct tp_subscription *subscriptions = calloc(to->count, sizeof *subscriptions);
    if (listener == NULL || subscriptions == NULL) {
        free(listener);
        free(subscriptions);
        return NULL;
    }
    atomic_init(&listener->refs, 1);
    listener->share = tp_share_retain(share);
    listener->pool = tp_share_pool(share);
    listener->fork_count = tp__fork_count;
    listener->limit = to->limit;
    listener->overflow = to->overflow;
    listener->subscriptions = subscriptions;
    listener->status = TP_ERR_VALIDATION; /* not on any list */
    tp__list_init(&listener->link);
    tp__list_init(&listener->waiters);
    return listener;
}

static bool add_channels(struct tp_listener *listener, struct tp_listening *listening,
                         const struct tp_listening_to *to)
{
    for (size_t i = 0; i < to->count; i++) {
        if (is_repeated(to, i))
            continue;
        struct tp_channel *channel = find_or_add(listening, to->channels[i], to->lengths[i]);
        if (channel == NULL) {
            unsubscribe(listener);
            return false;
        }
        subscribe(listener, channel);
    }
    return true;
}

static enum tp_status begin_locked(struct tp_listener *listener, const struct tp_listening_to *to,
                                   struct tp_error *err)
{
    tp_pool *pool = listener->pool;
    if (!pool->configured)
        return tp__report_unconfigured(err);
    if (pool->closed || pool->draining || atomic_load(&listener->share->closed)) {
        tp__report_refusal_locked(pool, TP_ERR_POOL_CLOSED, err);
        return TP_ERR_POOL_CLOSED;
    }
    if (!tp__keeper_start_locked(pool))
        return tp__error_set(err, TP_ERR_CONNECTION,
                             "the pool's housekeeper thread could not start");
    struct tp_listening *listening = tp__listening_of_locked(pool);
    if (listening == NULL || !add_channels(listener, listening, to))
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory for a listener");
    listener->status = TP_OK;
    listener->established = tp__listener_is_heard_locked(listener); /* need not wait */
    tp__list_push_back(&listening->listeners, &listener->link);
    pool->stirred = true;
    if (listening->count++ == 0 && listening->state == TP_LISTENING_OFF)
        tp__error_clear(&listening->last_error); /* of those who listened before */
    return TP_OK;
}

enum tp_status tp_listener_open(tp_listener **out, tp_share *share,
                                const struct tp_listening_to *to, struct tp_error *err)
{
    enum tp_status status = TP_OK;
    for (size_t i = 0; i < to->count && status == TP_OK; i++)
        status = check_channel(to->channels[i], to->lengths[i], err);
    if (status != TP_OK)
        return status;
    struct tp_listener *listener = new_listener(share, to);
    if (listener == NULL)
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory for a listener");
    tp__pool_lock(listener->pool);
    status = begin_locked(listener, to, err);
    pthread_mutex_unlock(&listener->pool->lock);
    if (status != TP_OK) {
        tp_listener_release(listener);
        return status;
    }
    tp__wake_ring(listener->pool->wake);
    *out = listener;
    return TP_OK;
}

/* What the parent has of it may be in the midst of a change, and is left alone. */
static bool is_inherited(const struct tp_listener *listener)
{
    return listener->fork_count != tp__fork_count;
}

void tp_listener_close(tp_listener *listener)
{
    if (is_inherited(listener))
        return;
    tp__pool_lock(listener->pool);
    tp__listener_end_locked(listener, TP_ERR_VALIDATION);
    pthread_mutex_unlock(&listener->pool->lock);
    tp__wake_ring(listener->pool->wake);
}

bool tp_listener_is_closed(tp_listener *listener)
{
    if (is_inherited(listener))
        return true;
    tp__pool_lock(listener->pool);
    bool closed = listener->status != TP_OK;
    pthread_mutex_unlock(&listener->pool->lock);
    return closed;
}

tp_listener *tp_listener_retain(tp_listener *listener)
{
    atomic_fetch_add(&listener->refs, 1);
    return listener;
}

void tp_listener_release(tp_listener *listener)
{
    if (listener == NULL || atomic_fetch_sub(&listener->refs, 1) != 1)
        return;
    tp_listener_close(listener);
    tp__message_release(listener->taken);
    struct tp_share *share = listener->share;
    if (!is_inherited(listener)) {
        free(listener->ring);
        free(listener->subscriptions);
        free(listener);
    }
    tp_share_release(share);
}

/* ------------------------------------------------------------------ waiting */

tp_pool *tp__listener_pool(const struct tp_listener *listener)
{
    return listener->pool;
}

static enum tp_status explain_end_locked(const struct tp_listener *listener, struct tp_error *err)
{
    if (listener->status == TP_ERR_VALIDATION)
        return tp__error_set(err, TP_ERR_VALIDATION, "the listener is closed");
    if (listener->status == TP_ERR_POOL_CLOSED)
        tp__report_refusal_locked(listener->pool, TP_ERR_POOL_CLOSED, err);
    else
        *err = listener->pool->listening->last_error;
    return listener->status;
}

static void report_late_locked(const struct tp_listener *listener, int64_t waited_us, bool heard,
                               struct tp_error *err)
{
    const tp_pool *pool = listener->pool;
    long long ms = (long long)(waited_us / 1000);
    if (heard) {
        tp__error_set(err, TP_ERR_TIMEOUT, "no notification came within %lld ms", ms);
    } else if (pool->listening->last_error.kind != TP_OK && !pool->suspended) {
        *err = pool->listening->last_error;
    } else {
        tp__error_set(err, TP_ERR_TIMEOUT, "the server did not listen within %lld ms%s%s", ms,
                      pool->suspended ? "; the pool is suspended" : "",
                      pool->budget_refused ? "; all connections of pool.max_total are taken" : "");
    }
    err->retryable = true;
}

static void stop_waiting_locked(struct tp_waiter *waiter)
{
    if (waiter->queued)
        tp__list_remove(&waiter->link);
    waiter->queued = false;
}

static enum tp_acquired poll_locked(struct tp_listener *listener, struct tp_waiter *waiter,
                                    int64_t deadline, bool heard, struct tp_error *err)
{
    waiter->asked = false;
    if (listener->status != TP_OK) {
        (void)explain_end_locked(listener, err);
        return TP_REFUSED;
    }
    if (heard ? tp__listener_has_news_locked(listener) : listener->established)
        return TP_ACQUIRED;
    int64_t now = tp_now();
    if (now >= deadline) {
        report_late_locked(listener, now - waiter->since, heard, err);
        return TP_REFUSED;
    }
    if (!waiter->queued)
        tp__list_push_back(&listener->waiters, &waiter->link);
    waiter->queued = true;
    return TP_QUEUED;
}

enum tp_acquired tp__listener_poll(struct tp_listener *listener, struct tp_waiter *waiter,
                                   int64_t deadline, bool heard, struct tp_error *err)
{
    if (is_inherited(listener)) {
        tp__error_set(err, TP_ERR_VALIDATION,
                      "the listener is the parent process's: listen in this process");
        return TP_REFUSED;
    }
    tp__pool_lock(listener->pool);
    enum tp_acquired how = poll_locked(listener, waiter, deadline, heard, err);
    if (how != TP_QUEUED)
        stop_waiting_locked(waiter);
    pthread_mutex_unlock(&listener->pool->lock);
    if (how != TP_QUEUED)
        tp__waiter_deinit(waiter);
    return how;
}

/* One who was told and goes away without taking what there is tells the next. */
void tp__listener_leave(struct tp_listener *listener, struct tp_waiter *waiter)
{
    tp__pool_lock(listener->pool);
    bool told = !waiter->queued;
    stop_waiting_locked(waiter);
    if (told && tp__listener_has_news_locked(listener))
        tp__listener_tell_all_locked(listener);
    pthread_mutex_unlock(&listener->pool->lock);
    tp__waiter_deinit(waiter);
}

void tp__listen_ask_locked(tp_pool *pool)
{
    struct tp_list *node, *following;
    if (pool->listening == NULL)
        return;
    TP_LIST_EACH(node, following, &pool->listening->listeners)
    {
        struct tp_listener *listener = TP_CONTAINER(node, struct tp_listener, link);
        struct tp_list *first = tp__list_first(&listener->waiters);
        if (first == NULL)
            continue;
        struct tp_waiter *waiter = TP_CONTAINER(first, struct tp_waiter, link);
        waiter->asked = true;
        tp__waiter_tell_locked(waiter);
        return;
    }
}
