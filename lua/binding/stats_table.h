/* Statistics as a Lua table. Thread: the lua_State's. */
#ifndef TPB_STATS_TABLE_H
#define TPB_STATS_TABLE_H

#include "compat.h"
#include "tidepool.h"

void tpb_push_stats(lua_State *L, const struct tp_stats *stats);

#endif
