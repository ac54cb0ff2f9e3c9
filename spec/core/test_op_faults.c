/* The engine over a real server when things go wrong: deadlines, cancelling, lost links,
 * misuse of leases, forks. All of it runs twice, by tp_drive and stepped by hand. */
#include "live_server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "op_impl.h"

static const struct ask sleeping = {.sql = "select pg_sleep(30)"};

/* ----------------------------------------------------- deadlines, cancelling */

static void a_statement_that_is_late_is_given_up_and_its_connection_mended(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    int64_t began = tp_now();
    assert_int_equal(TRY(op, NULL, .sql = sleeping.sql, .ms = 60), TP_FAILED);
    assert_true(tp_now() - began >= 60 * MS);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_TIMEOUT);
    assert_string_equal(tp_op_error(op)->query, sleeping.sql);
    /* The pool has one connection: whoever asks now gets it when it is clean. */
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    assert_true(tp_now() - began < 5000 * MS);
    assert_int_equal(live_stats(pool).errors_by_kind[TP_ERR_TIMEOUT], 1);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_statement_that_is_late_in_a_transaction_is_rolled_back(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    DO(op, NULL, .sql = "create temp table late(i int)");
    tp_lease lease = live_acquire(op);
    DO(op, &lease, .sql = "begin");
    DO(op, &lease, .sql = "insert into late values (1)");
    assert_int_equal(TRY(op, &lease, .sql = sleeping.sql, .ms = 30), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_TIMEOUT);
    assert_int_equal(TRY(op, &lease, .sql = "select 1"), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_BUSY);
    live_release(&lease);
    assert_int_equal(live_value(op, NULL, "select count(*) from late"), 0);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* A cancel that comes late must not hit the next statement of somebody else. */
static void a_cancel_hits_nobody_else(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    int rounds = fake_rounds(200), late = 0;
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    for (int i = 0; i < rounds; i++) {
        /* Some end at about the time of their deadline. */
        const char *sql = i % 2 == 0 ? sleeping.sql : "select pg_sleep(0.002)";
        late += TRY(op, NULL, .sql = sql, .ms = 2) == TP_FAILED;
        for (int k = 0; k < 3; k++)
            assert_int_equal(live_value(op, NULL, "select 17"), 17);
    }
    assert_true(late >= rounds / 2);
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid); /* all on one */
    assert_int_equal(live_stats(pool).closed[TP_CLOSE_DEAD], 0);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* How many backends with this pid are busy, asked elsewhere. */
static long busy_backends(tp_op *elsewhere, long pid)
{
    char sql[120];
    snprintf(sql, sizeof sql,
             "select count(*) from pg_stat_activity where pid = %ld and state = 'active'", pid);
    return live_value(elsewhere, NULL, sql);
}

/* A backend that has not read the statement yet ignores a cancel. */
static void a_cancel_that_came_before_the_statement_is_sent_again(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    pid_t pid = (pid_t)live_value(op, NULL, "select pg_backend_pid()");
    (void)TRY(op, NULL, .sql = sleeping.sql, .ms = 10); /* it is prepared now */
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(TRY(op, NULL, .sql = sleeping.sql, .ms = 10), TP_FAILED);
    AWAIT(live_stats(pool).mending == 1);
    int64_t cancelled = tp_now() + 150 * MS;
    AWAIT(tp_now() >= cancelled);
    assert_int_equal(kill(pid, SIGCONT), 0);
    int64_t began = tp_now();
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid);
    assert_true(tp_now() - began < 2000 * MS);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void an_operation_abandoned_in_mid_query_costs_its_connection(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1"), *elsewhere = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool), *watch = tp_op_new(elsewhere);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    live_begin(op, NULL, &sleeping);
    AWAIT(tp_op_step(op, TP_READ) == TP_WAIT && op->state == OP_EXECUTING &&
          busy_backends(watch, pid) == 1);
    tp_op_abandon(op);
    assert_int_equal(tp_op_fd(op), -1);
    assert_int_equal(tp_op_step(op, 0), TP_FAILED);
    assert_true(live_value(op, NULL, "select pg_backend_pid()") != pid);
    assert_int_equal(live_stats(pool).closed[TP_CLOSE_IN_DOUBT], 1);
    AWAIT(busy_backends(watch, pid) == 0); /* the server does not go on for nobody */
    tp_op_free(op);
    tp_op_free(watch);
    tp_pool_release(pool);
    tp_pool_release(elsewhere);
}

/* ----------------------------------------------------------- misuse of leases */

static void expect_misuse(tp_op *op, const tp_lease *lease, enum tp_status kind, const char *word)
{
    assert_int_equal(TRY(op, lease, .sql = "select 1"), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, kind);
    if (strstr(tp_op_error(op)->message, word) == NULL)
        fail_msg("%s", tp_op_error(op)->message);
}

static void a_lease_is_of_no_use_after_its_release(void **state)
{
    (void)state;
    struct tp_error err;
    tp_pool *pool = LIVE_OPEN("pool.max=1"), *elsewhere = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool), *other = tp_op_new(elsewhere);
    tp_lease lease = live_acquire(op), copy = lease;
    expect_misuse(other, &lease, TP_ERR_VALIDATION, "another pool");
    live_release(&lease);
    assert_false(tp_lease_valid(&copy));
    expect_misuse(op, &copy, TP_ERR_VALIDATION, "released");
    assert_int_equal(tp_lease_release(&copy, &err), TP_ERR_VALIDATION);
    assert_int_equal(tp_lease_release(&lease, &err), TP_ERR_VALIDATION);
    tp_lease next = live_acquire(op); /* the same connection, of somebody else now */
    expect_misuse(op, &copy, TP_ERR_VALIDATION, "released");
    assert_int_equal(tp_lease_release(&copy, &err), TP_ERR_VALIDATION);
    tp_lease_set_place(&next, "new.lua", 2);
    tp_lease_set_place(&copy, "old.lua", 1);
    assert_string_equal(next.slot->place, "new.lua"); /* is not the old one's to say */
    assert_int_equal(tp_lease_transaction(&copy), TP_TX_UNKNOWN);
    assert_int_equal(tp_lease_backend_pid(&copy), 0);
    tp_lease_discard(&copy);
    assert_true(tp_lease_valid(&next));
    DO(op, &next, .sql = "select 1");
    tp_lease_discard(&next);
    assert_int_equal(live_stats(pool).closed[TP_CLOSE_IN_DOUBT], 0);
    AWAIT(live_stats(pool).closed[TP_CLOSE_DISCARDED] == 1);
    tp_op_free(op);
    tp_op_free(other);
    tp_pool_release(pool);
    tp_pool_release(elsewhere);
}

