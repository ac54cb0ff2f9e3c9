/* The database object of Lua ("tidepool.db"): a share of a pool.
 *
 * Its userdata has the share, which is closed with it, and some user values, of which the first is
 * its state in Lua: a table with `guards` (free ones, kept for the next acquire), `codecs`
 * (of types that the program has defined), `warnings`, `joined` (whether the pool was open
 * before), `on_event`, `on_query` and `on_password` (functions of lua/tidepool, or nil).
 * Owns: its share. Thread: the lua_State's. */
#ifndef TPB_DB_H
#define TPB_DB_H

#include <stdbool.h>

#include "compat.h"
#include "tidepool.h"

#define TPB_DB "tidepool.db"

/* The user values of a database. */
enum {
    TPB_DB_STATE = 1,
    TPB_DB_OPS,     /* operations that are not busy */
    TPB_DB_GUARD,   /* the guard that was released last */
    TPB_DB_COLUMNS, /* lists of columns by the number of their description */
    TPB_DB_VALUES = TPB_DB_COLUMNS
};

struct tpb_db {
    const void *tag; /* tells the kinds of userdata apart; see tpb_has_tag */
    tp_share *share;
    tp_pool *pool;      /* the share's */
    void *guard;        /* the third user value, or NULL */
    bool notes_places;  /* of every call, for pool.leak_after_ms */
    bool watch_queries; /* on_query wants to hear of every query */
    bool watch_tasks;   /* of every one that is not made on the main coroutine */
    bool watch_starts;  /* and on_start of every one that begins */
    bool watch_leases;  /* and on_lease of connections that are lent and come back */
    int columns_kept;
    int ops_kept;       /* operations that are not busy */
    bool has_codecs;    /* the program has defined types */
    bool has_adapter;   /* it was opened with one */
    bool blocks;        /* it was opened to block, wherever it is called */
    lua_State *home;    /* the coroutine that may be blocked; NULL: none */
    int64_t timeout_ms; /* of a query that says none itself; 0: none */
    int64_t slow_us;    /* and of those that take as long as this; 0: of none */
};

/* Pushes the method table of databases. */
void tpb_db_open(lua_State *L);
/* core.open(url or nil, {name = text, ...}, asks): the object, or nil and an error. With `asks`
 * each new connection has a password that the program makes; see password.h. */
int tpb_db_new(lua_State *L);
/* core.is_configured(url or nil, options, asks): a boolean, or nil and an error. */
int tpb_db_is_configured(lua_State *L);

/* Whether the value at `index` is a full userdata that begins with this tag: several
 * times cheaper than luaL_checkudata, which looks its metatable up by name. */
static inline void *tpb_has_tag(lua_State *L, int index, const void *tag)
{
    void *data = lua_touserdata(L, index); /* also light userdata: those have length 0 */
    if (data == NULL || lua_rawlen(L, index) < sizeof tag || *(const void *const *)data != tag)
        return NULL;
    return data;
}

/* Pushes {type name = {decode =, encode =}} and returns where it is, or returns 0. */
int tpb_db_push_codecs(lua_State *L, const struct tpb_db *db, int index);

struct tpb_call;
/* A call of a database's method that waits has ended: true, or nil and the error. */
int tpb_db_end_of_wait(lua_State *L, struct tpb_call *call);

struct tpb_db *tpb_db_check(lua_State *L, int index);
/* Pushes the state table of the database at `index`. */
void tpb_db_push_state(lua_State *L, int index);
/* Pushes the adapter that the database was opened with, or nil. */
void tpb_db_push_adapter(lua_State *L, const struct tpb_db *db);
/* Tells on_event of what has happened since the last call, if anything has and if
 * somebody listens. */
void tpb_db_dispatch(lua_State *L, struct tpb_db *db, int index);

#endif
