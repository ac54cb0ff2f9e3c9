#include "description.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "digest.h"
#include "sqltext.h"
#include "sqltext_token.h"

/* FNV-1a, eight bytes at a time with a final mix: texts are compared anyway, the hash
 * only has to spread. 0 is kept for "all". */
uint64_t tp__sql_hash(const char *sql, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325u ^ len;
    while (len >= 8) {
        uint64_t word;
        memcpy(&word, sql, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
        sql += 8;
        len -= 8;
    }
    while (len-- > 0)
        hash = (hash ^ (unsigned char)*sql++) * 0x100000001b3u;
    hash ^= hash >> 29;
    return hash != 0 ? hash : 1;
}

/* Behind comments, white space and opening parentheses. */
static const char *skip_to_word(const char *at, const char *end)
{
    for (;;) {
        const char *behind = tp__sql_skip_comment(at, end);
        if (behind == at && at < end && strchr(" \t\n\r\f\v(", *at) != NULL)
            behind++;
        if (behind == at)
            return at;
        at = behind;
    }
}

bool tp__sql_is_plain(const char *sql, size_t len)
{
    static const char *const words[] = {"select", "insert", "update", "delete",
                                        "with",   "values", "table",  "merge"};
    const char *end = sql + len, *word = skip_to_word(sql, end);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(end - word) >= n && strncasecmp(word, words[i], n) == 0)
            return true;
    }
    return false;
}

/* -------------------------------------------------------------- descriptions */

struct tp_description *tp__description_new(const char *sql, size_t len, int nparams)
{
    size_t n = (size_t)nparams;
    struct tp_description *description = calloc(1, sizeof *description + len + 1);
    if (description == NULL)
        return NULL;
    atomic_init(&description->refs, 1);
    tp__list_init(&description->recent);
    description->hash = tp__sql_hash(sql, len);
    description->plain = tp__sql_is_plain(sql, len);
    description->traces = tp__sql_traces(sql, len);
    description->writes = description->traces != 0 || tp__sql_may_write(sql, len);
    description->sql_len = len;
    memcpy(description->sql, sql, len);
    description->nparams = nparams;
    if (n == 0)
        return description;
    description->param_oids = calloc(n, sizeof *description->param_oids);
    description->params = calloc(n, sizeof *description->params);
    if (description->param_oids == NULL || description->params == NULL) {
        tp__description_release(description);
        return NULL;
    }
    return description;
}

struct tp_description *tp__description_retain(struct tp_description *description)
{
    atomic_fetch_add_explicit(&description->refs, 1, memory_order_relaxed);
    return description;
}

void tp__description_release(struct tp_description *description)
{
    if (description == NULL ||
        atomic_fetch_sub_explicit(&description->refs, 1, memory_order_acq_rel) > 1)
        return;
    tp__columns_free(description->columns);
    tp__digest_release(atomic_load(&description->digest));
    free(description->param_oids);
    free(description->params);
    free(description);
}

bool tp__description_is_of(const struct tp_description *description, const char *sql, size_t len,
                           uint64_t hash)
{
    return description->hash == hash && description->sql_len == len &&
           memcmp(description->sql, sql, len) == 0;
}

static int note_missing(uint32_t oid, uint32_t *missing, int count, int room)
{
    for (int i = 0; i < count && i < room; i++) {
        if (missing[i] == oid)
            return count;
    }
    if (count < room)
        missing[count] = oid;
    return count + 1;
}

int tp__description_resolve(struct tp_description *description, struct tp_catalog *catalog,
                            uint32_t *missing, int room)
{
    int count = 0;
    for (int i = 0; i < description->nparams; i++) {
        uint32_t oid = description->param_oids[i];
        description->params[i] = oid != 0 ? tp__catalog_find(catalog, oid) : NULL;
        if (oid != 0 && description->params[i] == NULL)
            count = note_missing(oid, missing, count, room);
    }
    struct tp_columns *columns = description->columns;
    if (columns == NULL || tp__columns_resolve(columns, catalog) == 0)
        return count;
    for (int i = 0; i < columns->count; i++) {
        if (columns->list[i].type->oid != columns->list[i].oid)
            count = note_missing(columns->list[i].oid, missing, count, room);
    }
    return count;
}

/* -------------------------------------------------------------------- shelf */

bool tp__shelf_init(struct tp_shelf *shelf, int room)
{
    memset(shelf, 0, sizeof *shelf);
    tp__list_init(&shelf->recent);
    shelf->room = room > 0 ? room : 1;
    shelf->nbuckets = 64;
    while (shelf->nbuckets < (size_t)shelf->room)
        shelf->nbuckets *= 2;
    shelf->buckets = calloc(shelf->nbuckets, sizeof *shelf->buckets);
    if (shelf->buckets != NULL)
        pthread_mutex_init(&shelf->lock, NULL);
    return shelf->buckets != NULL;
}

static struct tp_description **bucket_of(struct tp_shelf *shelf, uint64_t hash)
{
    return &shelf->buckets[hash & (shelf->nbuckets - 1)];
}

static void remove_locked(struct tp_shelf *shelf, struct tp_description *description)
{
    struct tp_description **link = bucket_of(shelf, description->hash);
    while (*link != description)
        link = &(*link)->next;
    *link = description->next;
    tp__list_remove(&description->recent);
    shelf->count--;
    tp__description_release(description);
}

static struct tp_description *find_locked(struct tp_shelf *shelf, const char *sql, size_t len,
                                          uint64_t hash)
{
    struct tp_description *at = *bucket_of(shelf, hash);
    while (at != NULL && !tp__description_is_of(at, sql, len, hash))
        at = at->next;
    return at;
}

struct tp_description *tp__shelf_find(struct tp_shelf *shelf, const char *sql, size_t len,
                                      uint64_t hash)
{
    pthread_mutex_lock(&shelf->lock);
    struct tp_description *found = find_locked(shelf, sql, len, hash);
    if (found != NULL) {
        tp__list_remove(&found->recent);
        tp__list_push_front(&shelf->recent, &found->recent);
        tp__description_retain(found);
    }
    pthread_mutex_unlock(&shelf->lock);
    return found;
}

void tp__shelf_put(struct tp_shelf *shelf, struct tp_description *description)
{
    pthread_mutex_lock(&shelf->lock);
    struct tp_description *old =
        find_locked(shelf, description->sql, description->sql_len, description->hash);
    if (old != NULL)
        remove_locked(shelf, old);
    else if (shelf->count >= shelf->room)
        remove_locked(shelf, TP_CONTAINER(shelf->recent.prev, struct tp_description, recent));
    struct tp_description **bucket = bucket_of(shelf, description->hash);
    description->next = *bucket;
    *bucket = tp__description_retain(description);
    tp__list_push_front(&shelf->recent, &description->recent);
    shelf->count++;
    pthread_mutex_unlock(&shelf->lock);
}

void tp__shelf_drop(struct tp_shelf *shelf, uint64_t hash)
{
    struct tp_list *node, *following;
    pthread_mutex_lock(&shelf->lock);
    TP_LIST_EACH(node, following, &shelf->recent)
    {
        struct tp_description *description = TP_CONTAINER(node, struct tp_description, recent);
        if (hash == 0 || description->hash == hash)
            remove_locked(shelf, description);
    }
    pthread_mutex_unlock(&shelf->lock);
}

void tp__shelf_deinit(struct tp_shelf *shelf)
{
    tp__shelf_drop(shelf, 0);
    free(shelf->buckets);
    pthread_mutex_destroy(&shelf->lock);
}
