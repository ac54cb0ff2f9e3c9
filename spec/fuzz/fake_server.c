#include "fake_server.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { REAL_SERVER_MS = 300, TURN_AT_MOST = 64 * 1024 /* as much as a socket takes */ };

static struct fake_server *opened;

static void remove_folder(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/.s.PGSQL." FAKE_PORT, opened->folder);
    unlink(path);
    rmdir(opened->folder);
}

void fake_server_open(struct fake_server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *server = (struct fake_server){.peer = -1, .real = -1, .folder = "/tmp/tidepool-fuzz.XXXXXX"};
    fuzz_check(mkdtemp(server->folder) != NULL);
    opened = server;
    atexit(remove_folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL." FAKE_PORT, server->folder);
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    fuzz_check(bind(server->listener, (struct sockaddr *)&address, sizeof address) == 0);
    fuzz_check(listen(server->listener, 8) == 0);
}

void fake_server_play(struct fake_server *server, struct fuzz_input turns)
{
    server->turns = turns;
}

void fake_server_record(struct fake_server *server, const char *path, struct tp_buf *recording)
{
    server->real_path = path;
    server->recording = recording;
}

static void hang_up(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    fuzz_check(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* Reads what the client has said; it is passed on to a real server. True: it said something. */
static bool hear(struct fake_server *server)
{
    char bytes[16 * 1024];
    ssize_t got;
    bool heard = false;
    while ((got = recv(server->peer, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        heard = true;
        if (server->real >= 0)
            fuzz_check(send(server->real, bytes, (size_t)got, MSG_NOSIGNAL) == got);
    }
    return heard;
}

/* The real server's answer, up to a moment of silence, is a turn. */
static void pass_on(struct fake_server *server)
{
    char bytes[16 * 1024];
    size_t begin = server->recording->len;
    struct pollfd on = {.fd = server->real, .events = POLLIN};
    while (poll(&on, 1, REAL_SERVER_MS) > 0) {
        ssize_t got = recv(server->real, bytes, sizeof bytes, 0);
        if (got <= 0)
            break;
        tp__buf_append(server->recording, bytes, (size_t)got);
        fuzz_check(send(server->peer, bytes, (size_t)got, MSG_NOSIGNAL) == got);
    }
    if (server->recording->len > begin)
        tp__buf_append(server->recording, FAKE_TURN_END, FAKE_TURN_END_LEN);
}

static void say_turn(struct fake_server *server)
{
    struct fuzz_input *turns = &server->turns;
    const uint8_t *end = memmem(turns->at, turns->left, FAKE_TURN_END, FAKE_TURN_END_LEN);
    size_t len = end != NULL ? (size_t)(end - turns->at) : turns->left;
    size_t taken = end != NULL ? len + FAKE_TURN_END_LEN : len;
    if (len > 0)
        (void)send(server->peer, turns->at, len < TURN_AT_MOST ? len : TURN_AT_MOST,
                   MSG_NOSIGNAL | MSG_DONTWAIT);
    turns->at += taken;
    turns->left -= taken;
}

void fake_server_serve(struct fake_server *server)
{
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        hang_up(&server->peer);
        server->peer = fd;
        if (server->recording != NULL)
            server->real = connect_to(server->real_path);
    }
    if (server->peer < 0)
        return;
    bool heard = hear(server);
    if (server->real >= 0)
        pass_on(server);
    else if (server->turns.left > 0 && (heard || fd < 0))
        say_turn(server);
    else if (server->turns.left == 0)
        hang_up(&server->peer);
}

void fake_server_end(struct fake_server *server)
{
    int fd;
    hang_up(&server->peer);
    hang_up(&server->real);
    while ((fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        close(fd);
}

/* ---------------------------------------------------------------- counting */

long fake_server_held;

PGresult *__wrap_PQgetResult(PGconn *conn)
{
    PGresult *result = __real_PQgetResult(conn);
    fake_server_held += result != NULL;
    return result;
}

void __wrap_PQclear(PGresult *result)
{
    fake_server_held -= result != NULL;
    __real_PQclear(result);
}

int __wrap_PQgetCopyData(PGconn *conn, char **out, int async)
{
    int got = __real_PQgetCopyData(conn, out, async);
    fake_server_held += *out != NULL;
    return got;
}

void __wrap_PQfreemem(void *memory)
{
    fake_server_held -= memory != NULL;
    __real_PQfreemem(memory);
}
