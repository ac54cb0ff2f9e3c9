#include "wake.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct tp_wake {
    atomic_int refs;
    atomic_bool rung;
    int fd;
};

struct tp_wake *tp__wake_new(void)
{
    struct tp_wake *wake = malloc(sizeof *wake);
    if (wake == NULL)
        return NULL;
    wake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake->fd < 0) {
        free(wake);
        return NULL;
    }
    atomic_init(&wake->refs, 1);
    atomic_init(&wake->rung, false);
    return wake;
}

struct tp_wake *tp__wake_retain(struct tp_wake *wake)
{
    atomic_fetch_add(&wake->refs, 1);
    return wake;
}

void tp__wake_release(struct tp_wake *wake)
{
    if (wake == NULL || atomic_fetch_sub(&wake->refs, 1) != 1)
        return;
    close(wake->fd);
    free(wake);
}

int tp__wake_fd(const struct tp_wake *wake)
{
    return wake->fd;
}

void tp__wake_ring(struct tp_wake *wake)
{
    if (atomic_exchange(&wake->rung, true))
        return;
    uint64_t one = 1;
    ssize_t written = write(wake->fd, &one, sizeof one);
    (void)written; /* the counter cannot overflow: one write per clear */
}

/* The read comes first: a ring between the two leaves the descriptor readable or the
 * flag up, never neither. */
bool tp__wake_clear(struct tp_wake *wake)
{
    uint64_t count = 0;
    bool read_any = read(wake->fd, &count, sizeof count) == (ssize_t)sizeof count;
    return atomic_exchange(&wake->rung, false) || read_any;
}
