/* Results: a PGresult, or the chain of them that a script gives.
 *
 * Owns: a tp_result owns its PGresult and the results after it.
 * Thread: one at a time. The getters are in tidepool.h. */
#ifndef TP_RESULT_H
#define TP_RESULT_H

#include <libpq-fe.h>

#include "tidepool.h"

/* Takes the PGresult; on failure (NULL: no memory) it is cleared. */
tp_result *tp__result_new(PGresult *pg);
/* Puts `next` behind the last of the chain; returns the chain's head. */
tp_result *tp__result_append(tp_result *head, tp_result *next);
/* Fills an error from a failed PGresult: every field the server sent. */
void tp__result_error(const PGresult *pg, struct tp_error *err);

#endif
