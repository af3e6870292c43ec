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


def cases() -> Iterator[Case]:
    return itertools.chain(activations(), norms(), products(), attentions(), multi_head_attentions())


if __name__ == "__main__":
    sys.exit(main(cases(), __doc__))