static void one_lease_serves_one_operation_at_a_time(void **state)
{
    (void)state;
    struct ask with = {.sql = "select $1::int", .params = {"8"}, .nparams = 1};
    tp_pool *pool = LIVE_OPEN("statement_cache_size=1");
    tp_op *op = tp_op_new(pool), *other = tp_op_new(pool);
    tp_lease lease = live_acquire(op);
    live_begin(op, &lease, &sleeping);
    assert_int_equal(live_step_to_wire(op), TP_WAIT);
    expect_misuse(other, &lease, TP_ERR_BUSY, "under way");
    live_release(&lease);
    lease = live_acquire(op);
    /* Also while the first has nothing on the wire: it thinks about its parameters. */
    live_begin(op, &lease, &with);
    assert_int_equal(tp_drive(op), TP_ENCODE);
    expect_misuse(other, &lease, TP_ERR_BUSY, "under way");
    assert_int_equal(live_finish(op, &with), TP_DONE);
    assert_int_equal(live_number(op), 8);
    DO(other, &lease, .sql = "select 2");
    DO(op, &lease, .sql = "select 3");
    live_begin(op, &lease, &with);
    assert_int_equal(tp_drive(op), TP_ENCODE);
    tp_op_abandon(op); /* then it is free again */
    DO(other, &lease, .sql = "select 4");
    live_release(&lease);
    tp_op_free(op);
    tp_op_free(other);
    tp_pool_release(pool);
}

