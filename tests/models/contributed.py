#!/usr/bin/env python3
"""The com.microsoft operators beside ONNX Runtime, which defines them.

    tests/models/contributed.py [NAME...]

Prints `N passed, M failed, K skipped`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

import numpy as np
from onnx.helper import make_node
from single_operator import Case, main, random

DOMAIN = "com.microsoft"
X = (2, 5, 8)
STEP = 1.05 / 255  # of the range of bytes: where a sum lies between two of them, either is right


def case(name: str, op: str, inputs: str, shapes: dict, weights: dict | None = None, *, outputs: str = "y",
         arrays: dict | None = None, reference_domain: str | None = None, **attributes) -> Case:  # fmt: skip
    """`shapes` and `weights`: shapes of float tensors with random numbers. `arrays`: inputs as they are."""
    generator = random(name)

    def numbers(shapes: dict) -> dict[str, np.ndarray]:
        return {key: generator.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}

    node = make_node(op, inputs.split(","), outputs.split(","), domain=DOMAIN, **attributes)
    feeds = {**numbers(shapes), **(arrays or {})}
    return Case(name, [node], feeds, numbers(weights or {}), reference_domain=reference_domain)


def activations() -> Iterator[Case]:
    yield case("Gelu", "Gelu", "x", {"x": X})
    yield case("FastGelu", "FastGelu", "x", {"x": X})
    yield case("FastGelu with a bias", "FastGelu", "x,b", {"x": X}, {"b": 8})
    yield case("BiasGelu", "BiasGelu", "x,b", {"x": X}, {"b": 8})
    yield case("QuickGelu", "QuickGelu", "x", {"x": X})
    yield case("QuickGelu with alpha", "QuickGelu", "x", {"x": X}, alpha=1.0)


def norms() -> Iterator[Case]:
    skip, one, two = "SkipLayerNormalization", {"g": 8}, {"g": 8, "b": 8}
    yield case("skip norm with all", skip, "x,s,g,b,c", {"x": X, "s": X}, {**two, "c": 8}, outputs="y,,,z", epsilon=1e-5)
    yield case("skip norm without beta", skip, "x,s,g", {"x": X, "s": X}, one)
    yield case("skip norm of one skip for all", skip, "x,s,g,b", {"x": X, "s": (1, 5, 8)}, two)
    yield case("skip norm of a flat skip", skip, "x,s,g,b", {"x": X, "s": (5, 8)}, two)
    yield case("simplified skip norm", "SkipSimplifiedLayerNormalization", "x,s,g", {"x": X, "s": X}, one)
    # ONNX Runtime has these two in ONNX's own domain.
    yield case("norm", "LayerNormalization", "x,g,b", {"x": X}, two, reference_domain="", axis=-1, epsilon=1e-5)
    yield case("simplified norm", "SimplifiedLayerNormalization", "x,g", {"x": X}, one, reference_domain="", axis=-1)


def products() -> Iterator[Case]:
    """FusedMatMul of [2][3][4] and [2][4][5], stored as its flags say."""
    for trans_a, trans_b, batch_a, batch_b in itertools.product((0, 1), repeat=4):
        a = (2, 4, 3) if trans_a else (2, 3, 4)
        b = (2, 5, 4) if trans_b else (2, 4, 5)
        # The batch comes after the rows as they are stored: [rows][batch][columns].
        a, b = ((shape[1], shape[0], shape[2]) if flag else shape for shape, flag in ((a, batch_a), (b, batch_b)))
        name = f"FusedMatMul {trans_a}{trans_b}{batch_a}{batch_b}"
        flags = {"transA": trans_a, "transB": trans_b, "transBatchA": batch_a, "transBatchB": batch_b}
        yield case(name, "FusedMatMul", "a,b", {"a": a, "b": b}, alpha=0.37, **flags)


def attentions() -> Iterator[Case]:
    def attention(name: str, inputs: str = "x,w,b", shapes: dict | None = None, width: int = 24, **more) -> Case:
        return case(f"attention {name}", "Attention", inputs, {"x": X, **(shapes or {})},
                    {"w": (8, width), "b": width}, num_heads=2, **more)  # fmt: skip

    lengths = {"m": np.array([5, 3], np.int32)}
    padding = {"m": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)}
    triangle = {"m": np.tril(np.ones((2, 5, 5), np.int32))}
    yield attention("alone")
    yield attention("with lengths", "x,w,b,m", arrays=lengths)
    yield attention("with padding", "x,w,b,m", arrays=padding)
    yield attention("with a mask for every query", "x,w,b,m", arrays=triangle)
    yield attention("causal", unidirectional=1)
    yield attention("causal with padding", "x,w,b,m", arrays=padding, unidirectional=1)
    yield attention("with a past", "x,w,b,,p", {"p": (2, 2, 2, 3, 4)}, outputs="y,present", unidirectional=1)
    yield attention("with a bias", "x,w,b,,,a", {"a": (2, 2, 5, 5)})
    yield attention("with a scale", scale=0.3)
    yield attention("with wider values", width=28, qkv_hidden_sizes=[8, 8, 12])


def multi_head_attentions() -> Iterator[Case]:
    op, shapes = "MultiHeadAttention", {"q": X, "k": (2, 6, 8), "v": (2, 6, 8)}
    keys = {"m": np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]], np.int32)}
    yield case("multi-head attention", op, "q,k,v", shapes, num_heads=2)
    yield case("multi-head attention with padding", op, "q,k,v,,m", shapes, arrays=keys, num_heads=2)
    yield case("multi-head attention with biases", op, "q,k,v,b", shapes, {"b": 24}, num_heads=2)


def quantized(name: str, op: str, inputs: str, arrays: dict[str, np.ndarray], parameters: dict, **attributes) -> Case:
    """`arrays`: bytes that change. `parameters`: constants; numbers are scales where they are floats, else zero points."""
    kinds = {float: np.float32, int: np.uint8}
    constants = {key: np.array(value, kinds.get(type(value), None)) for key, value in parameters.items()}
    node = make_node(op, inputs.split(","), ["y"], domain=DOMAIN, **attributes)
    return Case(name, [node], arrays, constants, tolerance=STEP)


def bytes_of(name: str, *shape: int, dtype: type = np.uint8) -> np.ndarray:
    limits = np.iinfo(dtype)
    return random(name).integers(limits.min, limits.max + 1, shape, dtype)


def quantized_elements() -> Iterator[Case]:
    a, b = bytes_of("a", 2, 3, 8), bytes_of("b", 2, 3, 8)
    two = {"as": 0.02, "az": 120, "bs": 0.03, "bz": 100, "ys": 0.05, "yz": 110}
    for op in ("QLinearAdd", "QLinearMul"):
        yield quantized(op, op, "a,as,az,b,bs,bz,ys,yz", {"a": a, "b": b}, two)
        yield quantized(f"{op} broadcast", op, "a,as,az,b,bs,bz,ys,yz", {"a": a, "b": b[0, :1]}, two)
        signed = {key: np.int8(value - 128) if isinstance(value, int) else value for key, value in two.items()}
        yield quantized(f"{op} signed", op, "a,as,az,b,bs,bz,ys,yz", {"a": a.view(np.int8), "b": b.view(np.int8)}, signed)
    one = {"as": 0.04, "az": 120, "ys": 0.03, "yz": 60}
    yield quantized("QLinearSigmoid", "QLinearSigmoid", "a,as,az,ys,yz", {"a": a}, {**one, "ys": 1 / 256, "yz": 0})
    yield quantized("QLinearLeakyRelu", "QLinearLeakyRelu", "a,as,az,ys,yz", {"a": a}, one, alpha=0.2)
    soft = {**one, "ys": 1 / 256, "yz": 0}
    for axis, opset in ((-1, 13), (1, 13), (1, 11), (2, 11)):
        yield quantized(f"QLinearSoftmax {axis} {opset}", "QLinearSoftmax", "a,as,az,ys,yz", {"a": a}, soft, axis=axis,
                        opset=opset)  # fmt: skip
    yield quantized("QLinearConcat", "QLinearConcat", "ys,yz,a,as,az,b,bs,bz", {"a": a, "b": b}, two, axis=1)
    condition = bytes_of("condition", 2, 3, 8) > 100
    yield quantized("QLinearWhere", "QLinearWhere", "c,a,as,az,b,bs,bz,ys,yz", {"c": condition, "a": a, "b": b}, two)


def quantized_pools() -> Iterator[Case]:
    one, names = {"xs": 0.04, "xz": 120, "ys": 0.03, "yz": 128}, "x,xs,xz,ys,yz"
    for last in (0, 1):
        x = {"x": bytes_of("x", 2, 9, 7, 8) if last else bytes_of("x", 2, 8, 9, 7)}
        more = {"channels_last": last}
        yield quantized(f"QLinearGlobalAveragePool {last}", "QLinearGlobalAveragePool", names, x, {**one, "ys": 0.006}, **more)
        yield quantized(f"QLinearAveragePool {last}", "QLinearAveragePool", names, x, one, kernel_shape=[3, 3],
                        strides=[2, 2], pads=[1, 1, 1, 1], **more)  # fmt: skip


def quantized_products() -> Iterator[Case]:
    # ONNX Runtime saturates sums of two products with large weights on machines without VNNI.
    a, w = bytes_of("a", 5, 16), bytes_of("w", 16, 12, dtype=np.int8) // 2
    columns = {"ws": np.linspace(0.01, 0.03, 12, dtype=np.float32), "wz": np.zeros(12, np.int8)}
    bias = random("bias").integers(-9000, 9000, 12, np.int32)
    out = {"ys": 0.6, "yz": 128}
    single = {"as": 0.02, "az": 120, "w": w, "ws": 0.02, "wz": np.int8(0), "c": bias}
    gemm = "a,as,az,w,ws,wz,c,ys,yz"
    yield quantized("QGemm", "QGemm", gemm, {"a": a}, {**single, **out})
    yield quantized("QGemm per column", "QGemm", gemm, {"a": a}, {**single, **columns, **out})
    turned = {"w": np.ascontiguousarray(w.T)}
    yield quantized("QGemm turned", "QGemm", gemm, {"a": a}, {**single, **columns, **out, **turned}, transB=1, alpha=0.5)
    yield quantized("QGemm real", "QGemm", "a,as,az,w,ws,wz,c", {"a": a}, {**single, **columns})
    yield quantized("QGemm without a bias", "QGemm", "a,as,az,w,ws,wz,,ys,yz", {"a": a},
                    {**{key: value for key, value in single.items() if key != "c"}, **out})  # fmt: skip
    addend = random("addend").standard_normal(12).astype(np.float32)
    x = {"x": random("x").standard_normal((2, 5, 16)).astype(np.float32)}
    for name, more in (("", {"ws": 0.02, "wz": np.int8(0)}), (" per column", columns)):
        yield quantized(f"DynamicQuantizeMatMul{name}", "DynamicQuantizeMatMul", "x,w,ws,wz,c", x,
                        {"w": w, **more, "c": addend})  # fmt: skip
        yield quantized(f"MatMulIntegerToFloat{name}", "MatMulIntegerToFloat", "a,w,as,ws,az,wz,c", {"a": a},
                        {"w": w, "as": 0.02, "az": 120, **more, "c": addend})  # fmt: skip
    yield quantized("DynamicQuantizeMatMul alone", "DynamicQuantizeMatMul", "x,w,ws", x, {"w": w, "ws": 0.02})
    dynamic = make_node("DynamicQuantizeLinear", ["x"], ["a", "as", "az"])
    product = make_node("MatMulIntegerToFloat", ["a", "w", "as", "ws", "az"], ["y"], domain=DOMAIN)
    yield Case("MatMulIntegerToFloat dynamic", [dynamic, product], x, {"w": w, "ws": columns["ws"]}, tolerance=STEP)


def cases() -> Iterator[Case]:
    return itertools.chain(activations(), norms(), products(), attentions(), multi_head_attentions(),
                           quantized_elements(), quantized_pools(), quantized_products())  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(cases(), __doc__))
