/* The reader of executions (wire.h): a server's bytes in two pieces, then the end of the
 * stream. It comes to an end, and what it gives out lies where it says.
 *
 * Input: columns, executions, where the stream is cut, how much is taken; the stream. */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "codec.h"
#include "fuzz.h"
#include "wire.h"

enum { STREAM_AT_MOST = 64 * 1024, STEPS_AT_MOST = 200 * 1000 };

static volatile unsigned char sink;

static void touch(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sink ^= (unsigned char)bytes[i];
}

static void on_other(void *ctx, char type, const char *body, size_t len)
{
    (void)ctx;
    fuzz_check(type == 'N' || type == 'A' || type == 'S');
    touch(body, len);
}

static void on_error(void *ctx, const char *body, size_t len)
{
    struct tp_error err;
    (void)ctx;
    tp__wire_error(body, len, &err);
    fuzz_check(err.kind == TP_ERR_DATABASE);
}

static void take_rows(struct tp_wire *wire, int columns, int at_most)
{
    struct tp_row row;
    while (at_most-- > 0 && tp__wire_next_row(wire, &row)) {
        const unsigned char *at = row.cells;
        for (int i = 0; i < columns; i++) {
            uint32_t len = tp__get32(at);
            at += 4 + (len == UINT32_MAX ? 0 : len);
        }
        fuzz_check(at == row.cells + row.len);
        touch((const char *)row.cells, row.len);
    }
}

static void say(int fd, const uint8_t *bytes, size_t len)
{
    fuzz_check(len == 0 || send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
}

/* Steps until there is nothing more to read, or the end. */
static enum tp_wire_got drain(struct tp_wire *wire, int columns, int taken)
{
    enum tp_wire_got got;
    int steps = 0;
    while ((got = tp__wire_step(wire, true)) == TP_WIRE_ROWS || got == TP_WIRE_RESULT) {
        if (got == TP_WIRE_ROWS)
            take_rows(wire, columns, taken);
        else
            fuzz_check(wire->tag != NULL);
        fuzz_check(steps++ < STEPS_AT_MOST);
    }
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct tp_wire_events on = {.other = on_other, .error = on_error};
    struct tp_wire wire = {0};
    int columns = fuzz_byte(&in) % 4, executions = 1 + fuzz_byte(&in) % 3;
    size_t cut = fuzz_byte(&in);
    int taken = fuzz_byte(&in), pair[2];
    if (in.left > STREAM_AT_MOST)
        return 0;
    cut = in.left * cut / 255;
    fuzz_check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    tp__wire_begin(&wire, pair[0], &on);
    for (int i = 0; i < executions; i++)
        fuzz_check(tp__wire_add(&wire, "s", 0, NULL, true));
    fuzz_check(tp__wire_sync(&wire));
    tp__wire_expect(&wire, columns);
    say(pair[1], in.at, cut);
    enum tp_wire_got got = drain(&wire, columns, taken);
    if (got == TP_WIRE_WAIT) {
        say(pair[1], in.at + cut, in.left - cut);
        fuzz_check(shutdown(pair[1], SHUT_WR) == 0);
        for (int i = 0; i < STEPS_AT_MOST && got == TP_WIRE_WAIT; i++)
            got = drain(&wire, columns, taken);
    }
    fuzz_check(got == TP_WIRE_DONE || (got == TP_WIRE_LOST && wire.why != NULL));
    tp__wire_deinit(&wire);
    close(pair[0]);
    close(pair[1]);
    return 0;
}
