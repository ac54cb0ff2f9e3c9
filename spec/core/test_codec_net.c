/* codec_net.c: inet, cidr, macaddr and macaddr8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "codec_values.h"

static const struct codec inet = {"inet", 869, tp__inet_format, tp__inet_parse};
static const struct codec cidr = {"cidr", 650, tp__inet_format, tp__cidr_parse};
static const struct codec macaddr = {"macaddr", 829, tp__macaddr_format, tp__macaddr_parse};
static const struct codec macaddr8 = {"macaddr8", 774, tp__macaddr_format, tp__macaddr8_parse};

/* ------------------------------------------------------------ inet and cidr */

static void only_a_cidr_has_the_netmask_of_one_address(void **state)
{
    (void)state;
    codec_case_both_ways(&inet, "02 20 00 04 01020304", "1.2.3.4");
    codec_case_both_ways(&inet, "02 18 00 04 01020304", "1.2.3.4/24");
    codec_case_both_ways(&inet, "02 00 00 04 00000000", "0.0.0.0/0");
    codec_case_both_ways(&cidr, "02 20 01 04 01020304", "1.2.3.4/32");
    codec_case_both_ways(&cidr, "02 18 01 04 ffff0100", "255.255.1.0/24");
    codec_case_both_ways(&inet, "03 80 00 10 20010db8000000000000000000000001", "2001:db8::1");
    codec_case_both_ways(&inet, "03 40 00 10 20010db8000000000000000000000001", "2001:db8::1/64");
    codec_case_both_ways(&cidr, "03 80 01 10 20010db8000000000000000000000001", "2001:db8::1/128");
    codec_case_both_ways(&cidr, "03 20 01 10 20010db8000000000000000000000000", "2001:db8::/32");
}

static void two_colons_stand_for_the_first_of_the_longest_runs_of_zeros(void **state)
{
    (void)state;
    codec_case_both_ways(&inet, "03800010 00000000000000000000000000000000", "::");
    codec_case_both_ways(&inet, "03800010 00000000000000000000000000000001", "::1");
    codec_case_both_ways(&inet, "03800010 00010000000000000000000000000000", "1::");
    codec_case_both_ways(&inet, "03800010 00010000000000020000000000030004", "1::2:0:0:3:4");
    codec_case_both_ways(&inet, "03800010 00010000000000020000000000000003", "1:0:0:2::3");
    codec_case_both_ways(&inet, "03800010 00010000000200000000000000000003", "1:0:2::3");
    codec_case_both_ways(&inet, "03800010 0001000200030004000500060007abcd", "1:2:3:4:5:6:7:abcd");
    codec_case_both_ways(&inet, "03800010 00010002000300040005000600070000", "1:2:3:4:5:6:7:0");
    codec_case_both_ways(&inet, "03800010 00000002000300040005000600070008", "0:2:3:4:5:6:7:8");
    codec_case_both_ways(&inet, "03800010 00000000000300040005000600070008", "::3:4:5:6:7:8");
    codec_case_both_ways(&inet, "03800010 00010002000300040005000600000000", "1:2:3:4:5:6::");
}

static void some_addresses_end_like_those_of_ipv4(void **state)
{
    (void)state;
    codec_case_both_ways(&inet, "03800010 00000000000000000000ffff01020304", "::ffff:1.2.3.4");
    codec_case_both_ways(&inet, "03600010 00000000000000000000ffff01020304", "::ffff:1.2.3.4/96");
    codec_case_both_ways(&inet, "03800010 000000000000000000000000ff020304", "::255.2.3.4");
    codec_case_both_ways(&inet, "03800010 00000000000000000000fffe01020304", "::fffe:102:304");
    codec_case_both_ways(&inet, "03800010 00000000000000000000000000000304", "::304");
    codec_case_both_ways(&inet, "03800010 00000000000000000000ffff00000000", "::ffff:0.0.0.0");
    codec_case_both_ways(&inet, "03800010 00010000000000000000ffff01020304", "1::ffff:102:304");
}

