/* tidepool: a PostgreSQL connection pool and client core over libpq.
 *
 * This is the only public header of libtidepool. All types are opaque except
 * small value types; every function says what it does, what it owns, what it
 * returns, how it fails and from which thread it may be called.
 *
 * Conventions
 *   - Times are int64_t microseconds of the monotonic clock (tp_now). A
 *     deadline is a point on that clock; TP_NEVER means none.
 *   - Fallible functions return enum tp_status and fill the caller's
 *     struct tp_error. Nothing is allocated to report an error.
 *   - A pointer returned by a getter is borrowed; its comment says until when.
 *   - "Thread: any" means that several threads may call at once.
 */
#ifndef TIDEPOOL_H
#define TIDEPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TP_VERSION "0.1.0"

#if defined(__GNUC__)
#define TP_MUST_CHECK __attribute__((warn_unused_result))
#define TP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define TP_MUST_CHECK
#define TP_PRINTF(fmt, args)
#endif

/* ------------------------------------------------------------------ errors */

/* What went wrong, in the terms a caller acts on. tp_status_name gives the
 * word that Lua sees as err.kind. */
enum tp_status {
    TP_OK = 0,
    TP_ERR_DATABASE,       /* the server refused or failed a statement */
    TP_ERR_VALIDATION,     /* a value or an option of the caller is wrong */
    TP_ERR_CONNECTION,     /* no connection could be made, or it was lost */
    TP_ERR_TLS,            /* certificates or the TLS handshake */
    TP_ERR_POOL_TIMEOUT,   /* no connection came free before the deadline */
    TP_ERR_TIMEOUT,        /* the statement did not answer by its deadline */
    TP_ERR_POOL_CLOSED,    /* the pool is closed or draining */
    TP_ERR_NOT_CONFIGURED, /* nothing says where the server is */
    TP_ERR_COMMIT_UNKNOWN, /* the link died at COMMIT: it may have been kept */
    TP_ERR_BUSY,           /* waiting would be pointless or is not allowed */
    TP_ERR_MEMORY          /* malloc failed */
};

/* The fields of one error. Strings are NUL-terminated, valid UTF-8, cut to
 * fit, empty when unknown; they never contain a secret. */
struct tp_error {
    enum tp_status kind;
    bool retryable;    /* the same call may succeed if simply repeated */
    int attempts;      /* how often it was tried; 0 when it never began */
    int position;      /* 1-based character in the SQL text, or 0 */
    char code[6];      /* SQLSTATE, or empty */
    char severity[16]; /* ERROR, FATAL, PANIC */
    char message[1024];
    char detail[512];
    char hint[512];
    char where[512]; /* PL/pgSQL call stack */
    char schema[64];
    char table[64];
    char column[64];
    char constraint[64];
    char query[256]; /* the beginning of the SQL text */
};

/* The word for a status: "database", "pool_timeout", ... Static. Thread: any. */
const char *tp_status_name(enum tp_status status);

/* The condition's name for a SQLSTATE ("unique_violation"), or "" when the
 * code is unknown; for an unknown code of a known class, the class's generic
 * condition. Static. Source: PostgreSQL's errcodes.txt. Thread: any. */
const char *tp_sqlstate_name(const char *code);

/* The class of a SQLSTATE in words ("Integrity Constraint Violation"), or "".
 * Static. Thread: any. */
const char *tp_sqlstate_class(const char *code);

/* True when a statement that failed with this SQLSTATE was rolled back by the
 * server and may succeed if simply repeated. Thread: any. */
bool tp_sqlstate_retryable(const char *code);

/* ------------------------------------------------------------------- clock */

#define TP_NEVER INT64_MAX

/* Monotonic time in microseconds. Thread: any. */
int64_t tp_now(void);

/* The deadline `ms` milliseconds from now; TP_NEVER when ms is negative.
 * Thread: any. */
int64_t tp_deadline_in_ms(int64_t ms);

/* ----------------------------------------------------------- configuration */

typedef struct tp_config tp_config;

/* Where the value of an option came from; a higher one wins. */
enum tp_config_source {
    TP_FROM_DEFAULT,
    TP_FROM_PROFILE,
    TP_FROM_ENVIRONMENT,
    TP_FROM_URL,
    TP_FROM_CODE
};

enum tp_option_type {
    TP_OPTION_INT, /* a count */
    TP_OPTION_MS,  /* milliseconds */
    TP_OPTION_BOOL,
    TP_OPTION_STRING,
    TP_OPTION_ENUM,  /* one of `choices` */
    TP_OPTION_SECRET /* a string that is never shown */
};

/* One row of the option table: what the parser accepts and what the
 * documentation prints. */
struct tp_option_info {
    const char *name; /* "pool.max" */
    enum tp_option_type type;
    const char *environment; /* "DB_POOL_MAX", "A|B" for aliases, or "" */
    const char *url;         /* the URL parameter, or "" */
    const char *production;  /* the default in the production profile */
    const char *development; /* the default elsewhere */
    const char *choices;     /* "a|b|c" of an ENUM, or "" */
    const char *doc;         /* one sentence */
};

/* The i-th row of the option table, or NULL past its end. Static. Thread: any. */
const struct tp_option_info *tp_option_at(size_t i);

/* A new, empty configuration, or NULL when memory is short. The caller owns
 * it until tp_config_free or until tp_pool_open takes it. Thread: any; one
 * configuration is used by one thread at a time. */
tp_config *tp_config_new(void);
void tp_config_free(tp_config *config);

/* Sets the option `name` ("pool.max", "host", "tls.verify", ...) from text, as
 * said in code. Errors: TP_ERR_VALIDATION for an unknown name (with the
 * nearest known one) or a bad value. Borrows its arguments for the call. */
enum tp_status tp_config_set(tp_config *config, const char *name, const char *value,
                             struct tp_error *err) TP_MUST_CHECK;

/* Sets the connection URL, as said in code. The text is parsed here, never by
 * libpq, so no error can contain a part of it that is secret.
 * Errors: TP_ERR_VALIDATION. */
enum tp_status tp_config_set_url(tp_config *config, const char *url,
                                 struct tp_error *err) TP_MUST_CHECK;

/* Reads one variable: returns its value or NULL. `ctx` is the caller's. */
typedef const char *tp_getenv_fn(void *ctx, const char *name);

/* Takes what the environment says where code said nothing, applies the
 * profile, then checks the whole. `lookup` may be NULL for the process's own
 * environment. Call it once, last. Not being configured is no error: see
 * tp_config_is_configured. Errors: TP_ERR_VALIDATION or TP_ERR_TLS, naming the
 * variable or option. */
