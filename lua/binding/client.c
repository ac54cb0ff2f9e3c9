#include "client.h"

#include <string.h>

#include "await.h"
#include "call.h"
#include "compat.h"
#include "copy.h"
#include "error.h"
#include "errors.h"
#include "guard.h"
#include "holders.h"
#include "pipeline.h"
#include "place.h"
#include "stream.h"
#include "tell.h"

struct client {
    const void *tag;
    struct tpb_db *db;       /* kept alive by the user value, or by the guard in it */
    struct tpb_guard *guard; /* kept alive by the user value; NULL once it was released: the guard
                                is the next client's then */
    uint64_t use;
};

static const char client_tag = 'c'; /* its address is the tag */

/* ------------------------------------------------------------------ clients */

struct tpb_db *tpb_client_db(lua_State *L, int index)
{
    const struct client *client = tpb_has_tag(L, index, &client_tag);
    return client != NULL ? client->db : NULL;
}

static struct client *check_client(lua_State *L, int index)
{
    struct client *client = tpb_has_tag(L, index, &client_tag);
    return client != NULL ? client : luaL_checkudata(L, index, TPB_CLIENT);
}

/* Whether the guard is still the client's. */
static bool is_guarded(const struct client *client)
{
    return client->guard != NULL && client->use == client->guard->use;
}

static bool is_out(const struct client *client)
{
    return is_guarded(client) && tp_lease_valid(&client->guard->lease);
}

static void explain(const struct client *client, struct tp_error *err)
{
    if (is_guarded(client))
        tp_lease_explain(&client->guard->lease, err);
    else
        tp__error_set(err, TP_ERR_VALIDATION, "the connection was released");
}

static int fail_released(lua_State *L, const struct client *client)
{
    struct tp_error err;
    explain(client, &err);
    return tpb_fail(L, &err);
}

const tp_lease *tpb_client_lease(lua_State *L, int index)
{
    struct client *client = check_client(L, index);
    return is_out(client) ? &client->guard->lease : NULL;
}

bool tpb_client_is_inherited(lua_State *L, int index)
{
    const struct client *client = check_client(L, index);
    return is_guarded(client) && tp_lease_is_inherited(&client->guard->lease);
}

const void *tpb_client_key(lua_State *L, int index)
{
    const struct client *client = check_client(L, index);
    return client->guard != NULL ? (const void *)&client->guard->lease : (const void *)client;
}

int64_t tpb_client_set_deadline(lua_State *L, int index, int64_t deadline)
{
    struct client *client = check_client(L, index);
    if (!is_out(client))
        return TP_NEVER;
    int64_t before = client->guard->deadline;
    client->guard->deadline = deadline;
    tp_lease_set_deadline(&client->guard->lease, deadline);
    return before;
}

int tpb_client_push_db(lua_State *L)
{
    bool released = check_client(L, 1)->guard == NULL;
    lua_getiuservalue(L, 1, 1);
    if (!released) {
        lua_getiuservalue(L, -1, 1);
        lua_remove(L, -2);
    }
    return lua_gettop(L);
}

/* Notes where the program is: the Lua function that called this one. It costs about as
 * much as taking an idle connection does, so it is done when connections are scarce,
 * otherwise with the first statement. */
static void note_place(lua_State *L, struct tpb_guard *guard)
{
    lua_Debug at;
    guard->placed = true;
    if (tpb_find_place(L, &at))
        tp_lease_set_place(&guard->lease, at.short_src, at.currentline);
}

static int64_t default_deadline(const struct tpb_db *db)
{
    return tp_deadline_in_ms(tp_config_int(tp_pool_config(db->pool), "pool.acquire_timeout_ms"));
}

/* The stack of an acquire: the database, the timeout, the client. */
enum { ACQUIRE_DB = 1, ACQUIRE_TIMEOUT, ACQUIRE_CLIENT };

/* The request has ended without giving it back. */
static void take_back(struct tpb_owned *owned)
{
    struct tpb_guard *guard = TP_CONTAINER(owned, struct tpb_guard, owned);
    guard->use++;
    tp_lease_discard(&guard->lease);
}

static void tell_acquired(lua_State *L, struct tpb_guard *guard, int64_t waited_us)
{
    guard->taken_at = tp_now();
    tpb_tell_lease(L, ACQUIRE_DB, "acquire", waited_us, tp_lease_backend_pid(&guard->lease));
}

