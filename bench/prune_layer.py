#!/usr/bin/env python3
"""What `hussar prune` takes for one layer of the size of BERT-Large's: seconds and memory of the whole command.

    bench/prune_layer.py                                     # k = 4096, n = 1024, 2:4 and 2:4x64
    bench/prune_layer.py --k 1024 --n 4096 --patterns 2:4x64 --flags=--no-swaps

Weights are random; the rows that the layer reads have common causes and scales that differ, as those of transformers do.
Goals: 60 seconds and 2 GB on two cores. Processor time is of all threads: half of it, with two threads, is what a machine
without other work would need.

Writes bench/results/prune_layer.json (--json names another); --update-docs writes the table into docs/benchmarks.md.
Exit status: 0; 1 when Hussar fails.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import machine  # noqa: E402
import report_section  # noqa: E402

TOKENS = 128  # rows of one sample
CAUSES = 64
MOST_SECONDS, MOST_BYTES = 60, 2e9


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, default=4096, help="inputs of the layer")
    parser.add_argument("--n", type=int, default=1024, help="its output channels")
    parser.add_argument("--samples", type=int, default=144, help=f"of {TOKENS} rows; an eighth is held out")
    parser.add_argument("--patterns", default="2:4,2:4x64", help="comma-separated")
    parser.add_argument("--flags", default="", help="further flags of hussar prune, separated by blanks")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/prune_layer.json")
    parser.add_argument("--update-docs", action="store_true", help="write the table into docs/benchmarks.md")
    return parser.parse_args()


def write_model(path: pathlib.Path, k: int, n: int) -> None:
    random = np.random.default_rng(1)
    tensors = [
        onnx.numpy_helper.from_array((random.standard_normal((k, n)) / np.sqrt(k)).astype(np.float32), "w"),
        onnx.numpy_helper.from_array(random.standard_normal(n).astype(np.float32), "b"),
    ]
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["p"], "layer"), onnx.helper.make_node("Add", ["p", "b"], ["y"], "bias")]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", TOKENS, size]) for name, size in (("x", k), ("y", n))
    ]
    graph = onnx.helper.make_graph(nodes, "layer", values[:1], values[1:], tensors)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)


def write_data(path: pathlib.Path, samples: int, k: int) -> None:
    random = np.random.default_rng(2)
    mixing = random.standard_normal((CAUSES, k), dtype=np.float32) / np.sqrt(CAUSES, dtype=np.float32)
    scales = np.exp(0.7 * random.standard_normal(k)).astype(np.float32)
    data = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(samples, TOKENS, k))
    for index in range(samples):
        own = random.standard_normal((TOKENS, k), dtype=np.float32)
        data[index] = (random.standard_normal((TOKENS, CAUSES), dtype=np.float32) @ mixing + own) * scales
    data.flush()


def measure(pattern: str, model: pathlib.Path, data: pathlib.Path, arguments: argparse.Namespace) -> dict:
    command = [str(hussar_cli.program()), "prune", str(model), "-o", str(model.with_name("pruned.onnx")), "--data", str(data),
               "--layers", "layer", "--pattern", pattern, "--threads", str(arguments.threads), "--json",
               *arguments.flags.split()]  # fmt: skip
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        if process.returncode != 0:
            raise hussar_cli.BuildFailed(f"hussar prune ended with status {process.returncode}")
        output.seek(0)
        layer = json.load(output)["layers"][0]
    return {
        "pattern": pattern, "seconds": seconds, "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024, "rows": layer["rows"], "error": layer["error"],
    }  # fmt: skip


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    lines = [
        f"{facts['cpu']}, {facts['date']}, commit {facts['commit']}; k = {settings['k']}, n = {settings['n']}, "
        f"{settings['threads']} threads" + (f", flags {settings['flags']}." if settings["flags"] else "."),
        "",
        "| pattern | rows | s | processor s | peak memory MB | layer's outputs differ by | goals: 60 s, 2 GB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        is_met = row["seconds"] <= MOST_SECONDS and row["peak_bytes"] <= MOST_BYTES
        lines.append(f"| {row['pattern']} | {row['rows']} | {row['seconds']:.1f} | {row['processor_seconds']:.1f} | "
                     f"{row['peak_bytes'] / 1e6:.0f} | {row['error']:.1%} | {'met' if is_met else 'missed'} |")  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    arguments = parse_arguments()
    settings = {key: getattr(arguments, key) for key in ("k", "n", "samples", "threads", "flags")}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings, "rows": []}
    with tempfile.TemporaryDirectory(prefix="hussar-layer-") as name:
        folder = pathlib.Path(name)
        write_model(folder / "layer.onnx", arguments.k, arguments.n)
        write_data(folder / "x.npy", arguments.samples, arguments.k)
        try:
            for pattern in arguments.patterns.split(","):
                report["rows"].append(measure(pattern, folder / "layer.onnx", folder / "x.npy", arguments))
        except hussar_cli.BuildFailed as failure:
            print(f"prune_layer: Hussar failed: {failure}", file=sys.stderr)
            return 1
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    if arguments.update_docs:
        report_section.update("prune_layer", "bench/prune_layer.py", "2:4 sparsity", markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
