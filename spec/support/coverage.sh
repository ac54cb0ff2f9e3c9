#!/usr/bin/env bash
# Lines and branches of the core and the binding that the tests reached, from gcov's notes under the folder of the
# objects. A branch counts as reached when it was taken at least once. Exit code 1 when the sum is below the bar.
set -euo pipefail
objects=$1
least_lines=90
least_branches=80
find "$objects/core" "$objects/lua" -name '*.gcda' -print0 | xargs -0 -r gcov -b -n 2>/dev/null | awk -F "'" \
    -v least_lines="$least_lines" -v least_branches="$least_branches" '
    function percent(hits, all) { return all ? 100 * hits / all : 100 }
    /^File / { file = $2 ~ /^(core\/src|lua\/binding)\// ? $2 : "" }
    file == "" { next }
    /^Lines executed:/ && !(file in lines) { # Lines executed:87.50% of 120; behind the last file comes their sum
        split($0, part, /[:% ]+/)
        lines[file] = part[5]
        hit[file] = part[3] * part[5] / 100
    }
    /^Taken at least once:/ { # Taken at least once:71.43% of 28
        split($0, part, /[:% ]+/)
        branches[file] = part[7]
        taken[file] = part[5] * part[7] / 100
    }
    END {
        form = "%6.1f %% of %5d lines  %6.1f %% of %5d branches  %s\n"
        for (file in lines) {
            printf form, percent(hit[file], lines[file]), lines[file], \
                percent(taken[file], branches[file]), branches[file], file | "sort -k11"
            l += lines[file]; lh += hit[file]; b += branches[file]; bt += taken[file]
        }
        close("sort -k11")
        printf form, percent(lh, l), l, percent(bt, b), b, "all"
        if (percent(lh, l) < least_lines || percent(bt, b) < least_branches) {
            printf "coverage: below %d %% of lines or %d %% of branches\n", least_lines, least_branches
            exit 1
        }
    }'
