#!/usr/bin/env bash
# Says what the tests need and installs what is missing, then runs them all: formatting, lints, tests.
#   ./test.sh               on Debian or Ubuntu, with Rust
#   ./test.sh --no-install  installs nothing: missing parts are named, and it ends
#   ./test.sh --quick       formatting, lints and the unit tests: they need Rust and a C linker, and nothing else
set -euo pipefail
cd "$(dirname "$0")"

# What it is for, how one sees that it is there, and the package that brings it.
needs=(
    "C linker|command -v cc|gcc libc6-dev"
    "git, which tells a program what it was built of|command -v git|git"
    "curl, a client that knows nothing of us|command -v curl|curl"
    "Chromium, for the pages|command -v chromium|chromium"
    "ChromeDriver, for the pages|command -v chromedriver|chromium-driver"
    "unshare, for a network of few ports and small disks|command -v unshare|util-linux"
    "ip, for the same|command -v ip|iproute2"
    "script, a terminal without a person|command -v script|bsdutils"
    "nginx, a proxy in front|test -x /usr/sbin/nginx|nginx-light"
    "haproxy, another|test -x /usr/sbin/haproxy|haproxy"
    "nchan, short polling to compare with|test -e /usr/lib/nginx/modules/ngx_nchan_module.so|libnginx-mod-nchan"
    "Python's websockets, a client that knows nothing of us|/usr/bin/python3 -c 'import websockets'|python3 python3-websockets"
    "Python's Socket.IO client, another|/usr/bin/python3 -c 'import socketio, requests, websocket'|python3 python3-socketio python3-requests python3-websocket"
    "Node, for clients and a server of npm's|command -v node && command -v npm|nodejs npm"
)
# What npm brings: Socket.IO's own client and server, and two more clients of WebSockets.
modules=(socket.io-client@4 socket.io@4 ws@8 websocket@1)

install=yes quick=no
case "${1:-}" in
    "") ;;
    --no-install) install=no ;;
    --quick) quick=yes ;;
    *) echo "test.sh: unknown argument $1; it takes --quick, --no-install or nothing" >&2; exit 2 ;;
esac

lint() {
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
}

if ! command -v cargo >/dev/null; then
    echo "test.sh: cargo is missing; install Rust (https://rustup.rs), then run this again" >&2
    exit 1
fi
if [[ $quick == yes ]]; then
    lint
    cargo test --workspace --locked --lib --bins
    echo "test.sh: all unit tests passed; ./test.sh runs the others too"
    exit
fi
missing=()
for need in "${needs[@]}"; do
    IFS='|' read -r what check packages <<<"$need"
    if bash -c "$check" >/dev/null 2>&1; then
        echo "found    $what"
    else
        echo "missing  $what: $packages"
        # shellcheck disable=SC2206
        missing+=($packages)
    fi
done

if ((${#missing[@]})); then
    if [[ $install == no ]]; then
        echo "test.sh: install ${missing[*]}, or run ./test.sh, which does it" >&2
        exit 1
    fi
    if ! command -v apt-get >/dev/null; then
        echo "test.sh: this is neither Debian nor Ubuntu; install ${missing[*]} by hand" >&2
        exit 1
    fi
    sudo=()
    if ((EUID != 0)); then sudo=(sudo); fi
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

npm=target/npm
for module in "${modules[@]}"; do
    if [[ -d $npm/node_modules/${module%@*} ]]; then continue; fi
    if [[ $install == no ]]; then
        echo "test.sh: npm's ${module%@*} is missing; run ./test.sh, which installs it in $npm" >&2
        exit 1
    fi
    mkdir -p "$npm"
    npm install --prefix "$npm" --no-save --no-audit --no-fund --silent "${modules[@]}"
done

lint
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
# Programs and servers are tested as they are shipped: optimized, and without what a test may break in them on purpose.
cargo build --release --workspace --locked
# And with the signals as they are after a login: under nohup, or in the background, some would be ignored.
run_tests() {
    SHIPPED=$(realpath "${CARGO_TARGET_DIR:-target}")/release env --default-signal=HUP,INT,TERM \
        cargo test --workspace --locked --no-fail-fast "$@"
}

said=$(mktemp)
trap 'rm -f "$said"' EXIT
if ! run_tests 2>&1 | tee "$said"; then
    mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$said")
    count=$(sed -n 's/^test result: FAILED\..* \([0-9]*\) failed;.*/\1/p' "$said" | awk '{ sum += $1 } END { print sum + 0 }')
    # A few may have missed a deadline beside a busy neighbour. More than a few, or a program that was killed, is no accident.
    if ((${#failed[@]} == 0 || ${#failed[@]} > 3 || ${#failed[@]} != count)) || grep -q "(signal: " "$said"; then exit 1; fi
    for name in "${failed[@]}"; do
        echo "test.sh: once more, alone: $name" >&2
        run_tests -- --exact "$name" 2>&1 | tee "$said"
        grep -q "^test $name \.\.\. ok$" "$said"
    done
    echo "test.sh: all tests passed, at the second attempt only: ${failed[*]}"
    exit
fi
echo "test.sh: all tests passed"
