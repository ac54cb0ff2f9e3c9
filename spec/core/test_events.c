/* events.c: a bounded queue that drops its oldest and counts what it dropped. */
#include "fake_pool.h"

#include <pthread.h>
#include <string.h>

#include "events.h"

static void push(struct tp_events *events, int attempt)
{
    struct tp_event event = {.type = TP_EVENT_RETRY, .attempt = attempt};
    tp__events_push(events, &event);
}

/* The one reader of most of these tests. */
static struct tp_reader reader;

static void begin(struct tp_events *events)
{
    assert_true(tp__events_init(events, TP_EVENTS_ROOM));
    tp__reader_begin(&reader, events);
}

static bool pop(struct tp_events *events, struct tp_event *out, uint64_t *dropped)
{
    return tp__events_read(events, &reader, out, NULL, dropped);
}

/* How many the reader can still have. */
static int waiting(const struct tp_events *events)
{
    uint64_t ahead = atomic_load(&events->written) - atomic_load(&reader.next);
    assert_int_equal(tp__events_has_news(events, &reader), ahead > 0);
    return ahead < TP_EVENTS_ROOM ? (int)ahead : TP_EVENTS_ROOM;
}

static void events_come_out_in_order_and_whole(void **state)
{
    (void)state;
    static struct tp_events events;
    struct tp_event event = {.type = TP_EVENT_NOTICE, .backend_pid = 7, .wall_us = 99};
    struct tp_event out;
    uint64_t dropped = 5;
    begin(&events);
    assert_false(pop(&events, &out, &dropped));
    assert_int_equal(dropped, 0);
    strcpy(event.text, "hello");
    strcpy(event.code, "01000");
    tp__events_push(&events, &event);
    push(&events, 2);
    assert_int_equal(waiting(&events), 2);
    assert_true(pop(&events, &out, NULL));
    assert_memory_equal(&out, &event, sizeof out);
    assert_true(pop(&events, &out, NULL));
    assert_int_equal(out.attempt, 2);
    assert_false(pop(&events, &out, NULL));
    tp__events_deinit(&events);
}

static void a_full_queue_holds_all_it_promises(void **state)
{
    (void)state;
    static struct tp_events events;
    struct tp_event out;
    uint64_t dropped = 1;
    begin(&events);
    for (int i = 0; i < TP_EVENTS_ROOM; i++)
        push(&events, i);
    for (int i = 0; i < TP_EVENTS_ROOM; i++) {
        assert_true(pop(&events, &out, &dropped));
        assert_int_equal(out.attempt, i);
    }
    assert_int_equal(dropped, 0);
    tp__events_deinit(&events);
}

static void the_oldest_are_dropped_and_counted(void **state)
{
    (void)state;
    static struct tp_events events;
    struct tp_event out;
    uint64_t dropped = 0;
    int taken = 0;
    begin(&events);
    for (int i = 0; i < 3 * TP_EVENTS_ROOM + 5; i++)
        push(&events, i);
    assert_int_equal(waiting(&events), TP_EVENTS_ROOM);
    assert_true(pop(&events, &out, &dropped));
    assert_int_equal(out.type, TP_EVENT_OVERFLOW);
    assert_string_equal(out.text,
                        "261 events were dropped because nobody took them (limits.events = 128)");
    while (pop(&events, &out, &dropped)) {
        assert_int_equal(out.attempt, 2 * TP_EVENTS_ROOM + 5 + taken);
        taken++;
    }
    assert_int_equal(taken, TP_EVENTS_ROOM);
    assert_int_equal(dropped, 2 * TP_EVENTS_ROOM + 5);
    push(&events, 1); /* the count is of all time */
    assert_true(pop(&events, &out, &dropped));
    assert_int_equal(dropped, 2 * TP_EVENTS_ROOM + 5);
    tp__events_deinit(&events);
}

/* A model in plain arrays, for any mixture of pushes and pops. */
static void the_ring_turns_without_mixing_up(void **state)
{
    (void)state;
    static struct tp_events events;
    struct tp_event out;
    int next_in = 0, next_out = 0;
    begin(&events);
    for (int round = 0; round < 500; round++) {
        for (int i = 0; i < (round * 37) % 90; i++)
            push(&events, next_in++);
        if (next_in - next_out > TP_EVENTS_ROOM)
            next_out = next_in - TP_EVENTS_ROOM;
        for (int i = 0; i < (round * 53) % 90 && next_out < next_in; i++) {
            assert_true(pop(&events, &out, NULL));
            if (out.type == TP_EVENT_OVERFLOW)
                assert_true(pop(&events, &out, NULL));
            assert_int_equal(out.attempt, next_out++);
        }
        assert_int_equal(waiting(&events), next_in - next_out);
    }
    tp__events_deinit(&events);
}

