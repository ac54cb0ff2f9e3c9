/* The workloads of the tight C program on libpq, which all others are compared with: one function
 * for each. */
#ifndef BENCH_LIBPQ_H
#define BENCH_LIBPQ_H

#include "contest.h"

void libpq_point(long amount, struct contest_watch *watch);
void libpq_constant(long amount, struct contest_watch *watch);

void libpq_rows_text(long amount, struct contest_watch *watch);
void libpq_rows_binary(long amount, struct contest_watch *watch);
void libpq_rows_single(long amount, struct contest_watch *watch);
void libpq_rows_binary_single(long amount, struct contest_watch *watch);
void libpq_each(long amount, struct contest_watch *watch);

void libpq_workers(long amount, struct contest_watch *watch);

void libpq_insert(long amount, struct contest_watch *watch);
void libpq_copy(long amount, struct contest_watch *watch);
void libpq_copy_ready(long amount, struct contest_watch *watch);
void libpq_copy_binary(long amount, struct contest_watch *watch);

void libpq_idle(long amount, struct contest_watch *watch);

#endif
