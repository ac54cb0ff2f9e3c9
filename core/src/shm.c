#include "shm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tidepool.h"

enum {
    LOCK_AT_MOST_US = 100 * 1000, /* it is held for microseconds */
    PAUSE_NS = 100 * 1000         /* between tries */
};

void tp__shm_path(char out[TP_SHM_PATH_ROOM], const char *name)
{
    snprintf(out, TP_SHM_PATH_ROOM, "/dev/shm/tidepool-%lu-%s", (unsigned long)geteuid(), name);
}

uint64_t tp__shm_pid_space(void)
{
    struct stat is;
    return stat("/proc/self/ns/pid", &is) == 0 ? (uint64_t)is.st_ino : 0;
}

/* ------------------------------------------------------------------- locks */

static bool lock_byte(int fd, short type, off_t byte)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool tp__shm_hold(const struct tp_shm *shm, int place)
{
    return lock_byte(shm->fd, F_WRLCK, place + 1);
}

void tp__shm_let_go(const struct tp_shm *shm, int place)
{
    (void)lock_byte(shm->fd, F_UNLCK, place + 1);
}

bool tp__shm_is_held(const struct tp_shm *shm, int place)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = place + 1, .l_len = 1};
    return fcntl(shm->fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

/* It is asked for again and again rather than waited for, so that a process that was
 * stopped while it had the lock stops nobody else. */
bool tp__shm_lock(const struct tp_shm *shm)
{
    int64_t give_up_at = tp_now() + LOCK_AT_MOST_US;
    for (int tries = 0; !lock_byte(shm->fd, F_WRLCK, 0); tries++) {
        struct timespec pause = {.tv_sec = 0, .tv_nsec = PAUSE_NS};
        if (tp_now() >= give_up_at)
            return false;
        if (tries < 20)
            sched_yield();
        else
            nanosleep(&pause, NULL);
    }
    return true;
}

void tp__shm_unlock(const struct tp_shm *shm)
{
    (void)lock_byte(shm->fd, F_UNLCK, 0);
}

bool tp__shm_is_current(const struct tp_shm *shm)
{
    struct stat is;
    return fstat(shm->fd, &is) == 0 && is.st_nlink > 0;
}

/* -------------------------------------------------------------------- file */

/* /dev/shm is everybody's: a file that somebody else has put there is not ours. */
static const char *what_is_wrong(int fd)
{
    struct stat is;
    if (fstat(fd, &is) != 0)
        return strerror(errno);
    if (!S_ISREG(is.st_mode) || is.st_uid != geteuid() || (is.st_mode & 077) != 0)
        return "it belongs to somebody else";
    return NULL;
}

static const char other_version[] = "it is of another version, which others use";

static const char *map(struct tp_shm *shm, size_t size, uint64_t magic)
{
    struct stat is;
    if (fstat(shm->fd, &is) != 0 ||
        (is.st_size < (off_t)size && ftruncate(shm->fd, (off_t)size) != 0))
        return strerror(errno);
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, shm->fd, 0);
    if (at == MAP_FAILED)
        return strerror(errno);
    shm->at = at;
    shm->size = size;
    _Atomic uint64_t *first = at;
    if (atomic_load(first) == 0) /* it has just been made */
        atomic_store(first, magic);
    return atomic_load(first) == magic ? NULL : other_version;
}

/* Nobody else has a place: it was left there, as by processes that were killed. */
static bool is_abandoned(const struct tp_shm *shm)
{
    struct flock places = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 0};
    return fcntl(shm->fd, F_OFD_GETLK, &places) == 0 && places.l_type == F_UNLCK;
}

/* Once more when the last one has removed the file between open and lock, or when it is of another
 * version of tidepool and nobody's any more. */
static const char *open_current(struct tp_shm *shm, const char *path, size_t size, uint64_t magic)
{
    for (int tries = 0; tries < 100; tries++) {
        shm->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (shm->fd < 0)
            return strerror(errno);
        const char *why = what_is_wrong(shm->fd);
        if (why != NULL)
            return why;
        if (!tp__shm_lock(shm))
            return "its lock is not given back";
        if (tp__shm_is_current(shm)) {
            why = map(shm, size, magic);
            if (why != other_version || !is_abandoned(shm))
                return why;
            (void)unlink(path);
        }
        tp__shm_close(shm);
    }
    return "it is removed again and again";
}

const char *tp__shm_open(struct tp_shm *shm, const char *path, size_t size, uint64_t magic)
{
    shm->at = NULL;
    shm->fd = -1;
    const char *why = open_current(shm, path, size, magic);
    if (why != NULL)
        tp__shm_close(shm);
    return why;
}

void tp__shm_close(struct tp_shm *shm)
{
    if (shm->at != NULL)
        (void)munmap(shm->at, shm->size);
    if (shm->fd >= 0)
        (void)close(shm->fd);
    shm->at = NULL;
    shm->fd = -1;
}
