/* The housekeeper's thread: a loop of passes.
 *
 * A pass closes what is to be closed, reaps what is idle or worn, decides how many
 * connections to open, moves every connecting or mending connection on, and then
 * works out when the next pass is due. Between passes it sleeps in epoll_wait. */
#include "keeper.h"

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "keeper_epoll.h"
#include "listen.h"
#include "pool_breaker.h"
#include "pool_budget.h"
#include "pool_ledger.h"
#include "pool_inquiry.h"
#include "pool_lent.h"
#include "pool_stats.h"

enum {
    SLEEP_AT_MOST_US = 60 * 1000 * 1000,
    /* A connection that was given back and is cleared or rolled back takes one round trip: who
     * waits is served by it sooner than by a new one, unless it takes longer than this. */
    MENDED_SOON_US = 20 * 1000,
    /* Callers who are asked for something may be busy, or go away: then others are. */
    ASK_OTHERS_US = 50 * 1000
};

/* ------------------------------------------------------------------ closing */

static void close_slots(tp_pool *pool)
{
    struct tp_list *first;
    pthread_mutex_lock(&pool->lock);
    while ((first = tp__list_first(&pool->lists[TP_SLOT_CLOSING])) != NULL) {
        struct tp_slot *slot = TP_CONTAINER(first, struct tp_slot, link);
        void *connection = tp__slot_take_connection_locked(slot);
        pthread_mutex_unlock(&pool->lock);
        tp__keeper_disarm(pool, slot);
        tp__pool_close_connection(pool, connection);
        tp__pool_event(pool, TP_EVENT_REMOVE, slot->backend_pid, 0, NULL, "%s",
                       tp_close_reason_name(slot->reason));
        pthread_mutex_lock(&pool->lock);
        tp__slot_emptied_locked(slot);
    }
    tp__pool_report_state_locked(pool);
    pthread_mutex_unlock(&pool->lock);
}

static bool is_idle_too_long(const struct tp_slot *slot, int64_t now)
{
    const struct tp_pool_limits *limits = &slot->pool->limits;
    return limits->idle_timeout_us > 0 && now >= slot->idle_since + limits->idle_timeout_us &&
           tp__pool_total_locked(slot->pool) - slot->pool->counts[TP_SLOT_CLOSING] > limits->min;
}

static bool needs_ping(const struct tp_slot *slot, int64_t now)
{
    const struct tp_pool_limits *limits = &slot->pool->limits;
    int64_t seen = slot->idle_since > slot->checked_at ? slot->idle_since : slot->checked_at;
    return !slot->pool->suspended && limits->health_interval_us > 0 &&
           now >= seen + limits->health_interval_us;
}

/* The least recently used ones are at the end of the list and go first. One
 * connection is pinged at a time, so that the others stay at hand. */
static void reap_locked(tp_pool *pool, int64_t now)
{
    struct tp_list *head = &pool->lists[TP_SLOT_IDLE], *node, *before;
    for (node = head->prev; node != head; node = before) {
        struct tp_slot *slot = TP_CONTAINER(node, struct tp_slot, link);
        enum tp_close_reason why = TP_CLOSE_IDLE_TIMEOUT;
        before = node->prev;
        if (tp__slot_is_worn_locked(slot, now, &why) || is_idle_too_long(slot, now)) {
            tp__slot_close_locked(slot, why);
        } else if (tp__pool_is_over_limit_locked(pool)) {
            tp__slot_close_locked(slot, TP_CLOSE_SHRUNK);
        } else if (needs_ping(slot, now) && pool->counts[TP_SLOT_MENDING] == 0) {
            slot->chore = TP_CHORE_PING;
            tp__slot_move_locked(slot, TP_SLOT_MENDING);
        }
    }
}

/* --------------------------------------------------------------- connecting */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How many connections are about to be of use again, and until when that is to be expected. */
static int mended_soon_locked(const tp_pool *pool, int64_t now, int64_t *until)
{
    int count = 0;
    const struct tp_list *head = &pool->lists[TP_SLOT_MENDING], *node = head->next;
    *until = TP_NEVER;
    for (; node != head; node = node->next) {
        const struct tp_slot *slot = TP_CONTAINER(node, struct tp_slot, link);
        int64_t then = slot->idle_since + MENDED_SOON_US;
        if (slot->chore == TP_CHORE_RESET && now < then) {
            count++;
            *until = then < *until ? then : *until;
        }
    }
    return count;
}

