#include "fake_pool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "pool_inquiry.h"

int fake_rounds(int rounds)
{
    const char *divisor = getenv("TIDEPOOL_TEST_DIVISOR");
    int by = divisor != NULL ? atoi(divisor) : FAKE_UNDER_TSAN ? 10 : 1;
    return by > 1 ? rounds / by : rounds;
}

/* ------------------------------------------------------------------- vtable */

static void count_up(atomic_int *counter, atomic_int *most)
{
    int now = atomic_fetch_add(counter, 1) + 1;
    int seen = atomic_load(most);
    while (seen < now && !atomic_compare_exchange_weak(most, &seen, now)) {
    }
}

static bool fails_now(struct fake *fake)
{
    int left = atomic_load(&fake->fail_opens);
    if (left > 0)
        atomic_fetch_sub(&fake->fail_opens, 1);
    if (left != 0)
        atomic_fetch_add(&fake->failures, 1);
    return left != 0;
}

static void say_why(const struct fake *fake, struct tp_error *err)
{
    tp__error_set(err, TP_ERR_CONNECTION, "could not connect: scripted");
    bool wrong_password = atomic_load(&fake->wrong_password);
    err->retryable = !atomic_load(&fake->permanent) && !wrong_password;
    if (wrong_password)
        memcpy(err->code, "28P01", sizeof err->code);
    if (atomic_load(&fake->server_gone))
        memcpy(err->code, "57P03", sizeof err->code);
}

static void *fake_vopen(void *ctx, struct tp_lease_tally *tally, struct tp_error *err)
{
    (void)tally;
    struct fake *fake = ctx;
    int pair[2];
    if (atomic_load(&fake->fail_at_once) && fails_now(fake)) {
        say_why(fake, err);
        return NULL;
    }
    struct fake_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    conn->fake = fake;
    conn->id = atomic_fetch_add(&fake->opens, 1) + 1;
    conn->fd = pair[0];
    conn->peer = pair[1];
    conn->connecting = true;
    count_up(&fake->alive, &fake->most_alive);
    count_up(&fake->connecting, &fake->most_connecting);
    return conn;
}

static void end_connecting(struct fake_conn *conn)
{
    if (conn->connecting)
        atomic_fetch_sub(&conn->fake->connecting, 1);
    conn->connecting = false;
}

/* As with two hosts of which the first refuses: a hang-up shows, another descriptor
 * takes its place. */
static enum tp_step be_refused(struct fake_conn *conn, struct tp_wait *wait)
{
    close(conn->peer);
    conn->peer = -1;
    conn->refused = true;
    wait->fd = conn->fd;
    wait->events = TP_READ;
    return TP_WAIT;
}

static void reach_second(struct fake_conn *conn)
{
    int pair[2];
    close(conn->fd);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    conn->fd = pair[0];
    conn->peer = pair[1];
}

static enum tp_step step_open(struct fake_conn *conn, int ready, struct tp_wait *wait,
                              struct tp_error *err)
{
    struct fake *fake = conn->fake;
    if (atomic_load(&fake->hold_opens))
        return TP_WAIT;
    if (atomic_load(&fake->refuse_first) && !conn->refused)
        return be_refused(conn, wait);
    if (conn->refused && conn->peer < 0) {
        if (ready == 0)
            return TP_WAIT;
        reach_second(conn);
    }
    end_connecting(conn);
    if (!atomic_load(&fake->fail_at_once) && fails_now(fake)) {
        say_why(fake, err);
        return TP_FAILED;
    }
    return TP_DONE;
}

static enum tp_step step_chore(struct fake_conn *conn, enum tp_chore chore, struct tp_wait *wait)
{
    struct fake *fake = conn->fake;
    if (conn->chore_until == 0) {
        atomic_fetch_add(chore == TP_CHORE_PING      ? &fake->pings
                         : chore == TP_CHORE_INQUIRE ? &fake->inquiries
                                                     : &fake->resets,
                         1);
        conn->chore_until = tp_now() + atomic_load(&fake->chore_takes_us);
    }
    if (atomic_load(&fake->hold_chores))
        return TP_WAIT;
    if (tp_now() < conn->chore_until) {
        wait->deadline = conn->chore_until;
        return TP_WAIT;
    }
    conn->chore_until = 0;
    if (chore == TP_CHORE_INQUIRE && atomic_load(&fake->blocked) != 0) {
        struct tp_blocked blocked = {.pid = atomic_load(&fake->blocked), .by = 4711};
        tp__inquiry_add(fake->pool, &blocked);
    }
    return atomic_load(&fake->fail_chores) ? TP_FAILED : TP_DONE;
}

static enum tp_step fake_vstep(void *connection, enum tp_chore chore, int ready,
                               struct tp_wait *wait, struct tp_error *err)
{
    struct fake_conn *conn = connection;
    atomic_fetch_add(&conn->fake->steps, 1);
    enum tp_step step =
        chore == TP_CHORE_OPEN ? step_open(conn, ready, wait, err) : step_chore(conn, chore, wait);
    if (step == TP_DONE) {
        wait->fd = conn->fd;
        wait->backend_pid = conn->id;
    }
    return step;
}

