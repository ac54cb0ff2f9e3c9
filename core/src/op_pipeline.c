/* Pipelines: many executions in one round trip.
 *
 *     PREPARING, for each text that the connection does not know
 *         --> ENCODING <--> SENDING: one item after the other
 *         --> PIPING: while the socket is full, and when all is sent, answers are read
 *
 * Sending and reading alternate, so neither side can wait for the other however large the
 * batch is. There is one Sync, at the end: outside of a transaction the server keeps all or
 * nothing. An item that cannot be encoded has others before it that were sent; the pipeline
 * is then ended in a way that undoes them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "clock.h"
#include "error.h"
#include "op_impl.h"
#include "sqltext_token.h"

/* What an item executes. */
struct target {
    struct tp_description *description; /* counted */
    char name[TP_STATEMENT_NAME];
};

struct tp_pipeline {
    const struct tp_item *items;
    size_t count;
    bool repeated;
    size_t prepared; /* targets that are known */
    size_t sent, answered;
    size_t refused; /* the item that the caller could not encode, or count */
    bool ended;     /* the Sync was sent */
    bool begun;
    struct target targets[]; /* one for each text given: 1 when it is repeated */
};

static size_t target_count(const struct tp_pipeline *pipeline)
{
    return pipeline->repeated ? 1 : pipeline->count;
}

static struct target *target_of(struct tp_pipeline *pipeline, size_t item)
{
    return &pipeline->targets[pipeline->repeated ? 0 : item];
}

static void forget_targets(struct tp_pipeline *pipeline)
{
    for (size_t i = 0; i < target_count(pipeline); i++) {
        tp__description_release(pipeline->targets[i].description);
        pipeline->targets[i].description = NULL;
    }
    pipeline->prepared = pipeline->sent = pipeline->answered = 0;
    pipeline->refused = pipeline->count;
    pipeline->ended = pipeline->begun = false;
}

void tp__op_free_pipeline(tp_op *op)
{
    if (op->pipeline != NULL)
        forget_targets(op->pipeline);
    free(op->pipeline);
    op->pipeline = NULL;
}

/* ---------------------------------------------------------------- preparing */

static void prepare_next(tp_op *op)
{
    const struct tp_item *item = &op->pipeline->items[op->pipeline->prepared];
    if (item->nparams > TP_DESCRIBED_PARAMS_MAX) {
        tp__op_fail_with(op, TP_ERR_VALIDATION,
                         "a statement in a pipeline has at most 7000 parameters");
        return;
    }
    op->query.sql = item->sql;
    op->query.sql_len = item->sql_len;
    op->query.nparams = item->nparams;
    op->hash = tp__sql_hash(item->sql, item->sql_len);
    tp__op_begin_describing(op);
}

static void fail_count(tp_op *op, size_t item, int wanted, int given)
{
    tp__error_set(&op->error, TP_ERR_VALIDATION,
                  "item %zu of the pipeline has %d parameter%s, its statement has %d", item + 1,
                  given, given == 1 ? "" : "s", wanted);
    op->pipeline->refused = item;
    tp__op_leave(op);
    tp__op_fail(op);
}

/* Where the text begins, behind blanks and comments (PostgreSQL manual 4.1). */
static const char *first_word(const char *at, const char *end)
{
    for (;;) {
        while (at < end && strchr(" \t\n\r\f\v;", *at) != NULL)
            at++;
        const char *behind = tp__sql_skip_comment(at, end);
        if (behind == at)
            return at;
        at = behind;
    }
}

/* What the server would take, and answer in a way that no pipeline has; NULL: nothing. */
static const char *why_unfit(const struct tp_item *item)
{
    const char *end = item->sql + item->sql_len, *word = first_word(item->sql, end);
    if (word == end)
        return "the SQL text is empty";
    return end - word >= 4 && strncasecmp(word, "copy", 4) == 0
               ? "COPY cannot be sent in a pipeline"
               : NULL;
}