static void addresses_are_read_in_their_other_forms(void **state)
{
    (void)state;
    codec_case_reads(&inet, "1.2.3.4/32", "02200004 01020304");
    codec_case_reads(&cidr, "1.2.3.4", "02200104 01020304");
    codec_case_reads(&cidr, "2001:DB8::", "03800110 20010db8000000000000000000000000");
    codec_case_reads(&inet, "2001:0DB8:0:0:0:0:0:00aF",
                     "03800010 20010db80000000000000000000000af");
    codec_case_reads(&inet, "1:2::7:8", "03800010 00010002000000000000000000070008");
    codec_case_reads(&inet, "1:2:3:4:5:6:7::", "03800010 00010002000300040005000600070000");
    codec_case_reads(&inet, "1:2:3:4:5:6:7.8.9.10", "03800010 0001000200030004000500060708090a");
    codec_case_reads(&inet, "64:ff9b::1.2.3.4", "03800010 0064ff9b000000000000000001020304");
    codec_case_reads(&inet, "::1/0", "03000010 00000000000000000000000000000001");
}

static void what_is_no_whole_address_is_left_to_the_server(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        ".",
                                        "1",
                                        "10.1",
                                        "10/8",
                                        "1.2.3",
                                        "1.2.3.",
                                        ".1.2.3",
                                        "1.2.3.4.5",
                                        "1.2.3.256",
                                        "1.2.3.1000",
                                        "1.2.3.04",
                                        "1.2.3.-4",
                                        "1.2.3.4/",
                                        "1.2.3.4/33",
                                        "1.2.3.4/08",
                                        "1.2.3.4/255.0.0.0",
                                        "1.2.3.4/8/8",
                                        " 1.2.3.4",
                                        "1.2.3.4 ",
                                        "localhost",
                                        ":",
                                        ":::",
                                        "1::2::3",
                                        ":1:2:3:4:5:6:7",
                                        "1:2:3:4:5:6:7:",
                                        "1:2:3:4:5:6:7",
                                        "1:2:3:4:5:6:7:8:9",
                                        "1:2:3:4:5:6:7:8::",
                                        "::1:2:3:4:5:6:7:8",
                                        "1:2:3:4::5:6:7:8",
                                        "::12345",
                                        "::g",
                                        "::1/129",
                                        "::1%eth0",
                                        "[::1]",
                                        "::1.2.3",
                                        "::1.2.3.4.5",
                                        "1.2.3.4::",
                                        "::1.2.3.4:5",
                                        "1:2:3:4:5:6:7:1.2.3.4"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        codec_refuses(&inet, texts[i]);
        codec_refuses(&cidr, texts[i]);
    }
}

static void a_network_has_no_bits_behind_its_netmask(void **state)
{
    (void)state;
    codec_case_both_ways(&cidr, "02 09 01 04 0a800000", "10.128.0.0/9");
    codec_refuses(&cidr, "10.129.0.0/9");
    codec_refuses(&cidr, "10.0.0.1/31");
    codec_refuses(&cidr, "1.2.3.4/0");
    codec_refuses(&cidr, "2001:db8::1/64");
    codec_case_writes(&cidr, "02 08 01 04 0a010000", NULL);
}

static void bytes_that_are_no_address_are_refused(void **state)
{
    (void)state;
    static const char *const bytes[] = {"",
                                        "022000",
                                        "02200004",
                                        "02200004 010203",
                                        "02200004 0102030405",
                                        "02210004 01020304",
                                        "02200204 01020304",
                                        "03200004 01020304",
                                        "0a200004 01020304",
                                        "02200005 0102030405",
                                        "02800010 00000000000000000000000000000001",
                                        "03810010 00000000000000000000000000000001",
                                        "03800010 000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        codec_case_writes(&inet, bytes[i], NULL);
    }
}

/* ------------------------------------------------------------ hardware */

static void hardware_addresses_have_six_or_eight_bytes(void **state)
{
    (void)state;
    codec_case_both_ways(&macaddr, "08002b0102ff", "08:00:2b:01:02:ff");
    codec_case_both_ways(&macaddr8, "08002b0102030405", "08:00:2b:01:02:03:04:05");
    codec_case_writes(&macaddr, "", NULL);
    codec_case_writes(&macaddr, "08002b0102", NULL);
    codec_case_writes(&macaddr, "08002b01020304", NULL);
    codec_case_writes(&macaddr, "08002b010203040506", NULL);
}

