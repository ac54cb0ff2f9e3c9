/* Requests on a connection: what is sent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "conn.h"
#include "conn_impl.h"
#include "error.h"
#include "sqltext.h"

/* ---------------------------------------------------------------- beginning */

static void begin(struct tp_conn *conn)
{
    tp__conn_clear_answer(conn);
    tp__error_clear(&conn->error);
    tp__description_release(conn->described);
    conn->described = NULL;
    tp__description_release(conn->expected);
    conn->expected = NULL;
    conn->binary = false;
    conn->only_text = false;
    conn->pipelined = false;
    conn->pinging = false;
    conn->piping = false;
    conn->describing = false;
    conn->silent = 0;
    conn->unread = false;
    conn->whole = false;
    conn->asks_xact = conn->xact_is_next = false;
    tp__conn_note_progress(conn);
    tp__conn_set_state(conn, TP_CONN_ASKING);
}

void tp__conn_bound(struct tp_conn *conn, int64_t most_bytes, bool one_by_one)
{
    conn->most_bytes = most_bytes;
    conn->one_by_one = one_by_one;
}

/* After a PQsend*: `sent` is its return. */
static enum tp_status begun(struct tp_conn *conn, int sent)
{
    char why[256];
    int left = sent ? PQflush(conn->pg) : -1;
    if (left >= 0) {
        conn->unsent = left > 0;
        conn->events = TP_READ | (conn->unsent ? TP_WRITE : 0);
        return TP_OK;
    }
    tp__conn_libpq_message(conn, why, sizeof why);
    tp__conn_lose(conn, TP_ERR_CONNECTION, why);
    return TP_ERR_CONNECTION;
}

static enum tp_status out_of_memory(struct tp_conn *conn, const char *what)
{
    tp__error_set(&conn->error, TP_ERR_MEMORY, "out of memory for %s", what);
    tp__conn_set_state(conn, TP_CONN_READY);
    return TP_ERR_MEMORY;
}

enum tp_status tp__conn_ask_simple(struct tp_conn *conn, const char *sql)
{
    if (tp__sql_may_write(sql, strlen(sql)))
        tp__conn_note_writes(conn);
    begin(conn);
    const char *text = tp__conn_marked(conn, sql, strlen(sql));
    if (text == NULL)
        return out_of_memory(conn, "a statement");
    int sent = PQsendQuery(conn->pg, text);
    if (sent && conn->one_by_one)
        (void)PQsetSingleRowMode(conn->pg);
    return begun(conn, sent);
}

enum tp_status tp__conn_ask_ping(struct tp_conn *conn)
{
    begin(conn);
    conn->pinging = true;
    return begun(conn, PQsendQuery(conn->pg, ""));
}

/* ---------------------------------------------------------------- preparing */

/* Names that the cache has let go of ride along, a few at a time. They are numbers
 * of ours, so no quoting is needed. In a failed transaction nothing can be deallocated, so
 * the names wait for a better time. */
static bool send_deallocations(struct tp_conn *conn)
{
    if (conn->transaction == TP_TX_FAILED)
        return true;
    for (int i = 0; i < 4; i++) {
        char sql[48];
        struct tp_statement *dead = tp__statements_take_dead(&conn->statements);
        if (dead == NULL)
            return true;
        snprintf(sql, sizeof sql, "DEALLOCATE %s", dead->name);
        tp__statement_free(dead);
        if (!PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0))
            return false;
        conn->silent++;
    }
    return true;
}

/* Parse, and before it what can ride along. libpq is in pipeline mode afterwards. */
static bool send_parse(struct tp_conn *conn, const char *sql, int nparams, const Oid *types)
{
    conn->pipelined = true;
    conn->prepared_name[0] = '\0';
    if (tp__config_settings(conn->env.config)->prepare)
        tp__statement_name(&conn->statements, conn->prepared_name);
    if (!PQenterPipelineMode(conn->pg) || !send_deallocations(conn))
        return false;
    conn->silent++;
    return PQsendPrepare(conn->pg, conn->prepared_name, sql, nparams, types);
}

