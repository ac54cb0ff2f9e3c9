#!/usr/bin/env bash
# Runs the tests and sums up: the last line is "N passed, N failed, N skipped", the exit code says whether all is well.
#
#   run_tests.sh VARIANT OUT [FILE...]    VARIANT: default, asan, tsan, coverage; OUT: where it was built
#
# Programs that embed Lua, busted specs (one process per file, so that a crash costs one file), C programs of the core.
# They wait most of the time, so on Lua 5.4 two of them run at a time, each beside a throwaway PostgreSQL of its own; who
# is done takes the next one. Specs that say "-- Alone: REASON" run behind the others, and so do named files, with their
# output as it comes. LUA, LUA_VERSION, LUA_PATH and LUA_CPATH come from the Makefile.
# On another Lua than 5.4 only specs are run, and of those not the ones that say "-- Only Lua 5.4: REASON"; on 5.2 and
# 5.5 a few.
# What counts as a failure besides a failed test: a runner that crashes, hangs, or runs no test; a sanitizer's report.
set -uo pipefail

unset MAKEFLAGS MFLAGS MAKELEVEL VARIANT # a make that a spec starts is not part of ours

support=$(dirname "$(readlink -f "$0")")
version=${LUA_VERSION:-5.4}
variant=$1
out=$(readlink -f "$2")
report=$out/test-report

# The slowest files: where there is time to be won.
print_slowest() {
    [ "$(wc -l <"$report/durations")" -gt 30 ] || return 0
    echo
    echo "the slowest, in seconds, and how many of these they kept a processor busy:"
    sort -rn "$report/durations" | head -n 15 | awk '{ printf "%8.1f %7.1f  %s\n", $1, $2, $3 }'
}

