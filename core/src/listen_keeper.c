/* The housekeeper's side of listening: the connection; see listen.h for its states.
 *
 * Its descriptor is in an epoll set of its own, which is in the housekeeper's: what libpq does to
 * the descriptor cannot be mistaken for something of a slot's. */
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "error.h"
#include "listen_impl.h"
#include "pool_budget.h"
#include "pool_report.h"

enum {
    ANSWER_AT_MOST_US = 5 * 1000 * 1000, /* LISTEN, UNLISTEN, or a round trip */
    /* One that was lost sooner than this after it was made is not made again at once. */
    LIVED_US = 1000 * 1000,
    READS_AT_ONCE = 16 /* while the pool's other connections wait */
};

/* ------------------------------------------------------------- the descriptor */

static bool open_epoll(tp_pool *pool, struct tp_listening *listening)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    listening->armed_fd = -1;
    listening->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return listening->epoll_fd >= 0 &&
           epoll_ctl(pool->epoll_fd, EPOLL_CTL_ADD, listening->epoll_fd, &event) == 0;
}

/* A copy in a forked child would keep it in the set of the housekeeper. */
static void close_epoll(tp_pool *pool, struct tp_listening *listening)
{
    if (listening->epoll_fd < 0)
        return;
    (void)epoll_ctl(pool->epoll_fd, EPOLL_CTL_DEL, listening->epoll_fd, NULL);
    close(listening->epoll_fd);
    listening->epoll_fd = listening->armed_fd = -1;
}

static void arm(struct tp_listening *listening, const struct tp_wait *wait)
{
    struct epoll_event event = {.events = EPOLLRDHUP};
    if (wait->fd < 0 ||
        (wait->fd == listening->armed_fd && wait->events == listening->armed_events &&
         listening->state > TP_LISTENING_OPENING))
        return;
    event.events |= (wait->events & TP_READ) != 0 ? EPOLLIN : 0;
    event.events |= (wait->events & TP_WRITE) != 0 ? EPOLLOUT : 0;
    if (epoll_ctl(listening->epoll_fd, EPOLL_CTL_MOD, wait->fd, &event) != 0)
        (void)epoll_ctl(listening->epoll_fd, EPOLL_CTL_ADD, wait->fd, &event);
    listening->armed_fd = wait->fd;
    listening->armed_events = wait->events;
}

static int look(const struct tp_listening *listening)
{
    struct epoll_event event;
    if (listening->epoll_fd < 0 || epoll_wait(listening->epoll_fd, &event, 1, 0) <= 0)
        return 0;
    return ((event.events & ~(uint32_t)EPOLLOUT) != 0 ? TP_READ : 0) |
           ((event.events & EPOLLOUT) != 0 ? TP_WRITE : 0);
}

/* -------------------------------------------------------------------- the end */

static void unlisten_all_locked(struct tp_listening *listening)
{
    struct tp_list *node, *following;
    listening->changed = true;
    TP_LIST_EACH(node, following, &listening->channels)
    {
        struct tp_channel *channel = TP_CONTAINER(node, struct tp_channel, link);
        channel->listened = false;
        channel->asked = TP_ASKED_NOTHING;
        tp__channel_tidy(channel);
    }
}

/* Those who have not been listened for yet miss nothing. */
static void note_loss_locked(struct tp_listening *listening, enum tp_gap gap)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &listening->listeners)
    {
        struct tp_listener *listener = TP_CONTAINER(node, struct tp_listener, link);
        if (listener->established && gap > listener->lost)
            listener->lost = gap;
    }
    unlisten_all_locked(listening);
}

/* Of what the server refuses, or will not change by itself, those hear who wait for it. */
static void refuse_new_locked(struct tp_listening *listening, enum tp_status status)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &listening->listeners)
    {
        struct tp_listener *listener = TP_CONTAINER(node, struct tp_listener, link);
        if (!listener->established)
            tp__listener_end_locked(listener, status);
    }
}

