/* What a database tells of itself: db:stats(), db:state(), db:is_connected(), db:is_configured(),
 * db:option(). Thread: the lua_State's. */
#ifndef TPB_REPORT_H
#define TPB_REPORT_H

#include "db.h"

/* Adds the methods to the table on the top. */
void tpb_report_set_methods(lua_State *L);
/* What the pool's state is to this object; `count` and `last` as tp_pool_get_state. */
enum tp_pool_state tpb_report_state(const struct tpb_db *db, uint64_t *count,
                                    struct tp_error *last);

#endif
