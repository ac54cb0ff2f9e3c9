/* tp_config_*: who says what, in which order, and what libpq is given in the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_case.h"

/* ----------------------------------------------------------------- precedence */

static void a_higher_source_wins(void **state)
{
    static const struct good_case cases[] = {
        {{{0}, {0}}, {">pool.max=10", ">pool.min=2", ">log.queries=true", ">pool.max_uses=0"}},
        {{{"NODE_ENV=production"}, {0}},
         {">pool.max=20", ">pool.min=5", ">log.queries=false", ">pool.max_uses=7500",
          ">pool.idle_timeout_ms=30000", ">profile=production"}},
        {{{"NODE_ENV=production", "DB_POOL_MAX=30"}, {0}}, {">pool.max=30"}},
        {{{"DATABASE_URL=postgresql://h/d?pool_max=40", "DB_POOL_MAX=30"}, {0}}, {">pool.max=40"}},
        {{{"DATABASE_URL=postgresql://h/d?pool_max=40", "DB_POOL_MAX=30"}, {"pool.max=50"}},
         {">pool.max=50"}},
        {{{"DB_POOL_MAX=30"}, {"url=postgresql://h/d?pool_max=40&pool_min=1&pool_idle=60000"}},
         {">pool.max=40", ">pool.min=1", ">pool.idle_timeout_ms=60000"}},
        {{{0}, {"url=postgresql://h/d?pool_max=40&pool_max=41"}}, {">pool.max=41"}},
        {{{0}, {"pool.max=40", "pool.max=41"}}, {">pool.max=41"}},
        {{{"DB_POOL_MAX="}, {0}}, {">pool.max=10"}},
        {{{"DB_POOL_MAX=your_max"}, {0}}, {">pool.max=10"}},
        {{{0}, {"url=postgresql://a/b?user=c", "user=e", "database=f"}},
         {"host=a", "user=e", "dbname=f"}},
        {{{"APP_ENV=production", "NODE_ENV=test"}, {0}}, {">profile=production"}},
        {{{"APP_ENV=staging", "NODE_ENV=production"}, {0}}, {">profile=development"}},
        {{{"APP_ENV=Production"}, {0}}, {">profile=production"}},
        {{{"APP_ENV=production"}, {"profile=development"}}, {">profile=development"}},
    };
    (void)state;
    RUN_GOOD(cases);
}

static void connections_are_logged_in_production_only_by_code(void **state)
{
    static const struct good_case cases[] = {
        {{{"DB_LOG_CONNECTIONS=true"}, {0}}, {">log.connections=true"}},
        {{{"DB_LOG_CONNECTIONS=true", "APP_ENV=production"}, {0}}, {">log.connections=false"}},
        {{{"APP_ENV=production"}, {"log.connections=true"}}, {">log.connections=true"}},
        {{{"DB_LOGGING=true", "APP_ENV=production"}, {0}}, {">log.queries=true"}},
    };
    (void)state;
    RUN_GOOD(cases);
}

