/* Which transaction it is: what is needed to find out later whether a COMMIT was carried out whose
 * answer was lost.
 *
 * A transaction has an id as soon as it writes. It is asked for in the same round trip as the
 * statements that may have been the first to write, behind them in one pipeline, until it is
 * known; so it is there before COMMIT is sent. */
#include <string.h>

#include "conn.h"
#include "conn_impl.h"

/* The id, and when the server's statistics begin: they begin anew with a crash, after which ids
 * whose transactions had not reached the disk are given again. */
const char *tp_xact_sql(void)
{
    return "SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text, "
           "EXTRACT(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time())"
           "::pg_catalog.text";
}

/* Servers that only speak as PostgreSQL does may have no such function, and the error would end
 * the transaction. */
static bool is_known_there(const struct tp_conn *conn)
{
    return PQserverVersion(conn->pg) >= 130000 &&
           PQparameterStatus(conn->pg, "crdb_version") == NULL;
}

bool tp__conn_asks_xact(const struct tp_conn *conn, bool writes)
{
    return writes && conn->transaction == TP_TX_OPEN && conn->xact[0] == '\0' &&
           tp__config_settings(conn->env.config)->verdict_us > 0 && is_known_there(conn);
}

bool tp__conn_send_xact(struct tp_conn *conn)
{
    conn->asks_xact = true;
    return PQsendQueryParams(conn->pg, tp_xact_sql(), 0, NULL, NULL, NULL, NULL, 0) != 0;
}

void tp__conn_take_xact(struct tp_conn *conn, const PGresult *pg)
{
    if (PQntuples(pg) != 1 || PQnfields(pg) != 2 || PQgetisnull(pg, 0, 0))
        return;
    size_t id = (size_t)PQgetlength(pg, 0, 0), epoch = (size_t)PQgetlength(pg, 0, 1);
    if (id + 1 + epoch >= sizeof conn->xact)
        return;
    memcpy(conn->xact, PQgetvalue(pg, 0, 0), id);
    conn->xact[id] = ' ';
    memcpy(conn->xact + id + 1, PQgetvalue(pg, 0, 1), epoch + 1);
    conn->writes_unseen = false;
}

void tp__conn_note_writes(struct tp_conn *conn)
{
    conn->writes_unseen |= tp__conn_asks_xact(conn, true);
}

const char *tp__conn_xact(const struct tp_conn *conn, bool *unseen)
{
    *unseen = conn->writes_unseen;
    return conn->xact;
}
