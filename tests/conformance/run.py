#!/usr/bin/env python3
"""Runs every backend test of the pinned onnx package against Hussar and reports `N passed, M failed, K skipped`.

The work is done by a C++ program, called as

    conformance_runner MANIFEST --json OUT [--target cpu]

MANIFEST has one line per test, fields separated by tabs:

    FOLDER <tab> RTOL <tab> ATOL [<tab> SKIP REASON]

FOLDER holds model.onnx and one or more test_data_set_<k>/ with input_<i>.pb and output_<i>.pb (TensorProto). input_<i>
feeds graph.input[i] (inputs of the graph that have no file are initializers); output_<i> is graph.output[i]. A test
passes when, in every data set, every output has the expected dtype and shape and |got - want| <= ATOL + RTOL * |want|
(equal infinities and two NaN count as equal; bool and integer types go by the same rule). Each test is isolated: one
that crashes or hangs is reported as such and the next one runs. The runner exits 0 whenever OUT is complete.

OUT is

    {"schema_version": 1, "target": "cpu",
     "results": [{"name": "node/test_abs",      // the last two parts of FOLDER
                  "status": "pass",             // pass | fail | crash | timeout | skip
                  "detail": "",                 // fail: what differs or which step failed; skip: the manifest's reason
                  "milliseconds": 0.4}]}        // optional

known_data_errors.txt lists tests whose shipped outputs contradict the ONNX specification. They count as failed like
any other, and their number is told: `K of the failures are known errors of the data`. An entry holds only while the
test fails at the element that the entry names; one that passes, or is not run at all, is stale.

This script adds {"summary": {"passed", "failed", "skipped", "crashed", "data_errors", "stale_entries", "pass_rate"}} and
`"data_error": REASON` to the results in question, and writes it all to --json. Exit status: 0 when at least --threshold
of the tests that are not skipped pass, none crashes and no entry is stale, else 1; 2 when the runner itself is missing
or its report is unusable.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import subprocess
import sys

from manifest import SKIP_REASONS, all_cases

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAILING = ("fail", "crash", "timeout")
KNOWN_DATA_ERRORS = pathlib.Path(__file__).with_name("known_data_errors.txt")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="ONNX backend tests against Hussar")
    parser.add_argument("--runner", type=pathlib.Path, default=ROOT / "build/bin/conformance_runner")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "build/conformance.json", help="the report")
    parser.add_argument("--manifest", type=pathlib.Path, help="keep the manifest here (default: beside the report)")
    parser.add_argument("--manifest-only", action="store_true", help="write the manifest and stop")
    parser.add_argument("--only", default="", help="run only tests whose name contains this text")
    parser.add_argument("--threshold", type=float, default=0.98, help="share that must pass (default 0.98)")
    return parser.parse_args()


def read_report(path: pathlib.Path, cases) -> list[dict]:
    """The runner's results in manifest order. A test that the runner forgot, or skipped unasked, counts as failed."""
    by_name = {result["name"]: result for result in json.loads(path.read_text())["results"]}
    results = []
    for case in cases:
        result = by_name.get(case.name) or {"name": case.name, "status": "fail", "detail": "no result from the runner"}
        if (result["status"] == "skip") != bool(case.skip):
            result = {"name": case.name, "status": "fail", "detail": "skipped (or run) against the manifest"}
        if case.skip:
            result = {"name": case.name, "status": "skip", "detail": case.skip}
        results.append(result)
    return results


def read_known_data_errors() -> dict[str, tuple[str, str]]:
    """Test name -> (where it differs, why the data are wrong)."""
    lines = [line for line in KNOWN_DATA_ERRORS.read_text().splitlines() if line and not line.startswith("#")]
    entries = [[part.strip() for part in line.split("|")] for line in lines]
    return {name: (where, reason) for name, where, reason in entries}


def mark_data_errors(results: list[dict], known: dict[str, tuple[str, str]], only: str) -> list[str]:
    """Marks the results that fail as the list says, and gives the names of its stale entries."""
    by_name = {result["name"]: result for result in results}
    stale = []
    for name, (where, reason) in known.items():
        result = by_name.get(name, {"status": "absent"})
        if result["status"] == "fail" and result.get("detail", "").startswith(where + " "):
            result["data_error"] = reason
        elif result["status"] not in FAILING and only in name:
            stale.append(name)
    return stale


def summarize(results: list[dict], stale: list[str]) -> dict:
    count = collections.Counter(result["status"] for result in results)
    failed = sum(count[status] for status in FAILING)
    considered = count["pass"] + failed
    return {
        "passed": count["pass"],
        "failed": failed,
        "skipped": count["skip"],
        "crashed": count["crash"] + count["timeout"],
        "data_errors": sum(1 for result in results if "data_error" in result),
        "stale_entries": stale,
        "pass_rate": count["pass"] / considered if considered else 0.0,
    }


def print_outcome(results: list[dict], summary: dict) -> None:
    for result in results:
        if result["status"] in FAILING:
            reason = f" ({result['data_error']})" if "data_error" in result else ""
            print(f"{result['status'].upper():7} {result['name']}: {result.get('detail', '')}{reason}")
    reasons = collections.Counter(result["detail"] for result in results if result["status"] == "skip")
    for reason in SKIP_REASONS.values():
        if reasons[reason]:
            print(f"skipped {reasons[reason]:4}  {reason}")
    for name in summary["stale_entries"]:
        print(f"{KNOWN_DATA_ERRORS.name}: {name} does not fail; remove the line")
    print(f"pass rate of the tests in scope: {summary['pass_rate']:.2%}; crashed or hung: {summary['crashed']}")
    if summary["data_errors"]:
        print(f"{summary['data_errors']} of the failures are known errors of the data")
    print(f"{summary['passed']} passed, {summary['failed']} failed, {summary['skipped']} skipped")


def main() -> int:
    arguments = parse_arguments()
    cases = [case for case in all_cases() if arguments.only in case.name]
    manifest = arguments.manifest or arguments.json.with_suffix(".manifest")
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text("".join(case.manifest_line() for case in cases))
    skipped = sum(1 for case in cases if case.skip)
    print(f"{manifest}: {len(cases)} tests, {skipped} of them out of scope", file=sys.stderr)
    if arguments.manifest_only:
        return 0
    if not arguments.runner.exists():
        print(f"{arguments.runner} does not exist: build it first (make conformance does)", file=sys.stderr)
        return 2
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.unlink(missing_ok=True)
    command = [arguments.runner, manifest, "--json", arguments.json, "--target", arguments.target]
    status = subprocess.run(command, stdout=sys.stderr).returncode
    if status != 0 or not arguments.json.exists():
        print(f"{arguments.runner} ended with status {status} and no usable report", file=sys.stderr)
        return 2
    results = read_report(arguments.json, cases)
    stale = mark_data_errors(results, read_known_data_errors(), arguments.only)
    summary = summarize(results, stale)
    report = {"schema_version": 1, "target": arguments.target, "summary": summary, "results": results}
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print_outcome(results, summary)
    good = summary["pass_rate"] >= arguments.threshold and summary["crashed"] == 0 and not stale
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
