/* A file in /dev/shm of mode 0600 that processes of one user map, and its locks.
 *
 * Byte 0 is the lock of the whole. Byte i + 1 is held by the owner of place i for as long as it
 * lives. These are open file description locks (fcntl(2), F_OFD_SETLK), which the kernel takes
 * away when the last descriptor of the description is closed, so also at SIGKILL; others ask for
 * them to see who lives, in whatever PID namespace. A child of fork has a copy of the descriptor,
 * so what the parent holds is held for as long as any child keeps it open.
 *
 * What is mapped begins with a word that tells what it is.
 * Owns: the descriptor and the mapping. Thread: one at a time for one struct. */
#ifndef TP_SHM_H
#define TP_SHM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TP_SHM_PATH_ROOM = 160 };

struct tp_shm {
    int fd;   /* -1: closed */
    void *at; /* NULL: not mapped */
    size_t size;
};

/* Where the file of that name is. */
void tp__shm_path(char out[TP_SHM_PATH_ROOM], const char *name);
/* Opens the file, makes it if need be, maps so many bytes of it and takes the lock. One with
 * another `magic` is replaced, unless somebody has a place there. NULL; or why not, and it is
 * closed. */
const char *tp__shm_open(struct tp_shm *shm, const char *path, size_t size, uint64_t magic);
void tp__shm_close(struct tp_shm *shm);
/* False when it could not be had for a while: somebody was stopped in the middle. */
bool tp__shm_lock(const struct tp_shm *shm);
void tp__shm_unlock(const struct tp_shm *shm);
/* Whether the file still has its name: whoever opens that finds this one. */
bool tp__shm_is_current(const struct tp_shm *shm);
/* False: somebody else has that place. */
bool tp__shm_hold(const struct tp_shm *shm, int place);
void tp__shm_let_go(const struct tp_shm *shm, int place);
/* Whether somebody else has it. */
bool tp__shm_is_held(const struct tp_shm *shm, int place);
/* A PID says little without its namespace: which one this process is in. */
uint64_t tp__shm_pid_space(void);

#endif