enum tp_status tp_config_resolve(tp_config *config, tp_getenv_fn *lookup, void *ctx,
                                 struct tp_error *err) TP_MUST_CHECK;

/* The program makes the password of each new connection itself: what is said of passwords
 * otherwise is not used. Operations that wait for a connection then ask for it (TP_PASSWORD), and
 * nothing is connected that nobody waits for. Before tp_config_resolve. */
void tp_config_ask_password(tp_config *config);

/* Whether something says where the server is. Valid after tp_config_resolve. */
bool tp_config_is_configured(const tp_config *config);

/* The i-th warning of tp_config_resolve (two aliases that differ, verification
 * switched off), or NULL past the last. Borrowed until tp_config_free. */
const char *tp_config_warning(const tp_config *config, size_t i);

/* The value of an option as text after tp_config_resolve; NULL for an unknown
 * name or an unset one; "***" for a secret that is set. Borrowed until
 * tp_config_free. */
const char *tp_config_get(const tp_config *config, const char *name);

/* Whether there is an option of this name, "libpq." and a parameter of libpq's included. */
bool tp_config_knows(const tp_config *config, const char *name);
int64_t tp_config_int(const tp_config *config, const char *name);
bool tp_config_bool(const tp_config *config, const char *name);

/* --------------------------------------------------------------------- TLS */

/* What is known of a certificate; names as RFC 2253 writes them, seconds since 1970. */
struct tp_certificate {
    bool known;
    char subject[256], issuer[256];
    int64_t not_before, not_after;
};

/* -------------------------------------------------------------------- pool */

typedef struct tp_pool tp_pool;

/* Opens a pool over PostgreSQL connections. Never waits and never fails
 * because the server is away: the housekeeper starts with the first acquire.
 * Owns `config` on success. Returns the pool with one reference.
 * Errors: TP_ERR_MEMORY. Thread: any. */
enum tp_status tp_pool_open(tp_pool **out, tp_config *config, struct tp_error *err) TP_MUST_CHECK;

/* References. The last release closes the pool and frees it. Thread: any. */
tp_pool *tp_pool_retain(tp_pool *pool);
void tp_pool_release(tp_pool *pool);

/* Closes the pool: waiters get TP_ERR_POOL_CLOSED, idle connections end, leased
 * ones end when they come back. Waits for the housekeeper, at most about the
 * time of one poll; with pool.max_total also for the server to have ended them,
 * for half a second at most. Idempotent. Thread: any. */
void tp_pool_close(tp_pool *pool);

/* Takes no new work, then waits until every lease has come back or the
 * deadline has passed, then closes. TP_OK when all came back; TP_ERR_TIMEOUT
 * when leases were still out (they end when they come back). Thread: any. */
enum tp_status tp_pool_drain(tp_pool *pool, int64_t deadline, struct tp_error *err) TP_MUST_CHECK;

/* For a time of maintenance: nobody has a connection lent until tp_pool_resume, callers wait to
 * their deadlines, nothing is connected and idle connections are left alone. Those who hold one
 * go on. tp_op_suspend also waits for these. Thread: any. */
void tp_pool_suspend(tp_pool *pool);
/* Those who wait are served in their order. Without effect where nothing is suspended. */
void tp_pool_resume(tp_pool *pool);
/* Every connection is replaced: idle ones at once, others when they come back. Thread: any. */
void tp_pool_evict_all(tp_pool *pool);

/* From now on each of these signals ends the process in an orderly way, whatever its threads are
 * busy with: every pool takes no new work, what is lent may come back for `drain_us`, the pools
 * are closed, and the process ends as by the signal. The second signal ends it at once. May be
 * called again, for others or with another time. In a child of fork the signals do what they do
 * by themselves until the child calls this, too.
 * Errors: TP_ERR_VALIDATION when a signal has a handler of the program's; the Lua interpreter's
 * for SIGINT is replaced. TP_ERR_MEMORY. Thread: any. */
enum tp_status tp_shutdown_on(const int *numbers, size_t count, int64_t drain_us,
                              struct tp_error *err) TP_MUST_CHECK;
/* Of "TERM", "INT", "HUP", "QUIT", "USR1", "USR2"; 0: it is none of these. */
int tp_signal_by_name(const char *name);

const tp_config *tp_pool_config(const tp_pool *pool); /* borrowed: pool's life */
bool tp_pool_is_closed(tp_pool *pool);

/* How a pool's connections are encrypted. */
struct tp_tls_state {
    /* of the connection that was made last */
    bool encrypted;
    char version[16], cipher[64];
    int bits;                     /* of the cipher's key */
    struct tp_certificate server; /* the server's own */
    /* of what is in force for new connections */
    struct tp_certificate own; /* the client's */
    struct tp_certificate ca;  /* what the server was verified by, else the longest of tls.ca */
    int64_t crl_until;         /* when tls.crl ends; 0: there is none */
    char trouble[480];         /* why files that have changed are not used; or empty */
};
void tp_pool_tls(tp_pool *pool, struct tp_tls_state *out); /* Thread: any */

/* From how many days before its end on a certificate is warned of. A list of revoked
 * certificates is renewed often, so it is on its last day. */
enum { TP_TLS_EXPIRING_DAYS = 14, TP_TLS_CRL_EXPIRING_DAYS = 1 };
struct tp_tls_warning {
    const char *name; /* "tls_expiring", "tls_reload" */
    const char *of;   /* "server", "cert", "ca", "crl", or "" */
    int days_left;
    char message[480];
};
/* The i-th warning about a state, at a time (seconds since 1970); false past the last.
 * Thread: any. */
bool tp_tls_warning(const struct tp_tls_state *state, int64_t now, size_t i,
                    struct tp_tls_warning *out);
/* Whole days from `now` to `then`, rounded down. */
int tp_tls_days(int64_t then, int64_t now);

/* Answers TP_PASSWORD: the password, which is copied, or, when it is NULL, why there is none.
 * Errors: TP_ERR_VALIDATION: it came too late, or memory was short. Thread: any. */
enum tp_status tp_pool_give_password(tp_pool *pool, uint64_t ticket, const char *password,
                                     const struct tp_error *why);

/* New certificates and keys; NULL: as before. Each is a path, PEM text or base64 of PEM. */
struct tp_tls_values {
    const char *ca, *cert, *key, *crl;
};
/* Reads the certificates and keys again, checks them as opening does, and uses them for
 * new connections; those that are idle end, those in use end when they come back. On
 * failure the old ones stay in force. `values` may be NULL.
 * Errors: TP_ERR_TLS, TP_ERR_VALIDATION, TP_ERR_POOL_CLOSED, TP_ERR_MEMORY. Thread: any. */
