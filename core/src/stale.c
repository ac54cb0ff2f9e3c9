#include "stale.h"

void tp__stale_init(struct tp_stale *stale)
{
    pthread_mutex_init(&stale->lock, NULL);
    atomic_init(&stale->count, 0);
}

void tp__stale_deinit(struct tp_stale *stale)
{
    pthread_mutex_destroy(&stale->lock);
}

void tp__stale_tell(struct tp_stale *stale, uint64_t hash)
{
    pthread_mutex_lock(&stale->lock);
    uint64_t count = atomic_load(&stale->count);
    stale->hashes[count % TP_STALE_ROOM] = hash;
    atomic_store_explicit(&stale->count, count + 1, memory_order_release);
    pthread_mutex_unlock(&stale->lock);
}

uint64_t tp__stale_next(struct tp_stale *stale, uint64_t *seen)
{
    pthread_mutex_lock(&stale->lock);
    uint64_t count = atomic_load(&stale->count);
    uint64_t hash = 0;
    if (count - *seen <= TP_STALE_ROOM)
        hash = stale->hashes[(*seen)++ % TP_STALE_ROOM];
    else
        *seen = count;
    pthread_mutex_unlock(&stale->lock);
    return hash;
}
