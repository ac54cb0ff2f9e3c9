/* What the drivers need of an operation besides tidepool.h. */
#ifndef TP_OP_H
#define TP_OP_H

#include "tidepool.h"

/* Parks the thread while the operation waits without a descriptor: in the pool's queue
 * or between two attempts. Thread: the operation's. */
void tp__op_park(tp_op *op);

/* Whether the connection is not the operation's to use any more: its lease was given back,
 * or it belongs to the parent of this process. What was borrowed of it is gone. */
bool tp__op_is_dispossessed(const tp_op *op);

/* Whoever runs on a connection that is about to be given back hears of it, instead of
 * waiting for an answer that is not its own any more. `user` is a slot's; NULL is fine. */
void tp__op_dispossess(const void *user);

#endif
