/* Lets the allocator of Lua fail at every point of a program that uses the module, and
 * looks at what is left each time.
 *
 * For N from 1 on a fresh Lua state runs the program below, and its N-th allocation fails.
 * (Lua collects garbage and tries once more, so that trial fails, too.) In a second sweep
 * all allocations from the N-th on fail until the error has left the program. After each
 * run, with an allocator that works again:
 *   - the error was Lua's "not enough memory" (or, where the stack should have grown,
 *     "stack overflow"), or there was none;
 *   - the pool has no lease out after a collection, and serves all its connections;
 *   - lua_close gives back every byte, every descriptor, and every backend on the server.
 *
 * Under sanitizers (TIDEPOOL_TEST_VARIANT), which are slow, the later N are sampled.
 * Output: TAP, then "N passed, N failed". */
#include <dirent.h>
#include <lauxlib.h>
#include <libpq-fe.h>
#include <lualib.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tidepool.h"

enum { EVERY_BEFORE = 250, STRIDE_AFTER = 7, PATIENCE_MS = 5000, COMPLAINTS_AT_MOST = 10 };

#define APPLICATION "alloc_sweep"

int luaopen_tidepool_core(lua_State *L);

/* Before the allocations are counted. */
static const char prepare[] =
    "tidepool = require 'tidepool'\n"
    "options = { url = url, application_name = 'alloc_sweep', pool = { min = 0, max = 2 },\n"
    "    log = { queries = true, sink = function() end } }\n"
    "run = assert(load(program))\n";

static const char program[] =
    "db = assert(tidepool.open(options))\n"
    "local heard = 0\n"
    "local stop = db:on('query_end', function(event) heard = heard + #event.sql end)\n"
    "db:on('notice', function(event) heard = heard + #event.message end)\n"
    "assert(#assert(db:query('select i, $1::text as t from generate_series(1, 3) i', 'x')) == 3)\n"
    "local one = assert(db:one('select $1::int as a, $2::jsonb as j', 5, { b = { 1, 2 } }))\n"
    "assert(one.j.b[2] == 2)\n"
    "assert(db:value('select array_length($1::int[], 1)', { 1, 2, 3 }) == 3)\n"
    "local arrays = { [[select array[1,2], 1.5::numeric, '\\x0102'::bytea]], as = 'arrays' }\n"
    "local values = assert(db:one(arrays))\n"
    "assert(values[1][2] == 2 and values[2] == '1.5' and #values[3] == 2)\n"
    "assert(assert(db:exec('select 1')).command == 'SELECT')\n"
    "assert(#assert(db:script('select 1; select 2')) == 2)\n"
    "local rows, err = db:query('selekt')\n"
    "assert(not rows and err.code == '42601' and #tostring(err) > 20)\n"
    "assert(db:exec([[do $$ begin raise notice 'hello'; end $$]]))\n"
    "assert(db:transaction(function(tx)\n"
    "    assert(tx:value('select $1::int', 7) == 7)\n"
    "    assert(tx:transaction(function(sub) return sub:one('select 1 as a') end).a == 1)\n"
    "    return true\n"
    "end, { isolation = 'serializable', retries = 1 }))\n"
    "assert(db:transaction(function(tx) return nil, tx:value('select 9') end) == nil)\n"
    "local conn = assert(db:acquire())\n"
    "do local other <close> = assert(db:acquire())\n"
    "    assert(other:value('select 1') == 1 and conn:value('select 2') == 2)\n"
    "    assert(select(2, db:acquire()).kind == 'busy')\n"
    "end\n"
    "assert(conn:release() and #tostring(conn) > 5)\n"
    "assert(db:with(function(c) return c:backend_pid() end) > 0)\n"
    "local function half() return db:transaction(function() coroutine.yield() end) end\n"
    "coroutine.wrap(half)()\n"
    "assert(db:ping() and db:wait_ready() and db:stats().queries > 5 and db:state().is_connected)\n"
    "assert(#tostring(db) > 5)\n"
    "stop()\n"
    "assert(db:close())\n";

