"""--html: pages that stand alone, escape what models name, and stay small."""

from __future__ import annotations

import html.parser

import tiny_onnx
from calibration import network, samples, write_data
from program import FAILED, USAGE, Program, write_npy

VOID = {"meta", "br"}
EVIL = "<script>alert(1)</script>&\"'"


class Reader(html.parser.HTMLParser):
    """Fails on tags that do not match, scripts, and anything from outside; collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: dict[str, int] = {}
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list) -> None:
        assert tag not in {"script", "link", "img", "iframe", "object"}, tag
        for name, value in attributes:
            assert name not in {"src", "href"} and not name.startswith("on"), (tag, name, value)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, text: str) -> None:
        self.text += text


def read(hussar: Program, name: str) -> Reader:
    content = (hussar.folder / name).read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(content)
    assert not reader.open and content.startswith("<!DOCTYPE html>"), reader.open
    assert "http" not in content and "@import" not in content and "url(" not in content
    return reader


def test_calibrate_page(hussar: Program) -> None:
    hussar.model("net", network())
    write_data(hussar, samples(16))
    words = ("calibrate", "net.onnx", "--calib", "x.npy", "-o", "c.json")
    hussar(*words, "--html", "c.html")
    page = read(hussar, "c.html")
    for text in ("net.onnx", "percentile99.9", "entropy", "16 samples", "chosen, mse"):
        assert text in page.text, text
    assert page.tags["figure"] == page.tags["path"] >= 3 and "Sensitivity" not in page.text, page.tags
    hussar(*words, "--html", "c.html", "--sensitivity", "--budget", "0")
    page = read(hussar, "c.html")
    assert "Sensitivity of 2 products" in page.text and "activations" in page.text
    # Ranges without data have no histogram, but a place.
    hussar(*words, "--trt-cache", "trt.cache")
    hussar("calibrate", "net.onnx", "--from-trt-cache", "trt.cache", "-o", "d.json", "--html", "d.html")
    assert read(hussar, "d.html").tags["figure"] >= 3
    hussar(*words, "--html", "no/such/page.html", code=FAILED, says="no/such")


def test_build_page(hussar: Program) -> None:
    hussar.model("net", network())
    write_data(hussar, samples(16))
    words = ("build", "net.onnx", "-o", "net.plan", "--shapes", "x:1x3x8x8")
    hussar(*words, "--int8", "--calib", "x.npy", "--calib-cache", "c.json", "--budget", "1s", "--html", "b.html")
    page = read(hussar, "b.html")
    for text in ("Latency before and after", "whole model in FP32", "Error of", "first sample of the data", "Activations"):
        assert text in page.text, text
    # No data, no measured times, and a node that was kept by hand.
    hussar(*words, "--int8", "--calib-cache", "c.json", "--budget", "0", "--html", "b.html", "--precision", "second=fp32")
    page = read(hussar, "b.html")
    for text in ("Nothing was measured", "made-up inputs", "asked for", "second"):
        assert text in page.text, text
    hussar(*words, "--html", "b.html", code=USAGE, says="--html goes with --int8")


def test_page_escapes_names(hussar: Program) -> None:
    nodes = [
        tiny_onnx.node("MatMul", ["x", "w"], [EVIL], EVIL + "+"),
        tiny_onnx.node("MatMul", [EVIL, "w"], ["y"], "p\x1b[31m"),
    ]
    weights = [tiny_onnx.tensor("w", [4, 4], [0.25 * (i % 5 - 2) for i in range(16)])]
    inputs, outputs = [tiny_onnx.value("x", ["batch", 4])], [tiny_onnx.value("y", ["batch", 4])]
    hussar.model("evil", tiny_onnx.model(nodes, inputs, outputs, weights))
    write_npy(hussar.folder / "x.npy", [8, 4], [0.1 * (i % 13 - 6) for i in range(32)])
    words = ("--html", "e.html", "--budget", "0")
    hussar("calibrate", "evil.onnx", "--calib", "x.npy", "-o", "c.json", "--sensitivity", *words)
    assert EVIL in read(hussar, "e.html").text
    assert b"\x1b" not in (hussar.folder / "e.html").read_bytes()
    hussar("build", "evil.onnx", "-o", "e.plan", "--int8", "--calib-cache", "c.json", "--self-check", "off", *words)
    assert EVIL in read(hussar, "e.html").text


def test_page_of_many_tensors_is_small(hussar: Program) -> None:
    count = 300
    names = ["x", *(f"block/{i}/a_rather_long_name_of_a_tensor/output_{i}" for i in range(1, count)), "y"]
    nodes = [tiny_onnx.node("MatMul", [names[i], "w"], [names[i + 1]], f"block/{i}/MatMul") for i in range(count)]
    weights = [tiny_onnx.tensor("w", [4, 4], [1.0 if i % 5 == 0 else 0.01 for i in range(16)])]
    inputs, outputs = [tiny_onnx.value("x", ["batch", 4])], [tiny_onnx.value("y", ["batch", 4])]
    hussar.model("long", tiny_onnx.model(nodes, inputs, outputs, weights))
    write_npy(hussar.folder / "x.npy", [64, 4], [0.01 * (i * 37 % 211 - 100) for i in range(256)])
    hussar("calibrate", "long.onnx", "--calib", "x.npy", "-o", "c.json", "--html", "l.html")
    assert read(hussar, "l.html").tags["figure"] == count + 1
    assert (hussar.folder / "l.html").stat().st_size < 1_500_000
