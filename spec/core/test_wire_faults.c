/* wire.c and what no server should say: streams that break the protocol, end too early or come
 * from somebody else (TIDEPOOL_SEED repeats a run); and what errors say. */
#include "wire_scene.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec_case.h"

/* -------------------------------------------------------------------- garbage */

/* The stream has rows before and behind the message. */
static void expect_broken_row(const char *body, size_t len)
{
    struct wire_scene scene;
    wire_open(&scene);
    wire_begin(&scene);
    wire_put_message(&scene.stream, '2', "", 0);
    wire_put_rows(&scene.stream, 300);
    wire_put_message(&scene.stream, 'D', body, len);
    wire_put_rows(&scene.stream, 300);
    wire_put_end(&scene.stream);
    assert_int_equal(wire_drain_all(&scene), TP_WIRE_LOST);
    wire_assert_cells(&scene, 300, wire_mixed, WIRE_MIXED);
    wire_assert_lost(&scene, "breaks the protocol");
    wire_close(&scene);
}

static void a_row_that_breaks_the_protocol_is_none(void **state)
{
    (void)state;
    expect_broken_row("", 0);
    expect_broken_row("\0", 1);
    expect_broken_row("\0\1\0\0\0\0", 6);                  /* one column */
    expect_broken_row("\0\2\0\0\0\0", 6);                  /* cut off */
    expect_broken_row("\0\2\0\0\0\0\0\0\0", 9);            /* in a length */
    expect_broken_row("\0\2\0\0\0\0\0\0\0\1", 10);         /* a cell is longer */
    expect_broken_row("\0\2\0\0\0\0\0\0\0\0x", 11);        /* a byte too many */
    expect_broken_row("\0\3\0\0\0\0\0\0\0\0\0\0\0\0", 14); /* three */
    expect_broken_row("\377\377\0\0\0\0\0\0\0\0", 10);     /* -1 */
    expect_broken_row("\0\2\377\377\377\376\0\0\0\0", 10); /* a length of -2 */
    expect_broken_row("\0\2\177\377\377\377\0\0\0\0", 10);
}

static void expect_broken(const char *bytes, size_t len, bool parts)
{
    struct wire_scene scene;
    wire_open(&scene);
    wire_begin(&scene);
    wire_put_message(&scene.stream, '2', "", 0);
    wire_put_rows(&scene.stream, 20);
    if (parts) {
        wire_say(&scene, scene.stream.len);
        tp__buf_putc(&scene.stream, bytes[0]);
        assert_int_equal(wire_drain_all(&scene), TP_WIRE_WAIT);
        bytes++;
        len--;
    }
    tp__buf_append(&scene.stream, bytes, len);
    wire_put_end(&scene.stream);
    assert_int_equal(wire_drain_all(&scene), TP_WIRE_LOST);
    wire_assert_cells(&scene, 20, wire_mixed, WIRE_MIXED);
    wire_assert_lost(&scene, "breaks the protocol");
    wire_close(&scene);
}

static void what_is_no_message_breaks_the_protocol(void **state)
{
    (void)state;
    static const char types[] = "DNCEZ";
    for (int i = 0; i < 10; i++) {
        char bytes[5] = {types[i / 2], 0, 0, 0, 0};
        expect_broken(bytes, 5, i % 2 == 1);
        bytes[4] = 3;
        expect_broken(bytes, 5, i % 2 == 1);
        memcpy(bytes + 1, "\377\377\377\377", 4);
        expect_broken(bytes, 5, i % 2 == 1);
        memcpy(bytes + 1, "\200\0\0\0", 4);
        expect_broken(bytes, 5, i % 2 == 1);
    }
    expect_broken("C\0\1\0\0", 5, false); /* a tag of 64 KB */
    expect_broken("C\0\0\0\4", 5, false); /* without an end */
    expect_broken("C\0\0\0\6ab", 7, false);
    expect_broken("Z\0\0\0\4", 5, false); /* ready for what? */
    expect_broken("Z\0\0\0\6II", 7, false);
    expect_broken("Z\0\0\0\5I", 6, false);              /* the statement is not complete */
    expect_broken("C\0\0\0\6a\0C\0\0\0\6a", 14, false); /* twice */
}

/* What answers something else: COPY, an authentication, a description nobody asked for. */
static void other_messages_break_the_protocol(void **state)
{
    (void)state;
    static const char known[] = "2DCIZENAS";
    for (int type = 0; type < 256; type++) {
        char bytes[5] = {(char)type, 0, 0, 0, 4};
        if (type != 0 && strchr(known, type) != NULL)
            continue;
        expect_broken(bytes, 5, type % 2 == 1);
        bytes[2] = 1; /* long, and not waited for */
        expect_broken(bytes, 5, type % 2 == 1);
    }
}

