/* Telling the program of its calls: the functions on_start, on_query and on_lease of the database's
 * state, which log and events have put there (see lua/tidepool/log.lua). Nothing is told, and
 * next to nothing spent, when nobody wants to know. Thread: the lua_State's. */
#ifndef TPB_TELL_H
#define TPB_TELL_H

#include "call.h"

/* Whether on_query is to hear of a call that took so long. */
static inline bool tpb_is_told(lua_State *L, const struct tpb_db *db, int64_t elapsed_us)
{
    return db->watch_queries || (db->slow_us > 0 && elapsed_us >= db->slow_us) ||
           (db->watch_tasks && L != db->home);
}

/* A call that begins. */
struct tpb_start {
    int sql;            /* stack index of its text */
    int first, nparams; /* of its parameters; first 0: they are not on the stack */
    int tags;           /* stack index of its own ones, or 0 */
    const tp_lease *lease;
};
/* Pushes what on_start gives, a table that goes with the call, and returns its index; 0: nothing
 * is pushed. */
int tpb_announce(lua_State *L, int db_index, const struct tpb_start *start);
static inline int tpb_announce_if(lua_State *L, const struct tpb_db *db, int db_index,
                                  const struct tpb_start *start)
{
    return db->watch_starts ? tpb_announce(L, db_index, start) : 0;
}

/* A call that has ended. */
struct tpb_told {
    int sql, span; /* stack indices; span 0: none */
    int nparams;
    bool whole; /* the text is one statement, as the server has prepared it */
    int64_t elapsed_us, rows;
    const char *command;
    const struct tp_error *err; /* NULL: it was good */
};
/* What is known of it by its operation, while that is the call's. */
struct tpb_told tpb_told_of(const tp_op *op);
void tpb_tell(lua_State *L, const struct tpb_db *db, int db_index, const struct tpb_told *told);

/* A connection was lent ("acquire", after `us` of waiting) or came back ("release", after `us`). */
void tpb_tell_lease(lua_State *L, int db_index, const char *event, int64_t us, int backend_pid);

#endif
