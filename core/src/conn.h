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

#include "catalog.h"
#include "config.h"
#include "notification.h"
#include "poller.h"
#include "statements.h"
#include "tally.h"
#include "tidepool.h"
#include "tls_keyring.h"
#include "wake.h"

struct tp_conn;

/* What a connection needs from around it; copied. */
struct tp_conn_env {
    const tp_config *config;
    char *password; /* instead of the configuration's, or NULL; the connection's once it is opened,
                       and wiped when libpq has it */
    struct tp_keyring *keyring; /* counted by the connection until it is made; NULL: no TLS */
    struct tp_catalog *catalog; /* borrowed, outlives the connection */
    struct tp_wake *wake;       /* rung when an errand is done; borrowed, outlives the connection */
    struct tp_lease_tally *tally; /* where transactions are counted; the same; NULL: nowhere */
    /* Told of notices; may be NULL. `text` is borrowed for the call. */
    void (*notice)(void *ctx, int backend_pid, const char *code, const char *text);
    void *ctx;
};

/* Begins to connect. NULL (and err) when memory or threads are short. */
struct tp_conn *tp__conn_open(const struct tp_conn_env *env, struct tp_error *err);
/* A duplicate of the socket, for tp__budget_linger. libpq closes the socket itself when the
 * server has ended, or when nothing could be made of it. */
int tp__conn_dup_socket(const struct tp_conn *conn);
/* Closes at once, without waiting; `forked` closes only the descriptor. */
void tp__conn_close(struct tp_conn *conn, bool forked);

/* Moves connecting on. TP_WAIT, TP_DONE (ready), TP_FAILED. */
enum tp_step tp__conn_step_open(struct tp_conn *conn, struct tp_error *err);

/* How a connection that was just made is encrypted: all but what concerns the keyring. */
void tp__conn_describe_tls(const struct tp_conn *conn, struct tp_tls_state *out);

/* What to wait for after TP_WAIT. */
int tp__conn_fd(const struct tp_conn *conn);
int tp__conn_events(const struct tp_conn *conn);
/* Where an event loop keeps that it waits for this connection. */
struct tp_watch *tp__conn_watch(struct tp_conn *conn);
int64_t tp__conn_deadline(const struct tp_conn *conn); /* of connecting or mending */

/* The `ctx` that it was opened with. */
void *tp__conn_owner(const struct tp_conn *conn);
bool tp__conn_is_ready(const struct tp_conn *conn);
bool tp__conn_is_lost(const struct tp_conn *conn);
int tp__conn_pid(const struct tp_conn *conn);
enum tp_transaction_state tp__conn_transaction(const struct tp_conn *conn);

/* "ID EPOCH" of the transaction that is open, or was when the connection was lost; empty when it
 * is not known. *unseen: something was sent that may have written meanwhile. */
const char *tp__conn_xact(const struct tp_conn *conn, bool *unseen);

/* What is asked next began at that time, as its borrower sees it. */
void tp__conn_note_began(struct tp_conn *conn, int64_t began);

/* A look at the socket without waiting: false when the server has closed it. */
bool tp__conn_look(struct tp_conn *conn);

/* --- requests: the connection is READY ------------------------------------- */

/* The statement for a text, if this connection knows it. */
struct tp_statement *tp__conn_find(struct tp_conn *conn, const char *sql, size_t len,
                                   uint64_t hash);
/* Sends Parse and Describe in one round trip; after TP_DONE the description can be taken. */
enum tp_status tp__conn_ask_prepare(struct tp_conn *conn, const char *sql, size_t len);
/* The same for a statement that is not kept, not even on the server. */
enum tp_status tp__conn_ask_describe(struct tp_conn *conn, const char *sql, size_t len);
/* What the server said, with oids but without types: the caller's. NULL when it said
 * nothing or memory was short. */
struct tp_description *tp__conn_take_description(struct tp_conn *conn);
/* The statement that was just prepared becomes one that is known. `evicted` tells whether
 * another was forgotten for it. NULL: no memory. */
