#include "live_server.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

bool live_by_hand;

const char *live_is(const char *what)
{
    char name[64];
    snprintf(name, sizeof name, "TIDEPOOL_TEST_%s", what);
    return getenv(name);
}

bool live_is_there(void)
{
    if (live_is("SOCKET") != NULL)
        return true;
    printf("ok 1 - needs a server # SKIP TIDEPOOL_TEST_SOCKET is not set: "
           "spec/support/pg.sh run COMMAND\n");
    return false;
}

/* --------------------------------------------------------------------- pool */

static const char *no_environment(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "HOME") == 0 ? "/nonexistent" : NULL;
}

static void set(tp_config *config, const char *name, const char *value)
{
    struct tp_error err;
    if (tp_config_set(config, name, value, &err) != TP_OK)
        fail_msg("%s=%s: %s", name, value, err.message);
}

static void set_from(tp_config *config, const char *setting)
{
    char name[64];
    size_t len = strcspn(setting, "=");
    memcpy(name, setting, len);
    name[len] = '\0';
    set(config, name, setting + len + 1);
}

tp_pool *live_open(const char *const *settings)
{
    struct tp_error err;
    tp_pool *pool = NULL;
    tp_config *config = tp_config_new();
    assert_non_null(config);
    set(config, "host", live_is("SOCKET"));
    set(config, "port", live_is("PORT"));
    set(config, "user", live_is("USER"));
    set(config, "database", live_is("DATABASE"));
    set(config, "pool.min", "0");
    set(config, "pool.max", "1");
    set(config, "retry.base_ms", "2");
    set(config, "reset", "never"); /* temporary tables of one call are there for the next */
    while (*settings != NULL)
        set_from(config, *settings++);
    if (tp_config_resolve(config, no_environment, NULL, &err) != TP_OK ||
        tp_pool_open(&pool, config, &err) != TP_OK)
        fail_msg("%s", err.message);
    return pool;
}

/* ------------------------------------------------------------------ driving */

static int wait_by_hand(tp_op *op)
{
    int events = tp_op_events(op), fd = tp_op_fd(op);
    struct pollfd on = {.fd = fd};
    on.events =
        (short)(((events & TP_READ) != 0 ? POLLIN : 0) | ((events & TP_WRITE) != 0 ? POLLOUT : 0));
    if (fd < 0) {
        fake_breathe();
        return 0;
    }
    if (poll(&on, 1, tp__poll_ms(tp_op_deadline(op), tp_now())) <= 0)
        return 0;
    return ((on.revents & ~POLLOUT) != 0 ? TP_READ : 0) |
           ((on.revents & POLLOUT) != 0 ? TP_WRITE : 0);
}

static enum tp_step drive_by_hand(tp_op *op)
{
    enum tp_step step;
    int ready = 0;
    while ((step = tp_op_step(op, ready)) == TP_WAIT)
        ready = wait_by_hand(op);
    return step;
}

static struct tp_query query_of(const struct ask *ask)
{
    struct tp_query query = {.sql = ask->sql,
                             .sql_len = strlen(ask->sql),
                             .nparams = ask->nparams,
                             .deadline = tp_now() + (ask->ms != 0 ? ask->ms : 20000) * (int64_t)MS,
                             .idempotent = ask->idempotent,
                             .simple = ask->simple,
                             .stream = ask->stream,
                             .wait_us = ask->wait_us,
                             .max_rows = ask->max_rows,
                             .max_bytes = ask->max_bytes};
    return query;
}

void live_begin(tp_op *op, const tp_lease *lease, const struct ask *ask)
{
    struct tp_query query = query_of(ask);
    tp_op_query(op, lease, &query);
}

static void give_params(tp_op *op, struct ask *ask)
{
    assert_int_equal(tp_op_param_count(op), ask->nparams);
    for (int i = 0; i < ask->nparams; i++) {
        ask->given[i].data = ask->params[i];
        ask->given[i].len = ask->params[i] != NULL ? strlen(ask->params[i]) : 0;
        ask->given[i].binary = false;
        assert_non_null(tp_op_param_type(op, i));
    }
    tp_op_params(op, ask->given);
}

