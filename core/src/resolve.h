/* Host names to addresses, off the caller's thread.
 *
 * PQconnectStart blocks while it resolves, so names are resolved first by an
 * errand and libpq is given `hostaddr` beside `host` (which TLS verification
 * still needs). A name with several addresses is repeated once per address.
 * Owns: the lists belong to the resolution until tp__resolve_free.
 * Thread: one at a time. */
#ifndef TP_RESOLVE_H
#define TP_RESOLVE_H

#include <stdbool.h>

#include "tidepool.h"
#include "wake.h"

struct tp_resolve;

/* Whether any host of the list ("a,b") is a name that has to be looked up: not a
 * socket's folder, not a numeric address, not empty. */
bool tp__resolve_needed(const char *hosts);

/* Starts to resolve the comma-separated hosts, with their ports (one for all, or
 * one each; may be NULL). NULL when memory or threads are short. */
struct tp_resolve *tp__resolve_start(const char *hosts, const char *ports, struct tp_wake *wake);
bool tp__resolve_done(const struct tp_resolve *resolve);

/* After done. TP_OK when at least one host has an address: the lists for libpq.
 * Errors: TP_ERR_CONNECTION with the resolver's reason. */
enum tp_status tp__resolve_result(const struct tp_resolve *resolve, const char **hosts,
                                  const char **hostaddrs, const char **ports,
                                  struct tp_error *err) TP_MUST_CHECK;

/* Forgets the resolution, also one that is still under way. NULL is fine. */
void tp__resolve_free(struct tp_resolve *resolve);

#endif
