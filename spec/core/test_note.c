/* note.c: a text is read as it was written, also while it is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "note.h"

static void check(const char *text, const char *expected)
{
    struct tp_note note = {0};
    char out[TP_NOTE_ROOM];
    tp__note_write(&note, "something else that was there before", 36);
    tp__note_write(&note, text, strlen(text));
    tp__note_read(&note, out);
    assert_string_equal(out, expected);
}

static void texts_of_all_lengths_are_kept_and_cut_at_119_bytes(void **state)
{
    (void)state;
    char text[200] = "", expected[200];
    for (size_t len = 0; len < sizeof text - 1; len++) {
        memset(text, 'a' + (int)(len % 26), len);
        text[len] = '\0';
        memcpy(expected, text, sizeof text);
        expected[TP_NOTE_ROOM - 1] = '\0';
        check(text, expected);
    }
}

static void one_that_was_never_written_is_empty(void **state)
{
    (void)state;
    struct tp_note note = {0};
    char out[TP_NOTE_ROOM] = "x";
    tp__note_read(&note, out);
    assert_string_equal(out, "");
    tp__note_write(&note, NULL, 0);
    tp__note_read(&note, out);
    assert_string_equal(out, "");
}

enum { WRITES = 200000 };

static _Atomic bool over;

static void *write_on(void *arg)
{
    for (unsigned i = 0; i < WRITES; i++) {
        char text[TP_NOTE_ROOM];
        size_t len = 1 + i % (sizeof text - 1);
        memset(text, 'a' + (int)(i % 26), len);
        tp__note_write(arg, text, len);
    }
    atomic_store(&over, true);
    return NULL;
}

/* Each text is one letter over and over, so a mixture of two shows. */
static void a_reader_never_sees_parts_of_two_texts(void **state)
{
    (void)state;
    static struct tp_note note;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_on, &note), 0);
    while (!atomic_load(&over)) {
        char out[TP_NOTE_ROOM], same[2] = {0};
        tp__note_read(&note, out);
        same[0] = out[0];
        assert_int_equal(strspn(out, same), strlen(out));
    }
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_all_lengths_are_kept_and_cut_at_119_bytes),
        cmocka_unit_test(one_that_was_never_written_is_empty),
        cmocka_unit_test(a_reader_never_sees_parts_of_two_texts),
    };
    return cmocka_run_group_tests_name("note", tests, NULL, NULL);
}
