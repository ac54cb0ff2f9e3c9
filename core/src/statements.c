#include "statements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tp__statements_init(struct tp_statements *statements, int room)
{
    memset(statements, 0, sizeof *statements);
    tp__list_init(&statements->recent);
    tp__list_init(&statements->dead);
    statements->room = room > 0 ? room : 1;
    statements->nbuckets = 16;
    while (statements->nbuckets < (size_t)statements->room)
        statements->nbuckets *= 2;
    statements->buckets = calloc(statements->nbuckets, sizeof *statements->buckets);
    return statements->buckets != NULL;
}

static void free_list(struct tp_list *head)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, head)
    tp__statement_free(TP_CONTAINER(node, struct tp_statement, recent));
    tp__list_init(head);
}

void tp__statements_deinit(struct tp_statements *statements)
{
    if (statements->buckets == NULL)
        return;
    free_list(&statements->recent);
    free_list(&statements->dead);
    free(statements->buckets);
    statements->buckets = NULL;
}

static struct tp_statement **bucket_of(struct tp_statements *statements, uint64_t hash)
{
    return &statements->buckets[hash & (statements->nbuckets - 1)];
}

struct tp_statement *tp__statements_find(struct tp_statements *statements, const char *sql,
                                         size_t len, uint64_t hash)
{
    struct tp_statement *at = *bucket_of(statements, hash);
    while (at != NULL && !tp__description_is_of(at->description, sql, len, hash))
        at = at->next;
    if (at != NULL && statements->recent.next != &at->recent) {
        tp__list_remove(&at->recent);
        tp__list_push_front(&statements->recent, &at->recent);
    }
    return at;
}

void tp__statement_name(struct tp_statements *statements, char out[TP_STATEMENT_NAME])
{
    snprintf(out, TP_STATEMENT_NAME, "tp_%u", ++statements->last_name);
}

struct tp_statement *tp__statement_new(struct tp_description *description, const char *name)
{
    struct tp_statement *statement = calloc(1, sizeof *statement);
    if (statement == NULL)
        return NULL;
    tp__list_init(&statement->recent);
    statement->description = tp__description_retain(description);
    snprintf(statement->name, sizeof statement->name, "%s", name);
    return statement;
}

void tp__statement_free(struct tp_statement *statement)
{
    if (statement != NULL)
        tp__description_release(statement->description);
    free(statement);
}

static void remove_entry(struct tp_statements *statements, struct tp_statement *statement)
{
    struct tp_statement **link = bucket_of(statements, statement->description->hash);
    while (*link != statement)
        link = &(*link)->next;
    *link = statement->next;
    tp__list_remove(&statement->recent);
    statements->count--;
    if (statement->name[0] != '\0')
        tp__list_push_back(&statements->dead, &statement->recent);
    else
        tp__statement_free(statement);
}

bool tp__statements_insert(struct tp_statements *statements, struct tp_statement *statement)
{
    bool full = statements->count >= statements->room;
    if (full)
        remove_entry(statements,
                     TP_CONTAINER(statements->recent.prev, struct tp_statement, recent));
    struct tp_statement **bucket = bucket_of(statements, statement->description->hash);
    statement->next = *bucket;
    *bucket = statement;
    tp__list_push_front(&statements->recent, &statement->recent);
    statements->count++;
    return full;
}

void tp__statements_drop(struct tp_statements *statements, uint64_t hash)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &statements->recent)
    {
        struct tp_statement *statement = TP_CONTAINER(node, struct tp_statement, recent);
        if (hash == 0 || statement->description->hash == hash)
            remove_entry(statements, statement);
    }
}

void tp__statements_forget(struct tp_statements *statements)
{
    free_list(&statements->recent);
    free_list(&statements->dead);
    memset(statements->buckets, 0, statements->nbuckets * sizeof *statements->buckets);
    statements->count = 0;
}

struct tp_statement *tp__statements_take_dead(struct tp_statements *statements)
{
    struct tp_list *first = tp__list_first(&statements->dead);
    if (first == NULL)
        return NULL;
    tp__list_remove(first);
    return TP_CONTAINER(first, struct tp_statement, recent);
}
