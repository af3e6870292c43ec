"""Writes small ONNX models with the standard library alone: protobuf's wire format by hand.

Field numbers: onnx/onnx.proto. Only what the tests need: float, uint8 and int64 tensors, one opset, no functions.
"""

from __future__ import annotations

import struct

FLOAT, UINT8, INT64 = 1, 2, 7
FORMATS = {FLOAT: "f", UINT8: "B", INT64: "q"}


def varint(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append((value & 0x7F) | (0x80 if value > 0x7F else 0))
        value >>= 7
        if value == 0:
            return bytes(out)


def integer(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value & (2**64 - 1))


def block(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def tensor(name: str, dims: list[int], values: list[float] | list[int], dtype: int = FLOAT) -> bytes:
    raw = struct.pack(f"<{len(values)}{FORMATS[dtype]}", *values)
    return b"".join(integer(1, dim) for dim in dims) + integer(2, dtype) + block(8, name) + block(9, raw)


def value(name: str, dims: list[int | str], dtype: int = FLOAT) -> bytes:
    shape = b"".join(block(1, block(2, dim) if isinstance(dim, str) else integer(1, dim)) for dim in dims)
    return block(1, name) + block(2, block(1, integer(1, dtype) + block(2, shape)))


def attribute_int(name: str, number: int) -> bytes:
    return block(1, name) + integer(3, number) + integer(20, 2)


def attribute_ints(name: str, numbers: list[int]) -> bytes:
    return block(1, name) + b"".join(integer(8, number) for number in numbers) + integer(20, 7)


def node(op: str, inputs: list[str], outputs: list[str], name: str = "", attributes: list[bytes] = ()) -> bytes:
    out = b"".join(block(1, text) for text in inputs) + b"".join(block(2, text) for text in outputs)
    return out + block(3, name or op.lower()) + block(4, op) + b"".join(block(5, entry) for entry in attributes)


def model(nodes: list[bytes], inputs: list[bytes], outputs: list[bytes], weights: list[bytes] = (), opset: int = 17) -> bytes:
    graph = b"".join(block(1, entry) for entry in nodes) + block(2, "tiny")
    graph += b"".join(block(5, entry) for entry in weights)
    graph += b"".join(block(11, entry) for entry in inputs) + b"".join(block(12, entry) for entry in outputs)
    return integer(1, 8) + block(2, "tiny_onnx") + block(7, graph) + block(8, block(1, "") + integer(2, opset))


def chain() -> bytes:
    """y = softmax(relu(x + b)) over float [batch, 4]."""
    nodes = [
        node("Add", ["x", "b"], ["sum"], "layer/add"),
        node("Relu", ["sum"], ["positive"], "layer/relu"),
        node("Softmax", ["positive"], ["y"], "layer/softmax", [attribute_int("axis", -1)]),
    ]
    weights = [tensor("b", [4], [0.5, -0.25, 0.0, 1.0])]
    return model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 4])], weights)


def product() -> bytes:
    """y = x * w over float [batch, 4]."""
    weights = [tensor("w", [4, 4], [0.25 * (i % 5 - 2) for i in range(16)])]
    values = [value("x", ["batch", 4])], [value("y", ["batch", 4])]
    return model([node("MatMul", ["x", "w"], ["y"], "head")], *values, weights)


def encoder() -> bytes:
    """y = attention(x) * w over float [batch, 6, 8], two heads; positions where `mask` is 0 are padding."""
    nodes = [
        node("Unsqueeze", ["mask", "axes"], ["mask4"]),
        node("Cast", ["mask4"], ["tokens"], "cast", [attribute_int("to", FLOAT)]),
        node("Sub", ["one", "tokens"], ["padding"]),
        node("Mul", ["padding", "lowest"], ["added"]),
    ]
    orders = {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}
    for name, order in orders.items():
        nodes += [
            node("MatMul", ["x", f"w_{name}"], [f"{name}_rows"], f"{name}/product"),
            node("Reshape", [f"{name}_rows", "split"], [f"{name}_split"], f"{name}/split"),
            node("Transpose", [f"{name}_split"], [name], f"{name}/turn", [attribute_ints("perm", order)]),
        ]
    nodes += [
        node("MatMul", ["q", "k"], ["products"], "scores"),
        node("Add", ["products", "added"], ["masked"], "mask"),
        node("Softmax", ["masked"], ["p"], "softmax", [attribute_int("axis", -1)]),
        node("MatMul", ["p", "v"], ["heads"], "values"),
        node("Transpose", ["heads"], ["turned"], "turn", [attribute_ints("perm", [0, 2, 1, 3])]),
        node("Reshape", ["turned", "join"], ["joined"], "join"),
        node("MatMul", ["joined", "w_o"], ["y"], "head"),
    ]
    weights = [tensor(f"w_{name}", [8, 8], [0.1 * ((i * step) % 11 - 5) for i in range(64)])
               for step, name in enumerate("qkvo", 3)]  # fmt: skip
    weights += [tensor("axes", [2], [1, 2], INT64), tensor("split", [4], [0, 0, 2, 4], INT64)]
    weights += [tensor("join", [3], [0, 0, 8], INT64), tensor("one", [], [1.0]), tensor("lowest", [], [-1e30])]
    inputs = [value("x", ["batch", 6, 8]), value("mask", ["batch", 6], INT64)]
    return model(nodes, inputs, [value("y", ["batch", 6, 8])], weights)