enum tp_step live_move(tp_op *op, struct ask *ask)
{
    for (;;) {
        enum tp_step step = live_by_hand ? drive_by_hand(op) : tp_drive(op);
        if (step != TP_ENCODE)
            return step;
        give_params(op, ask);
    }
}

enum tp_step live_collect(tp_op *op, struct ask *ask, struct live_result **results)
{
    enum tp_step step;
    int attempts = 0;
    *results = NULL;
    while ((step = live_move(op, ask)) == TP_ROWS || step == TP_RESULT) {
        if (tp_op_attempts(op) > attempts) {
            live_result_free(*results);
            *results = NULL;
        }
        attempts = tp_op_attempts(op);
        if (step == TP_ROWS)
            live_result_take_rows(results, op);
        else
            live_result_take_end(results, op);
    }
    if (step == TP_FAILED) {
        live_result_free(*results);
        *results = NULL;
    }
    return step;
}

/* What live_finish has driven last. */
static struct {
    const tp_op *op;
    struct live_result *result;
} last;

enum tp_step live_finish(tp_op *op, struct ask *ask)
{
    live_result_free(last.result);
    last.op = op;
    return live_collect(op, ask, &last.result);
}

enum tp_step live_step_to_wire(tp_op *op)
{
    enum tp_step step;
    int64_t until = tp_now() + FAKE_AT_MOST_US;
    while ((step = tp_op_step(op, 0)) == TP_WAIT && tp_op_fd(op) < 0) {
        assert_true(tp_now() < until);
        fake_breathe();
    }
    return step;
}

enum tp_step live_try(tp_op *op, const tp_lease *lease, struct ask ask)
{
    live_begin(op, lease, &ask);
    return live_finish(op, &ask);
}

void live_print_error(const tp_op *op)
{
    const struct tp_error *err = tp_op_error(op);
    print_error("%s %s: %s\n", tp_status_name(err->kind), err->code, err->message);
}

void live_ask(tp_op *op, const tp_lease *lease, struct ask ask)
{
    if (live_try(op, lease, ask) != TP_DONE) {
        live_print_error(op);
        fail_msg("%s", ask.sql);
    }
}

/* ------------------------------------------------------------------ results */

const struct live_result *live_result(const tp_op *op)
{
    assert_ptr_equal(op, last.op);
    return last.result;
}

const char *live_text(const tp_op *op)
{
    return live_result_text(live_result(op), 0, 0, NULL);
}

long live_number(const tp_op *op)
{
    const char *text = live_text(op);
    assert_non_null(text);
    return strtol(text, NULL, 10);
}

long live_value(tp_op *op, const tp_lease *lease, const char *sql)
{
    DO(op, lease, .sql = sql);
    return live_number(op);
}

/* ------------------------------------------------------------------- leases */

tp_lease live_acquire(tp_op *op)
{
    struct ask none = {.sql = ""};
    tp_op_acquire(op, tp_now() + FAKE_AT_MOST_US);
    if (live_finish(op, &none) != TP_DONE) {
        live_print_error(op);
        fail();
    }
    return tp_op_take_lease(op);
}

void live_release(tp_lease *lease)
{
    struct tp_error err;
    if (tp_lease_release(lease, &err) != TP_OK)
        fail_msg("%s", err.message);
}

struct tp_stats live_stats(tp_pool *pool)
{
    struct tp_stats stats;
    tp_pool_stats(pool, &stats);
    return stats;
}

bool live_event(tp_pool *pool, enum tp_event_type type, struct tp_event *out)
{
    while (tp_pool_next_event(pool, out, NULL)) {
        if (out->type == type)
            return true;
    }
    return false;
}

void live_terminate(int pid)
{
    char sql[120];
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    snprintf(sql, sizeof sql, "select pg_terminate_backend(%d)", pid);
    DO(op, NULL, .sql = sql);
    snprintf(sql, sizeof sql, "select count(*) from pg_stat_activity where pid = %d", pid);
    AWAIT(live_value(op, NULL, sql) == 0);
    tp_op_free(op);
    tp_pool_release(pool);
}
