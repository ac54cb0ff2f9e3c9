/* list.h: the order of nodes, and taking them off at any moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "list.h"

struct item {
    int value;
    struct tp_list node;
};

static struct item *item_of(struct tp_list *node)
{
    return TP_CONTAINER(node, struct item, node);
}

/* The values read forwards as decimal digits; the way back must agree. */
static int digits(struct tp_list *head)
{
    int forwards = 0, backwards = 0, place = 1;
    struct tp_list *node, *following;
    TP_LIST_EACH(node, following, head)
    {
        forwards = forwards * 10 + item_of(node)->value;
    }
    for (node = head->prev; node != head; node = node->prev) {
        backwards += item_of(node)->value * place;
        place *= 10;
    }
    assert_int_equal(forwards, backwards);
    return forwards;
}

static void fill(struct tp_list *head, struct item *items, int n)
{
    tp__list_init(head);
    for (int i = 0; i < n; i++) {
        items[i].value = i + 1;
        tp__list_push_back(head, &items[i].node);
    }
}

static void a_new_list_is_empty(void **state)
{
    (void)state;
    struct tp_list head;
    tp__list_init(&head);
    assert_true(tp__list_empty(&head));
    assert_null(tp__list_first(&head));
    assert_int_equal(digits(&head), 0);
}

static void push_back_is_first_in_first_out(void **state)
{
    (void)state;
    struct tp_list head;
    struct item items[4];
    fill(&head, items, 4);
    assert_int_equal(digits(&head), 1234);
    assert_ptr_equal(tp__list_first(&head), &items[0].node);
    assert_false(tp__list_empty(&head));
}

static void push_front_is_last_in_first_out(void **state)
{
    (void)state;
    struct tp_list head;
    struct item items[4];
    fill(&head, items, 3);
    items[3].value = 4;
    tp__list_push_front(&head, &items[3].node);
    assert_int_equal(digits(&head), 4123);
}

static void insert_puts_a_node_behind_another(void **state)
{
    (void)state;
    struct tp_list head;
    struct item items[4];
    fill(&head, items, 3);
    items[3].value = 4;
    tp__list_insert(&items[1].node, &items[3].node);
    assert_int_equal(digits(&head), 1243);
}

static void a_node_leaves_from_anywhere(void **state)
{
    (void)state;
    struct tp_list head;
    struct item items[4];
    fill(&head, items, 4);
    tp__list_remove(&items[1].node);
    assert_int_equal(digits(&head), 134);
    tp__list_remove(&items[0].node);
    assert_int_equal(digits(&head), 34);
    tp__list_remove(&items[3].node);
    assert_int_equal(digits(&head), 3);
    tp__list_remove(&items[2].node);
    assert_true(tp__list_empty(&head));
}

static void removing_twice_is_harmless(void **state)
{
    (void)state;
    struct tp_list head;
    struct item items[3];
    fill(&head, items, 3);
    tp__list_remove(&items[1].node);
    tp__list_remove(&items[0].node); /* a neighbour of old must not be touched */
    tp__list_remove(&items[1].node);
    assert_int_equal(digits(&head), 3);
    tp__list_push_back(&head, &items[1].node);
    assert_int_equal(digits(&head), 32);
}

static void a_walk_may_remove_the_node_it_is_at(void **state)
{
    (void)state;
    struct tp_list head, *node, *following;
    struct item items[6];
    int seen = 0;
    fill(&head, items, 6);
    TP_LIST_EACH(node, following, &head)
    {
        seen++;
        if (item_of(node)->value % 2 == 0) {
            tp__list_remove(node);
        }
    }
    assert_int_equal(seen, 6);
    assert_int_equal(digits(&head), 135);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_list_is_empty),
        cmocka_unit_test(push_back_is_first_in_first_out),
        cmocka_unit_test(push_front_is_last_in_first_out),
        cmocka_unit_test(insert_puts_a_node_behind_another),
        cmocka_unit_test(a_node_leaves_from_anywhere),
        cmocka_unit_test(removing_twice_is_harmless),
        cmocka_unit_test(a_walk_may_remove_the_node_it_is_at),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
