/* A budget of connections, seen by members of one process and of several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "budget.h"

enum { MS = 1000, S = 1000 * 1000 };

static char name[TP_BUDGET_NAME_ROOM];

static int new_name(void **state)
{
    static int count;
    (void)state;
    snprintf(name, sizeof name, "spec-%d-%d", (int)getpid(), ++count);
    return 0;
}

static const char *path(void)
{
    static char out[TP_BUDGET_NAME_ROOM + 48];
    snprintf(out, sizeof out, "/dev/shm/tidepool-%lu-%s", (unsigned long)geteuid(), name);
    return out;
}

static int remove_file(void **state)
{
    (void)state;
    (void)unlink(path());
    return 0;
}

static bool file_exists(void)
{
    struct stat is;
    return stat(path(), &is) == 0;
}

static void breathe(void)
{
    struct timespec moment = {.tv_sec = 0, .tv_nsec = 500 * 1000};
    nanosleep(&moment, NULL);
}

#define AWAIT(condition, within)                          \
    do {                                                  \
        int64_t until_ = tp_now() + (int64_t)(within);    \
        while (!(condition)) {                            \
            if (tp_now() >= until_)                       \
                fail_msg("has not come: %s", #condition); \
            breathe();                                    \
        }                                                 \
    } while (0)

static struct tp_budget *member(int max)
{
    struct tp_budget *out = NULL;
    struct tp_error err;
    assert_int_equal(tp__budget_new(&out, name, max, &err), TP_OK);
    return out;
}

static int take_for(struct tp_budget *budget, int wanted, int demand)
{
    struct tp_error err = {.message = ""};
    struct tp_budget_view view;
    int granted = 0;
    if (tp__budget_take(budget, wanted, demand, &granted, &view, &err) != TP_OK)
        fail_msg("%s", err.message);
    return granted;
}

/* As a pool whose callers wait for all of them. */
static int take(struct tp_budget *budget, int wanted)
{
    return take_for(budget, wanted, wanted);
}

/* Without the wish that a take leaves behind. */
static void wish_no_more(struct tp_budget *budget)
{
    (void)take_for(budget, 0, 0);
}

static struct tp_budget_view look(struct tp_budget *budget)
{
    struct tp_budget_view view;
    tp__budget_look(budget, &view);
    return view;
}

static bool settle(struct tp_budget *budget)
{
    bool news;
    (void)tp__budget_settle(budget, &news);
    return news;
}

static bool is_readable(struct tp_budget *budget, int ms)
{
    struct pollfd on = {.fd = tp__budget_fd(budget), .events = POLLIN};
    return poll(&on, 1, ms) == 1;
}

/* ----------------------------------------------------------------- children */

/* A process that does what `body` says and then waits to be killed; it has done it when
 * this returns. */
