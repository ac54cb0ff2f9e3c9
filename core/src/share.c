#include "share.h"

#include <stdlib.h>

struct tp_share *tp__share_new(void)
{
    static _Atomic uint64_t last_number;
    struct tp_share *share = calloc(1, sizeof *share);
    if (share == NULL)
        return NULL;
    share->number = atomic_fetch_add(&last_number, 1) + 1;
    share->opener = (uintptr_t)pthread_self();
    atomic_init(&share->refs, 1);
    atomic_init(&share->closed, false);
    tp__list_init(&share->link);
    return share;
}

void tp__share_begin(struct tp_share *share, tp_pool *pool)
{
    share->pool = pool;
    tp__reader_begin(&share->reader, &pool->events);
}

tp_share *tp_share_retain(tp_share *share)
{
    atomic_fetch_add(&share->refs, 1);
    return share;
}

void tp_share_release(tp_share *share)
{
    if (share == NULL || atomic_fetch_sub(&share->refs, 1) != 1)
        return;
    tp_share_close(share);
    tp_pool_release(share->pool);
    free(share);
}

tp_pool *tp_share_pool(const tp_share *share)
{
    return share->pool;
}

bool tp_share_is_closed(const tp_share *share)
{
    return atomic_load(&share->closed) || tp_pool_is_closed(share->pool);
}

bool tp_share_try_acquire(tp_share *share, tp_lease *out, bool *scarce)
{
    return tp__pool_try_acquire(share->pool, share, out, scarce);
}

void tp__share_shut(struct tp_share *share)
{
    tp__pool_lock(share->pool);
    tp__share_shut_locked(share);
    pthread_mutex_unlock(&share->pool->lock);
}

/* -------------------------------------------------------------------------- events */

bool tp_share_has_events(const tp_share *share)
{
    return tp__events_has_news(&share->pool->events, &share->reader);
}

bool tp_share_next_event(tp_share *share, struct tp_event *out, bool *first)
{
    tp__pool_mind_fork(share->pool);
    return tp__events_read(&share->pool->events, &share->reader, out, first, NULL);
}
