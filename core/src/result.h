/* What is in a PGresult: tags, columns, descriptions, errors.
 *
 * Owns: nothing; what is made is the caller's. Errors: TP_ERR_MEMORY as a NULL.
 * Thread: one at a time. */
#ifndef TP_RESULT_H
#define TP_RESULT_H

#include <libpq-fe.h>

#include "description.h"
#include "tidepool.h"

/* Copies the command of a tag ("INSERT") and returns the rows that it selected or touched. */
int64_t tp__result_tag(const char *tag, char *out, size_t room);
/* The columns, without types. */
struct tp_columns *tp__result_columns(const PGresult *pg);
/* Whether it has as many columns, of the same names and types. */
bool tp__result_has_columns(const PGresult *pg, const struct tp_columns *columns);
/* What an answer to Describe says of a statement. */
struct tp_description *tp__result_description(const PGresult *pg, const char *sql, size_t len);
/* Fills an error from a failed PGresult: every field the server sent. */
void tp__result_error(const PGresult *pg, struct tp_error *err);

#endif
