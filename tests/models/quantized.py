#!/usr/bin/env python3
"""Models that ONNX Runtime has quantized: on the INT8 kernels, and with its outputs.

    tests/models/quantized.py [NAME...]

The trained models of the demo, quantized in every way that quantize_static and quantize_dynamic offer with operators
that Hussar has. ONNX Runtime runs them without its optimizations, some of which are less exact than the model. Outputs
may differ by a tenth of their range: where the last bit of a sum decides about a byte, the rest of the model carries a
step of the byte's scale on, and ONNX Runtime's own levels of optimization differ by as much.
Prints `N passed, M failed`.
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
from onnxruntime import quantization

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 0.1
U8, S8 = quantization.QuantType.QUInt8, quantization.QuantType.QInt8
# Products with constant weights; dynamic quantization leaves Gemm alone where it finds no MatMul.
PRODUCTS = {"resnet20": 22, "mobilenet": 35, "vit": 38}
FORMS = {
    "u8s8 per channel": {"activation_type": U8, "weight_type": S8, "per_channel": True},
    "s8s8": {"activation_type": S8, "weight_type": S8, "per_channel": False},
    "QOperator per channel": {"quant_format": quantization.QuantFormat.QOperator, "activation_type": U8,
                              "weight_type": S8, "per_channel": True},
    "QOperator s8s8": {"quant_format": quantization.QuantFormat.QOperator, "activation_type": S8, "weight_type": S8,
                       "per_channel": False},
    # Zero points of weights that are not in the middle.
    "u8u8 per channel": {"activation_type": U8, "weight_type": U8, "per_channel": True},
    "u8u8": {"activation_type": U8, "weight_type": U8, "per_channel": False},
    "QOperator u8u8": {"quant_format": quantization.QuantFormat.QOperator, "activation_type": U8, "weight_type": U8,
                       "per_channel": False},
    "weights only": {"weight_type": S8, "per_channel": True},
    "weights only, u8": {"weight_type": U8, "per_channel": False},
    "weights only, u8 per channel": {"weight_type": U8, "per_channel": True},
    # Products of two activations, too, those of attention.
    "of every run": {"weight_type": S8, "per_channel": True, "extra_options": {"MatMulConstBOnly": False}},
    "of every run, u8": {"weight_type": U8, "per_channel": False, "extra_options": {"MatMulConstBOnly": False}},
    # As ONNX Runtime saves them for itself, with operators of its own domain.
    "u8s8 saved": {"activation_type": U8, "weight_type": S8, "per_channel": True},
    "weights only saved": {"weight_type": S8, "per_channel": True},
    "weights only, u8 saved": {"weight_type": U8, "per_channel": False},
}
FEWEST_DYNAMIC = {"resnet20": 22, "mobilenet": 35, "vit": 26}


class Inputs:
    def __init__(self, name: str, shape: list[int]) -> None:
        generator = np.random.default_rng(0)
        self.samples = iter([{name: generator.standard_normal(shape).astype(np.float32)} for _ in range(8)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.samples, None)


def run(*words: object) -> str:
    finished = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300)
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {finished.stderr.strip()[-500:]}")
    return finished.stdout


def check(model: str, form: str, folder: pathlib.Path) -> str:
    """What is wrong; "" when nothing is."""
    source, quantized, plan = ROOT / f"demo/models/{model}.onnx", folder / "model.onnx", folder / "model.plan"
    given = onnx.load(source).graph.input[0]
    shape = [dim.dim_value or 1 for dim in given.type.tensor_type.shape.dim]
    is_dynamic = "activation_type" not in FORMS[form]
    if is_dynamic:
        quantization.quantize_dynamic(source, quantized, **FORMS[form])
    else:
        quantization.quantize_static(source, quantized, Inputs(given.name, shape), **FORMS[form])
    if form.endswith(" saved"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level, options.optimized_model_filepath = 3, str(folder / "saved.onnx")
        onnxruntime.InferenceSession(str(quantized), options, providers=["CPUExecutionProvider"])
        quantized = folder / "saved.onnx"
    report = json.loads(run(ROOT / "build/bin/hussar", "build", quantized, "-o", plan, "--budget", "0", "--json"))
    wanted = FEWEST_DYNAMIC[model] if form.startswith("weights only") else PRODUCTS[model]
    if report["int8"]["quantized_in_model"] != wanted:
        return f"{report['int8']['quantized_in_model']} of {wanted} products in INT8"
    if report["reference_steps"] != 0:
        return f"{report['reference_steps']} steps by reference code"
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    np.save(folder / "x.npy", x)
    run(ROOT / "build/bin/hussar", "run", plan, "--input", f"{given.name}={folder / 'x.npy'}", "-o", folder / "out")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(quantized), options, providers=["CPUExecutionProvider"])
    for output, expected in zip(session.get_outputs(), session.run(None, {given.name: x})):
        actual = np.load(folder / "out" / f"{output.name}.npy")
        error = np.abs(actual - expected).max() / (expected.max() - expected.min())
        if not error <= TOLERANCE:
            return f"'{output.name}' is off by {error:.3g} of its range"
    return ""


def main() -> int:
    names = [f"{model} {form}" for model in PRODUCTS for form in FORMS]
    return named_checks.run(names, lambda name, folder: check(*name.split(" ", 1), folder))


if __name__ == "__main__":
    sys.exit(main())
