#!/usr/bin/env python3
"""What depth-first execution of convolution chains could gain at most: whole images against bands of rows.

    bench/depth_first.py                    # bottlenecks of ResNet-50, C2f chains of YOLOv8n at 640
    bench/depth_first.py --rounds 20

A chain (seeded random weights) is built twice, for the whole image and for a band of its rows as if it were an image, so
that all inner tensors of the band fit the L2 cache. The plans are timed in turns, step by step. The whole image has all
threads; a band has one, because every thread would compute bands of its own. The sum of the band's steps times the number
of bands a thread is what bands would take if they shared no rows, had their input in the cache and cost nothing to cut: a
lower bound of depth-first execution. Above 1 in the last column nothing can be gained.
Prints a markdown table and writes bench/results/depth_first.json (--json names another).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import machine  # noqa: E402


class Chain:
    """An ONNX graph of convolutions under construction."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.nodes, self.weights = [], []

    def add(self, op: str, inputs: list[str], **attributes) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv(self, x: str, inputs: int, outputs: int, kernel: int) -> str:
        scale = (2 / (inputs * kernel * kernel)) ** 0.5
        filters = self.constant(self.random.standard_normal((outputs, inputs, kernel, kernel)) * scale)
        bias = self.constant(self.random.standard_normal(outputs) * 0.1)
        return self.add("Conv", [x, filters, bias], kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4)

    def silu(self, x: str) -> str:
        return self.add("Mul", [x, self.add("Sigmoid", [x])])

    def write(self, path: pathlib.Path, shape: tuple[int, ...], result: str, channels: int) -> None:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        y = helper.make_tensor_value_info(result, TensorProto.FLOAT, (shape[0], channels, *shape[2:]))
        graph = helper.make_graph(self.nodes, "chain", [x], [y], self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def bottleneck(path: pathlib.Path, channels: int, height: int, width: int) -> None:
    chain, inner = Chain(), channels // 4
    h = chain.add("Relu", [chain.conv("x", channels, inner, 1)])
    h = chain.add("Relu", [chain.conv(h, inner, inner, 3)])
    y = chain.add("Relu", [chain.add("Add", [chain.conv(h, inner, channels, 1), "x"])])
    chain.write(path, (1, channels, height, width), y, channels)


def c2f(path: pathlib.Path, channels: int, height: int, width: int) -> None:
    """Two residual pairs of 3x3 convolutions between 1x1 convolutions, all of whose halves are joined."""
    chain, half = Chain(), channels // 2
    first = chain.silu(chain.conv("x", channels, half, 1))
    parts = [chain.silu(chain.conv("x", channels, half, 1)), first]
    for _ in range(2):
        h = chain.silu(chain.conv(parts[-1], half, half, 3))
        parts.append(chain.add("Add", [chain.silu(chain.conv(h, half, half, 3)), parts[-1]]))
    joined = chain.add("Concat", parts, axis=1)
    y = chain.silu(chain.conv(joined, half * len(parts), channels, 1))
    chain.write(path, (1, channels, height, width), y, channels)


# Name, graph, channels, rows and columns of the image, rows of a band: the band's tensors take less than a megabyte.
CHAINS = [
    ("bottleneck 256 at 56", bottleneck, 256, 56, 56, 7),
    ("bottleneck 512 at 28", bottleneck, 512, 28, 28, 7),
    ("bottleneck 1024 at 14", bottleneck, 1024, 14, 14, 7),
    ("C2f 32 at 160", c2f, 32, 160, 160, 10),
    ("C2f 64 at 80", c2f, 64, 80, 80, 10),
    ("C2f 128 at 40", c2f, 128, 40, 40, 10),
]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3, help="of whole runs per plan and round; then its steps are timed")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/depth_first.json")
    return parser.parse_args()


def step_time(plan: pathlib.Path, threads: int, seconds: float) -> float:
    """Microseconds of the steps of a run, without those that only bring the input and the output into another layout."""
    command = [hussar_cli.program(), "bench", plan, "--duration", seconds, "--threads", threads, "--per-layer", "--json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    return sum(step["us"] for step in json.loads(done.stdout)["layers"] if step["op"] != "hussar.Reformat")


def measure(chain: tuple, arguments: argparse.Namespace, folder: pathlib.Path) -> dict:
    name, write, channels, height, width, band = chain
    threads = {height: arguments.threads, band: 1}
    plans = {rows: folder / f"{rows}.plan" for rows in threads}
    for rows, plan in plans.items():
        write(folder / "chain.onnx", channels, rows, width)
        hussar_cli.build(folder / "chain.onnx", plan, threads=threads[rows])
    samples = {height: [], band: []}
    for _ in range(arguments.rounds):
        for rows, plan in plans.items():
            samples[rows].append(step_time(plan, threads[rows], arguments.seconds))
    whole, one = float(np.median(samples[height])), float(np.median(samples[band]))
    bands = one * height / band / arguments.threads
    return {"chain": name, "rows": height, "band": band, "whole_us": whole, "band_us": one, "bands_us": bands,
            "ratio": bands / whole, "samples": samples}  # fmt: skip


def main() -> int:
    arguments = parse_arguments()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for chain in CHAINS:
            print(f"{chain[0]} ...", file=sys.stderr, flush=True)
            rows.append(measure(chain, arguments, pathlib.Path(folder)))
    print("| chain | rows of a band | whole image, us | bands, us at least | bands / whole |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['chain']} | {row['band']} of {row['rows']} | {row['whole_us']:.0f} | {row['bands_us']:.0f} | {row['ratio']:.2f} |")
    report = {"schema_version": 1, "machine": machine.facts(), "settings": {"threads": arguments.threads, "rounds": arguments.rounds}}
    arguments.json.write_text(json.dumps(report | {"chains": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