static int connects_wanted_locked(const tp_pool *pool, int64_t now)
{
    int64_t until;
    int total = tp__pool_total_locked(pool);
    int fill = pool->limits.min - total;
    int demand = pool->waiting - pool->counts[TP_SLOT_OPENING];
    demand -= demand > 0 ? mended_soon_locked(pool, now, &until) : 0;
    int wanted = fill > demand ? fill : demand;
    int room = pool->adaptive.limit - total;
    wanted = wanted < room ? wanted : room;
    if (pool->closed || pool->draining || pool->suspended || wanted < 0)
        return 0;
    return wanted < pool->counts[TP_SLOT_EMPTY] ? wanted : pool->counts[TP_SLOT_EMPTY];
}

/* While connecting fails, one attempt at a time finds out whether it works again. */
static int connects_due_locked(const tp_pool *pool, int64_t now)
{
    int wanted = connects_wanted_locked(pool, now);
    if (pool->connect_failures_in_row == 0 || wanted == 0)
        return wanted;
    return pool->counts[TP_SLOT_OPENING] == 0 && now >= tp__breaker_next_try_locked(pool) ? 1 : 0;
}

static int begin_connects_locked(tp_pool *pool, int most, int64_t now)
{
    int due = connects_due_locked(pool, now);
    int begun = due < most ? due : most;
    for (int i = 0; i < begun; i++) {
        struct tp_list *first = tp__list_first(&pool->lists[TP_SLOT_EMPTY]);
        struct tp_slot *slot = TP_CONTAINER(first, struct tp_slot, link);
        slot->chore = TP_CHORE_OPEN;
        slot->opened_at = now;
        atomic_store(&slot->hangup, false);
        slot->epoch = atomic_load(&pool->epoch);
        tp__slot_move_locked(slot, TP_SLOT_OPENING);
    }
    return begun;
}

/* Lifetimes are spread over the last tenth, so that connections that were made
 * together do not all end together. The jitter is drawn once, at birth. */
static int64_t draw_expiry_locked(tp_pool *pool, int64_t now)
{
    int64_t life = pool->limits.max_lifetime_us;
    if (life <= 0)
        return TP_NEVER;
    return now + life - tp__random_below(&pool->jitter_seed, life / 10);
}

static void connected_locked(struct tp_slot *slot, int64_t now)
{
    tp_pool *pool = slot->pool;
    pool->connect_failures_in_row = 0;
    pool->ever_connected = true;
    tp__add(&pool->tally.counts.connects, 1);
    tp__histogram_record(&pool->tally.connect, now - slot->opened_at);
    tp__breaker_connected_locked(pool);
    tp__listen_hurry_locked(pool, now);
    slot->uses = 0;
    slot->checked_at = now;
    slot->expires_at = draw_expiry_locked(pool, now);
    atomic_store(&slot->tx_state, TP_TX_IDLE);
}

static void mended_locked(struct tp_slot *slot, int64_t now)
{
    enum tp_close_reason why;
    slot->checked_at = now;
    if (slot->pool->closed || slot->pool->draining)
        tp__slot_close_locked(slot, TP_CLOSE_POOL_CLOSED);
    else if (tp__slot_is_worn_locked(slot, now, &why))
        tp__slot_close_locked(slot, why);
    else if (slot->chore == TP_CHORE_PING && slot->pool->waiting == 0)
        tp__slot_rest_again_locked(slot);
    else
        tp__pool_serve_locked(slot, tp__now_coarse());
}

static void connect_failed_locked(struct tp_slot *slot, const struct tp_error *err)
{
    tp_pool *pool = slot->pool;
    int64_t now = tp_now();
    pool->connect_failures_in_row++;
    tp__pool_count_connect_failure_locked(pool, err);
    pool->last_error = *err;
    /* Before the lock is let go, so that a caller who is refused hears of it, too. */
    tp__pool_event(pool, TP_EVENT_ERROR, 0, (int)pool->connect_failures_in_row, err->code, "%.400s",
                   err->message);
    tp__slot_move_locked(slot, TP_SLOT_EMPTY);
    tp__breaker_failed_locked(pool, slot->opened_at, now);
    tp__breaker_dismiss_locked(pool, true, now);
    tp__pool_report_state_locked(pool);
}

/* 57P02 and 57P03: the server crashed or is on its way up or down. What was
 * connected to it before is of no use any more; what was connected to another, by the same pool,
 * may well be. */
static bool says_server_gone(const struct tp_error *err)
{
    return strcmp(err->code, "57P02") == 0 || strcmp(err->code, "57P03") == 0;
}

