/* statements.c: least recently used statements go first, and nobody is mixed up. */
#include "fake_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "statements.h"

static struct tp_statement *find(struct tp_statements *statements, const char *sql)
{
    return tp__statements_find(statements, sql, strlen(sql), tp__sql_hash(sql, strlen(sql)));
}

static struct tp_statement *make(struct tp_statements *statements, const char *sql, size_t len,
                                 int nparams, bool named)
{
    char name[TP_STATEMENT_NAME] = "";
    struct tp_description *description = tp__description_new(sql, len, nparams);
    assert_non_null(description);
    if (named)
        tp__statement_name(statements, name);
    struct tp_statement *statement = tp__statement_new(description, name);
    assert_non_null(statement);
    tp__description_release(description); /* the statement has its own reference */
    return statement;
}

/* Inserts a statement with one parameter of type `type`; returns whether one went. */
static bool insert(struct tp_statements *statements, const char *sql, uint32_t type)
{
    struct tp_statement *statement = make(statements, sql, strlen(sql), 1, true);
    statement->description->param_oids[0] = type;
    return tp__statements_insert(statements, statement);
}

static void what_was_inserted_is_found_by_its_text(void **state)
{
    (void)state;
    struct tp_statements statements;
    assert_true(tp__statements_init(&statements, 8));
    assert_null(find(&statements, "select 1"));
    assert_false(insert(&statements, "select $1", 23));
    struct tp_statement *found = find(&statements, "select $1");
    assert_non_null(found);
    assert_string_equal(found->description->sql, "select $1");
    assert_int_equal(found->description->nparams, 1);
    assert_int_equal(found->description->param_oids[0], 23);
    assert_null(find(&statements, "select $"));
    assert_null(find(&statements, "select $1 "));
    assert_null(find(&statements, ""));
    tp__statements_deinit(&statements);
    tp__statements_deinit(&statements); /* is idempotent */
}

static void texts_may_contain_anything(void **state)
{
    (void)state;
    struct tp_statements statements;
    static const char text[] = "select\0 1";
    assert_true(tp__statements_init(&statements, 2));
    struct tp_statement *statement = make(&statements, text, sizeof text - 1, 0, true);
    tp__statements_insert(&statements, statement);
    assert_ptr_equal(tp__statements_find(&statements, text, sizeof text - 1,
                                         tp__sql_hash(text, sizeof text - 1)),
                     statement);
    assert_null(find(&statements, "select"));
    tp__statements_deinit(&statements);
}

static void names_are_never_given_twice(void **state)
{
    (void)state;
    struct tp_statements statements;
    char sql[32], names[200][16];
    assert_true(tp__statements_init(&statements, 3));
    for (int i = 0; i < 200; i++) {
        snprintf(sql, sizeof sql, "select %d", i % 7);
        if (find(&statements, sql) == NULL)
            insert(&statements, sql, 0);
        strcpy(names[i], find(&statements, sql)->name);
        assert_true(strlen(names[i]) > 3);
        struct tp_statement *dead = tp__statements_take_dead(&statements);
        if (dead != NULL) {
            assert_string_not_equal(dead->name, names[i]);
            tp__statement_free(dead);
        }
    }
    assert_string_not_equal(names[0], names[199]);
    tp__statements_deinit(&statements);
}

static void the_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct tp_statements statements;
    assert_true(tp__statements_init(&statements, 3));
    assert_false(insert(&statements, "a", 0));
    assert_false(insert(&statements, "b", 0));
    assert_false(insert(&statements, "c", 0));
    char name_of_b[16];
    strcpy(name_of_b, find(&statements, "b")->name);
    find(&statements, "a");
    find(&statements, "c"); /* b is the oldest by use, a by insertion */
    assert_true(insert(&statements, "d", 0));
    assert_int_equal(statements.count, 3);
    assert_null(find(&statements, "b"));
    assert_non_null(find(&statements, "a"));
    struct tp_statement *dead = tp__statements_take_dead(&statements);
    assert_non_null(dead);
    assert_string_equal(dead->name, name_of_b);
    tp__statement_free(dead);
    assert_null(tp__statements_take_dead(&statements));
    tp__statements_deinit(&statements);
}

