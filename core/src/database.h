/* A pool of PostgreSQL connections: the pool's vtable filled with conn.h.
 *
 * Owns: the configuration, until the pool is freed. Thread: any. */
#ifndef TP_DATABASE_H
#define TP_DATABASE_H

#include "config.h"
#include "conn.h"
#include "pool.h"
#include "stale.h"

struct tp_database {
    tp_config *config;
    const struct tp_settings *settings; /* borrowed from config */
    tp_pool *pool;
    struct tp_stale stale;
    struct tp_shelf shelf; /* of descriptions */
    struct tp_catalog catalog;

    /* the registry's, guarded by its lock */
    struct tp_list registered;
    struct tp_list shares; /* those that are open */
    bool named;            /* found by its name */
};

/* With a pool that the registry does not know yet. Owns `config` on success; NULL: no memory. */
struct tp_database *tp__database_open(tp_config *config, struct tp_error *err);

struct tp_database *tp__database_of(const tp_pool *pool);

/* How a connection should go back, judged by its state: lost ones are closed, ones with
 * a statement under way or a transaction open, or with what a borrower may have left in the
 * session, are mended. `rollback` tells of the transaction. */
enum tp_fate tp__database_fate(const struct tp_conn *conn, enum tp_close_reason *reason,
                               bool *rollback);

#endif
