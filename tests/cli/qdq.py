"""calibrate --qdq: what the exported model has, what stays as it was, and what is refused."""

from __future__ import annotations

import json
import struct

import tiny_onnx
from calibration import KERNEL, calibrate, flat, network, samples, write_data
from program import MODEL, USAGE, Program, read_npy, write_npy


def fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a protobuf message in their order: numbers, or the bytes of strings and messages."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            found.append((tag >> 3, varint()))
            continue
        size = {1: 8, 5: 4}.get(tag & 7) or varint()
        found.append((tag >> 3, message[at : at + size]))
        at += size
    return found


def every(message: bytes, number: int) -> list:
    return [content for field, content in fields(message) if field == number]


def graph_of(hussar: Program, name: str = "q.onnx") -> bytes:
    return every((hussar.folder / name).read_bytes(), 7)[0]


def nodes(graph: bytes) -> list[tuple[str, list[str], list[str]]]:
    """Operator, inputs and outputs of every node."""
    return [
        (every(node, 4)[0].decode(), [name.decode() for name in every(node, 1)], [name.decode() for name in every(node, 2)])
        for node in every(graph, 1)
    ]


def initializers(graph: bytes) -> dict[str, bytes]:
    return {every(tensor, 8)[0].decode(): tensor for tensor in every(graph, 5)}


def export(hussar: Program, *flags, model: str = "net.onnx", **expected):
    if not (hussar.folder / "x.npy").exists():
        write_data(hussar, samples(16))
    return hussar("calibrate", model, "--calib", "x.npy", "-o", "c.json", "--qdq", "q.onnx", *flags, **expected)


def test_qdq_quantizes_products_and_nothing_else(hussar: Program) -> None:
    unknown = tiny_onnx.block(100, b"from later") + tiny_onnx.block(14, tiny_onnx.block(1, "key") + tiny_onnx.block(2, "text"))
    hussar.model("net", network() + unknown)
    report = export(hussar, "--json").json["qdq"]
    assert report["quantized"] == 2 and report["inputs"] == 2 and report["left_out"] == [], report
    model = (hussar.folder / "q.onnx").read_bytes()
    assert model.endswith(unknown) and report["bytes"] == len(model)
    graph, before = graph_of(hussar), graph_of(hussar, "net.onnx")
    expected = ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv", "Relu"]
    assert [op for op, _, _ in nodes(graph)] == [*expected, "Mul", *expected[:4]], nodes(graph)
    assert nodes(graph)[5] == ("Mul", ["b", "b_factors"], ["b_divided"]), "divided per channel, as hussar does"
    assert every(graph, 11) == every(before, 11) and every(graph, 12) == every(before, 12)
    assert every(before, 1)[1] in every(graph, 1), "the Relu is the same byte for byte"
    quantize, dequantize, _, conv = nodes(graph)[:4]
    assert quantize[1][0] == "x" and dequantize[1][0] == quantize[2][0] and conv[1][0] == dequantize[2][0], nodes(graph)
    assert conv[2] == ["a"] and nodes(graph)[4] == ("Relu", ["a"], ["b"]), nodes(graph)
    tensors = initializers(graph)
    assert not {"w", "v"} & set(tensors), "FP32 weights that nobody reads are gone"
    assert every(tensors["w_quantized"], 1) == [4, 3, 3, 3] and every(tensors["w_quantized"], 2) == [3]
    steps = [int.from_bytes(bytes([byte]), "little", signed=True) for byte in every(tensors["w_quantized"], 9)[0]]
    assert steps == [round(127 * value / 0.3) for value in KERNEL], steps


def test_qdq_is_the_same_network(hussar: Program) -> None:
    """hussar builds from the exported model what it builds from the calibration."""
    hussar.model("net", network())
    rows = samples(16)
    export(hussar)
    write_npy(hussar.folder / "one.npy", [1, 3, 8, 8], rows[0])
    flags = ("--shapes", "x:1x3x8x8", "--budget", "0", "--json")
    own = hussar("build", "net.onnx", "-o", "own.plan", "--int8", "--calib-cache", "c.json", *flags).json
    imported = hussar("build", "q.onnx", "-o", "q.plan", *flags).json
    assert imported["int8"]["quantized_in_model"] == own["precision_counts"]["int8"] == 2, (own, imported)
    outputs = []
    for plan in ("own.plan", "q.plan"):
        hussar("run", plan, "--input", "x=one.npy", "-o", plan + "_out")
        outputs.append(read_npy(hussar.folder / (plan + "_out") / "y.npy"))
    assert outputs[0] == outputs[1]


