"""2:4 weights in plans: what is chosen, what inspect says of it, and --sparsity off."""

from __future__ import annotations

import sys

import tiny_onnx
from program import USAGE, Program, write_npy
from prune import network, numbers


def regions(hussar: Program, plan: str) -> dict[str, dict]:
    found = hussar("inspect", plan, "--json").json["sparsity"]["regions"]
    return {region["name"]: region for region in found}


def middle(found: dict[str, dict]) -> dict:
    return next(region for name, region in found.items() if name.startswith("middle"))


def test_sparse_weights_in_plans(hussar: Program) -> None:
    hussar.model("net", network())
    hussar("prune", "net.onnx", "-o", "p.onnx", "--pattern", "2:4x64")
    build = ("build", "p.onnx", "-o", "p.plan", "--shapes", "x:1x4x4x4", "--target", "cpu:avx2", "--budget", "0")
    hussar(*build)
    region = middle(regions(hussar, "p.plan"))
    assert region["chosen"].startswith("conv_sparse") and region["is_sparse"] and region["bytes_saved"] > 7000, region
    assert region["reason"] == "predicted to be faster" and region["sparse_us"] < region["dense_us"], region
    assert region["code"] == "sparse", region
    out = hussar("inspect", "p.plan").out
    assert "2:4 weights" in out and "conv_sparse" in out and "weights are not 2:4" in out, out
    hussar("compare", "p.onnx", "p.plan")
    # To another machine's kernels and back: the packed weights are unpacked.
    hussar("build", "p.plan", "-o", "q.plan", "--target", "cpu:scalar", "--budget", "0")
    hussar("compare", "p.onnx", "q.plan")

    hussar(*build, "--sparsity", "off")
    off = middle(regions(hussar, "p.plan"))
    assert not off["is_sparse"] and off["reason"] == "--sparsity off" and off["code"] == "switched_off", off
    hussar("build", "p.onnx", "-o", "p.plan", "--sparsity", "maybe", code=USAGE, says="--sparsity")


def test_sparse_weights_in_fp16(hussar: Program) -> None:
    hussar.model("net", network())
    hussar("prune", "net.onnx", "-o", "p.onnx", "--pattern", "2:4x64")
    words = ("-o", "p.plan", "--fp16", "--shapes", "x:1x4x4x4", "--budget", "0")
    cross = ("--target", "cpu:avx512fp16", "--self-check", "off")
    hussar("build", "p.onnx", *words, *cross)
    region = middle(regions(hussar, "p.plan"))
    assert region["chosen"].startswith("conv_fp16_sparse") and region["is_sparse"], region
    assert region["bytes_saved"] > 3500 and region["reason"] == "predicted to be faster", region
    out = hussar("inspect", "p.plan").out
    assert "conv_fp16_sparse: chosen" in out and "in float16" in out, out
    # To another machine's kernels: the packed weights are unpacked, and keep what FP16 took from them.
    hussar("build", "p.plan", "-o", "q.plan", "--target", "cpu:scalar", "--budget", "0")
    assert middle(regions(hussar, "q.plan"))["chosen"].startswith("conv_sparse")
    hussar("compare", "p.onnx", "q.plan", "--tolerance", "1e-2")

    hussar("build", "p.onnx", *words, *cross, "--sparsity", "off")
    off = middle(regions(hussar, "p.plan"))
    assert off["chosen"].startswith("conv_fp16") and off["code"] == "switched_off", off
    hussar("build", "net.onnx", *words, *cross, "--sparsity", "force")
    assert middle(regions(hussar, "p.plan"))["chosen"].startswith("conv_fp16_sparse")
    # Masks of 16 channels have a form in FP32 alone.
    hussar("prune", "net.onnx", "-o", "p.onnx", "--pattern", "2:4x16")
    hussar("build", "p.onnx", *words, *cross)
    assert "conv_fp16_sparse: refused, weights are 2:4, but no 32 output channels" in hussar("inspect", "p.plan").out
    if hussar("doctor", "--json").json["device"]["isa_active"] == "avx512fp16":
        hussar("prune", "net.onnx", "-o", "p.onnx", "--pattern", "2:4x64")
        check = hussar("build", "p.onnx", *words, "--json").json["self_check"]
        assert middle(regions(hussar, "p.plan"))["chosen"].startswith("conv_fp16_sparse")
        assert 0 < check["max_relative_error"] < 1e-2, check


