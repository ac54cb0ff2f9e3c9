/* digest.c: statistics of statements, bounded whatever comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "digest.h"

static void note(struct tp_digests *digests, const char *sql, int64_t us, int64_t rows, bool failed)
{
    struct tp_digest_call call = {
        .sql = sql, .sql_len = strlen(sql), .us = us, .rows = rows, .failed = failed};
    tp__digests_note(digests, &call);
}

/* The entry with this text, a reference of the caller's; NULL: none. */
static struct tp_digest *entry_of(struct tp_digests *digests, const char *text)
{
    struct tp_digest **list = calloc((size_t)digests->room + 1, sizeof *list), *found = NULL;
    int count = tp__digests_list(digests, list);
    for (int i = 0; i < count; i++) {
        if (strcmp(list[i]->text, text) == 0)
            found = list[i];
        else
            tp__digest_release(list[i]);
    }
    free(list);
    return found;
}

static void calls_are_counted_by_what_texts_have_in_common(void **state)
{
    struct tp_digests digests;
    (void)state;
    assert_true(tp__digests_init(&digests, 10));
    note(&digests, "select * from t where id = 1", 100, 1, false);
    note(&digests, "SELECT * FROM t WHERE id = 22", 300, 2, false);
    note(&digests, "select * from t where id = 'x' -- again", 200, 0, true);
    note(&digests, "select 1", 5, 1, false);
    note(&digests, " -- nothing", 5, 1, false);
    assert_int_equal(digests.count, 2);
    struct tp_digest *entry = entry_of(&digests, "select * from t where id = ?");
    assert_non_null(entry);
    assert_int_equal(entry->calls, 3);
    assert_int_equal(entry->rows, 3);
    assert_int_equal(entry->errors, 1);
    assert_int_equal(entry->total_us, 600);
    assert_int_equal(entry->max_us, 300);
    tp__digest_release(entry);
    tp__digests_deinit(&digests);
}

static void nothing_is_counted_with_no_room(void **state)
{
    struct tp_digests digests;
    (void)state;
    assert_true(tp__digests_init(&digests, 0));
    note(&digests, "select 1", 1, 1, false);
    assert_int_equal(tp__digests_list(&digests, NULL), 0);
    tp__digests_deinit(&digests);
}

static void percentiles_are_near(void **state)
{
    struct tp_digests digests;
    (void)state;
    for (int64_t us = 1; us < INT64_C(1) << 35; us = us * 5 / 4 + 1) {
        assert_true(tp__digests_init(&digests, 1));
        for (int i = 0; i < 98; i++)
            note(&digests, "select 1", us / 3, 1, false);
        note(&digests, "select 1", us, 1, false);
        note(&digests, "select 1", us * 2, 1, false);
        struct tp_digest *entry = entry_of(&digests, "select ?");
        int64_t p99 = tp__digest_quantile(entry, 0.99), p50 = tp__digest_quantile(entry, 0.5);
        assert_true(llabs(p99 - us) * 100 <= us * 12);
        assert_true(llabs(p50 - us / 3) * 100 <= us / 3 * 12);
        assert_true(tp__digest_quantile(entry, 1) <= us * 2);
        tp__digest_release(entry);
        tp__digests_deinit(&digests);
    }
}

/* Names differ, so that the texts do. */
static void note_distinct(struct tp_digests *digests, int i)
{
    char sql[80];
    snprintf(sql, sizeof sql, "select a, b, c from table_%d where id = %d", i, i);
    note(digests, sql, 50, 1, false);
}

