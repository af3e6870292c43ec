#!/usr/bin/env python3
"""Writes the small models in tests/bad_input/seeds that the mutations start from, and one for the fuzz target alone.

Needs the pinned onnx package; run it only to change the seeds. The same script gives the same bytes.
"""

from __future__ import annotations

import pathlib

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

FOLDER = pathlib.Path(__file__).parent / "seeds"
CORPUS = pathlib.Path(__file__).parents[1] / "fuzz/corpus/onnx"
RANDOM = np.random.default_rng(1)
ANY = None


def weights(name: str, *shape: int, dtype=np.float32):
    return numpy_helper.from_array(RANDOM.uniform(-0.5, 0.5, shape).astype(dtype), name)


def constant(name: str, values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype), name)


def value(name: str, shape=ANY, dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, shape)


def save(name: str, nodes, inputs, outputs, initializers=(), opset: int = 21, functions=(), sparse=(),
         folder: pathlib.Path = FOLDER) -> None:  # fmt: skip
    graph = h.make_graph(nodes, name, inputs, outputs, list(initializers), sparse_initializer=list(sparse))
    opsets = [h.make_opsetid("", opset), h.make_opsetid("com.microsoft", 1), h.make_opsetid("local", 1)]
    model = h.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def convolutions() -> None:
    n = h.make_node
    nodes = [
        n("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        n("BatchNormalization", ["c1", "scale", "shift", "mean", "variance"], ["n1"], epsilon=1e-3),
        n("Relu", ["n1"], ["r1"]),
        n("Conv", ["r1", "w2"], ["c2"], group=4, pads=[1, 1, 1, 1]),
        n("HardSwish", ["c2"], ["r2"]),
        n("Add", ["r2", "r1"], ["sum"]),
        n("MaxPool", ["sum"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        n("ConvTranspose", ["p", "w3"], ["t"], strides=[2, 2]),
        n("AveragePool", ["t"], ["a"], kernel_shape=[3, 3], auto_pad="SAME_UPPER", count_include_pad=1),
        n("GlobalAveragePool", ["a"], ["g"]),
        n("Flatten", ["g"], ["f"]),
        n("Gemm", ["f", "w4", "b4"], ["y"], transB=1, alpha=0.5),
    ]
    data = [
        weights("w1", 4, 3, 3, 3), weights("b1", 4), weights("scale", 4), weights("shift", 4), weights("mean", 4),
        constant("variance", [1, 2, 3, 4], np.float32), weights("w2", 4, 1, 3, 3), weights("w3", 4, 2, 2, 2),
        weights("w4", 5, 2), weights("b4", 5),
    ]  # fmt: skip
    save("convolutions", nodes, [value("x", ["N", 3, 8, 8])], [value("y", ["N", 5])], data, opset=17)


def recurrent() -> None:
    n = h.make_node
    nodes = [
        n("LSTM", ["x", "w", "r", "b", "", "h0", "c0"], ["y", "h", "c"], hidden_size=3, direction="bidirectional"),
        n("GRU", ["x", "wg", "rg"], ["yg", ""], hidden_size=3, linear_before_reset=1),
        n("RNN", ["x", "wr", "rr"], ["", "hr"], hidden_size=3),
        n("Squeeze", ["yg", "axes"], ["s"]),
    ]
    data = [
        weights("w", 2, 12, 4), weights("r", 2, 12, 3), weights("b", 2, 24), weights("h0", 2, 1, 3),
        weights("c0", 2, 1, 3), weights("wg", 1, 9, 4), weights("rg", 1, 9, 3), weights("wr", 1, 3, 4),
        weights("rr", 1, 3, 3), constant("axes", [1]),
    ]  # fmt: skip
    save("recurrent", nodes, [value("x", [5, 1, 4])], [value("y"), value("h"), value("s"), value("hr")], data)


def control_flow() -> None:
    n = h.make_node
    then_branch = h.make_graph([n("Add", ["x", "one"], ["t"])], "then", [], [value("t")])
    else_branch = h.make_graph([n("Mul", ["x", "x"], ["e"])], "else", [], [value("e")])
    body = h.make_graph(
        [n("Add", ["state", "one"], ["next"]), n("Identity", ["going"], ["still"]), n("Mul", ["next", "x"], ["row"])],
        "body",
        [value("i", [], T.INT64), value("going", [], T.BOOL), value("state", [3])],
        [value("still", [], T.BOOL), value("next"), value("row")],
    )
    scan_body = h.make_graph(
        [n("Add", ["total", "item"], ["after"]), n("Identity", ["after"], ["element"])],
        "scan",
        [value("total", [3]), value("item", [3])],
        [value("after"), value("element")],
    )
    nodes = [
        n("If", ["c"], ["y"], then_branch=then_branch, else_branch=else_branch),
        n("Loop", ["trips", "yes", "y"], ["last", "rows"], body=body),
        n("Scan", ["zero", "rows"], ["sum", "sums"], body=scan_body, num_scan_inputs=1),
    ]
    data = [
        constant("one", [1, 1, 1], np.float32), constant("zero", [0, 0, 0], np.float32), constant("trips", 4),
        constant("yes", True, bool),
    ]  # fmt: skip
    save("control_flow", nodes, [value("x", [3]), value("c", [], T.BOOL)], [value("last"), value("sum"), value("sums")],
         data)  # fmt: skip


def transformer() -> None:
    n = h.make_node
    nodes = [
        n("Gather", ["table", "ids"], ["e"]),
        n("LayerNormalization", ["e", "g", "b"], ["ln"], axis=-1),
        n("MatMul", ["ln", "wq"], ["q0"]), n("MatMul", ["ln", "wk"], ["k0"]), n("MatMul", ["ln", "wv"], ["v0"]),
        n("Reshape", ["q0", "heads"], ["q1"]), n("Reshape", ["k0", "heads"], ["k1"]),
        n("Reshape", ["v0", "heads"], ["v1"]),
        n("Transpose", ["q1"], ["q"], perm=[0, 2, 1, 3]), n("Transpose", ["k1"], ["k"], perm=[0, 2, 3, 1]),
        n("Transpose", ["v1"], ["v"], perm=[0, 2, 1, 3]),
        n("MatMul", ["q", "k"], ["s0"]), n("Div", ["s0", "two"], ["s1"]), n("Softmax", ["s1"], ["p"], axis=-1),
        n("MatMul", ["p", "v"], ["o0"]), n("Transpose", ["o0"], ["o1"], perm=[0, 2, 1, 3]),
        n("Reshape", ["o1", "joined"], ["o"]), n("Add", ["o", "e"], ["r"]),
        # GELU and layer normalization as older exporters write them
        n("Div", ["r", "root2"], ["g0"]), n("Erf", ["g0"], ["g1"]), n("Add", ["g1", "one"], ["g2"]),
        n("Mul", ["r", "g2"], ["g3"]), n("Mul", ["g3", "half"], ["gelu"]),
        n("ReduceMean", ["gelu", "last"], ["mean"], keepdims=1), n("Sub", ["gelu", "mean"], ["d"]),
        n("Pow", ["d", "two"], ["d2"]), n("ReduceMean", ["d2", "last"], ["variance"], keepdims=1),
        n("Add", ["variance", "half"], ["v2"]), n("Sqrt", ["v2"], ["deviation"]), n("Div", ["d", "deviation"], ["y"]),
    ]  # fmt: skip
    data = [
        weights("table", 7, 8), weights("g", 8), weights("b", 8), weights("wq", 8, 8), weights("wk", 8, 8),
        weights("wv", 8, 8), constant("heads", [0, 0, 2, 4]), constant("joined", [0, 0, 8]),
        constant("two", 2, np.float32), constant("root2", 1.41421354, np.float32), constant("one", 1, np.float32),
        constant("half", 0.5, np.float32), constant("last", [-1]),
    ]  # fmt: skip
    save("transformer", nodes, [value("ids", ["B", "S"], T.INT64)], [value("y")], data)


def contributed() -> None:
    n = h.make_node
    nodes = [
        n("Attention", ["x", "w", "b", "mask"], ["a"], domain="com.microsoft", num_heads=2),
        n("SkipLayerNormalization", ["a", "x", "g", "s", "b8"], ["k"], domain="com.microsoft", epsilon=1e-5),
        n("FastGelu", ["k", "b8"], ["f"], domain="com.microsoft"),
        n("BiasGelu", ["f", "b8"], ["u"], domain="com.microsoft"),
        n("QuickGelu", ["u"], ["v"], domain="com.microsoft"),
        n("FusedMatMul", ["v", "v"], ["y"], domain="com.microsoft", transB=1, alpha=0.5),
    ]
    data = [weights("w", 8, 24), weights("b", 24), weights("g", 8), weights("s", 8), weights("b8", 8)]
    save("contributed", nodes, [value("x", [1, 3, 8]), value("mask", [1, 3], T.INT32)], [value("y")], data)


def newest() -> None:
    n = h.make_node
    nodes = [
        n("RotaryEmbedding", ["q", "cos", "sin"], ["qr"]),
        n("Attention", ["qr", "k", "v"], ["a"], scale=0.5, is_causal=1),
        n("RMSNormalization", ["a", "g"], ["r"], axis=-1),
        n("Gelu", ["r"], ["y"], approximate="tanh"),
    ]
    inputs = [value("q", [1, 2, 3, 4]), value("k", [1, 2, 3, 4]), value("v", [1, 2, 3, 4])]
    data = [weights("cos", 1, 3, 2), weights("sin", 1, 3, 2), weights("g", 4)]
    save("newest", nodes, inputs, [value("y")], data, opset=23)


def quantized() -> None:
    n = h.make_node
    nodes = [
        n("QuantizeLinear", ["x", "sx", "zx"], ["q"]), n("DequantizeLinear", ["q", "sx", "zx"], ["d"]),
        n("DequantizeLinear", ["w8", "sw", "zw"], ["w"], axis=0),
        n("Conv", ["d", "w"], ["c"]), n("QuantizeLinear", ["c", "sx", "zx"], ["cq"]),
        n("QLinearConv", ["q", "sx", "zx", "w8", "sw", "zw", "sx", "zx"], ["qc"]),
        n("DequantizeLinear", ["qc", "sx", "zx"], ["y"]),
        n("DynamicQuantizeLinear", ["f"], ["fq", "fs", "fz"]), n("MatMulInteger", ["fq", "m8", "fz"], ["mi"]),
        n("Cast", ["mi"], ["mf"], to=T.FLOAT), n("Mul", ["mf", "fs"], ["z"]),
        n("DequantizeLinear", ["w4", "s4"], ["dw4"], axis=0, block_size=2), n("Add", ["z", "dw4"], ["z4"]),
    ]  # fmt: skip
    integers = lambda name, *shape: numpy_helper.from_array(  # noqa: E731
        RANDOM.integers(-100, 100, shape).astype(np.int8), name
    )
    data = [
        constant("sx", 0.05, np.float32), constant("zx", 128, np.uint8), integers("w8", 2, 3, 1, 1),
        constant("sw", [0.01, 0.02], np.float32), constant("zw", [0, 0], np.int8), integers("m8", 6, 4),
        h.make_tensor("w4", T.INT4, [4, 4], [1, -2, 3, -4] * 4), constant("s4", [[0.1] * 4] * 2, np.float32),
    ]  # fmt: skip
    save("quantized", nodes, [value("x", [1, 3, 4, 4]), value("f", [4, 6])],
         [value("y"), value("cq", ANY, T.UINT8), value("z4")], data)  # fmt: skip


def shapes() -> None:
    n = h.make_node
    nodes = [
        n("Shape", ["x"], ["shape"]), n("Gather", ["shape", "zero"], ["rows"], axis=0),
        n("Concat", ["rows", "minus"], ["target"], axis=0), n("Reshape", ["x", "target"], ["flat"]),
        n("Slice", ["flat", "zero", "big", "one", "step"], ["cut"]), n("Split", ["cut"], ["s1", "s2"], axis=1, num_outputs=2),
        n("Concat", ["s2", "s1"], ["swapped"], axis=1), n("Unsqueeze", ["swapped", "zero"], ["u"]),
        n("Expand", ["u", "expanded"], ["e"]), n("Tile", ["e", "repeats"], ["tiled"]),
        n("Pad", ["tiled", "pads", "fill"], ["padded"], mode="constant"),
        n("Resize", ["image", "", "scales"], ["resized"], mode="linear"),
        n("TopK", ["padded", "k"], ["top", "where"], axis=-1), n("Range", ["start", "limit", "delta"], ["range"]),
        n("ConstantOfShape", ["target2"], ["zeros"]), n("NonZero", ["flat"], ["nz"]),
        n("CumSum", ["flat", "axis0"], ["cs"]), n("Where", ["mask", "flat", "cs"], ["chosen"]),
        n("GatherElements", ["flat", "index"], ["ge"], axis=1), n("ScatterND", ["flat", "at", "updates"], ["sn"]),
        n("DepthToSpace", ["image"], ["ds"], blocksize=2), n("Einsum", ["flat", "flat"], ["es"], equation="ij,kj->ik"),
        n("OneHot", ["range", "depth", "on_off"], ["oh"]),
    ]  # fmt: skip
    data = [
        constant("zero", [0]), constant("one", [1]), constant("minus", [-1]), constant("big", [2**63 - 1]),
        constant("step", [1]), constant("expanded", [2, 1, 1]), constant("repeats", [1, 2, 1]),
        constant("pads", [0, 1, 0, 0, 0, 1]), constant("fill", 0.5, np.float32), constant("scales", [1, 1, 2, 1.5], np.float32),
        constant("k", [2]), constant("start", 0), constant("limit", 5), constant("delta", 2), constant("target2", [2, 2]),
        constant("axis0", 0), constant("index", [[0, 1], [1, 0]]), constant("at", [[0], [1]]),
        weights("updates", 2, 4), constant("depth", 6), constant("on_off", [0, 1], np.float32),
    ]  # fmt: skip
    outputs = ["padded", "resized", "top", "zeros", "chosen", "ge", "sn", "ds", "es", "oh"]
    save("shapes", nodes, [value("x", [2, 2, 2]), value("image", [1, 4, 3, 3]), value("mask", [2, 4], T.BOOL)],
         [value(name) for name in outputs] + [value("nz", ANY, T.INT64), value("where", ANY, T.INT64)], data)  # fmt: skip


def elementwise() -> None:
    unary = ["Abs", "Neg", "Exp", "Sqrt", "Sigmoid", "Tanh", "Erf", "Floor", "Ceil", "Round", "Sign", "Softplus", "Elu",
             "Selu", "LeakyRelu", "HardSigmoid", "Reciprocal", "Sin", "Mish", "Identity"]  # fmt: skip
    nodes, last = [], "x"
    for index, op in enumerate(unary):
        nodes.append(h.make_node(op, [last], [f"u{index}"]))
        last = f"u{index}"
    for index, op in enumerate(["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Mean", "Sum"]):
        nodes.append(h.make_node(op, [last, "w"], [f"b{index}"]))
        last = f"b{index}"
    nodes += [
        h.make_node("Clip", [last, "low", "high"], ["clipped"]),
        h.make_node("Greater", ["clipped", "w"], ["mask"]), h.make_node("Not", ["mask"], ["rest"]),
        h.make_node("Where", ["rest", "clipped", "w"], ["chosen"]),
        h.make_node("ReduceSum", ["chosen", "axes"], ["sum"], keepdims=0),
        h.make_node("ReduceMax", ["chosen", "axes"], ["max"]), h.make_node("ArgMax", ["chosen"], ["arg"], axis=1),
        h.make_node("ReduceL2", ["chosen", "axes"], ["l2"]), h.make_node("LogSoftmax", ["chosen"], ["ls"]),
        h.make_node("Mod", ["arg", "three"], ["rem"]), h.make_node("BitShift", ["bits", "bits"], ["sh"], direction="LEFT"),
    ]  # fmt: skip
    data = [weights("w", 4), constant("low", -2, np.float32), constant("high", 2, np.float32), constant("axes", [1]),
            constant("three", 3), constant("bits", [1, 2], np.uint8)]  # fmt: skip
    outputs = [value(name) for name in ("sum", "max", "l2", "ls")] + [value("rem", ANY, T.INT64), value("sh", ANY, T.UINT8)]
    save("elementwise", nodes, [value("x", ["N", 4])], outputs, data)


def types() -> None:
    n = h.make_node
    nodes, outputs = [], []
    for index, dtype in enumerate([T.FLOAT16, T.BFLOAT16, T.DOUBLE, T.INT8, T.UINT16, T.INT64, T.BOOL, T.FLOAT8E4M3FN,
                                   T.FLOAT8E5M2, T.INT4, T.UINT4]):  # fmt: skip
        nodes += [n("Cast", ["x"], [f"c{index}"], to=dtype), n("Cast", [f"c{index}"], [f"y{index}"], to=T.FLOAT)]
        outputs.append(value(f"y{index}"))
    nodes += [
        n("Constant", [], ["k1"], value_float=1.5), n("Constant", [], ["k2"], value_ints=[1, 2, 3, 4]),
        n("Constant", [], ["k3"], value=weights("k3", 4)), n("Cast", ["k2"], ["k4"], to=T.FLOAT),
        n("Sum", ["k1", "k3", "k4", "sparse"], ["k"]),
    ]  # fmt: skip
    sparse = h.make_sparse_tensor(numpy_helper.from_array(np.array([2, 3], np.float32), "sparse"), constant("at", [0, 3]), [4])
    save("types", nodes, [value("x", [2, 3])], [*outputs, value("k")], sparse=[sparse])


def detection() -> None:
    n = h.make_node
    nodes = [
        n("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["kept"]),
        n("Gather", ["kept", "column"], ["index"], axis=1), n("Squeeze", ["index", "axes"], ["flat"]),
        n("GatherND", ["rows", "kept2"], ["picked"]), n("RoiAlign", ["image", "rois", "batch"], ["aligned"], output_height=2,
                                                        output_width=2),
        n("GridSample", ["image", "grid"], ["sampled"]),
        n("InstanceNormalization", ["image", "g", "b"], ["in"]), n("GroupNormalization", ["image", "g", "b"], ["gn"], num_groups=2),
        n("Trilu", ["rows"], ["tri"]), n("Unique", ["labels"], ["u", "", "inverse", ""], sorted=1),
    ]  # fmt: skip
    data = [
        constant("most", 2), constant("overlap", 0.5, np.float32), constant("least", 0.1, np.float32),
        constant("column", [2]), constant("axes", [1]), constant("kept2", [[0, 1], [1, 0]]), constant("batch", [0, 0]),
        constant("rois", [[0, 0, 2, 2], [1, 1, 3, 3]], np.float32), weights("grid", 1, 2, 2, 2), weights("g", 4),
        weights("b", 4), constant("labels", [3, 1, 3, 2]),
    ]  # fmt: skip
    inputs = [value("boxes", [1, 5, 4]), value("scores", [1, 1, 5]), value("rows", [3, 3]), value("image", [1, 4, 4, 4])]
    outputs = [value("flat", ANY, T.INT64), value("u", ANY, T.INT64), value("inverse", ANY, T.INT64)]
    outputs += [value(name) for name in ("picked", "aligned", "sampled", "in", "gn", "tri")]
    save("detection", nodes, inputs, outputs, data)


def functions() -> None:
    n = h.make_node
    scaled = n("Mul", ["a", "f"], ["m"])
    factor = n("Constant", [], ["f"])
    attribute = onnx.AttributeProto(name="value_float", ref_attr_name="factor", type=onnx.AttributeProto.FLOAT)
    factor.attribute.append(attribute)
    opsets = [h.make_opsetid("", 21), h.make_opsetid("local", 1)]
    inner = h.make_function("local", "Scale", ["a"], ["m"], [factor, scaled], opsets, ["factor"])
    outer = h.make_function("local", "Twice", ["a"], ["z"],
                            [n("Scale", ["a"], ["s"], domain="local", factor=2.0), n("Relu", ["s"], ["z"])], opsets)  # fmt: skip
    nodes = [n("Twice", ["x"], ["t"], domain="local"), n("Twice", ["t"], ["y"], domain="local")]
    save("functions", nodes, [value("x", [3])], [value("y")], functions=[inner, outer])


def slices() -> None:
    """Values inside other values, and kernels in both layouts."""
    n = h.make_node
    nodes = [
        n("Conv", ["x", "w1"], ["a"]), n("Split", ["a", "halves"], ["left", "right"], axis=1),
        n("Conv", ["right", "w2"], ["b"], pads=[1, 1, 1, 1]), n("Relu", ["b"], ["c"]),
        n("Concat", ["left", "right", "c"], ["all"], axis=1), n("Conv", ["all", "w3"], ["d"]),
        n("MaxPool", ["d"], ["e"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        n("Resize", ["e", "", "scales"], ["f"], mode="linear"), n("Concat", ["f", "d"], ["g"], axis=1),
        n("Softmax", ["g"], ["soft"], axis=1), n("ArgMax", ["d"], ["arg"], axis=1, keepdims=0),
        n("ReduceMean", ["d", "spatial"], ["mean"]), n("Pad", ["d", "pads"], ["padded"]),
        n("Transpose", ["x"], ["turned"], perm=[2, 0, 3, 1]), n("Tile", ["turned", "times"], ["tiled"]),
        n("MaxPool", ["tiled"], ["pooled"], kernel_shape=[2, 2], ceil_mode=1), n("MatMul", ["pooled", "w4"], ["m"]),
        n("Transpose", ["mean"], ["turned2"], perm=[2, 3, 0, 1]),
    ]  # fmt: skip
    data = [
        weights("w1", 8, 3, 1, 1), weights("w2", 4, 4, 3, 3), weights("w3", 6, 12, 1, 1), weights("w4", 2, 5),
        constant("halves", [4, 4]),
        constant("scales", [1, 1, 2, 2], np.float32), constant("spatial", [2, 3]), constant("times", [1, 2, 1, 1]),
        constant("pads", [0, 0, 1, 0, 0, 0, 0, 2]),
    ]  # fmt: skip
    outputs = [value("soft"), value("arg", ANY, T.INT64), value("padded"), value("m"), value("turned2")]
    save("slices", nodes, [value("x", ["N", 3, 6, 6])], outputs, data)


def data_dependent() -> None:
    """Shapes that only a run tells, for kernels and evaluators."""
    n = h.make_node
    nodes = [
        n("NonZero", ["x"], ["at"]), n("Transpose", ["at"], ["pairs"]), n("GatherND", ["x", "pairs"], ["found"]),
        n("Add", ["found", "one"], ["a"]), n("Relu", ["a"], ["b"]), n("Unsqueeze", ["b", "last"], ["column"]),
        n("MatMul", ["column", "w"], ["m"]), n("LayerNormalization", ["m", "scale"], ["norm"]),
        n("Softmax", ["norm"], ["soft"], axis=0), n("Concat", ["m", "soft"], ["both"], axis=0),
        n("Reshape", ["b", "image_shape"], ["line"]), n("Conv", ["line", "kernel"], ["conv"], pads=[1, 1]),
        n("Cast", ["conv"], ["whole"], to=T.INT32), n("Shape", ["b"], ["count"]), n("Expand", ["row", "count"], ["wide"]),
        n("Slice", ["both", "begin", "count", "first"], ["part"]), n("Pad", ["part", "pads"], ["padded"]),
        n("Tile", ["padded", "times"], ["tiled"]), n("Gather", ["tiled", "begin"], ["picked"]),
        n("ReduceSum", ["tiled", "first"], ["sum"]), n("Where", ["flags", "sum", "picked"], ["chosen"]),
        n("Split", ["both", "parts"], ["s1", "s2"]),
    ]  # fmt: skip
    data = [
        constant("one", 1, np.float32), constant("last", [1]), weights("w", 1, 3), weights("scale", 3),
        constant("image_shape", [1, 1, -1]), weights("kernel", 2, 1, 3), weights("row", 1), constant("begin", [0]),
        constant("first", [0]), constant("pads", [1, 0, 0, 2]), constant("times", [2, 1]),
        constant("flags", [[1, 0, 1, 0, 1]], np.bool_), constant("parts", [1, 23]),
    ]  # fmt: skip
    outputs = [value(name) for name in ("conv", "wide", "chosen", "s1", "s2")] + [value("whole", ANY, T.INT32)]
    save("data_dependent", nodes, [value("x", [3, 4])], outputs, data)


def refused() -> None:
    """Unknown, unsupported and malformed nodes in a row, and in bodies: import goes on after each of them."""
    n = h.make_node
    rotary = {"domain": "com.microsoft", "num_heads": 2, "do_rotary": 1}
    complex_weight = numpy_helper.from_array(np.ones(2, np.complex64), "z")
    bodies = [
        h.make_graph([n("Cast", ["b"], ["out"], to=T.STRING)], "then", [], [value("out", ANY, T.STRING)]),
        h.make_graph([n("Mystery", ["c"], ["m"]), n("Relu", ["m"], ["out"])], "else", [], [value("out")]),
    ]
    nodes = [
        n("Attention", ["x", "w"], ["a"], **rotary), n("Mystery", ["a"], ["b"]), n("Attention", ["b", "w"], ["c"], **rotary),
        n("Softmax", ["x"], ["d"], axis=7), n("Add", ["d", "z"], ["e"]), n("Cast", ["e"], ["f"], to=T.COMPLEX64),
        n("If", ["flag"], ["g"], then_branch=bodies[0], else_branch=bodies[1]), n("Gather", ["c", "b"], ["y"]),
    ]  # fmt: skip
    inputs = [value("x", [1, 3, 4]), value("flag", [], T.BOOL)]
    save("refused", nodes, inputs, [value("y"), value("g")], [weights("w", 4, 12), complex_weight], folder=CORPUS)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    CORPUS.mkdir(parents=True, exist_ok=True)
    for make in (convolutions, recurrent, control_flow, transformer, contributed, newest, quantized, shapes, elementwise,
                 types, detection, functions, slices, data_dependent, refused):  # fmt: skip
        make()
    for path in sorted(FOLDER.glob("*.onnx")):
        onnx.load(path)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
