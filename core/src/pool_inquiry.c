#include "pool_inquiry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "clock.h"
#include "error.h"
#include "keeper_epoll.h"
#include "pool_budget.h"

enum {
    SHORTEST_WAIT_US = 100 * 1000, /* who waits for less has not much use for the answer */
    ASK_AGAIN_US = 1000 * 1000,
    ANSWER_AT_MOST_US = 2 * 1000 * 1000,
    REST_AT_MOST_US = 10 * 1000 * 1000,
    TRY_AGAIN_US = 10 * 1000 * 1000, /* after a failure */
    /* It is asked again each second as long as it is of interest. */
    FRESH_US = 3 * 1000 * 1000,
    MOST = 16
};

enum state {
    OFF,     /* there is no connection */
    OPENING, /* it is being made */
    ASKING,
    RESTING
};

struct answer {
    int count;
    struct tp_blocked list[MOST];
};

struct tp_inquiry {
    /* the housekeeper's */
    struct tp_slot seat; /* of the connection; on none of the pool's lists */
    enum state state;
    int64_t until;       /* the end of the state at the latest */
    int64_t next_at;     /* when to ask or to connect again at the soonest */
    struct answer fresh; /* what has come of it so far */

    /* guarded by pool->lock */
    int64_t look_at; /* when a caller has waited for half of its time */
    int64_t answered_at;
    struct answer answer;
};

/* --------------------------------------------------------------------- life */

static void be_off(struct tp_inquiry *inquiry)
{
    inquiry->state = OFF;
    inquiry->until = TP_NEVER;
    inquiry->seat.connection = NULL;
    inquiry->seat.fd = -1;
    inquiry->seat.due = 0;
    inquiry->seat.ready = 0;
    atomic_store(&inquiry->seat.hangup, false);
}

struct tp_inquiry *tp__inquiry_new(tp_pool *pool)
{
    if (!pool->vtable->inquires || pool->limits.by_permit)
        return NULL;
    struct tp_inquiry *inquiry = calloc(1, sizeof *inquiry);
    if (inquiry == NULL)
        return NULL;
    inquiry->seat.pool = pool;
    inquiry->look_at = TP_NEVER;
    be_off(inquiry);
    return inquiry;
}

void tp__inquiry_free(struct tp_inquiry *inquiry)
{
    free(inquiry);
}

void tp__inquiry_start_afresh(tp_pool *pool)
{
    struct tp_inquiry *inquiry = pool->inquiry;
    if (inquiry == NULL)
        return;
    if (inquiry->seat.connection != NULL)
        pool->vtable->close(inquiry->seat.connection, true);
    inquiry->look_at = TP_NEVER;
    inquiry->answered_at = inquiry->next_at = 0;
    be_off(inquiry);
}

/* Gives its place in the budget back, too. */
static void shut(tp_pool *pool, int64_t next_at)
{
    struct tp_inquiry *inquiry = pool->inquiry;
    void *connection = inquiry->seat.connection;
    tp__keeper_disarm(pool, &inquiry->seat);
    be_off(inquiry);
    inquiry->next_at = next_at;
    tp__pool_close_connection(pool, connection);
}

void tp__inquiry_close(tp_pool *pool)
{
    if (pool->inquiry != NULL && pool->inquiry->state != OFF)
        shut(pool, 0);
}

void tp__inquiry_forget_fd(tp_pool *pool, const struct tp_slot *slot, int fd)
{
    struct tp_inquiry *inquiry = pool->inquiry;
    if (inquiry != NULL && slot != &inquiry->seat && inquiry->seat.fd == fd)
        inquiry->seat.fd = -1;
}

/* --------------------------------------------------------------------- wish */

bool tp__inquiry_joined_locked(tp_pool *pool, struct tp_waiter *waiter)
{
    struct tp_inquiry *inquiry = pool->inquiry;
    waiter->look_at = TP_NEVER;
    if (inquiry == NULL || waiter->deadline == 0)
        return false;
    int64_t end = tp__after(waiter->since, waiter->patience_us);
    end = waiter->deadline < end ? waiter->deadline : end;
    int64_t half = end == TP_NEVER ? TP_NEVER : (end - waiter->since) / 2;
    if (half < SHORTEST_WAIT_US / 2)
        return false;
    waiter->look_at = tp__after(waiter->since, half);
    if (waiter->look_at >= inquiry->look_at)
        return false;
    inquiry->look_at = waiter->look_at;
    return true;
}

