#!/usr/bin/env python3
"""Tensors without elements: operators on inputs with a dimension of 0, fixed or symbolic, beside ONNX Runtime.

    tests/models/zero_size.py [NAME...]

Prints `N passed, M failed, K skipped`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from onnx import NodeProto
from onnx.helper import make_node
from single_operator import Case, main, random


def weights(name: str, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    generator = random(name)
    return {key: generator.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


def integers(**lists: list[int]) -> dict[str, np.ndarray]:
    return {key: np.array(values, np.int64) for key, values in lists.items()}


def one(op: str, inputs: str, outputs: str = "y", **attributes) -> list[NodeProto]:
    return [make_node(op, inputs.split(","), outputs.split(","), **attributes)]


def rows() -> Iterator[tuple[str, list[NodeProto], tuple[int, ...], dict[str, np.ndarray]]]:
    """Name, nodes, the shape of x, and weights."""
    depthwise = one("Conv", "x,w", "a", group=8) + one("Relu", "a")
    yield "convolution", one("Conv", "x,w"), (0, 3, 8, 8), weights("convolution", w=(4, 3, 3, 3))
    yield "transposed convolution", one("ConvTranspose", "x,w"), (0, 3, 8, 8), weights("transposed", w=(3, 4, 3, 3))
    yield "depthwise convolution", depthwise, (0, 8, 8, 8), weights("depthwise", w=(8, 1, 3, 3))
    yield "product without rows", one("MatMul", "x,w"), (0, 8), weights("rows", w=(8, 4))
    yield "product over nothing", one("MatMul", "x,w"), (4, 0), weights("nothing", w=(0, 4))
    yield "Gemm over nothing", one("Gemm", "x,w,b"), (4, 0), weights("gemm", w=(0, 4), b=(4,))
    yield "softmax without rows", one("Softmax", "x", axis=-1), (0, 8), {}
    yield "softmax of nothing", one("Softmax", "x", axis=-1), (3, 0), {}
    yield "layer normalization", one("LayerNormalization", "x,g"), (0, 8), weights("layer", g=(8,))
    yield "sum of nothing", one("ReduceSum", "x,axes"), (3, 0), integers(axes=[1])
    yield "product of nothing", one("ReduceProd", "x", axes=[1]), (3, 0), {}
    yield "concatenation", one("Concat", "x,w", axis=0), (0, 8), weights("concatenation", w=(2, 8))
    scales = {"s": np.array([1, 1, 2, 2], np.float32)}
    yield "resize", one("Resize", "x,,s", mode="nearest"), (0, 3, 4, 4), scales
    yield "pool", one("MaxPool", "x", kernel_shape=[2, 2]), (0, 3, 4, 4), {}
    yield "global pool", one("GlobalAveragePool", "x"), (0, 3, 4, 4), {}
    yield "transpose", one("Transpose", "x", perm=[1, 0]), (0, 3), {}
    yield "gather", one("Gather", "x,i"), (3, 0), integers(i=[1])
    yield "LSTM", one("LSTM", "x,W,R", hidden_size=4), (3, 0, 5), weights("lstm", W=(1, 16, 5), R=(1, 16, 4))
    yield "non-zero", one("NonZero", "x"), (0, 3), {}
    yield "top k", one("TopK", "x,k", "y,z"), (0, 3), integers(k=[2])
    yield "split", one("Split", "x,s", "y,z", axis=0), (0, 3), integers(s=[0, 0])


def cases() -> Iterator[Case]:
    for name, nodes, shape, constants in rows():
        for symbolic in (False, True):
            inputs = {"x": np.zeros(shape, np.float32)}
            yield Case(f"{name}, {'symbolic' if symbolic else 'fixed'}", nodes, inputs, constants, symbolic)


if __name__ == "__main__":
    sys.exit(main(cases(), __doc__))
