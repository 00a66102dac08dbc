#!/usr/bin/env bash
# The official test suites of Engine.IO 4 and Socket.IO 5, against the server's own mount, built to echo.
#   server/tests/socketio.sh CHECKOUT   of github.com/socketio/socket.io; prints what each suite says, exits 1 if a case failed
# It needs Node and npm, and port 3000 of this machine, which the suites ask. No other test depends on this one.
set -euo pipefail
checkout=$(realpath "${1:?CHECKOUT is missing: a checkout of github.com/socketio/socket.io}")
cd "$(dirname "$0")/../.."

suite() {
    local feature=$1 from=$checkout/docs/$2 here=target/suites/$1 server
    if [[ ! -e $from/test-suite.js ]]; then
        echo "socketio.sh: there is no test-suite.js in $from" >&2
        exit 2
    fi
    mkdir -p "$here"
    cp "$from"/*.js "$from"/package*.json "$here"
    npm ci --prefix "$here" --no-audit --no-fund --silent
    # A folder of its own: with this feature the server is no longer ours.
    cargo build --release --locked -p server --features "$feature" --target-dir target/echo
    target/echo/release/server --port 3000 --log off &
    server=$!
    # shellcheck disable=SC2064
    trap "kill $server" EXIT
    (cd "$here" && npx mocha test-suite.js) || failed=1
    trap - EXIT
    kill "$server"
    wait "$server" || true
}

# Called as they are: behind "||" nothing in them would stop at a failed build.
failed=0
suite echo-engine engine.io-protocol/v4-test-suite
suite echo socket.io-protocol/v5-test-suite
exit $failed
