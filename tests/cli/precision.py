"""--fp16 and --precision: what is allowed, where it can be used, and what is said where it cannot."""

from __future__ import annotations

import random

import tiny_onnx
from program import ACCURACY, PLAN, USAGE, Program, write_npy

LOWER = {"HUSSAR_ISA": "avx512"}  # a level without FP16 arithmetic, or a lower one where there is none


def two_products(scale: float = 1.0) -> bytes:
    """y = relu((scale x) a) b over float [8, 64]; the products are named first and second."""
    numbers = random.Random(1)
    nodes = [
        tiny_onnx.node("Mul", ["x", "scale"], ["scaled"], "scaling"),
        tiny_onnx.node("MatMul", ["scaled", "a"], ["m"], "first"),
        tiny_onnx.node("Relu", ["m"], ["r"], "relu"),
        tiny_onnx.node("MatMul", ["r", "b"], ["y"], "second"),
    ]
    weights = [tiny_onnx.tensor(name, [64, 64], [numbers.uniform(-1, 1) for _ in range(4096)]) for name in "ab"]
    weights.append(tiny_onnx.tensor("scale", [1], [scale]))
    return tiny_onnx.model(nodes, [tiny_onnx.value("x", [8, 64])], [tiny_onnx.value("y", [8, 64])], weights)


def kernels(hussar: Program, plan: str) -> dict[str, tuple[str, str]]:
    """Kernel and precision of every step that multiplies, by the name of its node."""
    regions = hussar("inspect", plan, "--json").json["regions"]
    products = [region for region in regions if region["op"] == "MatMul"]
    return {region["name"].split("+")[0]: (region["kernel"], region["precision"]) for region in products}


def cross_built(hussar: Program, *flags: str) -> str:
    model = hussar.model("products", two_products())
    words = ("--target", "cpu:avx512fp16", "--self-check", "off", "--budget", "0", "--fp16")
    hussar("build", model, "-o", "half.plan", *words, *flags)
    return "half.plan"


def can_compute(hussar: Program) -> bool:
    return hussar("doctor", "--json").json["device"]["isa_active"] == "avx512fp16"


def test_fp16_needs_to_be_allowed(hussar: Program) -> None:
    model = hussar.model("products", two_products())
    hussar("build", model, "-o", "m.plan", "--target", "cpu:avx512fp16", "--self-check", "off", "--budget", "0")
    assert "matmul_fp16: refused, needs --fp16" in hussar("inspect", "m.plan").out
    assert kernels(hussar, "m.plan") == {"first": ("matmul_tile", "float32"), "second": ("matmul_tile", "float32")}


def test_fp16_without_the_instructions(hussar: Program) -> None:
    model = hussar.model("products", two_products())
    outcome = hussar("build", model, "-o", "m.plan", "--fp16", "--json", says="everything stays FP32", **LOWER)
    assert "--target cpu:avx512fp16" in outcome.err, outcome
    data = outcome.json
    assert "float16" not in data["precision_counts"] and data["self_check"]["tolerance"] == 0.01, data
    assert data["self_check"]["max_relative_error"] < 1e-5, data
    assert "matmul_fp16: refused, needs AVX512-FP16" in hussar("inspect", "m.plan").out
    hussar("bench", model, "--fp16", "--iterations", "2", says="everything stays FP32", **LOWER)
    hussar("bench", "--problem", "matmul m=8 n=64 k=64", "--fp16", "--duration", "0.01", **LOWER)


def test_libraries_are_for_gpus_that_are_here(hussar: Program) -> None:
    model = hussar.model("products", two_products())
    hussar("build", model, "-o", "m.plan", "--libraries", "on", says="only GPUs make use of them")
    hussar("build", model, "-o", "m.plan", "--libraries", "maybe", code=USAGE, says="--libraries")
    hussar("bench", "m.plan", "--libraries", "only", code=USAGE, says="count when it is built")
    if hussar("doctor", "--json").json["gpu"]["devices"]:
        return
    outcome = hussar("build", model, "-o", "g.plan", "--target", "cuda:sm_90a", "--libraries", "on", code=USAGE,
                     says="leave --libraries off")  # fmt: skip
    libraries = hussar("doctor", "--json").json["gpu"]["libraries"]
    for name in ("cuBLASLt", "cuDNN"):
        line = libraries[name]
        assert "not found" not in line or f"--libraries: {line}" in outcome.err, outcome
    assert "g.plan" not in hussar.files()


def test_tf32_is_for_gpus(hussar: Program) -> None:
    model = hussar.model("products", two_products())
    outcome = hussar("build", model, "-o", "m.plan", "--tf32", "--json", says="only GPUs multiply in TF32")
    data = outcome.json
    assert "tf32" not in data["precision_counts"] and data["self_check"]["max_relative_error"] < 1e-5, data


def test_fp16_is_cross_built(hussar: Program) -> None:
    plan = cross_built(hussar)
    assert kernels(hussar, plan) == {"first": ("matmul_fp16", "float16"), "second": ("matmul_fp16", "float16")}
    text = hussar("inspect", plan).out
    assert "'first+relu' in float16" in text and "matmul_fp16: chosen" in text, text
    words = ("--target", "cpu:avx512fp16", "--self-check", "off", "--json")
    full = hussar("build", "products.onnx", "-o", "full.plan", *words).json
    half = hussar("inspect", plan, "--json").json
    assert half["precision_counts"]["float16"] == 2 and half["constants_bytes"] < 0.6 * full["plan_bytes"], half


