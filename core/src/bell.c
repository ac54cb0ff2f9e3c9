#include "bell.h"

bool tp__bell_init(struct tp_bell *bell)
{
    bell->wake = tp__wake_new();
    if (bell->wake == NULL)
        return false;
    pthread_mutex_init(&bell->lock, NULL);
    tp__list_init(&bell->pulled);
    bell->attended = false;
    bell->attendant = pthread_self();
    return true;
}

void tp__bell_deinit(struct tp_bell *bell)
{
    tp__wake_release(bell->wake);
    pthread_mutex_destroy(&bell->lock);
}

void tp__bell_attend(struct tp_bell *bell)
{
    bell->attended = true;
}

void tp__bell_leave(struct tp_bell *bell)
{
    bell->attended = false;
}

/* The flag is looked at by the thread alone that writes it. */
static bool is_attended_here(const struct tp_bell *bell)
{
    return pthread_equal(bell->attendant, pthread_self()) != 0 && bell->attended;
}

void tp__bell_ring(struct tp_bell *bell, struct tp_rope *rope)
{
    pthread_mutex_lock(&bell->lock);
    if (!rope->pulled)
        tp__list_push_back(&bell->pulled, &rope->link);
    rope->pulled = true;
    pthread_mutex_unlock(&bell->lock);
    if (!is_attended_here(bell))
        tp__wake_ring(bell->wake);
}

void tp__bell_still(struct tp_bell *bell, struct tp_rope *rope)
{
    pthread_mutex_lock(&bell->lock);
    if (rope->pulled)
        tp__list_remove(&rope->link);
    rope->pulled = false;
    pthread_mutex_unlock(&bell->lock);
}

struct tp_rope *tp__bell_take(struct tp_bell *bell)
{
    struct tp_rope *rope = NULL;
    pthread_mutex_lock(&bell->lock);
    struct tp_list *first = tp__list_first(&bell->pulled);
    if (first != NULL) {
        rope = TP_CONTAINER(first, struct tp_rope, link);
        tp__list_remove(&rope->link);
        rope->pulled = false;
    }
    pthread_mutex_unlock(&bell->lock);
    return rope;
}

bool tp__bell_was_rung(struct tp_bell *bell)
{
    pthread_mutex_lock(&bell->lock);
    bool rung = !tp__list_empty(&bell->pulled);
    pthread_mutex_unlock(&bell->lock);
    return rung;
}
