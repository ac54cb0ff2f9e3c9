#!/usr/bin/env bash
# pgbench as a contestant, for the workloads that it can do. It answers as ../contest.h tells, without CPU time: what
# a process uses for its connections cannot be told apart from what its queries use.
set -euo pipefail

pgbench=${TIDEPOOL_TEST_BINDIR:-/nonexistent}/pgbench
if [ ! -x "$pgbench" ]; then
    printf 'absent\tpgbench is not installed\n'
    exit 0
fi

scripts=$(mktemp -d)
trap 'rm -rf "$scripts"' EXIT
printf '%s\n' '\set key random(1, 100000)' 'select * from bench_point where id = :key;' >"$scripts/point"
printf '%s\n' '\set number random(1, 100000)' 'select :number::int;' >"$scripts/constant"

# run SCRIPT CLIENTS QUERIES
run() {
    local each=$(($3 / $2)) rate
    rate=$("$pgbench" -n -M prepared -c "$2" -j 1 -t "$each" -f "$scripts/$1" "$DATABASE_URL" 2>&1 |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p') || true
    if [ -z "$rate" ]; then
        printf 'failed\tpgbench says no rate\n'
        return
    fi
    awk -v n=$((each * $2)) -v rate="$rate" 'BEGIN { printf "ok\toperations=%d\tseconds=%.6f\n", n, n / rate }'
}

printf 'ready\t%s\tW1 W2 W5\n' "$("$pgbench" --version | sed 's/^pgbench (PostgreSQL) \([0-9.]*\).*/pgbench \1/')"
while read -r workload amount; do
    case $workload in
        W1) run point 1 "$amount" ;;
        W2) run constant 1 "$amount" ;;
        W5) run point 8 "$amount" ;;
    esac
done
