#!/usr/bin/env bash
# Makes sure that the packages for tasks are there: deps.sh [build] [demo] [test] [luas] [openresty] [prometheus] [page] [lint]
# [fuzz] [bench].
#
# On Debian and its kin, with root or sudo, installs what is missing; silent and quick when nothing is. Elsewhere, or
# without the rights, says exactly what is missing (by Debian's names) and ends with 1. A thing that is there without a
# package (a Lua built by hand) counts as there.
set -uo pipefail
export LC_ALL=C
LUA=${LUA:-lua5.4}
support=$(dirname "$(readlink -f "$0")")

# shellcheck disable=SC2034 # read by name below
build=(gcc libc6-dev make pkg-config libpq-dev libssl-dev lua5.4 liblua5.4-dev)
demo=("${build[@]}" postgresql lua-cjson iso-codes)
# shellcheck disable=SC2034
test=("${demo[@]}" lua-busted lua-system lua-sec lua-luv lua-cqueues lua-argparse libcmocka-dev luarocks openssl valgrind
    strace iproute2)
# For what runs in nginx: the example and its specs, and the benchmark. Debian starts the nginx that it installs.
# shellcheck disable=SC2034
openresty=(nginx-light libnginx-mod-http-lua libluajit2-5.1-dev curl procps wrk)
# What checks the metrics. It is no package: see take_promtool.
# shellcheck disable=SC2034
prometheus=(promtool)
# A browser for the page of tidepool.http: 300 MB, so only who works on the page has it.
# shellcheck disable=SC2034
page=(chromium fonts-dejavu-core)
# The other Luas that the tests are run on. Debian's `luajit` cannot be there beside OpenResty's library: nothing here asks
# for it, and the library that is there already will do.
# shellcheck disable=SC2034
luas=(lua5.1 liblua5.1-0-dev lua5.2 liblua5.2-dev lua5.3 liblua5.3-dev libluajit2-5.1-2 libluajit2-5.1-dev)
if dpkg-query -W -f '${db:Status-Status}\n' libluajit-5.1-2 2>/dev/null | grep -qx installed; then
    luas=("${luas[@]/libluajit2-5.1-*/libluajit-5.1-dev}")
fi
# shellcheck disable=SC2034
lint=("${build[@]}" libcmocka-dev lua-check clang clang-format clang-tidy shellcheck)
# libFuzzer is in clang's runtime, which is a package of its own.
# shellcheck disable=SC2034
fuzz=("${build[@]}" clang libclang-rt-dev)
# Only what make bench compares with; it runs without.
# shellcheck disable=SC2034
bench=(lua-sql-postgres lua-dbi-postgresql python3-psycopg python3-psycopg2 python3-asyncpg python3-uvloop nodejs npm
    golang-go golang-github-jackc-pgx-v4-dev)

# Is the thing there, whoever installed it?
present() {
    case $1 in
        libc6-dev) echo '#include <stdlib.h>' | gcc -E - ;;
        libpq-dev) [ -f "$(pg_config --includedir)/libpq-fe.h" ] ;;
        libssl-dev) pkg-config --exists openssl ;;
        lua5.4) command -v "$LUA" ;;
        liblua5.1-0-dev) pkg-config --exists lua5.1 ;;
        liblua5.?-dev) pkg-config --exists "$(expr "$1" : 'lib\(lua5\..\)')" ;;
        libluajit*) pkg-config --exists luajit ;;
        postgresql) "$support/pg.sh" bindir ;;
        lua-cjson) "$LUA" -e 'require "cjson"' ;;
        lua-busted) "$LUA" -e 'require "busted.core"' ;;
        lua-system) "$LUA" -e 'require "system"' ;;
        lua-argparse) "$LUA" -e 'require "argparse"' ;;
        iproute2) command -v ip ;;
        lua-sec) "$LUA" -e 'require "ssl"' ;;
        iso-codes) [ -f /usr/share/iso-codes/json/iso_3166-2.json ] ;;
        libcmocka-dev) pkg-config --exists cmocka ;;
        lua-check) command -v luacheck ;;
        libclang-rt-dev) "$support/fuzz.sh" can clang ;;
        golang-go) command -v go ;;
        promtool) command -v promtool || [ -x "$support/../../build/tools/promtool" ] ;;
        *) command -v "$1" ;;
    esac >/dev/null 2>&1
}

