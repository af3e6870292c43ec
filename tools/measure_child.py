#!/usr/bin/env python3
"""Loads one model in one engine in a process of its own and prints load time and peak memory as one line of JSON.

    measure_child.py ENGINE MODEL IN.npz [--threads N] [--runs N]

Peak memory is VmHWM of the process. `before_bytes` is the resident size after the engine's modules were imported and
the inputs read, but before the model was opened; the difference is what the model costs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import subprocess
import sys

import numpy as np

MODULES = {"hussar": "hussar_ctypes", "ort": "onnxruntime", "openvino": "openvino", "openvino_f32": "openvino"}


def status_bytes(field: str) -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def child_main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=MODULES)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("inputs", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    import engines

    module = importlib.import_module(MODULES[arguments.engine])
    if arguments.engine == "hussar":
        module.Library()
    with np.load(arguments.inputs) as stored:
        feeds = {name: stored[name] for name in stored.files}
    before = status_bytes("VmRSS")
    engine = engines.open_engine(arguments.engine, arguments.model, feeds, arguments.threads)
    for _ in range(arguments.runs):
        engine.call()
    report = {"load_ms": engine.load_ms, "before_bytes": before, "peak_bytes": status_bytes("VmHWM")}
    print(json.dumps(report))
    return 0


def measure(engine: str, model: pathlib.Path, inputs: pathlib.Path, threads: int, repeats: int = 3) -> dict:
    """Medians over `repeats` fresh processes of load_ms and peak_bytes, and model_bytes = peak - before.

    Returns {"error": text} when a process fails.
    """
    rows = []
    for _ in range(repeats):
        command = [sys.executable, __file__, engine, str(model), str(inputs), "--threads", str(threads)]
        outcome = subprocess.run(command, capture_output=True, text=True)
        if outcome.returncode != 0:
            lines = outcome.stderr.strip().splitlines()
            return {"error": lines[-1] if lines else f"ended with status {outcome.returncode}"}
        rows.append(json.loads(outcome.stdout.strip().splitlines()[-1]))
    return {
        "load_ms": float(np.median([row["load_ms"] for row in rows])),
        "peak_bytes": int(np.median([row["peak_bytes"] for row in rows])),
        "model_bytes": int(np.median([row["peak_bytes"] - row["before_bytes"] for row in rows])),
    }


if __name__ == "__main__":
    sys.exit(child_main())
