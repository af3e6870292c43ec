"""build --int8: calibrated in one command, from a cache, and what is refused."""

from __future__ import annotations

from calibration import calibrate, network, samples, write_data
from program import USAGE, Program


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


def test_int8_strict_holds_where_nothing_is_kept(hussar: Program) -> None:
    prepare(hussar)
    report = build(hussar, "--int8", "--calib", "x.npy", "--strict", "--budget", "0", "--json").json
    assert report["precision_counts"].get("int8") == 2, report["precision_counts"]