def test_qdq_from_a_calibration_without_data(hussar: Program) -> None:
    hussar.model("net", network())
    export(hussar)
    first = (hussar.folder / "q.onnx").read_bytes()
    out = hussar("calibrate", "net.onnx", "--calib", "c.json", "-o", "d.json", "--qdq", "again.onnx").out
    assert "again.onnx: 0.0 MB, 2 of 2 products quantized, 2 inputs in uint8" in out, out
    assert (hussar.folder / "again.onnx").read_bytes() == first


def test_qdq_keeps_nodes_in_fp32(hussar: Program) -> None:
    hussar.model("net", network())
    (hussar.folder / "advice.txt").write_text("# why\nsecond=fp32  # because\n")
    report = export(hussar, "--precision", "@advice.txt", "--json").json["qdq"]
    assert report["quantized"] == 1 and report["left_out"] == [{"node": "second", "reason": "asked for"}], report
    graph = graph_of(hussar)
    assert nodes(graph)[-1] == ("Conv", ["b", "v"], ["y"]) and "v" in initializers(graph)
    says = "'third', which is no node of the model"
    export(hussar, "--precision", "third=fp32", code=USAGE, says=says)
    export(hussar, "--precision", "second=fp16", code=USAGE, says="NODE=fp32")
    export(hussar, "--precision", "first=fp32", "--precision", "y=fp32", code=USAGE, says="no product can be quantized; 'first'")


def test_qdq_with_signed_activations(hussar: Program) -> None:
    hussar.model("net", network())
    export(hussar, "--qdq-activations", "int8")
    data = hussar("calibrate", "net.onnx", "--calib", "c.json", "-o", "c.json", "--json").json
    ranges = {entry["name"]: entry for entry in data["tensors"]}
    tensors = initializers(graph_of(hussar))
    ranges["b_divided"] = json.loads((hussar.folder / "c.json").read_text())["smoothings"]["b"]
    for name in ("x", "b_divided"):
        assert every(tensors[f"{name}_zero_point"], 2) == [3] and every(tensors[f"{name}_zero_point"], 9) == [b"\0"]
        wanted = max(-ranges[name]["low"], ranges[name]["high"]) / 127
        assert abs(struct.unpack("<f", every(tensors[f"{name}_scale"], 9)[0])[0] / wanted - 1) < 1e-5
    export(hussar, "--qdq-activations", "int4", code=USAGE, says="takes uint8 or int8")
    flags = ("--calib", "c.json", "-o", "c.json", "--qdq-activations", "int8")
    hussar("calibrate", "net.onnx", *flags, code=USAGE, says="go with --qdq")


def shared() -> bytes:
    """Two products of the same tensor and the same weights, which an Add reads too; one behind a Transpose."""
    parts = [
        tiny_onnx.node("MatMul", ["x", "w"], ["l"], "left"),
        tiny_onnx.node("MatMul", ["x", "w"], ["r"], "right"),
        tiny_onnx.node("Transpose", ["t"], ["turned"], "turn"),
        tiny_onnx.node("MatMul", ["x", "turned"], ["m"], "middle"),
        tiny_onnx.node("Add", ["l", "w"], ["a"], "add"),
        tiny_onnx.node("Add", ["a", "r"], ["b"], "add2"),
        tiny_onnx.node("Add", ["b", "m"], ["y"], "add3"),
    ]
    square = [0.25 * (i % 5 - 2) for i in range(16)]
    weights = [tiny_onnx.tensor("w", [4, 4], square), tiny_onnx.tensor("t", [4, 4], square)]
    return tiny_onnx.model(parts, [tiny_onnx.value("x", [4, 4])], [tiny_onnx.value("y", [4, 4])], weights)


