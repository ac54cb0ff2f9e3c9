/* description.c and columns.c: descriptions are counted, find their types, and the shelf that
 * all connections share keeps the ones that were used last. */
#include "fake_pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "description.h"

static int refs(const struct tp_description *description)
{
    return atomic_load(&((struct tp_description *)(uintptr_t)description)->refs);
}

static struct tp_description *make(const char *sql, int nparams)
{
    struct tp_description *description = tp__description_new(sql, strlen(sql), nparams);
    assert_non_null(description);
    return description;
}

/* ------------------------------------------------------------------ descriptions */

static void a_description_begins_with_its_text_alone(void **state)
{
    (void)state;
    static const char text[] = "select\0 $1, $2"; /* may contain anything */
    struct tp_description *description = tp__description_new(text, sizeof text - 1, 2);
    assert_non_null(description);
    assert_int_equal(refs(description), 1);
    assert_false(description->described);
    assert_int_equal(description->sql_len, sizeof text - 1);
    assert_memory_equal(description->sql, text, sizeof text);
    assert_int_equal(description->hash, tp__sql_hash(text, sizeof text - 1));
    assert_int_equal(description->nparams, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(description->param_oids[i], 0);
        assert_null(description->params[i]);
    }
    assert_null(description->columns);
    assert_true(tp__description_is_of(description, text, sizeof text - 1, tp__sql_hash(text, 14)));
    assert_false(tp__description_is_of(description, text, 6, tp__sql_hash(text, 6)));
    assert_false(tp__description_is_of(description, text, 6, description->hash));
    assert_false(tp__description_is_of(description, text, sizeof text - 1, 1));
    assert_false(tp__description_is_of(description, "select\0 $1, $3", 14, description->hash));
    tp__description_release(description);
    tp__description_release(NULL);
}

static void the_last_release_frees_it(void **state)
{
    (void)state;
    struct tp_description *description = make("select $1", 1);
    description->columns = tp__columns_new(1, 2);
    tp__columns_add(description->columns, "a", 23);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(tp__description_retain(description), description);
    assert_int_equal(refs(description), 4);
    for (int i = 3; i > 0; i--) {
        tp__description_release(description);
        assert_int_equal(refs(description), i);
    }
    tp__description_release(description); /* the sanitizer sees what is left, or used again */
}

/* Only what the server plans is refused by it when its columns are other ones. */
static void plain_statements_are_told_from_others_by_their_first_word(void **state)
{
    (void)state;
    static const char *const plain[] = {"select 1",
                                        "SELECT 1",
                                        "  \n\t(select 1)",
                                        "((values (1)))",
                                        "insert into a values (1)",
                                        "update a set b = 1",
                                        "delete from a",
                                        "with a as (select 1) table a",
                                        "table a",
                                        "merge into a using b",
                                        "-- fetch\nselect 1",
                                        "/* fetch */select 1",
                                        "/* a /* nested */ one */ select 1",
                                        "/**/--\r\n--\n/*/*/**/*/*/Select",
                                        "--x\r select"};
    static const char *const others[] = {"",
                                         " ",
                                         "fetch all from c",
                                         "execute a",
                                         "call a()",
                                         "show timezone",
                                         "explain select 1",
                                         "declare c cursor for select 1",
                                         "-- select 1",
                                         "--\n-- select",
                                         "/* select",
                                         "/*/ select",
                                         "/* /* */ select",
                                         "-select",
                                         "/select",
                                         "selec",
                                         "begin",
                                         ";select",
                                         "(",
                                         "-",
                                         "/",
                                         "/*",
                                         "copy a to stdout"};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (!tp__sql_is_plain(plain[i], strlen(plain[i])))
            fail_msg("%s", plain[i]);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        size_t len = strlen(others[i]);
        char *copy = malloc(len + (len == 0)); /* of its size, for the sanitizer */
        memcpy(copy, others[i], len);
        if (tp__sql_is_plain(copy, len))
            fail_msg("%s", others[i]);
        free(copy);
    }
    struct tp_description *description = make("select 1", 0), *other = make("fetch c", 0);
    assert_true(description->plain);
    assert_false(other->plain);
    tp__description_release(description);
    tp__description_release(other);
}