static void a_stream_that_ends_anywhere_is_a_loss(void **state)
{
    (void)state;
    struct tp_buf stream = {0};
    wire_put_answer(&stream, 12);
    for (size_t cut = 0; cut < stream.len; cut++) {
        struct wire_scene scene;
        wire_open(&scene);
        wire_begin(&scene);
        tp__buf_append(&scene.stream, stream.data, cut);
        wire_say(&scene, cut);
        wire_hang_up(&scene);
        assert_int_equal(wire_drain(&scene), TP_WIRE_LOST);
        assert_int_equal(scene.wire.failure, 0);
        wire_assert_lost(&scene, "server closed the connection unexpectedly");
        wire_close(&scene);
    }
    tp__buf_free(&stream);
}

/* Whoever closes with the request unread resets the connection, and that is the proof. */
static void a_request_that_was_never_read_shows_as_a_reset(void **state)
{
    (void)state;
    for (int words = 0; words < 2; words++) {
        struct wire_scene scene;
        wire_open(&scene);
        wire_begin(&scene);
        if (words == 1)
            wire_put_message(&scene.stream, 'E', "VFATAL\0C57P01\0", 15);
        wire_say(&scene, scene.stream.len);
        close(scene.theirs);
        scene.theirs = -1;
        assert_int_equal(wire_drain(&scene), TP_WIRE_LOST);
        assert_int_equal(scene.wire.failure, ECONNRESET);
        assert_int_equal(scene.others.len, words == 1 ? 17 : 0);
        wire_close(&scene);
    }
}

/* So does one that could not even be sent. */
static void a_request_that_cannot_be_sent_leaves_the_servers_last_words(void **state)
{
    (void)state;
    struct wire_scene scene;
    wire_open(&scene);
    wire_put_message(&scene.stream, 'E', "VFATAL\0C57P01\0", 15);
    wire_say(&scene, scene.stream.len);
    wire_hang_up(&scene);
    wire_begin(&scene);
    assert_int_equal(tp__wire_unsent(&scene.wire), 0);
    assert_int_equal(wire_drain(&scene), TP_WIRE_LOST);
    assert_int_equal(scene.wire.failure, EPIPE);
    assert_int_equal(scene.others.len, 17);
    wire_close(&scene);
}

static void spoil(uint64_t *seed, struct tp_buf *stream)
{
    for (size_t changes = 1 + wire_draw(seed, 4); changes > 0; changes--) {
        size_t at = wire_draw(seed, stream->len);
        switch (wire_draw(seed, 3)) {
        case 0:
            stream->data[at] = (char)wire_draw(seed, 256);
            break;
        case 1:
            stream->data[at] ^= (char)(1 << wire_draw(seed, 8));
            break;
        default: /* a byte goes */
            memmove(stream->data + at, stream->data + at + 1, stream->len - at - 1);
            stream->len--;
        }
    }
}

/* It is either understood or a loss, and never a hang: the rest ends with the stream. */
static void expect_an_end(struct wire_scene *scene)
{
    enum tp_wire_got got = wire_drain_all(scene);
    if (got == TP_WIRE_WAIT) { /* for a message that is longer than the stream */
        wire_hang_up(scene);
        got = wire_drain(scene);
        assert_int_equal(got, TP_WIRE_LOST);
    }
    assert_true(got == TP_WIRE_DONE || got == TP_WIRE_LOST);
    assert_int_equal(scene->wire.active, got == TP_WIRE_LOST);
}

static void spoilt_streams_do_no_harm(void **state)
{
    (void)state;
    uint64_t seed = codec_seed();
    for (int round = fake_rounds(4000); round > 0; round--) {
        struct wire_scene scene;
        wire_open(&scene);
        wire_begin(&scene);
        wire_put_message(&scene.stream, '2', "", 0);
        wire_put_rows(&scene.stream, (int)wire_draw(&seed, 20));
        wire_put_message(&scene.stream, 'N', "SNOTICE\0", 9);
        wire_put_rows(&scene.stream, (int)wire_draw(&seed, 300));
        wire_put_end(&scene.stream);
        spoil(&seed, &scene.stream);
        wire_say(&scene, wire_draw(&seed, scene.stream.len));
        enum tp_wire_got got = wire_drain(&scene);
        if (got == TP_WIRE_WAIT)
            expect_an_end(&scene);
        wire_close(&scene);
    }
}

