#include "result.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* More rows than can be counted are as many as can be. */
static int64_t add_digit(int64_t count, char digit)
{
    return count > (INT64_MAX - (digit - '0')) / 10 ? INT64_MAX : count * 10 + (digit - '0');
}

/* "INSERT 0 5", "SELECT 5", "CREATE TABLE": words, then perhaps numbers, of which the last
 * one counts. */
int64_t tp__result_tag(const char *tag, char *out, size_t room)
{
    size_t len = 0;
    int64_t count = 0;
    while (tag[len] != '\0' && !is_digit(tag[len]) && len < room - 1) {
        out[len] = tag[len];
        len++;
    }
    for (const char *at = tag + len; *at != '\0'; at++) {
        if (is_digit(*at))
            count = add_digit(count, *at);
        else
            count = 0;
    }
    while (len > 0 && out[len - 1] == ' ')
        len--;
    out[len] = '\0';
    return count;
}

struct tp_columns *tp__result_columns(const PGresult *pg)
{
    size_t bytes = 0;
    int count = PQnfields(pg);
    for (int i = 0; i < count; i++)
        bytes += strlen(PQfname(pg, i)) + 1;
    struct tp_columns *columns = tp__columns_new(count, bytes);
    for (int i = 0; columns != NULL && i < count; i++)
        tp__columns_add(columns, PQfname(pg, i), PQftype(pg, i));
    return columns;
}

bool tp__result_has_columns(const PGresult *pg, const struct tp_columns *columns)
{
    if (PQnfields(pg) != columns->count)
        return false;
    for (int i = 0; i < columns->count; i++) {
        if (PQftype(pg, i) != columns->list[i].oid ||
            strcmp(PQfname(pg, i), columns->list[i].name) != 0)
            return false;
    }
    return true;
}

struct tp_description *tp__result_description(const PGresult *pg, const char *sql, size_t len)
{
    struct tp_description *description = tp__description_new(sql, len, PQnparams(pg));
    if (description == NULL)
        return NULL;
    description->described = true;
    for (int i = 0; i < description->nparams; i++)
        description->param_oids[i] = PQparamtype(pg, i);
    if (PQnfields(pg) == 0)
        return description;
    description->columns = tp__result_columns(pg);
    if (description->columns != NULL)
        return description;
    tp__description_release(description);
    return NULL;
}

static void copy_field(char *out, size_t room, const PGresult *pg, int field)
{
    tp__text_copy(out, room, PQresultErrorField(pg, field));
}

/* Source: PostgreSQL manual 34.3, PQresultErrorField. */
void tp__result_error(const PGresult *pg, struct tp_error *err)
{
    tp__error_clear(err);
    err->kind = TP_ERR_DATABASE;
    copy_field(err->code, sizeof err->code, pg, PG_DIAG_SQLSTATE);
    copy_field(err->severity, sizeof err->severity, pg, PG_DIAG_SEVERITY_NONLOCALIZED);
    copy_field(err->message, sizeof err->message, pg, PG_DIAG_MESSAGE_PRIMARY);
    copy_field(err->detail, sizeof err->detail, pg, PG_DIAG_MESSAGE_DETAIL);
    copy_field(err->hint, sizeof err->hint, pg, PG_DIAG_MESSAGE_HINT);
    copy_field(err->where, sizeof err->where, pg, PG_DIAG_CONTEXT);
    copy_field(err->schema, sizeof err->schema, pg, PG_DIAG_SCHEMA_NAME);
    copy_field(err->table, sizeof err->table, pg, PG_DIAG_TABLE_NAME);
    copy_field(err->column, sizeof err->column, pg, PG_DIAG_COLUMN_NAME);
    copy_field(err->constraint, sizeof err->constraint, pg, PG_DIAG_CONSTRAINT_NAME);
    const char *position = PQresultErrorField(pg, PG_DIAG_STATEMENT_POSITION);
    err->position = position != NULL ? (int)strtol(position, NULL, 10) : 0;
    err->retryable = tp_sqlstate_retryable(err->code);
    if (err->message[0] == '\0')
        tp__text_copy(err->message, sizeof err->message, PQresultErrorMessage(pg));
}
