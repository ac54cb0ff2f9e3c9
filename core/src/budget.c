#include "budget.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "budget_table.h"
#include "clock.h"
#include "error.h"

enum {
    /* A backend that was asked to end has ended within some milliseconds; one that ignores
     * its cancelling may take longer than this, and then one too many can be seen. */
    LINGER_AT_MOST_US = 5 * 1000 * 1000,
    /* Idle backends of a killed client have ended some milliseconds later. */
    GRACE_US = 400 * 1000,
    /* The kernel reports a closed descriptor just before it takes its locks away. */
    SWEEP_AGAIN_US = 20 * 1000,
    /* For how long the richest member alone is asked to give up what rests. */
    GIVE_AFTER_US = 150 * 1000,
    DRAIN_AT_ONCE = 64 /* reads of 4 kB */
};

/* A closed connection whose server has not been seen to end. */
struct ending {
    int fd;
    int64_t until;
};

struct tp_budget {
    char name[TP_BUDGET_NAME_ROOM]; /* constant, as `max` */
    int max;
    pthread_mutex_t lock; /* guards all below */
    char path[TP_SHM_PATH_ROOM];
    struct tp_budget_table table;
    int index;    /* of our entry; -1: not a member */
    bool left;    /* for good */
    int epoll_fd; /* of what ends and of inotify; constant between forks */
    int inotify_fd;
    struct ending *endings;
    int ending, room;
    int64_t sweep_at; /* a member has ended */
    int64_t rung_at;
};

static struct tp_budget_entry *entry_of(const struct tp_budget *budget)
{
    return &budget->table.segment->entries[budget->index];
}

/* -------------------------------------------------------------------- life */

enum tp_status tp__budget_new(struct tp_budget **out, const char *name, int max,
                              struct tp_error *err)
{
    struct tp_budget *budget = calloc(1, sizeof *budget);
    if (budget == NULL)
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory for a budget");
    snprintf(budget->name, sizeof budget->name, "%s", name);
    budget->max = max;
    budget->table.shm.fd = -1;
    budget->index = -1;
    budget->inotify_fd = -1;
    budget->sweep_at = TP_NEVER;
    budget->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    pthread_mutex_init(&budget->lock, NULL);
    *out = budget;
    return TP_OK;
}

static void close_fd(int *fd)
{
    int was = *fd;
    *fd = -1;
    if (was >= 0)
        (void)close(was);
}

/* Where the others ring, and where the kernel says that one has died. */
static void listen_locked(struct tp_budget *budget)
{
    struct epoll_event event = {.events = EPOLLIN};
    close_fd(&budget->inotify_fd);
    budget->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (budget->inotify_fd < 0)
        return;
    event.data.fd = budget->inotify_fd;
    if (inotify_add_watch(budget->inotify_fd, budget->path,
                          IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB) < 0 ||
        epoll_ctl(budget->epoll_fd, EPOLL_CTL_ADD, budget->inotify_fd, &event) != 0)
        close_fd(&budget->inotify_fd);
}

/* What is held and what lingers comes along from a table that has lost its name. */
static void move_in_locked(struct tp_budget *budget, int index, int held)
{
    budget->index = index;
    atomic_store(&entry_of(budget)->held, held + budget->ending);
    for (int i = 0; i < budget->ending; i++)
        tp__budget_entry_linger(entry_of(budget), budget->endings[i].until);
}

static enum tp_status join_locked(struct tp_budget *budget, struct tp_error *err)
{
    char path[sizeof budget->path];
    struct tp_budget_table table;
    int held = budget->index >= 0 ? atomic_load(&entry_of(budget)->held) : 0;
    tp__shm_path(path, budget->name);
    enum tp_status status = tp__budget_table_open(&table, path, err);
    if (status != TP_OK)
        return status;
    int index = tp__budget_table_join(&table, budget->max);
    if (index < 0) {
        tp__budget_table_close(&table);
        return tp__error_set(err, TP_ERR_CONNECTION,
                             "more than %d pools share the budget of connections %s",
                             TP_BUDGET_MEMBERS, path);
    }
    tp__budget_table_close(&budget->table);
    budget->table = table;
    memcpy(budget->path, path, sizeof path);
    move_in_locked(budget, index, held);
    listen_locked(budget);
    return TP_OK;
}

