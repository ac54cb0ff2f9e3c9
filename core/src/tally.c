#include "tally.h"

_Static_assert(sizeof(struct tp_lease_tally) <= 16384, "a slot's tally stays small");

enum { LAST_CLASS = TP_ERROR_CLASSES - 1, OTHER_CLASSES = '?' << 8 | '?' };

/* ------------------------------------------------------------------ classes */

static uint64_t class_of(const char *code)
{
    return (uint64_t)(unsigned char)code[0] << 8 | (unsigned char)code[1];
}

static void add_class(struct tp_classes *classes, uint64_t code, uint64_t more)
{
    for (size_t i = code == OTHER_CLASSES ? LAST_CLASS : 0; i < TP_ERROR_CLASSES; i++) {
        uint64_t known = tp__read(&classes->of[i].code);
        if (known == 0) {
            known = i < LAST_CLASS ? code : OTHER_CLASSES;
            atomic_store_explicit(&classes->of[i].code, known, memory_order_relaxed);
        }
        if (known == code || i == LAST_CLASS) {
            tp__add(&classes->of[i].count, more);
            return;
        }
    }
}

void tp__classes_add(struct tp_classes *classes, const char *code, uint64_t more)
{
    if (code[0] != '\0' && code[1] != '\0')
        add_class(classes, class_of(code), more);
}

static void merge_classes(struct tp_classes *into, const struct tp_classes *from)
{
    for (size_t i = 0; i < TP_ERROR_CLASSES; i++) {
        uint64_t code = tp__read(&from->of[i].code), count = tp__read(&from->of[i].count);
        if (count > 0)
            add_class(into, code, count);
    }
}

static void report_classes(const struct tp_classes *classes, struct tp_class_count *out)
{
    for (size_t i = 0; i < TP_ERROR_CLASSES; i++) {
        uint64_t code = tp__read(&classes->of[i].code);
        out[i] = (struct tp_class_count){{(char)(code >> 8), (char)code, '\0'},
                                         tp__read(&classes->of[i].count)};
    }
}

/* ------------------------------------------------------------------ sums */

static void add_words(void *into, const void *from, size_t size)
{
    _Atomic uint64_t *to = into;
    const _Atomic uint64_t *more = from;
    for (size_t i = 0; i < size / sizeof *to; i++)
        tp__add(&to[i], tp__read(&more[i]));
}

static void add_leases(struct tp_lease_tally *into, const struct tp_lease_tally *from)
{
    add_words(&into->counts, &from->counts, sizeof into->counts);
    merge_classes(&into->classes, &from->classes);
    tp__histogram_merge(&into->query, &from->query);
    tp__histogram_merge(&into->transaction, &from->transaction);
    tp__histogram_merge(&into->held, &from->held);
}

void tp__tally_add_leases(struct tp_tally *into, const struct tp_lease_tally *from)
{
    if (tp__read(&from->counts.acquires) > 0)
        add_leases(&into->leases, from);
}

void tp__tally_add(struct tp_tally *into, const struct tp_tally *from)
{
    add_leases(&into->leases, &from->leases);
    add_words(&into->counts, &from->counts, sizeof into->counts);
    tp__histogram_merge(&into->wait, &from->wait);
    tp__histogram_merge(&into->connect, &from->connect);
}

static void report_leases(const struct tp_lease_tally *tally, struct tp_stats *out)
{
    const struct tp_lease_counts *counts = &tally->counts;
    out->acquires = tp__read(&counts->acquires);
    out->rollbacks = tp__read(&counts->rollbacks);
    out->leaks = tp__read(&counts->leaks);
    out->queries = tp__read(&counts->queries);
    out->query_failures = tp__read(&counts->query_failures);
    out->slow_queries = tp__read(&counts->slow_queries);
    out->statement_hits = tp__read(&counts->statement_hits);
    out->statements_prepared = tp__read(&counts->statements_prepared);
    out->statement_evictions = tp__read(&counts->statement_evictions);
    out->committed = tp__read(&counts->committed);
    out->rolled_back = tp__read(&counts->rolled_back);
    for (int kind = 0; kind <= TP_ERR_MEMORY; kind++)
        out->errors_by_kind[kind] = tp__read(&counts->errors_by_kind[kind]);
    report_classes(&tally->classes, out->errors_by_class);
    tp__histogram_summary(&tally->query, &out->query);
    tp__histogram_summary(&tally->transaction, &out->transaction);
    tp__histogram_summary(&tally->held, &out->held);
}

void tp__tally_report(const struct tp_tally *tally, struct tp_stats *out)
{
    const struct tp_pool_counts *counts = &tally->counts;
    report_leases(&tally->leases, out);
    out->fail_fast = tp__read(&counts->fail_fast);
    out->acquire_timeouts = tp__read(&counts->acquire_timeouts);
    out->acquire_cancels = tp__read(&counts->acquire_cancels);
    out->connects = tp__read(&counts->connects);
    out->connect_failures = tp__read(&counts->connect_failures);
    out->retries = tp__read(&counts->retries);
    out->retries_refused = tp__read(&counts->retries_refused);
    for (int reason = 0; reason < TP_CLOSE_REASONS; reason++)
        out->closed[reason] = tp__read(&counts->closed[reason]);
    tp__histogram_summary(&tally->wait, &out->wait);
    tp__histogram_summary(&tally->connect, &out->connect);
}