enum tp_status tp__conn_ask_prepare(struct tp_conn *conn, const char *sql, size_t len)
{
    begin(conn);
    tp__buf_clear(&conn->prepared_sql);
    tp__buf_append(&conn->prepared_sql, sql, len);
    if (tp__buf_cstr(&conn->prepared_sql) == NULL)
        return out_of_memory(conn, "a prepared statement");
    conn->describing = true;
    return begun(conn, send_parse(conn, sql, 0, NULL) &&
                           PQsendDescribePrepared(conn->pg, conn->prepared_name) &&
                           PQpipelineSync(conn->pg));
}

enum tp_status tp__conn_ask_describe(struct tp_conn *conn, const char *sql, size_t len)
{
    begin(conn);
    tp__buf_clear(&conn->prepared_sql);
    tp__buf_append(&conn->prepared_sql, sql, len);
    if (tp__buf_cstr(&conn->prepared_sql) == NULL)
        return out_of_memory(conn, "a statement");
    conn->pipelined = true;
    conn->describing = true;
    conn->silent = 1;
    return begun(conn, PQenterPipelineMode(conn->pg) && PQsendPrepare(conn->pg, "", sql, 0, NULL) &&
                           PQsendDescribePrepared(conn->pg, "") && PQpipelineSync(conn->pg));
}

struct tp_description *tp__conn_take_description(struct tp_conn *conn)
{
    struct tp_description *description = conn->described;
    conn->described = NULL;
    return description;
}

/* ---------------------------------------------------------------- executing */

static bool make_room(struct tp_conn *conn, int nparams)
{
    if (nparams <= conn->room)
        return true;
    size_t room = (size_t)nparams + 16;
    const char **values = realloc(conn->values, room * sizeof *values);
    if (values != NULL)
        conn->values = values;
    int *lengths = realloc(conn->lengths, room * sizeof *lengths);
    if (lengths != NULL)
        conn->lengths = lengths;
    int *formats = realloc(conn->formats, room * sizeof *formats);
    if (formats != NULL)
        conn->formats = formats;
    if (values == NULL || lengths == NULL || formats == NULL)
        return false;
    conn->room = (int)room;
    return true;
}

static bool set_params(struct tp_conn *conn, int n, const struct tp_param *params)
{
    if (!make_room(conn, n))
        return false;
    for (int i = 0; i < n; i++) {
        conn->values[i] = params[i].data;
        conn->lengths[i] = (int)params[i].len;
        conn->formats[i] = params[i].binary;
    }
    return true;
}

/* Whether the session has the settings under which binary forms give the same text. The
 * server reports them whenever they change. */
bool tp__conn_has_settings(const struct tp_conn *conn, unsigned needs)
{
    static const struct {
        unsigned need;
        const char *name;
    } settings[] = {
        {TP_NEEDS_ISO_DATES, "DateStyle"},
        {TP_NEEDS_UTC, "TimeZone"},
        {TP_NEEDS_ISO_INTERVALS, "IntervalStyle"},
    };
    if ((needs & conn->unmet) != 0)
        return false;
    for (size_t i = 0; needs != 0 && i < sizeof settings / sizeof settings[0]; i++) {
        const char *name = settings[i].name;
        if ((needs & settings[i].need) != 0 &&
            tp__conn_setting_need(name, PQparameterStatus(conn->pg, name)) != 0)
            return false;
    }
    return true;
}

/* Without a name there is nothing but the text to go by. */
static int send_text(struct tp_conn *conn, const struct tp_description *description, bool binary)
{
    const char *text = tp__conn_marked(conn, description->sql, description->sql_len);
    return text != NULL &&
           PQsendQueryParams(conn->pg, text, description->nparams, description->param_oids,
                             conn->values, conn->lengths, conn->formats, binary);
}

