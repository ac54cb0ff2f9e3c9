/* tally.c: what is counted in several places adds up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "tally.h"

static struct tp_tally one, two, sum;
static struct tp_lease_tally leases;
static struct tp_stats stats;

static int begin(void **state)
{
    (void)state;
    memset(&one, 0, sizeof one);
    memset(&two, 0, sizeof two);
    memset(&sum, 0, sizeof sum);
    memset(&leases, 0, sizeof leases);
    memset(&stats, 0, sizeof stats);
    return 0;
}

static uint64_t count_of(const char *class)
{
    for (size_t i = 0; i < TP_ERROR_CLASSES; i++) {
        if (strcmp(stats.errors_by_class[i].code, class) == 0)
            return stats.errors_by_class[i].count;
    }
    return 0;
}

static void every_word_of_a_tally_is_summed(void **state)
{
    (void)state;
    _Atomic uint64_t *words = (void *)&one.leases.counts;
    for (size_t i = 0; i < sizeof one.leases.counts / 8; i++)
        words[i] = i + 1;
    words = (void *)&one.counts;
    for (size_t i = 0; i < sizeof one.counts / 8; i++)
        words[i] = 1000 + i;
    struct tp_histogram *const histograms[] = {&one.leases.query, &one.leases.transaction,
                                               &one.leases.held, &one.wait, &one.connect};
    for (size_t i = 0; i < sizeof histograms / sizeof *histograms; i++)
        tp__histogram_record(histograms[i], 10 + (int64_t)i);
    tp__tally_add(&sum, &one);
    tp__tally_add(&sum, &one);
    for (size_t i = 0; i < sizeof sum / 8; i++) {
        uint64_t was = ((uint64_t *)&one)[i], is = ((uint64_t *)&sum)[i];
        bool is_max = &((uint64_t *)&one)[i] == (void *)&one.leases.query.max_us ||
                      &((uint64_t *)&one)[i] == (void *)&one.leases.transaction.max_us ||
                      &((uint64_t *)&one)[i] == (void *)&one.leases.held.max_us ||
                      &((uint64_t *)&one)[i] == (void *)&one.wait.max_us ||
                      &((uint64_t *)&one)[i] == (void *)&one.connect.max_us;
        assert_int_equal(is, is_max ? was : 2 * was);
    }
}

static void leases_are_added_once_something_was_lent(void **state)
{
    (void)state;
    leases.counts.queries = 5;
    tp__tally_add_leases(&sum, &leases);
    assert_int_equal(sum.leases.counts.queries, 0);
    leases.counts.acquires = 1;
    tp__tally_add_leases(&sum, &leases);
    assert_int_equal(sum.leases.counts.queries, 5);
}

static void classes_come_from_the_first_two_characters(void **state)
{
    (void)state;
    tp__classes_add(&one.leases.classes, "23505", 1);
    tp__classes_add(&one.leases.classes, "23503", 2);
    tp__classes_add(&one.leases.classes, "40001", 4);
    tp__classes_add(&one.leases.classes, "", 8);
    tp__classes_add(&one.leases.classes, "2", 8);
    tp__classes_add(&two.leases.classes, "40P01", 16);
    tp__classes_add(&two.leases.classes, "MY001", 32);
    tp__tally_add(&sum, &one);
    tp__tally_add(&sum, &two);
    tp__tally_report(&sum, &stats);
    assert_int_equal(count_of("23"), 3);
    assert_int_equal(count_of("40"), 20);
    assert_int_equal(count_of("MY"), 32);
    assert_string_equal(stats.errors_by_class[3].code, "");
}

/* A program may make up as many as it likes. */
static void classes_that_find_no_room_are_counted_together(void **state)
{
    (void)state;
    char code[16];
    uint64_t all = 0;
    for (int i = 0; i < 90; i++) {
        snprintf(code, sizeof code, "%02d000", i);
        tp__classes_add(&one.leases.classes, code, 1);
        tp__classes_add(&two.leases.classes, code, 1);
    }
    tp__tally_add(&sum, &two);
    tp__tally_add(&sum, &one);
    tp__tally_report(&sum, &stats);
    for (size_t i = 0; i < TP_ERROR_CLASSES; i++)
        all += stats.errors_by_class[i].count;
    assert_int_equal(all, 180);
    assert_int_equal(count_of("00"), 2);
    assert_int_equal(count_of("??"), 2 * (90 - (TP_ERROR_CLASSES - 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_word_of_a_tally_is_summed, begin),
        cmocka_unit_test_setup(leases_are_added_once_something_was_lent, begin),
        cmocka_unit_test_setup(classes_come_from_the_first_two_characters, begin),
        cmocka_unit_test_setup(classes_that_find_no_room_are_counted_together, begin),
    };
    return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
