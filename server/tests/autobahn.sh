#!/usr/bin/env bash
# Autobahn's fuzzing client, all 517 cases of RFC 6455, against the server's own WebSocket code, built to echo.
#   server/tests/autobahn.sh   prints the counts, writes autobahn.json beside it, exits 1 if a case failed
# It needs python3 with venv, and Python 2.7, which is at its end of life and which few ship: where it is none of
# python2.7 and python2 on the path, name it (PYTHON27=/opt/python2.7/bin/python2.7). The rest comes from PyPI.
# No other test depends on this one; its committed result is of the last run.
set -euo pipefail
cd "$(dirname "$0")/../.."

is_27() { command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; }
python=
for candidate in ${PYTHON27:+"$PYTHON27"} python2.7 python2; do
    if is_27 "$candidate"; then python=$(command -v "$candidate") && break; fi
done
if [[ -z $python ]]; then
    echo "autobahn.sh: there is no Python 2.7; install one and name it: PYTHON27=/path/to/python2.7 $0" >&2
    exit 2
fi

# Kept between runs: it takes longer to install than to run.
tools=target/autobahn
if [[ ! -x $tools/suite/bin/wstest ]]; then
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet virtualenv==20.21.1 # the last that makes environments of 2.7
    "$tools/venv/bin/virtualenv" --quiet --python "$python" "$tools/suite"
    "$tools/suite/bin/pip" install --quiet autobahntestsuite==25.10.1
fi

# A folder of its own: with this feature the server is no longer ours.
cargo build --release --locked -p server --features echo --target-dir target/echo
mkfifo "$tools/address.$$"
target/echo/release/server --port 0 --print-addr --log off >"$tools/address.$$" &
server=$!
trap 'kill $server; rm -f "$tools"/*.$$' EXIT
read -r address <"$tools/address.$$"

rm -rf "$tools/report"
cat >"$tools/spec.$$" <<JSON
{"outdir": "$tools/report", "servers": [{"agent": "server", "url": "ws://$address/ws"}],
 "cases": ["*"], "exclude-cases": [], "exclude-agent-cases": {}}
JSON
"$tools/suite/bin/wstest" -m fuzzingclient -s "$tools/spec.$$" >/dev/null

# Its exit code is always 0: what counts is in its index.
python3 - "$tools/report/index.json" server/tests/autobahn.json <<'PYTHON'
import collections, json, sys
cases = json.load(open(sys.argv[1]))["server"]
order = sorted(cases, key=lambda case: [int(part) for part in case.split(".")])
result = {"suite": "autobahntestsuite 25.10.1", "cases": len(cases)}
for what in ["behavior", "behaviorClose"]:
    result[what] = collections.Counter(cases[case][what] for case in order)
    result[what].update(FAILED=0)
result["sections"] = {}
for case in order:
    section = result["sections"].setdefault(case.split(".")[0], collections.Counter())
    section[cases[case]["behavior"]] += 1
others = ["OK", "UNIMPLEMENTED"]
result["not OK"] = {case: cases[case]["behavior"] for case in order if cases[case]["behavior"] not in others}
text = json.dumps(result, indent=2)
open(sys.argv[2], "w").write(text + "\n")
print(text)
failed = result["behavior"]["FAILED"] + result["behaviorClose"]["FAILED"]
sys.exit(f"autobahn.sh: {failed} of {len(cases)} failed; see {sys.argv[1]}" if failed or len(cases) != 517 else 0)
PYTHON
