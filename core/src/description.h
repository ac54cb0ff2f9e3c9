/* What the server says of a statement's text: its parameters and columns. One description
 * is shared by all connections of a pool, so that the next connection need not ask.
 *
 * Owns: a description is counted; each holder releases it once. The shelf holds one
 * reference to each that is on it. Errors: TP_ERR_MEMORY as a NULL.
 * Thread: any; a description never changes once it is resolved. */
#ifndef TP_DESCRIPTION_H
#define TP_DESCRIPTION_H

#include <pthread.h>
#include <stdatomic.h>

#include "columns.h"
#include "list.h"

struct tp_digest;

struct tp_description {
    atomic_int refs;
    uint64_t hash;
    bool described;  /* the server was asked: types and columns are known */
    bool plain;      /* it cannot succeed with other columns; FETCH, EXECUTE and CALL can */
    unsigned traces; /* what executing it may leave behind: enum tp_sql_traces */
    bool writes;     /* it may, as far as its text tells; see sqltext.h */
    int nparams;
    uint32_t *param_oids;             /* 0: the server finds out by itself */
    const struct tp_type **params;    /* NULL in it: not described */
    struct tp_columns *columns;       /* NULL: it returns none */
    struct tp_digest *_Atomic digest; /* counted; its statistics, once it was executed; or NULL */
    struct tp_list recent;            /* on the shelf; guarded by its lock, as `next` */
    struct tp_description *next;
    size_t sql_len;
    char sql[];
};

uint64_t tp__sql_hash(const char *sql, size_t len);

/* Whether the text begins as a statement that the server plans: when its columns change, it
 * refuses to execute it as it was prepared. Source: PostgreSQL's plancache.c. */
bool tp__sql_is_plain(const char *sql, size_t len);

/* With all oids 0 and no columns. */
struct tp_description *tp__description_new(const char *sql, size_t len, int nparams);
struct tp_description *tp__description_retain(struct tp_description *description);
void tp__description_release(struct tp_description *description);
bool tp__description_is_of(const struct tp_description *description, const char *sql, size_t len,
                           uint64_t hash);
/* Finds the types of everything. Returns how many the catalog does not know; their oids go
 * to `missing`, as many as there is room for. */
int tp__description_resolve(struct tp_description *description, struct tp_catalog *catalog,
                            uint32_t *missing, int room);

/* The descriptions of a pool; the least recently used go first. */
struct tp_shelf {
    pthread_mutex_t lock;
    struct tp_description **buckets; /* guarded by lock, as all that follows */
    struct tp_list recent;
    int count, room;
    size_t nbuckets; /* a power of two */
};

/* False: no memory. */
bool tp__shelf_init(struct tp_shelf *shelf, int room);
void tp__shelf_deinit(struct tp_shelf *shelf);
/* A new reference, or NULL. */
struct tp_description *tp__shelf_find(struct tp_shelf *shelf, const char *sql, size_t len,
                                      uint64_t hash);
/* Retains it, and lets go of one with the same text. */
void tp__shelf_put(struct tp_shelf *shelf, struct tp_description *description);
/* Lets go of those with this hash (0: all). */
void tp__shelf_drop(struct tp_shelf *shelf, uint64_t hash);

#endif
