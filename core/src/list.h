/* Intrusive doubly linked list with a sentinel. A node is on at most one list
 * and owns nothing. Not safe for threads by itself: a list is guarded by
 * whatever guards its owner. */
#ifndef TP_LIST_H
#define TP_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct tp_list {
    struct tp_list *prev, *next;
};

#define TP_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Walks a list while its current node may be removed. */
#define TP_LIST_EACH(node, following, head)                                          \
    for ((node) = (head)->next; (node) != (head) && ((following) = (node)->next, 1); \
         (node) = (following))

static inline void tp__list_init(struct tp_list *head)
{
    head->prev = head->next = head;
}

static inline bool tp__list_empty(const struct tp_list *head)
{
    return head->next == head;
}

static inline void tp__list_insert(struct tp_list *prev, struct tp_list *node)
{
    node->prev = prev;
    node->next = prev->next;
    prev->next->prev = node;
    prev->next = node;
}

static inline void tp__list_push_front(struct tp_list *head, struct tp_list *node)
{
    tp__list_insert(head, node);
}

static inline void tp__list_push_back(struct tp_list *head, struct tp_list *node)
{
    tp__list_insert(head->prev, node);
}

/* Takes a node off whatever list it is on; harmless on a node that is alone. */
static inline void tp__list_remove(struct tp_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}

static inline struct tp_list *tp__list_first(struct tp_list *head)
{
    return head->next == head ? NULL : head->next;
}

#endif
