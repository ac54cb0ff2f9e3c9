/* Statistics as a Lua table. Thread: the lua_State's. */
#ifndef TPB_STATS_TABLE_H
#define TPB_STATS_TABLE_H

#include "compat.h"
#include "tidepool.h"

/* `buckets`: with the cumulative counts of each latency, too. */
void tpb_push_stats(lua_State *L, const struct tp_stats *stats, bool buckets);

#endif
