/* Passwords that a program makes itself (rotated ones, tokens that are short-lived): one for each
 * new connection, made by callers who wait for one.
 *
 * The housekeeper, which connects, asks for a permit; what is missing is asked of callers in the
 * pool's queue: one of them takes a ticket (tp__passwords_claim), and answers it, at once or from
 * anywhere later. An answer that does not come in time is a failure to connect, and one that is
 * not used is forgotten.
 * Owns: the passwords, which are wiped. Thread: any; guarded by the pool's lock. */
#ifndef TP_PASSWORD_H
#define TP_PASSWORD_H

#include "config.h"
#include "pool.h"

enum { TP_TICKETS_AT_ONCE = 64 };

struct tp_passwords {
    bool needed;         /* constant: the program makes them */
    int64_t patience_us; /* constant: for an answer, and for its use */
    int missing;         /* which nobody has taken on */
    int given;           /* how many answers there are, the oldest first: */
    struct tp_answer *answers[TP_TICKETS_AT_ONCE];
    struct tp_ticket {
        uint64_t number;
        int64_t until;
    } tickets[TP_TICKETS_AT_ONCE];
    int ticket_count;
    uint64_t last_number;
};

void tp__passwords_init(struct tp_passwords *passwords, const struct tp_settings *settings);
void tp__passwords_deinit(struct tp_passwords *passwords);
/* As in the vtable of pools. */
struct tp_permit tp__passwords_permit(struct tp_passwords *passwords, int wanted, int64_t now);
/* The caller is to make one: the number of its ticket; 0: none is missing. */
uint64_t tp__passwords_claim(struct tp_passwords *passwords, int64_t now);
/* `text` (copied) or, when that is NULL, why there is none. False: nobody waits for it any more,
 * or memory was short. */
bool tp__passwords_answer(struct tp_passwords *passwords, uint64_t number, const char *text,
                          const struct tp_error *why, int64_t now);
/* The oldest answer: the password, which the caller frees with tp__secret_free; or NULL and the
 * reason. */
char *tp__passwords_take(struct tp_passwords *passwords, struct tp_error *why);

#endif
