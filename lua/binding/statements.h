/* db:statements(): what the pool knows of its statements. Thread: the lua_State's. */
#ifndef TPB_STATEMENTS_H
#define TPB_STATEMENTS_H

#include "db.h"

/* Adds the method to the table on the top. */
void tpb_statements_set_methods(lua_State *L);

#endif
