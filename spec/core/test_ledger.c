/* ledger.c: totals of several processes, whatever becomes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ledger.h"
#include "shm.h"

static char name[40], path[TP_SHM_PATH_ROOM];
static struct tp_account own, sum;

static int begin(void **state)
{
    char file[64];
    (void)state;
    snprintf(name, sizeof name, "test_ledger-%d", (int)getpid());
    snprintf(file, sizeof file, "%s+stats", name);
    tp__shm_path(path, file);
    (void)unlink(path);
    memset(&own, 0, sizeof own);
    return 0;
}

static int end(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

static bool exists(void)
{
    return access(path, F_OK) == 0;
}

/* Of so many queries in all, of which one connection is in use now. */
static void publish(struct tp_ledger *ledger, uint64_t queries)
{
    struct tp_error err;
    own.tally.leases.counts.queries = queries;
    own.gauges[TP_GAUGE_ACTIVE] = 1;
    assert_int_equal(tp__ledger_publish(ledger, &own, &err), TP_OK);
}

static uint64_t read_queries(struct tp_ledger *ledger)
{
    struct tp_error err;
    assert_int_equal(tp__ledger_read(ledger, &sum, &err), TP_OK);
    return sum.tally.leases.counts.queries;
}

/* A child that publishes so many queries, and then waits to be killed, or leaves. */
struct child {
    pid_t pid;
    int fd; /* a byte tells it to leave */
};

static struct child start(uint64_t queries)
{
    int down[2], up[2];
    struct child child;
    char byte;
    assert_int_equal(pipe(down), 0);
    assert_int_equal(pipe(up), 0);
    child.pid = fork();
    assert_true(child.pid >= 0);
    if (child.pid == 0) {
        close(down[1]);
        struct tp_ledger *ledger = tp__ledger_new(name);
        publish(ledger, queries);
        (void)!write(up[1], "x", 1);
        (void)!read(down[0], &byte, 1);
        tp__ledger_free(ledger);
        _exit(0);
    }
    close(down[0]);
    close(up[1]);
    assert_int_equal(read(up[0], &byte, 1), 1);
    close(up[0]);
    child.fd = down[1];
    return child;
}

static void finish(struct child child, int signal)
{
    int status;
    if (signal != 0)
        kill(child.pid, signal);
    else
        assert_int_equal(write(child.fd, "x", 1), 1);
    close(child.fd);
    assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
    assert_true(signal != 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

static void what_is_published_is_read_and_replaced(void **state)
{
    (void)state;
    struct tp_ledger *ledger = tp__ledger_new(name);
    publish(ledger, 5);
    publish(ledger, 7);
    assert_int_equal(read_queries(ledger), 7);
    assert_int_equal(sum.gauges[TP_GAUGE_ACTIVE], 1);
    assert_int_equal(sum.processes, 1);
    struct stat is;
    assert_int_equal(stat(path, &is), 0);
    assert_int_equal(is.st_mode & 0777, 0600);
    tp__ledger_free(ledger);
    assert_false(exists());
}

static void two_pools_of_a_process_are_one_process(void **state)
{
    (void)state;
    struct tp_ledger *one = tp__ledger_new(name), *two = tp__ledger_new(name);
    publish(one, 1);
    publish(two, 2);
    assert_int_equal(read_queries(one), 3);
    assert_int_equal(sum.gauges[TP_GAUGE_ACTIVE], 2);
    assert_int_equal(sum.processes, 1);
    tp__ledger_leave(one);
    assert_true(exists());
    assert_int_equal(read_queries(two), 3);
    assert_int_equal(read_queries(one), 3); /* may ask on */
    assert_int_equal(sum.gauges[TP_GAUGE_ACTIVE], 1);
    publish(one, 100); /* too late */
    assert_int_equal(read_queries(two), 3);
    tp__ledger_free(one);
    tp__ledger_free(two);
    assert_false(exists());
}

static void those_that_have_ended_are_counted_on_but_are_not_there(void **state)
{
    (void)state;
    struct tp_ledger *ledger = tp__ledger_new(name);
    struct child first = start(10), second = start(100), third = start(1000);
    publish(ledger, 1);
    assert_int_equal(read_queries(ledger), 1111);
    assert_int_equal(sum.processes, 4);
    finish(first, 0);
    assert_int_equal(read_queries(ledger), 1111);
    assert_int_equal(sum.processes, 3);
    finish(second, SIGKILL);
    assert_int_equal(read_queries(ledger), 1111);
    assert_int_equal(read_queries(ledger), 1111); /* once only */
    assert_int_equal(sum.processes, 2);
    assert_int_equal(sum.gauges[TP_GAUGE_ACTIVE], 2);
    struct child fourth = start(10000); /* has the place of one that ended */
    assert_int_equal(read_queries(ledger), 11111);
    finish(third, 0);
    finish(fourth, 0);
    assert_int_equal(read_queries(ledger), 11111);
    tp__ledger_free(ledger);
    assert_false(exists());
}

static void the_last_one_was_killed_and_the_next_goes_on(void **state)
{
    (void)state;
    finish(start(10), SIGKILL);
    assert_true(exists());
    struct tp_ledger *ledger = tp__ledger_new(name);
    publish(ledger, 1);
    assert_int_equal(read_queries(ledger), 11);
    tp__ledger_free(ledger);
    assert_false(exists());
}

static void whoever_only_reads_leaves_nothing_behind(void **state)
{
    (void)state;
    struct tp_ledger *ledger = tp__ledger_new(name);
    assert_int_equal(read_queries(ledger), 0);
    assert_int_equal(sum.processes, 0);
    struct child child = start(10);
    assert_int_equal(read_queries(ledger), 10);
    assert_int_equal(sum.processes, 1);
    finish(child, 0);
    tp__ledger_free(ledger);
    assert_false(exists());
    tp__ledger_free(tp__ledger_new(name));
    assert_false(exists());
}

static void a_child_of_fork_begins_anew(void **state)
{
    (void)state;
    struct tp_ledger *ledger = tp__ledger_new(name);
    int status;
    publish(ledger, 5);
    pid_t pid = fork();
    if (pid == 0) {
        tp__ledger_forked(ledger);
        publish(ledger, 1);
        bool good = read_queries(ledger) == 6 && sum.processes == 2;
        tp__ledger_free(ledger);
        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read_queries(ledger), 6);
    assert_int_equal(sum.processes, 1);
    tp__ledger_free(ledger);
}

static void a_file_of_somebody_elses_is_refused(void **state)
{
    (void)state;
    struct tp_error err;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0666), 0);
    struct tp_ledger *ledger = tp__ledger_new(name);
    assert_int_equal(tp__ledger_publish(ledger, &own, &err), TP_ERR_CONNECTION);
    assert_non_null(strstr(err.message, "belongs to somebody else"));
    assert_int_equal(tp__ledger_read(ledger, &sum, &err), TP_ERR_CONNECTION);
    tp__ledger_free(ledger);
    assert_true(exists());
}

