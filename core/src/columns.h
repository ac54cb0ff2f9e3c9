/* The columns of a result: names and types, in one block of memory.
 *
 * Owns: itself; names are copied in, types are borrowed from the catalog.
 * Errors: TP_ERR_MEMORY as a NULL. Thread: one at a time until it is complete, any after. */
#ifndef TP_COLUMNS_H
#define TP_COLUMNS_H

#include "catalog.h"
#include "tidepool.h"

/* Room for `count` columns, whose names are `name_bytes` long together, NULs included. */
struct tp_columns *tp__columns_new(int count, size_t name_bytes);
/* Appends a column; as many as there is room for. */
void tp__columns_add(struct tp_columns *columns, const char *name, uint32_t oid);
/* Finds the types. Returns how many the catalog does not know yet. */
int tp__columns_resolve(struct tp_columns *columns, struct tp_catalog *catalog);
void tp__columns_free(struct tp_columns *columns);

#endif