/* ----------------------------------------------------------------------- types */

/* Makes a type of the catalog: a row as the server would give it. */
static void learn(struct tp_catalog *catalog, const char *oid, const char *name, const char *kind,
                  const char *element)
{
    const char *texts[] = {oid, name, "public", kind, element, ",", NULL, NULL};
    struct tp_catalog_answer *answer = tp__catalog_answer_new();
    assert_non_null(answer);
    assert_true(tp__catalog_answer_add(answer, texts));
    assert_true(tp__catalog_learn(catalog, answer, NULL, 0));
}

static void columns_know_whether_they_can_be_binary(void **state)
{
    (void)state;
    static const struct {
        uint32_t oids[3];
        bool binary;
        unsigned needs;
    } cases[] = {
        {{23, 25, 1700}, true, 0},
        {{23, 24, 25}, false, 0}, /* regproc has no codec */
        {{1082, 23, 1186}, true, TP_NEEDS_ISO_DATES | TP_NEEDS_ISO_INTERVALS},
        {{1185, 1082, 16}, true, TP_NEEDS_ISO_DATES | TP_NEEDS_UTC}, /* an array of timestamptz */
        {{3904, 1007, 17}, true, 0},
        {{2211, 23, 23}, false, 0}, /* regtype[] */
    };
    struct tp_catalog catalog;
    tp__catalog_init(&catalog);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tp_columns *columns = tp__columns_new(3, 3 * 3);
        assert_non_null(columns);
        for (int k = 0; k < 3; k++)
            tp__columns_add(columns, (const char *[]){"a", "bc", ""}[k], cases[i].oids[k]);
        assert_int_equal(tp__columns_resolve(columns, &catalog), 0);
        assert_int_equal(columns->binary, cases[i].binary);
        assert_int_equal(columns->needs, cases[i].needs);
        assert_string_equal(columns->list[0].name, "a");
        assert_string_equal(columns->list[1].name, "bc");
        assert_string_equal(columns->list[2].name, "");
        assert_ptr_equal(columns->list[1].type, tp_type_builtin(cases[i].oids[1]));
        tp__columns_free(columns);
    }
    tp__catalog_deinit(&catalog);
}