static void connect_failed(struct tp_slot *slot, const struct tp_error *err)
{
    tp_pool *pool = slot->pool;
    pthread_mutex_lock(&pool->lock);
    void *connection = tp__slot_take_connection_locked(slot);
    pthread_mutex_unlock(&pool->lock);
    tp__keeper_disarm(pool, slot);
    tp__pool_close_connection(pool, connection);
    if (says_server_gone(err) && !pool->limits.several_servers)
        tp__pool_bump_epoch(pool, TP_CLOSE_SERVER_GONE);
    pthread_mutex_lock(&pool->lock);
    connect_failed_locked(slot, err);
    pthread_mutex_unlock(&pool->lock);
}

/* Where a permit is needed, nothing is begun that nobody waits for. */
static int permitted_locked(tp_pool *pool, int wanted, int to_listen, int64_t now)
{
    if (!pool->limits.by_permit)
        return wanted;
    int demand = pool->waiting - pool->counts[TP_SLOT_OPENING] + to_listen;
    demand = demand < 0 ? 0 : demand < wanted ? demand : wanted;
    struct tp_permit permit = pool->vtable->permit(pool->ctx, demand, now);
    pool->permit_due = permit.until;
    if (permit.missing > 0) {
        tp__pool_ask_waiters_locked(pool, permit.missing);
        if (to_listen > 0)
            tp__listen_ask_locked(pool);
        pool->permit_due = earlier(pool->permit_due, now + ASK_OTHERS_US);
    }
    return permit.count;
}

/* The budget itself is out of order. */
static void tell_no_place_locked(tp_pool *pool, const struct tp_error *err)
{
    struct tp_list *first = tp__list_first(&pool->lists[TP_SLOT_EMPTY]);
    if (first == NULL)
        return;
    struct tp_slot *slot = TP_CONTAINER(first, struct tp_slot, link);
    slot->opened_at = tp_now();
    connect_failed_locked(slot, err);
}

/* Takes places in the budget without the pool's lock; how many connections are due may have
 * changed meanwhile. Of what is granted, the one that listens gets the first. */
static void begin_connects(tp_pool *pool)
{
    struct tp_error err;
    int granted = 0, begun = 0;
    pthread_mutex_lock(&pool->lock);
    int64_t now = pool->breaker.decided_at = tp_now();
    int to_listen = tp__listen_wants_locked(pool, now);
    int wanted = permitted_locked(pool, connects_due_locked(pool, now) + to_listen, to_listen, now);
    int demand = pool->waiting - pool->counts[TP_SLOT_OPENING] + to_listen;
    pthread_mutex_unlock(&pool->lock);
    bool good = tp__pool_budget_take(pool, wanted, demand, &granted, &err) == TP_OK;
    pthread_mutex_lock(&pool->lock);
    if (to_listen > 0)
        begun = tp__listen_begin_locked(pool, good ? granted : -1, tp_now());
    if (good)
        begun += begin_connects_locked(pool, granted - begun, tp_now());
    else
        tell_no_place_locked(pool, &err);
    pthread_mutex_unlock(&pool->lock);
    tp__pool_budget_give(pool, granted - begun);
}

/* ------------------------------------------------------------------- chores */

static void chore_done(struct tp_slot *slot, const struct tp_wait *wait)
{
    tp_pool *pool = slot->pool;
    bool opened = slot->chore == TP_CHORE_OPEN;
    if (opened) /* an address that refused has hung up, not the one that answered */
        atomic_store(&slot->hangup, false);
    tp__keeper_arm(pool, slot, wait->fd, EPOLLRDHUP | EPOLLET);
    slot->due = 0;
    slot->ready = 0;
    if (opened) {
        slot->backend_pid = wait->backend_pid;
        tp__pool_event(pool, TP_EVENT_CONNECT, slot->backend_pid, 0, NULL, "connected");
    }
    pthread_mutex_lock(&pool->lock);
    int64_t now = tp_now();
    if (opened)
        connected_locked(slot, now);
    mended_locked(slot, now);
    tp__pool_report_state_locked(pool);
    pthread_mutex_unlock(&pool->lock);
}

static void chore_failed(struct tp_slot *slot, const struct tp_error *err)
{
    slot->due = 0;
    slot->ready = 0;
    if (slot->chore == TP_CHORE_OPEN) {
        connect_failed(slot, err);
        return;
    }
    pthread_mutex_lock(&slot->pool->lock);
    tp__slot_close_locked(slot, TP_CLOSE_DEAD);
    pthread_mutex_unlock(&slot->pool->lock);
}