static int end_acquire(lua_State *L, struct tpb_call *call)
{
    struct client *client = lua_touserdata(L, ACQUIRE_CLIENT);
    struct tpb_guard *guard = client->guard;
    int64_t waited_us = tp_op_elapsed(call->op);
    bool ok = call->ok, awaited = call->reactor != NULL;
    if (ok)
        guard->lease = tp_op_take_lease(call->op);
    else
        guard->use++;
    if (ok && awaited)
        tpb_owner_attach(L, &guard->owned, take_back);
    if (!ok)
        return tpb_db_end_of_wait(L, call);
    tpb_call_end(L, call);
    guard->unseen = false;
    note_place(L, guard);
    if (guard->db->watch_leases)
        tell_acquired(L, guard, waited_us);
    lua_settop(L, ACQUIRE_CLIENT);
    return 1;
}

/* The metatable of clients is an upvalue of the method, though not of what begins it. */
static void set_client_meta(lua_State *L)
{
    if (lua_istable(L, lua_upvalueindex(1))) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_setmetatable(L, -2);
    } else {
        luaL_setmetatable(L, TPB_CLIENT);
    }
}

/* Both userdata exist before the lease does. */
static int acquire_body(lua_State *L, tp_reactor *reactor)
{
    struct tpb_db *db = tpb_db_check(L, ACQUIRE_DB);
    bool scarce;
    lua_settop(L, ACQUIRE_TIMEOUT);
    bool bounded = !lua_isnil(L, ACQUIRE_TIMEOUT);
    int64_t deadline = bounded ? tpb_check_deadline(L, ACQUIRE_TIMEOUT, 0) : 0;

    struct client *client = lua_newuserdatauv(L, sizeof *client, 1);
    struct tpb_guard *guard = tpb_guard_push(L, db, ACQUIRE_DB);
    client->tag = &client_tag;
    client->db = db;
    client->guard = guard;
    client->use = ++guard->use;
    lua_setiuservalue(L, -2, 1);
    set_client_meta(L);
    guard->deadline = TP_NEVER;
    guard->placed = false;
    guard->unseen = true;
    guard->taken_at = 0;
    if (reactor == NULL && tp_share_try_acquire(db->share, &guard->lease, &scarce)) {
        if (scarce)
            note_place(L, guard);
        if (db->watch_leases)
            tell_acquired(L, guard, 0);
        return 1;
    }
    if (!bounded)
        deadline = default_deadline(db);
    return tpb_call_acquire(L, tpb_call_push(L, db, ACQUIRE_DB, reactor), deadline, false,
                            end_acquire);
}

static const struct tpb_db *acquiring_db(lua_State *L)
{
    return tpb_db_check(L, ACQUIRE_DB);
}

TPB_AWAITS(acquire, acquiring_db)

void tpb_client_set_acquire(lua_State *L)
{
    static const struct tpb_awaited awaited[] = {
        TPB_AWAITED("acquire", acquire),
        {NULL, NULL, NULL},
    };
    tpb_set_awaited(L, awaited);
    luaL_getmetatable(L, TPB_CLIENT);
    lua_pushcclosure(L, acquire, 1);
    lua_setfield(L, -2, "acquire");
}

/* Releases the client at `index`. It lets go of the guard, which may serve the next one: a client
 * that the program keeps for longer than it needs it must not hide that a later one is lost. */
static int release(lua_State *L, struct client *client, int index, bool discard)
{
    struct tp_error err;
    struct tpb_guard *guard = client->guard;
    if (!is_out(client))
        return fail_released(L, client);
    int64_t held_us = guard->taken_at > 0 ? tp_now() - guard->taken_at : -1;
    int pid = held_us >= 0 ? tp_lease_backend_pid(&guard->lease) : 0;
    guard->use++;
    tpb_owner_detach(&guard->owned);
    if (discard) {
        tp_lease_discard(&guard->lease);
    } else if (tp_lease_release(&guard->lease, &err) != TP_OK) {
        return tpb_fail(L, &err);
    }
    lua_getiuservalue(L, index, 1);
    lua_getiuservalue(L, -1, 1);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, index, 1);
    client->guard = NULL;
    lua_insert(L, -2);
    int db_index = lua_gettop(L) - 1;
    tpb_guard_keep(L, guard->db, db_index);
    if (held_us >= 0)
        tpb_tell_lease(L, db_index, "release", held_us, pid);
    tpb_db_dispatch(L, guard->db, db_index);
    lua_pushboolean(L, 1);
    return 1;
}

