#!/usr/bin/env python3
"""Times models with 2:4 weights beside the same models with dense ones, interleaved in one process.

    bench/sparse_cpu.py                                          # ResNet-50, BERT-base and AlexNet
    bench/sparse_cpu.py --models resnet50 --pattern 2:4x32 --rounds 10

`hussar prune` makes the sparse model, by magnitude: this is about speed, and the weights of these models are random.
Columns: own FP32 and INT8 of the dense model (INT8 where it is measured to be faster), the same of the sparse one. Plan
sizes are of everything in INT8. Writes bench/results/sparse_cpu.json (--json names another).
Exit status: 0; 1 when some plan cannot be built or run; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import report_section  # noqa: E402

COLUMNS = ("fp32", "int8", "sparse_fp32", "sparse_int8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet50,bert_base,alexnet", help="comma-separated names")
    parser.add_argument("--pattern", default="2:4x64")
    parser.add_argument("--samples", type=int, default=8, help="calibration inputs")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--burst-ms", type=float, default=150)
    parser.add_argument("--pause-ms", type=float, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/sparse_cpu.json")
    parser.add_argument("--update-docs", action="store_true", help="replace the table in docs/benchmarks.md")
    return parser.parse_args()


def prune(model: pathlib.Path, output: pathlib.Path, pattern: str) -> None:
    command = [str(hussar_cli.program()), "prune", str(model), "-o", str(output), "--pattern", pattern]
    subprocess.run(command, check=True, capture_output=True, text=True)


def sparse_steps(report: dict) -> int:
    """Steps of a plan by kernels for sparse weights."""
    return sum("_sparse" in step.get("kernel", "") for step in report["regions"])


def measure(name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> dict:
    prepared = modelzoo.prepare(name)
    rows = prepared.row["inputs"]
    shapes = {row["name"]: row["shape"] for row in rows}
    feeds = modelzoo.make_inputs(rows)
    (folder / "data").mkdir()
    for index in range(arguments.samples):
        np.savez(folder / "data" / f"{index:03}.npz", **modelzoo.make_inputs(rows, seed=100 + index))
    sparse = folder / "sparse.onnx"
    prune(prepared.path, sparse, arguments.pattern)
    row = {"model": name, "weights": prepared.model.weights, "engines": {}}
    opened = {}
    for kind in (*COLUMNS, "all_int8", "sparse_all_int8"):
        model = sparse if kind.startswith("sparse") else prepared.path
        more = ["--self-check", "off"]
        if "int8" in kind:
            cache = folder / f"{'sparse' if model == sparse else 'dense'}.json"
            more += ["--int8", "--calib", str(folder / "data"), "--calib-cache", str(cache)]
        if "all" in kind:
            more += ["--budget", "0"]
        plan = folder / f"{kind}.plan"
        seconds = hussar_cli.build(model, plan, shapes=shapes, threads=arguments.threads, more=more)
        inspected = subprocess.run([str(hussar_cli.program()), "inspect", str(plan), "--json"], check=True, capture_output=True)
        row["engines"][kind] = {"build_seconds": seconds, "plan_bytes": plan.stat().st_size,
                                "sparse_steps": sparse_steps(json.loads(inspected.stdout))}  # fmt: skip
        if kind in COLUMNS:
            opened[kind] = engines.open_engine("hussar", plan, feeds, arguments.threads)
            opened[kind].call()
    for kind, values in engines.interleave(opened, arguments.rounds, arguments.burst_ms, arguments.pause_ms).items():
        row["engines"][kind]["latency_ms"] = {**engines.summary(values), "least": min(values)}
    return row


def markdown(report: dict) -> str:
    facts = report["machine"]
    lines = [f"{facts['cpu']}, {facts['date']}, commit {facts['commit'][:12]}; {report['settings']['threads']} threads, "
             f"{report['settings']['pattern']} by magnitude; medians in milliseconds, the least in brackets.", "",
             "| model | " + " | ".join(COLUMNS) + " | sparse steps | INT8 / sparse INT8 | FP32 / sparse INT8 | FP32 / sparse FP32 | plan, of FP32 plan |",
             "|" + "---|" * (len(COLUMNS) + 6)]  # fmt: skip
    for row in report["models"]:
        times = {kind: row["engines"][kind]["latency_ms"] for kind in COLUMNS}
        cells = [f"{t['median']:.3g} ({t['least']:.3g})" for t in times.values()]
        ratio = lambda a, b: f"{times[a]['median'] / times[b]['median']:.2f} ({times[a]['least'] / times[b]['least']:.2f})"  # noqa: E731
        cells += [str(row["engines"]["sparse_int8"]["sparse_steps"]), ratio("int8", "sparse_int8"),
                  ratio("fp32", "sparse_int8"), ratio("fp32", "sparse_fp32")]  # fmt: skip
        sizes = [row["engines"][kind]["plan_bytes"] for kind in ("sparse_all_int8", "fp32")]
        lines.append(f"| {row['model']} | " + " | ".join(cells) + f" | {sizes[0] / sizes[1]:.1%} |")
    return "\n".join(lines)


def main() -> int:
    arguments = parse_arguments()
    wanted = [name for name in arguments.models.split(",") if name]
    if any(name not in modelzoo.all_models() for name in wanted):
        print("unknown model; tools/fetch_models.py --list names them", file=sys.stderr)
        return 2
    settings = {key: getattr(arguments, key) for key in ("pattern", "samples", "rounds", "burst_ms", "pause_ms", "threads")}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings, "models": []}
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="hussar-sparse-") as folder:
            try:
                report["models"].append(measure(name, arguments, pathlib.Path(folder)))
            except (subprocess.CalledProcessError, hussar_cli.BuildFailed) as error:
                print(f"{name}: {error} {getattr(error, 'stderr', '')}", file=sys.stderr)
                return 1
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
        print(markdown({**report, "models": report["models"][-1:]}), flush=True)
    if arguments.update_docs:
        report_section.update("sparse_cpu", "bench/sparse_cpu.py", "2:4 models on the CPU", markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