static void hardware_addresses_are_read_in_their_other_forms(void **state)
{
    (void)state;
    static const char *const six[] = {"08:00:2B:01:02:03", "08-00-2b-01-02-03", "08002b:010203",
                                      "08002b-010203",     "0800.2b01.0203",    "0800-2b01-0203",
                                      "08002b010203"};
    static const char *const eight[] = {"08-00-2B-01-02-03-04-05", "08002b01:02030405",
                                        "0800.2b01.0203.0405", "08002b0102030405"};
    for (size_t i = 0; i < sizeof six / sizeof six[0]; i++) {
        codec_case_reads(&macaddr, six[i], "08002b010203");
        codec_refuses(&macaddr8, six[i]);
    }
    for (size_t i = 0; i < sizeof eight / sizeof eight[0]; i++) {
        codec_case_reads(&macaddr8, eight[i], "08002b0102030405");
        codec_refuses(&macaddr, eight[i]);
    }
}

static void what_is_no_hardware_address_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "08:00:2b:01:02",
                                        "08:00:2b:01:02:",
                                        "08:00:2b:01:02:0",
                                        "08:00:2b:01:02:03:",
                                        "08:00:2b:01:02-03",
                                        "08:00:2b:01:0203",
                                        "08:00:2b:01:02:0g",
                                        "0:0:2b:1:2:3",
                                        " 08:00:2b:01:02:03",
                                        "08:00:2b:01:02:03 ",
                                        "08.00.2b.01.02.03",
                                        "0800:2b01:0203",
                                        "08002b01:0203",
                                        "08002b0102:03",
                                        "08 00 2b 01 02 03"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        codec_refuses(&macaddr, texts[i]);
        codec_refuses(&macaddr8, texts[i]);
    }
}

static void a_buffer_out_of_memory_is_left_alone(void **state)
{
    (void)state;
    codec_leaves_a_failed_buffer_alone(&inet, "\2\40\0\4\1\2\3\4", 8, "1.2.3.4");
    codec_leaves_a_failed_buffer_alone(&cidr, "\2\40\1\4\1\2\3\4", 8, "1.2.3.4/32");
    codec_leaves_a_failed_buffer_alone(&macaddr, "abcdef", 6, "08:00:2b:01:02:03");
    codec_leaves_a_failed_buffer_alone(&macaddr8, "abcdefgh", 8, "08:00:2b:01:02:03:04:05");
}

/* ------------------------------------------------------------------ server */

static void random_mac(uint64_t *seed, struct tp_buf *out)
{
    for (int i = 0; i < 6; i++) {
        tp__buf_putc(out, (char)codec_draw(seed, -128, 127));
    }
}

static void random_mac8(uint64_t *seed, struct tp_buf *out)
{
    random_mac(seed, out);
    tp__buf_putc(out, (char)codec_draw(seed, -128, 127));
    tp__buf_putc(out, (char)codec_draw(seed, -128, 127));
}

/* Words that are often 0 or 0xFFFF, so that there are runs of zeros everywhere. */
static void fill(uint64_t *seed, unsigned char bytes[16])
{
    int64_t of_zeros = codec_draw(seed, 0, 8);
    for (size_t i = 0; i < 16; i += 2) {
        int64_t word = codec_draw(seed, 0, codec_draw(seed, 0, 1) ? 0xFFFF : 0x1FF);
        if (codec_draw(seed, 0, 7) < of_zeros) {
            word = 0;
        } else if (codec_draw(seed, 0, 7) == 0) {
            word = 0xFFFF;
        }
        tp__put16((char *)bytes + i, (uint16_t)word);
    }
}

static void mask(unsigned char *bytes, size_t bits)
{
    for (size_t i = bits; i < 128; i++) {
        bytes[i / 8] = (unsigned char)(bytes[i / 8] & ~(0x80 >> i % 8));
    }
}

static void put_address(uint64_t *seed, bool is_cidr, struct tp_buf *out)
{
    bool is_ipv6 = codec_draw(seed, 0, 3) > 0;
    size_t len = is_ipv6 ? 16 : 4;
    int64_t most = (int64_t)len * 8;
    int64_t bits = codec_draw(seed, 0, 2) == 0 ? most : codec_draw(seed, 0, most);
    unsigned char bytes[20] = {is_ipv6 ? 3 : 2, (unsigned char)bits, is_cidr, (unsigned char)len};
    fill(seed, bytes + 4);
    if (is_cidr) {
        mask(bytes + 4, (size_t)bits);
    }
    tp__buf_append(out, bytes, 4 + len);
}