enum tp_status tp_pool_reload_tls(tp_pool *pool, const struct tp_tls_values *values,
                                  struct tp_error *err) TP_MUST_CHECK;

/* What one opener has of a pool. Whoever opens one by the same option "name" in the same
 * process shares one pool, which closes when the last of its shares is closed. */
typedef struct tp_share tp_share;

/* Opens the pool of that name, or joins it when it is open; *joined tells. Without a name
 * the pool is the opener's alone. Whoever joins may leave out any option but the name; what
 * it does say in code, by tp_config_set or tp_config_set_url, has to be what the pool has.
 * Owns `config` on success. Returns a share with one reference.
 * Errors: TP_ERR_MEMORY; TP_ERR_VALIDATION, which names the first option that differs and
 * never its value. Never waits for the server. Thread: any. */
enum tp_status tp_share_open(tp_share **out, tp_config *config, bool *joined,
                             struct tp_error *err) TP_MUST_CHECK;
/* The last release closes and frees it. Thread: any. */
tp_share *tp_share_retain(tp_share *share);
void tp_share_release(tp_share *share);
tp_pool *tp_share_pool(const tp_share *share); /* borrowed: the share's life */

/* Closes the share: it lends no more, its waiters get TP_ERR_POOL_CLOSED, and what it has
 * lent goes back to the pool when it comes. The last one closes the pool as tp_pool_close
 * does. Idempotent. Thread: any. */
void tp_share_close(tp_share *share);
/* Whether it lends no more: it is closed, or the pool is closed or draining. */
bool tp_share_is_closed(const tp_share *share);

/* A connection on loan. A plain value: valid while its generation is the
 * slot's. Copy it freely; release it once. */
typedef struct tp_lease {
    struct tp_slot *slot; /* NULL when there is none */
    uint64_t generation;
} tp_lease;

/* Whether the lease is still out. Thread: the borrower's. */
bool tp_lease_valid(const tp_lease *lease);

/* Whether the lease is void because this process was forked after it was made: the connection
 * is the parent's. Thread: the borrower's. */
bool tp_lease_is_inherited(const tp_lease *lease);

/* The error of a lease that is not valid: why. */
void tp_lease_explain(const tp_lease *lease, struct tp_error *err);

/* A look at the connection without waiting: false when it is known to be dead. One that
 * came from tp_pool_try_acquire has not been looked at. Thread: the borrower's. */
bool tp_lease_look(const tp_lease *lease);

/* The pool that the lease belongs to. Borrowed. */
tp_pool *tp_lease_pool(const tp_lease *lease);

/* Takes an idle connection if one is there and needs no check; never waits and
 * makes no system call. Returns false otherwise: then use tp_op_acquire. *scarce
 * tells whether so many are out that somebody may soon have to wait, so that it is
 * worth saying where this one went (tp_lease_set_place). Thread: any. */
bool tp_pool_try_acquire(tp_pool *pool, tp_lease *out, bool *scarce);
/* The same through a share: never when it is closed. */
bool tp_share_try_acquire(tp_share *share, tp_lease *out, bool *scarce);

/* Where in the program the connection was acquired, for the errors of others who
 * wait. `place` (a file) is copied and cut to fit. Thread: the borrower's. */
void tp_lease_set_place(const tp_lease *lease, const char *place, int line);

/* Gives the connection back. One in a transaction is rolled back by the
 * housekeeper first; one in doubt is closed. Returns TP_ERR_VALIDATION when the
 * lease is not out any more (released twice). Never waits. Thread: any. */
enum tp_status tp_lease_release(tp_lease *lease, struct tp_error *err) TP_MUST_CHECK;

/* Gives the connection back to be closed, whatever its state. Never waits. */
void tp_lease_discard(tp_lease *lease);
/* The same for one that the program has lost, which an event tells. */
void tp_lease_lose(tp_lease *lease);

/* The transaction state of a leased connection. */
enum tp_transaction_state {
    TP_TX_IDLE,   /* none is open */
    TP_TX_ACTIVE, /* a statement is running */
    TP_TX_OPEN,   /* in a transaction */
    TP_TX_FAILED, /* in a transaction that can only roll back */
    TP_TX_UNKNOWN /* the connection is lost */
};
const char *tp_transaction_state_name(enum tp_transaction_state state); /* "idle", "active", ... */
enum tp_transaction_state tp_lease_transaction(const tp_lease *lease);
/* A deadline for all operations with the lease, besides their own; TP_NEVER: none, as at first. */
void tp_lease_set_deadline(const tp_lease *lease, int64_t deadline);
/* What all operations with the lease have that say nothing themselves, as in tp_query; borrowed
 * until they are set again or the lease ends. NULL: none, as at first. */
void tp_lease_set_tags(const tp_lease *lease, const char *comment, const char *application_name);
/* What identifies the transaction that is open on the connection, or was when the connection was
 * lost: "ID EPOCH", or an empty text when it has written nothing or is not asked for it
 * (retry.verdict_ms). On another connection pg_xact_status(ID) tells what became of it, as long as
 * the second column of tp_xact_sql() is EPOCH still. *unseen: the last statements may have written
 * something without its being asked for; tp_xact_sql() does. Borrowed until the next statement.
 * NULL: the lease is not valid. */
const char *tp_lease_xact(const tp_lease *lease, bool *unseen);
const char *tp_xact_sql(void);
int tp_lease_backend_pid(const tp_lease *lease);

/* A connection on loan. Texts are valid UTF-8, cut to fit. */
struct tp_holder {
    int backend_pid;
    int64_t age_us;
    enum tp_transaction_state transaction; /* TP_TX_ACTIVE: a statement is under way */
    int line;
    char place[80]; /* where it was acquired, if that is known; else empty */
    char sql[120];  /* the beginning of its last statement */
};
/* The connections on loan, the oldest first. Fills at most `room` and returns how many there are.
 * Thread: any. */
size_t tp_pool_holders(tp_pool *pool, struct tp_holder *out, size_t room);

/* A backend that waits for a lock, and one that it waits for. Of texts that others have sent only
 * what comes before the first text constant is shown, and nothing when they are another role's. */
struct tp_blocked {
    int pid;
    int64_t wait_us;
    char state[32], query[160]; /* as in pg_stat_activity */
    int by;                     /* 0: a prepared transaction */
    char by_application[64], by_state[32], by_query[160];
    int64_t by_state_us; /* for how long in that state */
};
/* Which of the connections on loan wait for locks, when callers who wait for a connection have led
 * to that question a moment ago: see pool_inquiry.h. Fills at most `room`, those that wait the
 * longest first, one backend's behind each other, and returns how many there are; -1: nothing is
 * known of it. Thread: any. */
