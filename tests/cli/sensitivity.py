"""Which layer hurts: compare --layers, calibrate --sensitivity, its advice, and --precision @FILE."""

from __future__ import annotations

import random

import tiny_onnx
from calibration import samples, write_data
from program import FAILED, USAGE, Program, read_npy, write_npy

BAD = "third"


def planted() -> bytes:
    """Four 1 x 1 convolutions over float [batch, 3, 8, 8], then ten classes. What `third` reads has a channel that is 40
    times as large as the others and hardly counts, so that bytes have few steps left for what does count. Between products it
    would be divided; behind a pooling it is not."""
    numbers = random.Random(5)
    nodes, weights = [], []

    def convolution(name: str, x: str, y: str, shape: list[int], factor=lambda filter, channel: 1.0) -> None:
        out, channels = shape[:2]
        values = [factor(n, c) * numbers.gauss(0, 1) / channels**0.5 for n in range(out) for c in range(channels)]
        weights.append(tiny_onnx.tensor(f"w_{name}", shape, values))
        nodes.append(tiny_onnx.node("Conv", [x, f"w_{name}"], [y], name))

    convolution("first", "x", "a", [8, 3, 1, 1])
    convolution("second", "a", "b", [8, 8, 1, 1], lambda n, c: 40.0 if n == 5 else 1.0)
    kernel = tiny_onnx.attribute_ints("kernel_shape", [1, 1])
    nodes.append(tiny_onnx.node("MaxPool", ["b"], ["pooled_b"], "pool_b", [kernel]))
    convolution("third", "pooled_b", "c", [8, 8, 1, 1], lambda n, c: 1e-4 if c == 5 else 1.0)
    convolution("fourth", "c", "d", [10, 8, 1, 1])
    nodes.append(tiny_onnx.node("GlobalAveragePool", ["d"], ["pooled"], "pool"))
    nodes.append(tiny_onnx.node("Flatten", ["pooled"], ["y"], "flatten"))
    inputs = [tiny_onnx.value("x", ["batch", 3, 8, 8])]
    return tiny_onnx.model(nodes, inputs, [tiny_onnx.value("y", ["batch", 10])], weights)


def prepare(hussar: Program, count: int = 16) -> None:
    hussar.model("net", planted())
    write_data(hussar, samples(count))


def sensitivity(hussar: Program, *flags, **expected):
    words = ("calibrate", "net.onnx", "--calib", "x.npy", "-o", "c.json", "--sensitivity", "--budget", "0")
    return hussar(*words, *flags, **expected)


def precisions(hussar: Program, plan: str) -> dict[str, str]:
    return {entry["name"].split("+")[0]: entry["precision"] for entry in hussar("inspect", plan, "--json").json["regions"]}


def test_compare_ranks_layers(hussar: Program) -> None:
    prepare(hussar)
    shapes = ("--shapes", "x:1x3x8x8")
    words = ("build", "net.onnx", *shapes, "--budget", "0")
    hussar(*words, "-o", "float.plan")
    hussar(*words, "-o", "int8.plan", "--int8", "--calib", "x.npy", "--calib-cache", "c.json")
    words = ("--layers", "--tolerance", "10")
    for reference in ("net.onnx", "float.plan"):
        ranking = hussar("compare", reference, "int8.plan", *words, "--json").json["comparisons"][0]["ranking"]
        layers = ranking["layers"]
        assert layers[0]["node"] == BAD, layers
        own = [layer["own_sqnr_db"] for layer in layers if layer["own_sqnr_db"] is not None]
        assert own == sorted(own) and own[0] < own[1] - 6, layers
        assert {layer["precision"] for layer in layers} >= {"int8", "float32"}, layers
        # What comes after it suffers, but not by itself.
        fourth = next(layer for layer in layers if layer["node"] == "fourth")
        assert fourth["sqnr_in_db"] < fourth["own_sqnr_db"] - 6, layers
    text = hussar("compare", "net.onnx", "int8.plan", *words).out
    assert "SQNR in" in text and "worst first" in text, text
    # A model can stand on either side.
    hussar("compare", "int8.plan", "net.onnx", *words)


