/* wire.c over a pair of sockets without any server: what it sends, and what it makes of answers
 * in whatever pieces they come (TIDEPOOL_SEED repeats a run). */
#include "wire_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec_case.h"

enum { KEPT = 8 * 1024 /* of a buffer between two exchanges */ };

/* ------------------------------------------------------------------- requests */

static void a_request_is_bind_execute_and_sync(void **state)
{
    (void)state;
    static const char expected[] = "B\0\0\0\57"
                                   "\0tp_1\0"
                                   "\0\4\0\0\0\0\0\1\0\0"
                                   "\0\4\377\377\377\377\0\0\0\3abc\0\0\0\2\0\1\0\0\0\0"
                                   "\0\1\0\1"
                                   "E\0\0\0\t\0\0\0\0\0"
                                   "S\0\0\0\4";
    static const struct tp_param params[] = {
        {NULL, 77, false}, {"abc", 3, false}, {"\0\1", 2, true}, {"", 0, false}};
    struct wire_scene scene;
    struct tp_buf heard = {0};
    wire_open(&scene);
    wire_begin_with(&scene, 4, params);
    assert_int_equal(tp__wire_unsent(&scene.wire), 0);
    wire_hear(&scene, &heard);
    assert_int_equal(heard.len, sizeof expected - 1);
    assert_memory_equal(heard.data, expected, heard.len);
    tp__buf_free(&heard);
    wire_close(&scene);
}

static void rows_are_asked_for_as_text_or_binary(void **state)
{
    (void)state;
    static const char expected[] = "B\0\0\0\17\0x\0\0\0\0\0\0\1\0";
    struct tp_wire_events on = {.other = wire_keep_other, .error = wire_keep_error};
    for (int binary = 0; binary < 2; binary++) {
        struct wire_scene scene;
        struct tp_buf heard = {0};
        wire_open(&scene);
        tp__wire_begin(&scene.wire, scene.ours, &on);
        assert_true(tp__wire_add(&scene.wire, "x", 0, NULL, binary == 1));
        assert_true(tp__wire_sync(&scene.wire));
        wire_hear(&scene, &heard);
        assert_memory_equal(heard.data, expected, sizeof expected - 1);
        assert_int_equal(heard.data[sizeof expected - 1], binary);
        tp__buf_free(&heard);
        wire_close(&scene);
    }
}

/* Nothing is sent before it is worth it, and one Sync ends them all. */
static void many_executions_are_one_exchange(void **state)
{
    (void)state;
    static const struct tp_param param = {"7", 1, false};
    struct wire_scene scene;
    struct tp_buf heard = {0};
    struct tp_wire_events on = {.other = wire_keep_other, .error = wire_keep_error, .ctx = &scene};
    wire_open(&scene);
    tp__wire_begin(&scene.wire, scene.ours, &on);
    for (int i = 0; i < 3; i++)
        assert_true(tp__wire_add(&scene.wire, "tp_1", 1, &param, true));
    size_t waiting = tp__wire_unsent(&scene.wire);
    wire_hear(&scene, &heard);
    assert_int_equal(heard.len, 0);
    tp__wire_send(&scene.wire);
    wire_hear(&scene, &heard);
    assert_int_equal(heard.len, waiting);
    assert_int_equal(tp__wire_unsent(&scene.wire), 0);
    assert_true(tp__wire_add(&scene.wire, "tp_1", 1, &param, true));
    assert_true(tp__wire_sync(&scene.wire));
    wire_hear(&scene, &heard);
    assert_int_equal(heard.len, waiting / 3 * 4 + 5);
    for (int i = 0; i < 4; i++) {
        assert_memory_equal(heard.data + i * (int)(waiting / 3), heard.data, waiting / 3);
        wire_put_message(&scene.stream, '2', "", 0);
        if (i != 2)
            wire_put_rows(&scene.stream, 1);
        wire_put_message(&scene.stream, 'C', "SELECT 5", 9);
    }
    wire_put_message(&scene.stream, 'Z', "I", 1);
    tp__wire_expect(&scene.wire, 2);
    assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
    assert_int_equal(scene.rows, 3);
    assert_int_equal(scene.results, 4);
    tp__buf_free(&heard);
    wire_close(&scene);
}