static void addresses_are_what_the_server_writes_and_reads(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    struct tp_buf inets = {0}, cidrs = {0}, one = {0};
    for (int i = fake_rounds(20000); i > 0; i--) {
        put_address(&seed, false, &one);
        codec_add(&inets, one.data, one.len);
        tp__buf_clear(&one);
        put_address(&seed, true, &one);
        codec_add(&cidrs, one.data, one.len);
        tp__buf_clear(&one);
    }
    tp__buf_free(&one);
    codec_compare_values(conn, &inet, &seed, &inets);
    codec_compare_values(conn, &cidr, &seed, &cidrs);
    PQfinish(conn);
}

static void hardware_addresses_are_what_the_server_writes_and_reads(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    codec_compare(conn, &macaddr, &seed, random_mac);
    codec_compare(conn, &macaddr8, &seed, random_mac8);
    PQfinish(conn);
}

/* The text of a value with one to three changes. */
static void change(uint64_t *seed, tp_format_fn *format, struct tp_buf *out, const char *alphabet)
{
    unsigned char bytes[20];
    size_t len = out->len;
    memcpy(bytes, out->data, len);
    tp__buf_clear(out);
    assert_true(format(bytes, len, out));
    for (int64_t n = codec_draw(seed, 0, 3); n > 0; n--) {
        codec_spoil(seed, out, alphabet);
    }
}

static const char of_addresses[] = "00123456789:::....//abcdefABCDEFg ";
static const char of_macs[] = "0123456789abcdefABCDEF:-. g";

static void random_inet_text(uint64_t *seed, struct tp_buf *out)
{
    put_address(seed, false, out);
    change(seed, tp__inet_format, out, of_addresses);
}

static void random_cidr_text(uint64_t *seed, struct tp_buf *out)
{
    put_address(seed, true, out);
    change(seed, tp__inet_format, out, of_addresses);
}

static void random_mac_text(uint64_t *seed, struct tp_buf *out)
{
    random_mac(seed, out);
    change(seed, tp__macaddr_format, out, of_macs);
}

static void random_mac8_text(uint64_t *seed, struct tp_buf *out)
{
    random_mac8(seed, out);
    change(seed, tp__macaddr_format, out, of_macs);
}

static void texts_of_addresses_are_read_as_the_server_does(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    assert_in_range(codec_compare_reading(conn, &inet, &seed, random_inet_text), 10, 90);
    assert_in_range(codec_compare_reading(conn, &cidr, &seed, random_cidr_text), 10, 90);
    assert_in_range(codec_compare_reading(conn, &macaddr, &seed, random_mac_text), 10, 90);
    assert_in_range(codec_compare_reading(conn, &macaddr8, &seed, random_mac8_text), 10, 90);
    PQfinish(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_cidr_has_the_netmask_of_one_address),
        cmocka_unit_test(two_colons_stand_for_the_first_of_the_longest_runs_of_zeros),
        cmocka_unit_test(some_addresses_end_like_those_of_ipv4),
        cmocka_unit_test(addresses_are_read_in_their_other_forms),
        cmocka_unit_test(what_is_no_whole_address_is_left_to_the_server),
        cmocka_unit_test(a_network_has_no_bits_behind_its_netmask),
        cmocka_unit_test(bytes_that_are_no_address_are_refused),
        cmocka_unit_test(hardware_addresses_have_six_or_eight_bytes),
        cmocka_unit_test(hardware_addresses_are_read_in_their_other_forms),
        cmocka_unit_test(what_is_no_hardware_address_is_refused),
        cmocka_unit_test(a_buffer_out_of_memory_is_left_alone),
        cmocka_unit_test(addresses_are_what_the_server_writes_and_reads),
        cmocka_unit_test(hardware_addresses_are_what_the_server_writes_and_reads),
        cmocka_unit_test(texts_of_addresses_are_read_as_the_server_does),
    };
    return cmocka_run_group_tests_name("codec_net", tests, NULL, NULL);
}
