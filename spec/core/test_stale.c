/* stale.c: every connection hears of every stale statement, or drops all it has. */
#include "fake_pool.h"

#include <pthread.h>

#include "stale.h"

static void news_are_told_once_to_each_reader(void **state)
{
    (void)state;
    static struct tp_stale stale;
    uint64_t seen[2] = {0, 0};
    tp__stale_init(&stale);
    assert_false(tp__stale_has_news(&stale, seen[0]));
    tp__stale_tell(&stale, 11);
    tp__stale_tell(&stale, 22);
    for (int reader = 0; reader < 2; reader++) {
        assert_true(tp__stale_has_news(&stale, seen[reader]));
        assert_int_equal(tp__stale_next(&stale, &seen[reader]), 11);
        assert_true(tp__stale_has_news(&stale, seen[reader]));
        assert_int_equal(tp__stale_next(&stale, &seen[reader]), 22);
        assert_false(tp__stale_has_news(&stale, seen[reader]));
    }
    tp__stale_tell(&stale, 33);
    assert_int_equal(tp__stale_next(&stale, &seen[0]), 33);
    assert_false(tp__stale_has_news(&stale, seen[0]));
    tp__stale_deinit(&stale);
}

static void a_reader_as_far_behind_as_the_ring_is_long_misses_nothing(void **state)
{
    (void)state;
    static struct tp_stale stale;
    uint64_t seen = 0;
    tp__stale_init(&stale);
    for (uint64_t i = 1; i <= TP_STALE_ROOM; i++)
        tp__stale_tell(&stale, i);
    for (uint64_t i = 1; i <= TP_STALE_ROOM; i++)
        assert_int_equal(tp__stale_next(&stale, &seen), i);
    assert_false(tp__stale_has_news(&stale, seen));
    tp__stale_deinit(&stale);
}

static void a_reader_who_missed_some_drops_all_and_is_up_to_date(void **state)
{
    (void)state;
    static struct tp_stale stale;
    uint64_t seen = 0;
    tp__stale_init(&stale);
    for (uint64_t i = 1; i <= TP_STALE_ROOM + 1; i++)
        tp__stale_tell(&stale, i);
    assert_int_equal(tp__stale_next(&stale, &seen), 0);
    assert_false(tp__stale_has_news(&stale, seen));
    tp__stale_tell(&stale, 7);
    assert_int_equal(tp__stale_next(&stale, &seen), 7);
    tp__stale_deinit(&stale);
}

static void *tell_many(void *arg)
{
    for (uint64_t i = 1; i <= 20000; i++)
        tp__stale_tell(arg, i);
    return NULL;
}

/* One who reads while another tells gets ever larger numbers or "all". */
static void a_reader_beside_a_writer_never_goes_back(void **state)
{
    (void)state;
    static struct tp_stale stale;
    uint64_t seen = 0, last = 0;
    pthread_t thread;
    tp__stale_init(&stale);
    assert_int_equal(pthread_create(&thread, NULL, tell_many, &stale), 0);
    while (seen < 20000) {
        if (!tp__stale_has_news(&stale, seen))
            continue;
        uint64_t hash = tp__stale_next(&stale, &seen);
        assert_true(hash == 0 || hash > last);
        assert_true(hash == 0 || hash == seen); /* the n-th news is n */
        last = hash != 0 ? hash : seen;
    }
    pthread_join(thread, NULL);
    tp__stale_deinit(&stale);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(news_are_told_once_to_each_reader),
        cmocka_unit_test(a_reader_as_far_behind_as_the_ring_is_long_misses_nothing),
        cmocka_unit_test(a_reader_who_missed_some_drops_all_and_is_up_to_date),
        cmocka_unit_test(a_reader_beside_a_writer_never_goes_back),
    };
    return cmocka_run_group_tests_name("stale", tests, NULL, NULL);
}
