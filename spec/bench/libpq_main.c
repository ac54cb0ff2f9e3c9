/* The contestant on libpq alone, in C: each workload as tightly as libpq allows. */
#include "libpq.h"

int main(void)
{
    static const struct contest_workload workloads[] = {
        {"W1", libpq_point},
        {"W2", libpq_constant},
        {"W3", libpq_rows_text},
        {"W3.binary", libpq_rows_binary},
        {"W3.single-row", libpq_rows_single},
        {"W3.binary-single-row", libpq_rows_binary_single},
        {"EACH", libpq_each},
        {"W5", libpq_workers},
        {"W6", libpq_insert},
        {"W7", libpq_copy},
        {"W7.strings", libpq_copy_ready},
        {"W7.binary", libpq_copy_binary},
        {"MEM", libpq_idle},
        {NULL, NULL},
    };
    return contest_serve("C libpq", workloads);
}