static void step_slot(struct tp_slot *slot)
{
    tp_pool *pool = slot->pool;
    struct tp_error err;
    struct tp_wait wait = {.fd = -1, .events = 0, .deadline = TP_NEVER, .backend_pid = 0};
    int ready = slot->ready;

    tp__error_clear(&err);
    slot->ready = 0;
    if (slot->connection == NULL) {
        slot->connection = pool->vtable->open(pool->ctx, slot->tally, &err);
        if (slot->connection == NULL) {
            chore_failed(slot, &err);
            return;
        }
    }
    switch (pool->vtable->step(slot->connection, slot->chore, ready, &wait, &err)) {
    case TP_DONE:
        chore_done(slot, &wait);
        break;
    case TP_WAIT:
        slot->due = wait.deadline;
        tp__keeper_arm_for_wait(pool, slot, &wait);
        break;
    default:
        chore_failed(slot, &err);
    }
}

static bool has_chore(struct tp_slot *slot, int64_t now, bool rung)
{
    pthread_mutex_lock(&slot->pool->lock);
    bool busy = slot->state == TP_SLOT_OPENING || slot->state == TP_SLOT_MENDING;
    pthread_mutex_unlock(&slot->pool->lock);
    return busy && (rung || slot->ready != 0 || now >= slot->due);
}

/* A ring may mean that an errand of a connection is done, so all are stepped. */
static void step_slots(tp_pool *pool, bool rung)
{
    int64_t now = tp_now();
    for (int i = 0; i < pool->limits.max; i++) {
        if (has_chore(&pool->slots[i], now, rung))
            step_slot(&pool->slots[i]);
    }
}

/* --------------------------------------------------------------------- loop */

static int64_t slot_due_locked(const struct tp_slot *slot, int64_t now)
{
    const struct tp_pool_limits *limits = &slot->pool->limits;
    int64_t idle = limits->idle_timeout_us > 0 ? limits->idle_timeout_us : TP_NEVER;
    int64_t health = limits->health_interval_us > 0 ? limits->health_interval_us : TP_NEVER;
    switch (slot->state) {
    case TP_SLOT_OPENING:
    case TP_SLOT_MENDING:
        return slot->due;
    case TP_SLOT_CLOSING:
        return now;
    case TP_SLOT_IDLE: {
        int64_t seen = slot->idle_since > slot->checked_at ? slot->idle_since : slot->checked_at;
        bool pinged = slot->pool->counts[TP_SLOT_MENDING] == 0 && !slot->pool->suspended;
        int64_t due = earlier(slot->expires_at, pinged ? tp__after(seen, health) : TP_NEVER);
        bool surplus = tp__pool_total_locked(slot->pool) > limits->min;
        return surplus ? earlier(due, tp__after(slot->idle_since, idle)) : due;
    }
    case TP_SLOT_LEASED: { /* comes back without a ring, and may rest from then on */
        int64_t due = tp__after(now, earlier(idle, health));
        return slot->expires_at > now ? earlier(due, slot->expires_at) : due;
    }
    default:
        return TP_NEVER;
    }
}

/* A try that was due and could not be made waits for a place in the budget or for a password. */
static int64_t next_try_due_locked(const tp_pool *pool, int64_t now)
{
    int64_t due = tp__breaker_next_try_locked(pool);
    bool wanted = pool->connect_failures_in_row > 0 && pool->counts[TP_SLOT_OPENING] == 0 &&
                  connects_wanted_locked(pool, now) > 0;
    return wanted && due > pool->breaker.decided_at ? due : TP_NEVER;
}

static int64_t next_pass_due(tp_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    int64_t soon, now = tp_now();
    int64_t due = earlier(earlier(now + SLEEP_AT_MOST_US, pool->budget_due), pool->permit_due);
    due = earlier(due, pool->publish_due);
    for (int i = 0; i < pool->limits.max; i++)
        due = earlier(due, slot_due_locked(&pool->slots[i], now));
    if (pool->waiting > 0 && mended_soon_locked(pool, now, &soon) > 0)
        due = earlier(due, soon);
    due = earlier(due, next_try_due_locked(pool, now));
    due = earlier(due, tp__lent_due_locked(pool, now));
    due = earlier(due, tp__inquiry_due_locked(pool));
    if (pool->adaptive.on && pool->waiting > 0)
        due = earlier(due, pool->adaptive.window_began + TP_ADAPTIVE_WINDOW_US);
    due = earlier(due, tp__breaker_dismiss_due_locked(pool, now));
    due = earlier(due, tp__listen_due_locked(pool));
    pthread_mutex_unlock(&pool->lock);
    return due;
}