/* Closes the connection. `gap`: what those who listen are to be told when there is another. */
static void drop(tp_pool *pool, enum tp_gap gap, const char *why)
{
    struct tp_listening *listening = pool->listening;
    int pid = listening->backend_pid;
    pthread_mutex_lock(&pool->lock);
    void *connection = listening->connection;
    listening->connection = NULL;
    listening->state = TP_LISTENING_OFF;
    listening->backend_pid = 0;
    listening->next_at = tp_now();
    note_loss_locked(listening, gap);
    pthread_mutex_unlock(&pool->lock);
    close_epoll(pool, listening);
    tp__pool_close_connection(pool, connection);
    if (pid != 0)
        tp__pool_event(pool, TP_EVENT_REMOVE, pid, 0, NULL, "%s", why);
}

static void failed(tp_pool *pool, const struct tp_error *err)
{
    struct tp_listening *listening = pool->listening;
    int64_t now = tp_now();
    bool made = listening->connected_at != 0;
    bool lived = made && now - listening->connected_at >= LIVED_US;
    listening->failures = lived ? 0 : listening->failures + 1;
    if (lived)
        tp__backoff_reset(&listening->backoff);
    listening->connected_at = 0;
    drop(pool, TP_GAP_LOST, tp_close_reason_name(TP_CLOSE_DEAD));
    pthread_mutex_lock(&pool->lock);
    if (!lived)
        listening->next_at = now + tp__backoff_next(&listening->backoff);
    listening->last_error = *err;
    if (err->kind == TP_ERR_DATABASE || (!made && !err->retryable))
        refuse_new_locked(listening, err->kind);
    pthread_mutex_unlock(&pool->lock);
    if (made)
        tp__text_copy(listening->loss, sizeof listening->loss, err->message);
    else
        tp__pool_event(pool, TP_EVENT_ERROR, 0, listening->failures, err->code,
                       "the connection that listens: %.400s", err->message);
}

/* ------------------------------------------------------------------ notifications */

struct batch {
    struct tp_message *first, **end;
    int count;
    bool lost; /* for want of memory */
};

static void take_note(void *ctx, const char *channel, const char *payload, int backend_pid)
{
    struct batch *batch = ctx;
    struct tp_message *message = tp__message_new(channel, payload, backend_pid);
    batch->count++;
    batch->lost |= message == NULL;
    if (message == NULL)
        return;
    *batch->end = message;
    batch->end = &message->next;
}

/* True: somebody has it. */
static bool hand_out_locked(struct tp_listening *listening, struct tp_message *message)
{
    struct tp_list *node, *following;
    struct tp_channel *channel =
        tp__channel_find(listening, message->channel, strlen(message->channel));
    if (channel == NULL || tp__list_empty(&channel->subscriptions))
        return false;
    TP_LIST_EACH(node, following, &channel->subscriptions)
    tp__listener_push_locked(TP_CONTAINER(node, struct tp_subscription, link)->listener, message);
    return true;
}

static void gap_for_all_locked(struct tp_listening *listening)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &listening->listeners)
    tp__listener_push_gap_locked(TP_CONTAINER(node, struct tp_listener, link), TP_GAP_OVERFLOW, -1);
}

/* Whatever has come; how many. The lock is taken once for all of them. */
static int hand_out(tp_pool *pool)
{
    struct tp_listening *listening = pool->listening;
    struct batch batch = {.end = &batch.first};
    while (pool->vtable->next_notification(listening->connection, take_note, &batch)) {
    }
    if (batch.count == 0)
        return 0;
    uint64_t heard = 0;
    pthread_mutex_lock(&pool->lock);
    for (struct tp_message *message = batch.first; message != NULL; message = message->next)
        heard += hand_out_locked(listening, message);
    tp__add(&pool->tally.counts.notifications, heard);
    pool->stirred = true;
    if (batch.lost)
        gap_for_all_locked(listening);
    pthread_mutex_unlock(&pool->lock);
    while (batch.first != NULL) {
        struct tp_message *message = batch.first;
        batch.first = message->next;
        tp__message_release(message);
    }
    return batch.count;
}

