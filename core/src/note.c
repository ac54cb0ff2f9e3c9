#include "note.h"

#include <string.h>

void tp__note_write(struct tp_note *note, const char *text, size_t len)
{
    uint64_t version = atomic_load_explicit(&note->version, memory_order_relaxed);
    if (len > TP_NOTE_ROOM - 1)
        len = TP_NOTE_ROOM - 1;
    atomic_store_explicit(&note->version, version + 1, memory_order_relaxed);
    for (size_t at = 0; at <= len; at += sizeof(uint64_t)) { /* the last one has the NUL */
        uint64_t word = 0;
        size_t left = len - at;
        if (left > 0)
            memcpy(&word, text + at, left < sizeof word ? left : sizeof word);
        atomic_store_explicit(&note->words[at / sizeof word], word, memory_order_release);
    }
    atomic_store_explicit(&note->version, version + 2, memory_order_release);
}

void tp__note_read(const struct tp_note *note, char out[TP_NOTE_ROOM])
{
    enum { TRIES = 100 };
    for (int i = 0; i < TRIES; i++) {
        uint64_t words[TP_NOTE_WORDS];
        uint64_t version = atomic_load_explicit(&note->version, memory_order_acquire);
        for (size_t w = 0; w < TP_NOTE_WORDS; w++)
            words[w] = atomic_load_explicit(&note->words[w], memory_order_acquire);
        memcpy(out, words, sizeof words);
        out[TP_NOTE_ROOM - 1] = '\0';
        if (version % 2 == 0 &&
            atomic_load_explicit(&note->version, memory_order_relaxed) == version)
            return;
    }
    out[0] = '\0';
}
