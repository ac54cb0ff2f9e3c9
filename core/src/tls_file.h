/* PEM as a file name that libpq can be given; see tls.h.
 * Thread: one at a time. */
#ifndef TP_TLS_FILE_H
#define TP_TLS_FILE_H

#include "tls.h"
#include "tls_pem.h"

void tp__tls_file_init(struct tp_tls_file *file);
/* Closes the memfd, or removes the file unless it is the user's or another process's. */
void tp__tls_file_deinit(struct tp_tls_file *file);
/* Makes the file. `path` is the user's own, which will do where there is no memfd; NULL:
 * a copy has to be made. Errors: TP_ERR_TLS, TP_ERR_VALIDATION. */
enum tp_status tp__tls_file_make(struct tp_tls_file *file, const struct tp_pem *pem,
                                 const char *path, struct tp_error *err) TP_MUST_CHECK;

#endif
