#include "pool_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "pool_breaker.h"
#include "pool_inquiry.h"

/* ------------------------------------------------------------ explanations */

/* Appends to a fixed buffer; what does not fit is cut, at a character. */
static void append(char *out, size_t room, const char *fmt, ...) TP_PRINTF(3, 4);
static void append(char *out, size_t room, const char *fmt, ...)
{
    size_t len = strlen(out);
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(out + len, room - len, fmt, args);
    va_end(args);
    if (wanted < 0 || (size_t)wanted < room - len)
        return;
    for (len = room - 1; len > 0 && !tp_utf8_valid(out, len); len--)
        out[len - 1] = '\0';
}

/* Bytes of the borrower's, made presentable. */
static void append_text(char *out, size_t room, const char *before, const char *text)
{
    char clean[96];
    tp__text_copy(clean, sizeof clean, text);
    append(out, room, "%s%s", before, clean);
}

static void append_place(char *out, size_t room, const struct tp_slot *slot)
{
    append_text(out, room, " by ", slot->place);
    append(out, room, ":%d", slot->line);
}

static const char *transaction_words(const struct tp_slot *slot)
{
    switch (atomic_load_explicit(&slot->tx_state, memory_order_relaxed)) {
    case TP_TX_OPEN:
        return ", in a transaction";
    case TP_TX_FAILED:
        return ", in a failed transaction";
    default:
        return "";
    }
}

void tp__report_holder_locked(const struct tp_slot *slot, int64_t now, char *out, size_t room)
{
    char sql[TP_NOTE_ROOM];
    tp__note_read(&slot->sql, sql);
    append(out, room, "held for %.1f s", (double)(now - slot->acquired_at) / 1e6);
    if (slot->place[0] != '\0')
        append_place(out, room, slot);
    append(out, room, "%s", transaction_words(slot));
    if (sql[0] != '\0')
        append_text(out, room, ": ", sql);
}

/* The longest held first, because that is where the leak is. Each round finds the
 * oldest that is younger than the last one told; pools are small. */
static void describe_holders(const tp_pool *pool, int64_t now, char *out, size_t room)
{
    enum { TELL_AT_MOST = 5 };
    const struct tp_slot *told[TELL_AT_MOST] = {NULL};
    for (int n = 0; n < TELL_AT_MOST; n++) {
        const struct tp_slot *oldest = NULL;
        for (int i = 0; i < pool->limits.max; i++) {
            const struct tp_slot *slot = &pool->slots[i];
            bool again = false;
            for (int k = 0; k < n; k++)
                again |= told[k] == slot;
            if (slot->state == TP_SLOT_LEASED && !again &&
                (oldest == NULL || slot->acquired_at < oldest->acquired_at))
                oldest = slot;
        }
        if (oldest == NULL)
            return;
        told[n] = oldest;
        append(out, room, "; ");
        tp__report_holder_locked(oldest, now, out, room);
    }
    int more = pool->counts[TP_SLOT_LEASED] - TELL_AT_MOST;
    if (more > 0)
        append(out, room, "; and %d more", more);
}

static const struct tp_slot *lent_locked(const tp_pool *pool, int pid)
{
    for (int i = 0; i < pool->limits.max; i++) {
        if (pool->slots[i].state == TP_SLOT_LEASED && pool->slots[i].backend_pid == pid)
            return &pool->slots[i];
    }
    return NULL;
}

static void describe_backend(const struct tp_slot *slot, int pid, char *out, size_t room)
{
    append(out, room, "backend %d (in this pool", pid);
    if (slot->place[0] != '\0') {
        append_text(out, room, ", acquired at ", slot->place);
        append(out, room, ":%d", slot->line);
    }
}

/* Of others the application, the state and the statement, as far as they are to be seen. */
static void describe_other(const struct tp_blocked *blocked, char *out, size_t room)
{
    append(out, room, "backend %d (", blocked->by);
    append_text(out, room, "application ",
                blocked->by_application[0] != '\0' ? blocked->by_application : "without a name");
}

static void describe_blocked(const tp_pool *pool, const struct tp_slot *waits,
                             const struct tp_blocked *blocked, char *out, size_t room)
{
    const struct tp_slot *own = lent_locked(pool, blocked->by);
    append(out, room, "; ");
    describe_backend(waits, blocked->pid, out, room);
    append(out, room, ") waits for a lock of ");
    if (blocked->by == 0) {
        append(out, room, "a prepared transaction");
        return;
    }
    if (own != NULL)
        describe_backend(own, blocked->by, out, room);
    else
        describe_other(blocked, out, room);
    if (blocked->by_state[0] != '\0') {
        append_text(out, room, ", ", blocked->by_state);
        append(out, room, " for %.1f s", (double)blocked->by_state_us / 1e6);
    }
    if (own == NULL && blocked->by_query[0] != '\0') /* what the own ones do is told of holders */
        append_text(out, room, ": ", blocked->by_query);
    append(out, room, ")");
}

