/* What an operation knows of its statement. A text that is new to the pool is described by
 * the server; types that are new to the pool are looked up on the same connection; after
 * that the description serves all connections. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "codec.h"
#include "error.h"
#include "op_impl.h"
#include "pool_stats.h"

void tp__op_forget_statement(tp_op *op)
{
    tp__description_release(op->description);
    tp__catalog_answer_free(op->answer);
    free(op->missing);
    op->description = NULL;
    op->answer = NULL;
    op->missing = NULL;
    op->missing_count = 0;
    op->statement = NULL;
    op->keeps = false;
}

static void out_of_memory(tp_op *op)
{
    tp__op_fail_with(op, TP_ERR_MEMORY, "out of memory for a statement");
}

void tp__op_hear_stale_news(tp_op *op)
{
    uint64_t *seen = tp__conn_stale_seen(op->conn);
    while (tp__stale_has_news(&op->database->stale, *seen))
        tp__conn_drop(op->conn, tp__stale_next(&op->database->stale, seen));
}

void tp__op_statement_known(tp_op *op)
{
    if (op->kind == OP_PIPELINE) {
        tp__op_pipeline_known(op);
        return;
    }
    int wanted = op->description->nparams;
    if (wanted != op->query.nparams) {
        tp__error_set(
            &op->error, TP_ERR_VALIDATION, "the statement has %d parameter%s, %d %s given", wanted,
            wanted == 1 ? "" : "s", op->query.nparams, op->query.nparams == 1 ? "was" : "were");
        tp__op_leave(op);
        tp__op_fail(op);
    } else {
        op->params = NULL;
        op->state = wanted == 0 ? OP_SENDING : OP_ENCODING;
    }
}

static void begin_undescribed(tp_op *op)
{
    const struct tp_query *query = &op->query;
    op->description = tp__description_new(query->sql, query->sql_len, query->nparams);
    if (op->description != NULL)
        tp__op_statement_known(op);
    else
        out_of_memory(op);
}

static void ask_server(tp_op *op)
{
    op->state = OP_PREPARING;
    if (tp__conn_ask_prepare(op->conn, op->query.sql, op->query.sql_len) != TP_OK)
        tp__op_statement_failed(op);
}

/* Whether a description of another connection's will do. A stream and a pipeline want the
 * statement prepared before they begin; in a transaction a text that means something else
 * in this session, so that the types of its parameters do not fit, would do harm. */
static bool may_share(const tp_op *op)
{
    return op->kind == OP_QUERY && !op->query.stream && !(op->in_tx && op->query.nparams > 0);
}

void tp__op_begin_describing(tp_op *op)
{
    const struct tp_query *query = &op->query;
    if (query->nparams > TP_DESCRIBED_PARAMS_MAX && op->kind == OP_QUERY) {
        begin_undescribed(op);
        return;
    }
    if (op->kind != OP_PIPELINE) /* which has heard it, and must not lose what it has found since */
        tp__op_hear_stale_news(op);
    op->statement = tp__conn_find(op->conn, query->sql, query->sql_len, op->hash);
    if (op->statement != NULL) {
        tp__slot_count_statement(op->slot, TP_STATEMENT_HIT);
        op->description = tp__description_retain(op->statement->description);
    } else if (may_share(op)) {
        op->description =
            tp__shelf_find(&op->database->shelf, query->sql, query->sql_len, op->hash);
        op->keeps = op->description != NULL;
    }
    if (op->description != NULL)
        tp__op_statement_known(op);
    else
        ask_server(op);
}

static void remember(tp_op *op)
{
    bool evicted;
    op->statement = tp__conn_remember(op->conn, op->description, &evicted);
    op->keeps = false;
    tp__slot_count_statement(op->slot, TP_STATEMENT_PREPARED);
    if (evicted)
        tp__slot_count_statement(op->slot, TP_STATEMENT_EVICTED);
}

/* In this session the text means something else than where it was described: here it gets
 * a description of its own, and the next connection asks again. Not when there are types
 * that have to be looked up at first. */