def test_qdq_shares_what_is_read_twice(hussar: Program) -> None:
    hussar.model("net", shared())
    write_npy(hussar.folder / "x.npy", [32, 4], flat(samples(8, 16)))
    report = export(hussar, "--min-samples", "1", "--json").json["qdq"]
    assert report["quantized"] == 3 and report["inputs"] == 1, report
    graph = graph_of(hussar)
    ops = [op for op, _, _ in nodes(graph)]
    assert ops.count("QuantizeLinear") == 1 and ops.count("DequantizeLinear") == 3, ops
    assert "Transpose" not in ops and "w" in initializers(graph) and "t" not in initializers(graph), ops


def test_qdq_raises_an_old_opset_where_that_is_safe(hussar: Program) -> None:
    def old(*more: bytes, opset: int = 11) -> bytes:
        parts = [tiny_onnx.node("MatMul", ["x", "w"], ["m"], "product"), *more]
        weights = [tiny_onnx.tensor("w", [192, 4], [0.25 * (i % 5 - 2) for i in range(768)])]
        y = "y" if more else "m"
        return tiny_onnx.model(parts, [tiny_onnx.value("x", ["n", 192])], [tiny_onnx.value(y, ["n", 4])], weights, opset)

    write_npy(hussar.folder / "x.npy", [16, 192], flat(samples(16)))
    for opset in (11, 12):
        hussar.model("net", old(opset=opset))
        assert export(hussar, "--json").json["qdq"]["opset"] == 13
        model = (hussar.folder / "q.onnx").read_bytes()
        assert every(every(model, 8)[0], 2) == [13] and every(model, 1) == [8], fields(model)
    last = [tiny_onnx.attribute_int("axis", -1)]
    hussar.model("net", old(tiny_onnx.node("Softmax", ["m"], ["y"], "soft", last)))
    assert export(hussar, "--json").json["qdq"]["opset"] == 13
    hussar.model("net", old(tiny_onnx.node("Softmax", ["m"], ["y"], "soft")))
    export(hussar, code=USAGE, says="the model has 11, and node 'soft' (Softmax) is written another way there")
    hussar.model("net", old(opset=9))
    export(hussar, code=USAGE, says="need ONNX opset 13, the model has 9; export it with opset 13 or newer")
    export(hussar, "--json", model="gone.onnx", code=1, says="gone.onnx")


def test_qdq_refuses(hussar: Program) -> None:
    hussar.model("net", network())
    calibrate(hussar, write_data(hussar, samples(16)))
    (hussar.folder / "q.onnx").unlink(missing_ok=True)
    flags = ("--calib", "c.json", "-o", "c.json", "--qdq")
    hussar("calibrate", "net.onnx", *flags, "no/such/q.onnx", code=1, says="cannot create a file beside 'no/such/q.onnx'")
    hussar("calibrate", "net.onnx", *flags, "./net.onnx", code=USAGE, says="is the model itself")
    hussar("calibrate", "net.onnx", *flags, ".", code=USAGE, says="is a folder")
    hussar("calibrate", "net.onnx", *flags, "q.onnx", "--shapes", "z:1x3x8x8", code=USAGE, says="--shapes names 'z'")
    hussar.model("net", network(side=9))
    hussar("calibrate", "net.onnx", *flags, "q.onnx", code=USAGE, says="is of another model")
    hussar.model("net", network())
    hussar("calibrate", "net.onnx", *flags, "q.onnx")
    hussar("calibrate", "q.onnx", *flags, "r.onnx", code=USAGE, says="the model is quantized already (node 'x_QuantizeLinear'")
    hussar.model("net", tiny_onnx.chain())
    write_npy(hussar.folder / "x.npy", [16, 4], flat(samples(16, 4)))
    export(hussar, code=USAGE, says="its main graph has no Conv, MatMul or Gemm with constant FP32 weights")
    hussar.model("net", tiny_onnx.unsupported())
    export(hussar, code=MODEL, says="NoSuchOperator")
    assert "r.onnx" not in hussar.files() and not [name for name in hussar.files() if name.startswith("q.onnx.")]
