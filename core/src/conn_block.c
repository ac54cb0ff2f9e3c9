/* Transactions that the program begins, for the statistics: how many were committed or rolled
 * back, and how long they took.
 *
 * A transaction begins and ends where the server says so: by the state that it tells at the end
 * of a request, and within one request (a script, a pipeline) by the tags of the commands. The tag
 * of ROLLBACK TO SAVEPOINT is that of ROLLBACK, so it is the state afterwards that decides. One
 * that was open when the link was lost is not counted: a COMMIT may have been under way. */
#include <string.h>

#include "conn.h"
#include "conn_impl.h"

void tp__conn_note_began(struct tp_conn *conn, int64_t began)
{
    conn->asked_at = began;
}

static void begin(struct tp_conn *conn)
{
    conn->in_block = true;
    conn->block_began = conn->asked_at > 0 ? conn->asked_at : tp_now();
}

static void end(struct tp_conn *conn, bool committed)
{
    struct tp_lease_tally *tally = conn->env.tally;
    conn->in_block = conn->undone = false;
    if (tally == NULL)
        return;
    tp__add(committed ? &tally->counts.committed : &tally->counts.rolled_back, 1);
    tp__histogram_record(&tally->transaction, tp_now() - conn->block_began);
}

/* Most tags are SELECT. */
static bool is_begin(const char *tag)
{
    if (tag[0] != 'B' && (tag[0] != 'S' || tag[1] != 'T'))
        return false;
    return strcmp(tag, "BEGIN") == 0 || strcmp(tag, "START TRANSACTION") == 0;
}

void tp__conn_note_tag(struct tp_conn *conn)
{
    const char *tag = conn->command;
    if (is_begin(tag)) {
        if (conn->in_block && conn->undone)
            end(conn, false);
        if (!conn->in_block)
            begin(conn);
    } else if (conn->in_block && strcmp(tag, "COMMIT") == 0) {
        end(conn, true);
    } else if (conn->in_block && strcmp(tag, "PREPARE TRANSACTION") == 0) {
        conn->in_block = false; /* how it ends is another session's */
    } else if (conn->in_block) {
        conn->undone |= strcmp(tag, "ROLLBACK") == 0;
    }
}

void tp__conn_note_state(struct tp_conn *conn)
{
    bool open = conn->transaction == TP_TX_OPEN || conn->transaction == TP_TX_FAILED;
    if (open && !conn->in_block)
        begin(conn); /* AND CHAIN, too */
    else if (conn->in_block && conn->transaction == TP_TX_IDLE)
        end(conn, false);
    conn->undone = false;
}

void tp__conn_end_block(struct tp_conn *conn)
{
    if (conn->in_block && conn->state == TP_CONN_READY)
        end(conn, false);
}
