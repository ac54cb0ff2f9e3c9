#!/usr/bin/env bash
# Proves the layers of the C sources from their #include lines. The table is kept by hand: a file that is not in it
# fails, so that whoever adds one says where it belongs. An entry `name` stands for name.c, name.h and name_*.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2

layers=(
    "error clock list buf text wake bell errand adaptive note"
    "poller shm budget config options url tls sqlstate backoff stats tally ledger types codec catalog columns description statements digest sqltext stale events notification resolve"
    "conn result wire beacon"
    "pool share keeper listen password"
    "op reactor drive database registry shutdown"
)
libpq="conn result config tls" # who may include libpq-fe.h

wrong=0
complain() { echo "check-layers: $*" >&2; wrong=1; }

# The longest entry that names the file, so that `config_tls` would beat `config`.
entry_of() { # FILE LIST...
    local name=$1 entry best=; shift
    name=${name##*/}; name=${name%.*}
    for entry in "$@"; do
        case $name in "$entry" | "$entry"_*) [ ${#entry} -le ${#best} ] || best=$entry ;; esac
    done
    echo "$best"
}

layer_of() {
    local i entry
    # shellcheck disable=SC2048,SC2086 # lists of words
    entry=$(entry_of "$1" ${layers[*]})
    [ -n "$entry" ] || return 1
    for i in "${!layers[@]}"; do
        case " ${layers[$i]} " in *" $entry "*) echo "$i"; return ;; esac
    done
}

includes_of() { sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]([^>"]+)[>"].*/\1/p' "$1"; }

for file in core/src/*.[ch] core/src/*.inc; do
    [ -f "$file" ] || continue
    layer=$(layer_of "$file") || { complain "$file is in no layer: add it to the table in spec/support/check_layers.sh"; continue; }
    for header in $(includes_of "$file"); do
        case $header in
            lua.h | lauxlib.h | lualib.h | luaconf.h | lua.hpp)
                complain "$file includes $header, which belongs to lua/binding" ;;
            libpq-fe.h)
                # shellcheck disable=SC2086
                [ -n "$(entry_of "$file" $libpq)" ] || complain "$file includes libpq-fe.h (only: $libpq)" ;;
            *)
                [ -f "core/src/$header" ] || continue
                other=$(layer_of "$header") || continue # complained about as a file of its own
                [ "$other" -le "$layer" ] || complain "$file (layer $layer) includes $header (layer $other)" ;;
        esac
    done
done

for file in core/include/*.h lua/binding/*.[ch]; do
    [ -f "$file" ] || continue
    for header in $(includes_of "$file"); do
        case $file:$header in
            core/*:lua.h | core/*:lauxlib.h | core/*:lualib.h) complain "$file includes $header" ;;
            *:libpq-fe.h) complain "$file includes libpq-fe.h (only: $libpq)" ;;
        esac
    done
done
exit "$wrong"
