/* A pool of PostgreSQL connections: the pool's vtable filled with conn.h.
 *
 * Owns: the configuration, until the pool is freed. Thread: any. */
#ifndef TP_DATABASE_H
#define TP_DATABASE_H

#include "config.h"
#include "conn.h"
#include "digest.h"
#include "password.h"
#include "pool.h"
#include "stale.h"

/* What is in force of certificates, and what was seen of the server's; see database_tls.c. */
struct tp_certificates {
    struct tp_keyring *keyring; /* counted; NULL: TLS is off */
    struct tp_tls_state seen;   /* of the connection that was made last */
    char trouble[480];          /* why files that have changed are not used; or empty */
    int64_t told_at;            /* when was last warned of certificates that end; 0: never */
};

struct tp_database {
    tp_config *config;
    const struct tp_settings *settings; /* borrowed from config */
    tp_pool *pool;
    struct tp_stale stale;
    struct tp_shelf shelf; /* of descriptions */
    struct tp_digests digests;
    struct tp_catalog catalog;
    struct tp_certificates tls;    /* guarded by pool->lock, as the next */
    struct tp_passwords passwords; /* when the program makes them */

    /* the registry's, guarded by its lock */
    struct tp_list registered;
    struct tp_list shares; /* those that are open */
    bool named;            /* found by its name */
};

/* With a pool that the registry does not know yet. Owns `config` on success; NULL: no memory. */
struct tp_database *tp__database_open(tp_config *config, struct tp_error *err);

struct tp_database *tp__database_of(const tp_pool *pool);

/* A session turned out to be read-only that was not meant to be. Thread: any. */
void tp__database_became_read_only(struct tp_database *database);

/* --- database_tls.c --------------------------------------------------------- */

/* The certificates for a new connection, read anew if their files have changed: the caller's.
 * Thread: the housekeeper. */
struct tp_keyring *tp__database_keyring(struct tp_database *database);
/* Notes how a connection that was made is encrypted. Thread: the housekeeper. */
void tp__database_note_tls(struct tp_database *database, const struct tp_conn *conn);
/* Warns of certificates that end soon, once a day. Thread: the housekeeper. */
void tp__database_watch_certificates(struct tp_database *database);

/* --- database_inquiry.c ----------------------------------------------------- */

/* Asks the server which of the pool's loans wait for locks, and tells the pool (pool_inquiry.h).
 * Thread: the housekeeper. */
enum tp_step tp__database_inquire(struct tp_conn *conn, int ready);

/* How a connection should go back, judged by its state: lost ones are closed, ones with
 * a statement under way or a transaction open, or with what a borrower may have left in the
 * session, are mended. `rollback` tells of the transaction. */
enum tp_fate tp__database_fate(const struct tp_conn *conn, enum tp_close_reason *reason,
                               bool *rollback);

#endif
