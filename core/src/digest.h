/* Statistics of statements by their folded texts (see sqltext_fold.h): how often each was
 * called, for how long, how many rows it had and how often it failed.
 *
 * There are at most so many entries; when another text comes, those go that were called least
 * and had the least time, in the last half hours above all, so that no number of texts that come
 * once pushes out the ones that matter. What is counted of an entry that went, and came back
 * while a description had it still, goes on.
 * Owns: its entries, which are counted: each description that has one holds a reference.
 * Thread: any. Counting takes no lock once the description has its entry. */
#ifndef TP_DIGEST_H
#define TP_DIGEST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "description.h"

/* Each power of two of microseconds has 8 buckets up to 2^36 (19 hours), so that a percentile is
 * off by 6.25 % of itself at most. */
enum { TP_DIGEST_BUCKETS = 272, TP_DIGEST_TEXT = 1000 };

struct tp_digest {
    atomic_int refs;
    atomic_bool gone; /* it is not in the table any more */
    _Atomic uint64_t calls, rows, errors, total_us;
    _Atomic int64_t max_us;
    _Atomic uint64_t times[TP_DIGEST_BUCKETS];
    uint64_t hash;
    uint64_t usage, weighed, seen; /* guarded by the table's lock, as `next`: what it is worth */
    struct tp_digest *next;        /* of the same bucket */
    char text[];
};

struct tp_digests {
    pthread_mutex_t lock;
    struct tp_digest **buckets; /* guarded by lock, as all that follows; NULL: off */
    struct tp_digest **list;    /* in no order */
    int count, room;
    size_t nbuckets; /* a power of two */
    uint64_t weighings;
    int64_t halved_at;
};

/* `room` entries at most; 0: nothing is counted. False: no memory. */
bool tp__digests_init(struct tp_digests *digests, int room);
void tp__digests_deinit(struct tp_digests *digests);

/* One call of a statement that has ended. */
struct tp_digest_call {
    struct tp_description *description; /* NULL: sql says what it was */
    const char *sql;
    size_t sql_len;
    int64_t us, rows;
    bool failed;
};
void tp__digests_note(struct tp_digests *digests, const struct tp_digest_call *call);

/* In a child of fork, which begins to count anew, with the lock held: nothing was called. */
void tp__digests_forget_locked(struct tp_digests *digests);

/* A reference to each entry, in `out`, which has room for digests->room. Returns how many. */
int tp__digests_list(struct tp_digests *digests, struct tp_digest **out);
void tp__digest_release(struct tp_digest *digest);
/* The duration below which `quantile` (0 to 1) of the calls were. */
int64_t tp__digest_quantile(const struct tp_digest *digest, double quantile);

#endif