/* The server may speak before it has read everything. */
static void a_large_request_goes_out_in_pieces_while_answers_come_in(void **state)
{
    (void)state;
    enum { LARGE = 5 * 1000 * 1000 };
    struct wire_scene scene;
    struct tp_buf heard = {0};
    char *data = malloc(LARGE);
    memset(data, 'x', LARGE);
    struct tp_param param = {data, LARGE, false};
    wire_open(&scene);
    wire_begin_with(&scene, 1, &param);
    assert_true(tp__wire_unsent(&scene.wire) > 0);
    wire_put_message(&scene.stream, 'N', "early", 5);
    assert_int_equal(wire_drain_all(&scene), TP_WIRE_WAIT);
    wire_assert_others(&scene, "Nearly|");
    for (int i = 0; tp__wire_unsent(&scene.wire) > 0; i++) {
        assert_true(i < WIRE_STEPS_AT_MOST);
        wire_hear(&scene, &heard);
        assert_int_equal(tp__wire_step(&scene.wire, false), TP_WIRE_WAIT);
    }
    wire_hear(&scene, &heard);
    assert_true(heard.len > LARGE);
    assert_memory_equal(heard.data + heard.len - 5, "S\0\0\0\4", 5);
    wire_put_answer(&scene.stream, 3);
    assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
    wire_assert_answer(&scene, 3);
    assert_true(scene.wire.out.room <= KEPT);
    tp__buf_free(&heard);
    free(data);
    wire_close(&scene);
}

static void a_request_that_is_too_large_is_refused(void **state)
{
    (void)state;
    struct wire_scene scene;
    struct tp_wire_events on = {.other = wire_keep_other, .error = wire_keep_error};
    struct tp_param params[3] = {{"", (size_t)1 << 30, false}, {"", (size_t)1 << 30, false}};
    wire_open(&scene);
    tp__wire_begin(&scene.wire, scene.ours, &on);
    assert_false(tp__wire_add(&scene.wire, "x", 3, params, true));
    assert_int_equal(tp__wire_unsent(&scene.wire), 0);
    wire_begin(&scene); /* it is as good as before */
    wire_put_answer(&scene.stream, 1);
    assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
    wire_assert_answer(&scene, 1);
    wire_close(&scene);
}

/* -------------------------------------------------------------- whole answers */

static void rows_a_result_and_the_end_come_one_after_another(void **state)
{
    (void)state;
    struct wire_scene scene;
    struct tp_row row;
    wire_open(&scene);
    wire_begin(&scene);
    wire_put_answer(&scene.stream, 2);
    assert_int_equal(tp__wire_step(&scene.wire, true), TP_WIRE_WAIT);
    wire_say(&scene, scene.stream.len);
    assert_int_equal(tp__wire_step(&scene.wire, false), TP_WIRE_WAIT); /* nothing is known */
    assert_int_equal(tp__wire_step(&scene.wire, true), TP_WIRE_ROWS);
    assert_true(tp__wire_next_row(&scene.wire, &row));
    assert_int_equal(row.len, 4 + 4 + 4 + 12);
    assert_int_equal(tp__get32(row.cells + 4), 0);
    assert_true(tp__wire_next_row(&scene.wire, &row));
    assert_int_equal(tp__get32(row.cells + 4), 1);
    assert_false(tp__wire_next_row(&scene.wire, &row));
    assert_int_equal(tp__wire_step(&scene.wire, false), TP_WIRE_RESULT);
    assert_string_equal(scene.wire.tag, "SELECT 5");
    assert_false(tp__wire_next_row(&scene.wire, &row));
    assert_int_equal(tp__wire_step(&scene.wire, false), TP_WIRE_DONE);
    assert_false(scene.wire.active);
    wire_close(&scene);
}

static void exchanges_follow_one_another_and_small_ones_keep_their_buffers(void **state)
{
    (void)state;
    static const int sizes[] = {1, 0, 3, 5000, 2, 20};
    struct wire_scene scene;
    wire_open(&scene);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        tp__buf_clear(&scene.stream);
        tp__buf_clear(&scene.cells);
        scene.said = 0;
        scene.rows = scene.results = 0;
        wire_begin(&scene);
        wire_put_answer(&scene.stream, sizes[i]);
        assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
        wire_assert_answer(&scene, sizes[i]);
        assert_int_equal(scene.wire.room, sizes[i] > 1000 ? 0 : KEPT);
    }
    wire_close(&scene);
}

static void the_state_of_the_transaction_is_told(void **state)
{
    (void)state;
    static const char states[] = "ITE";
    for (int i = 0; i < 3; i++) {
        struct wire_scene scene;
        wire_open(&scene);
        wire_begin(&scene);
        wire_put_message(&scene.stream, '2', "", 0);
        wire_put_message(&scene.stream, 'C', "INSERT 0 1", 11);
        wire_put_message(&scene.stream, 'Z', &states[i], 1);
        assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
        assert_int_equal(scene.wire.transaction, states[i]);
        assert_string_equal(scene.tag, "INSERT 0 1");
        wire_close(&scene);
    }
}

