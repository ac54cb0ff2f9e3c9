/*
 * The guard of a lent connection: a userdata whose finalizer notices that the program has lost the
 * connection. It is the database's while nothing is lent, and then serves one client after the
 * other, so that an acquire makes none.
 */
#ifndef TPB_GUARD_H
#define TPB_GUARD_H

#include "db.h"
#include "owner.h"
#include "tidepool.h"

#define TPB_GUARD "tidepool.guard"

struct tpb_guard {
    tp_pool *pool;     /* retained: the finalizer may run after the database's */
    struct tpb_db *db; /* kept alive by the user value */
    tp_lease lease;
    struct tpb_owned owned; /* the request of nginx that has it */
    uint64_t use;           /* changes with every acquire and release */
    int64_t deadline;       /* of what is done with it */
    int64_t taken_at;       /* when it was lent, if on_lease wants to know; else 0 */
    bool placed;            /* where the program took it is noted */
    bool unseen;            /* taken without a look */
};

/* Makes the metatable of guards. */
void tpb_guard_open(lua_State *L);

/* Pushes a free guard. The database lets go of it, so that nothing but its client refers to it. */
struct tpb_guard *tpb_guard_push(lua_State *L, struct tpb_db *db, int db_index);

/* Keeps the guard on top of the stack for the next acquire, and pops it. */
void tpb_guard_keep(lua_State *L, struct tpb_db *db, int db_index);

#endif
