"""prune: what is listed, what the pruned model has, and what is refused."""

from __future__ import annotations

import random
import struct

import tiny_onnx
from calibration import flat, samples
from program import ACCURACY, FAILED, MODEL, USAGE, Program, read_npy, write_npy
from qdq import every, graph_of, initializers, nodes


def numbers(count: int, seed: int, scale: float = 0.1) -> list[float]:
    source = random.Random(seed)
    return [source.gauss(0, scale) for _ in range(count)]


def network(middle: list[float] | None = None, batch: int | str = "batch", out: int = 64) -> bytes:
    """Three 1 x 1 convolutions over float [batch, 4, 4, 4]; the one in the middle has 64 x `out` weights."""
    layers = [
        tiny_onnx.node("Conv", ["x", "w1"], ["a"], "first"),
        tiny_onnx.node("Relu", ["a"], ["b"], "relu"),
        tiny_onnx.node("Conv", ["b", "w2", "b2"], ["c"], "middle"),
        tiny_onnx.node("Relu", ["c"], ["d"], "relu2"),
        tiny_onnx.node("Conv", ["d", "w3"], ["y"], "last"),
    ]
    weights = [
        tiny_onnx.tensor("w1", [64, 4, 1, 1], numbers(256, 1, 0.5)),
        tiny_onnx.tensor("w2", [out, 64, 1, 1], middle or numbers(64 * out, 2)),
        tiny_onnx.tensor("b2", [out], numbers(out, 3)),
        tiny_onnx.tensor("w3", [8, out, 1, 1], numbers(8 * out, 4)),
    ]
    outputs = [tiny_onnx.value("y", [batch, 8, 4, 4])]
    return tiny_onnx.model(layers, [tiny_onnx.value("x", [batch, 4, 4, 4])], outputs, weights)


def write_samples(hussar: Program, count: int = 40, name: str = "x.npy") -> str:
    write_npy(hussar.folder / name, [count, 4, 4, 4], flat(samples(count, 64)))
    return name


def floats(hussar: Program, name: str, file: str = "p.onnx") -> list[float]:
    raw = every(initializers(graph_of(hussar, file))[name], 9)[0]
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def masks(weights: list[float], rows: int) -> list[tuple]:
    """By row, which weights are kept."""
    size = len(weights) // rows
    return [tuple(weight != 0 for weight in weights[row * size : (row + 1) * size]) for row in range(rows)]


def test_prune_dry_run(hussar: Program) -> None:
    hussar.model("net", network())
    listed = hussar("prune", "net.onnx", "--dry-run", "--json").json
    layers = {layer["node"]: layer for layer in listed["layers"]}
    assert layers["first"]["reason"] == "first product" and layers["last"]["reason"] == "last product", layers
    assert [layers[name]["code"] for name in ("first", "middle", "last")] == ["first", None, "last"], layers
    middle = layers["middle"]
    assert middle["eligible"] and (middle["k"], middle["n"], middle["op"]) == (64, 64, "Conv"), middle
    assert abs(middle["flops_part"] - 64 / (64 + 4 + 8)) < 0.05, middle
    out = hussar("prune", "net.onnx", "--dry-run", "--pattern", "2:4x64").out
    assert "1 of 3 products can be pruned to 2:4x64" in out, out
    assert hussar.files() == {"net.onnx"}


def test_prune_dry_run_gains(hussar: Program) -> None:
    hussar.model("net", network(out=96))
    flags = ("prune", "net.onnx", "--dry-run", "--pattern", "2:4x64", "--shapes", "x:1x4x4x4", "--budget", "0")
    listed = hussar(*flags, "--json").json
    for gains in ("gains", "gains_int8"):
        region = next(region for region in listed[gains]["regions"] if region["name"].startswith("middle"))
        assert region["dense_us"] > 0 and region["sparse_us"] > 0 and region["code"], (gains, region)
    chosen = {gains: listed[gains]["regions"][0]["chosen"] for gains in ("gains", "gains_int8")}
    assert "int8" in chosen["gains_int8"] and "int8" not in chosen["gains"], chosen
    middle = next(layer for layer in listed["layers"] if layer["node"] == "middle")
    assert "96 output channels are no multiple of 64: the last 32" in middle["notes"][0], middle
    out = hussar(*flags).out
    assert "machine, FP32" in out and "machine, INT8" in out and "no multiple of 64" in out, out
    per_row = hussar("prune", "net.onnx", "--dry-run", "--budget", "0").out
    assert "INT8: no kernel for sparse weights" in per_row and "no multiple of" not in per_row, per_row


