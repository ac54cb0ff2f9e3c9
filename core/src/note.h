/* A short text that one thread writes and others read meanwhile, without a lock.
 *
 * The writer makes the version odd while it writes; a reader whose version has changed reads
 * again. Words are stored with release and read with acquire order, so that no fence is needed
 * (and on x86 no instruction that a plain copy would not have).
 * Owns: nothing. Thread: one writes at a time, any read. */
#ifndef TP_NOTE_H
#define TP_NOTE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { TP_NOTE_WORDS = 15, TP_NOTE_ROOM = 8 * TP_NOTE_WORDS }; /* with the NUL */

struct tp_note {
    _Atomic uint64_t version;
    _Atomic uint64_t words[TP_NOTE_WORDS];
};

/* Bytes as they are, up to a NUL; what does not fit is cut. `text` may be NULL when len is 0. */
void tp__note_write(struct tp_note *note, const char *text, size_t len);
/* Empty when it is written again and again. */
void tp__note_read(const struct tp_note *note, char out[TP_NOTE_ROOM]);

#endif
