/* Connection URLs are read as libpq reads them, and no message repeats a piece
 * of one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "url.h"

/* "key=value;key=value;" in order, or "!" and the message. */
static void spell(const char *text, char *out, size_t room)
{
    struct tp_url url = {0};
    struct tp_error err;
    if (tp__url_parse(&url, text, "THE_URL", &err) != TP_OK) {
        assert_int_equal(err.kind, TP_ERR_VALIDATION);
        assert_non_null(strstr(err.message, "THE_URL"));
        assert_null(url.params);
        snprintf(out, room, "!%s", err.message);
        return;
    }
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < url.count; i++) {
        len += (size_t)snprintf(out + len, room - len, "%s=%s;", url.params[i].key,
                                url.params[i].value);
    }
    tp__url_deinit(&url);
}

static const struct {
    const char *url, *parts;
} good[] = {
    {"postgresql://", ""},
    {"postgres://", ""},
    {"postgresql:///", ""},
    {"postgresql://localhost", "host=localhost;"},
    {"postgresql://localhost:5433", "host=localhost;port=5433;"},
    {"postgresql://localhost:/db", "host=localhost;dbname=db;"},
    {"postgresql://localhost/mydb", "host=localhost;dbname=mydb;"},
    {"postgresql://user@localhost", "user=user;host=localhost;"},
    {"postgresql://user:secret@localhost", "user=user;password=secret;host=localhost;"},
    {"postgresql://user:@localhost", "user=user;host=localhost;"},
    {"postgresql://:pw@localhost", "password=pw;host=localhost;"},
    {"postgresql://@localhost", "host=localhost;"},
    {"postgresql://u:a:b@h", "user=u;password=a:b;host=h;"},
    {"postgresql://u:a?b@h", "user=u;password=a?b;host=h;"},
    {"postgresql://u:a#b[c]@h", "user=u;password=a#b[c];host=h;"},
    {"postgresql://u%40t:p%2Fw%3f%40%25@h", "user=u@t;password=p/w?@%;host=h;"},
    {"postgresql://other@localhost/otherdb?connect_timeout=10&application_name=myapp",
     "user=other;host=localhost;dbname=otherdb;connect_timeout=10;application_name=myapp;"},
    {"postgresql://host1:123,host2:456/somedb?target_session_attrs=any",
     "host=host1,host2;port=123,456;dbname=somedb;target_session_attrs=any;"},
    {"postgresql://a,b:2,c/db", "host=a,b,c;port=,2,;dbname=db;"},
    {"postgresql://a,/db", "host=a,;port=,;dbname=db;"},
    {"postgresql:///mydb?host=localhost&port=5433", "dbname=mydb;host=localhost;port=5433;"},
    {"postgresql://[2001:db8::1234]/database", "host=2001:db8::1234;dbname=database;"},
    {"postgresql://[::1]:6000,b/x", "host=::1,b;port=6000,;dbname=x;"},
    {"postgresql://[fe80::1%25eth0]", "host=fe80::1%eth0;"},
    {"postgresql://u:p@[::1]", "user=u;password=p;host=::1;"},
    {"postgresql:///dbname?host=/var/lib/postgresql", "dbname=dbname;host=/var/lib/postgresql;"},
    {"postgresql://%2Fvar%2Flib%2Fpostgresql/dbname", "host=/var/lib/postgresql;dbname=dbname;"},
    {"postgresql://?host=h", "host=h;"},
    {"postgresql://h?port=1", "host=h;port=1;"},
    {"postgresql://h/d%20b?", "host=h;dbname=d b;"},
    {"postgresql://h/a/b", "host=h;dbname=a/b;"},
    {"postgresql://h/db?a=1&", "host=h;dbname=db;a=1;"},
    {"postgresql://h/db?user=u&password=a%26b%3Dc", "host=h;dbname=db;user=u;password=a&b=c;"},
    {"postgresql://h/db?options=-c%20geqo%3Doff", "host=h;dbname=db;options=-c geqo=off;"},
    {"postgresql://h/db?application_name=", "host=h;dbname=db;application_name=;"},
    {"postgresql://h/db?ssl=true", "host=h;dbname=db;sslmode=require;"},
    {"postgresql://h/db?application%5Fname=x", "host=h;dbname=db;application_name=x;"},
};

static void urls_give_their_parts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char parts[512];
        spell(good[i].url, parts, sizeof parts);
        assert_string_equal(parts, good[i].parts);
    }
}

static const char *value_of(const struct tp_url *url, const char *key)
{
    const char *value = NULL;
    for (size_t i = 0; i < url->count; i++) {
        value = strcmp(url->params[i].key, key) == 0 ? url->params[i].value : value;
    }
    return value;
}

/* The reference: whatever both accept, both read alike. */
static void libpq_reads_them_alike(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tp_url url = {0};
        struct tp_error err;
        assert_int_equal(tp__url_parse(&url, good[i].url, "x", &err), TP_OK);
        PQconninfoOption *options = PQconninfoParse(good[i].url, NULL);
        for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
            const char *ours = value_of(&url, o->keyword);
            assert_string_equal(ours != NULL ? ours : "", o->val != NULL ? o->val : "");
        }
        PQconninfoFree(options);
        tp__url_deinit(&url);
    }
}

/* `says` is a part of the message. Each has the canary where a secret, or a piece
 * of one, may stand. */
