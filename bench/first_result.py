#!/usr/bin/env python3
"""From a plan in a file to the first result: loading it, making a session, one run (goal on a GPU: 300 ms for BERT-Large in FP16).

    bench/first_result.py                                          # MiniLM on the CPU, one sequence of 128 tokens
    bench/first_result.py --target cuda --cases bert_large:1x128 minilm:1x128

A case is a model of bench/peers_gpu.py, its batch, and the sequence of encoders. Every measurement is a process of its own; its time begins when Python and the
library are loaded, and has the start of the GPU's driver in it. The plan's file has been read before, so it is in the page cache. Figures are medians
over the processes, in milliseconds: of loading, of making the session, of the first run, of all three, and of a second run.
Writes bench/results/first_result.json (--json names another).
Exit status: 0; 1 when a plan cannot be built or run; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import hussar_ctypes  # noqa: E402
import machine  # noqa: E402
import peers_gpu  # noqa: E402
import switch_shapes  # noqa: E402


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cases", nargs="+", default=["minilm:1x128"], help="MODEL:BATCH[xSEQUENCE]")
    parser.add_argument("--models", type=pathlib.Path, help="a folder with MODEL/model.onnx of open batch; default: exports them")
    parser.add_argument("--processes", type=int, default=7)
    parser.add_argument("--budget", default="5s", help="`hussar build --budget`; 0: predicted times decide")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/first_result.json")
    parser.add_argument("--child", nargs=2, metavar=("PLAN", "SHAPES"), help=argparse.SUPPRESS)
    return parser.parse_args()


def run_once(plan: str, shapes: str) -> None:
    """In a process of its own: prints the times as JSON."""
    feeds = switch_shapes.random_inputs(json.loads(shapes))
    library = hussar_ctypes.Library()
    times = [time.perf_counter()]
    loaded = library.load(plan)
    times.append(time.perf_counter())
    session = loaded.session()
    times.append(time.perf_counter())
    for _ in range(2):
        session.run(feeds)
        times.append(time.perf_counter())
    load, make, first, second = ((end - begin) * 1e3 for begin, end in zip(times, times[1:]))
    row = {"load_ms": load, "session_ms": make, "first_run_ms": first, "all_ms": load + make + first, "second_run_ms": second}
    print(json.dumps(row))


def measure(case: str, arguments: argparse.Namespace, folder: pathlib.Path) -> dict:
    model, _, size = case.partition(":")
    shapes = peers_gpu.shapes_of(model, [int(number) for number in size.split("x")])
    path = peers_gpu.model_file(model, arguments.models or folder)
    plan = folder / "case.plan"
    more = ["--target", arguments.target, "--budget", arguments.budget, "--self-check", "off"]
    more += ["--fp16"] if arguments.target == "cuda" else []
    hussar_cli.build(path, plan, shapes=shapes, more=more)
    command = [sys.executable, __file__, "--child", str(plan), json.dumps(shapes)]
    rows = []
    for _ in range(arguments.processes):
        outcome = subprocess.run(command, capture_output=True, text=True)
        if outcome.returncode != 0:
            raise hussar_cli.BuildFailed(outcome.stderr.strip()[-300:])
        rows.append(json.loads(outcome.stdout))
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {"case": case, "plan_bytes": plan.stat().st_size, **medians}


def main() -> int:
    arguments = parse_arguments()
    if arguments.child:
        run_once(*arguments.child)
        return 0
    report = {"schema_version": 1, "machine": machine.facts(), "target": arguments.target, "cases": []}
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases:
            report["cases"].append(measure(case, arguments, pathlib.Path(folder)))
            print(json.dumps(report["cases"][-1]), flush=True)
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except hussar_cli.BuildFailed as error:
        sys.exit(f"first_result: {error}")
