/* Functions of tidepool.core for the parts that speak HTTP: JSON texts, digests, and a program that
 * takes this one's place. */
#ifndef TPB_TOOLS_H
#define TPB_TOOLS_H

#include "compat.h"

/* Sets json_encode, json_decode, same_secret, sha256, time and exec in the table at `index`. */
void tpb_tools_open(lua_State *L, int index);

#endif
