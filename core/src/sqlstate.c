/* SQLSTATEs: names, classes, and which ones may be repeated.
 *
 * Two conditions are retryable, because only they tell that the server has
 * rolled the work back and that the cause was another transaction which may be
 * gone by now: 40001 serialization_failure and 40P01 deadlock_detected. Why
 * their neighbours are not:
 *   40000, 40002  the generic condition says nothing of the cause; a constraint
 *                 that failed fails again
 *   40003, 08007  the outcome is unknown, so a repeat may do the work twice
 *   08xxx, 57P01, 57P02  the link went and with it the proof; the engine decides
 *                 by what it had sent
 *   57P03, 53300  the server refused a connection: the pool's backoff, not a
 *                 statement's, deals with it
 *   55P03, 57014  the caller asked to be told rather than to wait on
 *   0A000, 26000  a stale plan is a matter of the statement cache, once
 *   53xxx, 58xxx, XXxxx  repeating makes a full disk or a broken index worse
 * Source: PostgreSQL manual, 13.5 "Serialization Failure Handling". */
#include <stdlib.h>
#include <string.h>

#include "tidepool.h"

enum { CODE_LENGTH = 5, CLASS_LENGTH = 2 };

static const struct condition {
    char code[CODE_LENGTH + 1];
    const char *name;
    bool retryable;
} CONDITIONS[] = {
#include "sqlstate_table.inc"
};

static const struct class
{
    char code[CLASS_LENGTH + 1];
    const char *title;
} CLASSES[] = {
#include "sqlstate_classes.inc"
};

static bool is_sqlstate(const char *code)
{
    return code != NULL && strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == CODE_LENGTH &&
           code[CODE_LENGTH] == '\0';
}

static int compare_condition(const void *code, const void *row)
{
    return memcmp(code, ((const struct condition *)row)->code, CODE_LENGTH);
}

static int compare_class(const void *code, const void *row)
{
    return memcmp(code, ((const struct class *)row)->code, CLASS_LENGTH);
}

static const struct condition *find_condition(const char *code)
{
    return bsearch(code, CONDITIONS, sizeof CONDITIONS / sizeof CONDITIONS[0], sizeof CONDITIONS[0],
                   compare_condition);
}

const char *tp_sqlstate_name(const char *code)
{
    if (!is_sqlstate(code)) {
        return "";
    }
    const struct condition *found = find_condition(code);
    if (found == NULL) {
        const char generic[] = {code[0], code[1], '0', '0', '0', '\0'};
        found = find_condition(generic);
    }
    return found == NULL ? "" : found->name;
}

const char *tp_sqlstate_class(const char *code)
{
    if (!is_sqlstate(code)) {
        return "";
    }
    const struct class *found = bsearch(code, CLASSES, sizeof CLASSES / sizeof CLASSES[0],
                                        sizeof CLASSES[0], compare_class);
    return found == NULL ? "" : found->title;
}

bool tp_sqlstate_retryable(const char *code)
{
    const struct condition *found = is_sqlstate(code) ? find_condition(code) : NULL;
    return found != NULL && found->retryable;
}
