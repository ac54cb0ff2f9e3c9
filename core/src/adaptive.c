#include "adaptive.h"

#include <string.h>

enum {
    WINDOWS = 3,         /* that are counted at one limit */
    HOLD_WINDOWS = 24,   /* between two tries */
    LEAST_RETURNED = 10, /* in a window that says something */
};

/* A larger limit has to do so much more; a smaller one may do so much less. */
static const double gain = 1.03, loss = 0.98;

void tp__adaptive_init(struct tp_adaptive *adaptive, bool on, int min, int max)
{
    memset(adaptive, 0, sizeof *adaptive);
    adaptive->on = on;
    adaptive->min = min > 1 ? min : 1;
    adaptive->max = max;
    adaptive->limit = on && adaptive->min < max ? adaptive->min : max;
}

static void change(struct tp_adaptive *adaptive, int limit)
{
    adaptive->limit = limit < adaptive->min   ? adaptive->min
                      : limit > adaptive->max ? adaptive->max
                                              : limit;
    adaptive->windows = 0;
    adaptive->rate = 0;
    adaptive->settled = false;
}

static void try_another(struct tp_adaptive *adaptive, bool down)
{
    int limit = adaptive->limit, step = down || limit < 8 ? 1 : limit / 4;
    adaptive->from = limit;
    adaptive->from_rate = adaptive->rate;
    change(adaptive, down ? limit - step : limit + step);
    if (adaptive->limit == limit) /* there is none */
        adaptive->from = 0;
}

static void go_back(struct tp_adaptive *adaptive)
{
    bool was_down = adaptive->limit < adaptive->from;
    change(adaptive, adaptive->from);
    adaptive->from = 0;
    adaptive->hold = HOLD_WINDOWS;
    adaptive->down = !was_down;
}

/* The mean of this limit is known. */
static void decide(struct tp_adaptive *adaptive)
{
    if (adaptive->from == 0) {
        if (adaptive->hold > 0)
            return;
        try_another(adaptive, adaptive->down);
        adaptive->down = !adaptive->down;
        return;
    }
    bool down = adaptive->limit < adaptive->from;
    if (adaptive->rate >= adaptive->from_rate * (down ? loss : gain))
        try_another(adaptive, down);
    else
        go_back(adaptive);
}

/* A window in which callers waited all the time. */
static void count(struct tp_adaptive *adaptive, double rate)
{
    adaptive->hold -= adaptive->hold > 0;
    if (!adaptive->settled) {
        adaptive->settled = true;
        return;
    }
    if (adaptive->windows < WINDOWS)
        adaptive->windows++;
    adaptive->rate += (rate - adaptive->rate) / adaptive->windows;
    if (adaptive->windows == WINDOWS)
        decide(adaptive);
}

void tp__adaptive_look(struct tp_adaptive *adaptive, const struct tp_adaptive_counts *counts,
                       int64_t now)
{
    int64_t passed = now - adaptive->window_began;
    if (!adaptive->on || passed < TP_ADAPTIVE_WINDOW_US)
        return;
    uint64_t returned = counts->returned - adaptive->returned;
    uint64_t handed = counts->handed - adaptive->handed;
    double rate = (double)(counts->queries - adaptive->queries) / (double)passed;
    adaptive->window_began = now;
    adaptive->queries = counts->queries;
    adaptive->returned = counts->returned;
    adaptive->handed = counts->handed;
    if (passed / 2 > TP_ADAPTIVE_WINDOW_US)
        return; /* nobody looked: nothing went on */
    if (counts->waiting > 0 && returned == 0)
        change(adaptive, adaptive->limit + 1); /* those who have them may wait for another */
    else if (returned >= LEAST_RETURNED && handed >= returned - returned / 8)
        count(adaptive, rate);
}
