#!/usr/bin/env bash
# What an event loop feels beside the throwaway server of pg.sh: waiters.lua and stall.lua, with 1,024 files at most.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
lua=${LUA:-lua5.4}
code=0

ulimit -n 1024
for loop in cqueues luv; do
    "$lua" spec/bench/waiters.lua "$loop" || code=1
done
spec/support/silent_net.sh true
if [ $? -eq 77 ]; then
    echo "no network namespaces here: names are not looked up"
    "$lua" spec/bench/stall.lua "$@" || code=1
else
    spec/support/silent_net.sh "$lua" spec/bench/stall.lua "$@" || code=1
fi
exit $code
