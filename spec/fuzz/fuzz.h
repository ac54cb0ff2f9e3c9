/* What fuzz targets share. A target is one file fuzz_NAME.c with a LLVMFuzzerTestOneInput:
 * libFuzzer gives it bytes for as long as it is told to, and keeps those that reach code
 * which was not reached before. It fails by crashing: under a sanitizer, or by fuzz_check.
 * See spec/support/fuzz.mk. Source: llvm.org/docs/LibFuzzer.html. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidepool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room); /* libFuzzer's own */

/* What has to hold whatever the bytes are. */
#define fuzz_check(condition)                          \
    do {                                               \
        if (!(condition))                              \
            fuzz_fail(__FILE__, __LINE__, #condition); \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *condition);

/* What is left of the bytes. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

/* 0 when there is none left. */
uint8_t fuzz_byte(struct fuzz_input *in);
/* The bytes up to the next `end`, or all; a copy with a NUL behind it, to be freed. */
char *fuzz_text(struct fuzz_input *in, char end);

/* An environment without variables, for tp_config_resolve. */
tp_getenv_fn fuzz_no_variable;

/* Stands for a secret in texts that are made up. */
#define FUZZ_SECRET "Kanarienvogel"

/* An error is complete and can be shown; with `hidden`, it says nothing of the secret. */
void fuzz_check_error(const struct tp_error *err, bool hidden);

#endif