static void heavy_statements_outlast_a_million_others(void **state)
{
    enum { DISTINCT = 1000000, HEAVY = 20, EVERY = 100 };
    struct tp_digests digests;
    uint64_t calls = 0;
    (void)state;
    assert_true(tp__digests_init(&digests, 500));
    for (int i = 0; i < 1000; i++)
        note_distinct(&digests, i);
    size_t before = mallinfo2().uordblks;
    int64_t began = tp_now();
    for (int i = 0; i < DISTINCT; i++) {
        for (int heavy = 0; heavy < HEAVY && i % EVERY == 0; heavy++) {
            char sql[40];
            snprintf(sql, sizeof sql, "select %d from heavy_%d", i, heavy);
            note(&digests, sql, 50, 2, false);
        }
        calls += i % EVERY == 0;
        note_distinct(&digests, i);
    }
    int64_t took = tp_now() - began;
    size_t after = mallinfo2().uordblks;
    printf("%d texts: %lld ns each; %zu kB for %d entries, grown by %lld kB\n", DISTINCT,
           (long long)took * 1000 / DISTINCT, after / 1024, digests.count,
           ((long long)after - (long long)before) / 1024);
    assert_true(digests.count <= 500);
    assert_true(after < before + 64 * 1024);
    for (int heavy = 0; heavy < HEAVY; heavy++) {
        char text[40];
        snprintf(text, sizeof text, "select ? from heavy_%d", heavy);
        struct tp_digest *entry = entry_of(&digests, text);
        assert_non_null(entry);
        assert_int_equal(entry->calls, calls);
        assert_int_equal(entry->rows, 2 * calls);
        tp__digest_release(entry);
    }
    tp__digests_deinit(&digests);
}

static void a_slow_statement_is_worth_many_quick_ones(void **state)
{
    struct tp_digests digests;
    (void)state;
    assert_true(tp__digests_init(&digests, 40));
    note(&digests, "select slow()", 5000000, 1, false);
    for (int i = 0; i < 10000; i++)
        note_distinct(&digests, i % 200);
    struct tp_digest *entry = entry_of(&digests, "select slow()");
    assert_non_null(entry);
    tp__digest_release(entry);
    tp__digests_deinit(&digests);
}

static void a_description_has_its_entry(void **state)
{
    struct tp_digests digests;
    static const char sql[] = "select a from t where b = 7";
    struct tp_description *description = tp__description_new(sql, strlen(sql), 0);
    struct tp_digest_call call = {.description = description, .us = 10, .rows = 1};
    (void)state;
    assert_true(tp__digests_init(&digests, 40));
    tp__digests_note(&digests, &call);
    struct tp_digest *entry = description->digest;
    assert_non_null(entry);
    tp__digests_note(&digests, &call);
    assert_int_equal(entry->calls, 2);

    /* pushed out, and back with what it had */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 300; i++)
            note_distinct(&digests, i / 3);
    }
    assert_true(entry->gone);
    tp__digests_note(&digests, &call);
    assert_false(entry->gone);
    assert_int_equal(entry->calls, 3);
    assert_ptr_equal(description->digest, entry);

    /* another with its text came meanwhile */
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 300; i++)
            note_distinct(&digests, i / 3);
    }
    assert_true(entry->gone);
    note(&digests, sql, 1, 1, false);
    tp__digests_note(&digests, &call);
    assert_int_equal(entry->calls, 3);
    struct tp_digest *other = entry_of(&digests, "select a from t where b = ?");
    assert_int_equal(other->calls, 2);
    tp__digest_release(other);
    tp__digests_deinit(&digests);
    tp__description_release(description);
}

struct crowd {
    struct tp_digests digests;
    struct tp_description *description;
};

static void *count_on(void *arg)
{
    struct crowd *crowd = arg;
    struct tp_digest_call call = {.description = crowd->description, .us = 3, .rows = 1};
    for (int i = 0; i < 20000; i++) {
        tp__digests_note(&crowd->digests, &call);
        if (i % 10 == 0)
            note_distinct(&crowd->digests, i);
    }
    return NULL;
}

static void threads_count_together(void **state)
{
    struct crowd crowd;
    pthread_t threads[4];
    (void)state;
    crowd.description = tp__description_new("select 1", 8, 0);
    assert_true(tp__digests_init(&crowd.digests, 20));
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, count_on, &crowd);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct tp_digest *entry = entry_of(&crowd.digests, "select ?");
    assert_non_null(entry);
    assert_int_equal(entry->calls, 80000);
    tp__digest_release(entry);
    tp__digests_deinit(&crowd.digests);
    tp__description_release(crowd.description);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_counted_by_what_texts_have_in_common),
        cmocka_unit_test(nothing_is_counted_with_no_room),
        cmocka_unit_test(percentiles_are_near),
        cmocka_unit_test(heavy_statements_outlast_a_million_others),
        cmocka_unit_test(a_slow_statement_is_worth_many_quick_ones),
        cmocka_unit_test(a_description_has_its_entry),
        cmocka_unit_test(threads_count_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
