#include "pool_breaker.h"

#include <string.h>

#include "clock.h"

enum {
    /* A caller who waits sees another attempt at least this often, whatever the backoff has
     * grown to, so that a server that came back is found soon. */
    ASKED_AGAIN_US = 500 * 1000,
    /* How long callers wait for an attempt that is under way, when the last ones have failed. */
    HALF_OPEN_US = 500 * 1000,
    PROBE_BASE_US = 500 * 1000,
    /* Between attempts that fail for a reason that will not pass by itself. */
    REFUSED_BASE_US = 1000 * 1000,
    REFUSED_MAX_US = 30 * 1000 * 1000
};

static int64_t or_else(int64_t said, int64_t otherwise)
{
    return said > 0 ? said : otherwise;
}

void tp__breaker_init(struct tp_breaker *breaker, const struct tp_pool_limits *limits)
{
    int64_t most = or_else(limits->breaker_open_us, PROBE_BASE_US);
    int64_t refused = or_else(limits->refused_base_us, REFUSED_BASE_US);
    memset(breaker, 0, sizeof *breaker);
    tp__backoff_init(&breaker->pauses, limits->connect_base_us, limits->connect_max_us, 0);
    tp__backoff_init(&breaker->probes, PROBE_BASE_US < most ? PROBE_BASE_US : most, most, 0);
    tp__backoff_init(&breaker->refusals, refused,
                     refused > REFUSED_MAX_US ? refused : REFUSED_MAX_US, 0);
}

/* ------------------------------------------------------------------ attempts */

/* 57P03: cannot_connect_now. */
static bool is_starting_up(const struct tp_error *err)
{
    return strcmp(err->code, "57P03") == 0;
}

/* Only memory comes back by itself of what is not said to. */
static bool is_for_good(const struct tp_error *err)
{
    return !err->retryable && err->kind != TP_ERR_MEMORY;
}

/* The server has looked at who we are, and may count how often we come. */
static bool is_refusal(const struct tp_error *err)
{
    return is_for_good(err) && err->code[0] != '\0';
}

static int64_t pause_locked(tp_pool *pool)
{
    struct tp_breaker *breaker = &pool->breaker;
    if (is_refusal(&pool->last_error))
        return tp__backoff_next(&breaker->refusals);
    return tp__backoff_next(breaker->open ? &breaker->probes : &breaker->pauses);
}

/* From when on whoever comes makes a try due. Processes that have lost one server come back to
 * it at different times. */
static int64_t when_asked(struct tp_breaker *breaker, int64_t now)
{
    int64_t spread =
        breaker->open ? tp__random_below(&breaker->probes.seed, ASKED_AGAIN_US / 2) : 0;
    return now + ASKED_AGAIN_US - spread;
}

static void report_breaker_locked(tp_pool *pool, bool was_open)
{
    const struct tp_breaker *breaker = &pool->breaker;
    if (breaker->open != was_open)
        tp__pool_event(pool, TP_EVENT_BREAKER, 0, (int)pool->connect_failures_in_row,
                       breaker->open ? pool->last_error.code : NULL, "%s",
                       breaker->open ? "open" : "closed");
}

void tp__breaker_failed_locked(tp_pool *pool, int64_t began, int64_t now)
{
    struct tp_breaker *breaker = &pool->breaker;
    const struct tp_error *err = &pool->last_error;
    bool was_open = breaker->open;
    int most = pool->limits.breaker_failures;
    if (began <= breaker->failed_at)
        return; /* those that fail together count once */
    breaker->failed_at = now;
    breaker->for_good = is_for_good(err);
    breaker->rounds = is_starting_up(err) ? 0 : breaker->rounds + 1;
    breaker->open = breaker->for_good || (most > 0 && breaker->rounds >= most);
    breaker->next_at = now + pause_locked(pool);
    if (is_refusal(err))
        breaker->asked_at = breaker->next_at;
    else
        breaker->asked_at = breaker->asked || pool->waiting > 0 ? when_asked(breaker, now) : now;
    /* Where the program makes passwords, the one after the first wrong one may be right. */
    if (breaker->for_good && breaker->rounds == 1 && pool->limits.by_permit)
        breaker->next_at = breaker->asked_at = now;
    breaker->asked = false;
    report_breaker_locked(pool, was_open);
}

