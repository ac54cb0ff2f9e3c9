#include "poller.h"

#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tidepool.h"

enum { EVENTS_AT_ONCE = 64 };

/* One for all: a watch may go from one set to another, and a connection may be closed by
 * the housekeeper while a loop looks at its set. It is held for a system call at most. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The thread that held it at the fork does not exist in the child. */
static void unlock_in_child(void)
{
    pthread_mutex_init(&lock, NULL);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, unlock_in_child);
}

bool tp__poller_init(struct tp_poller *poller)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    tp__list_init(&poller->watches);
    poller->fd = epoll_create1(EPOLL_CLOEXEC);
    return poller->fd >= 0;
}

static bool control(const struct tp_poller *poller, int what, int fd, int events, void *data)
{
    struct epoll_event event = {.data.ptr = data};
    if ((events & TP_READ) != 0)
        event.events |= EPOLLIN | EPOLLRDHUP;
    if ((events & TP_WRITE) != 0)
        event.events |= EPOLLOUT;
    return epoll_ctl(poller->fd, what, fd, &event) == 0;
}

bool tp__poller_add(struct tp_poller *poller, int fd)
{
    return control(poller, EPOLL_CTL_ADD, fd, TP_READ, NULL);
}

static void forget_locked(struct tp_watch *watch)
{
    tp__list_remove(&watch->link);
    watch->poller = NULL;
    watch->user = NULL;
}

static void remove_locked(const struct tp_poller *poller, struct tp_watch *watch)
{
    (void)control(poller, EPOLL_CTL_DEL, watch->fd, 0, NULL);
    forget_locked(watch);
}

void tp__poller_deinit(struct tp_poller *poller, bool forked)
{
    struct tp_list *node;
    pthread_mutex_lock(&lock);
    while ((node = tp__list_first(&poller->watches)) != NULL) {
        struct tp_watch *watch = TP_CONTAINER(node, struct tp_watch, link);
        if (forked)
            forget_locked(watch);
        else
            remove_locked(poller, watch);
    }
    pthread_mutex_unlock(&lock);
    if (poller->fd >= 0)
        close(poller->fd);
    poller->fd = -1;
}

bool tp__poller_watch(struct tp_poller *poller, struct tp_watch *watch, int fd, int events,
                      void *user)
{
    bool good = true;
    pthread_mutex_lock(&lock);
    if (watch->poller != NULL && (watch->poller != poller || watch->fd != fd))
        remove_locked(watch->poller, watch);
    if (watch->poller == NULL) {
        good = control(poller, EPOLL_CTL_ADD, fd, events, watch);
        if (good)
            tp__list_push_back(&poller->watches, &watch->link);
    } else if (watch->events != events) {
        good = control(poller, EPOLL_CTL_MOD, fd, events, watch);
    }
    if (good) {
        watch->poller = poller;
        watch->fd = fd;
        watch->events = events;
        watch->user = user;
    }
    pthread_mutex_unlock(&lock);
    return good;
}

void tp__watch_leave(struct tp_watch *watch)
{
    pthread_mutex_lock(&lock);
    watch->user = NULL;
    pthread_mutex_unlock(&lock);
}

void tp__watch_forget(struct tp_watch *watch, bool forked)
{
    pthread_mutex_lock(&lock);
    if (watch->poller != NULL && forked)
        forget_locked(watch);
    else if (watch->poller != NULL)
        remove_locked(watch->poller, watch);
    pthread_mutex_unlock(&lock);
}

static int what_of(const struct epoll_event *event)
{
    return ((event->events & ~(uint32_t)EPOLLOUT) != 0 ? TP_READ : 0) |
           ((event->events & EPOLLOUT) != 0 ? TP_WRITE : 0);
}

/* A connection that speaks while nobody waits would keep the set ready for ever. */
static void report_locked(const struct tp_poller *poller, const struct epoll_event *event,
                          void (*ready)(void *ctx, void *user, int events), void *ctx)
{
    struct tp_watch *watch = event->data.ptr;
    if (watch == NULL) {
        ready(ctx, NULL, what_of(event));
    } else if (watch->user == NULL) {
        remove_locked(poller, watch);
    } else {
        void *user = watch->user;
        watch->user = NULL;
        ready(ctx, user, what_of(event));
    }
}

void tp__poller_look(struct tp_poller *poller, void (*ready)(void *ctx, void *user, int events),
                     void *ctx)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int count;
    pthread_mutex_lock(&lock);
    do {
        count = epoll_wait(poller->fd, events, EVENTS_AT_ONCE, 0);
        for (int i = 0; i < count; i++)
            report_locked(poller, &events[i], ready, ctx);
    } while (count == EVENTS_AT_ONCE);
    pthread_mutex_unlock(&lock);
}