static void adapt_locked(tp_pool *pool, int64_t now)
{
    struct tp_adaptive_counts counts = {.queries = tp__pool_queries(pool),
                                        .returned = pool->returned,
                                        .handed = pool->handed,
                                        .waiting = pool->waiting};
    tp__adaptive_look(&pool->adaptive, &counts, now);
}

static void pass(tp_pool *pool)
{
    bool rung = tp__wake_clear(pool->wake);
    tp__pool_budget_pass(pool);
    pthread_mutex_lock(&pool->lock);
    adapt_locked(pool, tp_now());
    reap_locked(pool, tp_now());
    tp__pool_budget_reap_locked(pool, tp_now());
    tp__breaker_dismiss_locked(pool, false, tp_now());
    tp__lent_warn_locked(pool, tp_now());
    pthread_mutex_unlock(&pool->lock);
    close_slots(pool);
    begin_connects(pool);
    step_slots(pool, rung);
    tp__listen_pass(pool, rung);
    tp__pool_ledger_pass(pool);
    tp__inquiry_pass(pool, rung);
}

/* Rings that come while one is being cleared are one with it, so that what they are about has to be
 * looked at after the clearing: also whether the thread is to end. */
static void *keeper_main(void *arg)
{
    tp_pool *pool = arg;
    while (!atomic_load(&pool->keeper_stop)) {
        pass(pool);
        if (!atomic_load(&pool->keeper_stop))
            tp__keeper_sleep(pool, next_pass_due(pool));
    }
    return NULL;
}

static bool open_epoll(tp_pool *pool)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    pool->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (pool->epoll_fd >= 0 && pool->budget != NULL && tp__budget_fd(pool->budget) >= 0)
        (void)epoll_ctl(pool->epoll_fd, EPOLL_CTL_ADD, tp__budget_fd(pool->budget), &event);
    return pool->epoll_fd >= 0 &&
           epoll_ctl(pool->epoll_fd, EPOLL_CTL_ADD, tp__wake_fd(pool->wake), &event) == 0;
}

bool tp__keeper_start_locked(tp_pool *pool)
{
    if (pool->keeper_started)
        return true;
    if (!open_epoll(pool))
        return false;
    sigset_t all, before;
    sigfillset(&all);
    atomic_store(&pool->keeper_stop, false);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pool->keeper_started = pthread_create(&pool->keeper, NULL, keeper_main, pool) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!pool->keeper_started) {
        close(pool->epoll_fd);
        pool->epoll_fd = -1;
    }
    return pool->keeper_started;
}

/* After the thread has ended, whatever is not leased is closed here; leases are
 * closed by whoever brings them back. */
static void close_the_rest(tp_pool *pool)
{
    int unused = 0;
    tp__inquiry_close(pool);
    tp__listen_end(pool);
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < pool->limits.max; i++) {
        struct tp_slot *slot = &pool->slots[i];
        if (slot->state == TP_SLOT_OPENING && slot->connection == NULL)
            unused++, tp__slot_move_locked(slot, TP_SLOT_EMPTY);
        else if (slot->state != TP_SLOT_EMPTY && slot->state != TP_SLOT_LEASED &&
                 slot->state != TP_SLOT_CLOSING)
            tp__slot_close_locked(slot, TP_CLOSE_POOL_CLOSED);
    }
    while (pool->counts[TP_SLOT_CLOSING] > 0) {
        pthread_mutex_unlock(&pool->lock);
        close_slots(pool);
        pthread_mutex_lock(&pool->lock);
    }
    pool->keeper_started = false; /* from here on, whoever brings one back closes it */
    pthread_mutex_unlock(&pool->lock);
    tp__pool_budget_give(pool, unused);
    tp__pool_ledger_leave(pool);
    tp__pool_budget_leave(pool, TP_BUDGET_LEAVE_US);
}

void tp__keeper_stop(tp_pool *pool)
{
    atomic_store(&pool->keeper_stop, true);
    tp__wake_ring(pool->wake);
    pthread_join(pool->keeper, NULL);
    close_the_rest(pool);
    close(pool->epoll_fd);
    pool->epoll_fd = -1;
}
