#!/usr/bin/env bash
# Connections of every transport that are cut, split and fall silent at random, for a minute, or as many seconds as are said:
# prints the seed, how often each client came back, and fails if one of them lost a message or got one twice. Four seconds of
# it are among the tests.
#   loadgen/tests/cuts.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
if [[ ! $seconds =~ ^[1-9][0-9]*$ ]]; then
    echo "cuts.sh: SECONDS must be a whole number from 1, found $seconds" >&2
    exit 2
fi
CUTS_SECONDS=$seconds exec cargo test --locked -p loadgen --test all -- --nocapture --exact \
    cuts::a_path_that_cuts_splits_and_falls_silent_at_random_loses_nothing