def deep(count: int = 60) -> bytes:
    """Softmax of softmax of ... over float [batch, 4]: many steps, each of them slow where the batch is large."""
    names = ["x", *(f"softmax_{i}" for i in range(1, count)), "y"]
    axis = attribute_int("axis", -1)
    nodes = [node("Softmax", [names[i]], [names[i + 1]], f"layer/{i}", [axis]) for i in range(count)]
    return model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 4])])


def convolutions(count: int = 8) -> bytes:
    """3 x 3 convolutions over float [1, 32, 128, 128], for which several kernels are rivals."""
    names = ["x", *(f"conv_{i}" for i in range(1, count)), "y"]
    weights = [0.01 * (i % 19 - 9) for i in range(32 * 32 * 9)]
    nodes = [node("Conv", [names[i], "w"], [names[i + 1]], f"layer/{i}") for i in range(count)]
    shape = [1, 32, 128, 128]
    output = [1, 32, 128 - 2 * count, 128 - 2 * count]
    return model(nodes, [value("x", shape)], [value("y", output)], [tensor("w", [32, 32, 3, 3], weights)])


def big(count: int = 8_000_000) -> bytes:
    """y = x + b over float [count]: constants of 32 MB, more than are hashed on load."""
    weights = [tensor("b", [count], [1.5] * count)]
    return model([node("Add", ["x", "b"], ["y"])], [value("x", [1])], [value("y", [count])], weights)


def two_inputs() -> bytes:
    """total = left + right over float [2, 3], flags = relu(left)."""
    nodes = [node("Add", ["left", "right"], ["total"]), node("Relu", ["left"], ["out/flags"])]
    inputs = [value("left", [2, 3]), value("right", [2, 3])]
    return model(nodes, inputs, [value("total", [2, 3]), value("out/flags", [2, 3])])


def shifted(amount: float) -> bytes:
    """The chain with another bias: the same names, other numbers from the node layer/add on."""
    nodes = [
        node("Add", ["x", "b"], ["sum"], "layer/add"),
        node("Relu", ["sum"], ["positive"], "layer/relu"),
        node("Softmax", ["positive"], ["y"], "layer/softmax", [attribute_int("axis", -1)]),
    ]
    weights = [tensor("b", [4], [0.5 + amount, -0.25, 0.0, 1.0])]
    return model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 4])], weights)


def unsupported() -> bytes:
    nodes = [node("NoSuchOperator", ["x"], ["m"], "bad/one"), node("AlsoMissing", ["m"], ["y"], "bad/two")]
    return model(nodes, [value("x", [1])], [value("y", [1])])


def many_unsupported(count: int = 70) -> bytes:
    """More than an error message shows."""
    nodes = [node("NoSuchOperator", ["x"], [f"y{i}"], f"bad/{i}") for i in range(count)]
    return model(nodes, [value("x", [1])], [value(f"y{i}", [1]) for i in range(count)])


def many_malformed(count: int = 70) -> bytes:
    nodes = [node("Softmax", ["x"], [f"y{i}"], f"bad/{i}", [attribute_int("axis", 7)]) for i in range(count)]
    return model(nodes, [value("x", [1])], [value(f"y{i}", [1]) for i in range(count)])


def malformed() -> bytes:
    """Operators that exist, on an axis that does not; and one that does not."""
    axis = [attribute_int("axis", 7)]
    nodes = [
        node("Softmax", ["x"], ["a"], "bad/softmax", axis),
        node("Relu", ["a"], ["b"], "good/relu"),
        node("Flatten", ["x"], ["y"], "bad/flatten", axis),
        node("NoSuchOperator", ["b"], ["z"], "bad/one"),
    ]
    return model(nodes, [value("x", [1])], [value("y", [1]), value("z", [1])])