# The packages of the list that are neither installed by dpkg nor there in another way.
missing_of() {
    local installed package
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | awk '$1 == "installed" { print $2 }')
    for package in "$@"; do
        grep -qx -- "$package" <<<"$installed" || present "$package" || echo "$package"
    done
}

declare -A wanted=()
[ $# -gt 0 ] || set -- build
for task in "$@"; do
    case $task in
        build | demo | test | luas | openresty | prometheus | page | lint | fuzz | bench)
            declare -n list=$task
            for package in "${list[@]}"; do wanted[$package]=1; done
            unset -n list ;;
        *) echo "usage: deps.sh [build] [demo] [test] [luas] [openresty] [prometheus] [page] [lint] [fuzz] [bench]" >&2; exit 2 ;;
    esac
done
mapfile -t missing < <(missing_of "${!wanted[@]}" | sort)
[ "${#missing[@]}" -gt 0 ] || exit 0

# Debian's package prometheus is a service that would be started: only this program is taken out of it, into build/tools.
take_promtool() {
    local folder code=0
    folder=$(mktemp -d) || return
    (
        cd "$folder" || exit
        apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; } || exit
        dpkg -x prometheus_*.deb . || exit
        mkdir -p "$support/../../build/tools" && cp usr/bin/promtool "$support/../../build/tools"
    ) >"$folder/log" 2>&1 || { code=1; tail -n 5 "$folder/log" >&2; }
    rm -rf "$folder"
    return "$code"
}
if [[ " ${missing[*]} " == *" promtool "* ]]; then
    echo "tidepool: taking promtool out of Debian's package prometheus" >&2
    take_promtool || { echo "tidepool: could not get promtool" >&2; exit 1; }
    mapfile -t missing < <(missing_of "${!wanted[@]}" | sort)
    [ "${#missing[@]}" -gt 0 ] || exit 0
fi

if [ "$(id -u)" = 0 ]; then as_root=()
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then as_root=(sudo)
else as_root=(false); fi

if ! command -v apt-get >/dev/null; then
    echo "tidepool: install these first (the names are Debian's): ${missing[*]}" >&2
    exit 1
elif [ "${as_root[*]}" = false ]; then
    echo "tidepool: these packages are missing, and installing them needs root or sudo:" >&2
    echo "    apt-get install ${missing[*]}" >&2
    exit 1
fi

apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# Debian's server package would create and start a cluster of its own. We bring ours, so the one setting that says
# otherwise is put in place while the package is installed, and taken away again after it.
conf=/etc/postgresql-common/createcluster.conf
without_cluster() {
    apt install --no-install-recommends postgresql-common >"$log" 2>&1 || return
    local had=false code=0
    if [ -f "$conf" ]; then
        had=true
        "${as_root[@]}" cp -p "$conf" "$conf.tidepool"
    fi
    trap 'restore_conf $had' EXIT
    echo 'create_main_cluster = false' | "${as_root[@]}" tee -a "$conf" >/dev/null
    "$@" || code=$?
    restore_conf "$had"
    trap 'rm -f "$log"' EXIT
    return "$code"
}
restore_conf() {
    if $1; then "${as_root[@]}" mv -f "$conf.tidepool" "$conf"; else "${as_root[@]}" rm -f "$conf"; fi
}

install_missing() {
    if [[ " ${missing[*]} " == *" postgresql "* ]]; then
        without_cluster apt install --no-install-recommends "${missing[@]}"
    else
        apt install --no-install-recommends "${missing[@]}"
    fi >"$log" 2>&1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "tidepool: installing ${missing[*]}" >&2
# The lists of packages may be old or absent: they are fetched only when the first attempt fails.
if ! install_missing && ! { apt update >"$log" 2>&1 && install_missing; }; then
    tail -n 20 "$log" >&2
    echo "tidepool: could not install: ${missing[*]}" >&2
    exit 1
fi
mapfile -t missing < <(missing_of "${!wanted[@]}")
[ "${#missing[@]}" -eq 0 ] || { echo "tidepool: still missing: ${missing[*]}" >&2; exit 1; }
