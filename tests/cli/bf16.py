"""build --bf16: what is refused and what to do instead, and plans for a GPU that is not here."""

from __future__ import annotations

import sys

import tiny_onnx
from precision import kernels, two_products
from program import ACCURACY, PLAN, USAGE, Program, write_npy

HOPPER = ("--target", "cuda:sm_90a")


def test_bf16_refuses(hussar: Program) -> None:
    model = hussar.model("products", two_products())
    build = ("build", model, "-o", "m.plan", "--bf16")
    hussar(*build, "--fp16", *HOPPER, code=USAGE, says="FP16 and BF16 exclude each other")
    hussar(*build, *HOPPER, "--precision", "first=bf16", code=USAGE, says="NODE=fp32")
    hussar("bench", model, "--bf16", "--fp16", code=USAGE, says="exclude each other")
    assert "m.plan" not in hussar.files()
    hussar("build", model, "-o", "m.plan", "--budget", "0")
    hussar("bench", "m.plan", "--bf16", code=USAGE, says="is a plan")


def test_bf16_on_a_cpu_without_it(hussar: Program) -> None:
    model = hussar.model("products", two_products())
    lower = {"HUSSAR_ISA": "avx2"}
    outcome = hussar("build", model, "-o", "m.plan", "--bf16", "--json", says="everything stays FP32", **lower)
    assert "bfloat16" not in outcome.json["precision_counts"], outcome
    assert "matmul_bf16: refused, needs AVX512-BF16" in hussar("inspect", "m.plan").out
    hussar("bench", model, "--bf16", "--iterations", "2", says="everything stays FP32", **lower)


def test_bf16_on_a_cpu(hussar: Program) -> None:
    device = hussar("doctor", "--json").json["device"]
    if not device["isa_active"].startswith("avx512") or "avx512_bf16" not in device["cpu_flags"]:
        return
    # Activations of a million are beyond FP16, and fit here.
    for scale in (1.0, 1e6):
        model = hussar.model("products", two_products(scale))
        report = hussar("build", model, "-o", "m.plan", "--bf16", "--budget", "0", "--json").json
        assert report["precision_counts"]["bfloat16"] == 2, report
        assert 1e-5 < report["self_check"]["max_relative_error"] < 2e-2 and not report["self_check"]["kept_in_fp32"], report
    assert kernels(hussar, "m.plan")["first"] == ("matmul_bf16", "bfloat16")
    hussar("compare", model, "m.plan")
    hussar("compare", model, "m.plan", "--tolerance", "1e-6", code=ACCURACY)
    hussar("bench", "--problem", "matmul m=8 n=64 k=64", "--bf16", "--duration", "0.01")
    # Steps go back to FP32 where that is what the tolerance takes, and on request.
    outcome = hussar("build", model, "-o", "back.plan", "--bf16", "--budget", "0", "--tolerance", "1e-5", "--json")
    assert outcome.json["precision_counts"].get("bfloat16", 0) == 0, outcome
    assert "matmul_bf16: refused, kept in FP32: BF16 would exceed the tolerance" in hussar("inspect", "back.plan").out
    words = ("build", model, "-o", "one.plan", "--bf16", "--budget", "0", "--precision", "second=fp32", "--json")
    assert hussar(*words).json["precision_counts"]["bfloat16"] == 1
    # The plan for a lower level has what is left of the weights.
    hussar("build", "m.plan", "-o", "lower.plan", "--target", "cpu:avx2")
    hussar("compare", "m.plan", "lower.plan", "--tolerance", "2e-2")
    hussar("bench", "m.plan", "--iterations", "2", code=PLAN, says="AVX512-BF16", HUSSAR_ISA="avx2")


def compiler_of(hussar: Program) -> dict[str, str] | None:
    """What finds NVRTC; None where it is not installed, or where there is a GPU: these plans are for one elsewhere."""
    compiler = {"VIRTUAL_ENV": sys.prefix}
    gpu = hussar("doctor", "--json", **compiler).json["gpu"]
    return None if "not found" in gpu["libraries"]["NVRTC"] or gpu["devices"] else compiler