/* With an allocator that works: is the pool, if there is one, as it should be? */
static const char look[] =
    "collectgarbage() collectgarbage()\n"
    "if not db then db = assert(tidepool.open(options)) end\n"
    "local stats = db:stats()\n"
    "assert(stats.active_connections == 0, stats.active_connections .. ' leases are still out')\n"
    "if db:state().state ~= 'closed' then\n"
    "    local a, b = assert(db:acquire()), assert(db:acquire())\n"
    "    assert(a:value('select 1') == 1 and b:value('select 2') == 2)\n"
    "    assert(a:transaction_state() == 'idle' and b:transaction_state() == 'idle')\n"
    "    assert(a:release() and b:release())\n"
    "    assert(assert(db:query('select $1::int as n', 3))[1].n == 3)\n"
    "    assert(db:transaction(function(tx) return tx:value('select 4') end) == 4)\n"
    "end\n";

/* ---------------------------------------------------------------- allocator */

static struct {
    size_t bytes;      /* handed out */
    bool armed;        /* counting */
    bool for_good;     /* from the N-th on all fail */
    long count, fails; /* allocations so far; the one that fails */
} heap;

static bool must_fail(void)
{
    if (!heap.armed)
        return false;
    heap.count++;
    if (heap.for_good)
        return heap.count >= heap.fails;
    return heap.count == heap.fails || heap.count == heap.fails + 1;
}

/* Source: Lua 5.4 manual, lua_Alloc. Shrinking cannot fail. */
static void *allocate(void *ud, void *block, size_t old_size, size_t size)
{
    (void)ud;
    size_t old = block != NULL ? old_size : 0;
    if (size == 0) {
        free(block);
        heap.bytes -= old;
        return NULL;
    }
    if (size > old && must_fail())
        return NULL;
    void *moved = realloc(block, size);
    if (moved != NULL)
        heap.bytes += size - old;
    return moved;
}

/* ----------------------------------------------------------------- checking */

enum property {
    ERROR_IS_MEMORY,
    POOL_IS_USABLE,
    BYTES_ARE_FREED,
    DESCRIPTORS_ARE_CLOSED,
    BACKENDS_ARE_GONE,
    PROPERTIES
};

static const char *const sentences[PROPERTIES] = {
    "an allocation that fails shows as Lua's memory error or not at all",
    "the pool is usable after every failed allocation",
    "lua_close gives back every byte after every failed allocation",
    "lua_close closes every descriptor after every failed allocation",
    "lua_close ends every backend after every failed allocation",
};
static long broken[PROPERTIES];

static void complain(enum property which, long n, const char *what)
{
    if (broken[which]++ < COMPLAINTS_AT_MOST)
        printf("# allocation %ld%s: %s\n", n, heap.for_good ? " and all after it" : "", what);
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return -1;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static bool backends_are_gone(PGconn *watch)
{
    for (int waited = 0; waited < PATIENCE_MS; waited += 2) {
        PGresult *result = PQexec(
            watch, "select 1 from pg_stat_activity where application_name = '" APPLICATION "'");
        bool gone = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 0;
        PQclear(result);
        if (gone)
            return true;
        poll(NULL, 0, 2);
    }
    return false;
}

/* ------------------------------------------------------------------ one run */

static int run_text(lua_State *L)
{
    if (luaL_loadstring(L, lua_touserdata(L, 1)) != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 0);
    return 0;
}

static int run_program(lua_State *L)
{
    lua_getglobal(L, "run");
    lua_call(L, 0, 0);
    return 0;
}

static int set_up(lua_State *L)
{
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_tidepool_core);
    lua_setfield(L, -2, "tidepool.core");
    lua_pushstring(L, lua_touserdata(L, 1));
    lua_setglobal(L, "url");
    lua_pushstring(L, program);
    lua_setglobal(L, "program");
    return 0;
}

/* Calls a C function with a pointer. False: the error's text is in `why`. */
static bool call(lua_State *L, lua_CFunction function, const char *argument, char *why, size_t room)
{
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, (void *)(uintptr_t)argument);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK)
        return true;
    heap.armed = false;
    snprintf(why, room, "%s", luaL_tolstring(L, -1, NULL));
    lua_settop(L, 0);
    return false;
}