def test_sparse_weights_for_a_gpu_that_is_not_here(hussar: Program) -> None:
    compiler = {"VIRTUAL_ENV": sys.prefix}
    gpu = hussar("doctor", "--json", **compiler).json["gpu"]
    if "not found" in gpu["libraries"]["NVRTC"] or gpu["devices"]:
        return
    hussar.model("net", network())
    hussar("prune", "net.onnx", "-o", "p.onnx", "--pattern", "2:4")
    build = ("build", "p.onnx", "-o", "p.plan", "--shapes", "x:16x4x4x4", "--budget", "0", "--target", "cuda:sm_80")
    hussar(*build, "--fp16", **compiler)
    found = hussar("inspect", "p.plan", "--json").json["sparsity"]
    assert len(found["regions"]) == 1 and found["dense_weights"] == 2, found
    region = middle(regions(hussar, "p.plan"))
    assert region["chosen"] == "cuda_product_sparse_ampere" and region["code"] == "sparse", region
    assert region["reason"] == "predicted to be faster" and region["bytes_saved"] > 1000, region
    # To another machine's kernels: the packed weights are unpacked.
    hussar("build", "p.plan", "-o", "q.plan", "--target", "cpu:scalar", "--budget", "0")
    hussar("compare", "p.onnx", "q.plan", "--tolerance", "1e-2")
    hussar(*build, "--fp16", "--sparsity", "off", **compiler)
    off = middle(regions(hussar, "p.plan"))
    assert not off["is_sparse"] and off["code"] == "switched_off", off
    hussar(*build, **compiler)
    assert middle(regions(hussar, "p.plan"))["reason"] == "no sparse products of FP32 and TF32"


