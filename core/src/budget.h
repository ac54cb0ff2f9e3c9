/* A budget of connections that the pools of all processes share which name it.
 *
 * Each pool is a member with a handle of its own. It takes places before it connects and
 * gives each one back when the server has closed its side of the connection, which a
 * PostgreSQL backend does at its very end: a place that is free has no backend any more.
 *
 *     take -----> held -----> lingering -----> free      closed by its owner
 *                   |          (end of stream, at most LINGER_AT_MOST)
 *                   +-- death --> a grace of GRACE ----> free
 *
 * A killed process says nothing to the server. Its sockets end with it, and the backends that
 * are idle notice at once; one that is in the middle of a statement only when it writes
 * or is done, or when it looks (client_connection_check_interval). So places of the dead stay
 * taken for a moment, and a backend that outlives that moment is one too many.
 *
 * Members that say different things of the size: the least one counts while it lives.
 * A place that comes free goes to whoever has waited longest, those that have less than their
 * share (size / members that hold or want something) before others; and members that have
 * more than they need see it in their debt.
 *
 * A member wakes the others by writing to the file, which inotify(7) tells their descriptor;
 * the kernel itself tells it of a member that died, because its descriptor was closed. Where
 * inotify is not to be had, members look every now and then.
 *
 * The file is made with the first place that is taken and removed with the last member. When
 * that one is killed it stays, and the next one to come uses and removes it.
 * Limits: members need one /dev/shm and one user.
 * Owns: its descriptors and whatever it lets linger. Errors: TP_ERR_CONNECTION, TP_ERR_MEMORY.
 * Thread: any. */
#ifndef TP_BUDGET_H
#define TP_BUDGET_H

#include "tidepool.h"

enum {
    TP_BUDGET_NAME_ROOM = 80, /* with the NUL */
    /* What a member who waits looks at by itself, in case no one wakes it. */
    TP_BUDGET_LOOK_US = 100 * 1000,
    /* For how long a pool that is closed waits for the server to have done so, too. */
    TP_BUDGET_LEAVE_US = 2000 * 1000
};

enum { TP_BUDGET_ENDED = -1, TP_BUDGET_UNSEEN = -2 };

struct tp_budget;

/* A handle; nothing is shared yet. `name`: letters, digits, '.', '_', '-', '@'. */
enum tp_status tp__budget_new(struct tp_budget **out, const char *name, int max,
                              struct tp_error *err) TP_MUST_CHECK;
/* Leaves at once and frees. NULL is fine. */
void tp__budget_free(struct tp_budget *budget);
/* In a child of fork, once its copies of the parent's sockets have been closed: what was
 * taken is the parent's, and this handle begins anew. */
void tp__budget_forked(struct tp_budget *budget);

/* How a budget stands. */
struct tp_budget_view {
    int max, used, processes;
    int64_t look_at; /* when to look again for places, if some were refused */
};

/* Takes up to `wanted` places, and says to others that callers wait for `demand` of them; those
 * that nobody waits for are had only if no one else wants any. *granted and *view tell what
 * came of it. Never waits for long. */
enum tp_status tp__budget_take(struct tp_budget *budget, int wanted, int demand, int *granted,
                               struct tp_budget_view *view, struct tp_error *err) TP_MUST_CHECK;
/* Gives back places of connections that the server does not have. */
void tp__budget_give(struct tp_budget *budget, int count);
/* Gives back the place of a connection that has just been closed. `fd` is a duplicate of its
 * socket, which is taken over and on which the end shows; or TP_BUDGET_ENDED when the server
 * has ended; or TP_BUDGET_UNSEEN when there was no descriptor for a duplicate. */
void tp__budget_linger(struct tp_budget *budget, int fd);

/* Readable when tp__budget_settle has something to do; -1: there is none, look often. Borrowed
 * until tp__budget_forked. */
int tp__budget_fd(const struct tp_budget *budget);
/* Gives back what has ended. *news: whether something happened since the last time. Returns when
 * to call it again at the latest. */
int64_t tp__budget_settle(struct tp_budget *budget, bool *news);

/* What this member should give up because others wait. A hint; costs no system call. */
struct tp_budget_debt {
    int resting;  /* connections that rest, down to `min` or the share if that is less */
    int busy;     /* of whatever is given back next */
    bool in_turn; /* busy ones take turns: only those that have had a while */
};
struct tp_budget_debt tp__budget_debt(struct tp_budget *budget, int min);

/* How the whole stands; joins if need be. */
void tp__budget_look(struct tp_budget *budget, struct tp_budget_view *view);
/* For good: waits until what lingers has ended, or the deadline has passed, and leaves. */
void tp__budget_leave(struct tp_budget *budget, int64_t deadline);

#endif
