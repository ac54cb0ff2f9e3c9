/* The beacon: a thread that turns "this descriptor is readable" into one byte on a unix socket.
 *
 * The thread sleeps in epoll_wait on three things: its listener, the wake-up that ends it, and
 * what the host has armed. The last is armed by the host itself: epoll_ctl may be called while
 * another thread waits, so arming is one system call and no message.
 *
 * The socket has a name in the file system only for the time between bind and unlink, within
 * tp_beacon_open: a descriptor of the file itself (O_PATH) is kept, and the host connects
 * through /proc/self/fd, which leads to the file whether it still has a name or not. So nothing
 * is left behind whatever ends the process, and no other program can find the socket.
 * Source: proc(5), unix(7); nginx runs its workers so that they may read their own
 * /proc/self/fd. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"
#include "wake.h"

/* What an event of the thread's epoll set is about. */
enum { LISTENER, QUIT, WATCHED };

enum { STACK_BYTES = 128 * 1024, EVENTS_AT_ONCE = 4 };

struct tp_beacon {
    pid_t pid; /* of the process that opened it: in a forked child there is no thread */
    int epoll_fd;
    int listener;
    int place; /* the socket's file */
    struct tp_wake *quit;
    pthread_t thread;
    bool running;
    char address[64];
    /* The thread's own. */
    int peer;  /* who hears of it, or -1 */
    bool owed; /* it was readable while nobody was connected */
};

/* ------------------------------------------------------------------- thread */

/* Only this process may connect: others of the same user could, through its /proc entry. */
static bool is_ours(const struct tp_beacon *beacon, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid == beacon->pid;
}

static void shine(struct tp_beacon *beacon)
{
    ssize_t sent = beacon->peer < 0 ? -1 : send(beacon->peer, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    /* A peer that does not read has a full buffer, which is as good as a byte. */
    beacon->owed = sent < 0 && (beacon->peer < 0 || (errno != EAGAIN && errno != EWOULDBLOCK));
}

/* The last who connects is the one that hears of it: the one before has gone. */
static void welcome(struct tp_beacon *beacon)
{
    int fd = accept4(beacon->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (!is_ours(beacon, fd)) {
        close(fd);
        return;
    }
    if (beacon->peer >= 0)
        close(beacon->peer);
    beacon->peer = fd;
    if (beacon->owed)
        shine(beacon);
}

static void *beacon_main(void *arg)
{
    struct tp_beacon *beacon = arg;
    struct epoll_event events[EVENTS_AT_ONCE];

    for (;;) {
        int count = epoll_wait(beacon->epoll_fd, events, EVENTS_AT_ONCE, -1);
        if (count < 0 && errno != EINTR)
            return NULL;
        for (int i = 0; i < count; i++) {
            if (events[i].data.u32 == QUIT)
                return NULL;
            if (events[i].data.u32 == LISTENER)
                welcome(beacon);
            else
                shine(beacon);
        }
    }
}

/* The thread inherits the mask, so that it never takes a signal of the program. */
static bool start(struct tp_beacon *beacon)
{
    sigset_t all, before;
    pthread_attr_t attr;

    if (pthread_attr_init(&attr) != 0)
        return false;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    beacon->running = pthread_create(&beacon->thread, &attr, beacon_main, beacon) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return beacon->running;
}

/* ------------------------------------------------------------------ opening */

/* Binds the listener to a file in a fresh folder of this name, keeps the file and removes the
 * name. 0, or an errno. */
static int bind_in(struct tp_beacon *beacon, const char *folder)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char own[sizeof address.sun_path - sizeof "/s"];
    int failed = 0;

    if ((size_t)snprintf(own, sizeof own, "%s/tidepool-XXXXXX", folder) >= sizeof own)
        return ENAMETOOLONG;
    if (mkdtemp(own) == NULL)
        return errno;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", own);
    if (bind(beacon->listener, (const struct sockaddr *)&address, sizeof address) != 0) {
        failed = errno;
    } else {
        beacon->place = open(address.sun_path, O_PATH | O_CLOEXEC);
        if (beacon->place < 0 || chmod(address.sun_path, S_IRUSR | S_IWUSR) != 0)
            failed = errno;
        unlink(address.sun_path);
    }
    rmdir(own);
    return failed;
}

/* Any folder will do in which sockets can be made: a container may have but one of them. */
static int bind_somewhere(struct tp_beacon *beacon)
{
    const char *folders[] = {getenv("TMPDIR"), "/tmp", "/dev/shm", "/var/tmp"};
    int failed = ENOENT;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        if (folders[i] == NULL || folders[i][0] != '/')
            continue;
        failed = bind_in(beacon, folders[i]);
        if (failed == 0)
            return 0;
    }
    return failed;
}

static int watch(struct tp_beacon *beacon, int fd, uint32_t what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};
    return epoll_ctl(beacon->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* 0, or an errno. */
static int build(struct tp_beacon *beacon)
{
    beacon->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    beacon->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    beacon->quit = tp__wake_new();
    if (beacon->quit == NULL)
        return ENOMEM;
    if (beacon->epoll_fd < 0 || beacon->listener < 0)
        return EMFILE;
    int failed = bind_somewhere(beacon);
    if (failed != 0)
        return failed;
    snprintf(beacon->address, sizeof beacon->address, "/proc/self/fd/%d", beacon->place);
    if (access(beacon->address, F_OK) != 0 || listen(beacon->listener, 2) != 0 ||
        watch(beacon, beacon->listener, LISTENER) != 0 ||
        watch(beacon, tp__wake_fd(beacon->quit), QUIT) != 0)
        return errno;
    return start(beacon) ? 0 : EAGAIN;
}

enum tp_status tp_beacon_open(tp_beacon **out, struct tp_error *err)
{
    struct tp_beacon *beacon = calloc(1, sizeof *beacon);
    if (beacon == NULL)
        return tp__error_set(err, TP_ERR_MEMORY, "not enough memory");
    beacon->pid = getpid();
    beacon->epoll_fd = beacon->listener = beacon->place = beacon->peer = -1;
    int failed = build(beacon);
    if (failed != 0) {
        tp_beacon_close(beacon);
        return tp__error_set(err, TP_ERR_CONNECTION,
                             "the socket that tells the event loop cannot be made (it needs a "
                             "temporary folder and /proc): %s",
                             strerror(failed));
    }
    *out = beacon;
    return TP_OK;
}

/* ---------------------------------------------------------------------- use */

const char *tp_beacon_address(const tp_beacon *beacon)
{
    return beacon->address;
}

bool tp_beacon_arm(tp_beacon *beacon, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = WATCHED};
    return epoll_ctl(beacon->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0 ||
           epoll_ctl(beacon->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* A forked child has copies of the descriptors but no thread; closing them does not touch the
 * parent's. */
void tp_beacon_close(tp_beacon *beacon)
{
    if (beacon == NULL)
        return;
    if (beacon->running && beacon->pid == getpid()) {
        tp__wake_ring(beacon->quit);
        pthread_join(beacon->thread, NULL);
    }
    close_fd(beacon->peer);
    close_fd(beacon->listener);
    close_fd(beacon->place);
    close_fd(beacon->epoll_fd);
    tp__wake_release(beacon->quit);
    free(beacon);
}
