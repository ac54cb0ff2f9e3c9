#!/usr/bin/env bash
# Runs fuzz targets, see fuzz.mk. TARGETS are words, or empty for all; OUT is where they were built.
#
#   fuzz.sh run OUT TARGETS SECONDS RUNS   two at a time: each so many executions, or without RUNS so long
#   fuzz.sh smoke OUT TARGETS SECONDS      all at once and gently, from the committed inputs; one test each
#   fuzz.sh merge OUT TARGETS              adds to the committed inputs what was found and reaches new code
#   fuzz.sh can CC                         whether the compiler can build them
#
# `run` and `smoke` end with "N passed, N failed, N skipped"; the exit code says whether nothing crashed.
set -uo pipefail

mode=$1
if [ "$mode" = can ]; then
    echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' |
        "$2" -fsanitize=fuzzer,address,undefined -x c -o /dev/null - >/dev/null 2>&1
    exit
fi

out=$2
targets=${3:-}
seconds=${4:-0}
runs=${5:-}
report=$out/fuzz-report
crashes=$out/crashes
if [ -z "$targets" ]; then targets=$(for file in spec/fuzz/fuzz_*.c; do basename "${file#spec/fuzz/fuzz_}" .c; done); fi
rm -rf "$report"
mkdir -p "$report" "$crashes"

# More than a message may be long is not had, as on a small machine.
export ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=64:quarantine_size_mb=16:detect_leaks=1
[ "$mode" != smoke ] || renice -n 19 $$ >/dev/null
export LSAN_OPTIONS=suppressions=spec/support/fuzz.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1
common=(-max_len=4096 -timeout=25 -rss_limit_mb=1024 -print_final_stats=1)

# fuzz NAME FOUND [OPTION...]: FOUND is where inputs go that reach something new.
fuzz() {
    local name=$1 found=$2 committed=spec/fuzz/corpus/$1 code=0
    shift 2
    mkdir -p "$found" "$committed"
    [ ! -f "spec/fuzz/$name.dict" ] || set -- "$@" -dict="spec/fuzz/$name.dict"
    # What libpq loses would have leaks looked for after many an execution: it is done at the end.
    [ "$name" != server ] || set -- "$@" -detect_leaks=0
    "$out/fuzz-bin/fuzz_$name" "${common[@]}" "$@" -artifact_prefix="$crashes/$name-" "$found" "$committed" \
        >"$report/$name.log" 2>&1 || code=$?
    echo "$code" >"$report/$name.code"
}

stat_of() { sed -n "s/^stat::$2: *//p" "$report/$1.log" | tail -n 1; }

# One line for a target, and the inputs that it crashed with.
tell() {
    local name=$1 log=$report/$1.log code found
    code=$(cat "$report/$name.code" 2>/dev/null || echo 1)
    found=$(sed -n 's/.*Test unit written to //p' "$log")
    printf 'fuzz %-10s %10s executions %7s a second  coverage %5s  %s\n' "$name" \
        "$(stat_of "$name" number_of_executed_units)" "$(stat_of "$name" average_exec_per_sec)" \
        "$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | tr -dc 0-9)" "$([ "$code" -eq 0 ] && echo well || echo CRASHED)"
    if [ "$code" -ne 0 ]; then
        grep -vE '^#[0-9]+.*(NEW|REDUCE|RELOAD|pulse)|WARNING: AddressSanitizer failed' "$log" | sed 's/^/    /' | head -n 60
        for input in $found; do echo "    again: $out/fuzz-bin/fuzz_$name $input"; done
        return 1
    fi
}

# Two at a time, or all at once; each is told of when it has ended.
at_most=2
[ "$mode" != smoke ] || at_most=1000
options=(-max_total_time="$seconds")
[ -z "$runs" ] || options=(-runs="$(printf '%.0f' "$runs")")
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM HUP
for name in $targets; do
    while [ "$(jobs -rp | wc -l)" -ge "$at_most" ]; do wait -n; done
    case $mode in
        run) fuzz "$name" "$out/corpus/$name" "${options[@]}" & ;;
        smoke) fuzz "$name" "$report/$name.found" "${options[@]}" & ;;
        merge) "$out/fuzz-bin/fuzz_$name" "${common[@]}" -merge=1 -use_counters=0 "spec/fuzz/corpus/$name" \
            "$out/corpus/$name" >"$report/$name.log" 2>&1 || echo "$name: not merged, see $report/$name.log" ;;
        *) echo "fuzz.sh: no mode $mode" >&2; exit 2 ;;
    esac
done
wait
[ "$mode" != merge ] || exit 0

passed=0 failed=0
for name in $targets; do
    if tell "$name"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
