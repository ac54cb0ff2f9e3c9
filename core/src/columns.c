#include "columns.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* The block: the columns, the list, then the names. */
struct block {
    struct tp_columns columns; /* first, so that both have one address */
    char *next_name;
    struct tp_column list[];
};

static _Atomic uint64_t last_id;

struct tp_columns *tp__columns_new(int count, size_t name_bytes)
{
    size_t list = (size_t)count * sizeof(struct tp_column);
    struct block *block = malloc(sizeof *block + list + name_bytes);
    if (block == NULL)
        return NULL;
    block->columns = (struct tp_columns){
        .id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1,
        .list = block->list,
    };
    block->next_name = (char *)block->list + list;
    return &block->columns;
}

void tp__columns_add(struct tp_columns *columns, const char *name, uint32_t oid)
{
    struct block *block = (struct block *)columns;
    size_t size = strlen(name) + 1;
    columns->list[columns->count++] = (struct tp_column){.name = block->next_name, .oid = oid};
    memcpy(block->next_name, name, size);
    block->next_name += size;
}

int tp__columns_resolve(struct tp_columns *columns, struct tp_catalog *catalog)
{
    int unknown = 0;
    columns->binary = true;
    columns->needs = 0;
    for (int i = 0; i < columns->count; i++) {
        struct tp_column *column = &columns->list[i];
        const struct tp_type *type = tp__catalog_find(catalog, column->oid);
        unknown += type == NULL;
        column->type = type != NULL ? type : tp__type_unknown();
        columns->binary = columns->binary && column->type->binary;
        columns->needs |= column->type->needs;
    }
    return unknown;
}

void tp__columns_free(struct tp_columns *columns)
{
    free(columns);
}
