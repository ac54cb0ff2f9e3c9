#include "statements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a, eight bytes at a time with a final mix: texts are compared anyway, the hash
 * only has to spread. 0 is kept for "all". */
uint64_t tp__sql_hash(const char *sql, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325u ^ len;
    while (len >= 8) {
        uint64_t word;
        memcpy(&word, sql, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
        sql += 8;
        len -= 8;
    }
    while (len-- > 0)
        hash = (hash ^ (unsigned char)*sql++) * 0x100000001b3u;
    hash ^= hash >> 29;
    return hash != 0 ? hash : 1;
}

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
    free(TP_CONTAINER(node, struct tp_statement, recent));
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
    while (at != NULL &&
           !(at->hash == hash && at->sql_len == len && memcmp(at->sql, sql, len) == 0))
        at = at->next;
    if (at != NULL && statements->recent.next != &at->recent) {
        tp__list_remove(&at->recent);
        tp__list_push_front(&statements->recent, &at->recent);
    }
    return at;
}

struct tp_statement *tp__statement_new(struct tp_statements *statements, const char *sql,
                                       size_t len, int nparams, bool named)
{
    struct tp_statement *statement;
    size_t types = (size_t)nparams * sizeof *statement->types;
    statement = malloc(sizeof *statement + types + len + 1);
    if (statement == NULL)
        return NULL;
    tp__list_init(&statement->recent);
    statement->next = NULL;
    statement->hash = tp__sql_hash(sql, len);
    statement->nparams = nparams;
    statement->types = (uint32_t *)(void *)(statement + 1);
    statement->sql = (char *)(statement + 1) + types;
    statement->sql_len = len;
    memcpy(statement->sql, sql, len);
    statement->sql[len] = '\0';
    statement->name[0] = '\0';
    if (named)
        snprintf(statement->name, sizeof statement->name, "tp_%u", ++statements->last_name);
    return statement;
}

void tp__statement_free(struct tp_statement *statement)
{
    free(statement);
}

static void remove_entry(struct tp_statements *statements, struct tp_statement *statement)
{
    struct tp_statement **link = bucket_of(statements, statement->hash);
    while (*link != statement)
        link = &(*link)->next;
    *link = statement->next;
    tp__list_remove(&statement->recent);
    statements->count--;
    if (statement->name[0] != '\0')
        tp__list_push_back(&statements->dead, &statement->recent);
    else
        free(statement);
}

bool tp__statements_insert(struct tp_statements *statements, struct tp_statement *statement)
{
    bool full = statements->count >= statements->room;
    if (full)
        remove_entry(statements,
                     TP_CONTAINER(statements->recent.prev, struct tp_statement, recent));
    struct tp_statement **bucket = bucket_of(statements, statement->hash);
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
        if (hash == 0 || statement->hash == hash)
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