static void the_first_source_that_is_set_says_where(void **state)
{
    static const struct good_case cases[] = {
        {{{"DB_CONNECTION_STRING=postgresql://one/d1", "DATABASE_URL=postgresql://u:p@two/d2",
           PARTS, "PGHOST=three", "PGPORT=3"},
          {0}},
         {"host=one", "dbname=d1", "port=5432", "user", "password"}},
        {{{"DATABASE_URL=postgresql://two:22/d2", PARTS, "DB_PORT=44", "PGHOST=three"}, {0}},
         {"host=two", "port=22", "dbname=d2", "user", "password"}},
        {{{PARTS, "PGHOST=three", "PGPORT=3", "DB_PORT=44"}, {0}},
         {"host=h", "dbname=d", "user=u", "password=p", "port=44"}},
        {{{"PGHOST=three", "PGPORT=3", "PGUSER=x", "PGDATABASE=y", "PGPASSWORD=z"}, {0}},
         {"host=three", "port=3", "user=x", "dbname=y", "password=z", ">password=***"}},
        {{{"DATABASE_URL=postgresql://two/d2", PARTS}, {"host=code"}},
         {"host=code", "dbname", "user", "password"}},
        {{{"DATABASE_URL=postgresql://u:p@two/d2"}, {"database=code"}},
         {"host", "dbname=code", "user", "password"}},
        {{{"DATABASE_URL=postgresql://u:p@two/d2"}, {"url=postgres://code/d"}},
         {"host=code", "dbname=d", "user", "password"}},
        {{{"DATABASE_URL=postgresql://u:p@two/d2"}, {"password=code"}},
         {"host=two", "dbname=d2", "user=u", "password=code"}},
        {{{"DB_DATABASE=d", "DB_USERNAME=u", "DB_HOST=/tmp"}, {0}},
         {"dbname=d", "user=u", "host=/tmp", "port=5432"}},
        {{{"DB_CONNECTION_STRING=", "DATABASE_URL=postgresql://two"}, {0}}, {"host=two"}},
    };
    (void)state;
    RUN_GOOD(cases);
}

static void libpq_s_variables_fill_what_is_left_open(void **state)
{
    static const struct good_case cases[] = {
        {{{"DATABASE_URL=postgresql://two", "PGUSER=x", "PGDATABASE=y", "PGPASSWORD=z", "PGPORT=3",
           "PGHOSTADDR=127.0.0.1"},
          {0}},
         {"host=two", "port=5432", "hostaddr", "user=x", "dbname=y", "password=z"}},
        {{{"PGHOST=/run/pg", "PGPORT=3"}, {"database=d"}}, {"host=/run/pg", "port=3", "dbname=d"}},
        {{{"PGHOST=/run/pg", "PGPORT=3"}, {"port=4"}}, {"host=/run/pg", "port=4"}},
        {{{"PGDATABASE=d"}, {0}}, {"host", "port=5432", "dbname=d"}},
        {{{"PGSERVICE=s"}, {0}}, {"host", "port", "service=s"}},
        {{{"PGHOST=h", "PGCONNECT_TIMEOUT=7", "PGAPPNAME=app", "PGOPTIONS=-c geqo=off",
           "PGTARGETSESSIONATTRS=any", "PGKRBSRVNAME=k", "PGCLIENTENCODING=LATIN1"},
          {0}},
         {">connect_timeout_ms=7000", "application_name=app",
          "options=-c idle_in_transaction_session_timeout=60000 -c geqo=off",
          "target_session_attrs=any", "krbsrvname=k", "client_encoding=UTF8"}},
        {{{"PGHOST=h", "PGSSLMODE=require", "PGSSLCRLDIR=/x/crl"}, {0}},
         {"sslmode=require", "sslcrldir=/x/crl"}},
        {{{"PGHOST=h", "PGSSLMODE=require", "DB_SSL=false"}, {0}}, {"sslmode=disable"}},
    };
    (void)state;
    RUN_GOOD(cases);
}