struct tp_statement *tp__conn_remember(struct tp_conn *conn, struct tp_description *description,
                                       bool *evicted);
/* Whether the Parse of an execution that prepares on the way has succeeded. */
bool tp__conn_has_parsed(const struct tp_conn *conn);
/* The columns of that execution when they were not the described ones (the text means
 * another table in this session): the caller's. Else NULL. */
struct tp_columns *tp__conn_take_found_columns(struct tp_conn *conn);
/* Whether the statement that was executed had other columns than were expected. */
bool tp__conn_had_other_columns(const struct tp_conn *conn);
/* libpq 15 takes a description of more than 7,498 parameters (30,000 bytes) for a loss of
 * synchronisation (measured), so the types of that many are left to the server. */
enum { TP_DESCRIBED_PARAMS_MAX = 7000 };

/* For the requests to come: how many bytes may come at most before something of them can be
 * handed on (a row, a result); more are the end of the connection. INT64_MAX: any number. With
 * `one_by_one` rows are handed on as they come, however few there are. */
void tp__conn_bound(struct tp_conn *conn, int64_t most_bytes, bool one_by_one);

/* What the statements to come are marked with: see struct tp_query. */
void tp__conn_mark(struct tp_conn *conn, const char *comment, const char *application_name);
bool tp__conn_has_comment(const struct tp_conn *conn);

/* How a statement is to be run. */
struct tp_execution {
    struct tp_description *description;   /* retained while it runs */
    const struct tp_statement *statement; /* NULL: not prepared on this connection */
    const struct tp_param *params;
    bool text; /* rows come in the text form */
    bool keep; /* without a statement: prepare it on the way, under a name if there are any;
                  then tp__conn_remember it when it has succeeded */
};
enum tp_status tp__conn_ask_execute(struct tp_conn *conn, const struct tp_execution *execution);
/* What the next rows are of; the request under way has several statements. */
void tp__conn_expect(struct tp_conn *conn, struct tp_description *description);
/* A pipeline: executions of prepared statements, all of them kept or none. Its results come
 * in order, each after a tp__conn_expect. What was added may wait in memory: add no more
 * while it is full, but step. */
enum tp_status tp__conn_ask_pipeline(struct tp_conn *conn);
enum tp_status tp__conn_pipeline_add(struct tp_conn *conn, const char *name,
                                     const struct tp_description *description,
                                     const struct tp_param *params);
bool tp__conn_pipeline_is_full(const struct tp_conn *conn);
/* Nothing more is added; without `keep` the server undoes all of it. */
enum tp_status tp__conn_pipeline_end(struct tp_conn *conn, bool keep);
/* Sends text by the simple protocol: many statements, no parameters. */
enum tp_status tp__conn_ask_simple(struct tp_conn *conn, const char *sql);
/* Whether the session has the settings (enum tp_codec_needs) that binary forms depend on. */
bool tp__conn_has_settings(const struct tp_conn *conn, unsigned needs);
/* COPY FROM STDIN (`in`) or TO STDOUT, see conn_copy.c; then tp__conn_step returns TP_SEND
 * or TP_DATA as tp_op_step does. */
enum tp_status tp__conn_ask_copy(struct tp_conn *conn, const char *sql, bool in);
/* How many columns the COPY has, and whether its format is the binary one. */
int tp__conn_copy_columns(const struct tp_conn *conn);
bool tp__conn_copy_is_binary(const struct tp_conn *conn);
/* After TP_SEND: what comes next; borrowed until the step after which TP_SEND comes again. */
void tp__conn_copy_put(struct tp_conn *conn, const char *data, size_t len);
/* After TP_SEND: that was all; with a `failure` the server is to forget all of it. */
void tp__conn_copy_end(struct tp_conn *conn, const char *failure);
/* After TP_DATA: the next message that is there. Borrowed until the next call or step. */
bool tp__conn_copy_next(struct tp_conn *conn, const char **data, size_t *len);
/* The shortest round trip there is: an empty statement. */
enum tp_status tp__conn_ask_ping(struct tp_conn *conn);
/* The text is about to be executed by other means than tp__conn_ask_execute and
 * tp__conn_pipeline_add, which know what their statements may leave behind. */
