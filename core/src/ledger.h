/* What several processes have counted, in one place: the tallies of all pools that share a name.
 *
 * Each pool of each process is a member with an entry in a file in /dev/shm (shm.h), which it
 * alone writes: it copies its tally there from time to time. Whoever asks sums the entries. When
 * a member ends, or is found to have died, what it had is added to `departed`, so that no total
 * ever goes back for as long as the file exists; of one that was killed, what it had last
 * published.
 *
 *     FREE --> LIVE --(its owner leaves, or has lost its place)--> added to departed --> FREE
 *
 * The file is removed by the last member that leaves. Workers of a service that are replaced by
 * others (tp_worker_declare) leave it there for their successors, for as long as the process lives
 * that has started them; the first member after that begins anew.
 * Owns: the descriptor and the mapping. Errors: TP_ERR_CONNECTION. Thread: any. */
#ifndef TP_LEDGER_H
#define TP_LEDGER_H

#include "tally.h"
#include "tidepool.h"

enum { TP_LEDGER_MEMBERS = 1024, TP_LEDGER_NAME_ROOM = 96 /* with the NUL */ };

/* What is so now, of living members; each is summed. */
enum tp_gauge {
    TP_GAUGE_IDLE,
    TP_GAUGE_ACTIVE,
    TP_GAUGE_CONNECTING,
    TP_GAUGE_MENDING,
    TP_GAUGE_WAITING,
    TP_GAUGE_MAX,
    TP_GAUGE_MIN,
    TP_GAUGE_LIMIT,
    TP_GAUGE_OPEN,      /* breakers */
    TP_GAUGE_HALF_OPEN, /* the same */
    TP_GAUGE_LISTENERS,
    TP_GAUGES
};

struct tp_account {
    struct tp_tally tally;
    int gauges[TP_GAUGES];
    int processes; /* of living members */
};

struct tp_ledger;

/* Workers come and go while their service goes on: see above. */
bool tp__worker_is_declared(void);

/* A handle; nothing is shared yet. `name`: letters, digits and signs that a file may have. NULL: no
 * memory. */
struct tp_ledger *tp__ledger_new(const char *name);
/* NULL is fine. */
void tp__ledger_free(struct tp_ledger *ledger);
/* In a child of fork: what was published is the parent's, and this handle begins anew. */
void tp__ledger_forked(struct tp_ledger *ledger);

/* Copies what this member has counted so far, and how it stands. Becomes a member with the first
 * time; does nothing after tp__ledger_leave. */
enum tp_status tp__ledger_publish(struct tp_ledger *ledger, const struct tp_account *own,
                                  struct tp_error *err) TP_MUST_CHECK;
/* The sum of all, those included that have ended. Does not become a member. */
enum tp_status tp__ledger_read(struct tp_ledger *ledger, struct tp_account *sum,
                               struct tp_error *err) TP_MUST_CHECK;
/* For good; what was published is kept with that of the others that have ended. */
void tp__ledger_leave(struct tp_ledger *ledger);

#endif
