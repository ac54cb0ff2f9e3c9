#include "reactor.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"
#include "op_impl.h"

/* What always finds more to do (rows that come faster than they are read, say) waits after a
 * while all the same, so that the loop gets on. */
enum { TURN_US = 1000 };

struct tp_reactor {
    struct tp_poller poller;
    struct tp_bell bell;
    struct tp_list called; /* operations that may go on */
    tp_op **heap;          /* by deadline, the earliest first */
    size_t count, room;
    size_t waiting;       /* seats that are taken */
    int64_t asleep_until; /* the loop waits for the descriptor until then; INT64_MIN: not */
    int alarm_fd;         /* a timerfd(2), or -1 */
    int64_t alarm_at;     /* when it goes off; TP_NEVER: it is not set */
    unsigned fork_count;
    int refs;
};

/* --------------------------------------------------------------- the deadlines */

static void put(tp_reactor *reactor, size_t place, tp_op *op)
{
    reactor->heap[place] = op;
    op->seat.place = place;
}

static bool is_before(const tp_op *a, const tp_op *b)
{
    return a->seat.deadline < b->seat.deadline;
}

static void sift_up(tp_reactor *reactor, size_t place, tp_op *op)
{
    while (place > 0 && is_before(op, reactor->heap[(place - 1) / 2])) {
        put(reactor, place, reactor->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put(reactor, place, op);
}

static void sift_down(tp_reactor *reactor, size_t place, tp_op *op)
{
    size_t child;
    while ((child = 2 * place + 1) < reactor->count) {
        if (child + 1 < reactor->count && is_before(reactor->heap[child + 1], reactor->heap[child]))
            child++;
        if (!is_before(reactor->heap[child], op))
            break;
        put(reactor, place, reactor->heap[child]);
        place = child;
    }
    put(reactor, place, op);
}

static bool make_room(tp_reactor *reactor)
{
    if (reactor->count < reactor->room)
        return true;
    size_t room = reactor->room > 0 ? 2 * reactor->room : 64;
    tp_op **heap = realloc(reactor->heap, room * sizeof(tp_op *));
    if (heap == NULL)
        return false;
    reactor->heap = heap;
    reactor->room = room;
    return true;
}

/* False: no memory. */
static bool add_deadline(tp_reactor *reactor, tp_op *op, int64_t deadline)
{
    op->seat.deadline = TP_NEVER;
    if (deadline == TP_NEVER)
        return true;
    if (!make_room(reactor))
        return false;
    op->seat.deadline = deadline;
    sift_up(reactor, reactor->count++, op);
    if (deadline < reactor->asleep_until)
        tp__wake_ring(reactor->bell.wake);
    return true;
}

static void remove_deadline(tp_reactor *reactor, tp_op *op)
{
    if (op->seat.deadline == TP_NEVER)
        return;
    tp_op *last = reactor->heap[--reactor->count];
    if (last != op) {
        sift_up(reactor, op->seat.place, last);
        sift_down(reactor, last->seat.place, last);
    }
    op->seat.deadline = TP_NEVER;
}

/* ------------------------------------------------------------- the life of it */

static bool open_descriptors(tp_reactor *reactor)
{
    tp__list_init(&reactor->called);
    reactor->count = reactor->waiting = 0;
    reactor->asleep_until = INT64_MIN;
    reactor->alarm_fd = -1;
    reactor->alarm_at = TP_NEVER;
    reactor->fork_count = tp__fork_count;
    if (!tp__bell_init(&reactor->bell))
        return false;
    if (tp__poller_init(&reactor->poller) &&
        tp__poller_add(&reactor->poller, tp__wake_fd(reactor->bell.wake)))
        return true;
    tp__poller_deinit(&reactor->poller, false);
    tp__bell_deinit(&reactor->bell);
    return false;
}

tp_reactor *tp_reactor_new(void)
{
    tp_reactor *reactor = calloc(1, sizeof *reactor);
    if (reactor == NULL || !open_descriptors(reactor)) {
        free(reactor);
        return NULL;
    }
    reactor->refs = 1;
    return reactor;
}

static void close_descriptors(tp_reactor *reactor)
{
    tp__poller_deinit(&reactor->poller, reactor->fork_count != tp__fork_count);
    tp__bell_deinit(&reactor->bell);
    if (reactor->alarm_fd >= 0)
        close(reactor->alarm_fd);
}

void tp_reactor_release(tp_reactor *reactor)
{
    if (reactor == NULL || --reactor->refs > 0)
        return;
    close_descriptors(reactor);
    free(reactor->heap);
    free(reactor);
}

bool tp_reactor_mind_fork(tp_reactor *reactor)
{
    if (reactor->fork_count == tp__fork_count)
        return true;
    close_descriptors(reactor);
    return open_descriptors(reactor);
}

/* ------------------------------------------------------------------ the seats */

void tp_op_use(tp_op *op, tp_reactor *reactor, uintptr_t owner)
{
    tp__reactor_leave(op);
    op->waiter.owner = owner;
    op->seat.turn_ends = 0;
    if (op->seat.reactor == reactor)
        return;
    tp_reactor_release(op->seat.reactor);
    op->seat.reactor = reactor;
    if (reactor != NULL)
        reactor->refs++;
}

/* A loop that sleeps for nobody any more is to hear of it. */
static void one_less(tp_reactor *reactor)
{
    reactor->waiting--;
    if (reactor->waiting == 0 && reactor->asleep_until != INT64_MIN)
        tp__wake_ring(reactor->bell.wake);
}

void tp__reactor_leave(tp_op *op)
{
    struct tp_seat *seat = &op->seat;
    tp_reactor *reactor = seat->reactor;
    if (reactor == NULL)
        return;
    if (reactor->fork_count == tp__fork_count && op->fork_count == tp__fork_count) {
        tp__bell_still(&reactor->bell, &op->waiter.rope);
        remove_deadline(reactor, op);
        if (seat->called)
            tp__list_remove(&seat->link);
        if (seat->taken)
            one_less(reactor);
        if (seat->watched && !tp__op_is_dispossessed(op))
            tp__watch_leave(tp__conn_watch(op->conn));
    } else {
        op->waiter.rope.pulled = false; /* in the list of the parent */
    }
    seat->taken = seat->called = seat->watched = false;
    seat->deadline = TP_NEVER;
}

static void call(tp_reactor *reactor, tp_op *op)
{
    struct tp_seat *seat = &op->seat;
    if (!seat->taken)
        return;
    seat->taken = false;
    seat->called = true;
    tp__list_push_back(&reactor->called, &seat->link);
    reactor->waiting--;
}

static void take_seat(tp_reactor *reactor, tp_op *op)
{
    struct tp_seat *seat = &op->seat;
    int fd = tp_op_fd(op);
    seat->taken = true;
    reactor->waiting++;
    bool good = add_deadline(reactor, op, tp_op_deadline(op));
    if (fd >= 0) {
        seat->watched =
            tp__poller_watch(&reactor->poller, tp__conn_watch(op->conn), fd, tp_op_events(op), op);
        good = good && seat->watched;
    }
    if (!good) /* without memory or descriptors it is stepped again and again */
        call(reactor, op);
}

static bool is_turn_over(struct tp_seat *seat)
{
    int64_t now = tp_now();
    if (seat->turn_ends == 0)
        seat->turn_ends = now + TURN_US;
    return now >= seat->turn_ends;
}

/* It goes on when the loop has looked at all others. */
static enum tp_step let_others_go_on(tp_reactor *reactor, tp_op *op)
{
    struct tp_seat *seat = &op->seat;
    seat->turn_ends = 0;
    seat->taken = true;
    reactor->waiting++;
    if (!add_deadline(reactor, op, tp_now()))
        call(reactor, op);
    return TP_WAIT;
}

enum tp_step tp_reactor_step(tp_op *op)
{
    tp_reactor *reactor = op->seat.reactor;
    int ready = op->seat.ready;
    tp__reactor_leave(op);
    if (is_turn_over(&op->seat))
        return let_others_go_on(reactor, op);
    op->seat.ready = 0;
    tp__bell_attend(&reactor->bell);
    enum tp_step step = tp_op_step(op, ready);
    tp__bell_leave(&reactor->bell);
    if (step == TP_WAIT) {
        op->seat.turn_ends = 0;
        take_seat(reactor, op);
    }
    return step;
}

/* ------------------------------------------------------------------- the loop */

int tp_reactor_fd(const tp_reactor *reactor)
{
    return reactor->poller.fd;
}

size_t tp_reactor_waiting(const tp_reactor *reactor)
{
    return reactor->waiting;
}

bool tp_reactor_has_news(tp_reactor *reactor)
{
    return !tp__list_empty(&reactor->called) || tp__bell_was_rung(&reactor->bell);
}

int64_t tp_reactor_sleep(tp_reactor *reactor)
{
    reactor->asleep_until = reactor->count > 0 ? reactor->heap[0]->seat.deadline : TP_NEVER;
    if (tp_reactor_has_news(reactor))
        reactor->asleep_until = tp_now();
    return reactor->asleep_until;
}

static bool open_alarm(tp_reactor *reactor)
{
    if (reactor->alarm_fd >= 0)
        return true;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd >= 0 && !tp__poller_add(&reactor->poller, fd)) {
        close(fd);
        fd = -1;
    }
    reactor->alarm_fd = fd;
    return fd >= 0;
}

/* One that is set to an earlier time may go off for nothing: that costs less than to set it
 * for every wait. A time of zero would mean no alarm. */
bool tp_reactor_set_alarm(tp_reactor *reactor)
{
    int64_t until = tp_reactor_sleep(reactor);
    if (!open_alarm(reactor))
        return false;
    if (until >= reactor->alarm_at)
        return true;
    struct itimerspec when = {.it_value = tp__timespec(until > 0 ? until : 1)};
    if (timerfd_settime(reactor->alarm_fd, TFD_TIMER_ABSTIME, &when, NULL) != 0)
        return false;
    reactor->alarm_at = until;
    return true;
}

static void clear_alarm(tp_reactor *reactor)
{
    uint64_t count;
    if (reactor->alarm_fd >= 0 &&
        read(reactor->alarm_fd, &count, sizeof count) == (ssize_t)sizeof count)
        reactor->alarm_at = TP_NEVER;
}

static void on_ready(void *ctx, void *user, int events)
{
    tp_reactor *reactor = ctx;
    tp_op *op = user;
    if (op == NULL) {
        tp__wake_clear(reactor->bell.wake);
        clear_alarm(reactor);
        return;
    }
    op->seat.watched = false;
    op->seat.ready |= events;
    call(reactor, op);
}

void tp_reactor_look(tp_reactor *reactor)
{
    reactor->asleep_until = INT64_MIN;
    tp__poller_look(&reactor->poller, on_ready, reactor);
    if (reactor->count == 0)
        return;
    int64_t now = tp_now();
    while (reactor->count > 0 && reactor->heap[0]->seat.deadline <= now) {
        tp_op *op = reactor->heap[0];
        remove_deadline(reactor, op);
        call(reactor, op);
    }
}

tp_op *tp_reactor_next(tp_reactor *reactor)
{
    struct tp_list *first = tp__list_first(&reactor->called);
    tp_op *op;
    if (first != NULL) {
        op = TP_CONTAINER(first, struct tp_op, seat.link);
        tp__list_remove(first);
        op->seat.called = false;
    } else {
        struct tp_rope *rope = tp__bell_take(&reactor->bell);
        if (rope == NULL)
            return NULL;
        op = TP_CONTAINER(rope, struct tp_op, waiter.rope);
        if (op->seat.taken)
            reactor->waiting--;
        op->seat.taken = false;
    }
    return op;
}

void tp_reactor_ring(tp_reactor *reactor)
{
    tp__wake_ring(reactor->bell.wake);
}

struct tp_bell *tp__reactor_bell(tp_reactor *reactor)
{
    return &reactor->bell;
}