def test_compare_layers_says_what_was_fused(hussar: Program) -> None:
    plan = hussar.plan()
    data = hussar("compare", "chain.onnx", plan, "--layers", "--json").json["comparisons"][0]["ranking"]
    assert data["fused_away"] >= 1 and data["layers"][-1]["node"], data
    assert "fused away" in hussar("compare", "chain.onnx", plan, "--layers").out


def test_sensitivity_finds_the_planted_layer(hussar: Program) -> None:
    prepare(hussar)
    data = sensitivity(hussar, "--json").json["sensitivity"]
    products = data["products"]
    assert len(products) == 4 and products[0]["node"] == BAD, products
    worst = products[0]
    # Its weights are harmless; its input is not.
    assert worst["activations_sqnr_db"] < worst["weights_sqnr_db"] - 6, worst
    assert worst["sqnr_db"] < products[1]["sqnr_db"] - 6 and worst["gained_ms"] is None, products
    assert data["samples"] == 16 and data["rows"] == 16 and data["top1_fp32"] is None, data
    assert abs(data["all_int8"]["sqnr_db"] - worst["sqnr_db"]) < 6, data
    text = sensitivity(hussar).out
    assert "ms gained" in text and text.index(BAD, text.index("SQNR of the outputs")) < text.index("fourth", text.index("SQNR of the outputs"))


def test_sensitivity_measures_times(hussar: Program) -> None:
    prepare(hussar)
    words = ("calibrate", "net.onnx", "--calib", "x.npy", "-o", "c.json", "--sensitivity", "--budget", "1s", "--json")
    products = hussar(*words, "--sensitivity-samples", "4").json["sensitivity"]["products"]
    assert all(entry["fp32_ms"] > 0 and entry["int8_ms"] > 0 for entry in products), products


def test_advice_is_applied(hussar: Program) -> None:
    prepare(hussar)
    reachable = sensitivity(hussar, "--json").json["sensitivity"]["products"][1]["sqnr_db"] - 8
    data = sensitivity(hussar, "--advice", "fp32.txt", "--advice-sqnr", str(reachable), "--json").json["sensitivity"]
    assert data["advice"] == [BAD] and data["advised"]["sqnr_db"] >= reachable, data
    text = (hussar.folder / "fp32.txt").read_text()
    assert f"\n{BAD}=fp32\n" in text and "Alone in INT8" in text, text
    words = ("build", "net.onnx", "-o", "net.plan", "--shapes", "x:1x3x8x8", "--int8", "--calib-cache", "c.json")
    hussar(*words, "--budget", "0", "--precision", "@fp32.txt")
    kept = precisions(hussar, "net.plan")
    assert kept[BAD] == "float32" and kept["first"] == "int8" and kept["fourth"] == "int8", kept
    # Nothing needs to stay where little is asked for.
    data = sensitivity(hussar, "--advice", "none.txt", "--advice-sqnr", "-20", "--json").json["sensitivity"]
    assert data["advice"] == [] and "=fp32\n" not in (hussar.folder / "none.txt").read_text(), data
    hussar(*words, "--budget", "0", "--precision", "@none.txt")


def test_sensitivity_with_labels(hussar: Program) -> None:
    prepare(hussar)
    hussar("run", "net.onnx", "-i", "x=x.npy", "-o", "out")
    scores = read_npy(hussar.folder / "out/y.npy")[1]
    rows = [scores[10 * i : 10 * i + 10] for i in range(16)]
    labels = [(row.index(max(row)) + (i % 4 == 3)) % 10 for i, row in enumerate(rows)]
    write_npy(hussar.folder / "y.npy", [16], labels, "<i8")
    data = sensitivity(hussar, "--labels", "y.npy", "--json").json["sensitivity"]
    assert data["top1_fp32"] == 0.75 and all(entry["lost"] >= 0 for entry in data["products"]), data
    assert "top-1" in sensitivity(hussar, "--labels", "y.npy").out
    few = sensitivity(hussar, "--labels", "y.npy", "--sensitivity-samples", "5", "--json").json["sensitivity"]
    assert few["samples"] == 5, few


