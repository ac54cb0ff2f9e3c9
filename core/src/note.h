/* One notification, between the connection that reads it and whoever is to have it. */
#ifndef TP_NOTE_H
#define TP_NOTE_H

/* Texts are borrowed for the call. */
typedef void tp_note_fn(void *ctx, const char *channel, const char *payload, int backend_pid);

#endif