static void being_unconfigured_is_a_state(void **state)
{
    static const struct setup nothing[] = {
        {{0}, {0}},
        {{"DB_PASSWORD=p"}, {0}},
        {{"DB_PORT=5432"}, {0}},
        {{"PGPASSWORD=p", "PGPORT=1"}, {0}},
        {{"DB_POOL_MAX=3", "APP_ENV=production"}, {"pool.min=1", "password=x"}},
        {{"DATABASE_URL="}, {0}},
        {{"DATABASE_URL=postgresql://your_user:your_password@your_host:your_port/your_db"}, {0}},
        {{"DB_HOST=localhost", "DB_PORT=5432", "DB_NAME=d", "DB_USER=postgres",
          "DB_PASSWORD=your_password"},
         {0}},
        {{0}, {"url=postgresql://your_user:x@h:your_port/d"}},
        {{0}, {"host=h", "password=your_password"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        tp_config *config = resolved(&nothing[i]);
        assert_false(tp_config_is_configured(config));
        assert_false(tp__config_settings(config)->configured);
        struct tp_conninfo info = tp__config_conninfo(config);
        assert_null(info.keywords[0]);
        assert_null(info.values[0]);
        assert_true(tp__config_settings(config)->pool_max > 0);
        tp_config_free(config);
    }
}

static void a_placeholder_gives_the_next_source_its_turn(void **state)
{
    static const struct good_case cases[] = {
        {{{"DB_CONNECTION_STRING=postgresql://your_host/d", "DATABASE_URL=postgresql://two"}, {0}},
         {"host=two"}},
        {{{"DATABASE_URL=<your_url>", PARTS}, {0}}, {"host=h", "user=u"}},
        {{{"DB_HOST=h", "DB_PASSWORD=your_password", "PGHOST=three"}, {0}},
         {"host=three", "password"}},
        {{{"DATABASE_URL=postgresql://two"}, {"host=h", "user=your_user"}}, {"host=two", "user"}},
    };
    (void)state;
    RUN_GOOD(cases);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tp_config *config = resolved(&cases[i].setup);
        assert_int_equal(warning_count(config), 1);
        assert_true(warns(config, "placeholder"));
        tp_config_free(config);
    }
}

static void aliases_that_differ_warn_and_the_first_wins(void **state)
{
    static const struct {
        struct setup setup;
        const char *wanted, *warning; /* NULL: none */
    } cases[] = {
        {{{PARTS, "DB_DATABASE=e"}, {0}}, "dbname=d", "DB_NAME and DB_DATABASE differ"},
        {{{PARTS, "DB_DATABASE=d"}, {0}}, "dbname=d", NULL},
        {{{PARTS, "DB_USERNAME=v"}, {0}}, "user=u", "DB_USER and DB_USERNAME differ"},
        {{{PARTS, "DB_IDLE_TIMEOUT_MS=1", "DB_POOL_IDLE_TIMEOUT=2"}, {0}},
         ">pool.idle_timeout_ms=1",
         "DB_IDLE_TIMEOUT_MS and DB_POOL_IDLE_TIMEOUT differ"},
        {{{PARTS, "DB_POOL_CONNECTION_TIMEOUT=2"}, {0}}, ">pool.acquire_timeout_ms=2", NULL},
        {{{PARTS, "DB_IDLE_TIMEOUT_MS=", "DB_POOL_IDLE_TIMEOUT=2"}, {0}},
         ">pool.idle_timeout_ms=2",
         NULL},
        {{{PARTS, "APP_ENV=local", "NODE_ENV=production"}, {0}},
         ">profile=development",
         "APP_ENV and NODE_ENV differ"},
        {{{PARTS, "APP_ENV=local", "NODE_ENV=test"}, {0}}, ">profile=development", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tp_config *config = resolved(&cases[i].setup);
        expect(config, cases[i].wanted);
        assert_int_equal(warning_count(config), cases[i].warning != NULL ? 1 : 0);
        if (cases[i].warning != NULL) {
            assert_true(warns(config, cases[i].warning));
        }
        tp_config_free(config);
    }
}

/* -------------------------------------------------------------------- mistakes */

static void mistakes_name_the_variable_or_the_option(void **state)
{
    static const struct bad_case cases[] = {
        {{{"DB_POOL_MAX=abc"}, {0}}, TP_ERR_VALIDATION, "DB_POOL_MAX must be a whole number"},
        {{{"DB_POOL_IDLE_TIMEOUT=-5"}, {0}}, TP_ERR_VALIDATION, "DB_POOL_IDLE_TIMEOUT must be"},
        {{{"DB_SSL=maybe"}, {0}}, TP_ERR_VALIDATION, "DB_SSL must be true or false"},
        {{{PARTS, "DB_PORT=70000"}, {0}}, TP_ERR_VALIDATION, "DB_PORT must be a port number"},
        {{{"DATABASE_URL=postgresql://h/d?pool_max=abc"}, {0}},
         TP_ERR_VALIDATION,
         "pool_max in DATABASE_URL must be"},
        {{{0}, {"url=postgresql://h/d?pool_max=0"}},
         TP_ERR_VALIDATION,
         "pool_max in the URL must be"},
        {{{0}, {"url=postgresql://h:70000/d"}}, TP_ERR_VALIDATION, "port in the URL must be"},
        {{{0}, {"pool.max=abc"}}, TP_ERR_VALIDATION, "pool.max must be a whole number"},
        {{{0}, {"pool.maximum=3"}},
         TP_ERR_VALIDATION,
         "unknown option \"pool.maximum\": did you mean \"pool.max\"?"},
        {{{0}, {"retry=false"}},
         TP_ERR_VALIDATION,
         "\"retry\" has to be a table: it stands for several options, such as \"retry.attempts\""},
        {{{0}, {"xyzzy=3"}}, TP_ERR_VALIDATION, "unknown option \"xyzzy\""},
        {{{0}, {"libpq.keepalive=1"}}, TP_ERR_VALIDATION, "libpq has no such parameter"},
        {{{0}, {"libpq.sslmode=require"}}, TP_ERR_VALIDATION, "is the option \"tls.mode\""},
        {{{0}, {"libpq.keepalives=yes"}}, TP_ERR_VALIDATION, "libpq.keepalives must be 0 or 1"},
        {{{0}, {"libpq.client_encoding=LATIN1"}}, TP_ERR_VALIDATION, "must be UTF8"},
        {{{0}, {"url=postgresql://h/d?client_encoding=latin1"}},
         TP_ERR_VALIDATION,
         "client_encoding in the URL must be UTF8"},
        {{{"DATABASE_URL=postgresql://h/d?poolmax=1"}, {0}},
         TP_ERR_VALIDATION,
         "DATABASE_URL has an unknown parameter \"poolmax\": did you mean \"pool_max\"?"},
        {{{"DATABASE_URL=postgresql://h/d?query_timeout_ms=1"}, {0}},
         TP_ERR_VALIDATION,
         "unknown parameter \"query_timeout_ms\""},
        {{{"DB_CONNECTION_STRING=mysql://h/d"}, {0}},
         TP_ERR_VALIDATION,
         "DB_CONNECTION_STRING must begin with postgresql:// or postgres://"},
        {{{"DATABASE_URL=host=h"}, {0}}, TP_ERR_VALIDATION, "DATABASE_URL must begin with"},
        {{{0}, {"url=h"}}, TP_ERR_VALIDATION, "the URL must begin with"},
        {{{0}, {"url=postgresql://a,b:1,c:2,d:3,e/x", "port=1,2"}},
         TP_ERR_VALIDATION,
         "port has 2 ports for 5 hosts"},
        {{{0}, {"host=a,b", "hostaddr=1.1.1.1"}},
         TP_ERR_VALIDATION,
         "hostaddr has 1 addresses for 2 hosts"},
        {{{0}, {"profile=staging"}},
         TP_ERR_VALIDATION,
         "profile must be production or development"},
        {{{0}, {"retry.base_ms=500", "retry.max_ms=100"}},
         TP_ERR_VALIDATION,
         "retry.base_ms (500) is greater than retry.max_ms (100)"},
    };
    (void)state;
    RUN_BAD(cases);
}

static void min_and_max_make_room_for_each_other(void **state)
{
    static const struct good_case good[] = {
        {{{"DB_POOL_MAX=1"}, {0}}, {">pool.max=1", ">pool.min=1"}},
        {{{"DB_POOL_MIN=15"}, {0}}, {">pool.max=15", ">pool.min=15"}},
        {{{"DB_POOL_MIN=0", "DB_POOL_MAX=1"}, {0}}, {">pool.max=1", ">pool.min=0"}},
        {{{"APP_ENV=production"}, {"pool.max=3"}}, {">pool.max=3", ">pool.min=3"}},
    };
    static const struct bad_case bad[] = {
        {{{"DB_POOL_MIN=5", "DB_POOL_MAX=4"}, {0}},
         TP_ERR_VALIDATION,
         "DB_POOL_MIN (5) is greater than DB_POOL_MAX (4)"},
        {{{"DB_POOL_MIN=5", "DATABASE_URL=postgresql://h/d?pool_max=4"}, {0}},
         TP_ERR_VALIDATION,
         "DB_POOL_MIN (5) is greater than pool_max in DATABASE_URL (4)"},
        {{{"DB_POOL_MAX=4"}, {"pool.min=5"}},
         TP_ERR_VALIDATION,
         "pool.min (5) is greater than DB_POOL_MAX (4)"},
    };
    (void)state;
    RUN_GOOD(good);
    RUN_BAD(bad);
}

static char password_file[] = "/tmp/tidepool-test-pass-XXXXXX";

static void an_empty_password_is_refused_only_for_parts_over_tcp(void **state)
{
    char passfile[64];
    snprintf(passfile, sizeof passfile, "PGPASSFILE=%s", password_file);
    const struct good_case good[] = {
        {{{"DB_HOST=/tmp", "DB_USER=u"}, {0}}, {"host=/tmp", "password"}},
        {{{"DB_HOST=@abstract", "DB_USER=u"}, {0}}, {"password"}},
        {{{"DB_NAME=d"}, {0}}, {"host", "password"}},
        {{{"DB_HOST=/a,/b", "DB_PASSWORD="}, {0}}, {"host=/a,/b"}},
        {{{"DB_HOST=h", "PGPASSWORD=x"}, {0}}, {"password=x"}},
        {{{"DB_HOST=h", passfile}, {0}}, {"password"}},
        {{{"DB_HOST=h"}, {"password=x"}}, {"password=x"}},
        {{{"DATABASE_URL=postgresql://u@h/d"}, {0}}, {"host=h", "password"}},
        {{{"PGHOST=h"}, {0}}, {"host=h", "password"}},
        {{{0}, {"host=h"}}, {"host=h", "password"}},
    };
    static const struct bad_case bad[] = {
        {{{"DB_HOST=h", "DB_USER=u"}, {0}}, TP_ERR_VALIDATION, "DB_PASSWORD is empty"},
        {{{"DB_HOST=h", "DB_PASSWORD="}, {0}}, TP_ERR_VALIDATION, "DB_PASSWORD is empty"},
        {{{"DB_HOST=/a,h"}, {0}}, TP_ERR_VALIDATION, "DB_PASSWORD is empty"},
        {{{"DB_HOST=h", "PGPASSFILE=/no/such/file"}, {0}}, TP_ERR_VALIDATION, "DB_PASSWORD"},
    };
    (void)state;
    run_good(good, sizeof good / sizeof *good);
    RUN_BAD(bad);
}

static void a_configuration_is_resolved_once(void **state)
{
    static const char *const env[MOST] = {PARTS};
    (void)state;
    struct tp_error err;
    tp_config *config = tp_config_new();
    assert_false(tp_config_is_configured(config));
    assert_null(tp_config_get(config, "pool.max"));
    assert_int_equal(tp_config_resolve(config, look_up, (void *)(uintptr_t)env, &err), TP_OK);
    assert_true(tp_config_is_configured(config));
    assert_int_equal(tp_config_resolve(config, look_up, (void *)(uintptr_t)env, &err),
                     TP_ERR_VALIDATION);
    tp_config_free(config);
    tp_config_free(NULL);
}

static void a_url_that_is_refused_leaves_the_earlier_one(void **state)
{
    static const char *const env[MOST] = {NULL};
    (void)state;
    struct tp_error err;
    tp_config *config = tp_config_new();
    assert_int_equal(tp_config_set_url(config, "postgresql://a/b", &err), TP_OK);
    assert_int_equal(tp_config_set_url(config, "postgresql://c/d?pool_max=x", &err),
                     TP_ERR_VALIDATION);
    assert_int_equal(tp_config_resolve(config, look_up, (void *)(uintptr_t)env, &err), TP_OK);
    expect(config, "host=a");
    expect(config, ">pool.max=10");
    tp_config_free(config);
}

/* -------------------------------------------------------------------- conninfo */

static void libpq_is_given_what_every_connection_needs(void **state)
{
    static const struct good_case cases[] = {
        {{{PARTS}, {0}},
         {"client_encoding=UTF8", "fallback_application_name=tidepool", "tcp_user_timeout=10000",
          "keepalives_idle=30", "keepalives_interval=10", "keepalives_count=3", "keepalives",
          "options=-c idle_in_transaction_session_timeout=60000", "application_name",
          "connect_timeout"}},
        {{{PARTS},
          {"libpq.tcp_user_timeout=5", "libpq.keepalives=1", "application_name=app",
           "libpq.fallback_application_name=other"}},
         {"tcp_user_timeout=5", "keepalives=1", "application_name=app",
          "fallback_application_name=other", ">libpq.keepalives=1"}},
        {{{URL("client_encoding=utf8&keepalives_idle=9&gssencmode=disable")}, {0}},
         {"client_encoding=UTF8", "keepalives_idle=9", "gssencmode=disable"}},
        {{{URL("statement_timeout=60000")}, {"idle_in_transaction_timeout_ms=0"}},
         {"options=-c statement_timeout=60000"}},
        {{{URL("statement_timeout=60000&options=-c%20geqo%3Doff")},
          {"idle_in_transaction_timeout_ms=0"}},
         {"options=-c geqo=off -c statement_timeout=60000", ">options=-c geqo=off"}},
        {{{URL("statement_timeout=5"), "PGOPTIONS=-c a.b=c"}, {0}},
         {"options=-c idle_in_transaction_session_timeout=60000 -c a.b=c "
          "-c statement_timeout=5"}},
        {{{URL("statement_timeout=5"), "PGOPTIONS=-c a.b=c"},
          {"idle_in_transaction_timeout_ms=70", "lock_timeout_ms=6"}},
         {"options=-c a.b=c -c statement_timeout=5 -c lock_timeout=6 "
          "-c idle_in_transaction_session_timeout=70"}},
        {{{URL("statement_timeout=0")}, {"idle_in_transaction_timeout_ms=0"}}, {"options"}},
        {{{URL("statement_timeout=0")}, {"prepare=false"}}, {"options"}},
        {{{URL("statement_timeout=0")}, {"prepare=false", "lock_timeout_ms=9"}},
         {"options=-c lock_timeout=9"}},
        {{{0}, {"host=a,b", "port=1,2", "target_session_attrs=read-write", "hostaddr=::1,::2"}},
         {"host=a,b", "port=1,2", "target_session_attrs=read-write", "hostaddr=::1,::2"}},
        {{{0}, {"database=host=evil"}}, {"dbname=host=evil"}},
    };
    (void)state;
    RUN_GOOD(cases);
}

static void settings_are_in_the_units_of_the_engine(void **state)
{
    static const struct setup setup = {
        {URL("connect_timeout=30&pool_idle=60000"), "APP_ENV=production"},
        {"query_timeout_ms=1500", "prepare=no", "statement_cache_size=7", "pool.max_waiting=9",
         "health.interval_ms=0", "retry.attempts=5", "log.slow_ms=0"}};
    static const struct setup endless = {{URL("connect_timeout=0")}, {0}};
    (void)state;
    tp_config *config = resolved(&setup);
    const struct tp_settings *settings = tp__config_settings(config);
    assert_true(settings->configured);
    assert_int_equal(settings->pool_min, 5);
    assert_int_equal(settings->pool_max, 20);
    assert_int_equal(settings->pool_max_waiting, 9);
    assert_int_equal(settings->acquire_timeout_us, 5000000);
    assert_int_equal(settings->connect_timeout_us, 30000000);
    assert_int_equal(settings->idle_timeout_us, 60000000);
    assert_int_equal(settings->max_lifetime_us, 3600000000);
    assert_int_equal(settings->query_timeout_us, 1500000);
    assert_int_equal(settings->health_interval_us, 0);
    assert_int_equal(settings->max_uses, 7500);
    assert_false(settings->prepare);
    assert_int_equal(settings->statement_cache_size, 7);
    assert_int_equal(settings->retry_attempts, 5);
    assert_int_equal(settings->retry_base_us, 50000);
    assert_int_equal(settings->retry_max_us, 1000000);
    assert_false(settings->log_queries);
    assert_int_equal(settings->log_slow_us, 0);
    assert_int_equal(tp_config_int(config, "query_timeout_ms"), 1500);
    assert_int_equal(tp_config_int(config, "nothing"), 0);
    assert_true(tp_config_bool(config, "tls"));
    assert_false(tp_config_bool(config, "prepare"));
    assert_null(tp_config_get(config, "nothing"));
    assert_null(tp_config_get(config, "libpq.nothing"));
    tp_config_free(config);
    config = resolved(&endless);
    assert_true(tp__config_settings(config)->connect_timeout_us == TP_NEVER);
    tp_config_free(config);
}

/* --------------------------------------------------------------------- secrets */

static void assert_clean(const tp_config *config, const struct tp_error *err)
{
    const char *const texts[] = {err->message, err->detail, err->hint, err->where, err->query};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_null(strstr(texts[i], "c4nary"));
    }
    for (size_t i = 0; tp_config_warning(config, i) != NULL; i++) {
        assert_null(strstr(tp_config_warning(config, i), "c4nary"));
    }
}

static void no_message_tells_a_secret(void **state)
{
    static const char *const urls[] = {
        "c4nary",
        "mysql://u:c4nary@h/d",
        "postgresql://u:c4nary%@h/d",
        "postgresql://u:c4nary@@h/d",
        "postgresql://u:p@c4nary@h/d",
        "postgresql://u:c4nary/@h/d",
        "postgresql://u:c4nary/x",
        "postgresql://u:1/c4nary@h",
        "postgresql://u:1/x?c4nary=y@h/d",
        "postgresql://u:1/x?pool_max=c4nary@h/d",
        "postgresql://u:1/x?sslmode=c4nary@h/d",
        "postgresql://h/d?password=x&c4nary=y",
        "postgresql://h/d?password=c4nary&foo=1",
        "postgresql://u:c4nary@h/d?foo=1",
        "postgresql://u:c4nary@h:x/d",
        "postgresql://u:c4nary@h:99999/d",
        "postgresql://u:c4nary@[h/d",
        "postgresql://u:c4nary@h/d?connect_timeout=x",
        "postgresql://your_user:c4nary@h/d",
        "postgresql://u:c4nary@h/d?pool_min=9&pool_max=1",
        "postgresql://u:c4nary@h/d?sslrootcert=/no/c4nary",
        "postgresql://u:c4nary@h/d?sslkey=c4nary",
        "postgresql://h/d?port=c4nary",
        "postgresql://h/d?gssencmode=c4nary",
        "postgresql://h/d?ssl=c4nary",
        "postgresql://a,b/d?port=1,2,3&password=c4nary",
    };
    (void)state;
    for (size_t i = 0; i < 3 * (sizeof urls / sizeof *urls); i++) {
        static const char *const names[] = {"url", "DATABASE_URL", "DB_CONNECTION_STRING"};
        const char *url = urls[i / 3];
        char text[256];
        snprintf(text, sizeof text, "%s=%s", names[i % 3], url);
        struct setup setup = {{0}, {0}};
        *(i % 3 == 0 ? &setup.code[0] : &setup.env[0]) = text;
        tp_config *config = NULL;
        struct tp_error err = {0};
        if (resolve(&setup, &config, &err) == TP_OK && tp_config_is_configured(config)) {
            fail_msg("%s was accepted", url);
        }
        assert_clean(config, &err);
        tp_config_free(config);
    }
}

static void variables_and_options_keep_their_secrets(void **state)
{
    static const struct setup setups[] = {
        {{"DB_HOST=h", "DB_PASSWORD=c4nary", "DB_PORT=c4nary"}, {0}},
        {{"DB_HOST=h", "DB_PASSWORD=c4nary", "DB_SSL=true", "DB_SSL_KEY=c4nary"}, {0}},
        {{"DB_HOST=h", "DB_PASSWORD=your_c4nary"}, {0}},
        {{"DB_POOL_MAX=c4nary"}, {0}},
        {{0}, {"host=h", "password=c4nary", "tls.mode=c4nary"}},
        {{0}, {"host=h", "tls.ca=c4nary"}},
        {{0}, {"host=h", "libpq.sslpassword=c4nary", "tls.mode=verify-ca", "tls.ca=x"}},
        {{0}, {"libpq.channel_binding=c4nary"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++) {
        tp_config *config = NULL;
        struct tp_error err = {0};
        enum tp_status status = resolve(&setups[i], &config, &err);
        assert_true(status != TP_OK || !tp_config_is_configured(config));
        assert_clean(config, &err);
        tp_config_free(config);
    }
}

static void secrets_are_shown_as_stars(void **state)
{
    static const struct good_case cases[] = {
        {{{0}, {"url=postgresql://u:c4nary@h/d?sslpassword=c4nary2"}},
         {">password=***", ">libpq.sslpassword=***", "password=c4nary", "sslpassword=c4nary2"}},
        {{{PARTS}, {0}}, {">password=***", "password=p", ">libpq.sslpassword", ">tls.key"}},
        {{{0}, {"host=h"}}, {">password"}},
    };
    (void)state;
    RUN_GOOD(cases);
}

/* --------------------------------------------------------------------- fixture */

static int make_password_file(void **state)
{
    (void)state;
    int fd = mkstemp(password_file);
    return fd < 0 ? -1 : close(fd);
}

static int remove_password_file(void **state)
{
    (void)state;
    return unlink(password_file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_higher_source_wins),
        cmocka_unit_test(connections_are_logged_in_production_only_by_code),
        cmocka_unit_test(the_first_source_that_is_set_says_where),
        cmocka_unit_test(libpq_s_variables_fill_what_is_left_open),
        cmocka_unit_test(being_unconfigured_is_a_state),
        cmocka_unit_test(a_placeholder_gives_the_next_source_its_turn),
        cmocka_unit_test(aliases_that_differ_warn_and_the_first_wins),
        cmocka_unit_test(mistakes_name_the_variable_or_the_option),
        cmocka_unit_test(min_and_max_make_room_for_each_other),
        cmocka_unit_test(an_empty_password_is_refused_only_for_parts_over_tcp),
        cmocka_unit_test(a_configuration_is_resolved_once),
        cmocka_unit_test(a_url_that_is_refused_leaves_the_earlier_one),
        cmocka_unit_test(libpq_is_given_what_every_connection_needs),
        cmocka_unit_test(settings_are_in_the_units_of_the_engine),
        cmocka_unit_test(no_message_tells_a_secret),
        cmocka_unit_test(variables_and_options_keep_their_secrets),
        cmocka_unit_test(secrets_are_shown_as_stars),
    };
    return cmocka_run_group_tests(tests, make_password_file, remove_password_file);
}