static void rows_may_be_larger_than_any_buffer(void **state)
{
    (void)state;
    static const long lengths[] = {3, 3000000, 7, 128 * 1024, 1, 200000, 8192 - 19, 0, 8192, 70000};
    enum { LENGTHS = sizeof lengths / sizeof lengths[0] };
    struct wire_scene scene;
    wire_open(&scene);
    wire_begin(&scene);
    wire_put_message(&scene.stream, '2', "", 0);
    for (int i = 0; i < 2 * LENGTHS; i++)
        wire_put_row(&scene.stream, i, lengths[i % LENGTHS]);
    wire_put_end(&scene.stream);
    assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
    wire_assert_cells(&scene, 2 * LENGTHS, lengths, LENGTHS);
    assert_int_equal(scene.wire.room, 0);
    wire_close(&scene);
}

static void rows_that_are_not_taken_are_dropped(void **state)
{
    (void)state;
    struct wire_scene scene;
    struct tp_row row;
    wire_open(&scene);
    wire_begin(&scene);
    wire_put_answer(&scene.stream, 3000);
    enum tp_wire_got got;
    int steps = 0, results = 0;
    do {
        wire_say(&scene, scene.stream.len);
        got = tp__wire_step(&scene.wire, true);
        results += got == TP_WIRE_RESULT;
        if (got == TP_WIRE_ROWS && steps++ % 2 == 0)
            assert_true(tp__wire_next_row(&scene.wire, &row));
        assert_true(steps < WIRE_STEPS_AT_MOST);
    } while (got != TP_WIRE_DONE && got != TP_WIRE_LOST);
    assert_int_equal(got, TP_WIRE_DONE);
    assert_int_equal(results, 1);
    assert_true(steps > 2);
    wire_close(&scene);
}

/* ----------------------------------------------------------- beside the rows */

static void an_error_ends_the_statement_and_not_the_connection(void **state)
{
    (void)state;
    for (int rows = 0; rows <= 700; rows += 700) {
        struct wire_scene scene;
        wire_open(&scene);
        wire_begin(&scene);
        if (rows > 0)
            wire_put_message(&scene.stream, '2', "", 0);
        wire_put_rows(&scene.stream, rows);
        wire_put_message(&scene.stream, 'E', "C22012", 6);
        wire_put_message(&scene.stream, 'Z', "E", 1);
        assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
        wire_assert_cells(&scene, rows, wire_mixed, WIRE_MIXED);
        assert_int_equal(scene.results, 0);
        assert_int_equal(scene.wire.transaction, 'E');
        wire_assert_others(&scene, "EC22012|");
        wire_close(&scene);
    }
}

static void other_messages_are_handed_on_from_wherever_they_are(void **state)
{
    (void)state;
    struct wire_scene scene;
    struct tp_buf expected = {0};
    wire_open(&scene);
    wire_begin(&scene);
    wire_put_message(&scene.stream, 'N', "first", 5);
    wire_put_message(&scene.stream, '2', "", 0);
    wire_put_message(&scene.stream, 'S', "a\0b", 4);
    tp__buf_append(&expected, "Nfirst|Sa\0b\0|", 13);
    for (int i = 0; i < 600; i++) {
        char body[64];
        int len = i % 7 == 0 ? snprintf(body, sizeof body, "message %d", i) : 0;
        wire_put_message(&scene.stream, "NSA"[i % 3], body, (size_t)len);
        tp__buf_putc(&expected, "NSA"[i % 3]);
        tp__buf_append(&expected, body, (size_t)len);
        tp__buf_putc(&expected, '|');
        wire_put_row(&scene.stream, i, wire_mixed[i % WIRE_MIXED]);
    }
    wire_put_message(&scene.stream, 'N', "behind the rows", 15);
    wire_put_message(&scene.stream, 'C', "SELECT 5", 9);
    wire_put_message(&scene.stream, 'S', "c\0d", 4);
    wire_put_message(&scene.stream, 'Z', "I", 1);
    wire_put_message(&scene.stream, 'A', "\0\0\0\7x\0y", 8); /* unasked, with the end */
    wire_put_message(&scene.stream, 'N', "last", 4);
    tp__buf_append(&expected, "Nbehind the rows|Sc\0d\0|A\0\0\0\7x\0y\0|Nlast|", 39);
    assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
    wire_assert_answer(&scene, 600);
    assert_int_equal(scene.others.len, expected.len);
    assert_memory_equal(scene.others.data, expected.data, expected.len);
    tp__buf_free(&expected);
    wire_close(&scene);
}

/* libpq is next on this socket, and would not see what was read here. The statement has
 * succeeded for all that. */