/* The connection may be with somebody else by then. */
static void an_operation_ends_when_its_lease_does(void **state)
{
    (void)state;
    struct ask with = {.sql = "select $1::int", .params = {"8"}, .nparams = 1};
    struct tp_param param = {"8", 1, false};
    tp_pool *pool = LIVE_OPEN("retry.base_ms=5000", "retry.max_ms=5000");
    tp_op *op = tp_op_new(pool), *other = tp_op_new(pool);
    for (int way = 0; way < 3; way++) {
        tp_lease lease = live_acquire(other);
        if (way == 0) {
            live_begin(op, &lease, &sleeping);
            assert_int_equal(live_step_to_wire(op), TP_WAIT);
        } else if (way == 1) {
            live_begin(op, &lease, &with);
            assert_int_equal(tp_drive(op), TP_ENCODE);
            tp_op_params(op, &param);
        } else {
            struct ask flaky = {.sql = "do $$ begin raise exception 'x' using errcode = '40001'; "
                                       "end $$",
                                .idempotent = true};
            live_begin(op, &lease, &flaky);
            while (op->state != OP_BACKOFF)
                assert_int_equal(tp_op_step(op, TP_READ), TP_WAIT);
        }
        live_release(&lease);
        lease = live_acquire(other);
        live_begin(other, &lease, &sleeping);
        assert_int_equal(live_step_to_wire(other), TP_WAIT);
        assert_int_equal(tp_op_step(op, TP_READ), TP_FAILED);
        assert_int_equal(tp_op_error(op)->kind, TP_ERR_VALIDATION);
        assert_non_null(strstr(tp_op_error(op)->message, "released"));
        assert_int_equal(tp_op_fd(op), -1);
        assert_int_equal(tp_op_step(other, 0), TP_WAIT); /* is not disturbed */
        live_release(&lease);
    }
    tp_op_free(op);
    tp_op_free(other);
    tp_pool_release(pool);
}

static void a_thread_that_holds_every_connection_is_told_instead_of_hanging(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool), *other = tp_op_new(pool);
    tp_lease lease = live_acquire(op);
    if (!live_by_hand) { /* who steps by hand may have other things to do meanwhile */
        tp_op_acquire(other, TP_NEVER);
        assert_int_equal(tp_drive(other), TP_FAILED);
        assert_int_equal(tp_op_error(other)->kind, TP_ERR_BUSY);
        assert_int_equal(live_stats(pool).waiting, 0);
    }
    live_release(&lease);
    assert_int_equal(live_value(other, NULL, "select 1"), 1);
    tp_op_free(op);
    tp_op_free(other);
    tp_pool_release(pool);
}

/* ----------------------------------------------------------------- lost links */