static int client_release(lua_State *L)
{
    return release(L, check_client(L, 1), 1, false);
}

/* connection:discard(): closes it instead of giving it back. */
static int client_discard(lua_State *L)
{
    return release(L, check_client(L, 1), 1, true);
}

/* <close>: releasing twice is fine here. */
static int client_close(lua_State *L)
{
    struct client *client = check_client(L, 1);
    if (is_out(client))
        release(L, client, 1, false);
    return 0;
}

int tpb_client_release_to(lua_State *L)
{
    struct tpb_db *db = tpb_db_check(L, 1);
    struct client *client = check_client(L, 2);
    struct tp_error err;
    if (client->guard == NULL)
        return fail_released(L, client);
    if (client->guard->pool != db->pool) {
        tp__error_set(&err, TP_ERR_VALIDATION, "the connection is of another pool");
        return tpb_fail(L, &err);
    }
    return release(L, client, 2, false);
}

static int end_exchange(lua_State *L, struct tpb_call *call)
{
    struct tpb_guard *guard = call->state;
    if (call->ok)
        guard->lease = tp_op_take_lease(call->op);
    tpb_call_end(L, call);
    return 0;
}

/* Another connection in place of a dead one, before the end of the call and of its block. */
static bool exchange(lua_State *L, struct tpb_guard *guard, int db_index, struct tp_error *err)
{
    int top = lua_gettop(L);
    int64_t within = tpb_call_own_deadline(L, default_deadline(guard->db));
    int64_t deadline = guard->deadline < within ? guard->deadline : within;
    if (tp_lease_release(&guard->lease, err) != TP_OK)
        return false;
    struct tpb_call *call = tpb_call_push(L, guard->db, db_index, NULL);
    call->state = guard;
    (void)tpb_call_acquire(L, call, deadline, false, end_exchange);
    *err = call->err;
    lua_settop(L, top);
    guard->placed = false;
    return tp_lease_valid(&guard->lease);
}

/* Before the first use: a connection that was taken without a look is exchanged when it is
 * found dead, so that nobody hears of it, if that may block. False: none could be had, and
 * err says why. */
static bool first_use(lua_State *L, struct tpb_guard *guard, int db_index, tp_reactor *reactor,
                      struct tp_error *err)
{
    if (guard->unseen && !tp_lease_look(&guard->lease)) {
        if (reactor != NULL) {
            tp__error_set(err, TP_ERR_CONNECTION, "the connection was lost; release it");
            return false;
        }
        if (!exchange(L, guard, db_index, err))
            return false;
        tp_lease_set_deadline(&guard->lease, guard->deadline);
    }
    guard->unseen = false;
    if (!guard->placed)
        note_place(L, guard);
    return true;
}

/* Pushes the guard and the database, and returns the index of the latter. While the guard is on the
 * stack, its lease is there, even if the client is released meanwhile. */
static int push_guard_and_db(lua_State *L)
{
    lua_getiuservalue(L, 1, 1);
    lua_getiuservalue(L, -1, 1);
    return lua_gettop(L);
}

/* The guard and the database are pushed behind the parameters. */
static struct client *begin(lua_State *L, int *db_index, tp_reactor *reactor, struct tp_error *err)
{
    struct client *client = check_client(L, 1);
    if (!is_out(client)) {
        explain(client, err);
        return NULL;
    }
    *db_index = push_guard_and_db(L);
    if ((client->guard->unseen || !client->guard->placed) &&
        !first_use(L, client->guard, *db_index, reactor, err))
        return NULL;
    return client;
}

static int query(lua_State *L, enum tpb_answer answer, tp_reactor *reactor)
{
    int last = lua_gettop(L), db_index;
    struct tp_error err;
    struct client *client = begin(L, &db_index, reactor, &err);
    if (client == NULL)
        return tpb_fail(L, &err);
    return tpb_call_query(L, tpb_db_check(L, db_index), db_index, last, &client->guard->lease,
                          answer, reactor);
}

static int client_query_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_ROWS, reactor);
}

static int client_one_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_ONE, reactor);
}

static int client_value_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_VALUE, reactor);
}

static int client_exec_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_COMMAND, reactor);
}

static int client_script_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_SCRIPT, reactor);
}

static int client_control_body(lua_State *L, tp_reactor *reactor)
{
    return query(L, TPB_TAG, reactor);
}

typedef int pipeline_fn(lua_State *, struct tpb_db *, int, const tp_lease *, tp_reactor *);