static void run_armed(lua_State *L, long n)
{
    char why[512];
    heap.count = 0;
    heap.fails = n;
    heap.armed = true;
    bool ok = call(L, run_program, NULL, why, sizeof why);
    heap.armed = false;
    bool of_memory =
        strstr(why, "not enough memory") != NULL || strstr(why, "stack overflow (") != NULL;
    if (!ok && !of_memory)
        complain(ERROR_IS_MEMORY, n, why);
    if (!call(L, run_text, look, why, sizeof why))
        complain(POOL_IS_USABLE, n, why);
}

/* One run; false: the state could not even be made. */
static bool run(const char *url, long n, PGconn *watch)
{
    char why[512];
    int descriptors = open_descriptors();
    lua_State *L = lua_newstate(allocate, NULL);
    if (L == NULL || !call(L, set_up, url, why, sizeof why) ||
        !call(L, run_text, prepare, why, sizeof why)) {
        printf("Bail out! %s\n", L != NULL ? why : "no Lua state");
        return false;
    }
    run_armed(L, n);
    lua_close(L);
    if (heap.bytes != 0)
        complain(BYTES_ARE_FREED, n, "bytes are left");
    heap.bytes = 0;
    /* A statement that was cut off is being cancelled behind the connection's back. */
    int64_t until = tp_now() + 2 * 1000 * 1000;
    while (open_descriptors() != descriptors && tp_now() < until)
        usleep(1000);
    if (open_descriptors() != descriptors)
        complain(DESCRIPTORS_ARE_CLOSED, n, "descriptors are left");
    if (!backends_are_gone(watch))
        complain(BACKENDS_ARE_GONE, n, "backends are left");
    return true;
}

/* From N = 1 until the program makes fewer than N allocations. Returns the runs, or -1. */
static long sweep(const char *url, bool for_good, PGconn *watch)
{
    const char *variant = getenv("TIDEPOOL_TEST_VARIANT");
    bool full = variant == NULL || strcmp(variant, "default") == 0;
    long runs = 0, n = 1;
    heap.for_good = for_good;
    do {
        if (!run(url, n, watch))
            return -1;
        runs++;
        n += n < EVERY_BEFORE || full ? 1 : STRIDE_AFTER;
    } while (heap.count >= heap.fails);
    return runs;
}

/* --------------------------------------------------------------------- main */

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL) {
        printf("Bail out! %s is not set: run this beside spec/support/pg.sh\n", name);
        exit(1);
    }
    return value;
}

static int report(void)
{
    int failed = 0;
    printf("1..%d\n", PROPERTIES);
    for (int i = 0; i < PROPERTIES; i++) {
        printf("%sok %d - %s\n", broken[i] > 0 ? "not " : "", i + 1, sentences[i]);
        failed += broken[i] > 0;
    }
    printf("%d passed, %d failed\n", PROPERTIES - failed, failed);
    return failed > 0;
}

int main(void)
{
    const char *socket = environment("TIDEPOOL_TEST_SOCKET"),
               *port = environment("TIDEPOOL_TEST_PORT");
    const char *user = environment("TIDEPOOL_TEST_USER"),
               *database = environment("TIDEPOOL_TEST_DATABASE");
    char url[512];
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(url, sizeof url, "postgresql:///%s?host=%s&port=%s&user=%s", database, socket, port,
             user);
    PGconn *watch = PQsetdbLogin(socket, port, NULL, NULL, database, user, NULL);
    if (PQstatus(watch) != CONNECTION_OK) {
        printf("Bail out! %s", PQerrorMessage(watch));
        return 1;
    }
    long once = sweep(url, false, watch), allocations = heap.count;
    long for_good = once < 0 ? -1 : sweep(url, true, watch);
    PQfinish(watch);
    if (for_good < 0)
        return 1;
    printf("# %ld allocations; %ld runs with one that fails, %ld with all that follow\n",
           allocations, once, for_good);
    return report();
}