/* Before the holders, because that is why they hold on. */
static void describe_locks(const tp_pool *pool, int64_t now, char *out, size_t room)
{
    enum { TELL_AT_MOST = 2 };
    int count = 0, told = 0;
    const struct tp_blocked *answer = tp__inquiry_answer_locked(pool, now, &count);
    for (int i = 0; answer != NULL && i < count && told < TELL_AT_MOST; i++) {
        const struct tp_slot *waits = lent_locked(pool, answer[i].pid);
        if (waits == NULL)
            continue; /* it came back meanwhile */
        describe_blocked(pool, waits, &answer[i], out, room);
        told++;
    }
}

static bool nothing_connects_locked(const tp_pool *pool)
{
    return pool->connect_failures_in_row > 0 && pool->counts[TP_SLOT_LEASED] == 0 &&
           pool->counts[TP_SLOT_IDLE] == 0;
}

static void report_unreachable_locked(const tp_pool *pool, struct tp_error *err)
{
    *err = pool->last_error;
    err->attempts = (int)pool->connect_failures_in_row;
}

/* As that, to whoever did not wait, or not to the end. */
static void report_fail_fast_locked(const tp_pool *pool, struct tp_error *err)
{
    int64_t us = tp__breaker_wait_locked(pool, tp_now());
    report_unreachable_locked(pool, err);
    if (pool->counts[TP_SLOT_OPENING] > 0)
        append(err->message, sizeof err->message, "; another try is under way");
    else if (us > 0)
        append(err->message, sizeof err->message, "; next try in %lld ms",
               (long long)(us + 999) / 1000);
}

static void describe_budget(const struct tp_budget_view *view, char *out, size_t room)
{
    append(out, room, "; budget: %d of %d connections are taken, by %d process%s (pool.max_total)",
           view->used, view->max, view->processes, view->processes == 1 ? "" : "es");
}

void tp__report_timeout_locked(const tp_pool *pool, int64_t waited_us, struct tp_error *err)
{
    if (nothing_connects_locked(pool) && !pool->suspended) {
        report_unreachable_locked(pool, err);
        return;
    }
    tp__error_set(err, TP_ERR_POOL_TIMEOUT, "no connection came free within %lld ms",
                  (long long)(waited_us / 1000));
    err->retryable = true;
    size_t room = sizeof err->message;
    append(err->message, room, " (max %d: %d in use, %d connecting, %d being mended; %d waiting)",
           pool->limits.max, pool->counts[TP_SLOT_LEASED], pool->counts[TP_SLOT_OPENING],
           pool->counts[TP_SLOT_MENDING], pool->waiting);
    if (pool->suspended)
        append(err->message, room, "; the pool is suspended");
    if (pool->budget_refused)
        describe_budget(&pool->budget_view, err->message, room);
    if (pool->connect_failures_in_row > 0)
        append(err->message, room, "; no other can be made: %.300s", pool->last_error.message);
    describe_locks(pool, tp_now(), err->message, room);
    describe_holders(pool, tp_now(), err->message, room);
}

void tp__report_self_blocked(tp_pool *pool, struct tp_error *err)
{
    tp__error_set(err, TP_ERR_BUSY,
                  "this thread holds all %d connections itself, so waiting for one would never end",
                  pool->limits.max);
    tp__pool_lock(pool);
    describe_holders(pool, tp_now(), err->message, sizeof err->message);
    pthread_mutex_unlock(&pool->lock);
}

void tp__report_refusal_locked(const tp_pool *pool, enum tp_status status, struct tp_error *err)
{
    if (status == TP_ERR_POOL_CLOSED)
        tp__error_set(err, status, "%s",
                      pool->closed     ? "the pool is closed"
                      : pool->draining ? "the pool is draining"
                                       : "this database object is closed; its pool is open "
                                         "elsewhere");
    else
        report_fail_fast_locked(pool, err);
}

/* -------------------------------------------------------------- statistics */

const char *tp_close_reason_name(enum tp_close_reason reason)
{
    switch (reason) {
    case TP_CLOSE_IDLE_TIMEOUT:
        return "idle_timeout";
    case TP_CLOSE_MAX_LIFETIME:
        return "max_lifetime";
    case TP_CLOSE_MAX_USES:
        return "max_uses";
    case TP_CLOSE_DEAD:
        return "dead";
    case TP_CLOSE_IN_DOUBT:
        return "in_doubt";
    case TP_CLOSE_SERVER_GONE:
        return "server_gone";
    case TP_CLOSE_POOL_CLOSED:
        return "pool_closed";
    case TP_CLOSE_DISCARDED:
        return "discarded";
    case TP_CLOSE_BUDGET:
        return "budget";
    case TP_CLOSE_REPLACED:
        return "replaced";
    case TP_CLOSE_SHRUNK:
        return "shrunk";
    case TP_CLOSE_EVICTED:
        return "evicted";
    case TP_CLOSE_REASONS:
        break;
    }
    return "";
}