/* Every step against a list that is searched from its front. */
static void it_behaves_as_a_plain_list_does(void **state)
{
    (void)state;
    enum { ROOM = 5, TEXTS = 12 };
    struct tp_statements statements;
    int model[ROOM + 1], count = 0;
    unsigned seed = 12345;
    assert_true(tp__statements_init(&statements, ROOM));
    for (int step = 0; step < 5000; step++) {
        char sql[32];
        int at = 0;
        seed = seed * 1103515245u + 12345u;
        int text = (int)(seed >> 16) % TEXTS;
        snprintf(sql, sizeof sql, "select %d from somewhere", text);
        while (at < count && model[at] != text)
            at++;
        struct tp_statement *found = find(&statements, sql);
        assert_int_equal(found != NULL, at < count);
        if (found == NULL)
            assert_int_equal(insert(&statements, sql, 0), count == ROOM);
        if (at == count && count < ROOM)
            count++;
        if (at == ROOM)
            at = ROOM - 1;
        memmove(&model[1], &model[0], (size_t)at * sizeof model[0]);
        model[0] = text;
        assert_int_equal(statements.count, count);
        struct tp_statement *dead = tp__statements_take_dead(&statements);
        tp__statement_free(dead);
    }
    tp__statements_deinit(&statements);
}

/* All in one bucket, and some with the very same hash. */
static void texts_that_collide_are_kept_apart(void **state)
{
    (void)state;
    struct tp_statements statements;
    char sql[32];
    assert_true(tp__statements_init(&statements, 16));
    for (int i = 0; i < 16; i++) {
        snprintf(sql, sizeof sql, "q%d", i);
        struct tp_statement *statement = make(&statements, sql, strlen(sql), 1, true);
        statement->description->hash = 16; /* as if */
        statement->description->param_oids[0] = (uint32_t)i;
        tp__statements_insert(&statements, statement);
    }
    for (int i = 15; i >= 0; i--) {
        snprintf(sql, sizeof sql, "q%d", i);
        struct tp_statement *found = tp__statements_find(&statements, sql, strlen(sql), 16);
        assert_non_null(found);
        assert_int_equal(found->description->param_oids[0], i);
    }
    assert_null(tp__statements_find(&statements, "q1", 2, 32)); /* that bucket, another hash */
    assert_true(insert(&statements, "one more", 0)); /* q15 was found first, so it goes */
    assert_null(tp__statements_find(&statements, "q15", 3, 16));
    assert_non_null(tp__statements_find(&statements, "q0", 2, 16));
    tp__statements_drop(&statements, 16); /* from the middle, the front and the end */
    assert_int_equal(statements.count, 1);
    assert_non_null(find(&statements, "one more"));
    tp__statements_deinit(&statements);
}

static int take_all_dead(struct tp_statements *statements)
{
    int count = 0;
    struct tp_statement *dead;
    while ((dead = tp__statements_take_dead(statements)) != NULL) {
        tp__statement_free(dead);
        count++;
    }
    return count;
}

static void dropping_by_hash_leaves_the_others(void **state)
{
    (void)state;
    struct tp_statements statements;
    assert_true(tp__statements_init(&statements, 8));
    insert(&statements, "a", 0);
    insert(&statements, "b", 0);
    insert(&statements, "c", 0);
    tp__statements_drop(&statements, tp__sql_hash("b", 1));
    tp__statements_drop(&statements, tp__sql_hash("never seen", 10));
    assert_null(find(&statements, "b"));
    assert_non_null(find(&statements, "a"));
    assert_non_null(find(&statements, "c"));
    assert_int_equal(take_all_dead(&statements), 1);
    tp__statements_drop(&statements, 0);
    assert_int_equal(statements.count, 0);
    assert_null(find(&statements, "a"));
    assert_int_equal(take_all_dead(&statements), 2);
    insert(&statements, "a", 5); /* it goes on after that */
    assert_int_equal(find(&statements, "a")->description->param_oids[0], 5);
    tp__statements_deinit(&statements);
}

