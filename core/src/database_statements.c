/* The statistics of a pool's statements, as the program gets them. */
#include <stdlib.h>
#include <string.h>

#include "database.h"

struct tp_statement_list {
    size_t count;
    struct tp_digest **digests; /* counted: they have the texts */
    struct tp_statement_stats items[];
};

static void take(struct tp_statement_stats *out, const struct tp_digest *digest)
{
    uint64_t calls = atomic_load_explicit(&digest->calls, memory_order_relaxed);
    uint64_t total = atomic_load_explicit(&digest->total_us, memory_order_relaxed);
    *out = (struct tp_statement_stats){
        .query = digest->text,
        .calls = calls,
        .rows = atomic_load_explicit(&digest->rows, memory_order_relaxed),
        .errors = atomic_load_explicit(&digest->errors, memory_order_relaxed),
        .total_us = (int64_t)total,
        .mean_us = calls > 0 ? (int64_t)(total / calls) : 0,
        .p99_us = tp__digest_quantile(digest, 0.99),
        .max_us = atomic_load_explicit(&digest->max_us, memory_order_relaxed),
    };
}

static int64_t key_of(const struct tp_statement_stats *item, enum tp_statement_order order)
{
    switch (order) {
    case TP_BY_TOTAL:
        return item->total_us;
    case TP_BY_CALLS:
        return (int64_t)item->calls;
    case TP_BY_MEAN:
        return item->mean_us;
    case TP_BY_P99:
        return item->p99_us;
    case TP_BY_ERRORS:
        return (int64_t)item->errors;
    }
    return 0;
}

/* The largest first; of equal ones in the order of the alphabet, so that a page stays calm. */
static int compare(const void *a, const void *b, void *order)
{
    const struct tp_statement_stats *left = a, *right = b;
    int64_t l = key_of(left, *(enum tp_statement_order *)order);
    int64_t r = key_of(right, *(enum tp_statement_order *)order);
    return l != r ? (l < r) - (l > r) : strcmp(left->query, right->query);
}

tp_statement_list *tp_pool_statements(tp_pool *pool, enum tp_statement_order order)
{
    struct tp_digests *digests = &tp__database_of(pool)->digests;
    size_t room = (size_t)digests->room + 1;
    tp_statement_list *list = malloc(sizeof *list + room * sizeof *list->items);
    if (list == NULL)
        return NULL;
    list->digests = malloc(room * sizeof(struct tp_digest *));
    if (list->digests == NULL) {
        free(list);
        return NULL;
    }
    list->count = (size_t)tp__digests_list(digests, list->digests);
    for (size_t i = 0; i < list->count; i++)
        take(&list->items[i], list->digests[i]);
    qsort_r(list->items, list->count, sizeof *list->items, compare, &order);
    return list;
}

size_t tp_statement_list_count(const tp_statement_list *list)
{
    return list->count;
}

const struct tp_statement_stats *tp_statement_list_at(const tp_statement_list *list, size_t i)
{
    return &list->items[i];
}

void tp_statement_list_free(tp_statement_list *list)
{
    if (list == NULL)
        return;
    for (size_t i = 0; i < list->count; i++)
        tp__digest_release(list->digests[i]);
    free(list->digests);
    free(list);
}
