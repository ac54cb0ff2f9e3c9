/* What an operation brought, kept in one piece for tests to look at after its end. */
#ifndef LIVE_RESULT_H
#define LIVE_RESULT_H

#include "buf.h"
#include "tidepool.h"

struct live_column {
    char name[64];
    uint32_t oid;
    enum tp_type_kind kind;
    char type[64]; /* its name */
};

/* The result of one statement. */
struct live_result {
    struct live_result *next; /* of the next statement of a script */
    char command[64];         /* empty until the statement is complete */
    int64_t count;
    int ncolumns;
    struct live_column *columns;
    bool binary; /* how the rows came */
    size_t nrows;
    struct tp_buf bytes;      /* the texts, a NUL behind each */
    struct tp_buf values;     /* struct live_value, row by row */
    struct live_result *last; /* of the list that begins here, while it is being read */
};

/* Where the text of a value begins, and its length. */
struct live_value {
    size_t at;
    long len; /* -1: NULL */
};

/* To be called after TP_ROWS and TP_RESULT; `results` begins as NULL. Rows that do not
 * count any more, because the statement was begun again, are to be freed before. */
void live_result_take_rows(struct live_result **results, tp_op *op);
void live_result_take_end(struct live_result **results, tp_op *op);
void live_result_free(struct live_result *result);

/* The text of a value, NULL for NULL; `len` may be NULL. */
const char *live_result_text(const struct live_result *result, size_t row, int column, size_t *len);

#endif
