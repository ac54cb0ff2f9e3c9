/* The table behind a budget (budget.h): who takes part, and what each has.
 *
 * It is a file in /dev/shm (shm.h), mapped by every member. A member is one pool of one process.
 * It has an entry, and holds the place of the entry's number for as long as it lives. A child of
 * fork has a copy of the descriptor as it has copies of the sockets, so the connections of a dead
 * process count for as long as any child keeps them open.
 *
 * With the lock of the file alone `held` may grow, and entries may come and go. Whatever else an
 * entry says is written by its owner alone, at any time; what is read without the lock is a hint.
 *
 * Owns: the descriptor and the mapping. Errors: TP_ERR_CONNECTION.
 * Thread: one at a time for one struct. */
#ifndef TP_BUDGET_TABLE_H
#define TP_BUDGET_TABLE_H

#include <stdatomic.h>

#include "shm.h"
#include "tidepool.h"

enum { TP_BUDGET_MEMBERS = 1024 };

enum tp_budget_state {
    TP_BUDGET_FREE,
    TP_BUDGET_LIVE, /* its owner holds the lock on its byte, or has just died */
    TP_BUDGET_GONE  /* it has no owner, but the server may still have its connections */
};

struct tp_budget_entry {
    _Atomic uint32_t state;                  /* enum tp_budget_state */
    _Atomic int32_t pid;                     /* of the owner, in its own namespace */
    _Atomic uint64_t space;                  /* which namespace that is */
    _Atomic int32_t max;                     /* what the owner says the budget is */
    _Atomic int32_t held;                    /* connections that exist or are being made */
    _Atomic int32_t lingering;               /* closed, but the server has not closed its side: */
    _Atomic int32_t wanted;                  /* how many more somebody waits for */
    _Atomic int64_t lingers_till;            /* they count until then at the latest */
    _Atomic int64_t wanted_since, wanted_at; /* first and last time that it was said */
};

struct tp_budget_segment {
    _Atomic uint64_t magic;
    _Atomic uint32_t high; /* entries from here on have never been used */
    char bell;             /* written to wake all members: see budget.c */
    struct tp_budget_entry entries[TP_BUDGET_MEMBERS];
};

struct tp_budget_table {
    struct tp_shm shm;
    struct tp_budget_segment *segment; /* NULL: closed */
};

/* Opens the file, makes it if need be, and takes the lock. */
enum tp_status tp__budget_table_open(struct tp_budget_table *table, const char *path,
                                     struct tp_error *err) TP_MUST_CHECK;
void tp__budget_table_close(struct tp_budget_table *table);
/* --- with the lock --- */

/* A new entry, or -1 when there are TP_BUDGET_MEMBERS. */
int tp__budget_table_join(struct tp_budget_table *table, int max);
/* Gives up an entry of our own, as if its owner had died. */
void tp__budget_table_part(struct tp_budget_table *table, int index, int64_t grace_us);
/* Finds entries whose owner has died. Theirs count for another `grace_us`, in which the
 * server notices. `self`: our entry, or -1. */
void tp__budget_table_sweep(struct tp_budget_table *table, int self, int64_t grace_us);
/* Whether nobody lives and nothing lingers. */
bool tp__budget_table_is_idle(const struct tp_budget_table *table);

/* --- hints without it, the truth with it --- */

struct tp_budget_sums {
    int max;        /* the least that a living member says, and `max` of the question */
    int used;       /* connections that count */
    int lingering;  /* those of them that are on their way back */
    int members;    /* that live */
    int active;     /* that hold or want something */
    int processes;  /* of those that live */
    int64_t change; /* when the next of what lingers stops counting */
};
void tp__budget_table_sum(const struct tp_budget_table *table, int max, struct tp_budget_sums *out);
/* The owner has let one go: count more than there is rather than less. */
void tp__budget_entry_linger(struct tp_budget_entry *entry, int64_t until);
/* How many more it waits for; 0 when it has not said so lately. */
int tp__budget_entry_wants(const struct tp_budget_entry *entry, int64_t now);

#endif
