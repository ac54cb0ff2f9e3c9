#include "wire_scene.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "codec_case.h"

/* ------------------------------------------------------------------ messages */

static void put16(struct tp_buf *out, int value)
{
    char bytes[2];
    tp__put16(bytes, (uint16_t)value);
    tp__buf_append(out, bytes, sizeof bytes);
}

void wire_put32(struct tp_buf *out, uint32_t value)
{
    char bytes[4];
    tp__put32(bytes, value);
    tp__buf_append(out, bytes, sizeof bytes);
}

/* A message begins here; its length is put in by end_message. */
static size_t begin_message(struct tp_buf *out, char type)
{
    tp__buf_putc(out, type);
    wire_put32(out, 0);
    return out->len;
}

static void end_message(struct tp_buf *out, size_t body)
{
    tp__put32(out->data + body - 4, (uint32_t)(out->len - body + 4));
}

void wire_put_message(struct tp_buf *out, char type, const char *body, size_t len)
{
    size_t at = begin_message(out, type);
    tp__buf_append(out, body, len);
    end_message(out, at);
}

void wire_put_end(struct tp_buf *out)
{
    wire_put_message(out, 'C', "SELECT 5", 9);
    wire_put_message(out, 'Z', "I", 1);
}

/* The cells of a row: an id and a name as long as is wanted, or NULL. */
static void put_cells(struct tp_buf *out, int id, long name_len)
{
    wire_put32(out, 4);
    wire_put32(out, (uint32_t)id);
    wire_put32(out, name_len < 0 ? UINT32_MAX : (uint32_t)name_len);
    for (long i = 0; i < name_len; i++)
        tp__buf_putc(out, (char)('a' + (id + i) % 26));
}

void wire_put_row(struct tp_buf *out, int id, long name_len)
{
    size_t at = begin_message(out, 'D');
    put16(out, 2);
    put_cells(out, id, name_len);
    end_message(out, at);
}

const long wire_mixed[] = {12, 0, -1, 200, 1};

void wire_put_rows(struct tp_buf *out, int rows)
{
    for (int i = 0; i < rows; i++)
        wire_put_row(out, i, wire_mixed[i % WIRE_MIXED]);
}

void wire_put_answer(struct tp_buf *out, int rows)
{
    wire_put_message(out, '2', "", 0);
    wire_put_rows(out, rows);
    wire_put_end(out);
}

/* --------------------------------------------------------------------- scene */

void wire_keep_other(void *ctx, char type, const char *body, size_t len)
{
    struct wire_scene *scene = ctx;
    tp__buf_putc(&scene->others, type);
    tp__buf_append(&scene->others, body, len);
    tp__buf_putc(&scene->others, '|');
}

void wire_keep_error(void *ctx, const char *body, size_t len)
{
    wire_keep_other(ctx, 'E', body, len);
}

void wire_open(struct wire_scene *scene)
{
    int pair[2];
    memset(scene, 0, sizeof *scene);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    scene->ours = pair[0];
    scene->theirs = pair[1];
}

void wire_begin_with(struct wire_scene *scene, int nparams, const struct tp_param *params)
{
    struct tp_wire_events on = {.other = wire_keep_other, .error = wire_keep_error, .ctx = scene};
    tp__wire_begin(&scene->wire, scene->ours, &on);
    assert_true(scene->wire.active);
    tp__wire_expect(&scene->wire, 2);
    assert_true(tp__wire_add(&scene->wire, "tp_1", nparams, params, true));
    assert_true(tp__wire_sync(&scene->wire));
}

void wire_begin(struct wire_scene *scene)
{
    wire_begin_with(scene, 0, NULL);
}

void wire_close(struct wire_scene *scene)
{
    tp__wire_deinit(&scene->wire);
    tp__wire_deinit(&scene->wire); /* is idempotent */
    tp__buf_free(&scene->stream);
    tp__buf_free(&scene->cells);
    tp__buf_free(&scene->others);
    close(scene->ours);
    if (scene->theirs >= 0)
        close(scene->theirs);
}

void wire_say(struct wire_scene *scene, size_t until)
{
    while (scene->said < until) {
        ssize_t sent = send(scene->theirs, scene->stream.data + scene->said, until - scene->said,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        scene->said += (size_t)sent;
    }
}

void wire_hear(struct wire_scene *scene, struct tp_buf *out)
{
    char bytes[4096];
    ssize_t got;
    while ((got = recv(scene->theirs, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        tp__buf_append(out, bytes, (size_t)got);
}

void wire_hang_up(struct wire_scene *scene)
{
    struct tp_buf heard = {0};
    wire_hear(scene, &heard);
    tp__buf_free(&heard);
    close(scene->theirs);
    scene->theirs = -1;
}

static void take_rows(struct wire_scene *scene)
{
    struct tp_row row;
    while (tp__wire_next_row(&scene->wire, &row)) {
        tp__buf_append(&scene->cells, row.cells, row.len);
        scene->rows++;
    }
}

enum tp_wire_got wire_drain(struct wire_scene *scene)
{
    for (int i = 0; i < WIRE_STEPS_AT_MOST; i++) {
        enum tp_wire_got got = tp__wire_step(&scene->wire, true);
        if (got == TP_WIRE_ROWS) {
            take_rows(scene);
        } else if (got == TP_WIRE_RESULT) {
            snprintf(scene->tag, sizeof scene->tag, "%s", scene->wire.tag);
            scene->results++;
        } else {
            return got;
        }
    }
    fail_msg("the exchange does not end");
    return TP_WIRE_LOST;
}

enum tp_wire_got wire_drain_all(struct wire_scene *scene)
{
    enum tp_wire_got got;
    do {
        wire_say(scene, scene->stream.len);
        got = wire_drain(scene);
    } while (got == TP_WIRE_WAIT && scene->said < scene->stream.len);
    return got;
}

void wire_assert_cells(struct wire_scene *scene, int rows, const long *lengths, size_t nlengths)
{
    struct tp_buf expected = {0};
    for (int i = 0; i < rows; i++)
        put_cells(&expected, i, lengths[(size_t)i % nlengths]);
    assert_int_equal(scene->rows, rows);
    assert_int_equal(scene->cells.len, expected.len);
    if (rows > 0)
        assert_memory_equal(scene->cells.data, expected.data, expected.len);
    tp__buf_free(&expected);
}

void wire_assert_answer(struct wire_scene *scene, int rows)
{
    wire_assert_cells(scene, rows, wire_mixed, WIRE_MIXED);
    assert_int_equal(scene->results, 1);
    assert_string_equal(scene->tag, "SELECT 5");
    assert_false(scene->wire.active);
    assert_int_equal(scene->wire.transaction, 'I');
    assert_null(scene->wire.why);
}

void wire_assert_others(struct wire_scene *scene, const char *expected)
{
    tp__buf_putc(&scene->others, '\0');
    assert_string_equal(scene->others.data, expected);
    scene->others.len--;
}

void wire_assert_lost(struct wire_scene *scene, const char *why)
{
    assert_true(scene->wire.active);
    assert_non_null(scene->wire.why);
    if (strstr(scene->wire.why, why) == NULL)
        fail_msg("%s", scene->wire.why);
    assert_int_equal(tp__wire_step(&scene->wire, true), TP_WIRE_LOST); /* and stays so */
}

/* ---------------------------------------------------------------- random numbers */

size_t wire_draw(uint64_t *seed, size_t below)
{
    return (size_t)codec_draw(seed, 0, (int64_t)below - 1);
}
