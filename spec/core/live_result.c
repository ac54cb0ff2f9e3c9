#include "live_result.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "codec.h"

/* ------------------------------------------------------------------ texts */

/* The binary forms that the core leaves to its callers. Those of which a test has no need
 * come as hexadecimal digits. */
static void put_other(const struct tp_type *type, const unsigned char *bytes, size_t len,
                      struct tp_buf *out)
{
    size_t skipped = type->kind == TP_KIND_JSON && len > 0 && bytes[0] == 1; /* of jsonb */
    if (type->kind == TP_KIND_JSON) {
        tp__buf_append(out, bytes + skipped, len - skipped);
        return;
    }
    tp__buf_puts(out, "\\x");
    for (size_t i = 0; i < len; i++)
        tp__buf_printf(out, "%02x", bytes[i]);
}

static void put_text(const struct tp_type *type, bool binary, const unsigned char *bytes,
                     size_t len, struct tp_buf *out)
{
    size_t before = out->len;
    if (!binary) {
        tp__buf_append(out, bytes, len);
    } else if (!tp__type_format(type, bytes, len, out)) {
        out->len = before;
        put_other(type, bytes, len, out);
    }
}

/* ---------------------------------------------------------------- collecting */

static void take_columns(struct live_result *result, const struct tp_op *op)
{
    const struct tp_columns *columns = tp_op_columns(op);
    if (columns == NULL || result->columns != NULL)
        return;
    result->ncolumns = columns->count;
    result->columns = calloc((size_t)columns->count + 1, sizeof *result->columns);
    assert_non_null(result->columns);
    for (int i = 0; i < columns->count; i++) {
        struct live_column *column = &result->columns[i];
        assert_non_null(columns->list[i].type);
        snprintf(column->name, sizeof column->name, "%s", columns->list[i].name);
        snprintf(column->type, sizeof column->type, "%s", columns->list[i].type->name);
        column->oid = columns->list[i].oid;
        column->kind = columns->list[i].type->kind;
    }
    result->binary = tp_op_rows_are_binary(op);
}

/* The result that is being read: the last one, unless that is complete. */
static struct live_result *current(struct live_result **results)
{
    struct live_result *last = *results != NULL ? (*results)->last : NULL;
    if (last != NULL && last->command[0] == '\0')
        return last;
    struct live_result *made = calloc(1, sizeof *made);
    assert_non_null(made);
    if (last != NULL)
        last->next = made;
    else
        *results = made;
    (*results)->last = made;
    return made;
}

static void take_row(struct live_result *result, const struct tp_columns *columns,
                     const struct tp_row *row)
{
    const unsigned char *at = row->cells;
    for (int i = 0; i < columns->count; i++) {
        uint32_t len = tp__get32(at);
        struct live_value value = {.at = result->bytes.len, .len = -1};
        at += 4;
        if (len != UINT32_MAX) {
            put_text(columns->list[i].type, result->binary, at, len, &result->bytes);
            value.len = (long)(result->bytes.len - value.at);
            at += len;
        }
        tp__buf_putc(&result->bytes, '\0');
        tp__buf_append(&result->values, &value, sizeof value);
    }
    assert_ptr_equal(at, row->cells + row->len);
    assert_false(result->bytes.failed || result->values.failed);
    result->nrows++;
}

void live_result_take_rows(struct live_result **results, tp_op *op)
{
    struct tp_row row;
    struct live_result *result = current(results);
    take_columns(result, op);
    while (tp_op_next_row(op, &row))
        take_row(result, tp_op_columns(op), &row);
}

void live_result_take_end(struct live_result **results, tp_op *op)
{
    struct live_result *result = current(results);
    take_columns(result, op);
    snprintf(result->command, sizeof result->command, "%s", tp_op_command(op));
    result->count = tp_op_count(op);
}

void live_result_free(struct live_result *result)
{
    while (result != NULL) {
        struct live_result *next = result->next;
        tp__buf_free(&result->bytes);
        tp__buf_free(&result->values);
        free(result->columns);
        free(result);
        result = next;
    }
}

const char *live_result_text(const struct live_result *result, size_t row, int column, size_t *len)
{
    struct live_value value;
    assert_non_null(result);
    assert_true(row < result->nrows && column >= 0 && column < result->ncolumns);
    memcpy(&value,
           result->values.data + (row * (size_t)result->ncolumns + (size_t)column) * sizeof value,
           sizeof value);
    if (value.len < 0)
        return NULL;
    if (len != NULL)
        *len = (size_t)value.len;
    return result->bytes.data + value.at;
}
