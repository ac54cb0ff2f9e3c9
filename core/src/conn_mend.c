/* Mending: cancelling what still runs, rolling back what is open, pinging; then conn_clear.c. */
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "conn.h"
#include "conn_impl.h"
#include "error.h"
#include "list.h"

enum {
    MEND_AT_MOST_US = 5 * 1000 * 1000,
    /* A backend that has not read the statement yet ignores a cancel (PostgreSQL's
     * ProcessInterrupts), so it is sent again after this, then twice this, and so on. */
    CANCEL_AGAIN_US = 20 * 1000,
    DRAIN_AT_ONCE_US = 2000,
    /* A cancel that is still on its way can hit a ping; it is asked again. */
    PINGS_AFTER_CANCEL = 3
};

/* ------------------------------------------------------------------- cancel */

/* PQcancel opens a connection of its own and blocks until the server has closed it,
 * which is when the signal has been sent. */
struct tp_cancel {
    struct tp_errand errand;
    PGcancel *request;
    bool twice;
};

/* Where nobody looks whether it was heeded, it is sent again: see CANCEL_AGAIN_US. */
static void cancel_run(struct tp_errand *errand)
{
    struct tp_cancel *cancel = TP_CONTAINER(errand, struct tp_cancel, errand);
    const struct timespec pause = {.tv_nsec = CANCEL_AGAIN_US * 1000L};
    char why[256];
    (void)PQcancel(cancel->request, why, sizeof why);
    if (cancel->twice) {
        nanosleep(&pause, NULL);
        (void)PQcancel(cancel->request, why, sizeof why);
    }
}

static void cancel_destroy(struct tp_errand *errand)
{
    struct tp_cancel *cancel = TP_CONTAINER(errand, struct tp_cancel, errand);
    PQfreeCancel(cancel->request);
    free(cancel);
}

void tp__conn_forget_cancel(struct tp_conn *conn)
{
    if (conn->cancel != NULL)
        tp__errand_release(&conn->cancel->errand);
    conn->cancel = NULL;
}

static bool send_cancel(struct tp_conn *conn, bool twice)
{
    struct tp_cancel *cancel = calloc(1, sizeof *cancel);
    if (cancel == NULL)
        return false;
    cancel->errand.run = cancel_run;
    cancel->errand.destroy = cancel_destroy;
    cancel->twice = twice;
    cancel->request = PQgetCancel(conn->pg);
    if (cancel->request == NULL) {
        free(cancel);
        return false;
    }
    conn->cancel = cancel;
    if (!tp__errand_start(&cancel->errand, conn->env.wake)) {
        tp__conn_forget_cancel(conn);
        return false;
    }
    tp__conn_set_state(conn, TP_CONN_CANCELLING);
    return true;
}

/* Nobody waits for the answer: the thread of the errand ends by itself. */
void tp__conn_cancel_behind(struct tp_conn *conn)
{
    if (conn->state == TP_CONN_ASKING && send_cancel(conn, true))
        tp__conn_forget_cancel(conn);
}

/* False while the errand is under way. A cancel that could not be sent leaves the
 * statement running; the deadline of mending ends that. */
static bool cancel_ended(struct tp_conn *conn)
{
    if (!tp__errand_done(&conn->cancel->errand))
        return false;
    tp__conn_forget_cancel(conn);
    conn->cancelled = true;
    conn->cancel_again = tp_now() + conn->cancel_pause;
    conn->cancel_pause *= 2;
    tp__conn_set_state(conn, TP_CONN_ASKING);
    return true;
}

/* ------------------------------------------------------------------ mending */

static void begin_mending(struct tp_conn *conn)
{
    tp__conn_mark(conn, NULL, NULL);
    conn->mending = true;
    conn->keeps_transaction = false;
    conn->cancelled = false;
    conn->cancel_again = TP_NEVER;
    conn->cancel_pause = CANCEL_AGAIN_US;
    conn->pings_left = PINGS_AFTER_CANCEL;
    conn->clearing = TP_CLEARING_OFF;
    conn->deadline = tp_now() + MEND_AT_MOST_US;
}

