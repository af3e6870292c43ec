#!/usr/bin/env python3
"""Models that `hussar calibrate --qdq` exports: valid, near FP32, and the same network for ONNX Runtime and hussar.

    tests/models/exported.py [NAME...]

The trained models of the demo. ONNX Runtime runs them without its optimizations, which saturate sums of bytes on CPUs
without VNNI. Prints `N passed, M failed`.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime

import named_checks

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Products in the file, and in the plan, where queries, keys and values are one.
PRODUCTS = {"resnet20": (22, 22), "mobilenet": (35, 35), "vit": (38, 26)}
# Of the logits on noise, in decibels: against FP32, and with signed activations.
LEAST_SQNR = {"uint8": 28, "int8": 24}
# Of ONNX Runtime's outputs and hussar's, in parts of their range: where the last bit of a sum decides about a byte, the
# rest of the model carries a step of it on. hussar adds residuals as bytes, too.
TOLERANCE = 0.03
# Of the plan that is built from the calibration, which adds shortcuts as bytes, and of the one that is built from the file.
SHORTCUTS = {"resnet20": 0.03, "mobilenet": 0.01, "vit": 0}


def hussar(*words: object) -> str:
    words = [str(word) for word in (ROOT / "build/bin/hussar", *words)]
    finished = subprocess.run(words, capture_output=True, text=True, timeout=300)
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {finished.stderr.strip()[-500:]}")
    return finished.stdout


def onnx_runtime(model: pathlib.Path, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def run_plan(plan: pathlib.Path, folder: pathlib.Path) -> np.ndarray:
    hussar("run", plan, "--input", f"x={folder / 'x.npy'}", "-o", folder / "out")
    return np.load(folder / "out/logits.npy")


def sqnr(exact: np.ndarray, actual: np.ndarray) -> float:
    return float(10 * np.log10(np.square(exact, dtype=np.float64).sum() / np.square(exact - actual, dtype=np.float64).sum()))


def far(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.ptp(a))


def products_changed(source: pathlib.Path, quantized: pathlib.Path) -> str:
    """What differs beside products, biases and normalizations; "" when nothing does."""
    before, after = onnx.load(source).graph, onnx.load(quantized).graph
    old = {node.output[0]: node for node in before.node if node.op_type != "Constant"}
    new = {node.output[0]: node for node in after.node}
    for name, node in old.items():
        other = new.get(name)
        if other is None or (other.op_type, other.name, other.attribute) != (node.op_type, node.name, node.attribute):
            return f"node '{node.name}' is another one"
        if other != node and node.op_type not in ("Conv", "MatMul", "Gemm", "Add", "LayerNormalization"):
            return f"node '{node.name}' ({node.op_type}) reads other values"
    added = {node.op_type for name, node in new.items() if name not in old and not name.endswith("_divided")}
    if not added <= {"QuantizeLinear", "DequantizeLinear", "Constant"}:
        return f"there are new nodes {added}"
    return "" if (before.input, before.output) == (after.input, after.output) else "inputs or outputs are others"


def check(model: str, activations: str, folder: pathlib.Path) -> str:
    """What is wrong; "" when nothing is."""
    source, quantized, cache = ROOT / f"demo/models/{model}.onnx", folder / "quantized.onnx", folder / "c.json"
    generator = np.random.default_rng(0)
    np.save(folder / "data.npy", generator.standard_normal((32, 1, 28, 28), dtype=np.float32))
    x = generator.standard_normal((4, 1, 28, 28), dtype=np.float32)
    np.save(folder / "x.npy", x)
    flags = ("--qdq", quantized, "--qdq-activations", activations)
    report = json.loads(hussar("calibrate", source, "--calib", folder / "data.npy", "-o", cache, *flags, "--json"))["qdq"]
    in_file, in_plan = PRODUCTS[model]
    if report["quantized"] != in_file or report["left_out"]:
        return f"{report['quantized']} of {in_file} products are quantized"
    onnx.checker.check_model(str(quantized), full_check=True)
    if wrong := products_changed(source, quantized):
        return wrong
    exact, actual = onnx_runtime(source, x), onnx_runtime(quantized, x)
    if not sqnr(exact, actual) >= LEAST_SQNR[activations]:
        return f"{sqnr(exact, actual):.1f} dB against FP32"
    build = json.loads(hussar("build", quantized, "-o", folder / "imported.plan", "--budget", "0", "--json"))
    if build["int8"]["quantized_in_model"] != in_plan or build["reference_steps"] != 0:
        return f"{build['int8']['quantized_in_model']} of {in_plan} products in INT8, {build['reference_steps']} by reference code"
    imported = run_plan(folder / "imported.plan", folder)
    if not far(actual, imported) <= TOLERANCE:
        return f"hussar and ONNX Runtime are {far(actual, imported):.3g} of the range apart"
    if activations == "uint8":
        # Attention runs on bytes in a plan, and as the model has it in the export.
        flags = ("--budget", "0", "--disable-pass", "quantize_attention")
        hussar("build", source, "-o", folder / "own.plan", "--int8", "--calib-cache", cache, *flags)
        own = run_plan(folder / "own.plan", folder)
        if not far(own, imported) <= SHORTCUTS[model]:
            return f"the plan from the calibration is {far(own, imported):.3g} of the range from the one of the export"
    print(f"{model} {activations}: {sqnr(exact, actual):.1f} dB, {far(actual, imported):.2g} from ONNX Runtime")
    return ""


def main() -> int:
    names = [f"{model} {activations}" for model in PRODUCTS for activations in LEAST_SQNR]
    return named_checks.run(names, lambda name, folder: check(*name.split(" "), folder))


if __name__ == "__main__":
    sys.exit(main())