static int send_execute(struct tp_conn *conn, const struct tp_execution *execution)
{
    const struct tp_description *description = execution->description;
    const char *name = execution->statement != NULL ? execution->statement->name : "";
    int n = description->nparams;
    if (!tp__conn_send_name(conn))
        return 0;
    bool asks = tp__conn_asks_xact(conn, description->writes);
    if (execution->keep) {
        if (!send_parse(conn, description->sql, n, description->param_oids))
            return 0;
        name = conn->prepared_name;
    } else if (asks) {
        conn->pipelined = true;
        if (!PQenterPipelineMode(conn->pg))
            return 0;
    }
    int sent = conn->comment == NULL && (name[0] != '\0' || execution->keep)
                   ? PQsendQueryPrepared(conn->pg, name, n, conn->values, conn->lengths,
                                         conn->formats, conn->binary)
                   : send_text(conn, description, conn->binary);
    if (sent && conn->one_by_one) /* in a pipeline, what comes first may be no rows: see collect */
        (void)PQsetSingleRowMode(conn->pg);
    if (sent && asks)
        sent = tp__conn_send_xact(conn);
    return sent && (!conn->pipelined || PQpipelineSync(conn->pg));
}

/* Whether the exchange can be made on the socket itself. */
static bool is_for_wire(const struct tp_conn *conn)
{
    return !conn->read_aside && !conn->marked && !PQsslInUse(conn->pg) && !PQgssEncInUse(conn->pg);
}

static void begin_wire(struct tp_conn *conn)
{
    struct tp_wire_events on = {
        .other = tp__conn_on_other, .error = tp__conn_on_error, .ctx = conn};
    tp__wire_begin(&conn->wire, PQsocket(conn->pg), &on);
    conn->wire.longest = conn->most_bytes < INT32_MAX ? (uint32_t)conn->most_bytes : INT32_MAX - 1;
}

/* Whether rows are asked for in binary form. */
static bool wants_binary(const struct tp_conn *conn, const struct tp_description *description)
{
    const struct tp_columns *columns = description->columns;
    if (columns == NULL || !columns->binary || !description->plain || conn->only_text)
        return false;
    if (conn->piping)
        return (columns->needs & conn->unmet_then) == 0;
    return tp__conn_has_settings(conn, columns->needs);
}

void tp__conn_expect(struct tp_conn *conn, struct tp_description *description)
{
    const struct tp_columns *columns = description->columns;
    if (conn->expected != description) {
        tp__description_release(conn->expected);
        conn->expected = tp__description_retain(description);
    }
    conn->binary = wants_binary(conn, description);
    conn->columns = conn->wire.active ? columns : NULL;
    tp__wire_expect(&conn->wire, columns != NULL ? columns->count : 0);
}

static enum tp_status ask_on_wire(struct tp_conn *conn, const struct tp_execution *execution)
{
    begin_wire(conn);
    tp__conn_expect(conn, execution->description);
    if (!tp__wire_add(&conn->wire, execution->statement->name, execution->description->nparams,
                      execution->params, conn->binary) ||
        !tp__wire_sync(&conn->wire)) {
        conn->wire.active = false;
        return out_of_memory(conn, "parameters");
    }
    conn->events = TP_READ | (tp__wire_unsent(&conn->wire) > 0 ? TP_WRITE : 0);
    return TP_OK;
}

enum tp_status tp__conn_ask_execute(struct tp_conn *conn, const struct tp_execution *execution)
{
    const struct tp_description *description = execution->description;
    conn->traces |= description->traces & conn->traces_most;
    begin(conn);
    conn->only_text = execution->text;
    /* A statement without columns may be one that libpq has to know of: SET, COPY. */
    if (execution->statement != NULL && execution->statement->name[0] != '\0' &&
        description->columns != NULL && description->plain && is_for_wire(conn) &&
        !tp__conn_asks_xact(conn, description->writes))
        return ask_on_wire(conn, execution);
    tp__conn_expect(conn, execution->description);
    /* The description is another connection's, and the table may have changed since: a text
     * is understood of any type; so it is where a comment keeps the text from being prepared. */
    conn->binary = conn->binary && !execution->keep && execution->statement != NULL;
    if (!set_params(conn, description->nparams, execution->params))
        return out_of_memory(conn, "parameters");
    return begun(conn, send_execute(conn, execution));
}

