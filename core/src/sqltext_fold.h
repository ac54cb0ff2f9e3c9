/* SQL texts with what differs from call to call left out, so that statistics can count calls
 * of one statement together.
 *
 * Constants become ?, lists of constants and parameters behind IN and in ARRAY become "...",
 * and so do all rows of VALUES but the first when they are nothing but that. Comments are
 * dropped, white space is squeezed, and keywords and unquoted names are in small letters.
 * Parameters and casts stay. No value of a constant is left in it.
 * Owns: nothing. Thread: any. */
#ifndef TP_SQLTEXT_FOLD_H
#define TP_SQLTEXT_FOLD_H

#include <stddef.h>
#include <stdint.h>

/* Texts are looked at so far, in bytes; scripts may be longer. */
enum { TP_FOLD_LOOKS_AT = 64 * 1024 };

/* Writes the folded text with a NUL behind it to `out`; what has no room ends in "...". Returns
 * its length. *hash is that of the whole, also of what had no room. */
size_t tp__sql_fold(const char *sql, size_t len, char *out, size_t room, uint64_t *hash);

#endif
