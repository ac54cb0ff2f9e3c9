#include "pool_budget.h"

#include "clock.h"

enum {
    /* A connection that was used a moment ago is likely to be used again. */
    RESTED_US = 50 * 1000,
    /* Where there are more pools than places, each has its connections for at least so long. */
    TURN_US = 250 * 1000,
    /* Between two looks at a budget that has refused, unless something happened. */
    PAUSE_US = 5 * 1000,
    /* The same when no one waits, only pool.min is not reached. */
    FILL_AGAIN_US = 1000 * 1000
};

static void pass_due_at(tp_pool *pool, int64_t at)
{
    if (at < pool->budget_due)
        pool->budget_due = at;
}

void tp__pool_budget_pass(tp_pool *pool)
{
    pool->budget_due = TP_NEVER;
    if (pool->budget == NULL)
        return;
    bool news = false;
    pass_due_at(pool, tp__budget_settle(pool->budget, &news));
    if (news)
        pool->budget_tried_at = 0;
    struct tp_budget_debt debt = tp__budget_debt(pool->budget, pool->limits.min);
    pthread_mutex_lock(&pool->lock);
    pool->debt = debt;
    pthread_mutex_unlock(&pool->lock);
}

static enum tp_status ask_budget(tp_pool *pool, int wanted, int demand, int *granted,
                                 struct tp_error *err)
{
    struct tp_budget_view view;
    int64_t now = tp_now();
    enum tp_status status = tp__budget_take(pool->budget, wanted, demand, granted, &view, err);
    if (status != TP_OK)
        return status;
    bool scarce = *granted < wanted;
    pool->budget_tried_at = now;
    if (scarce) {
        pass_due_at(pool, now + (demand > *granted ? TP_BUDGET_LOOK_US : FILL_AGAIN_US));
        pass_due_at(pool, view.look_at);
    }
    pthread_mutex_lock(&pool->lock);
    pool->budget_refused = scarce;
    pool->budget_view = view;
    pthread_mutex_unlock(&pool->lock);
    return TP_OK;
}

enum tp_status tp__pool_budget_take(tp_pool *pool, int wanted, int demand, int *granted,
                                    struct tp_error *err)
{
    *granted = 0;
    if (pool->budget == NULL)
        *granted = wanted;
    if (pool->budget == NULL || (wanted == 0 && !pool->budget_refused))
        return TP_OK;
    if (wanted > 0 && pool->budget_refused && tp_now() < pool->budget_tried_at + PAUSE_US) {
        pass_due_at(pool, pool->budget_tried_at + PAUSE_US);
        return TP_OK;
    }
    return ask_budget(pool, wanted, demand, granted, err);
}

void tp__pool_budget_give(tp_pool *pool, int count)
{
    if (pool->budget != NULL)
        tp__budget_give(pool->budget, count);
}

/* The least recently used ones are at the end. */
void tp__pool_budget_reap_locked(tp_pool *pool, int64_t now)
{
    struct tp_list *head = &pool->lists[TP_SLOT_IDLE];
    while (pool->debt.resting > 0 && head->prev != head) {
        struct tp_slot *slot = TP_CONTAINER(head->prev, struct tp_slot, link);
        if (now < slot->idle_since + RESTED_US) {
            pass_due_at(pool, slot->idle_since + RESTED_US);
            return;
        }
        pool->debt.resting--;
        tp__slot_close_locked(slot, TP_CLOSE_BUDGET);
    }
}

bool tp__pool_budget_owes_locked(const struct tp_slot *slot, int64_t now)
{
    struct tp_budget_debt *debt = &slot->pool->debt;
    if (debt->busy == 0 || (debt->in_turn && now < slot->opened_at + TURN_US))
        return false;
    debt->busy--;
    return true;
}

void tp__pool_close_connection(tp_pool *pool, void *connection)
{
    int fd = TP_BUDGET_ENDED;
    if (connection != NULL) {
        if (pool->budget != NULL && pool->vtable->socket != NULL)
            fd = pool->vtable->socket(connection);
        pool->vtable->close(connection, false);
    }
    if (pool->budget != NULL)
        tp__budget_linger(pool->budget, fd);
}

void tp__pool_budget_leave(tp_pool *pool, int64_t us)
{
    if (pool->budget == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    bool out = tp__pool_total_locked(pool) > 0;
    pthread_mutex_unlock(&pool->lock);
    if (!out)
        tp__budget_leave(pool->budget, tp__after(tp_now(), us));
}

void tp__pool_budget_stats(tp_pool *pool, struct tp_stats *out)
{
    struct tp_budget_view view = {0, 0, 0, TP_NEVER};
    if (pool->budget != NULL)
        tp__budget_look(pool->budget, &view);
    out->budget_max = view.max;
    out->budget_used = view.used;
    out->budget_processes = view.processes;
}