/* -------------------------------------------------------------------- channels */

static void add_statement(struct tp_buf *script, const char *verb, const char *channel)
{
    char quoted[2 * TP_CHANNEL_ROOM + 4];
    if (tp_quote_identifier(channel, strlen(channel), quoted, sizeof quoted) > 0)
        tp__buf_printf(script, "%s %s;", verb, quoted);
}

/* What the server is to be told. One script is one transaction: all of it is in force at once. */
static void write_script_locked(struct tp_listening *listening, struct tp_buf *script)
{
    struct tp_list *node, *following;
    listening->holds = false;
    TP_LIST_EACH(node, following, &listening->listeners)
    listening->holds |= TP_CONTAINER(node, struct tp_listener, link)->lost != TP_GAP_NONE;
    listening->changed = false;
    TP_LIST_EACH(node, following, &listening->channels)
    {
        struct tp_channel *channel = TP_CONTAINER(node, struct tp_channel, link);
        bool wanted = !tp__list_empty(&channel->subscriptions);
        if (wanted == channel->listened)
            continue;
        channel->asked = wanted ? TP_ASKED_LISTEN : TP_ASKED_UNLISTEN;
        channel->listened = false;
        add_statement(script, wanted ? "LISTEN" : "UNLISTEN", channel->name);
    }
}

static void take_answer_locked(struct tp_listening *listening)
{
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &listening->channels)
    {
        struct tp_channel *channel = TP_CONTAINER(node, struct tp_channel, link);
        channel->listened |= channel->asked == TP_ASKED_LISTEN;
        channel->asked = TP_ASKED_NOTHING;
        tp__channel_tidy(channel);
    }
}

bool tp__listener_is_heard_locked(const struct tp_listener *listener)
{
    bool all = true;
    for (size_t i = 0; all && i < listener->count; i++)
        all = listener->subscriptions[i].channel->listened;
    return all;
}

/* Tells those that the server listens for now. Returns the gravest loss that there was. */
static enum tp_gap establish_locked(struct tp_listening *listening)
{
    enum tp_gap gravest = TP_GAP_NONE;
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, &listening->listeners)
    {
        struct tp_listener *listener = TP_CONTAINER(node, struct tp_listener, link);
        if ((listener->established && listener->lost == TP_GAP_NONE) ||
            !tp__listener_is_heard_locked(listener))
            continue;
        gravest = listener->lost > gravest ? listener->lost : gravest;
        if (listener->established)
            tp__listener_push_gap_locked(listener, listener->lost, -1);
        else
            tp__listener_tell_all_locked(listener);
        listener->established = true;
        listener->lost = TP_GAP_NONE;
    }
    return gravest;
}

/* -------------------------------------------------------------------- stepping */

static void ask(tp_pool *pool, const char *sql)
{
    struct tp_listening *listening = pool->listening;
    pthread_mutex_lock(&pool->lock);
    listening->state = TP_LISTENING_ASKING;
    pthread_mutex_unlock(&pool->lock);
    listening->due = tp_now() + ANSWER_AT_MOST_US;
    (void)pool->vtable->ask(listening->connection, sql); /* what failed shows in the next step */
}

/* The next request, if there is one. Until a script is written nothing has been missed for it. */
static void ask_next(tp_pool *pool, int64_t now)
{
    struct tp_listening *listening = pool->listening;
    struct tp_buf script = {0};
    int64_t interval = pool->limits.health_interval_us;
    pthread_mutex_lock(&pool->lock);
    if (listening->changed)
        write_script_locked(listening, &script);
    bool quiet = !pool->suspended && interval > 0 && now >= listening->heard_at + interval;
    pthread_mutex_unlock(&pool->lock);
    const char *sql = tp__buf_cstr(&script);
    if (sql == NULL) { /* no memory: the connection is made again, and asked again */
        struct tp_error err;
        tp__error_set(&err, TP_ERR_MEMORY, "out of memory for LISTEN");
        failed(pool, &err);
    } else if (script.len > 0 || quiet) {
        ask(pool, sql);
    } else {
        listening->due = TP_NEVER;
    }
    tp__buf_free(&script);
}

