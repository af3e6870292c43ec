"""build --fp8: what is refused and what to do instead, and a plan for a GPU that is not here."""

from __future__ import annotations

import sys

from int8 import build, prepare
from program import USAGE, Program

HOPPER = ("--target", "cuda:sm_90a")
DATA = ("--calib", "x.npy")


def test_fp8_refuses(hussar: Program) -> None:
    prepare(hussar)
    build(hussar, "--fp8", *DATA, code=USAGE, says="FP8 is for GPUs")
    build(hussar, "--fp8", *DATA, "--target", "cuda:sm_86", code=USAGE, says="compute capability 8.9")
    build(hussar, "--fp8", "--int8", *DATA, *HOPPER, code=USAGE, says="--int8 and --fp8 exclude each other")
    build(hussar, "--fp8", "--dynamic", *HOPPER, code=USAGE, says="--dynamic goes with --int8")
    build(hussar, "--fp8", "--rounding", "adaptive", *DATA, *HOPPER, code=USAGE, says="--rounding adaptive")
    build(hussar, "--fp8", *HOPPER, code=USAGE, says="--fp8 needs the ranges of activations")
    build(hussar, "--fp8", *DATA, *HOPPER, "--html", "page.html", code=USAGE, says="--html goes with --int8")
    assert "net.plan" not in hussar.files()
    build(hussar)
    hussar("build", "net.plan", "-o", "again.plan", "--fp8", *DATA, *HOPPER, code=USAGE, says="--fp8 needs the ONNX model")


def test_fp8_for_a_gpu_that_is_not_here(hussar: Program) -> None:
    prepare(hussar)
    compiler = {"VIRTUAL_ENV": sys.prefix}
    gpu = hussar("doctor", "--json", **compiler).json["gpu"]
    if "not found" in gpu["libraries"]["NVRTC"] or gpu["devices"]:
        return
    words = (*HOPPER, "--fp16", "--fp8", "--calib-cache", "c.json", "--budget", "1s", "--json")
    report = build(hussar, *words, *DATA, **compiler).json
    assert report["precision_counts"].get("fp8") == 2, report["precision_counts"]
    assert "int8" not in report["precision_counts"], report["precision_counts"]
    assert "float8e4m3fn" in hussar("inspect", "net.plan").out
    for target in ("cpu", "cuda:sm_80"):
        hussar("build", "net.plan", "-o", "again.plan", "--target", target, code=USAGE, says="has products in FP8", **compiler)
    # The cache is that of INT8, and one node may stay out of it.
    kept = build(hussar, *words, "--precision", "second=fp32", **compiler).json
    assert kept["precision_counts"].get("fp8") == 1, kept["precision_counts"]
    assert kept["int8"]["precision"] == "FP8", kept["int8"]
    reasons = [product["reason"] for product in kept["int8"]["in_floats"]]
    assert reasons == ["asked for"], reasons
    assert "no FP8: asked for" in hussar("inspect", "net.plan").out
    text = build(hussar, *words[:-1], "--precision", "second=fp32", **compiler).out
    assert "not FP8:" in text, text
