#!/usr/bin/env python3
"""Every kernel for a product with 2:4 weights on an NVIDIA GPU, dense and sparse, as the tuner times them.

    bench/sparse_gpu.py                                    # FP16, INT8, FP8, products of BERT-Large, 1 to 16,384 rows
    bench/sparse_gpu.py --rows 1,16 --sizes 4096x1024 --rungs fp16

A size is KxN. One model of one product each is built with `--target cuda`; what the tuner measured is in the plan
(`hussar inspect`): every kernel in its best tile, microseconds, repeated over weights that come from memory. Those that
are predicted to take three times as long as the best are not measured. --libraries has cuBLASLt and cuSPARSELt beside
them. Needs the standard library alone. Writes bench/results/sparse_gpu.json (--json names another).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests/cli")]

import hussar_cli  # noqa: E402
import machine  # noqa: E402
import tiny_onnx  # noqa: E402
from program import write_npy  # noqa: E402

RUNGS = {
    "fp16": ["--fp16"],
    "int8": ["--fp16", "--int8", "--calib-cache", "c.json"],
    "fp8": ["--fp16", "--fp8", "--calib-cache", "c.json"],
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,16,64,128,512,4096,16384", help="comma-separated")
    parser.add_argument("--sizes", default="1024x1024,1024x4096,4096x1024", help="KxN, comma-separated")
    parser.add_argument("--rungs", default="fp16,int8,fp8")
    parser.add_argument("--budget", default="10s", help="`hussar build --budget`, of every product")
    parser.add_argument("--libraries", action="store_true", help="NVIDIA's, too")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/sparse_gpu.json")
    return parser.parse_args()


def network(k: int, n: int) -> bytes:
    """y = x w + b; two of each four of w along k are zero, in every column two others."""
    source = random.Random(1)
    lines = [[source.uniform(-0.1, 0.1) for _ in range(n)] for _ in range(16)]
    for line in range(0, 16, 4):
        for column in range(n):
            for place in source.sample(range(4), 2):
                lines[line + place][column] = 0.0
    weights = [number for row in range(k) for number in lines[row % 16]]
    tensors = [tiny_onnx.tensor("w", [k, n], weights), tiny_onnx.tensor("b", [n], lines[0])]
    nodes = [tiny_onnx.node("MatMul", ["x", "w"], ["s"], "product"), tiny_onnx.node("Add", ["s", "b"], ["y"], "bias")]
    return tiny_onnx.model(nodes, [tiny_onnx.value("x", ["rows", k])], [tiny_onnx.value("y", ["rows", n])], tensors)


def times_of(report: str) -> dict[str, float]:
    """Of every kernel the least time, over its tiles."""
    times: dict[str, float] = {}
    for line in report.splitlines():
        found = re.match(r"([^:]+)(:\S+)?: .*measured ([0-9.]+) us", line)
        if found:
            times[found[1]] = min(float(found[3]), times.get(found[1], float("inf")))
    return times


def measure(folder: pathlib.Path, model: str, rows: int, k: int, rung: str, arguments: argparse.Namespace) -> dict:
    source = random.Random(2)
    write_npy(folder / "x.npy", [8, k], [source.uniform(-1, 1) for _ in range(8 * k)])
    calibrate = ["calibrate", model, "-o", "c.json", "--calib", "x.npy", "--shapes", f"x:8x{k}"]
    build = ["build", model, "-o", "m.plan", "--target", "cuda", "--shapes", f"x:{rows}x{k}", "--budget", arguments.budget]
    build += ["--libraries", "on"] if arguments.libraries else []
    for command in (calibrate, build + RUNGS[rung], ["inspect", "m.plan", "--json"]):
        outcome = subprocess.run([hussar_cli.program().resolve(), *command], cwd=folder, capture_output=True, text=True)
        if outcome.returncode != 0:
            sys.exit(f"hussar {' '.join(command)}: {outcome.stderr.strip()}")
    region = next(it for it in json.loads(outcome.stdout)["regions"] if it["name"].startswith("product"))
    return {"chosen": region["kernel"], "precision": region["precision"], "us": times_of(region["report"])}


def main() -> None:
    arguments = parse_arguments()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for size in arguments.sizes.split(","):
            k, n = map(int, size.split("x"))
            (folder / f"{size}.onnx").write_bytes(network(k, n))
            for rung in arguments.rungs.split(","):
                for rows in map(int, arguments.rows.split(",")):
                    entry = measure(folder, f"{size}.onnx", rows, k, rung, arguments)
                    results.append({"rows": rows, "k": k, "n": n, "rung": rung, **entry})
                    times = ", ".join(f"{kernel} {us:.1f}" for kernel, us in sorted(entry["us"].items(), key=lambda it: it[1]))
                    print(f"{rung} {rows} x {size}: {entry['chosen']} ({entry['precision']}); us: {times}", flush=True)
    arguments.json.write_text(json.dumps({"machine": machine.facts(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
