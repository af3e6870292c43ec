#!/usr/bin/env python3
"""What a switch between shapes costs that a session has run before (goal on a GPU: below 0.1 ms).

    bench/switch_shapes.py                                         # MiniLM on the CPU, sequences of 64 and 128 tokens
    bench/switch_shapes.py --target cuda --cases minilm:1x64,1x128 bert_large:1x64,1x128

A case is a model of bench/peers_gpu.py and two shapes, BATCHxSEQUENCE of encoders. One plan with an optimization profile
over both and one session; each shape is run until everything is prepared. Then, in every round, runs of the first shape alone,
of the second alone, and of both in turn, as many each; all by one thread through the C interface, with inputs and outputs in the host's
memory. The cost of a switch is what a run in turn takes longer than the mean of both alone: the median over the rounds of differences between medians.
Writes bench/results/switch_shapes.json (--json names another).
Exit status: 0; 1 when a plan cannot be built or run; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

import numpy

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import hussar_ctypes  # noqa: E402
import machine  # noqa: E402
import peers_gpu  # noqa: E402


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cases", nargs="+", default=["minilm:1x64,1x128"], help="MODEL:SHAPE,SHAPE")
    parser.add_argument("--models", type=pathlib.Path, help="a folder with MODEL/model.onnx of open batch; default: exports them")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runs", type=int, default=50, help="of each kind in a round")
    parser.add_argument("--budget", default="5s", help="`hussar build --budget`; 0: predicted times decide")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/switch_shapes.json")
    return parser.parse_args()


def random_inputs(shapes: dict[str, list[int]]) -> dict[str, numpy.ndarray]:
    random = numpy.random.default_rng(1)
    if "input_ids" not in shapes:
        return {name: random.standard_normal(shape, numpy.float32) for name, shape in shapes.items()}
    tokens = random.integers(100, 30000, shapes["input_ids"])
    return {name: {"input_ids": tokens, "attention_mask": numpy.ones_like(tokens)}.get(name, numpy.zeros_like(tokens))
            for name in shapes}  # fmt: skip


def times_ms(calls: list) -> list[float]:
    times = []
    for call in calls:
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def measure(case: str, arguments: argparse.Namespace, folder: pathlib.Path) -> dict:
    model, _, sizes = case.partition(":")
    shapes = [peers_gpu.shapes_of(model, [int(number) for number in size.split("x")]) for size in sizes.split(",")]
    path = peers_gpu.model_file(model, arguments.models or folder)
    plan = folder / "case.plan"
    more = ["--target", arguments.target, "--budget", arguments.budget, "--self-check", "off"]
    more += ["--fp16"] if arguments.target == "cuda" else []
    first, second = shapes
    hussar_cli.build(path, plan, bounds=(first, second, second), more=more)
    session = hussar_ctypes.Library().load(plan).session()
    one, other = (session.bind(random_inputs(each)) for each in shapes)
    times_ms([one, other] * 10)  # prepared, and on a GPU recorded
    rounds = []
    for _ in range(arguments.rounds):
        alone = [statistics.median(times_ms([call] * arguments.runs)) for call in (one, other)]
        times = times_ms([one, other] * arguments.runs)
        in_turn = [statistics.median(times[::2]), statistics.median(times[1::2])]
        rounds.append({"alone_ms": alone, "in_turn_ms": in_turn,
                       "switch_ms": statistics.mean(in_turn) - statistics.mean(alone)})  # fmt: skip
    return {"case": case, "rounds": rounds, "switch_ms": statistics.median(row["switch_ms"] for row in rounds),
            "alone_ms": [statistics.median(row["alone_ms"][i] for row in rounds) for i in range(2)]}  # fmt: skip


def main() -> int:
    arguments = parse_arguments()
    report = {"schema_version": 1, "machine": machine.facts(), "target": arguments.target, "cases": []}
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases:
            report["cases"].append(measure(case, arguments, pathlib.Path(folder)))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print("| case | alone, ms | a switch, ms |\n|---|---|---|")
    for row in report["cases"]:
        print(f"| {row['case']} | {row['alone_ms'][0]:.3f}, {row['alone_ms'][1]:.3f} | {row['switch_ms']:.4f} |")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except hussar_cli.BuildFailed as error:
        sys.exit(f"switch_shapes: {error}")