def test_prune_without_data(hussar: Program) -> None:
    unknown = tiny_onnx.block(100, b"from later")
    hussar.model("net", network() + unknown)
    report = hussar("prune", "net.onnx", "-o", "p.onnx", "--json").json
    assert report["method"] == "magnitude" and report["output_error"] is None, report
    model = (hussar.folder / "p.onnx").read_bytes()
    assert model.endswith(unknown) and report["bytes"] == len(model)
    graph, before = graph_of(hussar, "p.onnx"), graph_of(hussar, "net.onnx")
    assert nodes(graph) == nodes(before) and list(initializers(graph)) == list(initializers(before))
    dense, sparse = floats(hussar, "w2", "net.onnx"), floats(hussar, "w2")
    for group in range(0, len(dense), 4):
        four = dense[group : group + 4]
        kept = sorted(range(4), key=lambda i: -abs(four[i]))[:2]
        wanted = [value if i in kept else 0.0 for i, value in enumerate(four)]
        assert sparse[group : group + 4] == wanted, (four, sparse[group : group + 4])
    assert floats(hussar, "w1") == floats(hussar, "w1", "net.onnx")


def test_prune_with_data(hussar: Program) -> None:
    hussar.model("net", network())
    flags = ("--data", write_samples(hussar), "--pattern", "2:4x16", "--json")
    report = hussar("prune", "net.onnx", "-o", "p.onnx", *flags).json
    middle = next(layer for layer in report["layers"] if layer["node"] == "middle")
    assert report["samples"] == 35 and report["held_out"] == 5 and middle["rows"] == 35 * 16, report
    assert 0 < middle["error"] <= middle["error_before_refit"] and middle["corrects_bias"], middle
    assert "40 samples are few" in report["warnings"][0], report
    rows = masks(floats(hussar, "w2"), 64)
    assert all(row == rows[index // 16 * 16] for index, row in enumerate(rows)), "16 channels share a mask"
    assert len(set(rows)) == 4 and all(sum(row) == 32 for row in rows)
    kept = hussar("prune", "net.onnx", "-o", "k.onnx", *flags, "--method", "magnitude", "--keep-weights").json
    assert report["output_error"] < 0.8 * kept["output_error"], (report, kept)
    # The same network but for the weights: it builds and runs.
    hussar("build", "p.onnx", "-o", "p.plan", "--budget", "0")
    write_npy(hussar.folder / "one.npy", [1, 4, 4, 4], samples(1, 64)[0])
    hussar("run", "p.plan", "--input", "x=one.npy", "-o", "out")
    assert read_npy(hussar.folder / "out/y.npy")[0] == (1, 8, 4, 4)


def test_prune_within_a_budget(hussar: Program) -> None:
    hussar.model("net", network())
    flags = ("--data", write_samples(hussar), "--max-error")
    out = hussar("prune", "net.onnx", "-o", "p.onnx", *flags, "100%", "--step", "50%").out
    assert "1 products: outputs differ by" in out and "1 of 3 products pruned to 2:4 by sparsegpt" in out, out
    hussar("prune", "net.onnx", "-o", "q.onnx", *flags, "0.000001", code=ACCURACY, says="the budget is used up")
    assert "q.onnx" not in hussar.files()


def test_prune_refuses(hussar: Program) -> None:
    hussar.model("net", network())
    data = ("--data", write_samples(hussar))
    prune = ("prune", "net.onnx", "-o", "p.onnx")
    hussar("prune", "net.onnx", code=USAGE, says="-o PRUNED.onnx is needed, or --dry-run")
    hussar(*prune, "--pattern", "2:5", code=USAGE, says="2:5")
    hussar(*prune, "--method", "wanda", code=USAGE, says="the method wanda needs data (--data DATA)")
    hussar(*prune, "--max-error", "1%", code=USAGE, says="a budget needs data")
    hussar(*prune, *data, "--max-error", "much", code=USAGE, says="--max-error takes a part such as 10% or 0.1")
    hussar(*prune, *data, "--step", "10%", code=USAGE, says="--step goes with --max-error")
    hussar(*prune, "--skip", "middle", code=USAGE, says="no product can be pruned; 'first': first product")
    hussar(*prune, "--layers", "nobody", code=USAGE, says="--layers names 'nobody', which is no Conv")
    hussar(*prune, "--data", write_samples(hussar, 7, "few.npy"), code=USAGE, says="7 samples are too few to prune with")
    hussar(*prune, "--data", "gone.npy", code=FAILED, says="gone.npy")
    hussar("prune", "net.onnx", "-o", "./net.onnx", code=USAGE, says="is the model itself")
    hussar("prune", "net.onnx", "-o", "no/such/p.onnx", code=FAILED, says="cannot create a file beside 'no/such/p.onnx'")
    hussar("prune", "gone.onnx", "-o", "p.onnx", code=FAILED, says="gone.onnx")
    write_npy(hussar.folder / "wide.npy", [40, 4, 5, 5], flat(samples(40, 100)))
    hussar(*prune, "--data", "wide.npy", code=USAGE, says="'x' has shape 40x4x5x5")
    hussar("calibrate", "net.onnx", "--calib", "x.npy", "-o", "c.json", "--qdq", "q.onnx")
    hussar("prune", "q.onnx", "-o", "p.onnx", code=USAGE, says="the model is quantized already")
    hussar.model("net", network([float("nan"), *numbers(64 * 64 - 1, 2)]))
    hussar(*prune, code=USAGE, says="no product can be pruned")
    assert "NaN" in hussar("prune", "net.onnx", "--dry-run").out
    hussar.model("net", tiny_onnx.chain())
    hussar(*prune, code=USAGE, says="its main graph has no Conv, MatMul or Gemm")
    hussar.model("net", tiny_onnx.unsupported())
    hussar(*prune, code=MODEL, says="NoSuchOperator")
    assert not [name for name in hussar.files() if name.startswith("p.onnx")], hussar.files()


def classifier() -> bytes:
    """Four products over float [batch, 64]; the last gives ten classes."""
    sizes = [64, 64, 128, 64, 10]
    layers, weights, value = [], [], "x"
    for index, (k, n) in enumerate(zip(sizes, sizes[1:])):
        last = index == 3
        layers.append(tiny_onnx.node("MatMul", [value, f"w{index}"], ["y" if last else f"a{index}"], f"product{index}"))
        if not last:
            layers.append(tiny_onnx.node("Relu", [f"a{index}"], [f"b{index}"], f"relu{index}"))
        weights.append(tiny_onnx.tensor(f"w{index}", [k, n], numbers(k * n, 20 + index, 0.2)))
        value = f"b{index}"
    return tiny_onnx.model(layers, [tiny_onnx.value("x", ["batch", 64])], [tiny_onnx.value("y", ["batch", 10])], weights)


def test_prune_labels(hussar: Program) -> None:
    count = 640
    hussar.model("net", classifier())
    write_npy(hussar.folder / "x.npy", [count, 64], numbers(count * 64, 9, 1.0))
    hussar("run", "net.onnx", "--input", "x=x.npy", "-o", "out")
    outputs = read_npy(hussar.folder / "out/y.npy")[1]
    classes = [max(range(10), key=outputs[row * 10 : row * 10 + 10].__getitem__) for row in range(count)]
    write_npy(hussar.folder / "y.npy", [count], classes, "<i8")
    flags = ("prune", "net.onnx", "-o", "p.onnx", "--data", "x.npy", "--pattern", "2:4x64")
    report = hussar(*flags, "--labels", "y.npy", "--json").json
    assert report["top1_dense"] == 1 and 0.2 < report["top1"] < 1 and report["stages"] == [], report
    out = hussar(*flags, "--labels", "y.npy").out
    assert "top-1 on them: 100.00 % dense" in out, out
    drop = 0.9 * (1 - report["top1"])
    budget = ("--labels", "y.npy", "--max-drop", f"{drop:.4f}", "--step", "50%")
    stages = hussar(*flags, *budget, "--json").json["stages"]
    assert [stage["within_budget"] for stage in stages] == [True, False], stages
    assert 1 - stages[0]["top1"] <= drop < 1 - stages[1]["top1"], stages
    out = hussar(*flags, *budget).out
    assert "top-1" in out and "of 100.00 %, more than the budget" in out, out
    assert hussar(*flags, "--json").json["top1"] is None
    hussar(*flags, "--max-drop", "1%", code=USAGE, says="--labels")
    hussar("prune", "net.onnx", "-o", "q.onnx", "--labels", "y.npy", code=USAGE, says="--data")
    write_npy(hussar.folder / "y.npy", [count - 1], classes[1:], "<i8")
    hussar(*flags, "--labels", "y.npy", code=USAGE, says="639 labels for 640 samples")
