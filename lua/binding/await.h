/* How a method waits: by blocking the thread, or by going back to Lua.
 *
 * A method that can wait has a body, `int body(lua_State *L, tp_reactor *reactor)`, with the
 * arguments on the stack as Lua gave them. With NULL it blocks. With a reactor it returns,
 * when it has to wait, what tpb_call_wait leaves (core.waits, the call, its key); Lua parks
 * the coroutine and calls core.resume(call) when the reactor says so, again and again, until
 * what comes back are the method's results. So nothing ever yields across C.
 *
 * Which of the two: on the main coroutine, and on a database that was opened to block, the
 * method calls its body at once. Anything else is left to the function that
 * lua/tidepool/await gave to core.set_await: await(adapter, begin, arguments...). It
 * finds the event loop and calls begin(reactor or nil, arguments...). Where C functions cannot be
 * yielded across (Lua 5.1, LuaJIT), Lua wraps the methods itself.
 *
 * Thread: the lua_State's. */
#ifndef TPB_AWAIT_H
#define TPB_AWAIT_H

#include "compat.h"
#include "db.h"
#include "tidepool.h"

#define TPB_HUB "tidepool.reactor"

typedef int tpb_body(lua_State *L, tp_reactor *reactor);

/* Whether the method may call its body at once. */
static inline bool tpb_may_block(lua_State *L, const struct tpb_db *db)
{
#if LUA_VERSION_NUM >= 502
    return db->home == L || db->blocks;
#else
    (void)L;
    (void)db;
    return true; /* whoever wrapped the method has looked */
#endif
}

/* A method and the function that begins it with a reactor: TPB_AWAITS(db_query, db_of) makes
 * db_query and db_query_begin of db_query_body; db_of(L) is the database of the object at
 * index 1, or raises an error. */
#define TPB_AWAITS(name, db_of)                                                              \
    static int name##_begin(lua_State *L)                                                    \
    {                                                                                        \
        return tpb_begin(L, name##_body);                                                    \
    }                                                                                        \
    static int name(lua_State *L)                                                            \
    {                                                                                        \
        const struct tpb_db *db = db_of(L);                                                  \
        return tpb_may_block(L, db) ? name##_body(L, NULL) : tpb_await(L, db, name##_begin); \
    }

/* Leaves the call to Lua's await function. */
int tpb_await(lua_State *L, const struct tpb_db *db, lua_CFunction begin);
int tpb_begin(lua_State *L, tpb_body *body);

/* The coroutine that is not one; NULL where Lua cannot tell. */
lua_State *tpb_main_coroutine(lua_State *L);

/* What stands for the program's coroutine that L is, or is a part of, in a deadlock. */
uintptr_t tpb_task(lua_State *L);

/* Methods that can wait, for the table of methods on top of the stack. */
struct tpb_awaited {
    const char *name;
    lua_CFunction method, begin;
};
#define TPB_AWAITED(lua_name, name)  \
    {                                \
        lua_name, name, name##_begin \
    }
void tpb_set_awaited(lua_State *L, const struct tpb_awaited *methods);

/* Pushes the table that Lua made the reactor for. */
void tpb_push_hub(lua_State *L, const tp_reactor *reactor);
/* Operations that another's step set going are told of at once. */
void tpb_tell_news(lua_State *L, tp_reactor *reactor);

/* The functions of the module: reactor, resume, set_await and the value waits. */
void tpb_await_open(lua_State *L, int module);

#endif
