#include "password.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "config.h"
#include "error.h"
#include "url.h"

enum { PATIENCE_AT_MOST_US = 60 * 1000 * 1000 };

struct tp_answer {
    char *text; /* NULL: there is none */
    struct tp_error why;
    int64_t until;
};

void tp__passwords_init(struct tp_passwords *passwords, const struct tp_settings *settings)
{
    memset(passwords, 0, sizeof *passwords);
    passwords->needed = settings->asks_password;
    passwords->patience_us = settings->connect_timeout_us < PATIENCE_AT_MOST_US
                                 ? settings->connect_timeout_us
                                 : PATIENCE_AT_MOST_US;
}

/* The first `count` of them. */
static void drop(struct tp_passwords *passwords, int count)
{
    for (int i = 0; i < count; i++) {
        tp__secret_free(passwords->answers[i]->text);
        free(passwords->answers[i]);
    }
    passwords->given -= count;
    memmove(passwords->answers, passwords->answers + count,
            (size_t)passwords->given * sizeof(struct tp_answer *));
}

void tp__passwords_deinit(struct tp_passwords *passwords)
{
    drop(passwords, passwords->given);
}

static bool add(struct tp_passwords *passwords, const char *text, const struct tp_error *why,
                int64_t now)
{
    struct tp_answer *answer = calloc(1, sizeof *answer);
    if (answer != NULL && text != NULL)
        answer->text = strdup(text);
    if (answer == NULL || (text != NULL && answer->text == NULL)) {
        free(answer);
        return false;
    }
    if (text == NULL)
        answer->why = *why;
    answer->until = now + passwords->patience_us;
    passwords->answers[passwords->given++] = answer;
    return true;
}

static void remove_ticket(struct tp_passwords *passwords, int i)
{
    passwords->tickets[i] = passwords->tickets[--passwords->ticket_count];
}

/* Answers that were not used, and tickets that were not answered. */
static void forget_old(struct tp_passwords *passwords, int64_t now)
{
    int old = 0;
    while (old < passwords->given && now >= passwords->answers[old]->until)
        old++;
    drop(passwords, old);
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
    int room = TP_TICKETS_AT_ONCE - passwords->ticket_count - passwords->given;
    passwords->missing = missing < 0 ? 0 : missing < room ? missing : room;
    permit.missing = passwords->missing;
    permit.count = wanted < passwords->given ? wanted : passwords->given;
    if (passwords->given > 0)
        permit.until = passwords->answers[0]->until;
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
    if (passwords->given == 0) {
        tp__error_set(why, TP_ERR_CONNECTION, "the password was not used in time");
        why->retryable = true;
        return NULL;
    }
    struct tp_answer *answer = passwords->answers[0];
    char *text = answer->text;
    answer->text = NULL;
    if (text == NULL)
        *why = answer->why;
    drop(passwords, 1);
    return text;
}
