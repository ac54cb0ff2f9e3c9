#!/usr/bin/env bash
# Shows the users service at work: copies it to a folder of its own, starts nginx on a free port of 127.0.0.1 with the
# database that DATABASE_URL names, asks it with curl, and stops it.
#
#   DATABASE_URL=postgresql://... examples/openresty/demo.sh
#
# The module tidepool has to be on LUA_PATH and LUA_CPATH (`make demo-openresty` sees to it, and to a database).
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
: "${DATABASE_URL:?says where the database is}"
export DATABASE_URL
export PATH=$PATH:/usr/sbin

folder=$(mktemp -d "${TMPDIR:-/tmp}/users-XXXXXX")
nginx=
stop() {
    [ -z "$nginx" ] || { kill -QUIT "$nginx" 2>/dev/null || true; wait "$nginx" || true; }
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT TERM HUP

cp -R "$here/conf" "$here/lua" "$folder"
mkdir "$folder/run"
# Started by root, nginx would run its workers as nobody, who may not read this folder.
if [ "$(id -u)" = 0 ]; then echo "user root root;" | cat - "$here/conf/nginx.conf" >"$folder/conf/nginx.conf"; fi

start() { # PORT
    echo "listen 127.0.0.1:$1;" >"$folder/conf/port.conf"
    nginx -p "$folder/" -c conf/nginx.conf -e run/error.log 2>"$folder/run/start.log" &
    nginx=$!
    for _ in {1..200}; do # 10 s
        if curl -s -o /dev/null "http://127.0.0.1:$1/users"; then return; fi
        kill -0 "$nginx" 2>/dev/null || break
        sleep 0.05
    done
    { kill "$nginx" || true; wait "$nginx" || true; } 2>/dev/null
    nginx=
    return 1
}

"${PSQL:-psql}" -qX -v ON_ERROR_STOP=1 -d "$DATABASE_URL" -f "$here/sql/schema.sql"
for attempt in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 12000))
    if start "$port"; then break; fi
    [ "$attempt" -lt 5 ] || { cat "$folder/run/"*.log >&2; exit 1; }
done
echo "nginx listens on 127.0.0.1:$port; its workers are $(pgrep -P "$nginx" | paste -sd ' ')"

ask() { # METHOD PATH [BODY]
    echo
    echo "> curl -X $1 http://127.0.0.1:$port$2${3:+" -d '$3'"}"
    curl -s -X "$1" ${3:+-d "$3"} -w 'HTTP %{http_code} in %{time_total} s\n' "http://127.0.0.1:$port$2"
}

ask GET /health
ask POST /users '{"email": "ada@example.org", "name": "Ada"}'
ask POST /users '{"email": "ben@example.org", "name": "Ben"}'
ask POST /users '{"email": "ada@example.org", "name": "Another Ada"}'
ask POST /users '{"email": 1}'
ask GET '/users?limit=10'
ask GET /users/2
ask GET /users/99

printf '\nA client that goes away while its request is at work, and 200 that do not:\n'
curl -s -m 0.001 -o /dev/null "http://127.0.0.1:$port/users?limit=100" || true
seq 200 | xargs -P 16 -I {} curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$port/users/{}" | sort | uniq -c
ask GET /health

ask GET /tidepool/api/db/health

printf '\nReload: new workers, and the old ones end when their last request has.\n'
before=$(pgrep -P "$nginx" | paste -sd '|')
kill -HUP "$nginx"
for _ in {1..200}; do
    if ! pgrep -P "$nginx" | grep -qxE "$before"; then break; fi
    sleep 0.05
done
echo "the workers are $(pgrep -P "$nginx" | paste -sd ' ')"
ask GET /users/1
