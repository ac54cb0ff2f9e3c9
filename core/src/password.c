#include "password.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "config.h"
#include "error.h"
#include "url.h"

enum { PATIENCE_AT_MOST_US = 60 * 1000 * 1000 };

struct answer {
    struct tp_list link;
    char *text; /* NULL: there is none */
    struct tp_error why;
    int64_t until;
};

void tp__passwords_init(struct tp_passwords *passwords, const struct tp_settings *settings)
{
    memset(passwords, 0, sizeof *passwords);
    tp__list_init(&passwords->answers);
    passwords->needed = settings->asks_password;
    passwords->patience_us = settings->connect_timeout_us < PATIENCE_AT_MOST_US
                                 ? settings->connect_timeout_us
                                 : PATIENCE_AT_MOST_US;
}

static struct answer *first_answer(struct tp_passwords *passwords)
{
    struct tp_list *first = tp__list_first(&passwords->answers);
    return first != NULL ? TP_CONTAINER(first, struct answer, link) : NULL;
}

static void drop(struct tp_passwords *passwords, struct answer *answer)
{
    tp__list_remove(&answer->link);
    passwords->given--;
    tp__secret_free(answer->text);
    free(answer);
}

void tp__passwords_deinit(struct tp_passwords *passwords)
{
    struct answer *answer;
    while ((answer = first_answer(passwords)) != NULL)
        drop(passwords, answer);
}

static bool add(struct tp_passwords *passwords, const char *text, const struct tp_error *why,
                int64_t now)
{
    struct answer *answer = calloc(1, sizeof *answer);
    if (answer != NULL && text != NULL)
        answer->text = strdup(text);
    if (answer == NULL || (text != NULL && answer->text == NULL)) {
        free(answer);
        return false;
    }
    if (text == NULL)
        answer->why = *why;
    answer->until = now + passwords->patience_us;
    tp__list_push_back(&passwords->answers, &answer->link);
    passwords->given++;
    return true;
}

static void remove_ticket(struct tp_passwords *passwords, int i)
{
    passwords->tickets[i] = passwords->tickets[--passwords->ticket_count];
}

/* Answers that were not used, and tickets that were not answered. */
static void forget_old(struct tp_passwords *passwords, int64_t now)
{
    struct answer *answer;
    while ((answer = first_answer(passwords)) != NULL && now >= answer->until)
        drop(passwords, answer);
    for (int i = passwords->ticket_count - 1; i >= 0; i--) {
        struct tp_error why;
        if (now < passwords->tickets[i].until)
            continue;
        tp__error_set(&why, TP_ERR_CONNECTION,
                      "the password function gave no answer within %lld ms",
                      (long long)passwords->patience_us / 1000);
        why.retryable = true;
        remove_ticket(passwords, i);
        (void)add(passwords, NULL, &why, now);
    }
}

struct tp_permit tp__passwords_permit(struct tp_passwords *passwords, int wanted, int64_t now)
{
    struct tp_permit permit = {.until = TP_NEVER};
    forget_old(passwords, now);
    int missing = wanted - passwords->given - passwords->ticket_count;
    int room = TP_TICKETS_AT_ONCE - passwords->ticket_count;
    passwords->missing = missing < 0 ? 0 : missing < room ? missing : room;
    permit.missing = passwords->missing;
    permit.count = wanted < passwords->given ? wanted : passwords->given;
    if (first_answer(passwords) != NULL)
        permit.until = first_answer(passwords)->until;
    for (int i = 0; i < passwords->ticket_count; i++) {
        if (passwords->tickets[i].until < permit.until)
            permit.until = passwords->tickets[i].until;
    }
    return permit;
}

uint64_t tp__passwords_claim(struct tp_passwords *passwords, int64_t now)
{
    if (passwords->missing == 0)
        return 0;
    passwords->missing--;
    passwords->tickets[passwords->ticket_count++] = (struct tp_ticket){
        .number = ++passwords->last_number, .until = now + passwords->patience_us};
    return passwords->last_number;
}

bool tp__passwords_answer(struct tp_passwords *passwords, uint64_t number, const char *text,
                          const struct tp_error *why, int64_t now)
{
    for (int i = 0; i < passwords->ticket_count; i++) {
        if (passwords->tickets[i].number == number) {
            remove_ticket(passwords, i);
            return add(passwords, text, why, now);
        }
    }
    return false;
}

char *tp__passwords_take(struct tp_passwords *passwords, struct tp_error *why)
{
    struct answer *answer = first_answer(passwords);
    char *text = NULL;
    if (answer == NULL) {
        tp__error_set(why, TP_ERR_CONNECTION, "the password was not used in time");
        why->retryable = true;
        return NULL;
    }
    text = answer->text;
    answer->text = NULL;
    if (text == NULL)
        *why = answer->why;
    drop(passwords, answer);
    return text;
}