/* A name is copied, since the entry of the cache may go when others come. */
void tp__op_pipeline_known(tp_op *op)
{
    struct tp_pipeline *pipeline = op->pipeline;
    struct target *target = &pipeline->targets[pipeline->prepared];
    const struct tp_item *item = &pipeline->items[pipeline->prepared];
    const char *unfit = op->description->columns == NULL ? why_unfit(item) : NULL;
    int wanted = op->description->nparams;
    if (unfit != NULL) {
        pipeline->refused = pipeline->prepared;
        tp__op_fail_with(op, TP_ERR_VALIDATION, unfit);
        return;
    }
    if (wanted != item->nparams) {
        fail_count(op, pipeline->prepared, wanted, item->nparams);
        return;
    }
    target->description = tp__description_retain(op->description);
    memcpy(target->name, op->statement->name, sizeof target->name);
    tp__op_forget_statement(op);
    pipeline->prepared++;
    op->state = OP_PIPING;
}

void tp__op_begin_pipeline(tp_op *op)
{
    forget_targets(op->pipeline);
    tp__op_hear_stale_news(op);
    op->state = OP_PIPING;
}

/* ------------------------------------------------------------------ sending */

static bool has_failed(const tp_op *op)
{
    return op->error.kind != TP_OK || tp__conn_error(op->conn)->kind != TP_OK;
}

static bool asked(tp_op *op, enum tp_status status)
{
    if (status != TP_OK)
        tp__op_statement_failed(op);
    return status == TP_OK;
}

void tp__op_pipeline_add(tp_op *op)
{
    struct target *target = target_of(op->pipeline, op->pipeline->sent);
    enum tp_status status =
        tp__conn_pipeline_add(op->conn, target->name, target->description, op->params);
    op->state = OP_PIPING;
    tp__op_forget_statement(op);
    if (asked(op, status))
        op->pipeline->sent++;
}

/* The parameters of the next item: the caller's, or none. */
static void begin_item(tp_op *op)
{
    struct target *target = target_of(op->pipeline, op->pipeline->sent);
    op->params = NULL;
    if (target->description->nparams == 0) {
        tp__op_pipeline_add(op);
        return;
    }
    op->description = tp__description_retain(target->description);
    op->state = OP_ENCODING;
}

void tp__op_pipeline_refuse(tp_op *op)
{
    tp__op_forget_statement(op);
    op->pipeline->refused = op->pipeline->sent;
    op->state = OP_PIPING;
}

static bool end_sending(tp_op *op)
{
    op->pipeline->ended = true;
    return asked(op, tp__conn_pipeline_end(op->conn, op->error.kind == TP_OK));
}

/* Sends as much as there is room for. True: the state has changed. */
static bool send_some(tp_op *op)
{
    struct tp_pipeline *pipeline = op->pipeline;
    if (pipeline->ended || tp__conn_pipeline_is_full(op->conn))
        return false;
    if (pipeline->sent < pipeline->count && !has_failed(op)) {
        begin_item(op);
        return true;
    }
    return !end_sending(op);
}

/* ------------------------------------------------------------------ reading */

/* The server's error, or the caller's: then the server has only said that it undid the
 * rest. */
static void fail(tp_op *op)
{
    size_t item = tp_op_item(op);
    if (item < op->pipeline->count) {
        const struct tp_item *failed = &op->pipeline->items[op->pipeline->repeated ? 0 : item];
        op->query.sql = failed->sql;
        op->query.sql_len = failed->sql_len;
        op->hash = tp__sql_hash(failed->sql, failed->sql_len); /* its plan may be the stale one */
    }
    if (op->error.kind == TP_OK || tp__conn_is_lost(op->conn)) {
        tp__op_statement_failed(op);
        return;
    }
    tp__op_leave(op);
    tp__op_fail(op);
}

/* The server is told that nothing more comes, so that the connection can be mended. */
static void time_out(tp_op *op)
{
    char why[80];
    if (!op->pipeline->ended)
        (void)tp__conn_pipeline_end(op->conn, false);
    snprintf(why, sizeof why, "the pipeline did not end within %lld ms",
             (long long)((tp_now() - op->began) / 1000));
    tp__op_fail_with(op, TP_ERR_TIMEOUT, why);
}

void tp__op_pipeline_too_large(tp_op *op)
{
    tp__op_set_limit_error(op);
    if (!op->pipeline->ended)
        (void)tp__conn_pipeline_end(op->conn, false);
    tp__op_leave(op);
    tp__op_fail(op);
}

