/* Clearing a session of what its borrower has left there.
 *
 * DISCARD ALL would do it, but would drop the prepared statements of the pool, too, and cannot
 * stand beside other statements in one message; these are its parts, in one round trip. Only
 * statements that were prepared by SQL are dropped, which takes another, and is rare.
 *
 * After 25006 (read_only_sql_transaction) one more question tells whether the transaction was
 * meant to be read-only or the server has become so, as after a failover. */
#include <string.h>

#include "codec.h"
#include "conn.h"
#include "conn_impl.h"
#include "sqltext.h"

/* SET SESSION AUTHORIZATION leaves no role, also when the session began with one: RESET ROLE
 * goes back to that. What is selected is behind RESET ALL, so no name in it is another's. */
static const char clear_state[] =
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; UNLISTEN *; "
    "DISCARD TEMP; DISCARD SEQUENCES; "
    "SELECT pg_catalog.pg_advisory_unlock_all(), pg_catalog.current_setting('DateStyle'), "
    "pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('IntervalStyle'), "
    "(SELECT pg_catalog.string_agg("
    "pg_catalog.concat('DEALLOCATE ', pg_catalog.quote_ident(name)), ';') "
    "FROM pg_catalog.pg_prepared_statements WHERE from_sql)";

enum { UNLOCKED, SETTINGS, NAMES = SETTINGS + 3, CELLS };

static enum tp_step ask(struct tp_conn *conn, enum tp_clearing what, const char *sql)
{
    conn->clearing = what;
    return tp__conn_ask_simple(conn, sql) == TP_OK ? TP_WAIT : TP_FAILED;
}

enum tp_step tp__conn_clear_session(struct tp_conn *conn)
{
    struct tp_buf *names = &conn->to_deallocate;
    bool failed = conn->clearing != TP_CLEARING_OFF && conn->error.kind != TP_OK;
    if (failed || names->failed || (conn->traces & TP_LEAVES_FOR_GOOD) != 0)
        return TP_FAILED;
    if (conn->clearing == TP_CLEARING_OFF && conn->traces != 0)
        return ask(conn, TP_CLEARING_STATE, clear_state);
    if (conn->clearing == TP_CLEARING_STATE && names->len > 0)
        return ask(conn, TP_CLEARING_NAMES, names->data);
    tp__buf_free(names);
    conn->traces = conn->traces_least;
    if (conn->doubted) {
        conn->doubted = false;
        return ask(conn, TP_CLEARING_DOUBT, "SHOW transaction_read_only");
    }
    return conn->read_only ? TP_FAILED : TP_DONE;
}

/* What the settings are now may be news to libpq or to what is known of them beside it:
 * see tp__conn_on_other. */
static void take_setting(struct tp_conn *conn, int i, const char *value)
{
    static const char *const names[] = {"DateStyle", "TimeZone", "IntervalStyle"};
    conn->unmet &= ~tp__conn_setting_need(names[i], NULL);
    conn->unmet |= tp__conn_setting_need(names[i], value);
}

/* Cells are copied, since they have no NUL behind them. */
static void take_cell(struct tp_conn *conn, int i, const unsigned char *cell, size_t len)
{
    struct tp_buf text = {0};
    if (i == NAMES) {
        tp__buf_append(&conn->to_deallocate, cell, len);
        (void)tp__buf_cstr(&conn->to_deallocate);
        return;
    }
    tp__buf_append(&text, cell, len);
    take_setting(conn, i - SETTINGS, tp__buf_cstr(&text)); /* NULL, too, is not as it should be */
    tp__buf_free(&text);
}

static void take_doubt(struct tp_conn *conn)
{
    static const unsigned char on[] = {0, 0, 0, 2, 'o', 'n'};
    struct tp_row row;
    if (tp__conn_next_row(conn, &row))
        conn->read_only = row.len == sizeof on && memcmp(row.cells, on, sizeof on) == 0;
}

void tp__conn_take_cleared(struct tp_conn *conn)
{
    struct tp_row row;
    if (conn->clearing == TP_CLEARING_DOUBT)
        take_doubt(conn);
    if (conn->clearing != TP_CLEARING_STATE || tp__conn_columns(conn)->count != CELLS ||
        !tp__conn_next_row(conn, &row))
        return;
    const unsigned char *at = row.cells;
    for (int i = 0; i < CELLS; i++) {
        uint32_t len = tp__get32(at);
        at += 4;
        if (len == UINT32_MAX)
            continue;
        if (i >= SETTINGS)
            take_cell(conn, i, at, len);
        at += len;
    }
}