struct pushing {
    struct tp_events *events;
    int count;
};

static void *push_many(void *arg)
{
    struct pushing *pushing = arg;
    for (int i = 1; i <= pushing->count; i++)
        push(pushing->events, i);
    return NULL;
}

static void of_several_threads_every_event_is_taken_or_counted(void **state)
{
    (void)state;
    enum { PUSHERS = 4 };
    static struct tp_events events;
    struct pushing pushing = {.events = &events, .count = fake_rounds(5000)};
    pthread_t threads[PUSHERS];
    struct tp_event out;
    uint64_t dropped = 0, taken = 0, all = (uint64_t)PUSHERS * (uint64_t)pushing.count;
    begin(&events);
    for (int i = 0; i < PUSHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, &pushing), 0);
    int64_t until = tp_now() + FAKE_AT_MOST_US;
    while (taken + dropped < all && tp_now() < until)
        taken += pop(&events, &out, &dropped) && out.type != TP_EVENT_OVERFLOW;
    for (int i = 0; i < PUSHERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(taken + dropped, all);
    tp__events_deinit(&events);
}

static void every_reader_gets_all_that_comes_after_it_has_begun(void **state)
{
    (void)state;
    static struct tp_events events;
    struct tp_reader late;
    struct tp_event out;
    bool first;
    begin(&events);
    push(&events, 1);
    tp__reader_begin(&late, &events);
    assert_false(tp__events_has_news(&events, &late));
    push(&events, 2);
    push(&events, 3);
    assert_true(tp__events_read(&events, &late, &out, &first, NULL));
    assert_int_equal(out.attempt, 2);
    assert_true(first);
    for (int i = 1; i <= 3; i++) {
        assert_true(tp__events_read(&events, &reader, &out, &first, NULL));
        assert_int_equal(out.attempt, i);
        assert_int_equal(first, i != 2);
    }
    assert_true(tp__events_read(&events, &late, &out, &first, NULL));
    assert_int_equal(out.attempt, 3);
    assert_false(first);
    assert_false(tp__events_read(&events, &late, &out, &first, NULL));
    assert_false(first);
    tp__events_deinit(&events);
}

static void a_slow_reader_misses_what_another_has_had(void **state)
{
    (void)state;
    static struct tp_events events;
    struct tp_reader quick;
    struct tp_event out;
    uint64_t dropped = 1;
    begin(&events);
    tp__reader_begin(&quick, &events);
    for (int i = 0; i < TP_EVENTS_ROOM + 7; i++) {
        push(&events, i);
        assert_true(tp__events_read(&events, &quick, &out, NULL, &dropped));
        assert_int_equal(out.attempt, i);
    }
    assert_int_equal(dropped, 0);
    assert_true(pop(&events, &out, &dropped));
    assert_int_equal(out.type, TP_EVENT_OVERFLOW);
    assert_true(pop(&events, &out, &dropped));
    assert_int_equal(out.attempt, 7);
    assert_int_equal(dropped, 7);
    tp__events_deinit(&events);
}

static void what_was_not_taken_before_a_fresh_start_is_not_told(void **state)
{
    (void)state;
    static struct tp_events events;
    struct tp_event out;
    uint64_t dropped = 1;
    begin(&events);
    push(&events, 1);
#if !defined(__SANITIZE_THREAD__)     /* which sees that it is never unlocked */
    pthread_mutex_lock(&events.lock); /* by a thread that is not there any more */
#endif
    tp__events_start_afresh(&events);
    assert_false(pop(&events, &out, &dropped));
    assert_false(tp__events_has_news(&events, &reader));
    push(&events, 2);
    assert_true(pop(&events, &out, &dropped));
    assert_int_equal(out.attempt, 2);
    assert_int_equal(dropped, 0);
    tp__events_deinit(&events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_out_in_order_and_whole),
        cmocka_unit_test(a_full_queue_holds_all_it_promises),
        cmocka_unit_test(the_oldest_are_dropped_and_counted),
        cmocka_unit_test(the_ring_turns_without_mixing_up),
        cmocka_unit_test(every_reader_gets_all_that_comes_after_it_has_begun),
        cmocka_unit_test(a_slow_reader_misses_what_another_has_had),
        cmocka_unit_test(what_was_not_taken_before_a_fresh_start_is_not_told),
        cmocka_unit_test(of_several_threads_every_event_is_taken_or_counted),
    };
    return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
