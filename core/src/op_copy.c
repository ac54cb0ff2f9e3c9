/* COPY as an operation.
 *
 *     PREPARING or LISTING --> LEARNING --> EXECUTING <--> SEND or DATA --> RESULT --> DONE
 *
 * The columns come from a statement that is described but not executed, or from the catalog
 * when the copy is of a whole table: COPY leaves generated columns out and no other
 * statement does. They are asked for anew each time, since nothing would tell that what was
 * known has become wrong, and binary data would be read as something else. */
#include <string.h>

#include "clock.h"
#include "codec.h"
#include "error.h"
#include "op_impl.h"
#include "types.h"

/* What a COPY that was refused may take to be forgotten. */
enum { REFUSE_AT_MOST_US = 5 * 1000 * 1000 };

static void asked(tp_op *op, enum tp_status status, enum op_state state)
{
    op->state = state;
    if (status != TP_OK)
        tp__op_statement_failed(op);
}

/* Some time for the server's next answer. */
static void grant_wait(tp_op *op)
{
    if (op->copy.wait_us > 0)
        tp__op_grant(op, op->copy.wait_us);
}

/* ------------------------------------------------------------------ columns */

static void put_literal(struct tp_buf *sql, const char *text)
{
    tp__buf_puts(sql, "E'");
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            tp__buf_putc(sql, *text);
        tp__buf_putc(sql, *text);
    }
    tp__buf_putc(sql, '\'');
}

static void ask_list(tp_op *op)
{
    enum { HAS_GENERATED_COLUMNS = 120000 };
    struct tp_buf sql = {0};
    tp__buf_clear(&op->listed);
    tp__buf_puts(&sql, "SELECT attname, atttypid::pg_catalog.int8 FROM pg_catalog.pg_attribute "
                       "WHERE attrelid = ");
    put_literal(&sql, op->copy.table);
    tp__buf_puts(&sql, "::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped");
    if (tp__conn_server_version(op->conn) >= HAS_GENERATED_COLUMNS)
        tp__buf_puts(&sql, " AND attgenerated = ''");
    tp__buf_puts(&sql, " ORDER BY attnum");
    const char *text = tp__buf_cstr(&sql);
    if (text == NULL)
        tp__op_fail_with(op, TP_ERR_MEMORY, "out of memory for a statement");
    else
        asked(op, tp__conn_ask_simple(op->conn, text), OP_LISTING);
    tp__buf_free(&sql);
}

/* Digits to a number; the server writes no others. */
static uint32_t oid_of(const unsigned char *text, uint32_t len)
{
    uint32_t oid = 0;
    for (uint32_t i = 0; i < len; i++)
        oid = oid * 10 + (uint32_t)(text[i] - '0');
    return oid;
}

void tp__op_take_listed(tp_op *op)
{
    struct tp_row row;
    while (tp__conn_columns(op->conn)->count == 2 && tp__conn_next_row(op->conn, &row)) {
        uint32_t name_len = tp__get32(row.cells);
        if (name_len >= row.len || memchr(row.cells + 4, '\0', name_len) != NULL ||
            tp__get32(row.cells + 4 + name_len) >= row.len)
            continue; /* NULL, or no name: the server writes neither */
        const unsigned char *name = row.cells + 4, *oid_text = name + name_len + 4;
        uint32_t oid = oid_of(oid_text, tp__get32(name + name_len));
        tp__buf_append(&op->listed, &oid, sizeof oid);
        tp__buf_append(&op->listed, name, name_len);
        tp__buf_putc(&op->listed, '\0');
    }
}

/* The columns that were listed. NULL: no memory. */
static struct tp_columns *make_columns(const struct tp_buf *listed)
{
    const char *at = listed->data, *end = at + listed->len;
    int count = 0;
    while (at < end) {
        at += sizeof(uint32_t) + strlen(at + sizeof(uint32_t)) + 1;
        count++;
    }
    struct tp_columns *columns = tp__columns_new(count, listed->len);
    if (columns == NULL || listed->failed)
        return columns;
    for (at = listed->data; at < end; at += strlen(at) + 1) {
        uint32_t oid;
        memcpy(&oid, at, sizeof oid);
        at += sizeof oid;
        tp__columns_add(columns, at, oid);
    }
    return columns;
}

void tp__op_columns_listed(tp_op *op)
{
    op->description = tp__description_new(op->query.sql, op->query.sql_len, 0);
    if (op->description != NULL)
        op->description->columns = make_columns(&op->listed);
    if (op->description == NULL || op->description->columns == NULL || op->listed.failed)
        tp__op_fail_with(op, TP_ERR_MEMORY, "out of memory for the columns of a COPY");
    else
        tp__op_resolve(op);
}

/* ---------------------------------------------------------------- beginning */

