/* The descriptors that the housekeeper watches. Owns: nothing. Thread: the housekeeper. */
#ifndef TP_KEEPER_EPOLL_H
#define TP_KEEPER_EPOLL_H

#include "pool.h"

/* Tells epoll what (EPOLL*) to report of a slot's descriptor. */
void tp__keeper_arm(tp_pool *pool, struct tp_slot *slot, int fd, uint32_t events);
/* The same for what a chore waits for. */
void tp__keeper_arm_for_wait(tp_pool *pool, struct tp_slot *slot, const struct tp_wait *wait);
/* Before the descriptor is closed. */
void tp__keeper_disarm(tp_pool *pool, struct tp_slot *slot);
/* Sleeps until something is reported, which is then noted in its slot, or the time has come. */
void tp__keeper_sleep(tp_pool *pool, int64_t due);

#endif