static pid_t child(void (*body)(void *arg), void *arg)
{
    int done[2];
    char byte;
    assert_int_equal(pipe(done), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        alarm(30);
        close(done[0]);
        body(arg);
        if (write(done[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(done[1]);
    assert_int_equal(read(done[0], &byte, 1), 1);
    close(done[0]);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A member of its own with as many places as *arg says. */
static void holds(void *arg)
{
    struct tp_budget *budget = NULL;
    struct tp_budget_view view;
    struct tp_error err;
    int granted = 0, wanted = *(int *)arg;
    if (tp__budget_new(&budget, name, 5, &err) != TP_OK ||
        tp__budget_take(budget, wanted, wanted, &granted, &view, &err) != TP_OK ||
        granted != wanted)
        abort();
}

/* -------------------------------------------------------------------- places */

static void members_share_what_there_is(void **state)
{
    (void)state;
    struct tp_budget *a = member(3), *b = member(3);
    assert_int_equal(take(a, 2), 2);
    assert_int_equal(take(b, 2), 1);
    assert_int_equal(look(a).used, 3);
    assert_int_equal(look(b).max, 3);
    assert_int_equal(take(a, 1), 0);
    wish_no_more(a);
    tp__budget_give(a, 1);
    assert_int_equal(take(b, 1), 1);
    tp__budget_free(a);
    assert_int_equal(look(b).used, 3); /* what was held is thought of as still there */
    tp__budget_free(b);
}

static void the_least_size_counts_while_its_member_lives(void **state)
{
    (void)state;
    struct tp_budget *a = member(5), *b = member(2);
    assert_int_equal(take(a, 3), 3);
    assert_int_equal(take(b, 1), 0);
    assert_int_equal(look(a).max, 2);
    wish_no_more(b);
    assert_int_equal(take(a, 1), 0);
    tp__budget_free(b);
    assert_int_equal(look(a).max, 5);
    assert_int_equal(take(a, 2), 2);
    tp__budget_give(a, 5);
    tp__budget_free(a);
}

static void a_process_counts_once(void **state)
{
    (void)state;
    int one = 1;
    struct tp_budget *a = member(5), *b = member(5);
    assert_int_equal(look(a).processes, 1);
    assert_int_equal(look(b).processes, 1);
    pid_t pid = child(holds, &one);
    assert_int_equal(look(a).processes, 2);
    assert_int_equal(look(a).used, 1);
    end(pid);
    AWAIT(look(a).processes == 1, S);
    AWAIT(look(a).used == 0, S);
    tp__budget_free(a);
    tp__budget_free(b);
}

static void places_without_demand_are_had_only_when_no_one_waits(void **state)
{
    (void)state;
    struct tp_budget *a = member(3), *b = member(3), *c = member(3);
    assert_int_equal(take(a, 3), 3);
    assert_int_equal(take(b, 1), 0);
    tp__budget_give(a, 2);
    assert_int_equal(take_for(c, 2, 0), 0);
    assert_int_equal(take(b, 1), 1);
    assert_int_equal(take_for(c, 2, 0), 1);
    tp__budget_give(a, 1);
    tp__budget_give(b, 1);
    tp__budget_give(c, 1);
    tp__budget_free(a);
    tp__budget_free(b);
    tp__budget_free(c);
}

static void a_member_that_has_left_takes_nothing(void **state)
{
    (void)state;
    struct tp_budget *a = member(3);
    struct tp_budget_view view;
    struct tp_error err;
    int granted = -1;
    assert_int_equal(take(a, 1), 1);
    tp__budget_give(a, 1);
    tp__budget_leave(a, 0);
    assert_int_equal(tp__budget_take(a, 1, 1, &granted, &view, &err), TP_ERR_POOL_CLOSED);
    assert_int_equal(granted, -1);
    assert_int_equal(look(a).used, 0);
    assert_false(file_exists());
    tp__budget_free(a);
}

/* --------------------------------------------------------------------- turns */

static void who_waits_longest_comes_first(void **state)
{
    (void)state;
    struct tp_budget *a = member(2), *b = member(2), *c = member(2);
    assert_int_equal(take(a, 2), 2);
    assert_int_equal(take(b, 1), 0);
    breathe();
    assert_int_equal(take(c, 1), 0);
    tp__budget_give(a, 1);
    assert_int_equal(take(c, 1), 0);
    assert_int_equal(take(b, 1), 1);
    tp__budget_give(a, 1);
    assert_int_equal(take(c, 1), 1);
    tp__budget_give(b, 1);
    tp__budget_give(c, 1);
    tp__budget_free(a);
    tp__budget_free(b);
    tp__budget_free(c);
}

static void who_has_less_than_its_share_comes_first(void **state)
{
    (void)state;
    struct tp_budget *a = member(4), *b = member(4);
    assert_int_equal(take(a, 4), 4);
    assert_int_equal(take(a, 1), 0); /* it has waited longer */
    breathe();
    assert_int_equal(take(b, 1), 0);
    tp__budget_give(a, 1);
    assert_int_equal(take(a, 1), 0);
    assert_int_equal(take(b, 1), 1);
    tp__budget_give(a, 3);
    tp__budget_give(b, 1);
    tp__budget_free(a);
    tp__budget_free(b);
}

static void a_wish_that_is_not_repeated_is_forgotten(void **state)
{
    (void)state;
    struct tp_budget *a = member(1), *b = member(1), *c = member(1);
    assert_int_equal(take(a, 1), 1);
    assert_int_equal(take(b, 1), 0);
    tp__budget_give(a, 1);
    AWAIT(take(c, 1) == 1, S);
    tp__budget_give(c, 1);
    tp__budget_free(a);
    tp__budget_free(b);
    tp__budget_free(c);
}

static void a_member_owes_what_rests_above_its_minimum(void **state)
{
    (void)state;
    struct tp_budget *a = member(6), *b = member(6);
    assert_int_equal(take(a, 6), 6);
    assert_int_equal(tp__budget_debt(a, 1).resting, 0);
    assert_int_equal(take(b, 2), 0);
    assert_int_equal(tp__budget_debt(a, 1).resting, 2);
    assert_int_equal(tp__budget_debt(a, 3).resting, 2);
    assert_int_equal(tp__budget_debt(a, 6).resting, 2); /* a minimum above the share is none */
    assert_int_equal(tp__budget_debt(a, 1).busy, 2);
    assert_false(tp__budget_debt(a, 1).in_turn);
    assert_int_equal(tp__budget_debt(b, 0).resting, 0);
    tp__budget_give(a, 1); /* one is on its way */
    assert_int_equal(tp__budget_debt(a, 1).resting, 1);
    tp__budget_give(a, 5);
    tp__budget_free(a);
    tp__budget_free(b);
}

static void the_richest_gives_first_and_later_all_do(void **state)
{
    (void)state;
    struct tp_budget *a = member(6), *b = member(6), *c = member(6);
    assert_int_equal(take(a, 2), 2);
    assert_int_equal(take(b, 4), 4);
    assert_int_equal(take(c, 1), 0);
    assert_int_equal(tp__budget_debt(a, 0).resting, 0);
    assert_int_equal(tp__budget_debt(b, 0).resting, 1);
    AWAIT(take(c, 1) == 0 && tp__budget_debt(a, 0).resting == 1, S);
    tp__budget_give(a, 2);
    tp__budget_give(b, 4);
    tp__budget_free(a);
    tp__budget_free(b);
    tp__budget_free(c);
}

static void more_members_than_places_take_turns(void **state)
{
    (void)state;
    struct tp_budget *a = member(1), *b = member(1);
    assert_int_equal(take(a, 1), 1);
    assert_int_equal(take(b, 1), 0);
    assert_true(tp__budget_debt(a, 1).in_turn);
    assert_int_equal(tp__budget_debt(a, 1).busy, 1);
    tp__budget_give(a, 1);
    tp__budget_free(a);
    tp__budget_free(b);
}

static void who_waits_is_woken_by_a_place_and_holders_by_a_wish(void **state)
{
    (void)state;
    struct tp_budget *a = member(1), *b = member(1);
    assert_int_equal(take(a, 1), 1);
    (void)settle(a);
    assert_false(is_readable(a, 0));
    assert_int_equal(take(b, 1), 0);
    assert_true(is_readable(a, 1000));
    assert_true(settle(a));
    assert_false(is_readable(a, 0));
    (void)settle(b);
    assert_false(is_readable(b, 0));
    tp__budget_give(a, 1);
    assert_true(is_readable(b, 1000));
    assert_int_equal(take(b, 1), 1);
    tp__budget_give(b, 1);
    tp__budget_free(a);
    tp__budget_free(b);
}

/* ------------------------------------------------------------------- closing */

static void a_place_comes_back_when_the_other_side_has_closed(void **state)
{
    (void)state;
    int pair[2];
    char byte;
    struct tp_budget *a = member(1), *b = member(1);
    assert_int_equal(take(a, 1), 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(write(pair[1], "a last word", 11), 11);
    tp__budget_linger(a, pair[0]);
    assert_int_equal(read(pair[1], &byte, 1), 0); /* our half is closed */
    AWAIT(!settle(a), S);
    assert_false(is_readable(a, 50)); /* what was said is read and dropped */
    assert_int_equal(look(b).used, 1);
    close(pair[1]);
    assert_true(is_readable(a, 1000));
    assert_true(settle(a));
    assert_int_equal(look(b).used, 0);
    tp__budget_free(a);
    tp__budget_free(b);
}

static void a_place_whose_end_cannot_be_seen_comes_back_a_moment_later(void **state)
{
    (void)state;
    struct tp_budget *a = member(1);
    assert_int_equal(take(a, 1), 1);
    tp__budget_linger(a, TP_BUDGET_UNSEEN);
    (void)settle(a);
    assert_int_equal(look(a).used, 1);
    AWAIT(settle(a) || look(a).used == 0, S);
    (void)settle(a);
    assert_int_equal(take(a, 1), 1);
    tp__budget_linger(a, TP_BUDGET_ENDED);
    assert_int_equal(look(a).used, 0);
    tp__budget_free(a);
}

static void leaving_waits_for_the_other_side_and_not_for_ever(void **state)
{
    (void)state;
    int pair[2];
    struct tp_budget *a = member(1), *b = member(1);
    assert_int_equal(take(a, 1), 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    tp__budget_linger(a, pair[0]);
    int64_t began = tp_now();
    tp__budget_leave(a, began + 100 * MS);
    assert_in_range(tp_now() - began, 100 * MS, 5 * S);
    assert_int_equal(look(b).used, 1); /* for some seconds, though nobody watches */
    close(pair[1]);
    tp__budget_free(a);
    tp__budget_free(b);
    assert_true(file_exists());
}

/* --------------------------------------------------------------------- death */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* As a housekeeper that waits for a place: woken, or at the latest when it is time to look. */
static void wait_for_place(struct tp_budget *budget)
{
    while (take(budget, 1) == 0) {
        struct tp_budget_view view = look(budget);
        int64_t ms = (view.look_at - tp_now()) / 1000 + 1;
        (void)is_readable(budget, ms < 0 ? 0 : ms > 100 ? 100 : (int)ms);
        (void)settle(budget);
    }
}

static void the_places_of_a_killed_process_come_back_within_a_second(void **state)
{
    (void)state;
    enum { TIMES = 20 };
    int64_t took[TIMES];
    int all = 5;
    struct tp_budget *a = member(5);
    for (int i = 0; i < TIMES; i++) {
        pid_t pid = child(holds, &all);
        assert_int_equal(take(a, 1), 0);
        int64_t killed = tp_now();
        end(pid);
        assert_int_equal(take(a, 1), 0); /* its backends need a moment */
        wait_for_place(a);
        took[i] = tp_now() - killed;
        assert_true(took[i] < S);
        tp__budget_give(a, 1);
        wish_no_more(a);
    }
    qsort(took, TIMES, sizeof *took, by_value);
    print_message("# free again after a kill: median %.0f ms, longest %.0f ms\n",
                  (double)took[TIMES / 2] / 1e3, (double)took[TIMES - 1] / 1e3);
    tp__budget_free(a);
}

/* Takes part, then forks a child that keeps its copies of everything, and says who that is. */
struct family {
    int places;
    _Atomic pid_t heir;
};
static void holds_and_forks(void *arg)
{
    struct family *family = arg;
    holds(&family->places);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(30);
        for (;;)
            pause();
    }
    atomic_store(&family->heir, pid);
}

static void connections_of_the_dead_count_while_a_child_keeps_them_open(void **state)
{
    (void)state;
    struct family *family =
        mmap(NULL, sizeof *family, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(family != MAP_FAILED);
    family->places = 2;
    struct tp_budget *a = member(5);
    pid_t pid = child(holds_and_forks, family);
    assert_int_equal(look(a).used, 2);
    end(pid);
    int64_t later = tp_now() + 700 * MS;
    AWAIT(tp_now() >= later, S);
    assert_int_equal(look(a).used, 2);
    kill(atomic_load(&family->heir), SIGKILL);
    AWAIT(look(a).used == 0, S);
    tp__budget_free(a);
    munmap(family, sizeof *family);
}

static struct tp_budget *inherited;

static void begins_anew(void *arg)
{
    struct tp_budget_view view;
    struct tp_error err;
    int granted = 0;
    (void)arg;
    tp__budget_forked(inherited);
    tp__budget_give(inherited, 1); /* there is nothing to give */
    tp__budget_look(inherited, &view);
    if (view.used != 2 || view.processes != 2)
        abort();
    if (tp__budget_take(inherited, 2, 2, &granted, &view, &err) != TP_OK || granted != 1)
        abort();
}

static void a_forked_child_has_places_of_its_own(void **state)
{
    (void)state;
    struct tp_budget *a = inherited = member(3);
    assert_int_equal(take(a, 2), 2);
    pid_t pid = child(begins_anew, NULL);
    assert_int_equal(look(a).used, 3);
    assert_int_equal(look(a).processes, 2);
    end(pid);
    AWAIT(look(a).used == 2, S);
    assert_int_equal(look(a).processes, 1);
    tp__budget_give(a, 2);
    tp__budget_free(a);
}

/* Many processes take and give as fast as they can; `now` is how many there are by their own
 * count. */
struct crowd {
    atomic_int now, most, taken;
    atomic_bool stop;
};

static void crowd_main(struct crowd *crowd, int max)
{
    struct tp_budget *budget = NULL;
    struct tp_error err;
    alarm(30);
    if (tp__budget_new(&budget, name, max, &err) != TP_OK)
        _exit(1);
    while (!atomic_load(&crowd->stop)) {
        struct tp_budget_view view;
        int granted = 0;
        if (tp__budget_take(budget, 2, 2, &granted, &view, &err) != TP_OK)
            _exit(1);
        int seen = atomic_fetch_add(&crowd->now, granted) + granted;
        int most = atomic_load(&crowd->most);
        while (seen > most && !atomic_compare_exchange_weak(&crowd->most, &most, seen)) {
        }
        atomic_fetch_add(&crowd->taken, granted);
        atomic_fetch_sub(&crowd->now, granted);
        tp__budget_give(budget, granted);
    }
    tp__budget_free(budget);
    _exit(0);
}

static void many_processes_never_have_more_than_there_is(void **state)
{
    (void)state;
    enum { PROCESSES = 8, MOST = 3 };
    pid_t pids[PROCESSES];
    struct crowd *crowd =
        mmap(NULL, sizeof *crowd, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(crowd != MAP_FAILED);
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            crowd_main(crowd, MOST);
    }
    AWAIT(atomic_load(&crowd->taken) >= 2000, 20 * S);
    atomic_store(&crowd->stop, true);
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_in_range(atomic_load(&crowd->most), 2, MOST);
    assert_false(file_exists());
    munmap(crowd, sizeof *crowd);
}

/* ---------------------------------------------------------------------- file */

static void the_file_goes_with_the_last_member(void **state)
{
    (void)state;
    struct tp_budget *a = member(2), *b = member(2);
    assert_false(file_exists()); /* nothing is shared before the first place */
    assert_int_equal(take(a, 1), 1);
    assert_int_equal(take(b, 1), 1);
    assert_true(file_exists());
    tp__budget_give(a, 1);
    tp__budget_free(a);
    assert_true(file_exists());
    tp__budget_give(b, 1);
    tp__budget_free(b);
    assert_false(file_exists());
}

static void what_a_killed_process_left_is_used_and_removed(void **state)
{
    (void)state;
    int all = 5;
    end(child(holds, &all));
    assert_true(file_exists());
    struct tp_budget *a = member(5);
    wait_for_place(a);
    tp__budget_give(a, 1);
    tp__budget_free(a);
    assert_false(file_exists());
}

static void a_file_that_somebody_else_may_read_is_refused(void **state)
{
    (void)state;
    struct tp_budget *a = member(2);
    struct tp_budget_view view;
    struct tp_error err;
    int granted = -1;
    FILE *file = fopen(path(), "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0644), 0);
    fclose(file);
    assert_int_equal(tp__budget_take(a, 1, 1, &granted, &view, &err), TP_ERR_CONNECTION);
    assert_non_null(strstr(err.message, "pool.max_total"));
    assert_non_null(strstr(err.message, path()));
    assert_int_equal(granted, -1);
    assert_int_equal(look(a).max, 2);
    tp__budget_free(a);
}

static void members_of_a_file_that_was_removed_meet_again(void **state)
{
    (void)state;
    struct tp_budget *a = member(3), *b = member(3), *c = member(3);
    assert_int_equal(take(a, 2), 2);
    assert_int_equal(take(b, 1), 1);
    assert_int_equal(unlink(path()), 0);
    assert_true(is_readable(a, 1000)); /* the kernel says so */
    (void)settle(a);
    (void)settle(b);
    assert_int_equal(take(c, 1), 0);
    assert_int_equal(look(c).used, 3);
    wish_no_more(c);
    tp__budget_give(a, 2);
    tp__budget_give(b, 1);
    assert_int_equal(take(c, 3), 3);
    tp__budget_give(c, 3);
    tp__budget_free(a);
    tp__budget_free(b);
    tp__budget_free(c);
    assert_false(file_exists());
}

#define TEST(what) cmocka_unit_test_setup_teardown(what, new_name, remove_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(members_share_what_there_is),
        TEST(the_least_size_counts_while_its_member_lives),
        TEST(a_process_counts_once),
        TEST(places_without_demand_are_had_only_when_no_one_waits),
        TEST(a_member_that_has_left_takes_nothing),
        TEST(who_waits_longest_comes_first),
        TEST(who_has_less_than_its_share_comes_first),
        TEST(a_wish_that_is_not_repeated_is_forgotten),
        TEST(a_member_owes_what_rests_above_its_minimum),
        TEST(the_richest_gives_first_and_later_all_do),
        TEST(more_members_than_places_take_turns),
        TEST(who_waits_is_woken_by_a_place_and_holders_by_a_wish),
        TEST(a_place_comes_back_when_the_other_side_has_closed),
        TEST(a_place_whose_end_cannot_be_seen_comes_back_a_moment_later),
        TEST(leaving_waits_for_the_other_side_and_not_for_ever),
        TEST(the_places_of_a_killed_process_come_back_within_a_second),
        TEST(connections_of_the_dead_count_while_a_child_keeps_them_open),
        TEST(a_forked_child_has_places_of_its_own),
        TEST(many_processes_never_have_more_than_there_is),
        TEST(the_file_goes_with_the_last_member),
        TEST(what_a_killed_process_left_is_used_and_removed),
        TEST(a_file_that_somebody_else_may_read_is_refused),
        TEST(members_of_a_file_that_was_removed_meet_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