def test_fp16_plan_elsewhere(hussar: Program) -> None:
    plan = cross_built(hussar)
    refusal = hussar("bench", plan, "--iterations", "2", code=PLAN, says="AVX512-FP16", **LOWER).err
    assert "hussar build PLAN -o NEW.plan" in refusal and "--target cpu:" in refusal, refusal
    hussar("build", plan, "-o", "here.plan", **LOWER)
    assert all(kernel == "matmul_tile" for kernel, _ in kernels(hussar, "here.plan").values())
    # The weights keep what FP16 took from them.
    hussar("compare", "products.onnx", "here.plan", "--tolerance", "1e-2", **LOWER)
    hussar("compare", "products.onnx", "here.plan", "--tolerance", "1e-6", code=ACCURACY, **LOWER)


def test_precision_of_single_nodes(hussar: Program) -> None:
    plan = cross_built(hussar, "--precision", "first=fp32")
    assert kernels(hussar, plan) == {"first": ("matmul_tile", "float32"), "second": ("matmul_fp16", "float16")}
    assert "matmul_fp16: refused, --precision keeps it in FP32" in hussar("inspect", plan).out
    cross_built(hussar, "--precision", "first+relu=fp32", "--precision=second=fp32")
    assert all(precision == "float32" for _, precision in kernels(hussar, plan).values())
    words = ["build", "products.onnx", "-o", "no.plan", "--self-check", "off", "--target", "cpu:avx512fp16"]
    hussar(*words, "--fp16", "--precision", "third=fp32", code=USAGE, says="'third', which is no step")
    for text in ("first", "first=fp16", "=fp32", "first="):
        hussar(*words, "--fp16", "--precision", text, code=USAGE, says="NODE=fp32")
    hussar(*words, "--precision", "first=fp32", code=USAGE, says="goes with --fp16")
    for flag in ("--fp16", "--tf32"):
        hussar("bench", plan, flag, code=USAGE, says="is a plan")
    assert "no.plan" not in hussar.files()


def test_fp16_computes(hussar: Program) -> None:
    if not can_compute(hussar):
        return
    model = hussar.model("products", two_products())
    data = hussar("build", model, "-o", "half.plan", "--fp16", "--budget", "0", "--json").json
    error = data["self_check"]["max_relative_error"]
    assert data["precision_counts"]["float16"] == 2 and 1e-6 < error < 5e-3, data
    hussar("compare", model, "half.plan")
    hussar("compare", model, "half.plan", "--tolerance", "1e-6", code=ACCURACY)
    # Not even FP32 is exact.
    hussar("build", model, "-o", "no.plan", "--fp16", "--budget", "0", "--tolerance", "1e-12", code=ACCURACY, says="allowed 1e-12")
    assert "no.plan" not in hussar.files()


def test_steps_go_back_to_fp32(hussar: Program) -> None:
    if not can_compute(hussar):
        return
    # Activations of a million do not fit.
    wide = hussar.model("wide", two_products(1e6))
    outcome = hussar("build", wide, "-o", "wide.plan", "--fp16", "--budget", "0", "--json", says="would exceed the tolerance")
    check = outcome.json["self_check"]
    assert check["max_relative_error"] < 1e-5 and check["kept_in_fp32"], outcome
    text = hussar("inspect", "wide.plan").out
    assert "kept_in_fp32" in text and "matmul_fp16: refused, kept in FP32: FP16 would exceed the tolerance" in text, text
    assert kernels(hussar, "wide.plan")["first"] == ("matmul_tile", "float32")
    # One product in FP16 is as exact as is asked for, two are not.
    model = hussar.model("products", two_products())
    both = hussar("build", model, "-o", "both.plan", "--fp16", "--budget", "0", "--json").json["self_check"]
    bound = str(0.95 * both["max_relative_error"])
    words = ("--fp16", "--budget", "0", "--tolerance", bound, "--json")
    one = hussar("build", model, "-o", "one.plan", *words).json
    assert len(one["self_check"]["kept_in_fp32"]) == 1 and one["precision_counts"]["float16"] == 1, one
    # What was true of a plan need not be of one that is made of it.
    hussar("build", "one.plan", "-o", "rebuilt.plan", "--target", "cpu:avx512")
    assert "kept_in_fp32" not in hussar("inspect", "rebuilt.plan").out


def test_fp16_is_checked_on_data(hussar: Program) -> None:
    model = hussar.model("products", two_products())
    write_npy(hussar.folder / "samples.npy", [24, 64], [0.01 * (i % 100) for i in range(24 * 64)])
    build = ("build", model, "-o", "m.plan", "--calib", "samples.npy", "--budget", "0")
    outcome = hussar(*build, "--fp16")
    assert "on 3 of the data's samples" in outcome.out, outcome
    hussar(*build, code=USAGE, says="--calib and --preprocess go with --int8, --fp8, --fp16, --bf16 or --tf32")
    hussar(*build, "--fp16", "--calib-cache", "c.json", code=USAGE, says="--calib-cache and --rounding go with --int8")