void tp__breaker_connected_locked(tp_pool *pool)
{
    struct tp_breaker *breaker = &pool->breaker;
    bool was_open = breaker->open;
    breaker->open = breaker->asked = false;
    breaker->rounds = 0;
    tp__backoff_reset(&breaker->pauses);
    tp__backoff_reset(&breaker->probes);
    tp__backoff_reset(&breaker->refusals);
    tp__breaker_forgive_locked(pool);
    report_breaker_locked(pool, was_open);
}

void tp__breaker_forgive_locked(tp_pool *pool)
{
    pool->breaker.next_at = pool->breaker.asked_at = 0;
}

int64_t tp__breaker_next_try_locked(const tp_pool *pool)
{
    const struct tp_breaker *breaker = &pool->breaker;
    return pool->waiting > 0 && breaker->asked_at < breaker->next_at ? breaker->asked_at
                                                                     : breaker->next_at;
}

/* ------------------------------------------------------------------- callers */

/* Whether some connection is of use, if not now then when it comes back. */
static bool somebody_serves(const tp_pool *pool, int64_t now)
{
    static const enum tp_slot_state serving[] = {TP_SLOT_IDLE, TP_SLOT_LEASED, TP_SLOT_MENDING};
    for (size_t s = 0; s < sizeof serving / sizeof *serving; s++) {
        const struct tp_list *head = &pool->lists[serving[s]], *node = head->next;
        for (; node != head; node = node->next) {
            enum tp_close_reason why;
            if (!tp__slot_is_worn_locked(TP_CONTAINER(node, struct tp_slot, link), now, &why))
                return true;
        }
    }
    return false;
}

/* Until when callers wait for the attempt that is under way; 0: none is. */
static int64_t half_open_until(const tp_pool *pool)
{
    const struct tp_list *head = &pool->lists[TP_SLOT_OPENING], *first = head->next;
    return first != head ? TP_CONTAINER(first, struct tp_slot, link)->opened_at + HALF_OPEN_US : 0;
}

int64_t tp__breaker_wait_locked(const tp_pool *pool, int64_t now)
{
    const struct tp_breaker *breaker = &pool->breaker;
    int64_t at = breaker->asked_at < breaker->next_at ? breaker->asked_at : breaker->next_at;
    return now < at ? at - now : 0;
}

/* Nothing is expected to come of waiting. */
static bool is_hopeless(const tp_pool *pool, int64_t now)
{
    if (!pool->breaker.open || pool->suspended || somebody_serves(pool, now))
        return false;
    if (pool->counts[TP_SLOT_OPENING] > 0)
        return now >= half_open_until(pool);
    return tp__breaker_wait_locked(pool, now) > 0;
}

bool tp__breaker_refuses_locked(tp_pool *pool, bool patient, int64_t now)
{
    if (is_hopeless(pool, now) && (pool->breaker.for_good || !patient)) {
        tp__add(&pool->tally.counts.fail_fast, 1);
        pool->stirred = true;
        return true;
    }
    pool->breaker.asked = true;
    return false;
}

void tp__breaker_dismiss_locked(tp_pool *pool, bool failed, int64_t now)
{
    const struct tp_breaker *breaker = &pool->breaker;
    bool last = failed && (breaker->for_good || pool->counts[TP_SLOT_OPENING] == 0);
    if (!breaker->open || pool->waiting == 0 || pool->suspended)
        return;
    if (last ? somebody_serves(pool, now) : !is_hopeless(pool, now))
        return;
    int before = pool->waiting;
    tp__pool_refuse_locked(pool, TP_ERR_CONNECTION, breaker->for_good);
    tp__add(&pool->tally.counts.fail_fast, (uint64_t)(before - pool->waiting));
}

int64_t tp__breaker_dismiss_due_locked(const tp_pool *pool, int64_t now)
{
    int64_t until = half_open_until(pool);
    bool due = pool->breaker.open && pool->waiting > 0 && now < until;
    return due ? until : TP_NEVER;
}

enum tp_breaker_state tp__breaker_state_locked(const tp_pool *pool)
{
    if (!pool->breaker.open)
        return TP_BREAKER_CLOSED;
    return pool->counts[TP_SLOT_OPENING] > 0 ? TP_BREAKER_HALF_OPEN : TP_BREAKER_OPEN;
}
