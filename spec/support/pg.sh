#!/usr/bin/env bash
# A throwaway PostgreSQL for demos and tests: its own folder, its own unix socket, a free port on 127.0.0.1.
#
#   eval "$(spec/support/pg.sh start)"     starts one and sets the variables below
#   spec/support/pg.sh stop                stops it and removes everything
#   spec/support/pg.sh run COMMAND...      start, run the command with the variables set, stop whatever happens;
#                                          returns the command's exit code
#   spec/support/pg.sh kill9               kill -9 of the postmaster, as a crash would
#   spec/support/pg.sh stop-fast           an orderly stop; the data stays
#   spec/support/pg.sh stop-immediately    one without a farewell to anybody; the data stays
#   spec/support/pg.sh start-again         starts it again on the same socket and port
#   eval "$(spec/support/pg.sh standby)"   a streaming replica of the server that the variables name, whose wal_level has to
#                                          be replica; sets them anew
#   spec/support/pg.sh promote             makes it a server of its own
#
# TIDEPOOL_TEST_SETTINGS has lines for the configuration of a server that is started. Servers whose TIDEPOOL_TEST_TMP is the
# folder of another one's socket end with that one.
# Variables: TIDEPOOL_TEST_SOCKET (folder of the socket), TIDEPOOL_TEST_PORT, TIDEPOOL_TEST_USER,
# TIDEPOOL_TEST_PASSWORD, TIDEPOOL_TEST_DATABASE, TIDEPOOL_TEST_PGDATA, TIDEPOOL_TEST_BINDIR, DATABASE_URL.
# The socket needs no password; 127.0.0.1 asks for it (scram-sha-256). The user is a superuser.
# root cannot run PostgreSQL, so under root the server runs as `postgres`, or as `nobody` where there is none.
set -euo pipefail

self=$(readlink -f "$0")
base=${TIDEPOOL_TEST_TMP:-/tmp} # short: the path of a unix socket has at most 107 bytes
user=tidepool
database=tidepool

die() { echo "pg.sh: $*" >&2; exit 1; }

# Where initdb and pg_ctl are: beside the libpq that we build with, else the newest Debian has, else the PATH.
find_bindir() {
    local dir
    for dir in "$(pg_config --bindir 2>/dev/null || true)" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr) \
        "$(dirname "$(command -v initdb || true)")"; do
        if [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ]; then echo "$dir"; return; fi
    done
    return 1
}

server_user() {
    if [ "$(id -u)" != 0 ]; then id -un
    elif id -u postgres >/dev/null 2>&1; then echo postgres
    else echo nobody; fi
}

# Runs a command as the user of the server.
as_server() {
    if [ "$(id -u)" != 0 ]; then "$@"; return; fi
    local name; name=$(server_user)
    setpriv --reuid="$name" --regid="$(id -g "$name")" --clear-groups -- "$@"
}

# The environment of a person's own databases must not leak into the server, the demo or the tests.
clean_environment() {
    local name
    for name in $(compgen -e); do
        case $name in
            PG_CONFIG) ;;
            PG[A-Z]*|DB_*|DATABASE_URL|APP_ENV|NODE_ENV) unset "$name" ;;
        esac
    done
}

