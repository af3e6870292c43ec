#!/usr/bin/env python3
"""Builds every available real model with the `hussar` program, runs the plan, and compares with ONNX Runtime.

A case passes when max |a - b| / (max b - min b) <= 1e-3 on every output and no argmax differs beyond a tie; with fixed
shapes the arena must also be within 5 % of what is alive at once (from 64 KB on). Every
model is built for its fixed benchmark shape, the same with all passes switched off, and, when the model has further
shapes to offer, once for a range of shapes with one run per shape. Plans run in processes of their own, so that a crash
is one failed case.

    tests/models/run.py                          # all
    tests/models/run.py --models minilm,magika
    tests/models/run.py --packaged               # the models that need no PyTorch
    tests/models/run.py --build-flags="--target cpu:avx2"

Models whose package (or PyTorch) is absent are skipped with that reason. Prints `N passed, M failed, K skipped`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import hussar_ctypes  # noqa: E402
import modelzoo  # noqa: E402
from modelzoo import agreement  # noqa: E402

RUN_LIMIT_SECONDS = 120
ARENA_BAR, SMALL_ARENA = 1.05, 1 << 16


class CaseFailed(Exception):
    """One case failed; the message says how."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated names (default: all but benchmarks)")
    parser.add_argument("--packaged", action="store_true", help="only models that need no PyTorch export")
    parser.add_argument("--fixed-only", action="store_true", help="no plans for shape ranges")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--build-flags", default="", help="further flags for hussar build, separated by spaces")
    return parser.parse_args()


def reference_session(path: pathlib.Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_plan(plan: pathlib.Path, feeds: dict[str, np.ndarray], folder: pathlib.Path, threads: int) -> list[np.ndarray]:
    """The plan's outputs, computed in another process. Raises CaseFailed."""
    np.savez(folder / "inputs.npz", **feeds)
    results = folder / "outputs.npz"
    results.unlink(missing_ok=True)
    command = [sys.executable, hussar_ctypes.__file__, plan, folder / "inputs.npz", results, "--threads", str(threads)]
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise CaseFailed(f"no result within {RUN_LIMIT_SECONDS} s") from error
    if outcome.returncode < 0:
        raise CaseFailed(f"crashed with signal {-outcome.returncode}")
    if outcome.returncode != 0:
        raise CaseFailed(f"run failed: {(outcome.stderr.strip().splitlines() or ['no message'])[-1]}")
    with np.load(results) as stored:
        return [stored[name] for name in stored.files]


def arena_ratio(plan: pathlib.Path) -> float:
    """The arena by its lower bound; 1 where it is too small to matter."""
    command = [str(hussar_cli.program()), "inspect", str(plan), "--brief", "--json"]
    memory = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["memory"]
    bound = memory["arena_lower_bound_bytes"]
    return memory["arena_bytes"] / bound if bound >= SMALL_ARENA else 1


class ModelTest:
    """The cases of one model."""

    def __init__(self, name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.arguments, self.folder = arguments, folder
        self.prepared = modelzoo.prepare(name)
        self.inputs = self.prepared.row["inputs"]
        self.shapes = {row["name"]: row["shape"] for row in self.inputs}
        self.reference = reference_session(self.prepared.path)

    def compare(self, plan: pathlib.Path, shapes: dict[str, list[int]] | None) -> str:
        """One run at `shapes` (None: the benchmark shapes); a line with the figures. Raises CaseFailed."""
        feeds = modelzoo.make_inputs(self.inputs, shapes)
        results = run_plan(plan, feeds, self.folder, self.arguments.threads)
        report = agreement.compare(self.reference.run(None, feeds), results, self.prepared.row["classes"])
        flips = f"{report['flips']} of {report['decisions']} decisions differ"
        text = f"relative error {report['max_relative']:.1e}, {flips}"
        if not agreement.acceptable(report):
            raise CaseFailed(text)
        return text

    def build(self, name: str, *flags: str, **shapes) -> pathlib.Path:
        plan = self.folder / name
        # What is tuned differs from run to run.
        more = ["--budget", "0", *self.arguments.build_flags.split(), *flags]
        try:
            hussar_cli.build(self.prepared.path, plan, threads=self.arguments.threads, more=more, **shapes)
        except hussar_cli.BuildFailed as failure:
            raise CaseFailed(str(failure)) from failure
        return plan

    def fixed(self) -> str:
        plan = self.build("fixed.plan", shapes=self.shapes)
        ratio = arena_ratio(plan)
        if ratio > ARENA_BAR:
            raise CaseFailed(f"the arena is {ratio:.3f} of what is alive at once")
        return f"{self.compare(plan, None)}, plan {plan.stat().st_size / 1e6:.1f} MB"

    def without_passes(self) -> str:
        # Its self-check would compare two plans without passes.
        flags = ("--disable-pass", "all", "--self-check", "off")
        return self.compare(self.build("no_passes.plan", *flags, shapes=self.shapes), None)

    def cases(self):
        """Pairs of a case name and a function that returns a line or raises CaseFailed."""
        yield "fixed shape", self.fixed
        yield "fixed shape without passes", self.without_passes
        model = self.prepared.model
        if self.arguments.fixed_only or not model.variants:
            return
        built: dict[str, pathlib.Path | CaseFailed] = {}

        def ranged(shapes):
            if "plan" not in built:
                bounds = (model.bounds[0], self.shapes, model.bounds[1]) if model.bounds else None
                try:
                    built["plan"] = self.build("range.plan", bounds=bounds)
                except CaseFailed as failure:
                    built["plan"] = failure
            if isinstance(built["plan"], CaseFailed):
                raise built["plan"]
            return self.compare(built["plan"], shapes)

        for shapes in ({}, *model.variants):
            spelled = hussar_cli.spell_shapes(shapes or self.shapes).split(",")[0]
            yield f"range plan at {spelled}", lambda shapes=shapes: ranged(shapes)


def run_model(name: str, arguments: argparse.Namespace, count: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory(prefix="hussar-models-") as folder:
        try:
            test = ModelTest(name, arguments, pathlib.Path(folder))
        except modelzoo.Unavailable as reason:
            count["skipped"] += 1
            print(f"SKIP {name}: {reason}", flush=True)
            return
        for case, function in test.cases():
            start = time.perf_counter()
            try:
                outcome, text = "passed", function()
            except CaseFailed as failure:
                outcome, text = "failed", str(failure)
            count[outcome] += 1
            verdict = "ok  " if outcome == "passed" else "FAIL"
            print(f"{verdict} {name}, {case}: {text} ({time.perf_counter() - start:.1f} s)", flush=True)


def main() -> int:
    arguments = parse_arguments()
    known = modelzoo.all_models()
    names = [name for name in arguments.models.split(",") if name] or [name for name in known if known[name].test]
    unknown = [name for name in names if name not in known]
    missing = [path for path in (hussar_cli.program(), hussar_ctypes.default_library()) if not path.exists()]
    if unknown or missing:
        print(f"unknown model {unknown[0]}" if unknown else f"{missing[0]} does not exist", file=sys.stderr)
        return 2
    if arguments.packaged:
        names = [name for name in names if not known[name].exported]
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for name in names:
        run_model(name, arguments, count)
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