static void the_end_of_an_idle_connection_is_not_noticed_by_callers(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    for (int i = 0; i < 5; i++) {
        long pid = live_value(op, NULL, "select pg_backend_pid()");
        live_terminate((int)pid);
        assert_true(live_value(op, NULL, "select pg_backend_pid()") != pid);
    }
    assert_int_equal(live_stats(pool).closed[TP_CLOSE_DEAD], 5);
    assert_int_equal(live_stats(pool).query_failures, 0);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* Begins to sleep and has the backend ended meanwhile. */
static enum tp_step lose_link(tp_op *op, const tp_lease *lease, struct ask ask)
{
    struct tp_slot *slot;
    live_begin(op, lease, &ask);
    assert_int_equal(live_step_to_wire(op), TP_WAIT);
    slot = op->slot;
    while (op->state == OP_PREPARING)
        assert_int_equal(tp_op_step(op, TP_READ), TP_WAIT);
    live_terminate(slot->backend_pid);
    return live_finish(op, &ask);
}

static void a_link_lost_in_mid_statement_is_an_error_with_the_servers_reason(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    assert_int_equal(lose_link(op, NULL, sleeping), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_CONNECTION);
    assert_string_equal(tp_op_error(op)->code, "57P01");
    assert_int_equal(tp_op_error(op)->attempts, 1);
    assert_int_equal(live_value(op, NULL, "select 1"), 1);
    assert_int_equal(live_stats(pool).closed[TP_CLOSE_DEAD], 1);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_statement_that_is_idempotent_is_repeated_on_another_link(void **state)
{
    (void)state;
    struct ask ask = {.sql = "select 5 from pg_sleep(1)", .idempotent = true};
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    assert_int_equal(lose_link(op, NULL, ask), TP_DONE);
    assert_int_equal(live_number(op), 5);
    assert_int_equal(live_stats(pool).retries, 1);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_lease_whose_link_is_lost_says_so_until_it_is_released(void **state)
{
    (void)state;
    struct ask ask = sleeping;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    tp_lease lease = live_acquire(op);
    ask.idempotent = true; /* a lease is one link: nothing can be repeated elsewhere */
    assert_int_equal(lose_link(op, &lease, ask), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "57P01");
    assert_int_equal(tp_lease_transaction(&lease), TP_TX_UNKNOWN);
    expect_misuse(op, &lease, TP_ERR_CONNECTION, "lost");
    live_release(&lease);
    assert_int_equal(live_value(op, NULL, "select 1"), 1);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_server_that_became_read_only_loses_the_connection(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    tp_lease lease = live_acquire(op);
    DO(op, &lease, .sql = "begin read only");
    assert_int_equal(TRY(op, &lease, .sql = "create table never (i int)"), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "25006");
    live_release(&lease);
    assert_int_equal(live_value(op, NULL, "select pg_backend_pid()"), pid); /* was asked for */
    DO(op, NULL, .sql = "set default_transaction_read_only = on");
    assert_int_equal(TRY(op, NULL, .sql = "create table never (i int)"), TP_FAILED);
    assert_string_equal(tp_op_error(op)->code, "25006");
    assert_true(live_value(op, NULL, "select pg_backend_pid()") != pid);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* ------------------------------------------------------- checks at checkout */

/* As if it had rested for so long. */
static void age(tp_pool *pool, int64_t us)
{
    pthread_mutex_lock(&pool->lock);
    for (int i = 0; i < pool->limits.max; i++) {
        pool->slots[i].idle_since -= us;
        pool->slots[i].checked_at -= us;
    }
    pthread_mutex_unlock(&pool->lock);
}

static void a_connection_that_rested_long_is_asked_before_it_is_used(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1", "health.interval_ms=0", "pool.idle_timeout_ms=0");
    tp_op *op = tp_op_new(pool);
    struct ask ask = {.sql = "select pg_backend_pid()"};
    long pid = live_value(op, NULL, ask.sql);
    age(pool, 40 * 1000 * MS);
    live_begin(op, NULL, &ask);
    assert_int_equal(op->state, OP_CHECKING);
    assert_int_equal(live_finish(op, &ask), TP_DONE);
    assert_int_equal(live_number(op), pid);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* The backend is there and does not answer: another connection is made, and the caller
 * waits no longer than it wanted to. */
static void a_connection_that_does_not_answer_is_replaced_within_the_deadline(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1", "health.interval_ms=0", "pool.idle_timeout_ms=0");
    tp_op *op = tp_op_new(pool);
    pid_t pid = (pid_t)live_value(op, NULL, "select pg_backend_pid()");
    age(pool, 40 * 1000 * MS);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    int64_t began = tp_now();
    enum tp_step step = TRY(op, NULL, .sql = "select pg_backend_pid()", .ms = 100);
    int64_t took = tp_now() - began;
    long second = live_value(op, NULL, "select pg_backend_pid()");
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(step, TP_FAILED);
    assert_true(took >= 100 * MS);
    assert_true(took < 700 * MS); /* and not until the ping has timed out */
    assert_true(second != pid);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* A socket whose other end has been reset, in the place of the connection's own. */
static void break_socket(int fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, len), 0);
    int server = accept(listener, NULL, NULL);
    assert_int_equal(setsockopt(server, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(server);
    close(listener);
    assert_int_equal(dup2(client, fd), fd);
    close(client);
}

static void a_connection_that_was_reset_is_known_to_be_dead(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    tp_lease lease = live_acquire(op);
    assert_true(tp_lease_look(&lease));
    break_socket(tp__conn_fd(lease.slot->connection));
    assert_false(tp_lease_look(&lease));
    assert_int_equal(tp_lease_transaction(&lease), TP_TX_UNKNOWN);
    live_release(&lease);
    assert_true(live_value(op, NULL, "select pg_backend_pid()") != pid);
    tp_op_free(op);
    tp_pool_release(pool);
}

/* The housekeeper cannot know either: the descriptor is not the one that it watches. */
static void a_dead_connection_is_looked_at_before_it_is_used(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("pool.max=1");
    tp_op *op = tp_op_new(pool);
    long pid = live_value(op, NULL, "select pg_backend_pid()");
    break_socket(tp__conn_fd(pool->slots[0].connection));
    age(pool, 2 * MS); /* one that was used a moment ago is not looked at */
    assert_true(live_value(op, NULL, "select pg_backend_pid()") != pid);
    assert_int_equal(live_stats(pool).retries, 0); /* seen, not tried */
    tp_op_free(op);
    tp_pool_release(pool);
}

/* ----------------------------------------------------------------- connecting */

static void a_server_that_is_away_is_an_error_at_the_deadline_with_the_reason(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("host=127.0.0.1", "port=1", "breaker.failures=0");
    tp_op *op = tp_op_new(pool);
    int64_t began = tp_now();
    assert_int_equal(TRY(op, NULL, .sql = "select 1", .ms = 150), TP_FAILED);
    assert_true(tp_now() - began >= 150 * MS);
    assert_true(tp_now() - began < 2000 * MS);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_CONNECTION);
    assert_non_null(strstr(tp_op_error(op)->message, "Connection refused"));
    assert_true(tp_op_error(op)->retryable);
    assert_true(tp_op_error(op)->attempts >= 1);
    assert_int_equal(tp_pool_get_state(pool, NULL, NULL), TP_POOL_UNREACHABLE);
    tp_op_free(op);
    tp_pool_release(pool);
}

static void a_wrong_name_or_password_is_an_error_at_once(void **state)
{
    (void)state;
    tp_pool *pools[2] = {LIVE_OPEN("database=nosuch_database"),
                         LIVE_OPEN("host=127.0.0.1", "password=wrong")};
    static const char *const codes[2] = {"3D000", "28P01"};
    for (int i = 0; i < 2; i++) {
        tp_op *op = tp_op_new(pools[i]);
        int64_t began = tp_now();
        assert_int_equal(TRY(op, NULL, .sql = "select 1", .ms = 30000), TP_FAILED);
        assert_true(tp_now() - began < 10000 * MS);
        assert_int_equal(tp_op_error(op)->kind, TP_ERR_CONNECTION);
        assert_string_equal(tp_op_error(op)->code, codes[i]);
        assert_false(tp_op_error(op)->retryable);
        tp_op_free(op);
        tp_pool_release(pools[i]);
    }
}

static void a_second_host_is_reached_when_the_first_refuses(void **state)
{
    (void)state;
    char port[64], password[256];
    snprintf(port, sizeof port, "port=1,%s", live_is("PORT"));
    snprintf(password, sizeof password, "password=%s", live_is("PASSWORD"));
    static const char *const hosts[] = {"host=127.0.0.1,127.0.0.1", "host=127.0.0.1,localhost"};
    for (int i = 0; i < 2; i++) {
        tp_pool *pool = LIVE_OPEN(hosts[i], port, password, "pool.max=2");
        tp_op *op = tp_op_new(pool);
        assert_int_equal(live_value(op, NULL, "select 1"), 1);
        assert_int_equal(live_stats(pool).connects, 1);
        assert_int_equal(live_stats(pool).closed[TP_CLOSE_DEAD], 0);
        tp_op_free(op);
        tp_pool_release(pool);
    }
}

static void names_are_resolved_without_anybody_waiting(void **state)
{
    (void)state;
    tp_pool *pool = LIVE_OPEN("host=name.invalid");
    tp_op *op = tp_op_new(pool);
    struct ask ask = {.sql = "select 1", .ms = 1000};
    int64_t began = tp_now();
    live_begin(op, NULL, &ask);
    assert_int_equal(tp_op_step(op, 0), TP_WAIT);
    assert_true(tp_now() - began < 500 * MS);
    assert_int_equal(live_finish(op, &ask), TP_FAILED);
    assert_int_equal(tp_op_error(op)->kind, TP_ERR_CONNECTION);
    assert_non_null(strstr(tp_op_error(op)->message, "name.invalid"));
    tp_op_free(op);
    tp_pool_release(pool);
}

/* A port whose queue is full: the kernel drops further SYNs, as a network that is slow or
 * loses packets would. Connections so far are put into `clients`. */
static int full_listener(int *clients, int count, struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)address, len), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)address, &len), 0);
    for (int i = 0; i < count; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(clients[i], (struct sockaddr *)address, len);
    }
    return listener;
}

/* Others come and queue up meanwhile, which wakes the housekeeper. */
static void a_connect_that_takes_its_time_is_not_disturbed(void **state)
{
    (void)state;
    int clients[4];
    struct sockaddr_in address;
    char port[32];
    struct ask ask = {.sql = "select 1"};
    int listener = full_listener(clients, 4, &address);
    snprintf(port, sizeof port, "port=%d", ntohs(address.sin_port));
    tp_pool *pool = LIVE_OPEN("host=127.0.0.1", port, "connect_timeout_ms=60000");
    tp_op *op = tp_op_new(pool);
    live_begin(op, NULL, &ask);
    AWAIT(live_stats(pool).connecting == 1);
    for (int i = 0; i < 100; i++) {
        tp__wake_ring(pool->wake);
        fake_breathe();
    }
    struct tp_error err;
    (void)tp_pool_get_state(pool, NULL, &err);
    if (live_stats(pool).connect_failures > 0)
        fail_msg("%s", err.message);
    int64_t began = tp_now();
    tp_op_free(op);
    tp_pool_release(pool);
    assert_true(tp_now() - began < 2000 * MS); /* the housekeeper was not blocked either */
    for (int i = 0; i < 4; i++)
        close(clients[i]);
    close(listener);
}

/* ----------------------------------------------------------------------- fork */

#define CHECK(condition)               \
    do {                               \
        if (!(condition))              \
            return __LINE__ % 250 + 1; \
    } while (0)

/* What the parent had under way when it forked. */
struct legacy {
    tp_op *sleeping, *waiting, *queued, *encoding, *fresh;
    tp_lease lease;
    int pid;
};

static int in_child(tp_pool *pool, struct legacy *legacy)
{
    struct ask ask = {.sql = "select pg_backend_pid()", .ms = 15000};
    CHECK(!tp_lease_valid(&legacy->lease));
    live_begin(legacy->fresh, NULL, &ask);
    CHECK(live_finish(legacy->fresh, &ask) == TP_DONE);
    CHECK(live_number(legacy->fresh) != legacy->pid);
    /* What was under way belongs to the parent: it ends here, and harms nothing. */
    CHECK(tp_op_step(legacy->sleeping, TP_READ) == TP_FAILED);
    CHECK(tp_op_error(legacy->sleeping)->kind == TP_ERR_CONNECTION);
    CHECK(tp_op_fd(legacy->sleeping) == -1);
    CHECK(tp_op_step(legacy->waiting, 0) == TP_FAILED);
    tp_op_free(legacy->sleeping);
    tp_op_free(legacy->waiting);
    tp_op_free(legacy->encoding); /* without a step in between */
    tp_op_free(legacy->queued);
    struct tp_stats stats;
    tp_pool_stats(pool, &stats);
    CHECK(stats.idle == 1 && stats.active == 0 && stats.waiting == 0);
    live_begin(legacy->fresh, NULL, &ask);
    CHECK(live_finish(legacy->fresh, &ask) == TP_DONE);
    tp_op_free(legacy->fresh);
    tp_pool_release(pool);
    return 0;
}

static void a_child_of_fork_leaves_its_parents_sessions_alone(void **state)
{
    (void)state;
    SKIP_IF_CHILD_CANNOT_START_THREADS();
    struct ask nap = {.sql = "select 6 from pg_sleep(0.5)"};
    struct ask with = {.sql = "select $1::int", .params = {"8"}, .nparams = 1};
    struct ask value = {.sql = "select 9"};
    int status = 0;
    tp_pool *pool = LIVE_OPEN("pool.max=3");
    struct legacy legacy = {.sleeping = tp_op_new(pool),
                            .waiting = tp_op_new(pool),
                            .queued = tp_op_new(pool),
                            .encoding = tp_op_new(pool),
                            .fresh = tp_op_new(pool)};
    legacy.lease = live_acquire(legacy.fresh);
    legacy.pid = tp_lease_backend_pid(&legacy.lease);
    live_begin(legacy.sleeping, NULL, &nap);
    assert_int_equal(live_step_to_wire(legacy.sleeping), TP_WAIT);
    live_begin(legacy.encoding, NULL, &with);
    assert_int_equal(tp_drive(legacy.encoding), TP_ENCODE);
    live_begin(legacy.waiting, NULL, &value);
    assert_int_equal(tp_op_step(legacy.waiting, 0), TP_WAIT);
    live_begin(legacy.queued, NULL, &value);
    assert_int_equal(tp_op_step(legacy.queued, 0), TP_WAIT);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka would go on with the other tests */
        signal(SIGABRT, SIG_DFL);
        alarm(30);
        _exit(in_child(pool, &legacy));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(live_finish(legacy.sleeping, &nap), TP_DONE);
    assert_int_equal(live_number(legacy.sleeping), 6);
    assert_int_equal(live_finish(legacy.encoding, &with), TP_DONE);
    assert_int_equal(live_finish(legacy.waiting, &value), TP_DONE);
    assert_int_equal(live_finish(legacy.queued, &value), TP_DONE);
    assert_int_equal(live_value(legacy.fresh, &legacy.lease, "select pg_backend_pid()"),
                     legacy.pid);
    live_release(&legacy.lease);
    assert_int_equal(live_stats(pool).closed[TP_CLOSE_DEAD], 0);
    tp_op_free(legacy.sleeping);
    tp_op_free(legacy.waiting);
    tp_op_free(legacy.queued);
    tp_op_free(legacy.encoding);
    tp_op_free(legacy.fresh);
    tp_pool_release(pool);
}

/* -------------------------------------------------------------------- threads */

struct asker {
    tp_pool *pool;
    int number, rounds, wrong, late;
};

/* Some of the questions are given up, and their connections mended meanwhile. */
static void *ask_often(void *arg)
{
    struct asker *asker = arg;
    tp_op *op = tp_op_new(asker->pool);
    for (int i = 0; i < asker->rounds; i++) {
        char text[32];
        snprintf(text, sizeof text, "%d", asker->number * 1000000 + i);
        struct ask ask = {.sql = "select $1::int", .params = {text}, .nparams = 1};
        if (i % 25 == 24) {
            struct ask late = {.sql = sleeping.sql, .ms = 1};
            live_begin(op, NULL, &late);
            asker->late += tp_drive(op) == TP_FAILED;
            continue;
        }
        struct live_result *result;
        live_begin(op, NULL, &ask);
        enum tp_step step = live_collect(op, &ask, &result);
        if (step == TP_FAILED)
            print_error("%s\n", tp_op_error(op)->message);
        asker->wrong += step != TP_DONE || strcmp(live_result_text(result, 0, 0, NULL), text) != 0;
        live_result_free(result);
    }
    tp_op_free(op);
    return NULL;
}

static void the_answers_of_many_threads_are_not_mixed_up(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    struct asker askers[THREADS];
    pthread_t threads[THREADS];
    tp_pool *pool = LIVE_OPEN("pool.max=3", "health.interval_ms=1000", "pool.max_uses=60");
    for (int i = 0; i < THREADS; i++) {
        askers[i] = (struct asker){.pool = pool, .number = i, .rounds = fake_rounds(300)};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &askers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(askers[i].wrong, 0);
        assert_int_equal(askers[i].late, askers[i].rounds / 25);
    }
    AWAIT(live_stats(pool).active == 0);
    tp_pool_release(pool);
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_statement_that_is_late_is_given_up_and_its_connection_mended),
        cmocka_unit_test(a_statement_that_is_late_in_a_transaction_is_rolled_back),
        cmocka_unit_test(a_cancel_hits_nobody_else),
        cmocka_unit_test(a_cancel_that_came_before_the_statement_is_sent_again),
        cmocka_unit_test(an_operation_abandoned_in_mid_query_costs_its_connection),
        cmocka_unit_test(a_lease_is_of_no_use_after_its_release),
        cmocka_unit_test(one_lease_serves_one_operation_at_a_time),
        cmocka_unit_test(an_operation_ends_when_its_lease_does),
        cmocka_unit_test(a_thread_that_holds_every_connection_is_told_instead_of_hanging),
        cmocka_unit_test(the_end_of_an_idle_connection_is_not_noticed_by_callers),
        cmocka_unit_test(a_link_lost_in_mid_statement_is_an_error_with_the_servers_reason),
        cmocka_unit_test(a_statement_that_is_idempotent_is_repeated_on_another_link),
        cmocka_unit_test(a_lease_whose_link_is_lost_says_so_until_it_is_released),
        cmocka_unit_test(a_server_that_became_read_only_loses_the_connection),
        cmocka_unit_test(a_connection_that_rested_long_is_asked_before_it_is_used),
        cmocka_unit_test(a_connection_that_does_not_answer_is_replaced_within_the_deadline),
        cmocka_unit_test(a_connection_that_was_reset_is_known_to_be_dead),
        cmocka_unit_test(a_dead_connection_is_looked_at_before_it_is_used),
        cmocka_unit_test(a_server_that_is_away_is_an_error_at_the_deadline_with_the_reason),
        cmocka_unit_test(a_wrong_name_or_password_is_an_error_at_once),
        cmocka_unit_test(a_second_host_is_reached_when_the_first_refuses),
        cmocka_unit_test(names_are_resolved_without_anybody_waiting),
        cmocka_unit_test(a_connect_that_takes_its_time_is_not_disturbed),
        cmocka_unit_test(a_child_of_fork_leaves_its_parents_sessions_alone),
        cmocka_unit_test(the_answers_of_many_threads_are_not_mixed_up),
    };
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    if (!live_is_there())
        return 0;
    int failed = run("op faults, driven");
    live_by_hand = true;
    return failed + run("op faults, by hand");
}
