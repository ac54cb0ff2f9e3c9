#include "note.h"

#include <string.h>

static void put(struct tp_note *note, size_t at, uint64_t word)
{
    atomic_store_explicit(&note->words[at / sizeof word], word, memory_order_release);
}

void tp__note_write(struct tp_note *note, const char *text, size_t len)
{
    uint64_t version = atomic_load_explicit(&note->version, memory_order_relaxed);
    uint64_t word;
    size_t at = 0;
    if (len > TP_NOTE_ROOM - 1)
        len = TP_NOTE_ROOM - 1;
    atomic_store_explicit(&note->version, version + 1, memory_order_relaxed);
    for (; at + sizeof word <= len; at += sizeof word) {
        memcpy(&word, text + at, sizeof word);
        put(note, at, word);
    }
    word = 0; /* with the NUL */
    if (at < len)
        memcpy(&word, text + at, len - at);
    put(note, at, word);
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
