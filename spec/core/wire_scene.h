/* A wire (wire.h) over a pair of sockets, and a server that says what a test wants. */
#ifndef WIRE_SCENE_H
#define WIRE_SCENE_H

#include "fake_pool.h"
#include "wire.h"

enum { WIRE_STEPS_AT_MOST = 1000 * 1000 /* of a loop that has to end */ };

/* Both ends of a socket, and what came out of ours. */
struct wire_scene {
    int ours, theirs;
    struct tp_wire wire;
    struct tp_buf stream; /* what the server says */
    size_t said;          /* how much of it was said */
    struct tp_buf cells;  /* the rows that were taken */
    struct tp_buf others; /* what came beside them: type and body, a '|' behind each */
    char tag[64];
    int rows, results;
};

void wire_open(struct wire_scene *scene);
void wire_close(struct wire_scene *scene);
/* Asks for rows of two columns. */
void wire_begin(struct wire_scene *scene);
void wire_begin_with(struct wire_scene *scene, int nparams, const struct tp_param *params);
/* What a wire calls; the context is the scene. */
void wire_keep_other(void *ctx, char type, const char *body, size_t len);
void wire_keep_error(void *ctx, const char *body, size_t len);

/* The server says more, up to `until` of its stream or as much as the socket takes. */
void wire_say(struct wire_scene *scene, size_t until);
/* What the server hears. */
void wire_hear(struct wire_scene *scene, struct tp_buf *out);
/* In an orderly way: all that was sent has been read. */
void wire_hang_up(struct wire_scene *scene);
/* Steps, and takes what there is, until there is nothing more to do. */
enum tp_wire_got wire_drain(struct wire_scene *scene);
/* The same while the server says the rest of its stream. */
enum tp_wire_got wire_drain_all(struct wire_scene *scene);

/* All rows were taken that wire_put_row wrote with ids from 0 on and names as long as said. */
void wire_assert_cells(struct wire_scene *scene, int rows, const long *lengths, size_t nlengths);
/* After an exchange that wire_put_answer wrote. */
void wire_assert_answer(struct wire_scene *scene, int rows);
void wire_assert_others(struct wire_scene *scene, const char *expected);
void wire_assert_lost(struct wire_scene *scene, const char *why);

/* Messages, appended to a stream. */
void wire_put32(struct tp_buf *out, uint32_t value);
void wire_put_message(struct tp_buf *out, char type, const char *body, size_t len);
/* A row has an id and a name as long as is wanted (negative: NULL). */
void wire_put_row(struct tp_buf *out, int id, long name_len);
/* Rows with ids from 0 on and names of these lengths in turn. */
enum { WIRE_MIXED = 5 };
extern const long wire_mixed[WIRE_MIXED];
void wire_put_rows(struct tp_buf *out, int rows);
/* The statement is complete, and the server ready. */
void wire_put_end(struct tp_buf *out);
/* A whole answer. */
void wire_put_answer(struct tp_buf *out, int rows);

/* A random number from 0 to below it. */
size_t wire_draw(uint64_t *seed, size_t below);

#endif