static void answered(tp_pool *pool, int64_t now)
{
    struct tp_listening *listening = pool->listening;
    pthread_mutex_lock(&pool->lock);
    listening->state = TP_LISTENING_IDLE;
    listening->holds = false;
    take_answer_locked(listening);
    enum tp_gap gap = establish_locked(listening);
    pthread_mutex_unlock(&pool->lock);
    listening->heard_at = now;
    if (gap != TP_GAP_NONE)
        tp__pool_event(pool, TP_EVENT_GAP, listening->backend_pid, 0, NULL,
                       "%s (%s): notifications may have been missed", tp_gap_name(gap),
                       listening->loss);
    listening->loss[0] = '\0';
}

static void opened(tp_pool *pool, const struct tp_wait *wait)
{
    struct tp_listening *listening = pool->listening;
    listening->backend_pid = wait->backend_pid;
    listening->connected_at = listening->heard_at = tp_now();
    listening->failures = 0;
    pthread_mutex_lock(&pool->lock);
    listening->state = TP_LISTENING_IDLE;
    tp__error_clear(&listening->last_error);
    pthread_mutex_unlock(&pool->lock);
    tp__pool_event(pool, TP_EVENT_CONNECT, wait->backend_pid, 0, NULL, "connected to listen");
}

static bool make(tp_pool *pool, struct tp_error *err)
{
    struct tp_listening *listening = pool->listening;
    if (listening->connection != NULL)
        return true;
    if (!open_epoll(pool, listening)) {
        tp__error_set(err, TP_ERR_CONNECTION, "no file descriptors to listen with");
        err->retryable = true;
        return false;
    }
    void *connection = pool->vtable->open(pool->ctx, NULL, err);
    pthread_mutex_lock(&pool->lock);
    listening->connection = connection;
    pthread_mutex_unlock(&pool->lock);
    return connection != NULL;
}

static enum tp_step move(tp_pool *pool, int ready, struct tp_wait *wait, struct tp_error *err)
{
    struct tp_listening *listening = pool->listening;
    enum tp_chore chore = listening->state == TP_LISTENING_OPENING ? TP_CHORE_OPEN : TP_CHORE_HEAR;
    if (!make(pool, err))
        return TP_FAILED;
    enum tp_step step = pool->vtable->step(listening->connection, chore, ready, wait, err);
    if (step == TP_WAIT && tp_now() >= listening->due && chore == TP_CHORE_HEAR) {
        tp__error_set(err, TP_ERR_CONNECTION, "the server did not answer within %d ms",
                      ANSWER_AT_MOST_US / 1000);
        err->retryable = true;
        return TP_FAILED;
    }
    return step;
}

/* Moves the connection on. True: there may be more to do at once. */
static bool step(tp_pool *pool, int ready)
{
    struct tp_listening *listening = pool->listening;
    struct tp_error err;
    struct tp_wait wait = {.fd = -1, .deadline = TP_NEVER};
    tp__error_clear(&err);
    enum tp_listening_state state = listening->state;
    enum tp_step step = move(pool, ready, &wait, &err);
    if (step == TP_FAILED) {
        if (state == TP_LISTENING_IDLE)
            (void)hand_out(pool); /* what came before the end */
        failed(pool, &err);
        return false;
    }
    if (step == TP_WAIT) {
        if (state == TP_LISTENING_OPENING)
            listening->due = wait.deadline;
        else if (!listening->holds && hand_out(pool) > 0)
            listening->heard_at = tp_now();
        arm(listening, &wait);
        return false;
    }
    if (state == TP_LISTENING_OPENING)
        opened(pool, &wait);
    else if (state == TP_LISTENING_ASKING)
        answered(pool, tp_now()); /* before what has come since: see listen.h */
    bool more = hand_out(pool) > 0;
    if (more)
        listening->heard_at = tp_now();
    arm(listening, &wait);
    ask_next(pool, tp_now());
    return more || listening->state == TP_LISTENING_ASKING;
}

