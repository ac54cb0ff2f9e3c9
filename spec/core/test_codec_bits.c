/* codec_bits.c: bit strings, uuid and tsvector. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "codec_values.h"

static const struct codec bit = {"\"bit\"", 1560, tp__bit_format, tp__bit_parse};
static const struct codec varbit = {"varbit", 1562, tp__bit_format, tp__bit_parse};
static const struct codec uuid = {"uuid", 2950, tp__uuid_format, tp__uuid_parse};
static const struct codec tsvector = {"tsvector", 3614, tp__tsvector_format, NULL};

/* ------------------------------------------------------------------- cases */

static void bits_are_written_and_read_from_the_highest_on(void **state)
{
    (void)state;
    codec_case_both_ways(&bit, "00000000", "");
    codec_case_both_ways(&bit, "00000001 80", "1");
    codec_case_both_ways(&bit, "00000003 a0", "101");
    codec_case_both_ways(&bit, "00000008 0f", "00001111");
    codec_case_both_ways(&bit, "00000009 0f80", "000011111");
    codec_case_both_ways(&bit, "00000010 1234", "0001001000110100");
}

static void bits_that_are_no_bits_are_refused(void **state)
{
    (void)state;
    static const char *const bytes[] = {"",         "000000",      "00000001", "00000001 8000",
                                        "00000008", "00000009 ff", "ffffffff", "80000000"};
    static const char *const texts[] = {"2", "01 ", " 01", "0b1", "x1", "B101", "0101\n", "-1"};
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        codec_case_writes(&bit, bytes[i], NULL);
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        codec_refuses(&bit, texts[i]);
    }
}

#define UUID_HEX "a0eebc99 9c0b 4ef8 bb6d 6bb9bd380a11"
#define UUID_TEXT "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

static void a_uuid_is_written_in_five_groups(void **state)
{
    (void)state;
    codec_case_both_ways(&uuid, UUID_HEX, UUID_TEXT);
    codec_case_both_ways(&uuid, "00000000000000000000000000000000",
                         "00000000-0000-0000-0000-000000000000");
    codec_case_both_ways(&uuid, "ffffffffffffffffffffffffffffffff",
                         "ffffffff-ffff-ffff-ffff-ffffffffffff");
}

static void a_uuid_is_read_in_its_other_forms(void **state)
{
    (void)state;
    codec_case_reads(&uuid, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", UUID_HEX);
    codec_case_reads(&uuid, "{" UUID_TEXT "}", UUID_HEX);
    codec_case_reads(&uuid, "a0eebc999c0b4ef8bb6d6bb9bd380a11", UUID_HEX);
    codec_case_reads(&uuid, "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", UUID_HEX);
    codec_case_reads(&uuid, "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}", UUID_HEX);
}

static void what_is_no_uuid_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "{}",
                                        "{" UUID_TEXT,
                                        UUID_TEXT "}",
                                        UUID_TEXT "-",
                                        UUID_TEXT "0",
                                        " " UUID_TEXT,
                                        UUID_TEXT " ",
                                        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
                                        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380ag",
                                        "a0-eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                                        "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
                                        "-a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        codec_refuses(&uuid, texts[i]);
    }
    codec_case_writes(&uuid, "a0eebc999c0b4ef8bb6d6bb9bd380a", NULL);
    codec_case_writes(&uuid, UUID_HEX " 00", NULL);
    codec_case_writes(&uuid, "", NULL);
}

static void lexemes_are_quoted(void **state)
{
    (void)state;
    codec_case_writes(&tsvector, "00000000", "");
    codec_case_writes(&tsvector, "00000001 6100 0000", "'a'");
    codec_case_writes(&tsvector, "00000002 6100 0000 626300 0000", "'a' 'bc'");
    codec_case_writes(&tsvector, "00000001 612700 0000", "'a'''");
    codec_case_writes(&tsvector, "00000001 275c6200 0000", "'''\\\\b'");
    codec_case_writes(&tsvector, "00000001 20c3a400 0000", "' \xC3\xA4'");
}

static void positions_follow_with_their_weights(void **state)
{
    (void)state;
    codec_case_writes(&tsvector, "00000001 6100 0001 0001", "'a':1");
    codec_case_writes(&tsvector, "00000001 6100 0004 c001 8002 4003 3fff", "'a':1A,2B,3C,16383");
    codec_case_writes(&tsvector, "00000002 6100 0001 0005 6200 0001 ffff", "'a':5 'b':16383A");
}

static void a_tsvector_that_is_cut_off_is_refused(void **state)
{
    (void)state;
    static const char *const bytes[] = {"",
                                        "000000",
                                        "00000001",
                                        "00000001 61",
                                        "00000001 6100",
                                        "00000001 6100 00",
                                        "00000001 6100 0001",
                                        "00000001 6100 0001 00",
                                        "00000001 6100 0000 00",
                                        "00000002 6100 0000",
                                        "00000000 6100 0000",
                                        "ffffffff 6100 0000"};
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        codec_case_writes(&tsvector, bytes[i], NULL);
    }
}

static void a_buffer_out_of_memory_is_left_alone(void **state)
{
    (void)state;
    static const unsigned char lexeme[] = {0, 0, 0, 1, 'a', 0, 0, 1, 0, 1};
    struct tp_buf out = {.failed = true};
    codec_leaves_a_failed_buffer_alone(&bit, "\0\0\0\1\x80", 5, "1");
    codec_leaves_a_failed_buffer_alone(&uuid, "0123456789abcdef", 16, UUID_TEXT);
    assert_true(tp__tsvector_format(lexeme, sizeof lexeme, &out));
    assert_null(out.data);
}

