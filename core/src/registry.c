#include "registry.h"

#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "error.h"

static struct {
    pthread_mutex_t lock;
    struct tp_list databases; /* guarded by lock, as their `registered` and `shares` */
    bool ending;              /* the process ends: what is opened now is draining */
} registry = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .databases = {&registry.databases, &registry.databases},
};

static struct tp_database *database_at(struct tp_list *node)
{
    return TP_CONTAINER(node, struct tp_database, registered);
}

static struct tp_share *share_at(struct tp_list *node)
{
    return TP_CONTAINER(node, struct tp_share, link);
}

/* -------------------------------------------------------------------- counting */

static void count_locked(struct tp_database *database, struct tp_share *share)
{
    tp__list_push_back(&database->shares, &share->link);
    share->counted = true;
}

/* True when it was the last one. */
static bool uncount_locked(struct tp_share *share)
{
    struct tp_database *database = tp__database_of(share->pool);
    if (!share->counted)
        return false;
    tp__list_remove(&share->link);
    share->counted = false;
    bool last = tp__list_empty(&database->shares);
    if (last)
        database->named = false;
    return last;
}

/* ----------------------------------------------------------------------- forks */

/* Each of these locks is held for a moment only, and nothing that holds one of them takes
 * one that comes before it here. */
static void before_fork(void)
{
    struct tp_list *node, *following;
    tp__config_lock();
    pthread_mutex_lock(&registry.lock);
    TP_LIST_EACH(node, following, &registry.databases)
    {
        struct tp_database *database = database_at(node);
        pthread_mutex_lock(&database->catalog.lock);
        pthread_mutex_lock(&database->shelf.lock);
        pthread_mutex_lock(&database->stale.lock);
        pthread_mutex_lock(&database->digests.lock);
    }
}

static void after_fork(void)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &registry.databases)
    {
        struct tp_database *database = database_at(node);
        pthread_mutex_unlock(&database->digests.lock);
        pthread_mutex_unlock(&database->stale.lock);
        pthread_mutex_unlock(&database->shelf.lock);
        pthread_mutex_unlock(&database->catalog.lock);
    }
    pthread_mutex_unlock(&registry.lock);
    tp__config_unlock();
}

/* Shares of threads that do not exist here would keep the pool open for ever. */
static void forget_other_threads(struct tp_database *database)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &database->shares)
    {
        if (share_at(node)->opener != (uintptr_t)pthread_self())
            (void)uncount_locked(share_at(node));
    }
}

static void in_child(void)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &registry.databases)
    {
        forget_other_threads(database_at(node));
        tp__digests_forget_locked(&database_at(node)->digests);
    }
    after_fork();
}

static void begin_watching(void)
{
    tp__pool_watch_forks(); /* counts the fork before anything else sees the child */
    pthread_atfork(before_fork, after_fork, in_child);
}

/* Never under the registry's lock, which a fork waits for while it keeps pthread_atfork(3)
 * waiting. */
static void watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin_watching);
}

/* ---------------------------------------------------------------------- listing */

/* Nobody else knows the database yet. */
static void list_locked(struct tp_database *database)
{
    database->pool->draining = registry.ending;
    tp__list_push_back(&registry.databases, &database->registered);
}

void tp__registry_add(struct tp_database *database)
{
    watch_forks();
    pthread_mutex_lock(&registry.lock);
    list_locked(database);
    pthread_mutex_unlock(&registry.lock);
}

void tp__registry_remove(struct tp_database *database)
{
    pthread_mutex_lock(&registry.lock);
    tp__list_remove(&database->registered);
    pthread_mutex_unlock(&registry.lock);
}

static struct tp_database *find_locked(const char *name)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &registry.databases)
    {
        struct tp_database *database = database_at(node);
        if (database->named && strcmp(tp_config_get(database->config, "name"), name) == 0)
            return database;
    }
    return NULL;
}

/* ---------------------------------------------------------------------- opening */

static bool has_name(const char *name)
{
    return name != NULL && name[0] != '\0';
}

static struct tp_database *refuse(const char *name, const char *option, struct tp_error *err)
{
    char shown[64];
    tp__text_copy(shown, sizeof shown, name);
    tp__error_set(err, TP_ERR_VALIDATION, "the pool \"%s\" is open already, with another \"%s\"",
                  shown, option);
    return NULL;
}

/* The pool of that name as it is, or a new one, which owns the configuration. NULL: err says
 * why. */
static struct tp_database *find_or_open_locked(tp_config *config, bool *joined,
                                               struct tp_error *err)
{
    char option[64];
    const char *name = tp_config_get(config, "name");
    struct tp_database *database = has_name(name) ? find_locked(name) : NULL;

    *joined = database != NULL;
    if (database != NULL)
        return tp__config_differs(config, database->config, option, sizeof option)
                   ? refuse(name, option, err)
                   : database;
    database = tp__database_open(config, err);
    if (database != NULL) {
        database->named = has_name(name);
        list_locked(database);
    }
    return database;
}

enum tp_status tp_share_open(tp_share **out, tp_config *config, bool *joined, struct tp_error *err)
{
    struct tp_share *share = tp__share_new();

    if (share == NULL)
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory for a pool");
    watch_forks();
    pthread_mutex_lock(&registry.lock);
    struct tp_database *database = find_or_open_locked(config, joined, err);
    if (database != NULL) {
        /* A new pool has one reference; one that is found has a share that keeps it. */
        tp__share_begin(share, *joined ? tp_pool_retain(database->pool) : database->pool);
        count_locked(database, share);
    }
    pthread_mutex_unlock(&registry.lock);
    if (database == NULL) {
        free(share);
        return *joined ? TP_ERR_VALIDATION : TP_ERR_MEMORY;
    }
    if (*joined)
        tp_config_free(config);
    *out = share;
    return TP_OK;
}

/* ---------------------------------------------------------------------- closing */

void tp_share_close(tp_share *share)
{
    tp__share_shut(share);
    pthread_mutex_lock(&registry.lock);
    bool last = uncount_locked(share);
    pthread_mutex_unlock(&registry.lock);
    if (last)
        tp_pool_close(share->pool);
}

bool tp__registry_begin_drain(struct tp_share *share)
{
    struct tp_database *database = tp__database_of(share->pool);
    pthread_mutex_lock(&registry.lock);
    bool alone = share->counted && database->shares.next == database->shares.prev;
    if (alone)
        database->named = false;
    pthread_mutex_unlock(&registry.lock);
    return alone;
}

/* ------------------------------------------------------------ end of the process */

/* One that has no reference any more is being freed, and waits to leave the list. */
static bool retain_alive(tp_pool *pool)
{
    int refs = atomic_load(&pool->refs);
    while (refs > 0 && !atomic_compare_exchange_weak(&pool->refs, &refs, refs + 1)) {
    }
    return refs > 0;
}

tp_pool **tp__registry_end(size_t *count)
{
    struct tp_list *node, *following;
    size_t most = 0;
    *count = 0;
    pthread_mutex_lock(&registry.lock);
    registry.ending = true;
    TP_LIST_EACH(node, following, &registry.databases)
    most++;
    tp_pool **pools = calloc(most + 1, sizeof(tp_pool *));
    TP_LIST_EACH(node, following, &registry.databases)
    {
        tp_pool *pool = database_at(node)->pool;
        if (pools != NULL && retain_alive(pool))
            pools[(*count)++] = pool;
    }
    pthread_mutex_unlock(&registry.lock);
    return pools;
}
