/* Text to numbers, the same in every locale.
 *
 * The C library reads the decimal point of LC_NUMERIC; PostgreSQL and JSON know
 * only '.'. These functions neither read nor change the locale.
 *
 * Owns: nothing. Errors: none but the return value. Thread: any. */
#ifndef TPB_NUMBER_H
#define TPB_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads a decimal number, NaN, Infinity or -Infinity. `text` has a NUL at
 * text[len]. False when the whole of it is not a number; a number out of
 * range becomes an infinity. */
bool tpb_float_parse(const char *text, size_t len, double *out);

/* Reads a decimal integer. False when it is not one or does not fit. */
bool tpb_integer_parse(const char *text, size_t len, int64_t *out);

#endif