/* Takes the table's lock, as a member. */
static enum tp_status enter_locked(struct tp_budget *budget, struct tp_error *err)
{
    if (budget->left)
        return tp__error_set(err, TP_ERR_POOL_CLOSED, "the pool is closed");
    if (budget->index >= 0 && tp__shm_is_current(&budget->table.shm)) {
        if (tp__shm_lock(&budget->table.shm))
            return TP_OK;
        return tp__error_set(err, TP_ERR_CONNECTION,
                             "the lock of the budget of connections %s is not given back",
                             budget->name);
    }
    return join_locked(budget, err);
}

static void exit_locked(struct tp_budget *budget)
{
    tp__shm_unlock(&budget->table.shm);
}

/* Every member's descriptor becomes readable, our own too. */
static void ring_locked(struct tp_budget *budget)
{
    ssize_t written =
        pwrite(budget->table.shm.fd, "", 1, (off_t)offsetof(struct tp_budget_segment, bell));
    (void)written; /* members also look by themselves */
    budget->rung_at = tp_now();
}

/* ------------------------------------------------------------------ wishes */

/* How many places are wanted by others, in all and by those below their share. */
struct wishes {
    int all;
    int poor;      /* up to their share */
    int earlier;   /* up to their share, and they have waited longer than we have */
    int64_t since; /* the first of all */
};

static int64_t our_turn(const struct tp_budget *budget, int64_t now)
{
    const struct tp_budget_entry *own = entry_of(budget);
    return tp__budget_entry_wants(own, now) > 0 ? atomic_load(&own->wanted_since) : now;
}

/* Of at least one, so that those who have nothing come before those who have something. */
static struct wishes count_wishes(const struct tp_budget *budget, int share)
{
    const struct tp_budget_segment *segment = budget->table.segment;
    struct wishes out = {.since = TP_NEVER};
    int64_t now = tp_now(), turn = our_turn(budget, now);
    uint32_t high = atomic_load(&segment->high);
    for (int i = 0; i < (int)high && i < TP_BUDGET_MEMBERS; i++) {
        const struct tp_budget_entry *other = &segment->entries[i];
        int wants = i == budget->index ? 0 : tp__budget_entry_wants(other, now);
        if (wants == 0)
            continue;
        int lacks = (share > 1 ? share : 1) - atomic_load(&other->held);
        int poor = lacks < 0 ? 0 : lacks < wants ? lacks : wants;
        out.all += wants;
        out.poor += poor;
        int64_t since = atomic_load(&other->wanted_since);
        out.earlier += since < turn ? poor : 0;
        out.since = since < out.since ? since : out.since;
    }
    return out;
}

static int share_of(const struct tp_budget_sums *sums)
{
    return sums->max / (sums->active > 0 ? sums->active : 1);
}

/* A wish is told at once when it is new, and from time to time while it lasts. */
static void wish_locked(struct tp_budget *budget, int wanted)
{
    struct tp_budget_entry *own = entry_of(budget);
    int64_t now = tp_now();
    int before = tp__budget_entry_wants(own, now);
    if (before == 0)
        atomic_store(&own->wanted_since, now);
    atomic_store(&own->wanted_at, now);
    atomic_store(&own->wanted, wanted);
    if (wanted > before || (wanted > 0 && now - budget->rung_at >= TP_BUDGET_LOOK_US))
        ring_locked(budget);
}

/* -------------------------------------------------------------------- take */

static int between(int low, int value, int high)
{
    return value < low ? low : value < high ? value : high;
}

static int grant_locked(struct tp_budget *budget, const struct tp_budget_sums *sums, int wanted,
                        int demand)
{
    int share = share_of(sums);
    struct wishes others = count_wishes(budget, share);
    int held = atomic_load(&entry_of(budget)->held);
    bool poor = held < (share > 1 ? share : 1);
    int ahead = poor ? others.earlier : others.poor;
    return between(0, sums->max - sums->used - ahead, others.all > 0 ? demand : wanted);
}