static void types_that_are_not_known_are_named_once(void **state)
{
    (void)state;
    static const uint32_t params[] = {23, 50001, 0, 50002, 50001};
    static const uint32_t columns[] = {50002, 25, 50003, 50004, 50003};
    struct tp_catalog catalog;
    struct tp_description *description = make("select", 5);
    uint32_t missing[10];
    memset(missing, 0, sizeof missing);
    tp__catalog_init(&catalog);
    memcpy(description->param_oids, params, sizeof params);
    description->columns = tp__columns_new(5, 10);
    for (int i = 0; i < 5; i++)
        tp__columns_add(description->columns, "x", columns[i]);
    assert_int_equal(tp__description_resolve(description, &catalog, missing, 10), 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(missing[i], 50001 + i);
    assert_int_equal(missing[4], 0);
    assert_ptr_equal(description->params[0], tp_type_builtin(23));
    assert_null(description->params[1]);
    assert_null(description->params[2]);
    assert_ptr_equal(description->columns->list[0].type, tp__type_unknown());
    assert_false(description->columns->binary);
    memset(missing, 0, sizeof missing);
    assert_true(tp__description_resolve(description, &catalog, missing, 2) > 2);
    assert_int_equal(missing[1], 50002);
    assert_int_equal(missing[2], 0);
    learn(&catalog, "50001", "mood", "e", "0");
    learn(&catalog, "50002", "moods", "a", "50001");
    learn(&catalog, "50003", "few", "d", "23");
    assert_int_equal(tp__description_resolve(description, &catalog, missing, 10), 1);
    assert_int_equal(missing[0], 50004);
    learn(&catalog, "50004", "other", "b", "0");
    assert_int_equal(tp__description_resolve(description, &catalog, missing, 10), 0);
    assert_string_equal(description->params[4]->name, "mood");
    assert_null(description->params[2]); /* the server finds out by itself */
    assert_int_equal(description->columns->list[4].type->kind, TP_KIND_INT);
    tp__description_release(description);
    tp__catalog_deinit(&catalog);
}

/* ----------------------------------------------------------------------- shelf */

static struct tp_description *find(struct tp_shelf *shelf, const char *sql)
{
    size_t len = strlen(sql);
    return tp__shelf_find(shelf, sql, len, tp__sql_hash(sql, len));
}

static bool has(struct tp_shelf *shelf, const char *sql)
{
    struct tp_description *found = find(shelf, sql);
    tp__description_release(found);
    return found != NULL;
}

/* The shelf alone holds it afterwards. */
static void put(struct tp_shelf *shelf, const char *sql)
{
    struct tp_description *description = make(sql, 0);
    tp__shelf_put(shelf, description);
    assert_int_equal(refs(description), 2);
    tp__description_release(description);
}

static void what_was_put_is_found_and_counted(void **state)
{
    (void)state;
    struct tp_shelf shelf;
    assert_true(tp__shelf_init(&shelf, 4));
    assert_null(find(&shelf, "a"));
    put(&shelf, "a");
    struct tp_description *first = find(&shelf, "a"), *second = find(&shelf, "a");
    assert_non_null(first);
    assert_ptr_equal(first, second);
    assert_int_equal(refs(first), 3);
    assert_false(has(&shelf, "b"));
    assert_false(has(&shelf, ""));
    tp__shelf_drop(&shelf, first->hash);
    assert_false(has(&shelf, "a"));
    assert_int_equal(refs(first), 2); /* who has it may use it on */
    assert_string_equal(second->sql, "a");
    tp__description_release(first);
    tp__description_release(second);
    tp__shelf_deinit(&shelf);
}

static void a_newer_one_of_the_same_text_takes_its_place(void **state)
{
    (void)state;
    struct tp_shelf shelf;
    assert_true(tp__shelf_init(&shelf, 4));
    struct tp_description *old = make("a", 0), *new = make("a", 0);
    put(&shelf, "b");
    tp__shelf_put(&shelf, old);
    tp__shelf_put(&shelf, new);
    assert_int_equal(shelf.count, 2);
    assert_int_equal(refs(old), 1);
    struct tp_description *found = find(&shelf, "a");
    assert_ptr_equal(found, new);
    tp__description_release(found);
    tp__shelf_put(&shelf, new); /* once more is the same */
    assert_int_equal(shelf.count, 2);
    assert_int_equal(refs(new), 2);
    assert_true(has(&shelf, "a"));
    tp__description_release(old);
    tp__description_release(new);
    tp__shelf_deinit(&shelf);
}

static void the_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct tp_shelf shelf;
    assert_true(tp__shelf_init(&shelf, 3));
    put(&shelf, "a");
    put(&shelf, "b");
    put(&shelf, "c");
    assert_true(has(&shelf, "a"));
    put(&shelf, "c"); /* put again is used */
    put(&shelf, "d");
    assert_int_equal(shelf.count, 3);
    assert_false(has(&shelf, "b"));
    assert_true(has(&shelf, "a") && has(&shelf, "c") && has(&shelf, "d"));
    tp__shelf_deinit(&shelf);
    assert_true(tp__shelf_init(&shelf, 0)); /* a room of none is a room of one */
    put(&shelf, "a");
    put(&shelf, "b");
    assert_int_equal(shelf.count, 1);
    assert_true(has(&shelf, "b"));
    tp__shelf_deinit(&shelf);
}