int tp_pool_blocked(tp_pool *pool, struct tp_blocked *out, int room);
/* The question for all backends of the server: its columns are the fields of tp_blocked, the times
 * in milliseconds. Static. */
const char *tp_blocked_sql(void);

/* -------------------------------------------------------------------- types */

/* What a value of a type is to the caller. */
enum tp_type_kind {
    TP_KIND_TEXT, /* text and everything that is shown as text */
    TP_KIND_BOOL,
    TP_KIND_INT, /* int2, int4, int8, oid: fits int64_t */
    TP_KIND_FLOAT,
    TP_KIND_NUMERIC,
    TP_KIND_BYTEA,
    TP_KIND_JSON, /* json, jsonb */
    TP_KIND_ARRAY,
    TP_KIND_RANGE,      /* shown as text */
    TP_KIND_MULTIRANGE, /* shown as text */
    TP_KIND_COMPOSITE,
    TP_KIND_HSTORE,
    TP_KIND_VECTOR /* pgvector's */
};

/* One type of a database. Never changes; lives as long as the pool that it came from,
 * the built-in ones forever. */
struct tp_type {
    uint32_t oid;
    uint32_t base;    /* of what a domain is over; else the same */
    const char *name; /* "int4", "_int4"; "" when nothing is known of it */
    enum tp_type_kind kind;
    char delimiter; /* between an array's elements */
    bool binary;    /* its binary form is understood, and that of what is in it */
    unsigned needs; /* session settings under which that gives the same text; codec.h */
    int depth;      /* how many types are below it, one in or under the other */
    const struct tp_type *element; /* of an array; a range's subtype, a multirange's range */
    int nfields;                   /* of a composite type */
    const struct tp_type_field *fields;
    const struct tp_codec *codec; /* NULL: the binary form is the text */
};
struct tp_type_field {
    const char *name;
    const struct tp_type *type;
};

/* The built-in type with this oid, or NULL. Static. Thread: any. */
const struct tp_type *tp_type_builtin(uint32_t oid);

/* Lets values of the type `name` ("mood", "audit.mood") always come and go as text, for a
 * caller with a codec of its own. Counts from the next preparation on. Thread: any.
 * Errors: TP_ERR_MEMORY. */
enum tp_status tp_pool_force_text(tp_pool *pool, const char *name,
                                  struct tp_error *err) TP_MUST_CHECK;

/* A value was not of the shape that its type had when it was looked up (ALTER TYPE): what
 * was looked up is forgotten, and looked up again when a statement has it. Thread: any. */
void tp_pool_forget_types(tp_pool *pool);

/* ------------------------------------------------------------------ results */

/* The columns of a result. */
struct tp_column {
    const char *name;
    const struct tp_type *type;
    uint32_t oid;
};
struct tp_columns {
    uint64_t id; /* of this process: never given twice */
    int count;
    bool binary;    /* every type has a binary form that is understood */
    unsigned needs; /* session settings that it depends on; codec.h */
    struct tp_column *list;
};

/* One row, as it came: for each column a big-endian int32 length (-1: NULL) and as many
 * bytes. The lengths have been checked against the whole. */
struct tp_row {
    const unsigned char *cells;
    size_t len;
};

/* Unescapes bytea's text form. Returns the number of bytes written to `out`
 * (room for `len` bytes), or -1 when the text is malformed. Thread: any. */
long tp_bytea_decode(const char *text, size_t len, unsigned char *out);

/* Walks the text form of an array ("{1,NULL,{...}}", with or without bounds).
 * `visit` is called for '{', '}' and each element ('v', with the unescaped text
 * or NULL); when it returns false the walk ends. `scratch` has room for `len`
 * bytes. Returns false when the text is malformed or the visitor stopped.
 * Source: PostgreSQL manual 8.15.6. Thread: any. */
typedef bool tp_array_visit_fn(void *ctx, int event, const char *text, size_t len);
bool tp_array_walk(const char *text, size_t len, char delimiter, char *scratch,
                   tp_array_visit_fn *visit, void *ctx);

/* Walks the text form of a composite value, "(1,,\"a b\")": `visit` gets each field's
 * number (from 0) and its unescaped text or NULL; when it returns false the walk ends.
 * `scratch` has room for `len` bytes. Returns false when the text is malformed or the
 * visitor stopped. Source: PostgreSQL manual 8.16.6. Thread: any. */
typedef bool tp_composite_visit_fn(void *ctx, int field, const char *text, size_t len);
bool tp_composite_walk(const char *text, size_t len, char *scratch, tp_composite_visit_fn *visit,
                       void *ctx);

/* The same for hstore, "\"a\"=>\"1\", \"b\"=>NULL". Source: PostgreSQL manual F.18.1. */
typedef bool tp_hstore_visit_fn(void *ctx, const char *key, size_t key_len, const char *value,
                                size_t value_len);
bool tp_hstore_walk(const char *text, size_t len, char *scratch, tp_hstore_visit_fn *visit,
                    void *ctx);

/* --------------------------------------------------------------- operations */

/* One thing that can wait: an acquire, a query, a script, a ping. The engine
 * of the whole library; see core/src/op.c for its states. */
typedef struct tp_op tp_op;

enum tp_step {
    TP_WAIT,     /* wait for tp_op_fd/_events or for tp_op_deadline, then step */
    TP_ENCODE,   /* parameter types are known: give the parameters, then step */
    TP_PASSWORD, /* a new connection needs one (tp_config_ask_password): see to it, then step */
    TP_ROWS,     /* rows have come: take them with tp_op_next_row, then step */
    TP_RESULT,   /* a statement is complete: look at its command and count, then step */
    TP_SEND,     /* COPY FROM STDIN: give data, end or fail it, then step */
    TP_DATA,     /* COPY TO STDOUT: take what has come with tp_op_copy_chunk, then step */
    TP_DONE,
    TP_FAILED /* tp_op_error says why */
};
enum { TP_READ = 1, TP_WRITE = 2 };

/* One parameter, in text or binary form. */
struct tp_param {
    const char *data; /* NULL for SQL NULL; NUL-terminated when text */
    size_t len;
    bool binary;
};

/* What to ask. Strings are borrowed until the operation has ended. */
/* How often something is tried at most, and the pauses between; 0: as the configuration says. */
struct tp_retry {
    int attempts;
    int64_t base_us, max_us;
};