/* Whether the pool makes no connection for those who wait. */
static bool is_full_locked(const tp_pool *pool)
{
    return pool->counts[TP_SLOT_OPENING] == 0 && pool->counts[TP_SLOT_LEASED] > 0 &&
           tp__pool_total_locked(pool) >= pool->adaptive.limit;
}

/* Whether somebody has waited for long enough. Works out when to look again: for those who have, as
 * soon as it may be asked again. */
static bool is_wanted_locked(tp_pool *pool, int64_t now)
{
    struct tp_inquiry *inquiry = pool->inquiry;
    const struct tp_list *node = pool->waiters.next;
    if (now < inquiry->look_at)
        return false;
    bool waits = false;
    int64_t again = inquiry->next_at > now ? inquiry->next_at : now + ASK_AGAIN_US;
    inquiry->look_at = TP_NEVER;
    for (; node != &pool->waiters; node = node->next) {
        int64_t at = TP_CONTAINER(node, struct tp_waiter, link)->look_at;
        waits |= at <= now;
        at = at <= now ? again : at;
        inquiry->look_at = at < inquiry->look_at ? at : inquiry->look_at;
    }
    return waits && !pool->closed && !pool->draining && !pool->suspended && is_full_locked(pool);
}

/* Whether the pool itself or another process is short of a place at the server or in the budget. */
static bool is_in_the_way_locked(const tp_pool *pool)
{
    return pool->connect_failures_in_row > 0 || pool->budget_refused || pool->debt.resting > 0 ||
           pool->debt.busy > 0;
}

/* --------------------------------------------------------------------- asking */

static bool take_place(tp_pool *pool)
{
    struct tp_budget_view view;
    struct tp_error err;
    int granted = 0;
    if (pool->budget == NULL)
        return true;
    return tp__budget_take(pool->budget, 1, 0, &granted, &view, &err) == TP_OK && granted == 1;
}

static void begin(struct tp_inquiry *inquiry, enum state state, int64_t until)
{
    inquiry->state = state;
    inquiry->until = until;
    inquiry->seat.chore = state == OPENING ? TP_CHORE_OPEN : TP_CHORE_INQUIRE;
    inquiry->seat.due = 0;
    inquiry->seat.ready = 0;
}

static void begin_asking(struct tp_inquiry *inquiry, int64_t now)
{
    inquiry->fresh.count = 0;
    inquiry->next_at = now + ASK_AGAIN_US;
    begin(inquiry, ASKING, now + ANSWER_AT_MOST_US);
}

void tp__inquiry_add(tp_pool *pool, const struct tp_blocked *blocked)
{
    struct answer *fresh = &pool->inquiry->fresh;
    if (fresh->count < MOST)
        fresh->list[fresh->count++] = *blocked;
}

static void answered(tp_pool *pool, const struct tp_wait *wait, int64_t now)
{
    struct tp_inquiry *inquiry = pool->inquiry;
    pthread_mutex_lock(&pool->lock);
    inquiry->answer = inquiry->fresh;
    inquiry->answered_at = now;
    pthread_mutex_unlock(&pool->lock);
    begin(inquiry, RESTING, now + REST_AT_MOST_US);
    tp__keeper_arm(pool, &inquiry->seat, wait->fd, EPOLLRDHUP | EPOLLET);
}