def test_sensitivity_refuses(hussar: Program) -> None:
    prepare(hussar)
    write_npy(hussar.folder / "few.npy", [3], [0, 1, 2], "<i8")
    write_npy(hussar.folder / "real.npy", [16], [0.0] * 16)
    write_npy(hussar.folder / "matrix.npy", [8, 2], [0] * 16, "<i8")
    write_npy(hussar.folder / "large.npy", [16], [10] * 16, "<i8")
    sensitivity(hussar, "--labels", "few.npy", code=USAGE, says="3 labels, there are 16 samples")
    sensitivity(hussar, "--labels", "real.npy", code=USAGE, says="labels are integers")
    sensitivity(hussar, "--labels", "matrix.npy", code=USAGE, says="one label per sample")
    sensitivity(hussar, "--labels", "large.npy", code=USAGE, says="label 10 is no class")
    sensitivity(hussar, "--labels", "missing.npy", code=FAILED, says="missing.npy")
    sensitivity(hussar, "--sensitivity-samples", "0", code=USAGE, says="1 or more")
    sensitivity(hussar, "--advice", "no/such/folder", code=FAILED, says="no/such/folder")
    hussar("calibrate", "net.onnx", "--calib", "x.npy", "-o", "c.json")
    hussar("calibrate", "net.onnx", "--calib", "c.json", "-o", "d.json", "--sensitivity", code=USAGE, says="must be data")
    hussar("calibrate", "net.onnx", "--calib", "x.npy", "-o", "c.json", "--advice", "a.txt", code=USAGE,
           says="goes with --sensitivity")  # fmt: skip
    # Nothing to quantize.
    write_npy(hussar.folder / "rows.npy", [16, 4], [0.25 * (i % 7) for i in range(64)])
    hussar("calibrate", hussar.model(), "--calib", "rows.npy", "-o", "e.json", "--sensitivity", code=USAGE,
           says="nothing to be sensitive")  # fmt: skip


def test_precision_file(hussar: Program) -> None:
    prepare(hussar)
    hussar("calibrate", "net.onnx", "--calib", "x.npy", "-o", "c.json")
    build = ("build", "net.onnx", "-o", "net.plan", "--shapes", "x:1x3x8x8", "--budget", "0")
    words = (*build, "--int8", "--calib-cache", "c.json", "--precision")
    file = hussar.folder / "nodes.txt"
    file.write_text("# kept\r\n\n  second=fp32   # it is =fp32 by hand\nfourth=fp32\n")
    hussar(*words, "@nodes.txt", "--precision", "first=fp32")
    kept = precisions(hussar, "net.plan")
    assert [kept[name] for name in ("first", "second", "third", "fourth")] == ["float32", "float32", "int8", "float32"]
    file.write_text("second=fp32\nnobody=fp32\n")
    hussar(*words, "@nodes.txt", code=USAGE, says="nobody")
    file.write_text("# one\nsecond=int4\n")
    hussar(*words, "@nodes.txt", code=USAGE, says="'nodes.txt', line 2")
    file.write_bytes(bytes(range(256)))
    hussar(*words, "@nodes.txt", code=USAGE, says="NODE=fp32")
    hussar(*words, "@missing.txt", code=FAILED, says="missing.txt")
    hussar(*words, "@", code=FAILED)
    file.write_text("second=fp32\n")
    hussar(*build, "--precision", "@nodes.txt", code=USAGE, says="goes with --fp16, --bf16, --tf32, --int8 or --fp8")
    hussar(*build, "--fp16", "--precision", "@nodes.txt")
