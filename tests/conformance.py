"""Compares a report of protocol checks with the baseline of known differences.

    conformance.py surprises REPORT BASELINE            prints the checks that failed and are not known to, with commas
    conformance.py verdict REPORT BASELINE [SECOND]     prints the differences; ends with 1 if there are any. What passed in SECOND counts as passed
"""

import json
import sys


def read(path):
    """The outcome of every check that was run, and the texts of those that failed."""
    with open(path) as file:
        results = json.load(file)["results"]
    failed = {row["id"]: row.get("error", "") for row in results if row["status"] == "failed"}
    return {row["id"] for row in results if row["status"] != "skipped"}, failed


def known(path):
    """The checks that are known to fail, and those whose outcome depends on timing."""
    steady, unsteady = set(), set()
    with open(path) as file:
        for line in file:
            words = line.split("#")[0].split()
            if words:
                (unsteady if "unsteady" in words[1:] else steady).add(words[0])
    return steady, unsteady


def main(command, report, baseline, *second):
    run, failed = read(report)
    steady, unsteady = known(baseline)
    surprises = sorted(set(failed) - steady - unsteady)
    if command == "surprises":
        print(",".join(surprises))
        return 0
    if second:
        again, still = read(second[0])
        surprises = [name for name in surprises if name in still or name not in again]
    gone = sorted(name for name in steady & run if name not in failed)
    for name in surprises:
        print(f"new failure: {name}: {failed[name]}")
    for name in gone:
        print(f"passes now, take it out of the baseline: {name}")
    print(f"conformance: {len(run) - len(failed)} pass, {len(failed)} differ, {len(steady)} known differences")
    return 1 if surprises or gone or not run else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