def steps(hussar: Program, plan: str) -> list[tuple[str, str, str]]:
    """Operator, kernel and precision of every step."""
    regions = hussar("inspect", plan, "--json").json["regions"]
    return [(region["op"], region["kernel"], region["precision"]) for region in regions]


def product_with_gelu() -> bytes:
    """y = gelu(x a + b) over float [N, 64]."""
    numbers = [((i * 37) % 101 - 50) / 400 for i in range(4096)]
    nodes = [
        tiny_onnx.node("MatMul", ["x", "a"], ["m"], "product"),
        tiny_onnx.node("Add", ["m", "b"], ["s"], "bias"),
        tiny_onnx.node("Gelu", ["s"], ["y"], "gelu"),
    ]
    weights = [tiny_onnx.tensor("a", [64, 64], numbers), tiny_onnx.tensor("b", [64], numbers[:64])]
    return tiny_onnx.model(nodes, [tiny_onnx.value("x", [8, 64])], [tiny_onnx.value("y", [8, 64])], weights)


def test_bf16_for_a_gpu_that_is_not_here(hussar: Program) -> None:
    compiler = compiler_of(hussar)
    if compiler is None:
        return
    model = hussar.model("gelu", product_with_gelu())
    words = (*HOPPER, "--budget", "0")
    report = hussar("build", model, "-o", "b.plan", *words, "--bf16", "--json", **compiler).json
    assert report["self_check"]["tolerance"] == 0.08 or not report["self_check"]["done"], report
    assert "float16" not in report["precision_counts"] and report["precision_counts"]["bfloat16"] >= 1, report
    hussar("build", model, "-o", "h.plan", *words, "--fp16", **compiler)
    # FP16's graph with another type.
    as_half = [(op, kernel, precision.replace("bfloat16", "float16")) for op, kernel, precision in steps(hussar, "b.plan")]
    assert as_half == steps(hussar, "h.plan"), as_half
    assert "product" in hussar("inspect", "b.plan").out and "bfloat16" in hussar("inspect", "b.plan").out
    text = hussar("build", model, "-o", "b.plan", *words, "--bf16", **compiler).out
    assert " in BF16)" in text and "FP16" not in text, text
    # Its weights are those of BF16 on a CPU, too.
    hussar("build", "b.plan", "-o", "here.plan", "--target", "cpu", **compiler)
    hussar("compare", model, "here.plan", "--tolerance", "2e-2")
    hussar("compare", model, "here.plan", "--tolerance", "1e-6", code=ACCURACY)


def test_bf16_nodes_stay_in_fp32(hussar: Program) -> None:
    compiler = compiler_of(hussar)
    if compiler is None:
        return
    model = hussar.model("products", two_products())
    words = ("build", model, "-o", "m.plan", *HOPPER, "--budget", "0", "--bf16", "--json")
    (hussar.folder / "keep.txt").write_text("# too inexact\nsecond=fp32\n")
    counts = [
        hussar(*words, *more, **compiler).json["precision_counts"].get("bfloat16", 0)
        for more in ((), ("--precision", "@keep.txt"), ("--precision", "@keep.txt", "--precision", "first=fp32"))
    ]
    assert counts[0] > counts[1] > counts[2], counts
    assert [entry for entry in steps(hussar, "m.plan") if entry[0] == "MatMul" and entry[2] != "float32"] == []


def test_int8_with_bf16(hussar: Program) -> None:
    """What stays in floats is BF16."""
    compiler = compiler_of(hussar)
    if compiler is None:
        return
    model = hussar.model("products", two_products())
    write_npy(hussar.folder / "x.npy", [24, 64], [0.01 * (i % 100) for i in range(24 * 64)])
    for flag, precision in (("--int8", "int8"), ("--fp8", "fp8")):
        words = ("build", model, "-o", "m.plan", *HOPPER, "--budget", "0", flag, "--bf16", "--calib", "x.npy")
        report = hussar(*words, "--precision", "second=fp32", "--json", **compiler).json
        counts = report["precision_counts"]
        assert counts[precision] == 1 and "float16" not in counts, counts
        report = hussar(*words, "--json", **compiler).json
        assert report["precision_counts"][precision] == 2, report["precision_counts"]
