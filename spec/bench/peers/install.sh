#!/usr/bin/env bash
# Installs what `make bench` compares tidepool with, as far as it can be had: packages of Debian, of npm into the folder
# $1, and pgx built into it. What fails is said and left out; the benchmark then runs without it.
set -uo pipefail
folder=$(mkdir -p "$1" && readlink -f "$1") || exit
here=$(dirname "$(readlink -f "$0")")

missing() { echo "bench-deps: $1 could not be installed; make bench will leave it out" >&2; }

"$here/../../support/deps.sh" bench || missing "a package of Debian"
npm install --prefix "$folder" --no-save --no-audit --no-fund --loglevel=error pg@8 postgres@3 </dev/null || missing "pg or postgres of npm"
GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$folder/go-cache go build -o "$folder/pgx" "$here/pgx/main.go" || missing pgx
