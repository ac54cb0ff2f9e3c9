/* Which backends wait for locks, and of whom: the question, and reading the answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "database.h"
#include "error.h"
#include "pool_inquiry.h"

/* A text constant can be anything, a password of ALTER ROLE, say; so a statement is shown up to the
 * first one ($1 is none, $$ begins one). What another role has sent is its own business. pg_locks
 * has the beginning of the wait from PostgreSQL 14 on.
 * Source: PostgreSQL manual 28.2.3, 54.12, 9.27. */
#define BLOCKED                                                                              \
    "with s as (select pid, coalesce(application_name, '') as application,"                  \
    " coalesce(state, '') as state, wait_event_type, query_start,"                           \
    " extract(epoch from pg_catalog.clock_timestamp() - state_change) * 1000 as state_ms,"   \
    " case when usename = session_user then pg_catalog.left("                                \
    "pg_catalog.substring(query, '^(?:[^''$]|[$][0-9])*'), 120) else '' end as query"        \
    " from pg_catalog.pg_stat_activity)"                                                     \
    " select a.pid, coalesce((extract(epoch from pg_catalog.clock_timestamp()"               \
    " - coalesce(w.since, a.query_start)) * 1000)::pg_catalog.int8, 0) as wait_ms,"          \
    " a.state, a.query, b.pid as by, coalesce(o.application, '') as by_application,"         \
    " coalesce(o.state, '') as by_state, coalesce(o.query, '') as by_query,"                 \
    " coalesce(o.state_ms::pg_catalog.int8, 0) as by_state_ms"                               \
    " from s a cross join lateral"                                                           \
    " (select distinct pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid))) as b(pid)"     \
    " left join s o on o.pid = b.pid"                                                        \
    " left join lateral (select pg_catalog.min("                                             \
    "(pg_catalog.to_jsonb(l) ->> 'waitstart')::pg_catalog.timestamptz)"                      \
    " from pg_catalog.pg_locks l where l.pid = a.pid and not l.granted) as w(since) on true" \
    " where a.wait_event_type = 'Lock'"
#define IN_ORDER " order by 2 desc, 1, 5"

enum { PID, WAIT, STATE, QUERY, BY, BY_APPLICATION, BY_STATE, BY_QUERY, BY_STATE_US, CELLS };

/* As many of the pool's loans as are asked about. */
enum { ASKED_AT_MOST = 64 };

const char *tp_blocked_sql(void)
{
    return BLOCKED IN_ORDER;
}

static enum tp_step ask(struct tp_database *database, struct tp_conn *conn)
{
    enum { ANSWER_AT_MOST = 1024 * 1024 };
    static const char end[] = "}'::pg_catalog.int4[])" IN_ORDER;
    char sql[sizeof BLOCKED + sizeof end + 32 + (size_t)ASKED_AT_MOST * 12];
    struct tp_holder *holders = malloc((size_t)ASKED_AT_MOST * sizeof *holders);
    if (holders == NULL)
        return TP_FAILED;
    size_t count = tp_pool_holders(database->pool, holders, ASKED_AT_MOST);
    int len = snprintf(sql, sizeof sql, "%s", BLOCKED " and a.pid = any ('{");
    for (size_t i = 0; i < count && i < ASKED_AT_MOST; i++)
        len += snprintf(sql + len, sizeof sql - (size_t)len, i > 0 ? ",%d" : "%d",
                        holders[i].backend_pid);
    snprintf(sql + len, sizeof sql - (size_t)len, "%s", end);
    free(holders);
    tp__conn_bound(conn, ANSWER_AT_MOST, false);
    return tp__conn_ask_simple(conn, sql) == TP_OK ? TP_WAIT : TP_FAILED;
}

static void take_number(int64_t *out, const char *text, size_t len)
{
    char digits[24];
    tp__text_copy_n(digits, sizeof digits, text, len);
    *out = strtoll(digits, NULL, 10);
}

static void take_cell(struct tp_blocked *out, int cell, const char *text, size_t len)
{
    int64_t number = 0;
    if (cell == PID || cell == WAIT || cell == BY || cell == BY_STATE_US)
        take_number(&number, text, len);
    if (cell == PID)
        out->pid = (int)number;
    else if (cell == WAIT)
        out->wait_us = number * 1000;
    else if (cell == STATE)
        tp__text_copy_n(out->state, sizeof out->state, text, len);
    else if (cell == QUERY)
        tp__text_copy_n(out->query, sizeof out->query, text, len);
    else if (cell == BY)
        out->by = (int)number;
    else if (cell == BY_APPLICATION)
        tp__text_copy_n(out->by_application, sizeof out->by_application, text, len);
    else if (cell == BY_STATE)
        tp__text_copy_n(out->by_state, sizeof out->by_state, text, len);
    else if (cell == BY_QUERY)
        tp__text_copy_n(out->by_query, sizeof out->by_query, text, len);
    else
        out->by_state_us = number * 1000;
}

/* The rows that have come. None of the cells is NULL; from a server that is none, they may be. */
static void take_rows(tp_pool *pool, struct tp_conn *conn)
{
    struct tp_row row;
    if (tp__conn_columns(conn)->count != CELLS)
        return;
    while (tp__conn_next_row(conn, &row)) {
        struct tp_blocked blocked = {0};
        const unsigned char *at = row.cells;
        for (int i = 0; i < CELLS; i++) {
            uint32_t len = tp__get32(at);
            at += 4;
            if (len == UINT32_MAX)
                continue;
            take_cell(&blocked, i, (const char *)at, len);
            at += len;
        }
        tp__inquiry_add(pool, &blocked);
    }
}

enum tp_step tp__database_inquire(struct tp_conn *conn, int ready)
{
    struct tp_database *database = tp__conn_owner(conn);
    enum tp_step step;
    if (tp__conn_is_ready(conn))
        return ask(database, conn);
    while ((step = tp__conn_step(conn, ready)) == TP_ROWS || step == TP_RESULT) {
        if (step == TP_ROWS)
            take_rows(database->pool, conn);
        ready = 0;
    }
    return step;
}
