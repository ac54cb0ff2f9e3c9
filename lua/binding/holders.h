/* Who has the connections of a pool: db:holders(), and what an error of kind "pool_timeout" has of
 * it. Thread: the lua_State's. */
#ifndef TPB_HOLDERS_H
#define TPB_HOLDERS_H

#include "compat.h"
#include "tidepool.h"

/* Adds the method to the table on the top. */
void tpb_holders_set_methods(lua_State *L);
/* As tpb_push_error and tpb_fail, for what may be an error about the pool: one of kind
 * "pool_timeout" has holders, and blockers if anything is known of them. */
void tpb_push_pool_error(lua_State *L, tp_pool *pool, const struct tp_error *err);
int tpb_fail_pool(lua_State *L, tp_pool *pool, const struct tp_error *err);

#endif
