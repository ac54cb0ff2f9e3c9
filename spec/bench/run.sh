#!/usr/bin/env bash
# Fills the throwaway server of pg.sh with the tables of the benchmark, then measures: see run.lua.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
"$TIDEPOOL_TEST_BINDIR/psql" -qX -d "$DATABASE_URL" -f spec/bench/tables.sql

# The server and whoever is measured have a processor each: where the system is free to choose, a pair that shares one
# by chance wakes each other several times faster than one that does not, which says nothing about a client.
alone=()
if command -v taskset >/dev/null && [ "$(nproc)" -ge 2 ]; then
    for pid in $(head -n 1 "$TIDEPOOL_TEST_PGDATA/postmaster.pid") $(pgrep -P "$(head -n 1 "$TIDEPOOL_TEST_PGDATA/postmaster.pid")"); do
        taskset -apc 1 "$pid" >/dev/null || true
    done
    alone=(taskset -c 0)
fi
exec "${alone[@]}" "${LUA:-lua5.4}" spec/bench/run.lua "$@"
