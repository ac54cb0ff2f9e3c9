/* A server in the thread of its client, which says what it is told to say: a conversation
 * is a list of turns, and the next turn comes whenever the client waits for one. When there
 * is none left the server hangs up.
 *
 * Turns are the server's bytes as they were recorded, each with FAKE_TURN_END behind it. A
 * recording is made by passing on what a real server says. */
#ifndef FAKE_SERVER_H
#define FAKE_SERVER_H

#include <libpq-fe.h>

#include "buf.h"
#include "fuzz.h"

/* Looks like a message without a body, of a type that there is not. */
#define FAKE_TURN_END "\xff\0\0\0\x04"
enum { FAKE_TURN_END_LEN = 5 };

struct fake_server {
    int listener, peer;
    char folder[64]; /* of the socket; the port is FAKE_PORT */
    struct fuzz_input turns;
    int real; /* the server that is recorded, or -1 */
    const char *real_path;
    struct tp_buf *recording; /* NULL: nothing is recorded */
};
#define FAKE_PORT "5432"

void fake_server_open(struct fake_server *server);
/* What the next client hears. */
void fake_server_play(struct fake_server *server, struct fuzz_input turns);
/* What the next client hears comes from the server with this socket, and is recorded. */
void fake_server_record(struct fake_server *server, const char *path, struct tp_buf *recording);
/* The client waits: the server's turn. */
void fake_server_serve(struct fake_server *server);
/* The client has gone. */
void fake_server_end(struct fake_server *server);

/* What libpq has given to us and not got back. libpq loses memory of its own over some lies,
 * which fuzz.supp hides from LeakSanitizer; so the linker lets us count what is ours. */
extern long fake_server_held;
PGresult *__wrap_PQgetResult(PGconn *conn);
void __wrap_PQclear(PGresult *result);
int __wrap_PQgetCopyData(PGconn *conn, char **out, int async);
void __wrap_PQfreemem(void *memory);
PGresult *__real_PQgetResult(PGconn *conn);
void __real_PQclear(PGresult *result);
int __real_PQgetCopyData(PGconn *conn, char **out, int async);
void __real_PQfreemem(void *memory);

#endif
