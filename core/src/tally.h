/* What is counted of a pool.
 *
 * What happens to each query, transaction or lease is counted in the slot that the connection
 * is in, whose borrower (or, between two of them, the housekeeper) is the only one to write
 * there: no lock and no locked instruction is needed, and no two threads share a line. What
 * happens under the pool's lock is counted in the pool's own tally. They are summed when
 * somebody asks.
 *
 * A slot's tally has three histograms of 610 words of 64 bits, which never overflow, and some
 * 150 other words: just below 16 kB. It is not in the slot itself, which is walked over often,
 * and of one that was never lent no page is touched.
 * Owns: nothing. Thread: one writes at a time, others may read meanwhile. */
#ifndef TP_TALLY_H
#define TP_TALLY_H

#include "stats.h"
#include "tidepool.h"

/* Failures by the class of their SQLSTATE, which a program may choose itself: in the order of
 * their first coming. What finds no room any more is counted in the last one. */
struct tp_classes {
    struct {
        _Atomic uint64_t code; /* two characters; 0: free */
        _Atomic uint64_t count;
    } of[TP_ERROR_CLASSES];
};
/* `code`: a SQLSTATE, or what begins with a class. */
void tp__classes_add(struct tp_classes *classes, const char *code, uint64_t more);

/* Only words of 64 bits, as in the next one: they are summed as an array. */
struct tp_lease_counts {
    _Atomic uint64_t acquires, rollbacks, leaks;
    _Atomic uint64_t queries, query_failures, slow_queries;
    _Atomic uint64_t statement_hits, statements_prepared, statement_evictions;
    _Atomic uint64_t committed, rolled_back;
    _Atomic uint64_t errors_by_kind[TP_ERR_MEMORY + 1];
};

struct tp_pool_counts {
    _Atomic uint64_t fail_fast, acquire_timeouts, acquire_cancels;
    _Atomic uint64_t connects, connect_failures, closed[TP_CLOSE_REASONS];
    _Atomic uint64_t retries, retries_refused;
};

/* Of the leases of one slot. */
struct tp_lease_tally {
    struct tp_lease_counts counts;
    struct tp_classes classes;
    struct tp_histogram query, transaction, held;
};

/* Of a pool without its slots, or the sum of everything. */
struct tp_tally {
    struct tp_lease_tally leases; /* of a pool without its slots: connects that failed */
    struct tp_pool_counts counts;
    struct tp_histogram wait, connect;
};

void tp__tally_add(struct tp_tally *into, const struct tp_tally *from);
/* Costs next to nothing for one that was never lent. */
void tp__tally_add_leases(struct tp_tally *into, const struct tp_lease_tally *from);
/* Fills what is counted; what is so now is left as it is. */
void tp__tally_report(const struct tp_tally *tally, struct tp_stats *out);

#endif