/* ---------------------------------------------------------------- pipelines */

/* What is sent at one go. */
enum { PIPELINE_CHUNK = 32 * 1024 };

/* A setting may change in the middle, when items behind it have been sent: the form of all
 * rows is chosen by what holds at the beginning. */
static unsigned unmet_needs(const struct tp_conn *conn)
{
    static const unsigned all[] = {TP_NEEDS_ISO_DATES, TP_NEEDS_UTC, TP_NEEDS_ISO_INTERVALS};
    unsigned unmet = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        unmet |= tp__conn_has_settings(conn, all[i]) ? 0 : all[i];
    return unmet;
}

enum tp_status tp__conn_ask_pipeline(struct tp_conn *conn)
{
    begin(conn);
    conn->piping = true;
    conn->piping_asks = tp__conn_asks_xact(conn, true);
    conn->unmet_then = unmet_needs(conn);
    conn->events = TP_READ;
    if (is_for_wire(conn) && tp__config_settings(conn->env.config)->prepare)
        begin_wire(conn);
    else
        conn->pipelined = PQenterPipelineMode(conn->pg) && tp__conn_send_name(conn);
    if (conn->wire.active || conn->pipelined)
        return TP_OK;
    tp__conn_lose(conn, TP_ERR_CONNECTION, "the pipeline could not be begun");
    return TP_ERR_CONNECTION;
}

/* The server waits for its end, and what it would answer to half of it is of no use. */
static enum tp_status lose_pipeline(struct tp_conn *conn)
{
    tp__conn_lose(conn, TP_ERR_MEMORY, "out of memory for a pipeline");
    return TP_ERR_MEMORY;
}

enum tp_status tp__conn_pipeline_add(struct tp_conn *conn, const char *name,
                                     const struct tp_description *description,
                                     const struct tp_param *params)
{
    bool binary = wants_binary(conn, description);
    int n = description->nparams;
    conn->traces |= description->traces & conn->traces_most;
    if (description->writes)
        conn->writes_unseen |= conn->piping_asks;
    if (conn->wire.active) {
        if (!tp__wire_add(&conn->wire, name, n, params, binary))
            return lose_pipeline(conn);
        if (tp__wire_unsent(&conn->wire) > PIPELINE_CHUNK)
            tp__wire_send(&conn->wire);
        conn->unsent = tp__wire_unsent(&conn->wire) > PIPELINE_CHUNK;
    } else {
        if (!set_params(conn, n, params))
            return lose_pipeline(conn);
        if (name[0] != '\0' && conn->comment == NULL
                ? !PQsendQueryPrepared(conn->pg, name, n, conn->values, conn->lengths,
                                       conn->formats, binary)
                : !send_text(conn, description, binary))
            return begun(conn, 0);
        conn->unsent = PQflush(conn->pg) > 0;
    }
    conn->events = TP_READ | (conn->unsent ? TP_WRITE : 0);
    return TP_OK;
}

bool tp__conn_pipeline_is_full(const struct tp_conn *conn)
{
    return conn->wire.active ? tp__wire_unsent(&conn->wire) > PIPELINE_CHUNK : conn->unsent;
}

/* A statement that does not exist undoes what came before it. */
static bool spoil(struct tp_conn *conn)
{
    static const char nothing[] = "tp_rolls_back_the_pipeline";
    if (conn->wire.active)
        return tp__wire_add(&conn->wire, nothing, 0, NULL, false);
    return PQsendQueryPrepared(conn->pg, nothing, 0, NULL, NULL, NULL, 0);
}

enum tp_status tp__conn_pipeline_end(struct tp_conn *conn, bool keep)
{
    bool good = keep || spoil(conn);
    if (!conn->wire.active)
        return begun(conn, good && PQpipelineSync(conn->pg));
    if (!good || !tp__wire_sync(&conn->wire))
        return lose_pipeline(conn);
    conn->unsent = false;
    conn->events = TP_READ | (tp__wire_unsent(&conn->wire) > 0 ? TP_WRITE : 0);
    return TP_OK;
}