static bool fake_vlook(void *connection)
{
    (void)connection;
    return true;
}

static void fake_vclose(void *connection, bool forked)
{
    struct fake_conn *conn = connection;
    struct fake *fake = conn->fake;
    atomic_fetch_add(&fake->in_close, 1);
    while (!forked && atomic_load(&fake->hold_closes))
        fake_breathe();
    end_connecting(conn);
    atomic_fetch_add(forked ? &fake->forked_closes : &fake->closes, 1);
    atomic_fetch_sub(&fake->alive, 1);
    close(conn->fd);
    if (conn->peer >= 0)
        close(conn->peer);
    atomic_fetch_sub(&fake->in_close, 1);
    free(conn);
}

static const struct tp_pool_vtable fake_vtable = {
    .open = fake_vopen,
    .step = fake_vstep,
    .look = fake_vlook,
    .close = fake_vclose,
    .inquires = true,
};

/* --------------------------------------------------------------- start, end */

struct tp_pool_limits fake_limits(int min, int max)
{
    struct tp_pool_limits limits = {
        .min = min, .max = max, .connect_base_us = 2 * MS, .connect_max_us = 20 * MS};
    return limits;
}

void fake_start(struct fake *fake, const struct tp_pool_limits *limits)
{
    struct tp_error err;
    memset(fake, 0, sizeof *fake);
    assert_int_equal(tp__pool_new(&fake->pool, limits, &fake_vtable, fake, NULL, &err), TP_OK);
}

void fake_end(struct fake *fake)
{
    tp_pool_release(fake->pool);
    fake->pool = NULL;
    assert_int_equal(fake->alive, 0);
    assert_int_equal(fake->connecting, 0);
}

void fake_say(struct fake *fake, atomic_bool *what, bool value)
{
    atomic_store(what, value);
    tp__wake_ring(fake->pool->wake);
}

void fake_breathe(void)
{
    struct timespec moment = {.tv_sec = 0, .tv_nsec = 200 * 1000};
    nanosleep(&moment, NULL);
}

/* ----------------------------------------------------------- take and give */

enum tp_acquired fake_wait(struct fake *fake, struct tp_waiter *waiter, int64_t deadline,
                           struct held *out, struct tp_error *err)
{
    for (;;) {
        enum tp_acquired how = tp__pool_poll(fake->pool, waiter, deadline, err);
        if (how == TP_ACQUIRED) {
            out->slot = waiter->slot;
            out->generation = atomic_load(&waiter->slot->generation);
        }
        if (how != TP_QUEUED)
            return how;
        tp__pool_park(fake->pool, waiter, deadline);
    }
}

struct held fake_take(struct fake *fake)
{
    struct tp_error err;
    struct held held = {NULL, 0};
    struct tp_waiter waiter;
    memset(&waiter, 0, sizeof waiter);
    enum tp_acquired how = tp__pool_acquire(fake->pool, &waiter, &err);
    if (how != TP_REFUSED)
        how = fake_wait(fake, &waiter, tp_now() + FAKE_AT_MOST_US, &held, &err);
    if (how != TP_ACQUIRED)
        fail_msg("no connection: %s", err.message);
    return held;
}

void fake_queue(struct fake *fake, struct tp_waiter *waiter)
{
    struct tp_error err;
    memset(waiter, 0, sizeof *waiter);
    assert_int_equal(tp__pool_acquire(fake->pool, waiter, &err), TP_QUEUED);
}

bool fake_served(struct fake *fake, struct tp_waiter *waiter, struct held *out)
{
    struct tp_error err;
    enum tp_acquired how = tp__pool_poll(fake->pool, waiter, TP_NEVER, &err);
    if (how == TP_REFUSED)
        fail_msg("refused: %s", err.message);
    if (how == TP_QUEUED)
        return false;
    out->slot = waiter->slot;
    out->generation = atomic_load(&waiter->slot->generation);
    return true;
}

void fake_give(struct held held, enum tp_fate fate)
{
    assert_true(tp__pool_return(held.slot, held.generation, fate, TP_CLOSE_DISCARDED, NULL));
}

int fake_id(struct held held)
{
    return ((struct fake_conn *)held.slot->connection)->id;
}

void fake_hang_up(struct held held)
{
    shutdown(((struct fake_conn *)held.slot->connection)->peer, SHUT_RDWR);
}

/* ------------------------------------------------------------------ reports */

struct tp_stats fake_stats(struct fake *fake)
{
    struct tp_stats stats;
    tp_pool_stats(fake->pool, &stats);
    return stats;
}

void fake_next_event(struct fake *fake, enum tp_event_type type, struct tp_event *out)
{
    do {
        AWAIT(tp_pool_next_event(fake->pool, out, NULL));
    } while (out->type != type);
}
