/* W5 and MEM on libpq: many connections in one thread. */
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "libpq.h"

enum { KEYS = 100000, CONNECTIONS = 8, WORKERS = 16, MOST_IDLE = 64 };

struct workers {
    int epoll;
    long left;            /* queries that were not sent yet */
    int waiting[WORKERS]; /* a ring of workers without a connection: first come, first served */
    int first, count;
    int holder[CONNECTIONS]; /* the worker that uses it */
    PGconn *connections[CONNECTIONS];
};

static void send_query(struct workers *all, int connection)
{
    uint32_t number = htonl((uint32_t)contest_random(KEYS));
    const char *value = (const char *)&number;
    int length = sizeof number, format = 1;
    PGconn *conn = all->connections[connection];
    if (!PQsendQueryPrepared(conn, "point", 1, &value, &length, &format, 1) || PQflush(conn) != 0)
        contest_fail("%s", PQerrorMessage(conn));
    all->left--;
}

/* The connection goes from the worker that used it to the one that waits longest; the former queues
 * up again. */
static void hand_over(struct workers *all, int connection)
{
    int next = all->waiting[all->first];
    all->waiting[(all->first + all->count) % WORKERS] = all->holder[connection];
    all->first = (all->first + 1) % WORKERS;
    all->holder[connection] = next;
}

/* Reads what has come; true when the query has ended. */
static bool finish_query(PGconn *conn)
{
    PGresult *result;
    if (!PQconsumeInput(conn))
        contest_fail("%s", PQerrorMessage(conn));
    while (!PQisBusy(conn)) {
        result = PQgetResult(conn);
        if (result == NULL)
            return true;
        if (PQntuples(contest_check(conn, result, PGRES_TUPLES_OK)) != 1)
            contest_fail("a key has no row");
        PQclear(result);
    }
    return false;
}

static void open_workers(struct workers *all)
{
    all->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < CONNECTIONS; i++) {
        PGconn *conn = all->connections[i] = contest_connect();
        PGresult *result =
            PQprepare(conn, "point", "select * from bench_point where id = $1", 0, NULL);
        PQclear(contest_check(conn, result, PGRES_COMMAND_OK));
        PQsetnonblocking(conn, 1);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        if (epoll_ctl(all->epoll, EPOLL_CTL_ADD, PQsocket(conn), &event) != 0)
            contest_fail("epoll_ctl");
        all->holder[i] = i;
    }
    all->first = 0;
    all->count = WORKERS - CONNECTIONS;
    for (int i = 0; i < all->count; i++)
        all->waiting[i] = CONNECTIONS + i;
}

void libpq_workers(long amount, struct contest_watch *watch)
{
    static struct workers all;
    struct epoll_event events[CONNECTIONS];
    if (all.connections[0] == NULL)
        open_workers(&all);
    contest_start(watch);
    all.left = amount;
    int busy = 0;
    for (int i = 0; i < CONNECTIONS && all.left > 0; i++, busy++)
        send_query(&all, i);
    while (busy > 0) {
        int count = epoll_wait(all.epoll, events, CONNECTIONS, 10000);
        if (count <= 0)
            contest_fail("no answer in 10 s");
        for (int i = 0; i < count; i++) {
            int connection = (int)events[i].data.u32;
            if (!finish_query(all.connections[connection]))
                continue;
            hand_over(&all, connection);
            if (all.left > 0)
                send_query(&all, connection);
            else
                busy--;
        }
    }
    contest_stop(watch, amount);
}

/* Holds `amount` connections that have served a query; the runner looks at the memory. */
void libpq_idle(long amount, struct contest_watch *watch)
{
    static PGconn *idle[MOST_IDLE];
    static int count;
    for (; count < amount && count < MOST_IDLE; count++) {
        idle[count] = contest_connect();
        PGresult *result = PQexecParams(idle[count], "select 1", 0, NULL, NULL, NULL, NULL, 1);
        PQclear(contest_check(idle[count], result, PGRES_TUPLES_OK));
    }
    watch->operations = count;
    watch->kb = contest_resident_kb();
}
