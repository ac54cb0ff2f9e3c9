/* The beacon: one byte when a descriptor is readable, once for each time that it was armed. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tidepool.h"

enum { DEADLINE_MS = 5000 };

static tp_beacon *open_beacon(void)
{
    struct tp_error err;
    tp_beacon *beacon = NULL;
    if (tp_beacon_open(&beacon, &err) != TP_OK)
        fail_msg("%s", err.message);
    return beacon;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool readable_within(int fd, int ms)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    return poll(&item, 1, ms) == 1;
}

static void assert_byte(int fd)
{
    char bytes[4];
    assert_true(readable_within(fd, DEADLINE_MS));
    assert_int_equal(read(fd, bytes, sizeof bytes), 1);
}

static void ring(int fd)
{
    assert_int_equal(eventfd_write(fd, 1), 0);
}

static void one_byte_comes_when_it_becomes_readable_and_none_until_it_is_armed_again(void **state)
{
    (void)state;
    tp_beacon *beacon = open_beacon();
    int peer = connect_to(tp_beacon_address(beacon)), fd = eventfd(0, EFD_NONBLOCK);
    assert_true(tp_beacon_arm(beacon, fd));
    assert_false(readable_within(peer, 20));
    ring(fd);
    assert_byte(peer);
    ring(fd); /* readable still, and anew: but nobody asked */
    assert_false(readable_within(peer, 20));
    assert_true(tp_beacon_arm(beacon, fd));
    assert_byte(peer);
    tp_beacon_close(beacon);
    assert_int_equal(read(peer, &fd, 1), 0);
    close(peer);
    close(fd);
}

static void a_byte_is_kept_for_who_connects_after_it_became_readable(void **state)
{
    (void)state;
    tp_beacon *beacon = open_beacon();
    int fd = eventfd(1, EFD_NONBLOCK);
    assert_true(tp_beacon_arm(beacon, fd));
    int first = connect_to(tp_beacon_address(beacon));
    assert_byte(first);
    close(first);
    assert_true(tp_beacon_arm(beacon, fd)); /* nobody is there */
    int second = connect_to(tp_beacon_address(beacon));
    assert_byte(second);
    tp_beacon_close(beacon);
    close(second);
    close(fd);
}

static void descriptors_come_and_go(void **state)
{
    (void)state;
    tp_beacon *beacon = open_beacon();
    int peer = connect_to(tp_beacon_address(beacon));
    for (int i = 0; i < 100; i++) {
        int fd = eventfd(1, EFD_NONBLOCK); /* the same number, another file */
        assert_true(tp_beacon_arm(beacon, fd));
        assert_byte(peer);
        close(fd);
    }
    assert_false(tp_beacon_arm(beacon, 4000));
    tp_beacon_close(beacon);
    close(peer);
}

static int entries_in(const char *folder)
{
    int count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 2;
}

static void nothing_is_left_in_the_file_system_while_it_is_open(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_beacon-XXXXXX";
    assert_non_null(mkdtemp(folder));
    setenv("TMPDIR", folder, 1);
    tp_beacon *beacon = open_beacon();
    assert_int_equal(entries_in(folder), 0);
    int peer = connect_to(tp_beacon_address(beacon));
    assert_true(peer >= 0);
    assert_int_equal(rmdir(folder), 0);
    tp_beacon *elsewhere = open_beacon(); /* TMPDIR is gone: another folder will do */
    unsetenv("TMPDIR");
    tp_beacon_close(elsewhere);
    tp_beacon_close(beacon);
    close(peer);
}

/* Runs in a forked child: ends it with 0 when it got no byte. */
static void try_from_another_process(const char *path)
{
    char byte;
    int fd = connect_to(path);
    _exit(fd >= 0 && readable_within(fd, DEADLINE_MS) && read(fd, &byte, 1) > 0 ? 1 : 0);
}

static void another_process_of_the_same_user_hears_nothing(void **state)
{
    (void)state;
    tp_beacon *beacon = open_beacon();
    int status, peer = connect_to(tp_beacon_address(beacon)), fd = eventfd(1, EFD_NONBLOCK);
    char path[96];
    snprintf(path, sizeof path, "/proc/%d%s", (int)getpid(),
             tp_beacon_address(beacon) + strlen("/proc/self"));
    assert_true(tp_beacon_arm(beacon, fd));
    assert_byte(peer);
    pid_t child = fork();
    if (child == 0)
        try_from_another_process(path);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(tp_beacon_arm(beacon, fd));
    assert_byte(peer); /* it still goes to its owner */
    tp_beacon_close(beacon);
    close(peer);
    close(fd);
}

static void a_forked_child_closes_its_copy_and_the_parents_goes_on(void **state)
{
    (void)state;
    tp_beacon *beacon = open_beacon();
    int status, peer = connect_to(tp_beacon_address(beacon)), fd = eventfd(1, EFD_NONBLOCK);
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        tp_beacon_close(beacon);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(tp_beacon_arm(beacon, fd));
    assert_byte(peer);
    tp_beacon_close(beacon);
    close(peer);
    close(fd);
}

static volatile sig_atomic_t signalled;
static pthread_t signalled_thread;

static void note_signal(int number)
{
    (void)number;
    signalled_thread = pthread_self();
    signalled = 1;
}

static void its_thread_takes_no_signals(void **state)
{
    (void)state;
    tp_beacon *beacon = open_beacon();
    sigset_t all, before;
    signal(SIGUSR1, note_signal);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    kill(getpid(), SIGUSR1); /* goes to any thread that does not block it */
    struct timespec nap = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&nap, NULL);
    assert_int_equal(signalled, 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(signalled, 1);
    assert_true(pthread_equal(signalled_thread, pthread_self()));
    tp_beacon_close(beacon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_byte_comes_when_it_becomes_readable_and_none_until_it_is_armed_again),
        cmocka_unit_test(a_byte_is_kept_for_who_connects_after_it_became_readable),
        cmocka_unit_test(descriptors_come_and_go),
        cmocka_unit_test(nothing_is_left_in_the_file_system_while_it_is_open),
        cmocka_unit_test(another_process_of_the_same_user_hears_nothing),
        cmocka_unit_test(a_forked_child_closes_its_copy_and_the_parents_goes_on),
        cmocka_unit_test(its_thread_takes_no_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
