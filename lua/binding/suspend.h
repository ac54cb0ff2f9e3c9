/* db:suspend(), db:resume() and db:evict_all(). Thread: the lua_State's. */
#ifndef TPB_SUSPEND_H
#define TPB_SUSPEND_H

#include "compat.h"

/* Adds the methods to the table on the top. */
void tpb_suspend_set_methods(lua_State *L);

#endif