/* ------------------------------------------------------------------ server */

static void put_random(uint64_t *seed, struct tp_buf *out, size_t len)
{
    while (len-- > 0) {
        tp__buf_putc(out, (char)codec_draw(seed, -128, 127));
    }
}

static void random_uuid(uint64_t *seed, struct tp_buf *out)
{
    put_random(seed, out, 16);
}

static void random_bits(uint64_t *seed, struct tp_buf *out)
{
    char head[4];
    int64_t count = codec_draw(seed, 0, codec_draw(seed, 0, 9) == 0 ? 1000 : 40);
    tp__put32(head, (uint32_t)count);
    tp__buf_append(out, head, sizeof head);
    put_random(seed, out, (size_t)(count + 7) / 8);
    if (count % 8 > 0) { /* what is behind the last bit is zero */
        out->data[out->len - 1] = (char)(out->data[out->len - 1] & 0xFF00 >> count % 8);
    }
}

static void random_uuid_text(uint64_t *seed, struct tp_buf *out)
{
    static const char *const templates[] = {UUID_TEXT, "{" UUID_TEXT "}",
                                            "A0EEBC999C0B4EF8BB6D6BB9BD380A11"};
    tp__buf_puts(out, templates[codec_draw(seed, 0, 2)]);
    codec_spoil(seed, out, "0123456789abcdefABCDEF-{} gG");
}

static void random_bit_text(uint64_t *seed, struct tp_buf *out)
{
    for (int64_t n = codec_draw(seed, 0, 20); n > 0; n--) {
        tp__buf_putc(out, (char)codec_draw(seed, '0', '1'));
    }
    if (codec_draw(seed, 0, 1) == 0) {
        codec_spoil(seed, out, "0012bBxX -");
    }
}

static void bits_and_uuids_are_what_the_server_writes_and_reads(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    codec_compare(conn, &uuid, &seed, random_uuid);
    codec_compare(conn, &bit, &seed, random_bits);
    codec_compare(conn, &varbit, &seed, random_bits);
    PQfinish(conn);
}

static void texts_of_bits_and_uuids_are_read_as_the_server_does(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    assert_in_range(codec_compare_reading(conn, &uuid, &seed, random_uuid_text), 10, 90);
    assert_in_range(codec_compare_reading(conn, &bit, &seed, random_bit_text), 10, 90);
    assert_in_range(codec_compare_reading(conn, &varbit, &seed, random_bit_text), 10, 90);
    PQfinish(conn);
}

/* Lexemes of characters that need quotes, and of others. */
static void put_lexeme(uint64_t *seed, struct tp_buf *out)
{
    static const char *const parts[] = {"'", "\\", " ", ":", "a", "Z", "\xC3\xA4", "\xE2\x82\xAC"};
    for (int64_t n = codec_draw(seed, 1, 6); n > 0; n--) {
        tp__buf_puts(out, parts[codec_draw(seed, 0, 7)]);
    }
    tp__buf_putc(out, '\0');
}

static void random_tsvector(uint64_t *seed, struct tp_buf *out)
{
    char bytes[4];
    int64_t count = codec_draw(seed, 0, 4);
    tp__put32(bytes, (uint32_t)count);
    tp__buf_append(out, bytes, 4);
    for (; count > 0; count--) {
        int64_t positions = codec_draw(seed, 0, 1) * codec_draw(seed, 1, 5), at = 0;
        put_lexeme(seed, out);
        tp__put16(bytes, (uint16_t)positions);
        tp__buf_append(out, bytes, 2);
        for (; positions > 0; positions--) { /* in ascending order, as the server wants them */
            at += codec_draw(seed, 1, 3000);
            tp__put16(bytes, (uint16_t)(at | codec_draw(seed, 0, 3) << 14));
            tp__buf_append(out, bytes, 2);
        }
    }
}

static void tsvectors_are_what_the_server_writes(void **state)
{
    (void)state;
    PGconn *conn = codec_connect();
    uint64_t seed = codec_seed();
    struct tp_buf list = {0}, one = {0};
    for (int i = fake_rounds(20000); i > 0; i--) {
        tp__buf_clear(&one);
        random_tsvector(&seed, &one);
        codec_add(&list, one.data, one.len);
    }
    tp__buf_free(&one);
    codec_compare_values(conn, &tsvector, &seed, &list);
    PQfinish(conn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_written_and_read_from_the_highest_on),
        cmocka_unit_test(bits_that_are_no_bits_are_refused),
        cmocka_unit_test(a_uuid_is_written_in_five_groups),
        cmocka_unit_test(a_uuid_is_read_in_its_other_forms),
        cmocka_unit_test(what_is_no_uuid_is_refused),
        cmocka_unit_test(lexemes_are_quoted),
        cmocka_unit_test(positions_follow_with_their_weights),
        cmocka_unit_test(a_tsvector_that_is_cut_off_is_refused),
        cmocka_unit_test(a_buffer_out_of_memory_is_left_alone),
        cmocka_unit_test(bits_and_uuids_are_what_the_server_writes_and_reads),
        cmocka_unit_test(texts_of_bits_and_uuids_are_read_as_the_server_does),
        cmocka_unit_test(tsvectors_are_what_the_server_writes),
    };
    return cmocka_run_group_tests_name("codec_bits", tests, NULL, NULL);
}
