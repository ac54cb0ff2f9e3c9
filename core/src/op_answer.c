/* What has come of an operation, for the caller to look at. */
#include "op.h"
#include "op_impl.h"

const struct tp_columns *tp_op_columns(const tp_op *op)
{
    if (op->copying)
        return op->description != NULL ? op->description->columns : NULL;
    return tp__conn_columns(op->conn);
}

bool tp_op_rows_are_binary(const tp_op *op)
{
    if (tp__op_is_dispossessed(op)) /* given back in the middle, perhaps freed by now */
        return false;
    return op->copying ? tp__conn_copy_is_binary(op->conn) : tp__conn_rows_are_binary(op->conn);
}

bool tp_op_next_row(tp_op *op, struct tp_row *row)
{
    if (op->over_limit || op->state != OP_ROWS || !tp__conn_next_row(op->conn, row))
        return false;
    op->rows++;
    op->bytes += (int64_t)row->len;
    op->over_limit = op->rows > op->most_rows || op->bytes > op->most_bytes;
    return !op->over_limit;
}

size_t tp_op_rows_at_hand(const tp_op *op)
{
    return tp__conn_rows_at_hand(op->conn);
}

bool tp_op_copy_chunk(tp_op *op, const char **data, size_t *len)
{
    return op->state == OP_DATA && !tp__op_is_dispossessed(op) &&
           tp__conn_copy_next(op->conn, data, len);
}

int tp_op_attempts(const tp_op *op)
{
    return op->attempts;
}

const char *tp_op_command(const tp_op *op)
{
    return tp__conn_command(op->conn);
}

int64_t tp_op_count(const tp_op *op)
{
    return tp__conn_count(op->conn);
}

int64_t tp_op_touched(const tp_op *op)
{
    return op->touched;
}

const char *tp_op_last_command(const tp_op *op)
{
    return op->command;
}
