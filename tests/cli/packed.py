"""build --packed: plans for GPUs that leave out padding, what is said about them, and what is refused."""

from __future__ import annotations

import sys

from program import USAGE, Program

GPU = ("--target", "cuda:sm_90a", "--budget", "0")


def has_compiler(hussar: Program) -> dict[str, str] | None:
    """What the program needs in its environment to compile for GPUs; None: it cannot."""
    compiler = {"VIRTUAL_ENV": sys.prefix}
    gpu = hussar("doctor", "--json", **compiler).json["gpu"]
    return None if "not found" in gpu["libraries"]["NVRTC"] else compiler


def test_packed_says_what_it_leaves_out(hussar: Program) -> None:
    compiler = has_compiler(hussar)
    if compiler is None:
        return
    model = hussar.model("encoder")
    summary = hussar("build", model, "-o", "packed.plan", *GPU, "--packed", "--self-check", "off", **compiler).out
    says = "1 of 1 attentions leave out what 'mask' says is padding; rows of padding are zeros in y"
    assert f"packed: {says}" in summary, summary
    assert says in hussar("inspect", "packed.plan").out
    operators = [region["op"] for region in hussar("inspect", "packed.plan", "--json").json["regions"]]
    assert operators.count("hussar.GatherRows") == 2 and operators.count("hussar.TokenOrder") == 1, operators
    plain = hussar("build", model, "-o", "all.plan", *GPU, "--self-check", "off", **compiler).out
    assert "packed:" not in plain, plain
    # Rebuilt for a CPU it leaves out the same; a comparison is about tokens.
    hussar("build", "packed.plan", "-o", "cpu.plan", "--target", "cpu")
    for pair in (("encoder.onnx", "cpu.plan"), ("cpu.plan", "encoder.onnx")):
        compared = hussar("compare", *pair, "--shapes", "x:5x6x8,mask:5x6", "--json").json
        assert compared["comparisons"][0]["outputs"][0]["error"] < 1e-4, compared
    hussar("compare", "encoder.onnx", "cpu.plan", "--layers", "--shapes", "x:5x6x8", code=USAGE, says="without --packed")


def test_packed_refuses(hussar: Program) -> None:
    model = hussar.model("encoder")
    words = ("build", model, "-o", "m.plan", "--packed")
    hussar(*words, code=USAGE, says="goes with --target cuda")
    for part in ("0", "1.5"):
        hussar(*words, *GPU, "--token-part", part, code=USAGE, says="must be above 0 and at most 1")
    hussar(*words, *GPU, "--verify-passes", code=USAGE, says="--verify-passes and --packed exclude each other")
    hussar(*words, *GPU, "--disable-pass", "all", code=USAGE, says="--packed needs the pass pack_tokens")
    hussar(*words, *GPU, "--int8", "--calib", "x.npy", "--html", "p.html", code=USAGE, says="without --packed")
    hussar("build", hussar.model("chain"), "-o", "m.plan", "--packed", *GPU, code=USAGE,
           says="no attention is recognised in the model; build without --packed")  # fmt: skip
    hussar("build", hussar.plan("chain"), "-o", "m.plan", "--packed", *GPU, code=USAGE, says="--packed needs the ONNX model")