const char *tp_pool_state_name(enum tp_pool_state state)
{
    switch (state) {
    case TP_POOL_UNCONFIGURED:
        return "unconfigured";
    case TP_POOL_STARTING:
        return "starting";
    case TP_POOL_CONNECTED:
        return "connected";
    case TP_POOL_UNREACHABLE:
        return "unreachable";
    case TP_POOL_SUSPENDED:
        return "suspended";
    case TP_POOL_DRAINING:
        return "draining";
    case TP_POOL_CLOSED:
        return "closed";
    }
    return "";
}

const char *tp_transaction_state_name(enum tp_transaction_state state)
{
    switch (state) {
    case TP_TX_IDLE:
        return "idle";
    case TP_TX_ACTIVE:
        return "active";
    case TP_TX_OPEN:
        return "open";
    case TP_TX_FAILED:
        return "failed";
    case TP_TX_UNKNOWN:
        return "unknown";
    }
    return "";
}

const char *tp_breaker_state_name(enum tp_breaker_state state)
{
    switch (state) {
    case TP_BREAKER_CLOSED:
        return "closed";
    case TP_BREAKER_OPEN:
        return "open";
    case TP_BREAKER_HALF_OPEN:
        return "half_open";
    }
    return "";
}

enum tp_breaker_state tp_pool_breaker(tp_pool *pool, int64_t *next_try_us)
{
    tp__pool_lock(pool);
    enum tp_breaker_state state = tp__breaker_state_locked(pool);
    *next_try_us = state == TP_BREAKER_OPEN ? tp__breaker_wait_locked(pool, tp_now()) : 0;
    pthread_mutex_unlock(&pool->lock);
    return state;
}

static enum tp_pool_state state_locked(const tp_pool *pool)
{
    if (!pool->configured)
        return TP_POOL_UNCONFIGURED;
    if (pool->closed)
        return TP_POOL_CLOSED;
    if (pool->draining)
        return TP_POOL_DRAINING;
    if (pool->suspended)
        return TP_POOL_SUSPENDED;
    if (pool->counts[TP_SLOT_IDLE] + pool->counts[TP_SLOT_LEASED] + pool->counts[TP_SLOT_MENDING] >
        0)
        return TP_POOL_CONNECTED;
    if (pool->connect_failures_in_row > 0)
        return TP_POOL_UNREACHABLE;
    /* A pool that has shrunk to nothing while the server was fine is connected in
     * the sense that matters: the next call will be served. */
    return pool->ever_connected ? TP_POOL_CONNECTED : TP_POOL_STARTING;
}

enum tp_pool_state tp_pool_get_state(tp_pool *pool, uint64_t *error_count,
                                     struct tp_error *last_error)
{
    tp__pool_lock(pool);
    enum tp_pool_state state = state_locked(pool);
    if (error_count != NULL)
        *error_count = pool->connect_failures_in_row;
    if (last_error != NULL)
        *last_error = pool->last_error;
    pthread_mutex_unlock(&pool->lock);
    return state;
}

bool tp_pool_is_closed(tp_pool *pool)
{
    tp__pool_lock(pool);
    bool closed = pool->closed || pool->draining;
    pthread_mutex_unlock(&pool->lock);
    return closed;
}

/* ------------------------------------------------------------------- events */

void tp__pool_event(tp_pool *pool, enum tp_event_type type, int pid, int attempt, const char *code,
                    const char *fmt, ...)
{
    struct tp_event event = {.type = type, .backend_pid = pid, .attempt = attempt};
    char text[sizeof event.text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    event.wall_us = tp__wall_us();
    tp__text_copy(event.text, sizeof event.text, text);
    tp__text_copy(event.code, sizeof event.code, code);
    tp__pool_mind_fork(pool);
    tp__events_push(&pool->events, &event);
}

void tp__pool_report_state_locked(tp_pool *pool)
{
    enum tp_pool_state state = state_locked(pool);
    if (state == pool->reported_state)
        return;
    pool->reported_state = state;
    tp__pool_event(pool, TP_EVENT_STATE, 0, 0, NULL, "%s", tp_pool_state_name(state));
}

bool tp_pool_has_events(const tp_pool *pool)
{
    return tp__events_has_news(&pool->events, &pool->reader);
}

bool tp_pool_next_event(tp_pool *pool, struct tp_event *out, uint64_t *dropped)
{
    tp__pool_mind_fork(pool);
    return tp__events_read(&pool->events, &pool->reader, out, NULL, dropped);
}
