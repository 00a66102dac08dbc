#!/usr/bin/env bash
# Churn for ten minutes, or as many as are said: clients that come, resume, leave, misbehave and never read, in rounds of
# a second. Prints the slope of memory, descriptors and tasks between the rounds, and fails if one of them grew.
#   server/tests/soak.sh [MINUTES]
set -euo pipefail
cd "$(dirname "$0")/../.."
minutes=${1:-10}
if [[ ! $minutes =~ ^[1-9][0-9]*$ ]]; then
    echo "soak.sh: MINUTES must be a whole number from 1, found $minutes" >&2
    exit 2
fi
SOAK_SECONDS=$((minutes * 60)) exec cargo test --release --locked -p server --test all -- --nocapture soak