static void view_of(const struct tp_budget_sums *sums, struct tp_budget_view *out)
{
    out->max = sums->max;
    out->used = sums->used;
    out->processes = sums->processes;
    out->look_at = sums->change;
}

enum tp_status tp__budget_take(struct tp_budget *budget, int wanted, int demand, int *granted,
                               struct tp_budget_view *view, struct tp_error *err)
{
    struct tp_budget_sums sums;
    demand = between(0, demand, wanted);
    pthread_mutex_lock(&budget->lock);
    enum tp_status status = enter_locked(budget, err);
    if (status == TP_OK) {
        tp__budget_table_sum(&budget->table, budget->max, &sums);
        if (sums.max - sums.used < wanted) {
            tp__budget_table_sweep(&budget->table, budget->index, GRACE_US);
            tp__budget_table_sum(&budget->table, budget->max, &sums);
        }
        *granted = grant_locked(budget, &sums, wanted, demand);
        atomic_fetch_add(&entry_of(budget)->held, *granted);
        sums.used += *granted;
        exit_locked(budget);
        wish_locked(budget, demand > *granted ? demand - *granted : 0);
        view_of(&sums, view);
    }
    pthread_mutex_unlock(&budget->lock);
    return status;
}

/* -------------------------------------------------------------------- give */

static void ring_if_wanted_locked(struct tp_budget *budget)
{
    if (count_wishes(budget, 1).all > 0)
        ring_locked(budget);
}

void tp__budget_give(struct tp_budget *budget, int count)
{
    pthread_mutex_lock(&budget->lock);
    if (budget->index >= 0 && count > 0) {
        atomic_fetch_sub(&entry_of(budget)->held, count);
        ring_if_wanted_locked(budget);
    }
    pthread_mutex_unlock(&budget->lock);
}

/* Reads what the server still says. True when it has closed its side. */
static bool has_ended(int fd)
{
    char waste[4096];
    for (int i = 0; fd >= 0 && i < DRAIN_AT_ONCE; i++) {
        ssize_t got = recv(fd, waste, sizeof waste, MSG_DONTWAIT);
        if (got == 0)
            return true;
        if (got < 0 && errno != EINTR)
            return errno != EAGAIN && errno != EWOULDBLOCK;
    }
    return false;
}

static bool make_room_locked(struct tp_budget *budget)
{
    if (budget->ending < budget->room)
        return true;
    int room = budget->room * 2 + 8;
    struct ending *more = realloc(budget->endings, (size_t)room * sizeof *more);
    if (more == NULL)
        return false;
    budget->endings = more;
    budget->room = room;
    return true;
}

/* The half that we send on is closed: a server that got no farewell from libpq reads the end
 * of the stream instead. */