static bool describe_anew(tp_op *op)
{
    struct tp_description *shared = op->description;
    struct tp_columns *columns = tp__conn_take_found_columns(op->conn);
    struct tp_description *own =
        tp__columns_resolve(columns, &op->database->catalog) == 0
            ? tp__description_new(shared->sql, shared->sql_len, shared->nparams)
            : NULL;
    if (own == NULL) {
        tp__columns_free(columns);
        return false;
    }
    own->described = true;
    own->columns = columns;
    for (int i = 0; i < own->nparams; i++) {
        own->param_oids[i] = shared->param_oids[i];
        own->params[i] = shared->params[i];
    }
    op->description = own;
    tp__description_release(shared);
    tp__shelf_drop(&op->database->shelf, op->hash);
    return true;
}

void tp__op_keep_statement(tp_op *op)
{
    if (op->description == NULL)
        return;
    bool strange = tp__conn_had_other_columns(op->conn);
    if (op->keeps && tp__conn_has_parsed(op->conn)) {
        strange = strange && !describe_anew(op);
        remember(op);
    }
    if (strange)
        tp__op_forget_description(op);
}

void tp__op_forget_description(tp_op *op)
{
    op->statement = NULL;
    tp__conn_drop(op->conn, op->hash);
    tp__shelf_drop(&op->database->shelf, op->hash);
    tp__stale_tell(&op->database->stale, op->hash);
}

static void described(tp_op *op)
{
    if (op->copying) {
        tp__op_copy_described(op);
        return;
    }
    tp__shelf_put(&op->database->shelf, op->description);
    remember(op);
    if (op->statement != NULL)
        tp__op_statement_known(op);
    else
        out_of_memory(op);
}

/* ----------------------------------------------------------------- learning */

static void ask_catalog(tp_op *op)
{
    struct tp_buf sql = {0};
    tp__catalog_ask(&sql, op->missing, op->missing_count, tp__conn_server_version(op->conn));
    op->answer = tp__catalog_answer_new();
    const char *text = tp__buf_cstr(&sql);
    op->state = OP_LEARNING;
    if (text == NULL || op->answer == NULL)
        out_of_memory(op);
    else if (tp__conn_ask_simple(op->conn, text) != TP_OK)
        tp__op_statement_failed(op);
    tp__buf_free(&sql);
}

void tp__op_prepared(tp_op *op)
{
    op->description = tp__conn_take_description(op->conn);
    if (op->description == NULL)
        tp__op_fail_with(op, TP_ERR_DATABASE, "the server did not describe the statement");
    else
        tp__op_resolve(op);
}

void tp__op_resolve(tp_op *op)
{
    int columns = op->description->columns != NULL ? op->description->columns->count : 0;
    int room = op->description->nparams + columns;
    op->missing = malloc((size_t)(room > 0 ? room : 1) * sizeof *op->missing);
    if (op->missing == NULL) {
        out_of_memory(op);
        return;
    }
    op->missing_count =
        tp__description_resolve(op->description, &op->database->catalog, op->missing, room);
    if (op->missing_count > 0)
        ask_catalog(op);
    else
        described(op);
}

/* The cells as texts; they are copied, since they have no NUL behind them. */
static bool take_type(tp_op *op, const struct tp_row *row)
{
    const char *texts[TP_CATALOG_COLUMNS];
    char *copy = malloc(row->len + 1), *to = copy;
    const unsigned char *at = row->cells;
    if (copy == NULL)
        return false;
    for (int i = 0; i < TP_CATALOG_COLUMNS; i++) {
        uint32_t len = tp__get32(at);
        at += 4;
        texts[i] = NULL;
        if (len == UINT32_MAX)
            continue;
        memcpy(to, at, len);
        texts[i] = to;
        to += len; /* the room of its length is room enough for its NUL */
        *to++ = '\0';
        at += len;
    }
    bool good = tp__catalog_answer_add(op->answer, texts);
    free(copy);
    return good;
}

void tp__op_take_types(tp_op *op)
{
    struct tp_row row;
    bool good = true;
    const struct tp_columns *columns = tp__conn_columns(op->conn);
    while (good && columns->count == TP_CATALOG_COLUMNS && tp__conn_next_row(op->conn, &row))
        good = take_type(op, &row);
    if (!good)
        out_of_memory(op);
}

void tp__op_types_learnt(tp_op *op)
{
    struct tp_catalog *catalog = &op->database->catalog;
    struct tp_catalog_answer *answer = op->answer;
    op->answer = NULL;
    if (!tp__catalog_learn(catalog, answer, op->missing, op->missing_count)) {
        out_of_memory(op);
        return;
    }
    (void)tp__description_resolve(op->description, catalog, NULL, 0);
    described(op);
}