static const struct {
    const char *url, *says;
} bad[] = {
    {"", "must begin with postgresql:// or postgres://"},
    {"c4nary", "must begin with postgresql:// or postgres://"},
    {"mysql://u:c4nary@h/db", "must begin with"},
    {"postgresql:/u:c4nary@h/db", "must begin with"},
    {"POSTGRESQL://u:c4nary@h/db", "must begin with"},
    {" postgresql://u:c4nary@h/db", "must begin with"},
    {"host=h password=c4nary", "must begin with"},
    {"postgresql://u:c4nary%@h/db", "password in THE_URL has a '%'"},
    {"postgresql://u:c4nary%4@h/db", "password in THE_URL has a '%'"},
    {"postgresql://u:c4nary%zz@h/db", "password in THE_URL has a '%'"},
    {"postgresql://u:%g0c4nary@h/db", "password in THE_URL has a '%'"},
    {"postgresql://u:%00c4nary@h/db", "password in THE_URL has a %00"},
    {"postgresql://c4nary%@h/db", "user name in THE_URL has a '%'"},
    {"postgresql://u:p@c4nary%x/db", "host in THE_URL has a '%'"},
    {"postgresql://u:p@h:c4nary%x/db", "port in THE_URL has a '%'"},
    {"postgresql://u:p@h/c4nary%x", "database name in THE_URL has a '%'"},
    {"postgresql://u:p@h/db?c4nary%x=1", "name of a parameter in THE_URL has a '%'"},
    {"postgresql://u:p@h/db?password=c4nary%x", "value of a parameter in THE_URL has a '%'"},
    {"postgresql://u:p@c4nary@h/db", "more than one '@'"},
    {"postgresql://u:p@h:c4nary@h/db", "more than one '@'"},
    {"postgresql://u:p/c4nary@h/db", "'@' behind the host"},
    {"postgresql://u:12/c4nary@h/db", "'@' behind the host"},
    {"postgresql://u:p@1/c4nary@h/db", "'@' behind the host"},
    {"postgresql://u:12/x?c4nary@h/db", "parameter without '='"},
    {"postgresql://u:p@h/db?c4nary", "parameter without '='"},
    {"postgresql://u:p@h/db?a=b&&c=c4nary", "parameter without '='"},
    {"postgresql://u:p@h/db?password=x&c4nary", "parameter without '='"},
    {"postgresql://u:p@h/db?password=c4nary=x", "second '='"},
    {"postgresql://u:p@h/db?ssl=c4nary", "ssl=true"},
    {"postgresql://u:p@[c4nary", "without the ']'"},
    {"postgresql://u:p@[c4nary/db]", "without the ']'"},
    {"postgresql://u:p@[]/db", "empty brackets"},
    {"postgresql://u:p@[::1]c4nary", "behind the ']'"},
    {"postgresql://u:c4nary\n@h/db", "control character"},
    {"postgresql://u:p@h/c4nary\n", "control character"},
    {"postgresql://u:c4nary\x7f@h/db", "control character"},
};

static void malformed_urls_are_refused_without_a_piece_of_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char message[1100];
        spell(bad[i].url, message, sizeof message);
        if (message[0] != '!' || strstr(message, bad[i].says) == NULL) {
            print_error("%s: %s\n", bad[i].url, message);
        }
        assert_int_equal(message[0], '!');
        assert_non_null(strstr(message, bad[i].says));
        assert_null(strstr(message, "c4nary"));
    }
}

/* Cutting a URL anywhere, and breaking any of its characters, must neither crash
 * nor tell the password. */
static void no_damage_to_a_url_tells_its_password(void **state)
{
    static const char whole[] = "postgresql://user:c4nary@[::1]:5432,h2:1/db?sslmode=require&a=%41";
    static const char breakers[] = "@/?&=%[]:,\n#";
    (void)state;
    for (size_t i = 0; i < sizeof whole - 1; i++) {
        char text[sizeof whole], message[1100];
        for (size_t j = 0; j < sizeof breakers; j++) {
            memcpy(text, whole, sizeof whole);
            text[i] = breakers[j]; /* the last one is NUL: cut */
            spell(text, message, sizeof message);
            if (message[0] == '!') {
                assert_null(strstr(message, "c4nary"));
            }
        }
    }
}

static void a_key_that_may_be_a_piece_of_a_secret_is_not_named(void **state)
{
    static const struct {
        const char *url;
        bool may_name;
    } cases[] = {
        {"postgresql://u:p@h/db?foo=1", true},
        {"postgresql://u:1/x?foo=d@h", false},
        {"postgresql://h/db?password=x&foo=1", false},
        {"postgresql://h/db?sslpassword=x&foo=1", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tp_url url = {0};
        struct tp_error err;
        assert_int_equal(tp__url_parse(&url, cases[i].url, "x", &err), TP_OK);
        const struct tp_url_param *last = &url.params[url.count - 1];
        assert_string_equal(last->key, "foo");
        assert_true(last->may_name == cases[i].may_name);
        tp__url_deinit(&url);
    }
}

static void placeholders_are_known(void **state)
{
    static const struct {
        const char *text;
        bool is;
    } cases[] = {
        {"your_password", true},
        {"<your_password>", true},
        {"postgresql://your_user:p@h/db", true},
        {"postgresql://u:your_password@h/db", true},
        {"postgresql://u:p@db.your_domain.com/db", true},
        {"postgresql://u:p@h/your_db", true},
        {"colour_blue", false},
        {"postgresql://u:p@h/savour_db", false},
        {"yours", false},
        {"", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(tp__is_placeholder(cases[i].text) == cases[i].is);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_give_their_parts),
        cmocka_unit_test(libpq_reads_them_alike),
        cmocka_unit_test(malformed_urls_are_refused_without_a_piece_of_them),
        cmocka_unit_test(no_damage_to_a_url_tells_its_password),
        cmocka_unit_test(a_key_that_may_be_a_piece_of_a_secret_is_not_named),
        cmocka_unit_test(placeholders_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
