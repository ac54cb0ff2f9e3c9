/* The inside of listening, for the files listen*.c alone. */
#ifndef TP_LISTEN_IMPL_H
#define TP_LISTEN_IMPL_H

#include "backoff.h"
#include "listen.h"

enum { TP_CHANNEL_ROOM = 64, TP_CHANNEL_BUCKETS = 256 };

/* One notification, counted by the queues that it is in. */
struct tp_message {
    struct tp_message *next; /* in a batch that is not handed out yet */
    atomic_int refs;
    int backend_pid;
    const char *payload; /* behind the channel */
    char channel[];
};

/* What waits in a queue: a notification, or a gap. */
struct tp_heard {
    struct tp_message *message; /* NULL: a gap, or nothing */
    enum tp_gap gap;
    int64_t dropped;
};

enum tp_asked { TP_ASKED_NOTHING, TP_ASKED_LISTEN, TP_ASKED_UNLISTEN };

/* Guarded by the pool's lock, as all that follows but where it says otherwise. */
struct tp_channel {
    struct tp_list link;   /* of all */
    struct tp_list bucket; /* of those with such a hash */
    struct tp_list subscriptions;
    bool listened;       /* the server hears it on the connection that there is */
    enum tp_asked asked; /* by the script that is under way */
    char name[TP_CHANNEL_ROOM];
};

struct tp_subscription {
    struct tp_list link; /* of the channel */
    struct tp_listener *listener;
    struct tp_channel *channel;
};

struct tp_listener {
    atomic_int refs;
    struct tp_share *share; /* counted */
    tp_pool *pool;
    unsigned fork_count;
    size_t limit;
    enum tp_overflow overflow;

    struct tp_list link; /* of those of the pool, while status is TP_OK */
    enum tp_status status;
    struct tp_subscription *subscriptions;
    size_t count;
    bool established; /* the server has listened for it */
    enum tp_gap lost; /* to be told when it does again */

    struct tp_heard front; /* a gap before all that is in the ring */
    struct tp_heard *ring;
    size_t room, first, used; /* in entries */
    size_t notes;             /* of them */
    int64_t told_at;          /* when an event last told of an overflow */
    struct tp_list waiters;

    struct tp_message *taken; /* of whoever takes */
};

enum tp_listening_state {
    TP_LISTENING_OFF,     /* no connection */
    TP_LISTENING_OPENING, /* one is being made */
    TP_LISTENING_IDLE,    /* it hears */
    TP_LISTENING_ASKING   /* the same, and a request is under way */
};

struct tp_listening {
    struct tp_list listeners, channels;
    struct tp_list buckets[TP_CHANNEL_BUCKETS];
    int count;                  /* of listeners */
    bool changed;               /* the server may have to be told of channels */
    struct tp_error last_error; /* why there is no connection, or why LISTEN was refused */

    /* the housekeeper's; the lock is held where they are written */
    enum tp_listening_state state;
    void *connection;
    uint64_t epoch;  /* the pool's, at its birth */
    int64_t next_at; /* when to make it */
    bool declined;   /* it was to be made, and there was no place or no password for it */
    /* the housekeeper's alone */
    int epoll_fd, armed_fd, armed_events;
    int64_t due; /* when to step it, whatever happens */
    int64_t heard_at, connected_at;
    int backend_pid, failures;
    bool holds;     /* what comes is held back until the gap has been told: LISTEN is under way */
    char loss[200]; /* why the last one was given up */
    struct tp_backoff backoff;

    struct tp_listening *inherited; /* in a forked child: the next one that is the parent's */
};

/* The listening of a pool, made when there is none. NULL: no memory. */
struct tp_listening *tp__listening_of_locked(tp_pool *pool);
struct tp_channel *tp__channel_find(struct tp_listening *listening, const char *name, size_t len);
/* Of no use any more when nobody listens to it and the server is not to be told. */
void tp__channel_tidy(struct tp_channel *channel);

struct tp_message *tp__message_new(const char *channel, const char *payload, int backend_pid);
void tp__message_release(struct tp_message *message);

/* Into the queue; whoever waits is told. */
void tp__listener_push_locked(struct tp_listener *listener, struct tp_message *message);
void tp__listener_push_gap_locked(struct tp_listener *listener, enum tp_gap gap, int64_t dropped);
void tp__listener_tell_all_locked(struct tp_listener *listener);
bool tp__listener_has_news_locked(const struct tp_listener *listener);
/* Nothing of the queue is told any more. */
void tp__listener_clear_locked(struct tp_listener *listener);
/* Whether the server listens to all of its channels. */
bool tp__listener_is_heard_locked(const struct tp_listener *listener);
/* It ends, for this reason. */
void tp__listener_end_locked(struct tp_listener *listener, enum tp_status status);

#endif