void tp__conn_note_traces(struct tp_conn *conn, const char *sql, size_t len);
/* What the borrower may have left in the session, or is to be taken to have left: bits of enum
 * tp_sql_traces. */
unsigned tp__conn_traces(const struct tp_conn *conn);
/* Forgets statements with this hash (0: all). */
void tp__conn_drop(struct tp_conn *conn, uint64_t hash);
/* The server has no prepared statement any more (DEALLOCATE ALL, DISCARD ALL, another
 * server behind a pooler). */
void tp__conn_forget_statements(struct tp_conn *conn);
/* The last invalidation of statements that this connection has seen. */
uint64_t *tp__conn_stale_seen(struct tp_conn *conn);

/* Moves the request on; `ready` is what is known of the descriptor. TP_WAIT, TP_ROWS,
 * TP_RESULT, TP_DONE or TP_FAILED. */
enum tp_step tp__conn_step(struct tp_conn *conn, int ready);
/* See tp_op_columns, tp_op_next_row and so on. A row that breaks the protocol is none, and
 * the next step fails. */
const struct tp_columns *tp__conn_columns(const struct tp_conn *conn);
bool tp__conn_rows_are_binary(const struct tp_conn *conn);
bool tp__conn_next_row(struct tp_conn *conn, struct tp_row *row);
size_t tp__conn_rows_at_hand(const struct tp_conn *conn);
const char *tp__conn_command(const struct tp_conn *conn);
int64_t tp__conn_count(const struct tp_conn *conn);
int tp__conn_server_version(const struct tp_conn *conn);
/* After a failure with 57P01: whether the server provably never read the request, so that
 * it may be sent again on another connection. */
bool tp__conn_was_unread(const struct tp_conn *conn);
const struct tp_error *tp__conn_error(const struct tp_conn *conn);

/* --- listening, by the housekeeper ------------------------------------------ */

/* Sends LISTEN and UNLISTEN statements, or with an empty text the shortest round trip. */
enum tp_status tp__conn_ask_to_listen(struct tp_conn *conn, const char *sql);
/* Reads on. TP_WAIT: the answer is not complete yet; TP_DONE: nothing is under way (any more);
 * TP_FAILED: it was refused, or the connection is lost. */
enum tp_step tp__conn_hear(struct tp_conn *conn, int ready);
/* Hands the next notification that has come to `take`, for the call; false: there is none.
 * Also of a connection that was lost a moment ago. */
bool tp__conn_next_notification(struct tp_conn *conn, tp_notification_fn *take, void *ctx);

/* --- mending, by the housekeeper -------------------------------------------- */

/* Makes a connection clean for the next borrower: a statement that still runs is
 * cancelled and its answer awaited, an open transaction is rolled back. After a
 * cancel there is a ping, so that a cancel that comes late hits nobody else. At last, what
 * the borrower may have left in the session is removed, in one round trip. */
enum tp_step tp__conn_step_reset(struct tp_conn *conn, int ready);
/* Ends the statement under way and leaves the transaction alone: what it still says is read,
 * and after a moment the server is asked to stop it when `cancel` allows that. */
enum tp_step tp__conn_step_stop(struct tp_conn *conn, int ready, bool cancel);
/* Whether resetting has failed because the session can only read, and is not to. */
bool tp__conn_is_read_only(const struct tp_conn *conn);
/* Whether that is to be found out: the server has refused to write (25006). */
bool tp__conn_is_doubted(const struct tp_conn *conn);
/* A bounded round trip. */
enum tp_step tp__conn_step_ping(struct tp_conn *conn, int ready);

#endif
