#!/usr/bin/env bash
# No function over 60 lines, no file over 600: C by the format (a function's braces stand alone in column 1), Lua by the
# compiler's listing. The public header and the annotations are references and may be long. A table of cases is exempt when the
# comment before it has the words `check-length: table`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
LUA=${LUA:-lua5.4}
luac=${LUA/lua/luac}
wrong=0

mapfile -t c_files < <(find core lua spec -name '*.[ch]' | sort)
mapfile -t lua_files < <(find lua examples spec/support -name '*.lua' 2>/dev/null | sort)

[ "${#c_files[@]}" -eq 0 ] || awk '
    FNR == 1 { inside = exempt = 0 }
    /check-length: table/ { exempt = 1 }
    /^\{/ { inside = 1; start = FNR }
    /^\}/ {
        if (inside && !exempt && FNR - start - 1 > 60) {
            printf "check-length: %s:%d: a function of %d lines\n", FILENAME, start, FNR - start - 1
            wrong = 1
        }
        inside = exempt = 0
    }
    END { exit wrong }' "${c_files[@]}" >&2 || wrong=1

for file in "${lua_files[@]}"; do
    while IFS=, read -r first last; do
        if [ $((last - first - 1)) -gt 60 ] && ! sed -n "$((first - 1))p" "$file" | grep -q 'check-length: table'; then
            echo "check-length: $file:$first: a function of $((last - first - 1)) lines" >&2
            wrong=1
        fi
    done < <("$luac" -l -p "$file" | sed -nE 's/^function <.*:([0-9]+),([0-9]+)>.*/\1,\2/p')
done

# Specs may be long: they are lists.
for file in "${c_files[@]}" "${lua_files[@]}"; do
    case $file in spec/core/* | spec/binding/* | core/include/tidepool.h | lua/tidepool/meta.lua) continue ;; esac
    lines=$(wc -l <"$file")
    [ "$lines" -le 600 ] || { echo "check-length: $file: a file of $lines lines" >&2; wrong=1; }
done
exit "$wrong"
