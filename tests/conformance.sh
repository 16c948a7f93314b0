#!/usr/bin/env bash
# Runs black-box protocol checks against a built `verso` and compares the failures with `tests/wire/baseline.txt`:
# a new failure and a new pass both end with 1, so that the baseline is always the truth.
#   tests/conformance.sh CHECKS-PROGRAM VERSO-BINARY
set -euo pipefail
checks=$1
binary=$2
baseline=$(dirname "$0")/wire/baseline.txt
report=$(mktemp)
trap 'rm -f "$report"' EXIT
# The program ends with 1 as soon as one check fails; the comparison below decides.
VERSO_BIN=$binary "$checks" --quiet --jobs 4 --json >"$report" || true
# A check that fails on a busy machine alone is asked once more, by itself.
again=$(python3 "$(dirname "$0")/conformance.py" surprises "$report" "$baseline")
if [ -n "$again" ]; then
  echo "asking once more: $again"
  second=$(mktemp)
  trap 'rm -f "$report" "$second"' EXIT
  VERSO_BIN=$binary "$checks" --quiet --json --only "$again" >"$second" || true
  python3 "$(dirname "$0")/conformance.py" verdict "$report" "$baseline" "$second"
else
  python3 "$(dirname "$0")/conformance.py" verdict "$report" "$baseline"
fi
