#!/usr/bin/env bash
# Fills the throwaway server of pg.sh with the tables of the benchmark, then measures: see openresty.lua.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
"$TIDEPOOL_TEST_BINDIR/psql" -qX -d "$DATABASE_URL" -f spec/bench/tables.sql
exec "${LUA:-lua5.4}" spec/bench/openresty.lua "$@"