static void forgetting_leaves_no_names_for_the_server(void **state)
{
    (void)state;
    struct tp_statements statements;
    assert_true(tp__statements_init(&statements, 2));
    insert(&statements, "a", 0);
    insert(&statements, "b", 0);
    insert(&statements, "c", 0);
    tp__statements_forget(&statements);
    assert_null(tp__statements_take_dead(&statements));
    assert_null(find(&statements, "b"));
    assert_int_equal(statements.count, 0);
    assert_false(insert(&statements, "b", 0));
    assert_false(insert(&statements, "d", 0));
    assert_true(insert(&statements, "e", 0));
    tp__statements_deinit(&statements);
}

static void the_oldest_dead_name_is_given_first(void **state)
{
    (void)state;
    struct tp_statements statements;
    char first[16];
    assert_true(tp__statements_init(&statements, 1));
    insert(&statements, "a", 0);
    strcpy(first, find(&statements, "a")->name);
    insert(&statements, "b", 0);
    insert(&statements, "c", 0);
    struct tp_statement *dead = tp__statements_take_dead(&statements);
    assert_string_equal(dead->name, first);
    tp__statement_free(dead);
    assert_int_equal(take_all_dead(&statements), 1);
    tp__statements_deinit(&statements);
}

static void statements_without_a_name_need_no_farewell(void **state)
{
    (void)state;
    struct tp_statements statements;
    assert_true(tp__statements_init(&statements, 1));
    for (int i = 0; i < 3; i++) {
        char sql[32];
        snprintf(sql, sizeof sql, "select %d", i);
        struct tp_statement *one = make(&statements, sql, strlen(sql), 0, false);
        assert_string_equal(one->name, "");
        tp__statements_insert(&statements, one);
    }
    assert_null(tp__statements_take_dead(&statements));
    tp__statements_deinit(&statements);
}

static void a_room_of_none_is_a_room_of_one(void **state)
{
    (void)state;
    struct tp_statements statements;
    assert_true(tp__statements_init(&statements, 0));
    assert_false(insert(&statements, "a", 0));
    assert_true(insert(&statements, "b", 0));
    assert_non_null(find(&statements, "b"));
    tp__statements_deinit(&statements);
}

/* Texts of a real program: the same beginning, other numbers, all lengths. */
static void the_hash_spreads_similar_texts(void **state)
{
    (void)state;
    enum { TEXTS = 4096, BUCKETS = 256 };
    static int buckets[BUCKETS];
    int fullest = 0;
    for (int i = 0; i < TEXTS; i++) {
        char sql[128];
        int len =
            snprintf(sql, sizeof sql, "select a, b from t where id = %d and x = $%d", i, i % 9);
        uint64_t hash = tp__sql_hash(sql, (size_t)len);
        assert_true(hash != 0); /* kept for "all" */
        int now = ++buckets[hash & (BUCKETS - 1)];
        fullest = now > fullest ? now : fullest;
    }
    assert_true(fullest < 40); /* 16 on average; 40 has odds of one in a million */
    assert_true(tp__sql_hash("", 0) != 0);
    assert_true(tp__sql_hash("a", 1) != tp__sql_hash("b", 1));
    assert_true(tp__sql_hash("aaaaaaaa", 8) != tp__sql_hash("aaaaaaaaa", 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_inserted_is_found_by_its_text),
        cmocka_unit_test(texts_may_contain_anything),
        cmocka_unit_test(names_are_never_given_twice),
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(it_behaves_as_a_plain_list_does),
        cmocka_unit_test(texts_that_collide_are_kept_apart),
        cmocka_unit_test(dropping_by_hash_leaves_the_others),
        cmocka_unit_test(forgetting_leaves_no_names_for_the_server),
        cmocka_unit_test(the_oldest_dead_name_is_given_first),
        cmocka_unit_test(statements_without_a_name_need_no_farewell),
        cmocka_unit_test(a_room_of_none_is_a_room_of_one),
        cmocka_unit_test(the_hash_spreads_similar_texts),
    };
    return cmocka_run_group_tests_name("statements", tests, NULL, NULL);
}
