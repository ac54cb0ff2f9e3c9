/* db:tls() and db:reload_tls(). */
#ifndef TPB_TLS_TABLE_H
#define TPB_TLS_TABLE_H

#include "compat.h"

/* Adds the methods to the table on the top. */
void tpb_tls_set_methods(lua_State *L);

#endif
