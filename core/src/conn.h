/* One connection to PostgreSQL: a state machine over a non-blocking PGconn.
 *
 *     RESOLVING -> CONNECTING -> READY <-> ASKING -> CANCELLING -> ASKING
 *          |            |          |         |            |
 *          +------------+----------+-> LOST <+------------+
 *
 * At most one request is under way. It is begun with one of tp__conn_ask_*, then
 * stepped until TP_DONE or TP_FAILED; nothing here ever blocks: names are resolved
 * and cancels are sent by errands.
 * Owns: the PGconn, its prepared statements, the result until it is taken.
 * Errors: the reason of a failure is in tp__conn_error until the next request.
 * Thread: one at a time; a pool hands a connection from thread to thread under its
 * lock. */
#ifndef TP_CONN_H
#define TP_CONN_H

#include "config.h"
#include "statements.h"
#include "tidepool.h"
#include "wake.h"

struct tp_conn;

/* What a connection needs from around it; copied. */
struct tp_conn_env {
    const tp_config *config;
    struct tp_wake *wake; /* rung when an errand is done; borrowed, outlives the connection */
    /* Told of notices; may be NULL. `text` is borrowed for the call. */
    void (*notice)(void *ctx, int backend_pid, const char *code, const char *text);
    void *ctx;
};

/* Begins to connect. NULL (and err) when memory or threads are short. */
struct tp_conn *tp__conn_open(const struct tp_conn_env *env, struct tp_error *err);
/* Closes at once, without waiting; `forked` closes only the descriptor. */
void tp__conn_close(struct tp_conn *conn, bool forked);

/* Moves connecting on. TP_WAIT, TP_DONE (ready), TP_FAILED. */
enum tp_step tp__conn_step_open(struct tp_conn *conn, struct tp_error *err);

/* What to wait for after TP_WAIT. */
int tp__conn_fd(const struct tp_conn *conn);
int tp__conn_events(const struct tp_conn *conn);
int64_t tp__conn_deadline(const struct tp_conn *conn); /* of connecting or mending */

bool tp__conn_is_ready(const struct tp_conn *conn);
bool tp__conn_is_lost(const struct tp_conn *conn);
int tp__conn_pid(const struct tp_conn *conn);
enum tp_transaction_state tp__conn_transaction(const struct tp_conn *conn);

/* A look at the socket without waiting: false when the server has closed it. */
bool tp__conn_look(struct tp_conn *conn);

/* --- requests: the connection is READY ------------------------------------- */

/* The statement for a text, if this connection knows it. */
struct tp_statement *tp__conn_find(struct tp_conn *conn, const char *sql, size_t len,
                                   uint64_t hash);
/* Sends Parse and Describe in one round trip; after TP_DONE the statement is known.
 * `evicted` tells whether another was forgotten for it. */
enum tp_status tp__conn_ask_prepare(struct tp_conn *conn, const char *sql, size_t len);
/* A statement that is neither prepared nor described, for one execution: libpq 15 takes a
 * description of more than 7,498 parameters (30,000 bytes) for a loss of synchronisation
 * (measured), so the types of that many are left to the server. NULL: no memory. */
enum { TP_DESCRIBED_PARAMS_MAX = 7000 };
struct tp_statement *tp__conn_undescribed(struct tp_conn *conn, const char *sql, size_t len,
                                          int nparams);
bool tp__conn_prepare_evicted(const struct tp_conn *conn);
/* Runs a known statement. */
enum tp_status tp__conn_ask_execute(struct tp_conn *conn, const struct tp_statement *statement,
                                    const struct tp_param *params);
/* Sends text by the simple protocol: many statements, no parameters. */
enum tp_status tp__conn_ask_simple(struct tp_conn *conn, const char *sql);
/* The shortest round trip there is: an empty statement. */
enum tp_status tp__conn_ask_ping(struct tp_conn *conn);
/* Forgets statements with this hash (0: all). */
void tp__conn_drop(struct tp_conn *conn, uint64_t hash);
/* The server has no prepared statement any more (DEALLOCATE ALL, DISCARD ALL, another
 * server behind a pooler). */
void tp__conn_forget_statements(struct tp_conn *conn);
/* The last invalidation of statements that this connection has seen. */
uint64_t *tp__conn_stale_seen(struct tp_conn *conn);

/* Moves the request on; `ready` is what is known of the descriptor. */
enum tp_step tp__conn_step(struct tp_conn *conn, int ready);
/* After a failure with 57P01: whether the server provably never read the request, so that
 * it may be sent again on another connection. */
bool tp__conn_was_unread(const struct tp_conn *conn);
tp_result *tp__conn_take_result(struct tp_conn *conn);
const struct tp_error *tp__conn_error(const struct tp_conn *conn);

/* --- mending, by the housekeeper -------------------------------------------- */

/* Makes a connection clean for the next borrower: a statement that still runs is
 * cancelled and its answer awaited, an open transaction is rolled back. After a
 * cancel it ends with a ping, so that a cancel that comes late hits nobody else. */
enum tp_step tp__conn_step_reset(struct tp_conn *conn, int ready);
/* A bounded round trip. */
enum tp_step tp__conn_step_ping(struct tp_conn *conn, int ready);

#endif
