/* The prepared statements of one connection: a map from SQL text to the name under
 * which the server knows it, with its description; least recently used ones go first.
 *
 * Owns: its entries. A pointer to an entry is good until the next insert, drop or
 * deinit. Names of statements that went are kept until the connection has told the
 * server (tp__statements_take_dead). Thread: the connection's. */
#ifndef TP_STATEMENTS_H
#define TP_STATEMENTS_H

#include "description.h"
#include "list.h"
#include "tidepool.h"

enum { TP_STATEMENT_NAME = 16 };

struct tp_statement {
    struct tp_list recent;              /* most recently used first */
    struct tp_statement *next;          /* of the same bucket */
    struct tp_description *description; /* counted */
    char name[TP_STATEMENT_NAME]; /* "" when the server keeps no statement (prepare = false) */
};

struct tp_statements {
    struct tp_statement **buckets;
    size_t nbuckets; /* a power of two */
    struct tp_list recent, dead;
    int count, room;
    unsigned last_name;
};

/* `room` statements at most, at least 1. False when memory is short. */
bool tp__statements_init(struct tp_statements *statements, int room);
void tp__statements_deinit(struct tp_statements *statements);

/* The entry of this text, now the most recently used; NULL when there is none. */
struct tp_statement *tp__statements_find(struct tp_statements *statements, const char *sql,
                                         size_t len, uint64_t hash);

/* A name that was never given before goes to `out`. */
void tp__statement_name(struct tp_statements *statements, char out[TP_STATEMENT_NAME]);

/* An entry that is not in the map yet; NULL when memory is short. It retains the
 * description, and goes in with _insert or away with tp__statement_free. */
struct tp_statement *tp__statement_new(struct tp_description *description, const char *name);
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
