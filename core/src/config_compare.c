/* Whether what code asks for is what a pool has that is open under the same name. */
#include "config_state.h"

#include <stdio.h>
#include <string.h>

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static bool same(const struct tp_value *a, const struct tp_value *b)
{
    return strcmp(or_empty(a->text), or_empty(b->text)) == 0;
}

/* In the options of a call or in its URL; one from a variable has the variable's name. */
static bool said_in_code(const struct tp_value *value)
{
    return value->text != NULL && (value->source == TP_FROM_CODE ||
                                   (value->source == TP_FROM_URL && value->variable[0] == '\0'));
}

/* A URL without a port means another server than one with: what says where the server is
 * is compared as a whole. */
static bool is_meant(const tp_config *said, enum tp_option_id id)
{
    bool where = id <= TP_OPT_HOSTADDR && said->origin == TP_ORIGIN_CODE;
    return where || said_in_code(&said->values[id]);
}

bool tp__config_differs(const tp_config *said, const tp_config *other, char *name, size_t room)
{
    if (said->asks_password != other->asks_password) {
        snprintf(name, room, "password");
        return true;
    }
    for (int i = 0; i < TP_OPTIONS; i++) {
        enum tp_option_id id = (enum tp_option_id)i;
        if (is_meant(said, id) && !same(&said->values[id], &other->values[id])) {
            snprintf(name, room, "%s", tp__option(id)->info.name);
            return true;
        }
    }
    for (size_t i = 0; i < tp__keyword_count(); i++) {
        if (said_in_code(&said->libpq[i]) && !same(&said->libpq[i], &other->libpq[i])) {
            snprintf(name, room, "libpq.%s", tp__keyword_at(i)->name);
            return true;
        }
    }
    return false;
}
