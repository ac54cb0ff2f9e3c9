/* A connection that listens: what the server sends by itself (PostgreSQL manual 34.9). */
#include "conn.h"
#include "conn_impl.h"

/* What may come of one notification: the server's own limit of a payload is 8,000 bytes. */
enum { NOTE_AT_MOST = 1024 * 1024 };

enum tp_status tp__conn_ask_to_listen(struct tp_conn *conn, const char *sql)
{
    tp__conn_bound(conn, NOTE_AT_MOST, false);
    return sql[0] != '\0' ? tp__conn_ask_simple(conn, sql) : tp__conn_ask_ping(conn);
}

static enum tp_step hear_answer(struct tp_conn *conn, int ready)
{
    enum tp_step step;
    do {
        step = tp__conn_step(conn, ready);
        ready = 0;
    } while (step == TP_ROWS || step == TP_RESULT);
    return step;
}

/* libpq keeps what it has read when the stream ends, so that the last notifications can still
 * be taken. */
static bool read_on(struct tp_conn *conn)
{
    char why[256];
    if (tp__conn_consume(conn) && PQstatus(conn->pg) == CONNECTION_OK)
        return tp__conn_keeps_utf8(conn);
    tp__conn_libpq_message(conn, why, sizeof why);
    tp__conn_lose(conn, TP_ERR_CONNECTION, why);
    return false;
}

enum tp_step tp__conn_hear(struct tp_conn *conn, int ready)
{
    if (conn->state == TP_CONN_ASKING)
        return hear_answer(conn, ready);
    if (conn->state != TP_CONN_READY)
        return TP_FAILED;
    conn->events = TP_READ;
    if ((ready & TP_READ) != 0 && !read_on(conn))
        return TP_FAILED;
    return TP_DONE;
}

bool tp__conn_next_notification(struct tp_conn *conn, tp_notification_fn *take, void *ctx)
{
    PGnotify *note = PQnotifies(conn->pg);
    if (note == NULL)
        return false;
    tp__conn_note_progress(conn);
    take(ctx, note->relname, note->extra != NULL ? note->extra : "", note->be_pid);
    PQfreemem(note);
    return true;
}