struct tp_query {
    const char *sql;
    size_t sql_len;
    int nparams;
    int64_t deadline;  /* of the whole call */
    bool idempotent;   /* may be repeated after a lost link */
    bool simple;       /* many statements, no parameters, never prepared */
    bool stream;       /* rows are used as they come: never repeated once there were some */
    bool text;         /* rows come in the text form, whatever their types */
    int64_t wait_us;   /* stream: the longest wait for more rows; 0: none but the deadline */
    int64_t max_rows;  /* more are an error; 0: any number */
    int64_t max_bytes; /* of all rows together; 0: any number */
    struct tp_retry retry;
    /* sent behind the text, which is then not prepared under it: a whole comment; NULL: none.
     * Borrowed until the end. */
    const char *comment;
    const char *application_name; /* of the session while this runs; NULL: as it was opened */
};

/* An operation may be begun again and again; it keeps its buffers.
 * Owned by the caller. Thread: one at a time. */
tp_op *tp_op_new(tp_pool *pool);

/* What the operation takes from the pool from now on, it takes through this share (NULL: as
 * nobody), which it retains. The share is of the operation's pool. */
void tp_op_set_share(tp_op *op, tp_share *share);

/* Ends whatever is under way (a connection in mid-query is discarded) and
 * frees the operation. NULL is fine. */
void tp_op_free(tp_op *op);

/* The same as tp_op_free, but the operation may be begun again. */
void tp_op_abandon(tp_op *op);

/* Begins an operation; then step it until TP_DONE or TP_FAILED. A query with a
 * lease runs on that connection and leaves it leased; without (NULL) it takes
 * one from the pool and gives it back. */
void tp_op_acquire(tp_op *op, int64_t deadline);
/* The same for a caller who is to wait for the server, also while others fail fast. */
void tp_op_acquire_patiently(tp_op *op, int64_t deadline);
void tp_op_query(tp_op *op, const tp_lease *lease, const struct tp_query *query);

/* What to copy. Strings are NUL-terminated and borrowed until the operation has ended. */
struct tp_copy {
    const char *sql;        /* COPY ... FROM STDIN or COPY ... TO STDOUT */
    const char *binary_sql; /* the same in the binary format: taken when every column has a
                               binary form that is understood; NULL: never */
    const char *columns;    /* a statement with the columns: described, not executed */
    const char *table;      /* or whose they are, but for generated ones; both NULL: not asked */
    bool in;                /* FROM STDIN */
    int64_t deadline;       /* of the whole call */
    int64_t wait_us;        /* the longest wait for the server instead; 0: only the deadline */
};
/* COPY, with or without a lease as tp_op_query. It is never repeated once data has flowed;
 * a notice, a mistake or a deadline on the way ends all of it, and nothing is stored. */
void tp_op_copy(tp_op *op, const tp_lease *lease, const struct tp_copy *copy);

/* Many executions in one round trip and, outside of a transaction, one transaction: all of
 * them are kept or none. TP_ENCODE, TP_ROWS and TP_RESULT are about item tp_op_item. `items`
 * are borrowed until the end; with `repeated` there is one of them, executed `count` times.
 * Never repeated once anything was executed. At most as many different texts as a
 * connection remembers statements. */
struct tp_item {
    const char *sql;
    size_t sql_len;
    int nparams;
};
void tp_op_pipeline(tp_op *op, const tp_lease *lease, const struct tp_item *items, size_t count,
                    bool repeated, int64_t deadline);
/* The number of the item, from 0; after TP_FAILED, of the one that failed, or `count`. */
size_t tp_op_item(const tp_op *op);
/* One round trip to the server, outside of any statistics of queries. */
void tp_op_ping(tp_op *op, const tp_lease *lease, int64_t deadline);

/* Moves on as far as possible without waiting. `ready` is what is known of the
 * fd (TP_READ | TP_WRITE), 0 when only time passed. */
enum tp_step tp_op_step(tp_op *op, int ready);
int tp_op_fd(const tp_op *op);     /* may change between steps; -1: only the deadline */
int tp_op_events(const tp_op *op); /* TP_READ | TP_WRITE */
int64_t tp_op_deadline(const tp_op *op);

/* After TP_PASSWORD: what to answer with tp_pool_give_password, now or later. */
uint64_t tp_op_password_ticket(const tp_op *op);

/* After TP_ENCODE: the type that the server expects of parameter i (from 0); one with oid 0
 * when there are too many parameters to ask. */
int tp_op_param_count(const tp_op *op);
const struct tp_type *tp_op_param_type(const tp_op *op, int i);
/* Gives the parameters: `nparams` of them, borrowed until the operation ends.
 * A string of parameters that cannot be encoded is refused with tp_op_refuse:
 * the next step fails with that error and the connection is unharmed. */
void tp_op_params(tp_op *op, const struct tp_param *params);
void tp_op_refuse(tp_op *op, const struct tp_error *err);

/* After TP_ROWS or TP_RESULT, and after TP_SEND or TP_DATA when they were asked for: the columns,
 * NULL when the statement returns none, and whether the rows have the binary form. Borrowed until
 * the next step. */
const struct tp_columns *tp_op_columns(const tp_op *op);
bool tp_op_rows_are_binary(const tp_op *op);
/* After TP_ROWS: the next row that has come; false when there is none left. Borrowed until
 * the next call or step. Rows that are not taken are dropped by the next step. */
bool tp_op_next_row(tp_op *op, struct tp_row *row);
/* How many rows are there to be taken, as far as that is known without looking: else 0. */
size_t tp_op_rows_at_hand(const tp_op *op);
/* How often the statement was begun. When it grows, rows that were taken do not count. */
int tp_op_attempts(const tp_op *op);
/* After TP_RESULT: "SELECT", "INSERT", "CREATE TABLE"; the rows selected or touched. */
const char *tp_op_command(const tp_op *op);
int64_t tp_op_count(const tp_op *op);

/* After TP_SEND: any number of bytes, rows need not be whole. Borrowed until TP_SEND comes
 * again or the operation ends. */
void tp_op_copy_data(tp_op *op, const char *data, size_t len);
/* After TP_SEND: that was all; TP_RESULT and TP_DONE follow. */
void tp_op_copy_end(tp_op *op);
/* After TP_SEND: nothing shall be stored. The operation fails with this error once the
 * server has forgotten all of it; a lease is then as usable as after any failure. */
void tp_op_copy_fail(tp_op *op, const struct tp_error *err);
/* After TP_DATA: the next row as it came, with its newline in the text formats; in the
 * binary one the file's header is before the first row, its trailer a message of its own.
 * False when there is none left. Borrowed until the next call or step. */
