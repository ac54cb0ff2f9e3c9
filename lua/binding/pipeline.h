/* Many executions in one round trip: the C side of db:pipeline and db:query_many.
 *
 * Errors: nil and an error whose message names the item; it has the number as `item`, too.
 * Owns: nothing beyond the call. Thread: the lua_State's. */
#ifndef TPB_PIPELINE_H
#define TPB_PIPELINE_H

#include "compat.h"
#include "db.h"
#include "tidepool.h"

/* Index 2: a list of {sql or {sql, options...}, parameters..., n =, answer = "query", "one",
 * "value" or "exec"}, index 3: {timeout_ms =} or nil. Returns the list of the answers. */
int tpb_pipeline_run(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease,
                     tp_reactor *reactor);

/* Index 2: SQL text or {sql, options...}, index 3: a list of lists of parameters. Returns
 * {command =, count =} and, when the statement returns rows, a result for each list. */
int tpb_pipeline_many(lua_State *L, struct tpb_db *db, int db_index, const tp_lease *lease,
                      tp_reactor *reactor);

#endif