static int run_pipeline(lua_State *L, pipeline_fn *run, tp_reactor *reactor)
{
    int db_index;
    struct tp_error err;
    lua_settop(L, 3);
    struct client *client = begin(L, &db_index, reactor, &err);
    if (client == NULL)
        return tpb_fail(L, &err);
    return run(L, tpb_db_check(L, db_index), db_index, &client->guard->lease, reactor);
}

static int client_pipeline_body(lua_State *L, tp_reactor *reactor)
{
    return run_pipeline(L, tpb_pipeline_run, reactor);
}

static int client_query_many_body(lua_State *L, tp_reactor *reactor)
{
    return run_pipeline(L, tpb_pipeline_many, reactor);
}

/* All its errors are raised. */
static int client_each_body(lua_State *L, tp_reactor *reactor)
{
    int last = lua_gettop(L), db_index;
    struct tp_error err;
    struct client *client = begin(L, &db_index, reactor, &err);
    if (client == NULL) {
        tpb_push_error(L, &err);
        return lua_error(L);
    }
    return tpb_stream_each(L, tpb_db_check(L, db_index), db_index, db_index - 1, last,
                           &client->guard->lease, reactor);
}

static int client_copy_body(lua_State *L, tp_reactor *reactor)
{
    struct tp_error err;
    int db_index;
    lua_settop(L, 3);
    struct client *client = begin(L, &db_index, reactor, &err);
    if (client == NULL)
        return tpb_fail(L, &err);
    return tpb_copy_begin(L, tpb_db_check(L, db_index), db_index, &client->guard->lease, reactor);
}

static int client_ping_body(lua_State *L, tp_reactor *reactor)
{
    struct client *client = check_client(L, 1);
    struct tp_error err;
    lua_settop(L, 2);
    if (!is_out(client))
        return fail_released(L, client);
    int db_index = push_guard_and_db(L);
    if (client->guard->unseen && !first_use(L, client->guard, db_index, reactor, &err)) {
        lua_pushboolean(L, false);
        tpb_push_error(L, &err);
        return 2;
    }
    return tpb_call_ping(L, tpb_db_check(L, db_index), db_index, &client->guard->lease, 2, reactor);
}

static const struct tpb_db *client_db(lua_State *L)
{
    return check_client(L, 1)->db;
}

TPB_AWAITS(client_query, client_db)
TPB_AWAITS(client_one, client_db)
TPB_AWAITS(client_value, client_db)
TPB_AWAITS(client_exec, client_db)
TPB_AWAITS(client_script, client_db)
TPB_AWAITS(client_control, client_db)
TPB_AWAITS(client_pipeline, client_db)
TPB_AWAITS(client_query_many, client_db)
TPB_AWAITS(client_each, client_db)
TPB_AWAITS(client_copy, client_db)
TPB_AWAITS(client_ping, client_db)

static int client_backend_pid(lua_State *L)
{
    struct client *client = check_client(L, 1);
    struct tp_error err;
    if (!is_out(client))
        return fail_released(L, client);
    if (client->guard->unseen && !first_use(L, client->guard, push_guard_and_db(L), NULL, &err))
        return tpb_fail(L, &err);
    lua_pushinteger(L, tp_lease_backend_pid(&client->guard->lease));
    return 1;
}

void tpb_client_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"release", client_release},
        {"discard", client_discard},
        {"transaction_state", tpb_client_transaction_state},
        {"_xact", tpb_client_xact},
        {"_until", tpb_client_until},
        {"_mark", tpb_client_mark},
        {"backend_pid", client_backend_pid},
        {"is_released", tpb_client_is_released},
        {NULL, NULL},
    };
    static const struct tpb_awaited awaited[] = {
        TPB_AWAITED("query", client_query),
        TPB_AWAITED("one", client_one),
        TPB_AWAITED("value", client_value),
        TPB_AWAITED("exec", client_exec),
        TPB_AWAITED("script", client_script),
        TPB_AWAITED("_each", client_each),
        TPB_AWAITED("query_many", client_query_many),
        TPB_AWAITED("_pipeline", client_pipeline),
        TPB_AWAITED("control", client_control),
        TPB_AWAITED("_copy", client_copy),
        TPB_AWAITED("ping", client_ping),
        {NULL, NULL, NULL},
    };
    tpb_guard_open(L);
    luaL_newmetatable(L, TPB_CLIENT);
    lua_pushcfunction(L, client_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, tpb_client_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    tpb_set_awaited(L, awaited);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_remove(L, -2);
}
