#include "budget_table.h"

#include <unistd.h>

#include "error.h"

/* The last digit changes with the layout. */
#define MAGIC UINT64_C(0x7469646570620001)

enum {
    /* A wish is repeated at least three times as often as it is forgotten. */
    WISH_LASTS_US = 350 * 1000,
    /* Nothing lingers for longer, so a time that is further away is nonsense. */
    LINGER_AT_MOST_US = 60 * 1000 * 1000
};

static enum tp_status unusable(struct tp_error *err, const char *path, const char *why)
{
    return tp__error_set(err, TP_ERR_CONNECTION,
                         "the budget of connections (pool.max_total) cannot be used: %s: %s", path,
                         why);
}

enum tp_status tp__budget_table_open(struct tp_budget_table *table, const char *path,
                                     struct tp_error *err)
{
    const char *why = tp__shm_open(&table->shm, path, sizeof *table->segment, MAGIC);
    if (why != NULL)
        return unusable(err, path, why);
    table->segment = table->shm.at;
    return TP_OK;
}

void tp__budget_table_close(struct tp_budget_table *table)
{
    tp__shm_close(&table->shm);
    table->segment = NULL;
}

/* ----------------------------------------------------------------- entries */

static int high_of(const struct tp_budget_table *table)
{
    uint32_t high = atomic_load(&table->segment->high);
    return high < TP_BUDGET_MEMBERS ? (int)high : TP_BUDGET_MEMBERS;
}

static int64_t lingers_till(const struct tp_budget_entry *entry, int64_t now)
{
    int64_t till = atomic_load(&entry->lingers_till);
    return till > now && till < now + LINGER_AT_MOST_US ? till : now;
}

static int lingering_of(const struct tp_budget_entry *entry, int64_t now)
{
    return lingers_till(entry, now) > now ? atomic_load(&entry->lingering) : 0;
}

static bool is_alive(const struct tp_budget_table *table, int index, int self)
{
    return index == self || tp__shm_is_held(&table->shm, index);
}

static bool is_free(const struct tp_budget_entry *entry, int64_t now)
{
    uint32_t state = atomic_load(&entry->state);
    return state == TP_BUDGET_FREE || (state == TP_BUDGET_GONE && lingering_of(entry, now) == 0);
}

int tp__budget_table_join(struct tp_budget_table *table, int max)
{
    int64_t now = tp_now();
    int index = 0, high = high_of(table);
    while (index < high &&
           !(is_free(&table->segment->entries[index], now) && tp__shm_hold(&table->shm, index)))
        index++;
    if (index == TP_BUDGET_MEMBERS || (index == high && !tp__shm_hold(&table->shm, index)))
        return -1;
    struct tp_budget_entry *entry = &table->segment->entries[index];
    atomic_store(&entry->pid, (int32_t)getpid());
    atomic_store(&entry->space, tp__shm_pid_space());
    atomic_store(&entry->max, max);
    atomic_store(&entry->held, 0);
    atomic_store(&entry->lingering, 0);
    atomic_store(&entry->lingers_till, 0);
    atomic_store(&entry->wanted, 0);
    atomic_store(&entry->wanted_at, 0);
    atomic_store(&entry->state, TP_BUDGET_LIVE);
    if (index == high)
        atomic_store(&table->segment->high, (uint32_t)index + 1);
    return index;
}

void tp__budget_entry_linger(struct tp_budget_entry *entry, int64_t until)
{
    if (atomic_load(&entry->lingers_till) < until)
        atomic_store(&entry->lingers_till, until);
    atomic_fetch_add(&entry->lingering, 1);
    atomic_fetch_sub(&entry->held, 1);
}

/* What it held is added to what lingers. */
static void bury(struct tp_budget_entry *entry, int64_t now, int64_t grace_us)
{
    int held = atomic_load(&entry->held);
    int lingering = lingering_of(entry, now) + held;
    int64_t till = lingers_till(entry, now);
    if (held > 0 && till < now + grace_us)
        till = now + grace_us;
    if (lingering == 0) {
        atomic_store(&entry->state, TP_BUDGET_FREE);
        return;
    }
    atomic_store(&entry->lingers_till, till);
    atomic_store(&entry->lingering, lingering);
    atomic_store(&entry->held, 0);
    atomic_store(&entry->wanted, 0);
    atomic_store(&entry->state, TP_BUDGET_GONE);
}

void tp__budget_table_part(struct tp_budget_table *table, int index, int64_t grace_us)
{
    bury(&table->segment->entries[index], tp_now(), grace_us);
    tp__shm_let_go(&table->shm, index);
}

void tp__budget_table_sweep(struct tp_budget_table *table, int self, int64_t grace_us)
{
    int64_t now = tp_now();
    int high = high_of(table);
    for (int i = 0; i < high; i++) {
        struct tp_budget_entry *entry = &table->segment->entries[i];
        uint32_t state = atomic_load(&entry->state);
        if (state == TP_BUDGET_LIVE && !is_alive(table, i, self))
            bury(entry, now, grace_us);
        else if (state == TP_BUDGET_GONE && lingering_of(entry, now) == 0)
            atomic_store(&entry->state, TP_BUDGET_FREE);
    }
}

bool tp__budget_table_is_idle(const struct tp_budget_table *table)
{
    int64_t now = tp_now();
    int high = high_of(table);
    for (int i = 0; i < high; i++) {
        const struct tp_budget_entry *entry = &table->segment->entries[i];
        uint32_t state = atomic_load(&entry->state);
        if (state == TP_BUDGET_LIVE || (state == TP_BUDGET_GONE && lingering_of(entry, now) > 0))
            return false;
    }
    return true;
}

/* -------------------------------------------------------------------- sums */

int tp__budget_entry_wants(const struct tp_budget_entry *entry, int64_t now)
{
    if (atomic_load(&entry->state) != TP_BUDGET_LIVE)
        return 0;
    return now - atomic_load(&entry->wanted_at) < WISH_LASTS_US ? atomic_load(&entry->wanted) : 0;
}

/* Whether an entry before this one is of the same process. */
static bool process_was_seen(const struct tp_budget_segment *segment, int index)
{
    const struct tp_budget_entry *entry = &segment->entries[index];
    int32_t pid = atomic_load(&entry->pid);
    uint64_t space = atomic_load(&entry->space);
    for (int i = 0; i < index; i++) {
        const struct tp_budget_entry *other = &segment->entries[i];
        if (atomic_load(&other->state) == TP_BUDGET_LIVE && atomic_load(&other->pid) == pid &&
            atomic_load(&other->space) == space)
            return true;
    }
    return false;
}

void tp__budget_table_sum(const struct tp_budget_table *table, int max, struct tp_budget_sums *out)
{
    int64_t now = tp_now();
    int high = high_of(table);
    *out = (struct tp_budget_sums){.max = max, .change = TP_NEVER};
    for (int i = 0; i < high; i++) {
        const struct tp_budget_entry *entry = &table->segment->entries[i];
        uint32_t state = atomic_load(&entry->state);
        if (state == TP_BUDGET_FREE)
            continue;
        int lingering = lingering_of(entry, now);
        out->used += lingering;
        out->lingering += lingering;
        if (lingering > 0 && lingers_till(entry, now) < out->change)
            out->change = lingers_till(entry, now);
        if (state != TP_BUDGET_LIVE)
            continue;
        int held = atomic_load(&entry->held), says = atomic_load(&entry->max);
        out->used += held;
        out->max = says < out->max ? says : out->max;
        out->members++;
        out->active += held > 0 || tp__budget_entry_wants(entry, now) > 0;
        out->processes += !process_was_seen(table->segment, i);
    }
}
