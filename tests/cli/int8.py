"""build --int8: calibrated in one command, from a cache, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import tiny_onnx
from calibration import calibrate, network, samples, write_data
from program import ACCURACY, FAILED, MODEL, USAGE, Program, read_npy, write_npy


def build(hussar: Program, *flags, **expected):
    return hussar("build", "net.onnx", "-o", "net.plan", "--shapes", "x:1x3x8x8", *flags, **expected)


def prepare(hussar: Program) -> None:
    hussar.model("net", network())
    write_data(hussar, samples(16))


def test_int8_in_one_command(hussar: Program) -> None:
    prepare(hussar)
    report = build(hussar, "--int8", "--calib", "x.npy", "--calib-cache", "c.json", "--budget", "0", "--json").json
    assert report["precision_counts"].get("int8") == 2, report["precision_counts"]
    assert (hussar.folder / "c.json").exists()
    compared = hussar("compare", "net.onnx", "net.plan", "--shapes", "x:1x3x8x8", "--tolerance", "0.1", "--json").json
    assert compared, compared
    kernels = hussar("inspect", "net.plan").out
    assert "conv_int8" in kernels, kernels
    kept = build(hussar, "--int8", "--calib-cache", "c.json", "--budget", "0", "--precision", "second=fp32", "--json").json
    assert kept["precision_counts"].get("int8") == 1, kept["precision_counts"]
    build(hussar, "--int8", "--calib-cache", "c.json", "--precision", "third=fp32", code=USAGE, says="third")
    # The cache is enough the second time.
    again = build(hussar, "--int8", "--calib-cache", "c.json", "--budget", "0", "--json").json
    assert again["precision_counts"] == report["precision_counts"]


def test_int8_is_chosen_by_time(hussar: Program) -> None:
    prepare(hussar)
    report = build(hussar, "--int8", "--calib", "x.npy", "--budget", "2s", "--json").json["int8"]
    assert len(report["products"]) == 2 and report["fp32_us"] > 0, report
    assert report["chosen_us"] <= report["fp32_us"], report
    assert all(entry["fp32_us"] > 0 and entry["int8_us"] > 0 for entry in report["products"]), report


def test_int8_for_a_gpu_that_is_not_here(hussar: Program) -> None:
    prepare(hussar)
    compiler = {"VIRTUAL_ENV": sys.prefix}
    gpu = hussar("doctor", "--json", **compiler).json["gpu"]
    if "not found" in gpu["libraries"]["NVRTC"] or gpu["devices"]:
        return
    words = ("--target", "cuda:sm_90a", "--fp16", "--int8", "--calib", "x.npy", "--budget", "1s", "--json")
    report = build(hussar, *words, **compiler).json
    assert report["precision_counts"].get("int8") == 2, report["precision_counts"]
    kernels = {region["name"].split("+")[0]: region["kernel"] for region in hussar("inspect", "net.plan", "--json").json["regions"]}
    assert all(kernels[name].startswith("cuda_") for name in ("first", "second")), kernels


def test_int8_refuses(hussar: Program) -> None:
    prepare(hussar)
    build(hussar, "--int8", code=USAGE, says="--calib DATA")
    build(hussar, "--calib", "x.npy", code=USAGE, says="go with --int8")
    build(hussar, "--strict", code=USAGE, says="goes with --int8")
    build(hussar, "--int8", "--calib-cache", "none.json", code=USAGE, says="--calib DATA makes it")
    build(hussar, "--int8", "--calib", "x.npy", "--calib-method", "best", code=USAGE, says="no method 'best'")
    # A cache of another model.
    calibrate(hussar, "x.npy", "c.json")
    hussar.model("net", network().replace(b"second", b"zecond"))
    build(hussar, "--int8", "--calib-cache", "c.json", code=USAGE, says="another model")
    build(hussar)
    hussar("build", "net.plan", "-o", "again.plan", "--int8", "--calib-cache", "c.json", code=USAGE,
           says="needs the ONNX model")  # fmt: skip


def test_int8_rounds_weights_for_the_outputs(hussar: Program) -> None:
    """26 of 27 weights lie between two integers: each rounded for itself, all err to the same side."""
    kernel = [1.0, *[0.4 / 127] * 26] * 4
    weights = [tiny_onnx.tensor("w", [4, 3, 3, 3], kernel)]
    nodes = [tiny_onnx.node("Conv", ["x", "w"], ["y"], "first")]
    values = [tiny_onnx.value("x", ["batch", 3, 8, 8])], [tiny_onnx.value("y", ["batch", 4, 6, 6])]
    hussar.model("net", tiny_onnx.model(nodes, *values, weights))
    write_data(hussar, [[abs(value) + 3 for value in row] for row in samples(16)])
    built = {}
    for rounding in ("nearest", "adaptive"):
        outcome = calibrate(hussar, "x.npy", f"{rounding}.json", "--rounding", rounding)
        assert ("rounded for their outputs" in outcome.out) == (rounding == "adaptive"), outcome
        (product,) = json.loads((hussar.folder / f"{rounding}.json").read_text())["products"].values()
        assert ("flips" in product) == (rounding == "adaptive"), product
        if rounding == "adaptive":
            assert product["error"] < 0.5 * product["nearest_error"], product
        build(hussar, "--int8", "--calib-cache", f"{rounding}.json", "--budget", "0", "--self-check", "off")
        built[rounding] = (hussar.folder / "net.plan").read_bytes()
    assert built["nearest"] != built["adaptive"]
    flags = ("--int8", "--calib", "x.npy", "--calib-cache", "c.json", "--rounding", "adaptive", "--budget", "0")
    build(hussar, *flags, "--self-check", "off")
    assert (hussar.folder / "net.plan").read_bytes() == built["adaptive"]
    assert (hussar.folder / "c.json").read_bytes() == (hussar.folder / "adaptive.json").read_bytes()
    build(hussar, "--int8", "--calib-cache", "nearest.json", "--rounding", "adaptive", code=USAGE,
          says="was made with --rounding nearest")  # fmt: skip
    build(hussar, "--rounding", "adaptive", code=USAGE, says="go with --int8")
    build(hussar, "--int8", "--calib", "x.npy", "--rounding", "random", code=USAGE, says="random")
    calibrate(hussar, "adaptive.json", "n.json", "--rounding", "nearest", code=USAGE, says="--rounding goes with data")


def test_int8_strict_holds_where_nothing_is_kept(hussar: Program) -> None:
    prepare(hussar)
    report = build(hussar, "--int8", "--calib", "x.npy", "--strict", "--budget", "0", "--json").json
    assert report["precision_counts"].get("int8") == 2, report["precision_counts"]


def half_quantizable() -> bytes:
    """Conv, ConvTranspose and the product of what that gives with itself: only the first has an INT8 form."""
    nodes = [
        tiny_onnx.node("Conv", ["x", "w"], ["a"], "first"),
        tiny_onnx.node("ConvTranspose", ["a", "u"], ["b"], "up"),
        tiny_onnx.node("MatMul", ["b", "b"], ["y"], "square"),
    ]
    weights = [
        tiny_onnx.tensor("w", [4, 3, 3, 3], [0.1 * (i % 7 - 3) for i in range(108)]),
        tiny_onnx.tensor("u", [4, 2, 2, 2], [0.1 * (i % 5 - 2) for i in range(32)]),
    ]
    values = [tiny_onnx.value("x", ["batch", 3, 8, 8])], [tiny_onnx.value("y", ["batch", 2, 7, 7])]
    return tiny_onnx.model(nodes, *values, weights)


def test_int8_strict_names_what_stays_in_floats_and_why(hussar: Program) -> None:
    hussar.model("net", half_quantizable())
    write_data(hussar, samples(16))
    flags = ("--int8", "--calib", "x.npy", "--calib-cache", "c.json", "--budget", "0")
    outcome = build(hussar, *flags, "--strict", code=ACCURACY, says="--strict: 2 steps that multiply would stay in floats")
    for line in ("up (ConvTranspose): there is no INT8 form of ConvTranspose", "its right operand is computed"):
        assert line in outcome.err, outcome
    assert "net.plan" not in hussar.files()
    # Without it the report says the same.
    outcome = build(hussar, *flags)
    assert "not INT8:\n  up (ConvTranspose): there is no INT8 form" in outcome.out, outcome
    report = build(hussar, *flags, "--json").json["int8"]["in_floats"]
    assert [entry["name"].split("+")[0] for entry in report] == ["up", "square"], report
    # What the user keeps in FP32 is no failure.
    kept = ("--precision", "up=fp32", "--precision", "square=fp32")
    build(hussar, *flags, *kept, "--strict")
    # A range that is not known is one.
    cache = json.loads((hussar.folder / "c.json").read_text())
    cache["tensors"] = {name: entry for name, entry in cache["tensors"].items() if not name.startswith("x")}
    (hussar.folder / "c.json").write_text(json.dumps(cache))
    outcome = build(hussar, *flags[:1], *flags[3:], *kept, "--strict", code=ACCURACY, says="--strict: 1 steps")
    assert "first (Conv): nothing is known of the range of its input" in outcome.err, outcome


def test_int8_strict_holds_measured_choices_to_it(hussar: Program) -> None:
    """On products this small the conversions cost more than INT8 gains, on most machines: either way the words agree."""
    nodes = [tiny_onnx.node("MatMul", ["x", "w"], ["y"], "tiny")]
    weights = [tiny_onnx.tensor("w", [4, 2], [0.1 * (i % 5 - 2) for i in range(8)])]
    hussar.model("net", tiny_onnx.model(nodes, [tiny_onnx.value("x", ["batch", 4])], [tiny_onnx.value("y", ["batch", 2])], weights))
    write_npy(hussar.folder / "x.npy", [16, 4], [0.1 * (i % 13 - 6) for i in range(64)])
    flags = ("--int8", "--calib", "x.npy", "--budget", "1s", "--timing-cache", "t.json")
    report = hussar("build", "net.onnx", "-o", "net.plan", *flags, "--json").json["int8"]
    (choice,) = report["products"]
    assert len(report["in_floats"]) == (0 if choice["int8"] else 1), report
    if not choice["int8"]:
        assert " us" in report["in_floats"][0]["reason"], report
        assert "no INT8: " + report["in_floats"][0]["reason"] in hussar("inspect", "net.plan").out


def test_int8_without_data(hussar: Program) -> None:
    prepare(hussar)
    flags = ("--int8", "--dynamic", "--budget", "0")
    report = build(hussar, *flags, "--strict", "--json").json
    assert report["precision_counts"].get("int8") == 2 and report["int8"]["in_floats"] == [], report
    # Whatever the size of the input is.
    for size in (0.001, 1.0, 1000.0):
        write_npy(hussar.folder / "one.npy", [1, 3, 8, 8], [size * value for value in samples(1)[0]])
        outputs = []
        for model in ("net.onnx", "net.plan"):
            hussar("run", model, "-i", "x=one.npy", "-o", model + ".out")
            outputs.append(read_npy(hussar.folder / f"{model}.out/y.npy")[1])
        apart = max(abs(a - b) for a, b in zip(*outputs, strict=True))
        assert 0 < apart < 0.05 * max(map(abs, outputs[0])), (size, apart)
    assert "DynamicQuantizeLinear" in hussar("inspect", "net.plan").out
    kept = build(hussar, *flags, "--precision", "second=fp32", "--json").json
    assert kept["precision_counts"].get("int8") == 1, kept["precision_counts"]
    measured = build(hussar, "--int8", "--dynamic", "--budget", "1s", "--html", "page.html", "--json").json["int8"]
    assert len(measured["products"]) == 2 and "Activations" not in (hussar.folder / "page.html").read_text(), measured
    build(hussar, "--dynamic", code=USAGE, says="--dynamic goes with --int8")
    build(hussar, *flags, "--calib", "x.npy", code=USAGE, says="takes neither --calib nor --calib-cache")


def test_int8_without_data_for_a_gpu_that_is_not_here(hussar: Program) -> None:
    compiler = {"VIRTUAL_ENV": sys.prefix}
    gpu = hussar("doctor", "--json", **compiler).json["gpu"]
    if "not found" in gpu["libraries"]["NVRTC"] or gpu["devices"]:
        return
    flags = ("--target", "cuda:sm_90a", "--fp16", "--int8", "--dynamic", "--budget", "0", "--self-check", "off")
    # Rows of 8 are too short to be worth it.
    said = hussar("build", hussar.model("encoder"), "-o", "encoder.plan", *flags, **compiler).out
    assert "predicted to take" in said and "the ranges of its queries, keys and values are those of the run" in said, said
    # Convolutions have no rows.
    prepare(hussar)
    report = build(hussar, *flags, "--json", **compiler).json
    reasons = [entry["reason"] for entry in report["int8"]["in_floats"]]
    assert reasons and all("for the rows of matrix products" in reason for reason in reasons), report["int8"]


def test_int8_refuses_a_stale_cache(hussar: Program) -> None:
    prepare(hussar)
    flags = ("--int8", "--calib-cache", "c.json", "--budget", "0", "--self-check", "off")
    build(hussar, *flags, "--calib", "x.npy")
    cache = (hussar.folder / "c.json").read_bytes()
    # The same samples in another order and in two files are the same data.
    rows = samples(16)
    (hussar.folder / "parts").mkdir()
    write_data(hussar, rows[10:], "parts/a.npy")
    write_data(hussar, rows[:10], "parts/b.npy")
    build(hussar, *flags, "--calib", "parts")
    for other in (rows[:15], [*rows[:15], [value + 1 for value in rows[15]]]):
        write_data(hussar, other, "other.npy")
        build(hussar, *flags, "--calib", "other.npy", code=USAGE, says="is stale: it was made from other data (16 samples")
        assert (hussar.folder / "c.json").read_bytes() == cache
    # Without data it is taken as it is.
    build(hussar, *flags)


def test_int8_build_goes_on_with_a_calibration_that_was_cut_off(hussar: Program) -> None:
    rows = samples(20)
    calibrate(hussar, write_data(hussar, rows), "whole.json")
    for i in range(20):
        write_data(hussar, rows[i : i + 1], f"{i:02}.npy")
    flags = ("--int8", "--calib-cache", "c.json", "--budget", "0", "--self-check", "off")
    build(hussar, *flags, "--calib", "cmd:cat 0*.npy; exit 3", code=FAILED, says="10 samples are counted and kept")
    assert "net.plan" not in hussar.files()
    build(hussar, *flags, code=USAGE, says="was cut off after 10 samples")
    build(hussar, *flags, "--calib", "cmd:cat 1*.npy 0*.npy", code=USAGE, says="had seen other data")
    build(hussar, *flags, "--calib", "cmd:cat 0*.npy 1*.npy", says="going on after 10 samples")
    assert (hussar.folder / "c.json").read_bytes() == (hussar.folder / "whole.json").read_bytes()


def test_int8_keeps_what_was_counted_when_it_is_interrupted(hussar: Program) -> None:
    rows = samples(40)
    calibrate(hussar, write_data(hussar, rows), "whole.json")
    for i in range(40):
        write_data(hussar, rows[i : i + 1], f"{i:02}.npy")
    slowly = "cmd:for file in ??.npy; do cat $file; sleep 0.05; done"
    words = {
        "calibrate.json": ("calibrate", "net.onnx", "-o", "calibrate.json"),
        "build.json": ("build", "net.onnx", "-o", "net.plan", "--int8", "--calib-cache", "build.json"),
    }
    for (cache, command), stop in zip(words.items(), (signal.SIGINT, signal.SIGTERM), strict=True):
        process = subprocess.Popen(
            [str(hussar.path), *command, "--calib", slowly], cwd=hussar.folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        for line in process.stderr:
            if line.strip().endswith(": run"):
                break
        process.send_signal(stop)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 128 + stop and "samples are counted and kept" in err, (process.returncode, err)
        cut = json.loads((hussar.folder / cache).read_text())
        assert not cut["complete"] and 1 <= cut["samples"] < 40, cut["samples"]
        hussar(*command, "--calib", "cmd:cat ??.npy", says=f"going on after {cut['samples']} samples")
        assert (hussar.folder / cache).read_bytes() == (hussar.folder / "whole.json").read_bytes()


def quantized(scale: float | None, weights: list[float] | None = None, zero_point: int = 0) -> bytes:
    """y = x * w over float [3, 4], with x and w quantized; None: without the scale of x."""
    given = [] if scale is None else ["s"]
    nodes = [
        tiny_onnx.node("QuantizeLinear", ["x", *given], ["q"], "first"),
        tiny_onnx.node("DequantizeLinear", ["q", *given], ["d"], "second"),
        tiny_onnx.node("QuantizeLinear", ["w", "t", "z"], ["v"]),
        tiny_onnx.node("DequantizeLinear", ["v", "t", "z"], ["e"]),
        tiny_onnx.node("MatMul", ["d", "e"], ["y"], "product"),
    ]
    constants = [
        tiny_onnx.tensor("w", [4, 2], weights or [0.1 * i for i in range(8)]),
        tiny_onnx.tensor("t", [], [0.01]),
        tiny_onnx.tensor("z", [], [zero_point], tiny_onnx.UINT8),
    ]
    constants += [] if scale is None else [tiny_onnx.tensor("s", [], [scale])]
    return tiny_onnx.model(nodes, [tiny_onnx.value("x", [3, 4])], [tiny_onnx.value("y", [3, 2])], constants)


def test_int8_of_the_model(hussar: Program) -> None:
    hussar.model("q", quantized(0.02))
    report = hussar("build", "q.onnx", "-o", "q.plan", "--json").json
    assert report["int8"]["quantized_in_model"] == 1 and report["precision_counts"].get("int8") == 1, report
    assert "1 products are quantized in the model" in hussar("build", "q.onnx", "-o", "q.plan").out
    assert "quantized in the model" in hussar("inspect", "q.plan").out


def test_int8_of_weights_with_zero_points(hussar: Program) -> None:
    # 1.81 is 181 times the scale, which does not fit int8.
    hussar.model("q", quantized(0.02, [1.81, 0.1, -0.2, 0.4, 0.3, 0.5, 0.6, 0.7], 20))
    report = hussar("build", "q.onnx", "-o", "q.plan", "--json").json
    assert report["int8"]["quantized_in_model"] == 1 and report["precision_counts"].get("int8") == 2, report
    assert report["reference_steps"] == 0 and report["self_check"]["max_relative_error"] < 1e-3, report
    text = hussar("inspect", "q.plan").out
    assert "INT8: sums of what a product reads whose weights have zero points" in text, text
    hussar("compare", "q.onnx", "q.plan", "--tolerance", "1e-3")


def test_int8_of_the_model_with_odd_scales(hussar: Program) -> None:
    for scale in (0.0, float("nan"), float("inf")):
        hussar.model("q", quantized(scale))
        hussar("build", "q.onnx", "-o", "q.plan", code=MODEL, says="'first' (QuantizeLinear): scale 0 is")
    hussar.model("q", quantized(None))
    hussar("build", "q.onnx", "-o", "q.plan", code=MODEL, says="'first' (QuantizeLinear) has 1 inputs")
    # Negative ones mean something: as the model says, but not on the INT8 kernels.
    hussar.model("q", quantized(-0.02))
    report = hussar("build", "q.onnx", "-o", "q.plan", "--json").json
    assert report["int8"]["quantized_in_model"] == 0 and report["self_check"]["max_relative_error"] < 1e-3, report
