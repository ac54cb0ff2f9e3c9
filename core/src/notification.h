/* One notification, between the connection that reads it and whoever is to have it. */
#ifndef TP_NOTIFICATION_H
#define TP_NOTIFICATION_H

/* Texts are borrowed for the call. */
typedef void tp_notification_fn(void *ctx, const char *channel, const char *payload,
                                int backend_pid);

#endif
