#!/usr/bin/env bash
# Whether a comparison is decided beside a neighbour: runs it again and again, as many times as are said in all, and keeps the
# words in a file, from which it goes on. About five minutes each.
#   loadgen/tests/decides.sh FILE [RUNS]
set -euo pipefail
file=$(realpath -m "${1:?FILE is missing}") runs=${2:-20}
cd "$(dirname "$0")/../.."
if [[ ! $runs =~ ^[1-9][0-9]*$ ]]; then
    echo "decides.sh: RUNS must be a whole number from 1, found $runs" >&2
    exit 2
fi
cargo build --release --locked -p loadgen --bins --examples
target=$(realpath "${CARGO_TARGET_DIR:-target}")/release
made=$(mktemp -d)
coproc NEIGHBOUR { "$target/examples/error-rate" disturb; }
trap 'rm -rf "$made"; kill "$NEIGHBOUR_PID" 2>/dev/null || true' EXIT
done=0
if [[ -e $file ]]; then done=$(tail -n 1 "$file" | cut -d , -f 1); fi
for ((run = done + 1; run <= runs; run++)); do
    began=$SECONDS
    "$target/loadgen" compare --mode short-poll,long-poll,sse,ws,ws-stock --quiet --out "$made/$run" >"$made/said" || [[ $? == 1 ]]
    echo "run $run of $runs, $((SECONDS - began)) s:"
    "$target/examples/error-rate" decided "$file" "$made/$run"/*
    rm -rf "${made:?}/$run"
done
"$target/examples/error-rate" decided "$file"