/* What it fails of is of no interest: the next one may succeed. */
static void step(tp_pool *pool, int64_t now)
{
    struct tp_inquiry *inquiry = pool->inquiry;
    struct tp_slot *seat = &inquiry->seat;
    struct tp_wait wait = {.fd = -1, .events = 0, .deadline = TP_NEVER, .backend_pid = 0};
    struct tp_error err;
    int ready = seat->ready;

    tp__error_clear(&err);
    seat->ready = 0;
    if (seat->connection == NULL)
        seat->connection = pool->vtable->open(pool->ctx, NULL, &err);
    if (seat->connection == NULL) {
        shut(pool, now + TRY_AGAIN_US);
        return;
    }
    switch (pool->vtable->step(seat->connection, seat->chore, ready, &wait, &err)) {
    case TP_DONE:
        if (inquiry->state == ASKING) {
            answered(pool, &wait, now);
            return;
        }
        atomic_store(&seat->hangup, false); /* an address that refused */
        begin_asking(inquiry, now);
        return;
    case TP_WAIT:
        seat->due = wait.deadline;
        tp__keeper_arm_for_wait(pool, seat, &wait);
        return;
    default:
        shut(pool, now + TRY_AGAIN_US);
    }
}

static bool is_to_be_shut(const struct tp_inquiry *inquiry, int64_t now, bool in_the_way)
{
    bool lost = inquiry->state == RESTING && (atomic_load(&inquiry->seat.hangup) || in_the_way);
    return lost || now >= inquiry->until;
}

/* A connection that has just been made is asked at once. */
static void move(tp_pool *pool, int64_t now, bool rung)
{
    struct tp_inquiry *inquiry = pool->inquiry;
    const struct tp_slot *seat = &inquiry->seat;
    enum state before;
    do {
        before = inquiry->state;
        if ((before == OPENING || before == ASKING) &&
            (rung || seat->ready != 0 || now >= seat->due))
            step(pool, now);
    } while (before == OPENING && inquiry->state == ASKING);
}

void tp__inquiry_pass(tp_pool *pool, bool rung)
{
    struct tp_inquiry *inquiry = pool->inquiry;
    int64_t now = tp_now();
    if (inquiry == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    bool in_the_way = is_in_the_way_locked(pool);
    bool wanted = is_wanted_locked(pool, now) && now >= inquiry->next_at && !in_the_way;
    pthread_mutex_unlock(&pool->lock);
    if (inquiry->state != OFF && is_to_be_shut(inquiry, now, in_the_way))
        shut(pool, inquiry->state == RESTING ? 0 : now + TRY_AGAIN_US);
    else if (wanted && inquiry->state == RESTING)
        begin_asking(inquiry, now);
    else if (wanted && inquiry->state == OFF && take_place(pool))
        begin(inquiry, OPENING, now + REST_AT_MOST_US);
    move(pool, now, rung);
}

int64_t tp__inquiry_due_locked(const tp_pool *pool)
{
    const struct tp_inquiry *inquiry = pool->inquiry;
    if (inquiry == NULL)
        return TP_NEVER;
    int64_t due = inquiry->look_at;
    if (inquiry->state == OPENING || inquiry->state == ASKING)
        due = inquiry->seat.due < due ? inquiry->seat.due : due;
    return inquiry->until < due ? inquiry->until : due;
}

/* ------------------------------------------------------------------- answers */

static bool is_lent_locked(const tp_pool *pool, int pid)
{
    const struct tp_list *head = &pool->lists[TP_SLOT_LEASED], *node = head->next;
    while (node != head && TP_CONTAINER(node, struct tp_slot, link)->backend_pid != pid)
        node = node->next;
    return node != head;
}

const struct tp_blocked *tp__inquiry_answer_locked(const tp_pool *pool, int64_t now, int *count)
{
    const struct tp_inquiry *inquiry = pool->inquiry;
    if (inquiry == NULL || inquiry->answered_at == 0 || now - inquiry->answered_at > FRESH_US)
        return NULL;
    *count = inquiry->answer.count;
    return inquiry->answer.list;
}

int tp_pool_blocked(tp_pool *pool, struct tp_blocked *out, int room)
{
    int known = 0, count = 0;
    tp__pool_lock(pool);
    const struct tp_blocked *answer = tp__inquiry_answer_locked(pool, tp_now(), &known);
    for (int i = 0; answer != NULL && i < known; i++) {
        if (!is_lent_locked(pool, answer[i].pid))
            continue; /* it came back meanwhile */
        if (count < room)
            out[count] = answer[i];
        count++;
    }
    pthread_mutex_unlock(&pool->lock);
    return answer != NULL ? count : -1;
}
