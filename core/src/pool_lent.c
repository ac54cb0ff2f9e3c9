#include "pool_lent.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "pool_report.h"

/* ----------------------------------------------------------------- warnings */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Early enough for the program to do something about it. */
static int64_t idle_warning_us(const tp_pool *pool)
{
    return pool->limits.idle_tx_us / 2;
}

/* Since when a loan is idle in a transaction; 0: it is not. */
static int64_t idle_in_transaction_since(const struct tp_slot *slot)
{
    int state = atomic_load_explicit(&slot->tx_state, memory_order_relaxed);
    bool open = state == TP_TX_OPEN || state == TP_TX_FAILED;
    return open ? atomic_load_explicit(&slot->quiet_since, memory_order_relaxed) : 0;
}

static void tell_held_locked(struct tp_slot *slot, int64_t now)
{
    char who[320] = "";
    tp__report_holder_locked(slot, now, who, sizeof who);
    slot->told_held = true;
    tp__pool_event(slot->pool, TP_EVENT_HELD, slot->backend_pid, 0, NULL,
                   "a connection is %s (pool.leak_after_ms = %lld)", who,
                   (long long)(slot->pool->limits.leak_after_us / 1000));
}

static void tell_idle_locked(struct tp_slot *slot, int64_t since, int64_t now)
{
    char who[320] = "";
    tp__report_holder_locked(slot, now, who, sizeof who);
    slot->told_idle = true;
    tp__pool_event(slot->pool, TP_EVENT_IDLE_TX, slot->backend_pid, 0, NULL,
                   "a connection is idle in a transaction for %.1f s; the server ends it after "
                   "%.1f s (idle_in_transaction_timeout_ms); %s",
                   (double)(now - since) / 1e6, (double)slot->pool->limits.idle_tx_us / 1e6, who);
}

static void warn_slot_locked(struct tp_slot *slot, int64_t now)
{
    const tp_pool *pool = slot->pool;
    int64_t since = idle_in_transaction_since(slot), leak = pool->limits.leak_after_us;
    if (leak > 0 && !slot->told_held && now >= slot->acquired_at + leak)
        tell_held_locked(slot, now);
    if (pool->limits.idle_tx_us > 0 && !slot->told_idle && since > 0 &&
        now >= since + idle_warning_us(pool))
        tell_idle_locked(slot, since, now);
}

void tp__lent_warn_locked(tp_pool *pool, int64_t now)
{
    struct tp_list *node, *following;
    if (pool->limits.leak_after_us == 0 && pool->limits.idle_tx_us == 0)
        return;
    TP_LIST_EACH(node, following, &pool->lists[TP_SLOT_LEASED])
    warn_slot_locked(TP_CONTAINER(node, struct tp_slot, link), now);
}

static int64_t loan_due_locked(const struct tp_slot *slot, int64_t leak, int64_t idle, int64_t now)
{
    int64_t since = idle_in_transaction_since(slot), due = tp__after(now, earlier(leak, idle));
    if (!slot->told_held)
        due = earlier(due, tp__after(slot->acquired_at, leak));
    if (!slot->told_idle && since > 0)
        due = earlier(due, tp__after(since, idle));
    return due;
}

/* Connections are lent, and transactions begun, without a word to the housekeeper: one that does
 * so after it has looked is due no sooner than this time after. */
int64_t tp__lent_due_locked(const tp_pool *pool, int64_t now)
{
    const struct tp_pool_limits *limits = &pool->limits;
    int64_t leak = limits->leak_after_us > 0 ? limits->leak_after_us : TP_NEVER;
    int64_t idle = limits->idle_tx_us > 0 ? idle_warning_us(pool) : TP_NEVER;
    const struct tp_list *head = &pool->lists[TP_SLOT_LEASED], *node = head->next;
    int64_t due = TP_NEVER;
    if (earlier(leak, idle) == TP_NEVER)
        return TP_NEVER;
    if (pool->counts[TP_SLOT_IDLE] > 0)
        due = tp__after(now, earlier(leak, idle));
    for (; node != head; node = node->next)
        due = earlier(due,
                      loan_due_locked(TP_CONTAINER(node, struct tp_slot, link), leak, idle, now));
    return due;
}

void tp__lent_came_back_locked(const struct tp_slot *slot)
{
    char who[320] = "";
    tp__report_holder_locked(slot, tp_now(), who, sizeof who);
    tp__pool_event(slot->pool, TP_EVENT_RETURNED, slot->backend_pid, 0, NULL,
                   "a connection came back that was %s", who);
}

/* ------------------------------------------------------------------ holders */

static void fill(const struct tp_slot *slot, int64_t now, struct tp_holder *out)
{
    char sql[TP_NOTE_ROOM];
    int64_t quiet = atomic_load_explicit(&slot->quiet_since, memory_order_relaxed);
    int state = atomic_load_explicit(&slot->tx_state, memory_order_relaxed);
    out->backend_pid = slot->backend_pid;
    out->age_us = now > slot->acquired_at ? now - slot->acquired_at : 0;
    out->transaction = quiet == 0 ? TP_TX_ACTIVE : (enum tp_transaction_state)state;
    out->line = slot->line;
    tp__text_copy(out->place, sizeof out->place, slot->place);
    tp__note_read(&slot->sql, sql);
    tp__text_copy(out->sql, sizeof out->sql, sql);
}

static int compare_ages(const void *a, const void *b)
{
    int64_t first = ((const struct tp_holder *)a)->age_us;
    int64_t second = ((const struct tp_holder *)b)->age_us;
    return (first < second) - (first > second);
}

size_t tp_pool_holders(tp_pool *pool, struct tp_holder *out, size_t room)
{
    struct tp_list *node, *following;
    size_t count = 0;
    tp__pool_lock(pool);
    int64_t now = tp_now();
    TP_LIST_EACH(node, following, &pool->lists[TP_SLOT_LEASED])
    {
        if (count < room)
            fill(TP_CONTAINER(node, struct tp_slot, link), now, &out[count]);
        count++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (room > 0)
        qsort(out, count < room ? count : room, sizeof *out, compare_ages);
    return count;
}