/* All in one bucket, and some with the very same hash. */
static void texts_that_collide_are_kept_apart(void **state)
{
    (void)state;
    enum { TEXTS = 16 };
    struct tp_shelf shelf;
    struct tp_description *made[TEXTS];
    char sql[32];
    assert_true(tp__shelf_init(&shelf, 32));
    for (int i = 0; i < TEXTS; i++) {
        snprintf(sql, sizeof sql, "q%d", i);
        made[i] = make(sql, 0);
        made[i]->hash = i % 2 == 0 ? 64 : 128; /* as if */
        tp__shelf_put(&shelf, made[i]);
    }
    for (int i = 0; i < TEXTS; i++) {
        snprintf(sql, sizeof sql, "q%d", i);
        struct tp_description *found =
            tp__shelf_find(&shelf, sql, strlen(sql), i % 2 == 0 ? 64 : 128);
        assert_ptr_equal(found, made[i]);
        tp__description_release(found);
        assert_null(tp__shelf_find(&shelf, sql, strlen(sql), i % 2 == 0 ? 128 : 64));
    }
    tp__shelf_drop(&shelf, 64);
    assert_int_equal(shelf.count, TEXTS / 2);
    for (int i = 0; i < TEXTS; i++) {
        assert_int_equal(refs(made[i]), i % 2 == 0 ? 1 : 2);
        tp__description_release(made[i]);
    }
    tp__shelf_drop(&shelf, 0);
    assert_int_equal(shelf.count, 0);
    put(&shelf, "a"); /* it goes on after that */
    assert_true(has(&shelf, "a"));
    tp__shelf_deinit(&shelf);
}

/* Every step against a list that is searched from its front. */
static void it_behaves_as_a_plain_list_does(void **state)
{
    (void)state;
    enum { ROOM = 70, TEXTS = 150 };
    struct tp_shelf shelf;
    int model[ROOM + 1], count = 0;
    unsigned seed = 4711;
    assert_true(tp__shelf_init(&shelf, ROOM));
    for (int step = 0; step < 20000; step++) {
        char sql[32];
        int at = 0;
        seed = seed * 1103515245u + 12345u;
        int text = (int)(seed >> 16) % TEXTS;
        snprintf(sql, sizeof sql, "select %d from somewhere", text);
        while (at < count && model[at] != text)
            at++;
        assert_int_equal(has(&shelf, sql), at < count);
        if (at == count || step % 5 == 0)
            put(&shelf, sql);
        if (at == count && count < ROOM)
            count++;
        if (at == ROOM)
            at = ROOM - 1;
        memmove(&model[1], &model[0], (size_t)at * sizeof model[0]);
        model[0] = text;
        assert_int_equal(shelf.count, count);
    }
    tp__shelf_deinit(&shelf);
}

static void *use_often(void *arg)
{
    struct tp_shelf *shelf = arg;
    static atomic_uint next;
    unsigned seed = atomic_fetch_add(&next, 1) + 1;
    uintptr_t wrong = 0;
    for (int i = fake_rounds(20000); i > 0; i--) {
        char sql[32];
        seed = seed * 1103515245u + 12345u;
        snprintf(sql, sizeof sql, "select %d", (int)(seed >> 16) % 40);
        struct tp_description *mine = find(shelf, sql);
        if (mine == NULL) {
            mine = tp__description_new(sql, strlen(sql), 1);
            tp__shelf_put(shelf, mine);
        }
        if (i % 50 == 0)
            tp__shelf_drop(shelf, mine->hash);
        wrong += strcmp(mine->sql, sql) != 0 || mine->nparams != 1;
        tp__description_release(mine);
    }
    return (void *)wrong;
}

static void threads_share_it(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct tp_shelf shelf;
    pthread_t threads[THREADS];
    assert_true(tp__shelf_init(&shelf, 16));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_often, &shelf), 0);
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    assert_true(shelf.count <= 16);
    tp__shelf_deinit(&shelf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_description_begins_with_its_text_alone),
        cmocka_unit_test(the_last_release_frees_it),
        cmocka_unit_test(plain_statements_are_told_from_others_by_their_first_word),
        cmocka_unit_test(columns_know_whether_they_can_be_binary),
        cmocka_unit_test(types_that_are_not_known_are_named_once),
        cmocka_unit_test(what_was_put_is_found_and_counted),
        cmocka_unit_test(a_newer_one_of_the_same_text_takes_its_place),
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(texts_that_collide_are_kept_apart),
        cmocka_unit_test(it_behaves_as_a_plain_list_does),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests_name("description", tests, NULL, NULL);
}