static void succeed(tp_op *op)
{
    tp__op_leave(op);
    tp__op_finish(op, OP_DONE);
}

static void expect_next(tp_op *op)
{
    struct tp_pipeline *pipeline = op->pipeline;
    if (pipeline->answered < pipeline->count)
        tp__conn_expect(op->conn, target_of(pipeline, pipeline->answered)->description);
}

/* Reads what is there. Returns whether the state has changed. */
static bool read_some(tp_op *op, int ready)
{
    enum tp_step step = tp__conn_step(op->conn, ready);
    if ((step == TP_WAIT || step == TP_ROWS) && tp__op_is_late(op)) {
        time_out(op);
        return true;
    }
    switch (step) {
    case TP_DONE:
        succeed(op);
        return true;
    case TP_FAILED:
        fail(op);
        return true;
    case TP_ROWS:
        op->state = OP_ROWS;
        return false;
    case TP_RESULT:
        op->state = OP_RESULT;
        return false;
    default:
        break;
    }
    /* There may be room again for more. */
    return !op->pipeline->ended && !tp__conn_pipeline_is_full(op->conn);
}

/* Whether every statement is still there: a connection that remembers fewer than there are
 * texts has forgotten the first ones for the last. */
static bool are_all_prepared(const tp_op *op)
{
    struct tp_pipeline *pipeline = op->pipeline;
    for (size_t i = 0; i < target_count(pipeline); i++) {
        const struct tp_item *item = &pipeline->items[i];
        if (tp__conn_find(op->conn, item->sql, item->sql_len,
                          pipeline->targets[i].description->hash) == NULL)
            return false;
    }
    return true;
}

static bool begin_sending(tp_op *op)
{
    if (target_count(op->pipeline) > (size_t)op->database->settings->statement_cache_size &&
        !are_all_prepared(op)) {
        tp__op_fail_with(op, TP_ERR_VALIDATION,
                         "the pipeline has more different statements than statement_cache_size");
        return true;
    }
    if (tp__op_is_too_late_to_send(op))
        return true;
    op->pipeline->begun = true;
    if (!asked(op, tp__conn_ask_pipeline(op->conn)))
        return true;
    expect_next(op);
    return true;
}

bool tp__op_step_pipeline(tp_op *op, int ready)
{
    struct tp_pipeline *pipeline = op->pipeline;
    if (pipeline->prepared < target_count(pipeline)) {
        prepare_next(op);
        return true;
    }
    if (!pipeline->begun)
        return begin_sending(op);
    if (send_some(op))
        return true;
    return read_some(op, ready);
}

/* --------------------------------------------------------------------- life */

/* What lies between two answers is the time of the second one. */
static void note_answer(tp_op *op)
{
    int64_t now = tp_now();
    struct tp_digest_call call = {
        .description = target_of(op->pipeline, op->pipeline->answered)->description,
        .us = now - op->answered,
        .rows = tp__conn_count(op->conn),
    };
    op->answered = now;
    op->touched += call.rows;
    tp__digests_note(&op->database->digests, &call);
}

void tp__op_pipeline_answered(tp_op *op)
{
    if (op->pipeline->answered < op->pipeline->count)
        note_answer(op);
    op->pipeline->answered++;
    expect_next(op);
}

size_t tp_op_item(const tp_op *op)
{
    const struct tp_pipeline *pipeline = op->pipeline;
    if (pipeline == NULL)
        return 0;
    if (op->state == OP_ENCODING)
        return pipeline->sent;
    if (!pipeline->begun && pipeline->refused == pipeline->count)
        return pipeline->prepared;
    return pipeline->refused < pipeline->count ? pipeline->refused : pipeline->answered;
}

bool tp__op_new_pipeline(tp_op *op, const struct tp_item *items, size_t count, bool repeated)
{
    size_t targets = repeated ? 1 : count;
    op->pipeline = calloc(1, sizeof *op->pipeline + targets * sizeof(struct target));
    if (op->pipeline == NULL)
        return false;
    op->pipeline->items = items;
    op->pipeline->count = count;
    op->pipeline->repeated = repeated;
    return true;
}