def fully_connected(k: int, n: int) -> bytes:
    """x [rows, k] times 2:4 weights, a mask for every column; then a ReLU, and a product with few columns."""
    weights = numbers(k * n, 5)
    for group in range(0, k, 4):
        for column in range(n):
            for place in (column % 4, (column + 1 + column // 4 % 3) % 4):
                weights[(group + place) * n + column] = -0.0 if place == 0 else 0.0
    tensors = [tiny_onnx.tensor("w", [k, n], weights), tiny_onnx.tensor("v", [n, 8], numbers(n * 8, 6))]
    nodes = [
        tiny_onnx.node("MatMul", ["x", "w"], ["a"], "product"),
        tiny_onnx.node("Relu", ["a"], ["b"], "relu"),
        tiny_onnx.node("MatMul", ["b", "v"], ["y"], "last"),
    ]
    return tiny_onnx.model(nodes, [tiny_onnx.value("x", ["rows", k])], [tiny_onnx.value("y", ["rows", 8])], tensors)


def test_sparse_weights_on_hopper_that_is_not_here(hussar: Program) -> None:
    compiler = {"VIRTUAL_ENV": sys.prefix}
    gpu = hussar("doctor", "--json", **compiler).json["gpu"]
    if "not found" in gpu["libraries"]["NVRTC"] or gpu["devices"]:
        return
    hussar.model("fc", fully_connected(512, 1024))
    write_npy(hussar.folder / "x.npy", [8, 512], numbers(8 * 512, 7, 1.0))
    hussar("calibrate", "fc.onnx", "--calib", "x.npy", "-o", "c.json", "--shapes", "x:8x512")
    build = ("build", "fc.onnx", "-o", "p.plan", "--shapes", "x:8192x512", "--budget", "0", "--target", "cuda:sm_90a", "--fp16")
    saved = 512 * 1024 // 2 - 512 * 1024 // 8  # bytes; of halves twice the first
    for precision, flags, least in (("float16", (), saved), ("int8", ("--int8",), saved), ("fp8", ("--fp8",), saved)):
        words = (*flags, "--calib-cache", "c.json") if flags else ()
        hussar(*build, *words, **compiler)
        data = hussar("inspect", "p.plan", "--json").json
        region = next(region for region in data["sparsity"]["regions"] if region["name"].startswith("product"))
        assert region["chosen"] == "cuda_product_sparse" and region["code"] == "sparse", (precision, region)
        assert region["reason"] == "predicted to be faster" and region["bytes_saved"] >= least, (precision, region)
        step = next(step for step in data["regions"] if step["name"].startswith("product"))
        assert step["precision"] == precision, (precision, step)
        hussar(*build, *words, "--sparsity", "off", **compiler)
        found = hussar("inspect", "p.plan", "--json").json["sparsity"]["regions"]
        off = next(region for region in found if region["name"].startswith("product"))
        assert not off["is_sparse"] and off["code"] == "switched_off", (precision, off)
    # Weights that are overwritten, then calibrated and rounded: zeros stay zeros.
    hussar.model("dense", network(batch=8))
    write_npy(hussar.folder / "d.npy", [8, 4, 4, 4], numbers(8 * 64, 8, 1.0))
    forced = ("build", "dense.onnx", "-o", "f.plan", "--budget", "0", "--target", "cuda:sm_90a", "--fp16", "--fp8")
    outcome = hussar(*forced, "--calib", "d.npy", "--sparsity", "force", **compiler)
    assert "results mean nothing" in outcome.err, outcome.err
    forced_region = middle(regions(hussar, "f.plan"))
    assert forced_region["sparse_us"] > 0 and forced_region["code"] in ("sparse", "dense_faster", "no_clear_win"), forced_region


def test_taps_that_are_no_whole_blocks(hussar: Program) -> None:
    compiler = {"VIRTUAL_ENV": sys.prefix}
    gpu = hussar("doctor", "--json", **compiler).json["gpu"]
    if "not found" in gpu["libraries"]["NVRTC"] or gpu["devices"]:
        return
    weights = [0.0 if index // 9 % 4 < 2 else weight for index, weight in enumerate(numbers(64 * 64 * 9, 1))]
    tensors = [tiny_onnx.tensor("v", [64, 8, 1, 1], numbers(512, 2)), tiny_onnx.tensor("w", [64, 64, 3, 3], weights)]
    nodes = [
        tiny_onnx.node("Conv", ["x", "v"], ["a"], "first"),
        tiny_onnx.node("Relu", ["a"], ["b"], "relu"),
        tiny_onnx.node("Conv", ["b", "w"], ["y"], "windows"),
    ]
    values = [tiny_onnx.value("x", [64, 8, 8, 8])], [tiny_onnx.value("y", [64, 64, 6, 6])]
    hussar.model("m", tiny_onnx.model(nodes, *values, tensors))
    write_npy(hussar.folder / "x.npy", [64, 8, 8, 8], numbers(64 * 512, 3, 1.0))
    build = ("build", "m.onnx", "-o", "m.plan", "--budget", "0", "--target", "cuda:sm_90a", "--fp16")
    for flags, is_offered in (((), True), (("--fp8", "--calib", "x.npy"), False)):
        hussar(*build, *flags, **compiler)
        found = regions(hussar, "m.plan")
        region = next(region for name, region in found.items() if name.startswith("windows"))
        assert (region["sparse_us"] is not None) == is_offered, (flags, region)
        assert is_offered or region["code"] == "partial_blocks", region
        assert is_offered or region["reason"] == "channels of a tap are no whole blocks of 128 bytes", region


def test_masks_that_are_not_shared(hussar: Program) -> None:
    hussar.model("net", network())
    hussar("prune", "net.onnx", "-o", "p.onnx", "--pattern", "2:4")
    hussar("build", "p.onnx", "-o", "p.plan", "--budget", "0")
    region = middle(regions(hussar, "p.plan"))
    assert region["reason"] == "weights are 2:4, but no 16 output channels share masks", region
    assert region["code"] == "mask_not_shared", region
    # Nothing to tell where no weights have a sparse form.
    assert "2:4 weights" not in hussar("inspect", "p.plan").out


def test_masks_of_single_channels_and_few_rows(hussar: Program) -> None:
    weights = numbers(256 * 512, 5)
    for group in range(0, 256, 4):
        for column in range(512):
            for place in (column % 4, (column + 1 + column // 4 % 3) % 4):
                weights[(group + place) * 512 + column] = 0.0
    weights = [tiny_onnx.tensor("w", [256, 512], weights)]
    nodes = [tiny_onnx.node("MatMul", ["x", "w"], ["y"], "product")]
    values = [tiny_onnx.value("x", ["rows", 256])], [tiny_onnx.value("y", ["rows", 512])]
    hussar.model("fc", tiny_onnx.model(nodes, *values, weights))
    build = ("build", "fc.onnx", "-o", "fc.plan", "--target", "cpu:avx2", "--budget", "0")
    hussar(*build, "--shapes", "x:1x256")
    region = regions(hussar, "fc.plan")["product"]
    assert region["chosen"].startswith("matmul_sparse_columns") and region["bytes_saved"] > 240_000, region
    assert region["reason"] == "predicted to be faster" and region["sparse_us"] < region["dense_us"], region
    hussar("compare", "fc.onnx", "fc.plan")
    # To another machine's kernels and back: the packed weights are unpacked.
    hussar("build", "fc.plan", "-o", "q.plan", "--target", "cpu:scalar", "--budget", "0", "--sparsity", "off")
    hussar("compare", "fc.onnx", "q.plan")
    hussar(*build, "--shapes", "x:5x256")
    region = regions(hussar, "fc.plan")["product"]
    assert region["reason"] == "weights are 2:4, but no 16 output channels share masks", region


def test_forced_sparsity_is_marked(hussar: Program) -> None:
    hussar.model("net", network())
    before = hussar.files()
    outcome = hussar("build", "net.onnx", "-o", "f.plan", "--sparsity", "force", "--target", "cpu:avx2", "--budget", "0")
    assert "results mean nothing" in outcome.err and "1 of 3 products" in outcome.err, outcome.err
    data = hussar("inspect", "f.plan", "--json").json
    assert data["meta"]["sparsity"].startswith("forced") and data["meta"]["model"] == "net.onnx", data["meta"]
    assert middle(regions(hussar, "f.plan"))["is_sparse"]
    assert set(hussar.files()) == {*before, "f.plan"}
    hussar("build", "f.plan", "-o", "g.plan", "--sparsity", "force", code=USAGE, says="is a plan")
    hussar("bench", "net.onnx", "--sparsity", "force", code=USAGE, says="--sparsity")


def test_inspect_weights_of_a_model(hussar: Program) -> None:
    hussar.model("net", network(out=96))
    for pattern, width in (("2:4", 1), ("2:4x16", 16), ("2:4x64", 64), ("2:4x96", 96)):
        hussar("prune", "net.onnx", "-o", "p.onnx", "--pattern", pattern)
        products = {entry["node"]: entry for entry in hussar("inspect", "p.onnx", "--json").json["products"]}
        found = products["middle"]
        assert found["pattern"] == pattern and found["channels_sharing"] == width, found
        assert (found["shape"], found["k"], found["n"], found["op"]) == ([96, 64, 1, 1], 64, 96, "Conv"), found
        assert abs(found["zeros_share"] - 0.5) < 1e-6 and found["groups_2_4_share"] == 1, found
        codes = {1: "mask_not_shared", 16: "fits", 64: "short_last_block", 96: "fits"}
        assert found["code"] == codes[width], found
        dense = products["first"]
        assert dense["pattern"] is None and dense["zeros_share"] == 0 and dense["code"] == "not_2_of_4", dense
        lines = hussar("inspect", "p.onnx").out.splitlines()
        row = next(line for line in lines if line.startswith("middle "))
        assert "50.0" in row and f" {pattern} " in row + " ", row
    assert "weights of products" not in hussar("inspect", "p.onnx", "--brief").out


def test_inspect_tells_why_weights_have_no_pattern(hussar: Program) -> None:
    turned = [weight if index % 4 < 2 else 0.0 for index, weight in enumerate(numbers(16 * 32, 6))]
    weights = [tiny_onnx.tensor("w", [16, 32], turned), tiny_onnx.tensor("v", [32, 6], numbers(32 * 6, 7))]
    weights += [tiny_onnx.tensor("u", [6, 8], numbers(48, 8))]
    layers = [
        tiny_onnx.node("MatMul", ["x", "w"], ["a"], "turned"),
        tiny_onnx.node("MatMul", ["a", "v"], ["b"], "dense"),
        tiny_onnx.node("MatMul", ["b", "u"], ["y"], "odd"),
    ]
    values = [tiny_onnx.value("x", ["rows", 16])], [tiny_onnx.value("y", ["rows", 8])]
    hussar.model("m", tiny_onnx.model(layers, *values, weights))
    products = {entry["node"]: entry for entry in hussar("inspect", "m.onnx", "--json").json["products"]}
    codes = {name: entry["code"] for name, entry in products.items()}
    assert codes == {"turned": "wrong_axis", "dense": "not_2_of_4", "odd": "k_not_multiple_of_4"}, codes
    assert "zeros must lie along the input channels" in hussar("inspect", "m.onnx").out
