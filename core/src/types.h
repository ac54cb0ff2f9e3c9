/* Types: the built-in ones, and what makes one of the catalog's complete.
 *
 * Owns: nothing; built-in types are static. Thread: any. */
#ifndef TP_TYPES_H
#define TP_TYPES_H

#include "codec.h"
#include "tidepool.h"

struct tp_codec {
    uint32_t oid;
    tp_format_fn *format;
    tp_parse_fn *parse; /* NULL: it goes to the server as text */
    unsigned needs;     /* enum tp_codec_needs */
};

/* The i-th built-in type, or NULL past the last. */
const struct tp_type *tp__type_builtin_at(size_t i);

/* Fills in `binary`, `needs` and `depth` from the rest, which is complete. */
void tp__type_judge(struct tp_type *type);

#endif