/* Children are killed wherever they are just then, also while they add somebody's totals to those
 * that have ended. */
static void totals_never_go_back_whoever_is_killed(void **state)
{
    enum { ROUNDS = 150 };
    (void)state;
    struct tp_ledger *ledger = tp__ledger_new(name);
    uint64_t before = 0, begun = 0;
    publish(ledger, 0);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (;;) {
                struct tp_ledger *mine = tp__ledger_new(name);
                publish(mine, 1);
                tp__ledger_free(mine);
            }
        }
        poll(NULL, 0, 1 + round % 3);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        uint64_t now = read_queries(ledger);
        assert_true(now >= before);
        assert_int_equal(sum.processes, 1);
        begun += now > before;
        before = now;
        assert_int_equal(read_queries(ledger), before);
    }
    assert_true(begun > ROUNDS / 10);
    tp__ledger_free(ledger);
}

/* In a process of its own, since it is for good. Its parent is this one. */
static void work(uint64_t queries)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        tp_worker_declare();
        struct tp_ledger *ledger = tp__ledger_new(name);
        publish(ledger, queries);
        tp__ledger_free(ledger);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void workers_leave_their_totals_to_their_successors(void **state)
{
    (void)state;
    work(5);
    assert_true(exists());
    work(6);
    struct tp_ledger *ledger = tp__ledger_new(name);
    assert_int_equal(read_queries(ledger), 11);
    tp__ledger_free(ledger);
    assert_true(exists());
}

static void totals_of_workers_end_with_the_process_that_started_them(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        work(5);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(exists());
    struct tp_ledger *ledger = tp__ledger_new(name);
    assert_int_equal(read_queries(ledger), 0);
    tp__ledger_free(ledger);
    assert_false(exists());
}

/* As an older or newer tidepool makes it. */
static int open_of_another_version(void)
{
    const uint64_t magic = 1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &magic, sizeof magic, 0), sizeof magic);
    return fd;
}

static void a_file_of_another_version_is_replaced_when_nobody_uses_it(void **state)
{
    struct tp_error err;
    struct tp_shm other = {.fd = open_of_another_version()};
    (void)state;
    assert_true(tp__shm_hold(&other, 7));
    struct tp_ledger *ledger = tp__ledger_new(name);
    assert_int_equal(tp__ledger_publish(ledger, &own, &err), TP_ERR_CONNECTION);
    assert_non_null(strstr(err.message, "another version"));
    assert_true(tp__shm_is_current(&other));
    tp__shm_close(&other);
    publish(ledger, 5);
    assert_int_equal(read_queries(ledger), 5);
    tp__ledger_free(ledger);
    assert_false(exists());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_published_is_read_and_replaced, begin, end),
        cmocka_unit_test_setup_teardown(two_pools_of_a_process_are_one_process, begin, end),
        cmocka_unit_test_setup_teardown(those_that_have_ended_are_counted_on_but_are_not_there,
                                        begin, end),
        cmocka_unit_test_setup_teardown(the_last_one_was_killed_and_the_next_goes_on, begin, end),
        cmocka_unit_test_setup_teardown(whoever_only_reads_leaves_nothing_behind, begin, end),
        cmocka_unit_test_setup_teardown(a_child_of_fork_begins_anew, begin, end),
        cmocka_unit_test_setup_teardown(a_file_of_somebody_elses_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(a_file_of_another_version_is_replaced_when_nobody_uses_it,
                                        begin, end),
        cmocka_unit_test_setup_teardown(totals_never_go_back_whoever_is_killed, begin, end),
        cmocka_unit_test_setup_teardown(workers_leave_their_totals_to_their_successors, begin, end),
        cmocka_unit_test_setup_teardown(totals_of_workers_end_with_the_process_that_started_them,
                                        begin, end),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
