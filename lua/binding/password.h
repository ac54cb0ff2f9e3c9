/* Passwords that the program makes: lua/tidepool/password.lua is asked for one in the middle of a
 * call that waits for a connection, and answers when it has one.
 *
 * Thread: the lua_State's. */
#ifndef TPB_PASSWORD_H
#define TPB_PASSWORD_H

#include "call.h"

/* core.give_password(db, ticket, password, or nil, why, passes): `passes`: it is worth another
 * try. Returns whether somebody waited for it. */
int tpb_password_give(lua_State *L);
/* After TP_PASSWORD: calls on_password(db, ticket, hub or nil). */
void tpb_password_ask(lua_State *L, const struct tpb_call *call);

#endif