static void watch_locked(struct tp_budget *budget, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
    int64_t until = tp_now() + (fd >= 0 ? LINGER_AT_MOST_US : GRACE_US);
    tp__budget_entry_linger(entry_of(budget), until);
    if (fd >= 0) {
        (void)shutdown(fd, SHUT_WR);
        (void)epoll_ctl(budget->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
    budget->endings[budget->ending++] = (struct ending){fd, until};
}

void tp__budget_linger(struct tp_budget *budget, int fd)
{
    pthread_mutex_lock(&budget->lock);
    bool watched = fd != TP_BUDGET_ENDED && budget->index >= 0 && make_room_locked(budget);
    if (watched)
        watch_locked(budget, fd);
    pthread_mutex_unlock(&budget->lock);
    if (watched)
        return;
    if (fd >= 0)
        (void)close(fd);
    tp__budget_give(budget, 1);
}

/* ------------------------------------------------------------------ settle */

int tp__budget_fd(const struct tp_budget *budget)
{
    return budget->epoll_fd;
}

/* Whether a member may have ended, or the file has lost its name. */
static bool hear_locked(struct tp_budget *budget, bool *news)
{
    _Alignas(struct inotify_event) char events[4096];
    bool ended = false;
    ssize_t got = 0;
    while (budget->inotify_fd >= 0 && (got = read(budget->inotify_fd, events, sizeof events)) > 0) {
        for (ssize_t at = 0; at < got;) {
            const struct inotify_event *event = (const void *)(events + at);
            ended |= (event->mask & (IN_CLOSE_WRITE | IN_ATTRIB)) != 0;
            at += (ssize_t)sizeof *event + (ssize_t)event->len;
        }
        *news = true;
    }
    return ended;
}

static void sweep_locked(struct tp_budget *budget, int64_t now, bool again)
{
    struct tp_error err;
    budget->sweep_at = again ? now + SWEEP_AGAIN_US : TP_NEVER;
    if (enter_locked(budget, &err) != TP_OK)
        return;
    tp__budget_table_sweep(&budget->table, budget->index, GRACE_US);
    exit_locked(budget);
}

/* A copy of the descriptor in a forked child would keep it in the set. */
static void forget_locked(struct tp_budget *budget, int i)
{
    if (budget->endings[i].fd >= 0)
        (void)epoll_ctl(budget->epoll_fd, EPOLL_CTL_DEL, budget->endings[i].fd, NULL);
    close_fd(&budget->endings[i].fd);
    budget->endings[i] = budget->endings[--budget->ending];
    atomic_fetch_sub(&entry_of(budget)->lingering, 1);
}

static bool end_locked(struct tp_budget *budget, int64_t now, int64_t *due)
{
    bool any = false;
    for (int i = budget->ending - 1; i >= 0; i--) {
        int64_t until = budget->endings[i].until;
        if (now >= until || has_ended(budget->endings[i].fd)) {
            forget_locked(budget, i);
            any = true;
        } else if (until < *due) {
            *due = until;
        }
    }
    return any;
}

int64_t tp__budget_settle(struct tp_budget *budget, bool *news)
{
    int64_t due = TP_NEVER, now = tp_now();
    *news = false;
    pthread_mutex_lock(&budget->lock);
    if (budget->index >= 0) {
        bool ended = hear_locked(budget, news);
        if (ended || now >= budget->sweep_at)
            sweep_locked(budget, now, ended);
        if (end_locked(budget, now, &due)) {
            *news = true;
            ring_if_wanted_locked(budget);
        }
        if (budget->sweep_at < due)
            due = budget->sweep_at;
        if (budget->inotify_fd < 0 && now + TP_BUDGET_LOOK_US < due)
            due = now + TP_BUDGET_LOOK_US;
    }
    pthread_mutex_unlock(&budget->lock);
    return due;
}

/* -------------------------------------------------------------------- debt */

/* Whether no member has more; of several that have the most it is the first. */
static bool is_richest(const struct tp_budget *budget, int held)
{
    const struct tp_budget_segment *segment = budget->table.segment;
    uint32_t high = atomic_load(&segment->high);
    for (int i = 0; i < (int)high && i < TP_BUDGET_MEMBERS; i++) {
        const struct tp_budget_entry *other = &segment->entries[i];
        int has = atomic_load(&other->held);
        if (i != budget->index && atomic_load(&other->state) == TP_BUDGET_LIVE &&
            (has > held || (has == held && i < budget->index)))
            return false;
    }
    return true;
}

/* At first the richest alone gives up what rests, so that not all do so for one wish; when
 * that did not help, because it uses all it has, it is everybody's turn. */
static struct tp_budget_debt debt_locked(const struct tp_budget *budget, int min)
{
    struct tp_budget_debt out = {0, 0, false};
    struct tp_budget_sums sums;
    tp__budget_table_sum(&budget->table, budget->max, &sums);
    int share = share_of(&sums), held = atomic_load(&entry_of(budget)->held);
    struct wishes others = count_wishes(budget, share);
    /* What is free or on its way serves some of the wishes. */
    int coming = sums.lingering + (sums.used < sums.max ? sums.max - sums.used : 0);
    int keep = min < share ? min : share;
    out.in_turn = share == 0;
    bool give = is_richest(budget, held) || tp_now() - others.since >= GIVE_AFTER_US;
    out.resting = between(0, others.all - coming, give && held > keep ? held - keep : 0);
    out.busy = between(0, others.poor - coming, held > share ? held - share : 0);
    return out;
}

struct tp_budget_debt tp__budget_debt(struct tp_budget *budget, int min)
{
    struct tp_budget_debt out = {0, 0, false};
    pthread_mutex_lock(&budget->lock);
    if (budget->index >= 0)
        out = debt_locked(budget, min);
    pthread_mutex_unlock(&budget->lock);
    return out;
}

void tp__budget_look(struct tp_budget *budget, struct tp_budget_view *view)
{
    struct tp_budget_sums sums = {.max = budget->max, .change = TP_NEVER};
    struct tp_error err;
    pthread_mutex_lock(&budget->lock);
    if (enter_locked(budget, &err) == TP_OK) {
        tp__budget_table_sweep(&budget->table, budget->index, GRACE_US);
        tp__budget_table_sum(&budget->table, budget->max, &sums);
        exit_locked(budget);
    }
    pthread_mutex_unlock(&budget->lock);
    view_of(&sums, view);
}

/* ------------------------------------------------------------------- leave */

/* The file goes with the last one. When the lock is not to be had, the kernel tells the
 * others that we are gone. */
static void part_locked(struct tp_budget *budget)
{
    if (tp__shm_lock(&budget->table.shm)) {
        tp__budget_table_part(&budget->table, budget->index, GRACE_US);
        tp__budget_table_sweep(&budget->table, -1, GRACE_US);
        if (tp__budget_table_is_idle(&budget->table) && tp__shm_is_current(&budget->table.shm))
            (void)unlink(budget->path);
        exit_locked(budget);
    }
    ring_if_wanted_locked(budget);
    budget->index = -1;
}

static void clear_locked(struct tp_budget *budget)
{
    while (budget->ending > 0)
        close_fd(&budget->endings[--budget->ending].fd);
    close_fd(&budget->inotify_fd);
    tp__budget_table_close(&budget->table);
    budget->index = -1;
    budget->sweep_at = TP_NEVER;
}

static bool some_linger(struct tp_budget *budget)
{
    pthread_mutex_lock(&budget->lock);
    bool some = budget->ending > 0;
    pthread_mutex_unlock(&budget->lock);
    return some;
}

/* A ring of others wakes this, too, so each wait is short. */
static void await_endings(struct tp_budget *budget, int64_t deadline)
{
    bool news;
    int64_t due = tp__budget_settle(budget, &news);
    while (some_linger(budget) && tp_now() < deadline) {
        struct pollfd on = {.fd = budget->epoll_fd, .events = POLLIN};
        int64_t until = due < deadline ? due : deadline;
        (void)poll(&on, 1, tp__poll_ms(until, tp_now()));
        due = tp__budget_settle(budget, &news);
    }
}

void tp__budget_leave(struct tp_budget *budget, int64_t deadline)
{
    await_endings(budget, deadline);
    pthread_mutex_lock(&budget->lock);
    budget->left = true;
    if (budget->index >= 0)
        part_locked(budget);
    clear_locked(budget);
    pthread_mutex_unlock(&budget->lock);
}

void tp__budget_free(struct tp_budget *budget)
{
    if (budget == NULL)
        return;
    tp__budget_leave(budget, 0);
    close_fd(&budget->epoll_fd);
    pthread_mutex_destroy(&budget->lock);
    free(budget->endings);
    free(budget);
}

/* The lock may have been held by a thread that does not exist here. */
void tp__budget_forked(struct tp_budget *budget)
{
    if (budget == NULL)
        return;
    pthread_mutex_init(&budget->lock, NULL);
    clear_locked(budget);
    close_fd(&budget->epoll_fd);
    budget->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
}