sum_up() {
    local code=$1 passed failed skipped
    read -r passed failed skipped < <(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$report/counts")
    if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    if [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ]; then echo "no test ran"; failed=1; fi
    print_slowest
    echo
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}

# What there is to run, by what it says of itself: runs TOGETHER or ALONE.
list_files() {
    local files file reason
    shopt -s nullglob
    if [ "$version" = 5.4 ]; then
        files=(spec/binding/*.c spec/faults/*_spec.lua spec/*_spec.lua spec/regress/*_spec.lua spec/core/test_*.c)
    elif [ "$version" = 5.2 ] || [ "$version" = 5.5 ]; then # between two others
        files=(spec/{acquire,decode,int64,parameters,query,shapes,transaction}_spec.lua)
    else
        files=(spec/*_spec.lua spec/regress/*_spec.lua)
    fi
    for file in "${files[@]}"; do
        reason=$(sed -n '1,10s/^-- Only Lua 5\.4: //p' "$file")
        if [ "$version" != 5.4 ] && [ -n "$reason" ]; then
            echo "$file: not on lua$version, $reason"
        elif grep -qm 1 '^-- Alone: ' "$file"; then
            echo "$file" >>"$report/alone"
        else
            echo "$file" >>"$report/together"
        fi
    done
}

children=()
start_worker() { # NAME ARGUMENT...
    mkdir -p "$report/$1"
    TIDEPOOL_TESTS_WORKER=$1 "$support/pg.sh" run "$0" "${@:2}" <&0 &
    children+=($!)
}
wait_for_workers() {
    local child
    for child in "${children[@]}"; do wait "$child" || code=$?; done
    children=()
}

if [ -z "${TIDEPOOL_TESTS_WORKER:-}" ]; then
    rm -rf "$report" && mkdir -p "$report/taken" && : >"$report/counts" && : >"$report/durations"
    code=0
    # Signals go on to whatever runs; the traps of pg.sh then remove the servers.
    trap '[ ${#children[@]} -eq 0 ] || kill -TERM "${children[@]}"; wait; exit 130' INT TERM HUP
    if [ $# -gt 2 ]; then
        start_worker named "$@"
    else
        list_files
        start_worker first "$@" together
        if [ "$version" = 5.4 ]; then start_worker second "$@" together; fi
        wait_for_workers
        if [ -s "$report/alone" ]; then start_worker alone "$@" alone; fi
    fi
    wait_for_workers
    sum_up "$code"
    exit
fi
shift 2
all=$report
report=$report/$TIDEPOOL_TESTS_WORKER

export TIDEPOOL_TEST_VARIANT=$variant
deadline=${TIDEPOOL_TEST_DEADLINE:-180} # seconds for one program or spec file
aslr=()      # what runs any program under ThreadSanitizer
logs=$report/sanitizer
case $variant in
    asan)
        deadline=400
        LUA=$out/test-bin/lua_host
        ;;
    tsan)
        deadline=900
        # Old runtimes know only the memory layout that comes without address space randomisation.
        if setarch "$(uname -m)" -R true 2>/dev/null; then aslr=(setarch "$(uname -m)" -R); fi
        LUA=$out/test-bin/lua_host
        ;;
esac
suppressions() { if [ -f "$support/$1.supp" ]; then echo ":suppressions=$support/$1.supp:print_suppressions=0"; fi; }
export ASAN_OPTIONS="exitcode=99:halt_on_error=1:detect_leaks=1:detect_stack_use_after_return=1:log_path=$logs"
LSAN_OPTIONS="exitcode=99$(suppressions lsan)"
export LSAN_OPTIONS
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:log_path=$logs"
TSAN_OPTIONS="exitcode=99:second_deadlock_stack=1:die_after_fork=0:log_path=$logs$(suppressions tsan)"
export TSAN_OPTIONS

child=
trap '[ -z "$child" ] || kill -TERM "$child" 2>/dev/null; wait; exit 130' INT TERM HUP

# The program runs in a process group of its own (timeout makes it), so that its helpers end with it.
with_deadline() {
    timeout -k 10 "$deadline" "$@" </dev/null &
    child=$!
    local code=0
    wait "$child" || code=$?
    child=
    return "$code"
}

# Processor time of all that this shell has waited for.
busy() { times >"$report/times"; awk 'NR == 2 { gsub(/[ms]/, " "); print $1 * 60 + $2 + $3 * 60 + $4 }' "$report/times"; }

# record NAME CODE PASSED FAILED SKIPPED OUTPUT SECONDS; one worker at a time prints.
record() {
    exec 9>"$all/lock"
    flock 9
    print_record "$@"
    exec 9>&-
    local now; now=$(busy)
    echo "$7 $(awk -v a="$busy_before" -v b="$now" 'BEGIN { print b - a }') $1" >>"$all/durations"
    busy_before=$now
}
busy_before=0

print_record() {
    local name=$1 code=$2 passed=$3 failed=$4 skipped=$5 output=$6 seconds=$7 note=
    if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1
        case $code in
            124) note="no end within $deadline s" ;;
            137) note="killed; the deadline is $deadline s" ;;
            99) note="a sanitizer's report" ;;
            *) note="ended with code $code" ;;
        esac
    elif [ $((passed + failed + skipped)) -eq 0 ]; then
        failed=1 note="ran no test"
    fi
    local logs_now; logs_now=$(find "$report" -name 'sanitizer.*')
    if [ -n "$logs_now" ] && [ -z "$note" ]; then
        failed=$((failed + 1)) note="a sanitizer's report"
    fi
    if [ -s "$report/said" ]; then cat "$report/said"; fi
    rm -f "$report/said"
    if [ "$failed" -gt 0 ]; then
        [ ! -s "$output" ] || sed 's/^/    /' "$output"
        # shellcheck disable=SC2086 # one word per file, no blanks in their names
        [ -z "$logs_now" ] || { head -n 120 $logs_now; rm -f $logs_now; }
    fi
    [ "$skipped" -eq 0 ] || [ ! -s "$output" ] || grep -a '^# skipped: ' "$output" | sed "s,^# skipped,skipped: $name,"
    printf '%-40s %4d passed' "$name" "$passed"
    [ "$failed" -eq 0 ] || printf ', %d FAILED' "$failed"
    [ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
    printf '  %s s%s\n' "$seconds" "${note:+  ($note)}"
    echo "$passed $failed $skipped" >>"$all/counts"
    [ "$failed" -eq 0 ] || all_well=false
}

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# A C program: cmocka's TAP on standard output. A program without any TAP line counts as one test.
run_program() {
    local name=$1 program=$2 output=$report/output code=0 began=$EPOCHREALTIME counts
    CMOCKA_MESSAGE_OUTPUT=TAP with_deadline "${aslr[@]}" "$program" >"$output" 2>&1 || code=$?
    counts=$(awk '/^(not )?ok .*# SKIP/ { s++; next } /^ok / { p++ } /^not ok / { f++ } END { print p + 0, f + 0, s + 0 }' "$output")
    if [ "$counts" = "0 0 0" ] && [ "$code" -eq 0 ]; then counts="1 0 0"; fi
    # shellcheck disable=SC2086 # three numbers
    record "$name" "$code" $counts "$output" "$(seconds_since "$began")"
}

run_spec() {
    local file=$1 code=0 began=$EPOCHREALTIME counts="0 0 0"
    rm -f "$report/busted"
    # shellcheck disable=SC2206 # BUSTED_ARGS is a list of words
    local run=(with_deadline "${aslr[@]}" "$LUA" "$support/busted.lua" --config-file="$support/../../.busted"
        --output="$support/report.lua" $helper ${BUSTED_ARGS:-} "$file")
    export TIDEPOOL_REPORT=$report/busted
    if [ "$TIDEPOOL_TESTS_WORKER" = named ]; then
        "${run[@]}" || code=$?
    else
        "${run[@]}" >"$report/said" 2>&1 || code=$?
    fi
    if [ -s "$report/busted" ]; then counts=$(cat "$report/busted"); fi
    # shellcheck disable=SC2086 # three numbers
    record "$file" "$code" $counts /dev/null "$(seconds_since "$began")"
}

run_file() {
    local name; name=$(basename "$1" .c)
    case $1 in
        spec/core/*.c | spec/binding/*.c) run_program "${1%.c}" "$out/test-bin/$name" ;;
        *_spec.lua) run_spec "$1" ;;
        *) echo "$1: neither a spec nor a C test" ; all_well=false ;;
    esac
}

helper=
if [ -f spec/helper.lua ]; then helper=--helper=spec/helper.lua; fi
all_well=true
if [ "$TIDEPOOL_TESTS_WORKER" = named ]; then
    BUSTED_ARGS="-Xoutput verbose ${BUSTED_ARGS:-}"
    for file in "$@"; do run_file "$file"; done
else
    mapfile -t files <"$all/$1"
    for file in "${files[@]}"; do
        if mkdir "$all/taken/${file//\//:}" 2>/dev/null; then run_file "$file"; fi
    done
fi
$all_well