/* Whether any value of the type that Lua may have has a binary form, but for odd texts. */
static bool is_sendable(const struct tp_type *type)
{
    switch (type->kind) {
    case TP_KIND_TEXT:
    case TP_KIND_NUMERIC:
        return type->codec == NULL || type->codec->parse != NULL;
    case TP_KIND_RANGE:
    case TP_KIND_MULTIRANGE:
        return false;
    case TP_KIND_ARRAY:
        return is_sendable(type->element);
    case TP_KIND_COMPOSITE:
        for (int i = 0; i < type->nfields; i++) {
            if (!is_sendable(type->fields[i].type))
                return false;
        }
        return true;
    default:
        return true;
    }
}

static bool can_be_binary(const tp_op *op)
{
    const struct tp_columns *columns = op->description->columns;
    if (!columns->binary || !tp__conn_has_settings(op->conn, columns->needs))
        return false;
    for (int i = 0; op->copy.in && i < columns->count; i++) {
        if (!is_sendable(columns->list[i].type))
            return false;
    }
    return true;
}

void tp__op_copy_described(tp_op *op)
{
    const char *sql = op->copy.sql;
    if (op->description != NULL && op->description->columns == NULL) {
        tp__op_fail_with(op, TP_ERR_VALIDATION, "what is to be copied has no columns");
        return;
    }
    if (op->description != NULL && op->copy.binary_sql != NULL && can_be_binary(op))
        sql = op->copy.binary_sql;
    grant_wait(op);
    asked(op, tp__conn_ask_copy(op->conn, sql, op->copy.in), OP_EXECUTING);
}

void tp__op_begin_copy(tp_op *op)
{
    const char *columns = op->copy.columns;
    op->copy_data = NULL;
    op->copy_ending = op->copy_refused = false;
    grant_wait(op);
    if (columns != NULL)
        asked(op, tp__conn_ask_describe(op->conn, columns, strlen(columns)), OP_PREPARING);
    else if (op->copy.table != NULL)
        ask_list(op);
    else
        tp__op_copy_described(op);
}

/* ------------------------------------------------------------------- on the way */

static bool has_other_columns(const tp_op *op)
{
    const struct tp_columns *columns = tp_op_columns(op);
    return columns != NULL && columns->count != tp__conn_copy_columns(op->conn);
}

static void refuse(tp_op *op)
{
    op->copy_refused = true;
    op->deadline = tp_now() + REFUSE_AT_MOST_US;
    tp__conn_copy_end(op->conn, "refused by the client");
}

/* Between two statements of ours the table has become another. */
static void refuse_columns(tp_op *op)
{
    tp__error_set(&op->error, TP_ERR_DATABASE,
                  "the COPY has %d columns where %d were expected: was the table changed?",
                  tp__conn_copy_columns(op->conn), tp_op_columns(op)->count);
    if (op->copy.in)
        refuse(op);
    else
        tp__op_begin_stop(op);
}

bool tp__op_copy_answered(tp_op *op, enum tp_step step)
{
    bool first = op->rows == 0;
    op->rows = 1; /* it is not repeated from here on */
    if (first && has_other_columns(op)) {
        refuse_columns(op);
    } else if (op->deadline != TP_NEVER && tp_now() >= op->deadline) {
        tp__op_time_out(op);
    } else {
        op->state = step == TP_SEND ? OP_SEND : OP_DATA;
        return false;
    }
    return true;
}

void tp__op_copy_resume(tp_op *op)
{
    bool sending = op->state == OP_SEND;
    op->state = OP_EXECUTING;
    grant_wait(op);
    if (!sending)
        return;
    if (op->copy_refused)
        refuse(op);
    else if (op->copy_data != NULL)
        tp__conn_copy_put(op->conn, op->copy_data, op->copy_len);
    else if (op->copy_ending)
        tp__conn_copy_end(op->conn, NULL);
    op->copy_data = NULL;
}

/* The server says what it was told to say of a COPY that was refused (57014); anything else
 * that it says came first. */
void tp__op_copy_failed(tp_op *op)
{
    bool found_out = op->state == OP_EXECUTING;
    const struct tp_error *said = tp__conn_error(op->conn);
    if (op->copy_refused && (said->kind != TP_ERR_DATABASE || strcmp(said->code, "57014") == 0)) {
        tp__op_leave(op);
        tp__op_fail(op);
        return;
    }
    tp__op_statement_failed(op);
    if (!found_out)
        op->error.position = 0; /* is one in a statement of ours */
}

/* ------------------------------------------------------------ the caller's turn */

void tp_op_copy_data(tp_op *op, const char *data, size_t len)
{
    op->copy_data = data;
    op->copy_len = len;
}

void tp_op_copy_end(tp_op *op)
{
    op->copy_ending = true;
}

void tp_op_copy_fail(tp_op *op, const struct tp_error *err)
{
    op->error = *err;
    op->copy_refused = true;
}