bool tp_op_copy_chunk(tp_op *op, const char **data, size_t *len);
/* No more rows are wanted. A pool's connection is left to the housekeeper; on a lease the
 * rest is read or the statement cancelled, so step on until TP_DONE or TP_FAILED. */
void tp_op_stop(tp_op *op);

/* After TP_FAILED with TP_ERR_BUSY: whether the calling thread held every connection
 * itself. A caller that can find lost ones (a garbage collector) may do so and begin the
 * operation again. */
bool tp_op_was_self_blocked(const tp_op *op);
const struct tp_error *tp_op_error(const tp_op *op); /* after TP_FAILED; borrowed */
tp_lease tp_op_take_lease(tp_op *op);                /* after TP_DONE of an acquire */
int64_t tp_op_elapsed(const tp_op *op);              /* µs from begin to end */
/* After the end: how many rows were returned or touched in all, and the tag of the last statement
 * ("" when it has failed). Borrowed until the operation is begun again. */
int64_t tp_op_touched(const tp_op *op);
const char *tp_op_last_command(const tp_op *op);

/* The blocking driver: steps the operation and waits with poll(2), or parks
 * the thread while there is no fd, until it needs parameters or has ended.
 * Returns what tp_op_step does, but never TP_WAIT. Thread: the operation's. */
enum tp_step tp_drive(tp_op *op);

/* No connection is needed for these. A pause is done when the time has come; a drain as
 * tp_pool_drain, or of a share that is not the last of its pool, when what was lent through
 * it has come back; the share is closed then. A suspension (tp_pool_suspend) is done when all
 * leases of the pool have come back; the pool stays suspended, however that ends. */
void tp_op_pause(tp_op *op, int64_t until);
void tp_op_drain(tp_op *op, int64_t deadline);
void tp_op_suspend(tp_op *op, int64_t deadline);

/* Where in the program the operation is, for connections that it takes itself: see
 * tp_lease_set_place. NULL: nowhere; so it is at first. */
void tp_op_set_place(tp_op *op, const char *place, int line);

/* Something of the caller's. */
void tp_op_set_tag(tp_op *op, void *tag);
void *tp_op_tag(const tp_op *op);

/* ------------------------------------------------------------ notifications */

/* What hears of NOTIFY on some channels. All listeners of a pool share one connection besides
 * those of pool.max, which the housekeeper makes with the first of them and closes with the last;
 * pool.max_total counts it. After a loss it is made again. Where notifications may be missing,
 * and nowhere else, a listener is told of a gap: when LISTEN is in force again, so that what is
 * read from then on misses nothing. */
typedef struct tp_listener tp_listener;

/* What becomes of a notification that comes when nobody has taken `limit` others. */
enum tp_overflow {
    TP_OVERFLOW_GAP,    /* all that wait are dropped, and a gap stands for them */
    TP_OVERFLOW_OLDEST, /* the oldest is dropped, and a gap stands in its place */
    TP_OVERFLOW_NEWEST  /* it is dropped itself, and a gap stands behind the others */
};

struct tp_listening_to {
    const char *const *channels; /* as they are, unquoted; at most 63 bytes each */
    const size_t *lengths;
    size_t count;
    size_t limit; /* of notifications that wait */
    enum tp_overflow overflow;
};

enum tp_gap {
    TP_GAP_NONE,
    TP_GAP_OVERFLOW, /* nobody took them in time */
    TP_GAP_REPLACED, /* the connection was replaced: tp_pool_evict_all, tp_pool_reload_tls */
    TP_GAP_LOST      /* the connection was lost */
};
const char *tp_gap_name(enum tp_gap gap);

/* A notification, or a gap. */
struct tp_notification {
    enum tp_gap gap; /* NONE: it is a notification */
    int64_t dropped; /* of a gap: how many are missing, -1 when nobody knows */
    const char *channel, *payload;
    int backend_pid; /* who sent it */
};

/* Begins to listen; tp_op_listen tells when the server has. Never waits. Returns it with one
 * reference. Errors: TP_ERR_VALIDATION (a channel), TP_ERR_POOL_CLOSED, TP_ERR_NOT_CONFIGURED,
 * TP_ERR_CONNECTION, TP_ERR_MEMORY. Thread: any. */
enum tp_status tp_listener_open(tp_listener **out, tp_share *share,
                                const struct tp_listening_to *to,
                                struct tp_error *err) TP_MUST_CHECK;
/* It hears no more, and whoever waits with it is told so. Idempotent. Thread: any. */
void tp_listener_close(tp_listener *listener);
/* Whether it hears no more: it, its share or its pool was closed, or the process forked. */
bool tp_listener_is_closed(tp_listener *listener);
tp_listener *tp_listener_retain(tp_listener *listener);
/* The last release closes and frees it. Thread: any. */
void tp_listener_release(tp_listener *listener);
/* Takes what came first; false: there is nothing. Texts are borrowed until the next call.
 * Thread: one at a time. */
bool tp_listener_take(tp_listener *listener, struct tp_notification *out);

/* Done when the server listens for all channels: what is sent from then on is heard.
 * Errors: what the server said of it; TP_ERR_TIMEOUT; why no connection could be made. */
void tp_op_listen(tp_op *op, tp_listener *listener, int64_t deadline);
/* Done when there may be something to take; with `let_others`, not before the reactor has looked
 * at all others. Errors: TP_ERR_TIMEOUT; TP_ERR_VALIDATION when the listener is closed, or
 * TP_ERR_POOL_CLOSED. */
void tp_op_hear(tp_op *op, tp_listener *listener, int64_t deadline, bool let_others);

/* ----------------------------------------------------------------- reactors */

/* What an event loop waits with for any number of operations: it has one descriptor, which
 * can be read when some of them may go on, and the earliest of their deadlines. Nothing in
 * it ever blocks.
 *
 *     tp_op_use(op, reactor, owner); tp_op_query(op, ...);
 *     while (tp_reactor_step(op) == TP_WAIT)      (other steps as after tp_op_step)
 *         park the coroutine until tp_reactor_next returns op;
 *
 *     the loop: wait for tp_reactor_fd until tp_reactor_sleep, tp_reactor_look, then wake
 *     what tp_reactor_next returns, until that is NULL.
 *
 * Counted; operations that use it hold a reference. Thread: one; operations that use it are
 * stepped by the same. In a child of fork it is empty after tp_reactor_mind_fork. */
typedef struct tp_reactor tp_reactor;

