/* Which transaction it is: what is needed to find out later whether a COMMIT was carried out whose
 * answer was lost.
 *
 * A transaction has an id as soon as it writes. It is asked for in the same round trip as the
 * statements that may have been the first to write, behind them in one pipeline, until it is
 * known; so it is there before COMMIT is sent. */
#include <string.h>

#include "conn.h"
#include "conn_impl.h"

#define ID_SQL "SELECT pg_catalog.pg_current_xact_id_if_assigned()"

/* The id, and when the server's statistics begin: they begin anew with a crash, after which ids
 * whose transactions had not reached the disk are given again. */
const char *tp_xact_sql(void)
{
    return ID_SQL ", EXTRACT(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time())"
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
    /* No session outlives a crash, so the second column is asked for once, which takes as long as
     * all the rest. (One that seems to, through a pooler, is told from later ones by the old time.)
     */
    const char *sql = conn->xact_epoch[0] == '\0' ? tp_xact_sql() : ID_SQL;
    conn->asks_xact = true;
    return PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0) != 0;
}

void tp__conn_take_xact(struct tp_conn *conn, const PGresult *pg)
{
    if (PQntuples(pg) != 1 || PQnfields(pg) < 1)
        return;
    if (PQnfields(pg) == 2 && (size_t)PQgetlength(pg, 0, 1) < sizeof conn->xact_epoch)
        memcpy(conn->xact_epoch, PQgetvalue(pg, 0, 1), (size_t)PQgetlength(pg, 0, 1) + 1);
    size_t id = (size_t)PQgetlength(pg, 0, 0), epoch = strlen(conn->xact_epoch);
    if (PQgetisnull(pg, 0, 0) || epoch == 0 || id + 1 + epoch >= sizeof conn->xact)
        return;
    memcpy(conn->xact, PQgetvalue(pg, 0, 0), id);
    conn->xact[id] = ' ';
    memcpy(conn->xact + id + 1, conn->xact_epoch, epoch + 1);
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
