/* What a request of nginx holds, so that it can be taken back when the request ends.
 *
 * A request may end while its code is suspended: its client went away, another of its threads
 * called ngx.exit, the worker reloads. Its coroutine is then never resumed, and the collector
 * comes by much later. So whatever is busy for a request (an operation that waits, a leased
 * connection) is attached to the request, and given up by nginx's own cleanup of the request.
 *
 * Owns: nothing of what is attached; the list of a request lives in the request's memory.
 * Outside of nginx's http subsystem nothing is ever attached.
 * Thread: the lua_State's; all of nginx's Lua runs on one. */
#ifndef TPB_OWNER_H
#define TPB_OWNER_H

#include "compat.h"
#include "list.h"

/* A part of what may be held. All zero is: not attached. */
struct tpb_owned {
    struct tp_list link;
    /* The request has ended: detached already. Runs within nginx, so it must neither wait nor
     * call Lua; whoever owns the struct finds it given up later. */
    void (*give_up)(struct tpb_owned *owned);
};

/* core.follow_requests(): from now on this lua_State's code runs in requests of nginx. */
int tpb_owner_follow(lua_State *L);

/* Attaches it to the request whose code runs, if any. `L` is the coroutine that runs. What was
 * attached last is given up first. */
void tpb_owner_attach(lua_State *L, struct tpb_owned *owned,
                      void (*give_up)(struct tpb_owned *owned));
/* Harmless on one that is not attached. Do it before the struct's memory goes. */
void tpb_owner_detach(struct tpb_owned *owned);

#endif
