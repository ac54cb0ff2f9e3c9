/* The blocking driver: poll(2) around one operation. */
#include "op.h"

#include <poll.h>

#include "clock.h"

/* A signal ends the wait early; the operation finds that nothing is ready and the
 * driver waits again, to the same deadline. */
static int wait_on(tp_op *op)
{
    int events = tp_op_events(op);
    struct pollfd on = {
        .fd = tp_op_fd(op),
        .events = (short)(((events & TP_READ) != 0 ? POLLIN : 0) |
                          ((events & TP_WRITE) != 0 ? POLLOUT : 0)),
    };
    if (on.fd < 0) {
        tp__op_park(op);
        return 0;
    }
    int64_t deadline = tp_op_deadline(op);
    if (poll(&on, 1, deadline == TP_NEVER ? -1 : tp__poll_ms(deadline, tp_now())) <= 0)
        return 0;
    return ((on.revents & ~POLLOUT) != 0 ? TP_READ : 0) |
           ((on.revents & POLLOUT) != 0 ? TP_WRITE : 0);
}

enum tp_step tp_drive(tp_op *op)
{
    int ready = 0;
    for (;;) {
        enum tp_step step = tp_op_step(op, ready);
        if (step != TP_WAIT)
            return step;
        ready = wait_on(op);
    }
}