static enum tp_step end_mending(struct tp_conn *conn, enum tp_step step)
{
    if (step != TP_WAIT) {
        conn->mending = false;
        conn->deadline = TP_NEVER;
    }
    return step;
}

static enum tp_step asked(enum tp_status status)
{
    return status == TP_OK ? TP_WAIT : TP_FAILED;
}

/* What is to be done next with a connection that has nothing under way: TP_DONE when
 * it is clean, TP_WAIT when another request was sent. A ping that is answered without
 * an error shows that no cancel is left. */
static enum tp_step mend_more(struct tp_conn *conn)
{
    conn->cancel_again = TP_NEVER; /* what was to be stopped has ended */
    if (conn->pinging && conn->error.kind == TP_OK)
        conn->cancelled = false;
    if (!conn->keeps_transaction && tp__conn_transaction(conn) != TP_TX_IDLE)
        return asked(tp__conn_ask_simple(conn, "ROLLBACK"));
    if (!conn->cancelled)
        return conn->keeps_transaction ? TP_DONE : tp__conn_clear_session(conn);
    return conn->pings_left-- > 0 ? asked(tp__conn_ask_ping(conn)) : TP_FAILED;
}

/* The borrower's statement is still there. */
static enum tp_step wait_on(struct tp_conn *conn)
{
    if (tp_now() < conn->cancel_again)
        return TP_WAIT;
    conn->cancel_again = TP_NEVER;
    return send_cancel(conn, false) ? TP_WAIT : TP_FAILED;
}

static enum tp_step reset_on(struct tp_conn *conn, int ready)
{
    int64_t pause_at = tp_now() + DRAIN_AT_ONCE_US;
    enum tp_step step;
    conn->paused = false;
    for (;;) {
        switch (conn->state) {
        case TP_CONN_READY:
            return mend_more(conn);
        case TP_CONN_ASKING:
            /* Rows that come are dropped. After a while it is somebody else's turn, but not for
             * long: those that are in memory would not be announced again. */
            step = tp__conn_step(conn, ready);
            if (step == TP_WAIT)
                return wait_on(conn);
            if (step == TP_ROWS && conn->clearing != TP_CLEARING_OFF)
                tp__conn_take_cleared(conn);
            if (conn->state == TP_CONN_ASKING && tp_now() > pause_at) {
                conn->paused = true;
                return wait_on(conn);
            }
            ready = 0; /* libpq would read on for ever, and keep it all */
            break;
        case TP_CONN_CANCELLING:
            if (!cancel_ended(conn))
                return TP_WAIT;
            ready = TP_READ;
            break;
        default:
            return TP_FAILED;
        }
    }
}

enum tp_step tp__conn_step_reset(struct tp_conn *conn, int ready)
{
    if (!conn->mending) {
        begin_mending(conn);
        ready = 0;
        if (conn->state == TP_CONN_ASKING && !send_cancel(conn, false))
            return end_mending(conn, TP_FAILED);
    }
    if (tp_now() >= conn->deadline)
        return end_mending(conn, TP_FAILED);
    return end_mending(conn, reset_on(conn, ready));
}

enum tp_step tp__conn_step_stop(struct tp_conn *conn, int ready, bool cancel)
{
    if (!conn->mending) {
        begin_mending(conn);
        conn->keeps_transaction = true;
        if (cancel)
            conn->cancel_again = tp_now() + CANCEL_AGAIN_US;
    }
    if (tp_now() >= conn->deadline) {
        tp__conn_lose(conn, TP_ERR_TIMEOUT, "the rest of a result was not read in time");
        return end_mending(conn, TP_FAILED);
    }
    return end_mending(conn, reset_on(conn, ready));
}

enum tp_step tp__conn_step_ping(struct tp_conn *conn, int ready)
{
    if (!conn->mending) {
        begin_mending(conn);
        if (tp__conn_ask_ping(conn) != TP_OK)
            return end_mending(conn, TP_FAILED);
        ready = 0;
    }
    if (tp_now() >= conn->deadline)
        return end_mending(conn, TP_FAILED);
    return end_mending(conn, tp__conn_step(conn, ready));
}
