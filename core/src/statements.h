/* The prepared statements of one connection: a map from SQL text to the name under
 * which the server knows it, with the types of its parameters; least recently used
 * ones go first.
 *
 * Owns: its entries. A pointer to an entry is good until the next insert, drop or
 * deinit. Names of statements that went are kept until the connection has told the
 * server (tp__statements_take_dead). Thread: the connection's. */
#ifndef TP_STATEMENTS_H
#define TP_STATEMENTS_H

#include "list.h"
#include "tidepool.h"

struct tp_statement {
    struct tp_list recent;     /* most recently used first */
    struct tp_statement *next; /* of the same bucket */
    uint64_t hash;
    char name[16]; /* "" when the server keeps no statement (prepare = false) */
    int nparams;
    uint32_t *types; /* nparams of them, in the same block */
    size_t sql_len;
    char *sql; /* in the same block */
};

struct tp_statements {
    struct tp_statement **buckets;
    size_t nbuckets; /* a power of two */
    struct tp_list recent, dead;
    int count, room;
    unsigned last_name;
};

uint64_t tp__sql_hash(const char *sql, size_t len);

/* `room` statements at most, at least 1. False when memory is short. */
bool tp__statements_init(struct tp_statements *statements, int room);
void tp__statements_deinit(struct tp_statements *statements);

/* The entry of this text, now the most recently used; NULL when there is none. */
struct tp_statement *tp__statements_find(struct tp_statements *statements, const char *sql,
                                         size_t len, uint64_t hash);

/* An entry that is not in the map yet, with a fresh name when `named`; NULL when
 * memory is short. It goes in with _insert or away with tp__statement_free. */
struct tp_statement *tp__statement_new(struct tp_statements *statements, const char *sql,
                                       size_t len, int nparams, bool named);
void tp__statement_free(struct tp_statement *statement);

/* Owns the entry from now on. Returns whether another had to go. */
bool tp__statements_insert(struct tp_statements *statements, struct tp_statement *statement);

/* Forgets the entries with this hash (hash 0: all). */
void tp__statements_drop(struct tp_statements *statements, uint64_t hash);

/* Forgets everything, names that the server was to forget too: it has none of them. */
void tp__statements_forget(struct tp_statements *statements);

/* The oldest name that the server may forget, or NULL; the caller frees it with
 * tp__statement_free. */
struct tp_statement *tp__statements_take_dead(struct tp_statements *statements);

#endif
