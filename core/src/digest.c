#include "digest.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "sqltext_fold.h"

enum { SUB = 8, SUB_BITS = 3, HALF_LIFE_US = 1800 * 1000 * 1000 };

/* ------------------------------------------------------------------ durations */

static size_t bucket_of(uint64_t us)
{
    if (us < SUB)
        return (size_t)us;
    unsigned shift = 63U - (unsigned)__builtin_clzll(us) - SUB_BITS;
    size_t bucket = SUB * (size_t)shift + (size_t)(us >> shift);
    return bucket < TP_DIGEST_BUCKETS ? bucket : TP_DIGEST_BUCKETS - 1;
}

/* The middle of what falls into a bucket; the inverse of bucket_of. */
static int64_t middle_of(size_t bucket)
{
    if (bucket < SUB)
        return (int64_t)bucket;
    size_t shift = bucket / SUB - 1;
    int64_t first = (int64_t)(SUB + bucket % SUB) << shift;
    return first + ((INT64_C(1) << shift) >> 1);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

int64_t tp__digest_quantile(const struct tp_digest *digest, double quantile)
{
    int64_t most = atomic_load_explicit(&digest->max_us, memory_order_relaxed);
    uint64_t count = 0, seen = 0;
    for (size_t i = 0; i < TP_DIGEST_BUCKETS; i++)
        count += get(&digest->times[i]);
    for (size_t i = 0; i < TP_DIGEST_BUCKETS; i++) {
        seen += get(&digest->times[i]);
        if (seen > 0 && (double)seen >= quantile * (double)count)
            return middle_of(i) < most ? middle_of(i) : most;
    }
    return 0;
}

static void count_call(struct tp_digest *digest, const struct tp_digest_call *call)
{
    int64_t us = call->us > 0 ? call->us : 0;
    int64_t most = atomic_load_explicit(&digest->max_us, memory_order_relaxed);
    add(&digest->calls, 1);
    add(&digest->total_us, (uint64_t)us);
    add(&digest->times[bucket_of((uint64_t)us)], 1);
    if (call->rows > 0)
        add(&digest->rows, (uint64_t)call->rows);
    if (call->failed)
        add(&digest->errors, 1);
    while (us > most &&
           !atomic_compare_exchange_weak_explicit(&digest->max_us, &most, us, memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}

static void clear(struct tp_digest *digest)
{
    atomic_store(&digest->calls, 0);
    atomic_store(&digest->rows, 0);
    atomic_store(&digest->errors, 0);
    atomic_store(&digest->total_us, 0);
    atomic_store(&digest->max_us, 0);
    for (size_t i = 0; i < TP_DIGEST_BUCKETS; i++)
        atomic_store_explicit(&digest->times[i], 0, memory_order_relaxed);
    digest->usage = digest->weighed = 0;
}

/* -------------------------------------------------------------------- entries */

static struct tp_digest *retain(struct tp_digest *digest)
{
    atomic_fetch_add_explicit(&digest->refs, 1, memory_order_relaxed);
    return digest;
}

void tp__digest_release(struct tp_digest *digest)
{
    if (digest != NULL && atomic_fetch_sub_explicit(&digest->refs, 1, memory_order_acq_rel) == 1)
        free(digest);
}

bool tp__digests_init(struct tp_digests *digests, int room)
{
    memset(digests, 0, sizeof *digests);
    pthread_mutex_init(&digests->lock, NULL);
    if (room <= 0)
        return true;
    digests->room = room;
    digests->halved_at = tp_now();
    digests->nbuckets = 64;
    while (digests->nbuckets < (size_t)room)
        digests->nbuckets *= 2;
    digests->buckets = calloc(digests->nbuckets, sizeof(struct tp_digest *));
    digests->list = calloc((size_t)room, sizeof(struct tp_digest *));
    if (digests->buckets != NULL && digests->list != NULL)
        return true;
    tp__digests_deinit(digests);
    return false;
}

void tp__digests_deinit(struct tp_digests *digests)
{
    for (int i = 0; digests->list != NULL && i < digests->count; i++)
        tp__digest_release(digests->list[i]);
    free(digests->buckets);
    free(digests->list);
    digests->count = 0;
    digests->buckets = NULL;
    digests->list = NULL;
    pthread_mutex_destroy(&digests->lock);
}

/* ------------------------------------------------------------------- eviction */

static struct tp_digest **link_of(struct tp_digests *digests, uint64_t hash, const char *text)
{
    struct tp_digest **link = &digests->buckets[hash & (digests->nbuckets - 1)];
    while (*link != NULL && ((*link)->hash != hash || strcmp((*link)->text, text) != 0))
        link = &(*link)->next;
    return link;
}

/* A call counts as much as a millisecond does. What is old counts half after each half hour. */
static void weigh_locked(struct tp_digests *digests)
{
    int64_t halves = (tp_now() - digests->halved_at) / HALF_LIFE_US;
    digests->halved_at += halves * HALF_LIFE_US;
    digests->weighings++;
    for (int i = 0; i < digests->count; i++) {
        struct tp_digest *digest = digests->list[i];
        uint64_t weight = get(&digest->calls) + get(&digest->total_us) / 1000;
        digest->usage = halves < 64 ? digest->usage >> halves : 0;
        digest->usage += weight - digest->weighed;
        if (weight != digest->weighed)
            digest->seen = digests->weighings;
        digest->weighed = weight;
    }
}

/* Of those that are worth the same, the ones that were called last come first. */
static int by_usage(const void *a, const void *b)
{
    const struct tp_digest *left = *(struct tp_digest *const *)a;
    const struct tp_digest *right = *(struct tp_digest *const *)b;
    if (left->usage == right->usage)
        return (left->seen < right->seen) - (left->seen > right->seen);
    return left->usage < right->usage ? 1 : -1;
}

/* A tenth goes at a time, so that sorting costs little for each new text. */
static void make_room_locked(struct tp_digests *digests)
{
    int keep = digests->room - 1 - digests->room / 10;
    weigh_locked(digests);
    qsort(digests->list, (size_t)digests->count, sizeof *digests->list, by_usage);
    while (digests->count > keep) {
        struct tp_digest *last = digests->list[--digests->count];
        struct tp_digest **link = link_of(digests, last->hash, last->text);
        *link = last->next;
        last->next = NULL;
        atomic_store_explicit(&last->gone, true, memory_order_relaxed);
        tp__digest_release(last);
    }
}

/* -------------------------------------------------------------------- finding */

/* Owns the reference. */
static void insert_locked(struct tp_digests *digests, struct tp_digest *digest)
{
    if (digests->count >= digests->room)
        make_room_locked(digests);
    struct tp_digest **link = &digests->buckets[digest->hash & (digests->nbuckets - 1)];
    digest->seen = digests->weighings;
    digest->next = *link;
    *link = digest;
    digests->list[digests->count++] = digest;
    atomic_store_explicit(&digest->gone, false, memory_order_relaxed);
}

static struct tp_digest *new_digest(uint64_t hash, const char *text)
{
    size_t len = strlen(text);
    struct tp_digest *digest = calloc(1, sizeof *digest + len + 1);
    if (digest == NULL)
        return NULL;
    atomic_init(&digest->refs, 1);
    digest->hash = hash;
    memcpy(digest->text, text, len);
    return digest;
}

/* A new reference to the entry of a text, which is made when there is none; NULL: no memory, or
 * there is nothing in the text. */
static struct tp_digest *find(struct tp_digests *digests, const char *sql, size_t len)
{
    char folded[TP_DIGEST_TEXT + 1], text[TP_DIGEST_TEXT + 1];
    uint64_t hash;
    size_t folded_len = tp__sql_fold(sql, len, folded, sizeof folded, &hash);
    tp__text_copy_n(text, sizeof text, folded, folded_len);
    if (text[0] == '\0')
        return NULL;
    pthread_mutex_lock(&digests->lock);
    struct tp_digest *found = *link_of(digests, hash, text);
    if (found == NULL && (found = new_digest(hash, text)) != NULL)
        insert_locked(digests, found);
    if (found != NULL)
        retain(found);
    pthread_mutex_unlock(&digests->lock);
    return found;
}

/* The entry of a description that was pushed out: it comes back, unless another with its text
 * came meanwhile, which is then returned. A new reference. */
static struct tp_digest *bring_back(struct tp_digests *digests, struct tp_digest *gone)
{
    pthread_mutex_lock(&digests->lock);
    struct tp_digest *found = *link_of(digests, gone->hash, gone->text);
    if (found == NULL) {
        found = gone;
        insert_locked(digests, retain(gone));
    }
    retain(found);
    pthread_mutex_unlock(&digests->lock);
    return found;
}

static void note_slowly(struct tp_digests *digests, const struct tp_digest_call *call,
                        struct tp_digest *gone)
{
    struct tp_description *description = call->description;
    struct tp_digest *none = NULL;
    struct tp_digest *digest = gone != NULL ? bring_back(digests, gone)
                               : description != NULL
                                   ? find(digests, description->sql, description->sql_len)
                                   : find(digests, call->sql, call->sql_len);
    if (digest == NULL)
        return;
    count_call(digest, call);
    if (gone == NULL && description != NULL &&
        atomic_compare_exchange_strong(&description->digest, &none, digest))
        return; /* the reference is the description's now */
    tp__digest_release(digest);
}

void tp__digests_note(struct tp_digests *digests, const struct tp_digest_call *call)
{
    if (digests->room == 0)
        return;
    struct tp_digest *digest = NULL;
    if (call->description != NULL)
        digest = atomic_load_explicit(&call->description->digest, memory_order_acquire);
    if (digest != NULL && !atomic_load_explicit(&digest->gone, memory_order_relaxed))
        count_call(digest, call);
    else
        note_slowly(digests, call, digest);
}

void tp__digests_forget_locked(struct tp_digests *digests)
{
    for (int i = 0; i < digests->count; i++) {
        atomic_store_explicit(&digests->list[i]->gone, true, memory_order_relaxed);
        digests->list[i]->next = NULL;
        clear(digests->list[i]);
        tp__digest_release(digests->list[i]);
    }
    digests->count = 0;
    if (digests->buckets != NULL)
        memset(digests->buckets, 0, digests->nbuckets * sizeof *digests->buckets);
}

int tp__digests_list(struct tp_digests *digests, struct tp_digest **out)
{
    pthread_mutex_lock(&digests->lock);
    int count = digests->count;
    for (int i = 0; i < count; i++)
        out[i] = retain(digests->list[i]);
    pthread_mutex_unlock(&digests->lock);
    return count;
}
