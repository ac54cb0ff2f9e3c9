#!/usr/bin/env bash
# Lines of the core and the binding that the tests reached, from gcov's notes under the folder of the objects.
set -euo pipefail
objects=$1
find "$objects/core" "$objects/lua" -name '*.gcda' -print0 | xargs -0 -r gcov -n 2>/dev/null | awk -F "'" '
    /^File / { file = $2 }
    /^Lines executed:/ && file ~ /^(core\/src|lua\/binding)\// {
        split($0, part, /[:% ]+/) # Lines executed 87.50 of 120
        all[file] = part[5]
        hit[file] = part[3] * part[5] / 100
    }
    /^Lines executed:/ { file = "" }
    END {
        for (file in all) {
            printf "%6.1f %%  of %5d  %s\n", 100 * hit[file] / all[file], all[file], file | "sort -k5"
            sum += all[file]; hits += hit[file]
        }
        close("sort -k5")
        if (sum) printf "%6.1f %%  of %5d  all\n", 100 * hits / sum, sum
    }'
