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
python3 - "$report" "$baseline" <<'PY'
import json
import sys

with open(sys.argv[1]) as file:
    report = json.load(file)
failed = {row["id"]: row.get("error", "") for row in report["results"] if row["status"] == "failed"}
known, unsteady = set(), set()
with open(sys.argv[2]) as file:
    for line in file:
        words = line.split("#")[0].split()
        if words:
            (unsteady if "unsteady" in words[1:] else known).add(words[0])
new = sorted(set(failed) - known - unsteady)
gone = sorted(name for name in known if name not in failed)
for name in new:
    print(f"new failure: {name}: {failed[name]}")
for name in gone:
    print(f"passes now, take it out of the baseline: {name}")
print(f"conformance: {report['passed']} pass, {report['failed']} differ, {len(known)} known differences")
sys.exit(1 if new or gone else 0)
PY