/* Something like a message; its length is right as often as not, and seldom very large. */
static void put_random(uint64_t *seed, struct tp_buf *out)
{
    static const char likely[] = "2DCIZENASDDDDDDTGs\0";
    size_t len = wire_draw(seed, 40);
    bool right = wire_draw(seed, 2) == 0, large = wire_draw(seed, 500) == 0;
    tp__buf_putc(out, likely[wire_draw(seed, sizeof likely)]);
    wire_put32(out,
               right ? (uint32_t)len + 4 : (uint32_t)wire_draw(seed, large ? UINT32_MAX : 100));
    for (size_t i = 0; i < len; i++)
        tp__buf_putc(out, wire_draw(seed, 2) == 0 ? (char)wire_draw(seed, 256) : '\0');
}

static void random_bytes_do_no_harm(void **state)
{
    (void)state;
    uint64_t seed = codec_seed();
    for (int round = fake_rounds(2000); round > 0; round--) {
        struct wire_scene scene;
        wire_open(&scene);
        wire_begin(&scene);
        if (wire_draw(&seed, 2) == 0)
            wire_put_rows(&scene.stream, 3);
        for (size_t messages = 1 + wire_draw(&seed, 20); messages > 0; messages--)
            put_random(&seed, &scene.stream);
        expect_an_end(&scene);
        wire_close(&scene);
    }
}

/* --------------------------------------------------------------------- errors */

static void an_error_has_all_its_fields(void **state)
{
    (void)state;
    static const char body[] = "SFEHLER\0VERROR\0C23505\0Mthe message\0Dthe detail\0Hthe hint\0"
                               "P17\0p3\0qinternal\0Wthe place\0sschema\0ttable\0ccolumn\0"
                               "dtype\0nconstraint\0Ffile.c\0L12\0Rroutine\0?what\0";
    struct tp_error err;
    memset(&err, 'x', sizeof err);
    tp__wire_error(body, sizeof body, &err);
    assert_int_equal(err.kind, TP_ERR_DATABASE);
    assert_string_equal(err.severity, "ERROR");
    assert_string_equal(err.code, "23505");
    assert_string_equal(err.message, "the message");
    assert_string_equal(err.detail, "the detail");
    assert_string_equal(err.hint, "the hint");
    assert_int_equal(err.position, 17);
    assert_string_equal(err.where, "the place");
    assert_string_equal(err.schema, "schema");
    assert_string_equal(err.table, "table");
    assert_string_equal(err.column, "column");
    assert_string_equal(err.constraint, "constraint");
    assert_false(err.retryable);
    assert_int_equal(err.attempts, 0);
    tp__wire_error("C40001\0", 8, &err);
    assert_true(err.retryable);
    assert_string_equal(err.message, "");
    assert_int_equal(err.position, 0);
}

static void an_error_may_be_cut_off_anywhere(void **state)
{
    (void)state;
    static const char body[] = "VERROR\0C40P01\0Mdeadlock detected\0P5\0";
    for (size_t len = 0; len <= sizeof body; len++) {
        struct tp_error err;
        char *copy = malloc(len + (len == 0)); /* of its size, for the sanitizer */
        memcpy(copy, body, len);
        tp__wire_error(copy, len, &err);
        assert_int_equal(err.kind, TP_ERR_DATABASE);
        assert_string_equal(err.code, len >= 14 ? "40P01" : "");
        assert_int_equal(err.position, len >= 36 ? 5 : 0);
        free(copy);
    }
}

static void a_long_error_is_cut_to_fit(void **state)
{
    (void)state;
    struct tp_error err;
    struct tp_buf body = {0};
    tp__buf_append(&body, "VERROR\0C22000\0M", 15);
    for (int i = 0; i < 5000; i++)
        tp__buf_puts(&body, "\303\251");
    tp__buf_append(&body, "\0Hthe hint\0", 12);
    tp__wire_error(body.data, body.len, &err);
    assert_true(strlen(err.message) > 1000);
    assert_true(tp_utf8_valid(err.message, strlen(err.message)));
    assert_string_equal(err.hint, "the hint");
    tp__buf_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_that_breaks_the_protocol_is_none),
        cmocka_unit_test(what_is_no_message_breaks_the_protocol),
        cmocka_unit_test(other_messages_break_the_protocol),
        cmocka_unit_test(a_stream_that_ends_anywhere_is_a_loss),
        cmocka_unit_test(a_request_that_was_never_read_shows_as_a_reset),
        cmocka_unit_test(a_request_that_cannot_be_sent_leaves_the_servers_last_words),
        cmocka_unit_test(spoilt_streams_do_no_harm),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(an_error_has_all_its_fields),
        cmocka_unit_test(an_error_may_be_cut_off_anywhere),
        cmocka_unit_test(a_long_error_is_cut_to_fit),
    };
    return cmocka_run_group_tests_name("wire faults", tests, NULL, NULL);
}
