/* SQL texts, looked at without a server: comments, and what a text may leave behind in the
 * session that executes it.
 *
 * Owns: nothing. Thread: any. Source: PostgreSQL manual 4.1, "Lexical Structure". */
#ifndef TP_SQLTEXT_H
#define TP_SQLTEXT_H

#include <stdbool.h>
#include <stddef.h>

/* What the next borrower of the connection might notice. */
enum tp_sql_traces {
    TP_LEAVES_STATE = 1, /* settings, roles, temporary tables, locks: a reset removes them */
    TP_LEAVES_FOR_GOOD =
        2 /* a loaded library, the seed of random(): only a new session is without */
};

/* Whether the text begins as a statement that may write: all but those that are known to read, or
 * to be about the session or the transaction. What a function writes that is called is not seen. */
bool tp__sql_may_write(const char *sql, size_t len);

/* Whether the text begins as a statement that may commit before it has ended (a procedure, VACUUM,
 * what is done CONCURRENTLY), so that an error does not tell that nothing was kept. */
bool tp__sql_may_commit(const char *sql, size_t len);

/* What executing the text may leave behind when its transaction is committed: bits of enum
 * tp_sql_traces. Nothing is left by statements that only read and write tables, and that call
 * no function but well-known ones by name; whatever is not known counts as leaving state. What
 * the text does not name is not seen: the work of triggers, rules, views, defaults and
 * operators, and functions that have the name of a well-known one. */
unsigned tp__sql_traces(const char *sql, size_t len);

#endif
