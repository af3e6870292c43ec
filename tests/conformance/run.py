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

This script adds {"summary": {"passed", "failed", "skipped", "crashed", "pass_rate"}} and writes it all to --json.
Exit status: 0 when at least --threshold of the tests that are not skipped pass and none crashes, else 1; 2 when the
runner itself is missing or its report is unusable.
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


def summarize(results: list[dict]) -> dict:
    count = collections.Counter(result["status"] for result in results)
    failed = sum(count[status] for status in FAILING)
    considered = count["pass"] + failed
    return {
        "passed": count["pass"],
        "failed": failed,
        "skipped": count["skip"],
        "crashed": count["crash"] + count["timeout"],
        "pass_rate": count["pass"] / considered if considered else 0.0,
    }


def print_outcome(results: list[dict], summary: dict) -> None:
    for result in results:
        if result["status"] in FAILING:
            print(f"{result['status'].upper():7} {result['name']}: {result.get('detail', '')}")
    reasons = collections.Counter(result["detail"] for result in results if result["status"] == "skip")
    for reason in SKIP_REASONS.values():
        if reasons[reason]:
            print(f"skipped {reasons[reason]:4}  {reason}")
    print(f"pass rate of the tests in scope: {summary['pass_rate']:.2%}; crashed or hung: {summary['crashed']}")
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
    summary = summarize(results)
    report = {"schema_version": 1, "target": arguments.target, "summary": summary, "results": results}
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print_outcome(results, summary)
    return 0 if summary["pass_rate"] >= arguments.threshold and summary["crashed"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