/* NULL: no memory or descriptors. */
tp_reactor *tp_reactor_new(void);
void tp_reactor_release(tp_reactor *reactor);
/* To be called before it is used after what may have been a fork. False: no descriptors. */
bool tp_reactor_mind_fork(tp_reactor *reactor);

/* Says, before the operation is begun, which reactor it is to wait with, and for which
 * coroutine (any number but 0, unique in the process); NULL and 0: the thread waits. */
void tp_op_use(tp_op *op, tp_reactor *reactor, uintptr_t owner);
/* As tp_op_step. After TP_WAIT the reactor knows of the operation until the next step. The
 * step may have set others going: ask tp_reactor_next before waiting, since they do not wake
 * the one who did it through the descriptor. */
enum tp_step tp_reactor_step(tp_op *op);

int tp_reactor_fd(const tp_reactor *reactor);
/* How many operations wait with it and have not been returned by tp_reactor_next. */
size_t tp_reactor_waiting(const tp_reactor *reactor);
/* The caller is about to wait for the descriptor: until when at most, or TP_NEVER. */
int64_t tp_reactor_sleep(tp_reactor *reactor);
/* For a loop without timers, instead: the descriptor becomes readable at that time, too.
 * False: no descriptors. */
bool tp_reactor_set_alarm(tp_reactor *reactor);
/* Looks at what has happened. */
void tp_reactor_look(tp_reactor *reactor);
/* Whether tp_reactor_next would return something without another look. */
bool tp_reactor_has_news(tp_reactor *reactor);
/* The next operation that may go on; NULL: none for now. */
tp_op *tp_reactor_next(tp_reactor *reactor);
/* Makes the descriptor readable, so that whoever waits for it looks. */
void tp_reactor_ring(tp_reactor *reactor);

/* --------------------------------------------------------------- statistics */

/* The bounds of tp_latency.up_to, in microseconds: 0.1 ms to 10 s. */
enum { TP_LATENCY_BOUNDS = 16 };
extern const int64_t tp_latency_bounds[TP_LATENCY_BOUNDS];

/* One histogram, in microseconds. Percentiles are at most 1/16 above the truth; what lies at
 * most 1/16 above a bound may be counted as being up to it. */
struct tp_latency {
    uint64_t count, sum;
    int64_t mean, p50, p95, p99, p999, max;
    uint64_t up_to[TP_LATENCY_BOUNDS]; /* how many are not above each bound */
};

/* Why a connection ended. tp_close_reason_name gives the word. */
enum tp_close_reason {
    TP_CLOSE_IDLE_TIMEOUT,
    TP_CLOSE_MAX_LIFETIME,
    TP_CLOSE_MAX_USES,
    TP_CLOSE_DEAD,        /* the server or the network ended it */
    TP_CLOSE_IN_DOUBT,    /* its state was not known when it came back */
    TP_CLOSE_SERVER_GONE, /* older than a known restart of the server */
    TP_CLOSE_POOL_CLOSED,
    TP_CLOSE_DISCARDED, /* the borrower said so */
    TP_CLOSE_BUDGET,    /* another process waits for its place (pool.max_total) */
    TP_CLOSE_REPLACED,  /* made with certificates that were replaced (tp_pool_reload_tls) */
    TP_CLOSE_EVICTED,   /* tp_pool_evict_all */
    TP_CLOSE_SHRUNK,    /* more than are of use (pool.adaptive) */
    TP_CLOSE_REASONS
};
const char *tp_close_reason_name(enum tp_close_reason reason);

/* Whether callers who find no connection wait for one, or are told at once that none can be
 * made (breaker.failures); half open: that is being tried. */
enum tp_breaker_state { TP_BREAKER_CLOSED, TP_BREAKER_OPEN, TP_BREAKER_HALF_OPEN };
const char *tp_breaker_state_name(enum tp_breaker_state state);
/* The state, and while it is open the time until the next try. Thread: any. */
enum tp_breaker_state tp_pool_breaker(tp_pool *pool, int64_t *next_try_us);

/* Failures whose SQLSTATE begins with these two characters. */
enum { TP_ERROR_CLASSES = 48 };
struct tp_class_count {
    char code[3];
    uint64_t count;
};

struct tp_stats {
    int total, idle, active, connecting, mending, waiting; /* connections now; waiters now */
    int max, min;
    int limit; /* max, or what pool.adaptive has come to */
    /* of all processes together: pool.max_total, 0 without one; connections that count; and
     * processes that share it */
    int budget_max, budget_used, budget_processes;
    int processes; /* that share statistics; of tp_pool_shared_stats only */
    enum tp_breaker_state breaker;
    uint64_t fail_fast; /* callers who were told at once that no connection can be made */
    uint64_t acquires, acquire_timeouts, acquire_cancels;
    uint64_t connects, connect_failures, closed[TP_CLOSE_REASONS];
    uint64_t queries, query_failures;
    uint64_t retries, retries_refused; /* refused: by retry.budget */
    uint64_t rollbacks;                /* by return of an open transaction */
    uint64_t statements_prepared, statement_hits, statement_evictions;
    uint64_t errors_by_kind[TP_ERR_MEMORY + 1];
    int listeners;                                           /* now */
    uint64_t notifications;                                  /* that came for them */
    struct tp_class_count errors_by_class[TP_ERROR_CLASSES]; /* up to one without a class */
    uint64_t slow_queries;                                   /* that took log.slow_ms */
    uint64_t leaks;                                          /* leases that were lost */
    uint64_t committed, rolled_back; /* transactions between BEGIN and their end */
    /* waiting for a connection; connecting; queries; from BEGIN to the end of a transaction;
     * from acquire to release */
    struct tp_latency wait, connect, query, transaction, held;
};
void tp_pool_stats(tp_pool *pool, struct tp_stats *out); /* Thread: any */
/* The same of all processes that share statistics with this pool (stats.shared), those that have
 * ended included; what others have counted is at most 0.2 s old. Of a pool that shares nothing, its
 * own. Errors: TP_ERR_CONNECTION. Thread: any. */
enum tp_status tp_pool_shared_stats(tp_pool *pool, struct tp_stats *out,
                                    struct tp_error *err) TP_MUST_CHECK;
/* This process is a worker of a service that its parent runs: workers come and go while that goes
 * on. Pools that are opened from now on share their statistics unless stats.shared says otherwise,
 * and the totals last as long as the parent. Thread: any. */
void tp_worker_declare(void);

/* Statistics of one statement: all texts that differ in constants, comments, blanks or the
 * length of a list only are one, and `query` is what they have in common. Rows were returned or
 * touched. Percentiles are off by 6.25 % at most. */
