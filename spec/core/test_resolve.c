/* resolve.c: which hosts have to be looked up, and the lists that libpq is given. */
#include "fake_pool.h"

#include <poll.h>
#include <string.h>

#include "resolve.h"
#include "wake.h"

/* Resolves and returns how it ended; the lists are copied to `out`. */
struct answer {
    enum tp_status status;
    struct tp_error err;
    char hosts[512], addresses[512], ports[512];
    bool has_ports;
};

static void ask(const char *hosts, const char *ports, struct answer *out)
{
    struct tp_wake *wake = tp__wake_new();
    const char *host_list = NULL, *address_list = NULL, *port_list = NULL;
    struct tp_resolve *resolve = tp__resolve_start(hosts, ports, wake);
    memset(out, 0, sizeof *out);
    assert_non_null(resolve);
    struct pollfd on = {.fd = tp__wake_fd(wake), .events = POLLIN};
    assert_int_equal(poll(&on, 1, 30000), 1);
    assert_true(tp__resolve_done(resolve));
    out->status = tp__resolve_result(resolve, &host_list, &address_list, &port_list, &out->err);
    if (out->status == TP_OK) {
        strncpy(out->hosts, host_list, sizeof out->hosts - 1);
        strncpy(out->addresses, address_list, sizeof out->addresses - 1);
        out->has_ports = port_list != NULL;
        strncpy(out->ports, port_list != NULL ? port_list : "", sizeof out->ports - 1);
    }
    tp__resolve_free(resolve);
    tp__wake_release(wake);
}

static void only_names_have_to_be_looked_up(void **state)
{
    (void)state;
    static const char *const literal[] = {
        "127.0.0.1",     "::1", "fe80::1", "/var/run/postgresql", "@abstract", "", "127.0.0.1,::1",
        "/tmp,10.0.0.1", ",",   "0.0.0.0",
    };
    static const char *const names[] = {
        "localhost", "db.example.com", "127.0.0.1,localhost", "/tmp,db",
        "127.0.0",   "127.0.0.1.2",    "1.2.3.4,5.6.7.8,db",
    };
    for (size_t i = 0; i < sizeof literal / sizeof literal[0]; i++) {
        if (tp__resolve_needed(literal[i]))
            fail_msg("%s is looked up", literal[i]);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!tp__resolve_needed(names[i]))
            fail_msg("%s is not looked up", names[i]);
    }
    assert_false(tp__resolve_needed(NULL));
}

static void a_name_is_given_with_each_of_its_addresses(void **state)
{
    (void)state;
    struct answer answer;
    ask("localhost", "5432", &answer);
    assert_int_equal(answer.status, TP_OK);
    assert_non_null(strstr(answer.addresses, "127.0.0.1"));
    assert_int_equal(strncmp(answer.hosts, "localhost", 9), 0);
    size_t hosts = 1, addresses = 1, ports = 1;
    for (size_t i = 0; i < sizeof answer.hosts; i++) {
        hosts += answer.hosts[i] == ',';
        addresses += answer.addresses[i] == ',';
        ports += answer.ports[i] == ',';
    }
    assert_int_equal(hosts, addresses);
    assert_int_equal(ports, addresses);
}

static void numeric_hosts_and_sockets_are_passed_on_with_their_ports(void **state)
{
    (void)state;
    struct answer answer;
    ask("127.0.0.1,/tmp,::1,@abstract", "1,2,3,4", &answer);
    assert_int_equal(answer.status, TP_OK);
    assert_string_equal(answer.hosts, "127.0.0.1,/tmp,::1,@abstract");
    assert_string_equal(answer.addresses, "127.0.0.1,,::1,");
    assert_string_equal(answer.ports, "1,2,3,4");
}

static void one_port_is_for_all_hosts(void **state)
{
    (void)state;
    struct answer answer;
    ask("127.0.0.1,::1", "6000", &answer);
    assert_string_equal(answer.ports, "6000,6000");
}

static void without_ports_there_is_no_list_of_them(void **state)
{
    (void)state;
    struct answer answer;
    ask("127.0.0.1,::1", NULL, &answer);
    assert_int_equal(answer.status, TP_OK);
    assert_false(answer.has_ports);
    assert_string_equal(answer.addresses, "127.0.0.1,::1");
}

static void each_address_of_a_name_has_the_port_of_that_name(void **state)
{
    (void)state;
    struct answer answer;
    ask("127.0.0.1,localhost,/tmp", "1,2,3", &answer);
    assert_int_equal(answer.status, TP_OK);
    assert_int_equal(strncmp(answer.ports, "1,2", 3), 0);
    assert_string_equal(strrchr(answer.ports, ','), ",3");
    assert_string_equal(strrchr(answer.hosts, ','), ",/tmp");
    assert_null(strstr(answer.ports, "2,1"));
}

static void a_name_that_does_not_exist_is_an_error_with_the_reason(void **state)
{
    (void)state;
    struct answer answer;
    int64_t began = tp_now();
    ask("name.invalid", "5432", &answer);
    print_message("# name.invalid failed after %lld ms\n", (long long)(tp_now() - began) / 1000);
    assert_int_equal(answer.status, TP_ERR_CONNECTION);
    assert_non_null(strstr(answer.err.message, "name.invalid"));
    assert_true(strlen(answer.err.message) > strlen("could not resolve the host name \"\": ") + 12);
}

static void one_host_that_resolves_is_enough(void **state)
{
    (void)state;
    struct answer answer;
    ask("name.invalid,127.0.0.1", "1,2", &answer);
    assert_int_equal(answer.status, TP_OK);
    assert_string_equal(answer.hosts, "127.0.0.1");
    assert_string_equal(answer.ports, "2");
}

static void one_that_is_under_way_can_be_forgotten(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct tp_wake *wake = tp__wake_new();
        struct tp_resolve *resolve = tp__resolve_start("localhost,name.invalid", NULL, wake);
        int fd_is_good = tp__wake_fd(wake);
        assert_non_null(resolve);
        assert_true(fd_is_good >= 0);
        tp__resolve_free(resolve);
        tp__wake_release(wake);
    }
    tp__resolve_free(NULL);
}

static void hosts_that_are_very_long_are_refused_not_overrun(void **state)
{
    (void)state;
    char host[600], ports[100];
    struct answer answer;
    memset(host, 'a', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    memset(ports, '9', sizeof ports - 1);
    ports[sizeof ports - 1] = '\0';
    assert_true(tp__resolve_needed(host));
    ask(host, ports, &answer);
    assert_int_equal(answer.status, TP_ERR_CONNECTION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_names_have_to_be_looked_up),
        cmocka_unit_test(a_name_is_given_with_each_of_its_addresses),
        cmocka_unit_test(numeric_hosts_and_sockets_are_passed_on_with_their_ports),
        cmocka_unit_test(one_port_is_for_all_hosts),
        cmocka_unit_test(without_ports_there_is_no_list_of_them),
        cmocka_unit_test(each_address_of_a_name_has_the_port_of_that_name),
        cmocka_unit_test(a_name_that_does_not_exist_is_an_error_with_the_reason),
        cmocka_unit_test(one_host_that_resolves_is_enough),
        cmocka_unit_test(one_that_is_under_way_can_be_forgotten),
        cmocka_unit_test(hosts_that_are_very_long_are_refused_not_overrun),
    };
    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