static void more_than_an_answer_is_the_end_of_the_connection_but_not_of_the_answer(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct wire_scene scene;
        wire_open(&scene);
        wire_begin(&scene);
        wire_put_answer(&scene.stream, 4);
        if (kind == 0)
            wire_put_message(&scene.stream, 'E', "VFATAL\0C57P01\0", 15); /* told to end */
        else if (kind == 1)
            tp__buf_append(&scene.stream, "N\0\0\0\50half", 9);
        else
            tp__buf_append(&scene.stream, "N\0\0", 3);
        assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
        wire_assert_cells(&scene, 4, wire_mixed, WIRE_MIXED);
        assert_int_equal(scene.results, 1);
        assert_false(scene.wire.active);
        assert_non_null(scene.wire.why);
        wire_assert_others(&scene, "");
        wire_close(&scene);
    }
}

/* -------------------------------------------------------------------- pieces */

static void an_answer_may_be_cut_at_every_byte(void **state)
{
    (void)state;
    static const int sizes[] = {3, 120}; /* the second fills the first buffer */
    for (int i = 0; i < 2; i++) {
        struct tp_buf stream = {0};
        wire_put_message(&stream, '2', "", 0);
        wire_put_message(&stream, 'N', "x", 1);
        wire_put_rows(&stream, sizes[i]);
        wire_put_message(&stream, 'S', "y", 1);
        wire_put_end(&stream);
        for (size_t cut = 0; cut <= stream.len; cut++) {
            struct wire_scene scene;
            wire_open(&scene);
            wire_begin(&scene);
            tp__buf_append(&scene.stream, stream.data, stream.len);
            wire_say(&scene, cut);
            assert_int_equal(wire_drain(&scene), cut < stream.len ? TP_WIRE_WAIT : TP_WIRE_DONE);
            if (cut < stream.len)
                assert_int_equal(wire_drain_all(&scene), TP_WIRE_DONE);
            wire_assert_answer(&scene, sizes[i]);
            wire_assert_others(&scene, "Nx|Sy|");
            wire_close(&scene);
        }
        tp__buf_free(&stream);
    }
}

static void an_answer_may_come_in_any_pieces(void **state)
{
    (void)state;
    uint64_t seed = codec_seed();
    struct wire_scene scene;
    wire_open(&scene);
    for (int round = fake_rounds(60); round > 0; round--) {
        int rows = (int)wire_draw(&seed, 1200);
        size_t at_once = (size_t)1 << wire_draw(&seed, 17);
        tp__buf_clear(&scene.stream);
        tp__buf_clear(&scene.cells);
        scene.said = 0;
        scene.rows = scene.results = 0;
        wire_put_answer(&scene.stream, rows);
        wire_begin(&scene);
        enum tp_wire_got got = TP_WIRE_WAIT;
        for (size_t until = 0; got == TP_WIRE_WAIT; until += 1 + wire_draw(&seed, at_once)) {
            wire_say(&scene, until < scene.stream.len ? until : scene.stream.len);
            got = wire_drain(&scene);
        }
        assert_int_equal(got, TP_WIRE_DONE);
        wire_assert_answer(&scene, rows);
        struct tp_buf heard = {0};
        wire_hear(&scene, &heard);
        tp__buf_free(&heard);
    }
    wire_close(&scene);
}

static void an_answer_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct wire_scene scene;
    wire_open(&scene);
    wire_begin(&scene);
    wire_put_answer(&scene.stream, 40);
    while (scene.said < scene.stream.len) {
        assert_int_equal(wire_drain(&scene), TP_WIRE_WAIT);
        wire_say(&scene, scene.said + 1);
    }
    assert_int_equal(wire_drain(&scene), TP_WIRE_DONE);
    wire_assert_answer(&scene, 40);
    wire_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_bind_execute_and_sync),
        cmocka_unit_test(rows_are_asked_for_as_text_or_binary),
        cmocka_unit_test(a_large_request_goes_out_in_pieces_while_answers_come_in),
        cmocka_unit_test(many_executions_are_one_exchange),
        cmocka_unit_test(a_request_that_is_too_large_is_refused),
        cmocka_unit_test(rows_a_result_and_the_end_come_one_after_another),
        cmocka_unit_test(exchanges_follow_one_another_and_small_ones_keep_their_buffers),
        cmocka_unit_test(the_state_of_the_transaction_is_told),
        cmocka_unit_test(rows_may_be_larger_than_any_buffer),
        cmocka_unit_test(rows_that_are_not_taken_are_dropped),
        cmocka_unit_test(an_error_ends_the_statement_and_not_the_connection),
        cmocka_unit_test(other_messages_are_handed_on_from_wherever_they_are),
        cmocka_unit_test(more_than_an_answer_is_the_end_of_the_connection_but_not_of_the_answer),
        cmocka_unit_test(an_answer_may_be_cut_at_every_byte),
        cmocka_unit_test(an_answer_may_come_in_any_pieces),
        cmocka_unit_test(an_answer_may_come_byte_by_byte),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