struct tp_statement_stats {
    const char *query;
    uint64_t calls, rows, errors;
    int64_t total_us, mean_us, p99_us, max_us;
};
enum tp_statement_order { TP_BY_TOTAL, TP_BY_CALLS, TP_BY_MEAN, TP_BY_P99, TP_BY_ERRORS };
/* The statements that the pool has statistics of (statements.max), the largest first. NULL: no
 * memory. The list is the caller's, what is in it is borrowed of it. Thread: any. */
typedef struct tp_statement_list tp_statement_list;
tp_statement_list *tp_pool_statements(tp_pool *pool, enum tp_statement_order order);
size_t tp_statement_list_count(const tp_statement_list *list);
const struct tp_statement_stats *tp_statement_list_at(const tp_statement_list *list, size_t i);
void tp_statement_list_free(tp_statement_list *list);

/* Whether something outside of the engine may be repeated (a transaction block): repetitions are
 * a small part of all queries (retry.budget), so that they make no outage worse. One that may is
 * counted, and told by an event. `code` may be NULL. Thread: any. */
bool tp_pool_take_retry(tp_pool *pool, int attempt, const char *code, const char *why);

enum tp_pool_state {
    TP_POOL_UNCONFIGURED,
    TP_POOL_STARTING, /* nothing is connected yet, nothing has failed */
    TP_POOL_CONNECTED,
    TP_POOL_UNREACHABLE, /* the last connect failed and nothing is connected */
    TP_POOL_SUSPENDED,
    TP_POOL_DRAINING,
    TP_POOL_CLOSED
};
const char *tp_pool_state_name(enum tp_pool_state state);
/* The state, the number of failed connects since the last good one and the last
 * connection error (kind TP_OK when there is none). Thread: any. */
enum tp_pool_state tp_pool_get_state(tp_pool *pool, uint64_t *error_count,
                                     struct tp_error *last_error);

/* ------------------------------------------------------------------- events */

enum tp_event_type {
    TP_EVENT_CONNECT,      /* a connection was made */
    TP_EVENT_REMOVE,       /* a connection was closed: text has the reason */
    TP_EVENT_ERROR,        /* a background error: a connect that failed */
    TP_EVENT_RETRY,        /* a statement is repeated: text has the reason */
    TP_EVENT_STATE,        /* the pool's state changed: text has the new one */
    TP_EVENT_NOTICE,       /* the server said something: text has it */
    TP_EVENT_ROLLBACK,     /* a connection came back in an open transaction: text has
                              where it was acquired */
    TP_EVENT_LEAK,         /* the program has lost a connection without giving it back: text
                              has where it was acquired */
    TP_EVENT_TLS_EXPIRING, /* a certificate ends soon: text has which; told once a day */
    TP_EVENT_OVERFLOW,     /* events were dropped (limits.events); text says how many */
    TP_EVENT_TLS_RELOAD,   /* files of certificates have changed: text says whether what they
                              have now is used */
    TP_EVENT_BREAKER,      /* the breaker has opened or closed: text has "open" or "closed" */
    TP_EVENT_GAP,          /* listeners may have missed notifications: text has the reason */
    TP_EVENT_HELD,         /* a connection is on loan for longer than pool.leak_after_ms: text has
                              since when, where it was acquired and what it did last */
    TP_EVENT_RETURNED,     /* such a one has come back: text has after how long */
    TP_EVENT_IDLE_TX       /* a connection on loan has been idle in a transaction for half the time
                              after which the server ends it */
};
const char *tp_event_name(enum tp_event_type type);

struct tp_event {
    enum tp_event_type type;
    int backend_pid;
    int attempt;
    int64_t wall_us; /* microseconds since 1970, UTC */
    char code[6];
    char text[480];
};

/* Whether an event waits; cheap enough for every call. Thread: any. */
bool tp_pool_has_events(const tp_pool *pool);
/* Takes the oldest event; false when there is none. The queue is bounded: the
 * oldest are dropped and counted in *dropped (may be NULL). Thread: any. */
bool tp_pool_next_event(tp_pool *pool, struct tp_event *out, uint64_t *dropped);
/* The same for a share: each share gets every event that comes after it was opened, whatever
 * others take. *first: no other share has had this one, so it is the one to log it. */
bool tp_share_has_events(const tp_share *share);
bool tp_share_next_event(tp_share *share, struct tp_event *out, bool *first);

/* ------------------------------------------------------------------- beacon */

typedef struct tp_beacon tp_beacon;

/* For event loops that cannot watch a foreign descriptor (nginx): a thread that writes one
 * byte to a unix socket when a descriptor becomes readable. The host connects once to
 * tp_beacon_address and keeps the connection; nobody else can. The thread blocks all signals;
 * nothing is left in the file system, whatever ends the process. Open it after fork.
 * Owns its descriptors and thread until tp_beacon_close.
 * Errors: TP_ERR_MEMORY, TP_ERR_CONNECTION. Thread: any; one beacon is used by one at a time. */
enum tp_status tp_beacon_open(tp_beacon **out, struct tp_error *err) TP_MUST_CHECK;

/* The path to connect to. Borrowed: the beacon's life. */
const char *tp_beacon_address(const tp_beacon *beacon);

/* Asks for one byte once `fd` is readable, at once when it is already; then silent until armed
 * again. False: it cannot be watched. Costs one system call. */
bool tp_beacon_arm(tp_beacon *beacon, int fd);

/* Ends the thread and frees the beacon; in a forked child it only closes the descriptors.
 * NULL is allowed. */
void tp_beacon_close(tp_beacon *beacon);

/* ------------------------------------------------------------------ quoting */

/* Quotes an identifier. Writes at most `room` bytes with the NUL to `out` and
 * returns the length needed without it (as snprintf does), or -1 when the text
 * has a NUL byte, is empty or is not valid UTF-8. Thread: any. */
long tp_quote_identifier(const char *text, size_t len, char *out, size_t room);

/* The same for a string constant, for the few places where SQL takes no parameter. It means
 * the text whatever standard_conforming_strings is, as long as client_encoding is UTF8, which
 * every connection of tidepool's keeps to. -1 when the text has a NUL byte or is not valid
 * UTF-8; room for 2 * len + 5 bytes is always enough. Source: PostgreSQL manual 4.1.2.1 and
 * 4.1.2.2. Thread: any. */
long tp_quote_literal(const char *text, size_t len, char *out, size_t room);

/* Whether the bytes are valid UTF-8 (RFC 3629: no surrogates, no overlongs). */
bool tp_utf8_valid(const char *text, size_t len);

#ifdef __cplusplus
}
#endif
#endif
