/* What the housekeeper sleeps on. Each descriptor stays in the epoll set for as long as its
 * connection lives: level triggered for what a chore waits for, and edge triggered for the hang-up
 * alone while it is idle or lent, so that a query never wakes the housekeeper. */
#include "keeper_epoll.h"

#include <sys/epoll.h>

#include "clock.h"
#include "pool_inquiry.h"

enum { EVENTS_AT_ONCE = 64 };

/* Tells epoll what to report of a slot's descriptor. libpq may have replaced the
 * descriptor (another host, another TLS attempt) under the same number: then the
 * old one left the set when it was closed, and MOD fails. */
void tp__keeper_arm(tp_pool *pool, struct tp_slot *slot, int fd, uint32_t events)
{
    for (int i = 0; i < pool->limits.max; i++) {
        if (pool->slots[i].fd == fd && &pool->slots[i] != slot)
            pool->slots[i].fd = -1; /* libpq closed it, and the number was given out again */
    }
    tp__inquiry_forget_fd(pool, slot, fd);
    if (fd < 0 || (slot->fd == fd && slot->armed_events == (int)events && (events & EPOLLET) != 0))
        return;
    struct epoll_event event = {.events = events, .data.ptr = slot};
    if (epoll_ctl(pool->epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0)
        (void)epoll_ctl(pool->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    slot->fd = fd;
    slot->armed_events = (int)events;
}

/* Closing a descriptor takes it out of the set only when no forked child has a copy of
 * it; one that stayed would report the end of this connection as that of the next. */
void tp__keeper_disarm(tp_pool *pool, struct tp_slot *slot)
{
    if (slot->fd >= 0)
        (void)epoll_ctl(pool->epoll_fd, EPOLL_CTL_DEL, slot->fd, NULL);
    slot->fd = -1;
}

static uint32_t epoll_events(int events)
{
    uint32_t out = EPOLLRDHUP;
    if ((events & TP_READ) != 0)
        out |= EPOLLIN;
    if ((events & TP_WRITE) != 0)
        out |= EPOLLOUT;
    return out;
}

/* A chore that waits for nothing on its descriptor must not be woken by it. */
void tp__keeper_arm_for_wait(tp_pool *pool, struct tp_slot *slot, const struct tp_wait *wait)
{
    if (wait->fd >= 0 && wait->events != 0)
        tp__keeper_arm(pool, slot, wait->fd, epoll_events(wait->events));
    else if (slot->fd >= 0)
        tp__keeper_arm(pool, slot, slot->fd, EPOLLRDHUP | EPOLLET);
}

static void take_event(const struct epoll_event *event)
{
    struct tp_slot *slot = event->data.ptr;
    if ((event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        atomic_store(&slot->hangup, true);
    if ((event->events & EPOLLOUT) != 0)
        slot->ready |= TP_WRITE;
    if ((event->events & ~(uint32_t)EPOLLOUT) != 0)
        slot->ready |= TP_READ;
    slot->due = 0;
}

void tp__keeper_sleep(tp_pool *pool, int64_t due)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(pool->epoll_fd, events, EVENTS_AT_ONCE, tp__poll_ms(due, tp_now()));
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr != NULL)
            take_event(&events[i]);
    }
}