free_port() { # below the range from which the kernel takes ports for outgoing connections
    local port
    for _ in {1..50}; do
        port=$((20000 + RANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
    done
    return 1
}

settings() {
    cat <<CONF
listen_addresses = '127.0.0.1'
port = $1
unix_socket_directories = '$TIDEPOOL_TEST_SOCKET'
max_connections = 100
dynamic_shared_memory_type = mmap
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
log_line_prefix = '%m [%p] %q%a '
lc_messages = 'C'
timezone = 'UTC'
${TIDEPOOL_TEST_SETTINGS:-}
CONF
}

pg_ctl_start() {
    (cd "$TIDEPOOL_TEST_SOCKET" &&
        as_server "$TIDEPOOL_TEST_BINDIR/pg_ctl" -s -w -t 30 -D "$TIDEPOOL_TEST_PGDATA" \
            -l "$TIDEPOOL_TEST_SOCKET/server.log" start) >/dev/null
}

# The server's log, for the person who has to find out why it does not start.
show_log() { tail -n 20 "$TIDEPOOL_TEST_SOCKET/server.log" >&2 2>/dev/null || true; }

make_cluster() {
    local dir=$1 secret=$1/password
    (umask 077; od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$secret")
    TIDEPOOL_TEST_PASSWORD=$(cat "$secret")
    if [ "$(id -u)" = 0 ]; then chown -R "$(server_user)" "$dir"; fi
    (cd "$dir" && as_server "$TIDEPOOL_TEST_BINDIR/initdb" -D "$dir/data" -U "$user" --pwfile="$secret" \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C --no-sync --no-instructions \
        >"$dir/initdb.log" 2>&1) || { cat "$dir/initdb.log" >&2; die "initdb failed"; }
    rm -f "$secret"
}

start() {
    TIDEPOOL_TEST_BINDIR=$(find_bindir) || die "no PostgreSQL server found (Debian: apt-get install postgresql)"
    clean_environment
    TIDEPOOL_TEST_SOCKET=$(mktemp -d "$base/tidepool.XXXXXX")
    TIDEPOOL_TEST_PGDATA=$TIDEPOOL_TEST_SOCKET/data
    TIDEPOOL_TEST_USER=$user
    TIDEPOOL_TEST_DATABASE=$database
    make_cluster "$TIDEPOOL_TEST_SOCKET"
    start_on_free_port
    "$TIDEPOOL_TEST_BINDIR/psql" -qX -h "$TIDEPOOL_TEST_SOCKET" -p "$TIDEPOOL_TEST_PORT" -U "$user" -d postgres \
        -c "create database $database" >/dev/null
    export_variables
}

start_on_free_port() {
    local try
    for try in 1 2 3 4 5; do # someone else may take the port in between
        TIDEPOOL_TEST_PORT=$(free_port) || die "no free port"
        settings "$TIDEPOOL_TEST_PORT" >"$TIDEPOOL_TEST_PGDATA/postgresql.conf"
        if pg_ctl_start 2>/dev/null; then break; fi
        [ "$try" -lt 5 ] || { show_log; die "the server does not start"; }
    done
}

standby() {
    local dir; dir=$(mktemp -d "$base/tidepool.XXXXXX")
    if [ "$(id -u)" = 0 ]; then chown "$(server_user)" "$dir"; fi
    (cd "$dir" && as_server "$TIDEPOOL_TEST_BINDIR/pg_basebackup" -D "$dir/data" -R -c fast --no-sync \
        -h "$TIDEPOOL_TEST_SOCKET" -p "$TIDEPOOL_TEST_PORT" -U "$user" >"$dir/backup.log" 2>&1) ||
        { cat "$dir/backup.log" >&2; die "pg_basebackup failed"; }
    TIDEPOOL_TEST_SOCKET=$dir
    TIDEPOOL_TEST_PGDATA=$dir/data
    start_on_free_port
    export_variables
}

export_variables() {
    DATABASE_URL="postgresql://$user:$TIDEPOOL_TEST_PASSWORD@127.0.0.1:$TIDEPOOL_TEST_PORT/$database"
    export TIDEPOOL_TEST_SOCKET TIDEPOOL_TEST_PORT TIDEPOOL_TEST_USER TIDEPOOL_TEST_PASSWORD \
        TIDEPOOL_TEST_DATABASE TIDEPOOL_TEST_PGDATA TIDEPOOL_TEST_BINDIR DATABASE_URL
}

print_exports() {
    local name
    for name in TIDEPOOL_TEST_SOCKET TIDEPOOL_TEST_PORT TIDEPOOL_TEST_USER TIDEPOOL_TEST_PASSWORD \
        TIDEPOOL_TEST_DATABASE TIDEPOOL_TEST_PGDATA TIDEPOOL_TEST_BINDIR DATABASE_URL; do
        printf 'export %s=%q\n' "$name" "${!name}"
    done
}

# The server's processes, the postmaster's orphans included: all have the data folder as working directory.
server_processes() {
    local entry
    for entry in /proc/[0-9]*; do
        if [ "$(readlink "$entry/cwd" 2>/dev/null)" = "$TIDEPOOL_TEST_PGDATA" ]; then echo "${entry#/proc/}"; fi
    done
}

# Ends every process of the server: politely for $1 tenths of a second, then with kill -9.
end_processes() {
    local tenths=$1 pids
    while pids=$(server_processes) && [ -n "$pids" ]; do
        if [ "$tenths" -le 0 ]; then
            # shellcheck disable=SC2086 # one word per process
            kill -9 $pids 2>/dev/null || true
        fi
        tenths=$((tenths - 1))
        sleep 0.1
    done
}

stop() {
    local dir=${TIDEPOOL_TEST_SOCKET:-}
    case $dir in */tidepool.??????) ;; *) die "TIDEPOOL_TEST_SOCKET names no server of ours" ;; esac
    [ -d "$dir" ] || return 0
    if [ -f "$dir/data/postmaster.pid" ]; then
        (cd "$dir" && as_server "$TIDEPOOL_TEST_BINDIR/pg_ctl" -s -D "$dir/data" -m immediate -t 10 stop) \
            >/dev/null 2>&1 || true
    fi
    end_processes 0
    local inner
    for inner in "$dir"/tidepool.??????; do
        if [ -d "$inner" ]; then TIDEPOOL_TEST_SOCKET=$inner TIDEPOOL_TEST_PGDATA=$inner/data "$self" stop; fi
    done
    rm -rf "$dir"
}

kill9() {
    local pid; pid=$(head -n 1 "$TIDEPOOL_TEST_PGDATA/postmaster.pid") || die "the server is not running"
    kill -9 "$pid"
}

stop_fast() {
    (cd "$TIDEPOOL_TEST_SOCKET" &&
        as_server "$TIDEPOOL_TEST_BINDIR/pg_ctl" -s -w -D "$TIDEPOOL_TEST_PGDATA" -m fast stop) >/dev/null
}

promote() {
    (cd "$TIDEPOOL_TEST_SOCKET" &&
        as_server "$TIDEPOOL_TEST_BINDIR/pg_ctl" -s -w -D "$TIDEPOOL_TEST_PGDATA" promote) >/dev/null
}

stop_immediately() {
    (cd "$TIDEPOOL_TEST_SOCKET" &&
        as_server "$TIDEPOOL_TEST_BINDIR/pg_ctl" -s -w -D "$TIDEPOOL_TEST_PGDATA" -m immediate stop) >/dev/null
}

start_again() {
    if [ -f "$TIDEPOOL_TEST_PGDATA/postmaster.pid" ]; then
        # The killed postmaster may still be there as a zombie, which a new one would take for a living server.
        local pid; pid=$(head -n 1 "$TIDEPOOL_TEST_PGDATA/postmaster.pid")
        if [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$TIDEPOOL_TEST_PGDATA" ]; then die "the server is running"; fi
        end_processes 30
        rm -f "$TIDEPOOL_TEST_PGDATA/postmaster.pid" "$TIDEPOOL_TEST_SOCKET/.s.PGSQL.$TIDEPOOL_TEST_PORT"*
    fi
    pg_ctl_start || { show_log; die "the server does not start again"; }
}

# Runs a command beside the server. The command is a background job so that signals reach us while it runs; it keeps
# the terminal's Ctrl-C, which a shell would take from it. A guard in a session of its own cleans up after kill -9.
run() {
    [ $# -gt 0 ] || die "run needs a command"
    trap '[ -z "${TIDEPOOL_TEST_SOCKET:-}" ] || stop' EXIT
    trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
    start
    # shellcheck disable=SC2016 # the inner shell expands them
    setsid bash -c 'tail --pid="$1" -f /dev/null; exec "$2" stop' guard "$$" "$self" </dev/null >/dev/null 2>&1 &
    local child code=0
    env --default-signal=INT,QUIT "$@" <&0 &
    child=$!
    trap 'end_child "$child"; exit 129' HUP; trap 'end_child "$child"; exit 130' INT; trap 'end_child "$child"; exit 143' TERM
    wait "$child" || code=$?
    exit "$code"
}

end_child() {
    kill -TERM "$1" 2>/dev/null || return 0
    for _ in {1..50}; do # 5 s
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$1" 2>/dev/null || true
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    start | run) unset TIDEPOOL_TEST_SOCKET ;; # a server that is already there is not ours to stop
esac
case $command in
    start) trap '[ $? -eq 0 ] || [ -z "${TIDEPOOL_TEST_SOCKET:-}" ] || stop' EXIT; start; print_exports ;;
    run) run "$@" ;;
    standby)
        primary=$TIDEPOOL_TEST_SOCKET
        trap '[ $? -eq 0 ] || [ "$TIDEPOOL_TEST_SOCKET" = "$primary" ] || stop' EXIT
        standby
        print_exports
        ;;
    stop | kill9 | promote) "$command" ;;
    stop-fast) stop_fast ;;
    stop-immediately) stop_immediately ;;
    start-again) start_again ;;
    bindir) find_bindir ;;
    *) sed -n '2,/^set -/s/^# \{0,1\}//p' "$self" >&2; exit 2 ;;
esac
