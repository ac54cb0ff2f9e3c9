/* What a pool knows of the types of its database: the built-in ones, and those that were
 * looked up because a statement had them (enums, domains, composite types, arrays and
 * ranges of them, and extensions' types by name: hstore, vector, citext).
 *
 * Owns: the types that were looked up, until deinit; a type that is found stays where it
 * is, also after it was forgotten. Errors: TP_ERR_MEMORY. Thread: any. */
#ifndef TP_CATALOG_H
#define TP_CATALOG_H

#include <pthread.h>

#include "buf.h"
#include "tidepool.h"
#include "types.h"

struct tp_catalog_entry;

struct tp_catalog {
    pthread_mutex_t lock;
    struct tp_catalog_entry *entries; /* guarded by lock, as all that follows */
    struct tp_catalog_entry *retired; /* may still be in use */
    char **text_names;                /* types that shall always be text */
    int text_count;
};

void tp__catalog_init(struct tp_catalog *catalog);
void tp__catalog_deinit(struct tp_catalog *catalog);

/* The type with this oid, or NULL: then it has to be looked up. */
const struct tp_type *tp__catalog_find(struct tp_catalog *catalog, uint32_t oid);
/* What stands for a type of which nothing is known: text without a name. */
const struct tp_type *tp__type_unknown(void);

/* Appends the statement that looks types up, with all that they are made of.
 * `server` is a version as 150004. */
void tp__catalog_ask(struct tp_buf *sql, const uint32_t *oids, int count, int server);
/* Its answer, row by row, as texts (NULL for NULL), in any order. */
enum { TP_CATALOG_COLUMNS = 8 };
struct tp_catalog_answer;
struct tp_catalog_answer *tp__catalog_answer_new(void);
bool tp__catalog_answer_add(struct tp_catalog_answer *answer, const char *const *texts);
/* Makes types of the rows, and of `oids` that had none types of which nothing is known.
 * Frees the answer. */
bool tp__catalog_learn(struct tp_catalog *catalog, struct tp_catalog_answer *answer,
                       const uint32_t *oids, int count);
void tp__catalog_answer_free(struct tp_catalog_answer *answer);

/* See tp_pool_force_text. All that was looked up is forgotten. False: no memory. */
bool tp__catalog_force_text(struct tp_catalog *catalog, const char *name);
/* Forgets all that was looked up: a type is not what it was. What is forced stays so. */
void tp__catalog_forget(struct tp_catalog *catalog);

#endif
