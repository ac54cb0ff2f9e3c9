#!/usr/bin/env bash
# Runs the tests on several Luas: test_luas.sh VERSION...
#
# The first one alone, as many of its tests measure time (two of its files run at a time); then the others, three at a
# time, each beside a server of its own. "fuzz" stands for a short run of the fuzz targets, which is beside them and takes
# what time they leave, "soak" for a minute of the soak. The last line is the sum over all, the exit code says whether all
# is well.
set -uo pipefail

make=${MAKE:-make}
unset MAKEFLAGS MFLAGS MAKELEVEL
outputs=$(mktemp -d)
trap 'rm -rf "$outputs"' EXIT
trap 'exit 130' INT TERM HUP

test_lua() {
    case $1 in
        fuzz | soak) "$make" "$1-smoke" ;;
        *) "$make" LUA_VERSION="$1" run-tests ;;
    esac
}

# The sum in an output; a run that ended without one counts as one failure.
sum_of() { grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" | tail -n 1 | grep . || echo '0 passed, 1 failed, 0 skipped'; }

first=$1
shift
test_lua "$first" 2>&1 | tee "$outputs/$first"

at_most=3
for version in "$@"; do
    case $version in fuzz | soak) at_most=$((at_most + 1)) ;; esac
    while [ "$(jobs -rp | wc -l)" -ge "$at_most" ]; do wait -n; done
    test_lua "$version" >"$outputs/$version" 2>&1 &
done
wait
for version in "$@"; do
    echo
    cat "$outputs/$version"
done

echo
for version in "$first" "$@"; do
    case $version in fuzz | soak) name=$version ;; *) name=lua$version ;; esac
    echo "$name: $(sum_of "$outputs/$version")"
done
echo
for version in "$first" "$@"; do sum_of "$outputs/$version"; done |
    awk '{ p += $1; f += $3; s += $5 } END { print p " passed, " f " failed, " s " skipped"; exit f > 0 }'
