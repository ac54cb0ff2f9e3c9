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
};

struct tp_database *tp__database_of(const tp_pool *pool);

/* How a connection should go back, judged by its state: lost ones are closed, ones with
 * a statement under way or a transaction open are mended. `rollback` tells the latter. */
enum tp_fate tp__database_fate(const struct tp_conn *conn, enum tp_close_reason *reason,
                               bool *rollback);

#endif