/* ------------------------------------------------------- for the housekeeper */

int tp__listen_wants_locked(const tp_pool *pool, int64_t now)
{
    const struct tp_listening *listening = pool->listening;
    return listening != NULL && listening->count > 0 && listening->state == TP_LISTENING_OFF &&
           !pool->closed && !pool->draining && !pool->suspended && now >= listening->next_at;
}

void tp__listen_hurry_locked(tp_pool *pool, int64_t now)
{
    if (pool->listening != NULL && pool->listening->next_at > now)
        pool->listening->next_at = now;
}

int tp__listen_begin_locked(tp_pool *pool, int granted, int64_t now)
{
    struct tp_listening *listening = pool->listening;
    listening->declined = granted == 0;
    if (granted < 0)
        listening->next_at = now + tp__backoff_next(&listening->backoff);
    if (granted <= 0 || tp__listen_wants_locked(pool, now) == 0)
        return 0;
    listening->state = TP_LISTENING_OPENING;
    listening->epoch = atomic_load(&pool->epoch);
    listening->connected_at = 0;
    listening->due = 0;
    return 1;
}

/* Why the connection is to be closed, or NULL. */
static const char *is_over(tp_pool *pool, enum tp_gap *gap)
{
    pthread_mutex_lock(&pool->lock);
    bool unwanted = tp__listen_count_locked(pool) == 0;
    bool old = pool->listening->epoch != atomic_load(&pool->epoch);
    pthread_mutex_unlock(&pool->lock);
    if (unwanted) {
        *gap = TP_GAP_NONE;
        return "nobody listens";
    }
    enum tp_close_reason why = (enum tp_close_reason)atomic_load(&pool->epoch_ended);
    *gap = why == TP_CLOSE_SERVER_GONE ? TP_GAP_LOST : TP_GAP_REPLACED;
    return old ? tp_close_reason_name(why) : NULL;
}

void tp__listen_pass(tp_pool *pool, bool rung)
{
    enum tp_gap gap;
    pthread_mutex_lock(&pool->lock);
    struct tp_listening *listening = pool->listening;
    bool on = listening != NULL && listening->state != TP_LISTENING_OFF;
    pthread_mutex_unlock(&pool->lock);
    if (!on)
        return;
    const char *over = is_over(pool, &gap);
    if (over != NULL) {
        tp__text_copy(listening->loss, sizeof listening->loss, over);
        drop(pool, gap, over);
        return;
    }
    int ready = look(listening);
    if (ready == 0 && !rung && tp_now() < tp__listen_due_locked(pool))
        return;
    for (int i = 0; i < READS_AT_ONCE && step(pool, ready); i++)
        ready = listening->state == TP_LISTENING_IDLE ? TP_READ : look(listening);
}

int64_t tp__listen_due_locked(const tp_pool *pool)
{
    const struct tp_listening *listening = pool->listening;
    int64_t interval = pool->limits.health_interval_us;
    if (listening == NULL)
        return TP_NEVER;
    switch (listening->state) {
    case TP_LISTENING_OFF: /* a try that was declined waits for the budget or a password */
        return listening->count > 0 && !pool->suspended && !listening->declined ? listening->next_at
                                                                                : TP_NEVER;
    case TP_LISTENING_IDLE:
        return interval > 0 && !pool->suspended ? listening->heard_at + interval : TP_NEVER;
    default:
        return listening->due;
    }
}

void tp__listen_end(tp_pool *pool)
{
    if (pool->listening != NULL && pool->listening->state != TP_LISTENING_OFF)
        drop(pool, TP_GAP_NONE, tp_close_reason_name(TP_CLOSE_POOL_CLOSED));
}
