#include "result.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

struct tp_result {
    PGresult *pg;
    tp_result *next;
    char command[64];
};

/* The command tag without its numbers: "INSERT 0 5" is "INSERT". */
static void copy_command(char *out, size_t room, PGresult *pg)
{
    tp__text_copy(out, room, PQcmdStatus(pg));
    out[strcspn(out, "0123456789")] = '\0';
    size_t len = strlen(out);
    while (len > 0 && out[len - 1] == ' ')
        out[--len] = '\0';
}

tp_result *tp__result_new(PGresult *pg)
{
    tp_result *result = malloc(sizeof *result);
    if (result == NULL) {
        PQclear(pg);
        return NULL;
    }
    result->pg = pg;
    result->next = NULL;
    copy_command(result->command, sizeof result->command, pg);
    return result;
}

tp_result *tp__result_append(tp_result *head, tp_result *next)
{
    if (head == NULL)
        return next;
    tp_result *last = head;
    while (last->next != NULL)
        last = last->next;
    last->next = next;
    return head;
}

void tp_result_free(tp_result *result)
{
    while (result != NULL) {
        tp_result *next = result->next;
        PQclear(result->pg);
        free(result);
        result = next;
    }
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

size_t tp_result_rows(const tp_result *result)
{
    return (size_t)PQntuples(result->pg);
}

size_t tp_result_columns(const tp_result *result)
{
    return (size_t)PQnfields(result->pg);
}

const char *tp_result_column_name(const tp_result *result, size_t column)
{
    return PQfname(result->pg, (int)column);
}

uint32_t tp_result_column_type(const tp_result *result, size_t column)
{
    return PQftype(result->pg, (int)column);
}

const char *tp_result_value(const tp_result *result, size_t row, size_t column, size_t *len)
{
    if (PQgetisnull(result->pg, (int)row, (int)column))
        return NULL;
    *len = (size_t)PQgetlength(result->pg, (int)row, (int)column);
    return PQgetvalue(result->pg, (int)row, (int)column);
}

const char *tp_result_command(const tp_result *result)
{
    return result->command;
}

int64_t tp_result_count(const tp_result *result)
{
    const char *text = PQcmdTuples(result->pg);
    return text[0] != '\0' ? strtoll(text, NULL, 10) : 0;
}

const tp_result *tp_result_next(const tp_result *result)
{
    return result->next;
}
