#!/usr/bin/env python3
"""Reads a rendered page with PP-OCR plans of Hussar, beside ONNX Runtime.

Builds plans for the detector and the recogniser (kept in .cache/demo), prints the text, a table of latency, load time
and peak memory, and how far the outputs differ. The recogniser's plan serves every line at its own width.

Exit status: 0; 1 when the text is wrong, an output is outside the tolerance, or Hussar fails; 2 when the models or the
libraries are missing.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import measure_child  # noqa: E402
import modelzoo  # noqa: E402
import reading  # noqa: E402
from modelzoo import agreement  # noqa: E402

WORK = ROOT / ".cache/demo"
LABELS = {"hussar": "Hussar", "ort": "ONNX Runtime"}
DETECTOR_CLASSES = {"0": {"threshold": reading.BINARY_THRESHOLD}}
RECOGNISER_CLASSES = {"0": {"axis": -1}}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="of the interleaved timing")
    parser.add_argument("--save-page", type=pathlib.Path, help="write the rendered page as a picture")
    parser.add_argument("--reference-only", action="store_true", help="read with ONNX Runtime alone")
    return parser.parse_args()


class Reader:
    """Detector and recogniser of one engine. The first page decides the detector's input size."""

    def __init__(self, engine: str, files: dict[str, pathlib.Path], page: np.ndarray, letters, threads: int) -> None:
        self.letters = letters
        self.detector = engines.open_engine(engine, files["det"], {"x": reading.normalise(page)}, threads)
        blank = np.zeros((1, 3, reading.LINE_HEIGHT, 320), np.float32)
        self.recogniser = engines.open_engine(engine, files["rec"], {"x": blank}, threads)
        self.load_ms = {"det": self.detector.load_ms, "rec": self.recogniser.load_ms}

    def detect(self) -> np.ndarray:
        self.detector.call()
        return self.detector.outputs()[0]

    def recognise(self, line: np.ndarray) -> np.ndarray:
        self.recogniser.bind({"x": line})
        self.recogniser.call()
        return self.recogniser.outputs()[0]

    def read(self, page: np.ndarray) -> list[str]:
        boxes = reading.find_lines(self.detect()[0, 0])
        return [reading.decode(self.recognise(reading.cut_line(page, box)), self.letters) for box in boxes]


class AllLines:
    """Stands for an engine in the timing: one call recognises every line of the page."""

    def __init__(self, recogniser, lines: list[np.ndarray]) -> None:
        self.calls = []
        for line in lines:
            recogniser.bind({"x": line})
            self.calls.append(recogniser.call)

    def call(self) -> None:
        for call in self.calls:
            call()


def build_plans(models: dict[str, pathlib.Path], page: np.ndarray, threads: int) -> dict[str, pathlib.Path]:
    """Plans in .cache/demo: the detector for this page's size, the recogniser for any line width."""
    plans = {part: WORK / f"{part}.plan" for part in models}
    narrow, wide = ({"x": [1, 3, reading.LINE_HEIGHT, width]} for width in reading.LINE_WIDTHS)
    usual = {"x": [1, 3, reading.LINE_HEIGHT, 320]}
    page_shape = {"x": [1, 3, *page.shape[:2]]}
    seconds = hussar_cli.build(models["det"], plans["det"], shapes=page_shape, threads=threads)
    print(f"built {plans['det'].name} in {seconds:.1f} s, {plans['det'].stat().st_size / 1e6:.1f} MB")
    seconds = hussar_cli.build(models["rec"], plans["rec"], bounds=(narrow, usual, wide), threads=threads)
    print(f"built {plans['rec'].name} in {seconds:.1f} s, {plans['rec'].stat().st_size / 1e6:.1f} MB")
    return plans


def print_text(label: str, lines: list[str]) -> bool:
    """Prints what was read and where it is wrong; true when it is right."""
    print(f"\nText read by {label}:")
    for line in lines:
        print(f"  {line}")
    expected = list(reading.LINES)
    if lines == expected:
        print(f"  ({len(lines)} lines, all as rendered)")
        return True
    for index in range(max(len(lines), len(expected))):
        want = expected[index] if index < len(expected) else "(nothing)"
        got = lines[index] if index < len(lines) else "(nothing)"
        if want != got:
            print(f"  WRONG line {index + 1}: rendered {want!r}, read {got!r}")
    return False


def print_differences(own: Reader, reference: Reader, lines: list[np.ndarray]) -> bool:
    """Prints how Hussar's outputs differ from ONNX Runtime's; true when they agree within the tolerance."""
    reports = {"detector": agreement.compare([reference.detect()], [own.detect()], DETECTOR_CLASSES)}
    for index, line in enumerate(lines):
        pair = [reference.recognise(line)], [own.recognise(line)]
        reports[f"line {index + 1}, width {line.shape[3]}"] = agreement.compare(*pair, RECOGNISER_CLASSES)
    print("\nDifference from ONNX Runtime (relative: of the output's range; flips: other decision):")
    print(f"  {'':22}{'max absolute':>13}{'max relative':>14}{'flips':>12}")
    for name, report in reports.items():
        verdict = "" if agreement.acceptable(report) else "  OUTSIDE THE TOLERANCE"
        flips = f"{report['flips']} of {report['decisions']}"
        print(f"  {name:22}{report['max_absolute']:13.2e}{report['max_relative']:14.2e}{flips:>12}{verdict}")
    return all(agreement.acceptable(report) for report in reports.values())


def print_costs(readers: dict[str, Reader], files: dict, page, lines, arguments) -> None:
    """Times both engines interleaved and prints the table."""
    detectors = {name: reader.detector for name, reader in readers.items()}
    recognisers = {name: AllLines(reader.recogniser, lines) for name, reader in readers.items()}
    samples = {
        "det": engines.interleave(detectors, arguments.rounds, 200, 60),
        "rec": engines.interleave(recognisers, arguments.rounds, 200, 60),
    }
    widest = max(lines, key=lambda line: line.shape[3])
    feeds = {"det": reading.normalise(page), "rec": widest}
    titles = {"det": f"detector {page.shape[0]}x{page.shape[1]}", "rec": f"recogniser, {len(lines)} lines"}
    print(f"\n  {'':26}{'':14}{'median ms':>10}{'p90 ms':>9}{'load ms':>9}{'peak MB':>9}{'of it the model':>17}")
    for part in ("det", "rec"):
        inputs = WORK / f"{part}.npz"
        np.savez(inputs, x=feeds[part])
        for name in readers:
            row = engines.summary(samples[part][name])
            cost = measure_child.measure(name, files[name][part], inputs, arguments.threads)
            text = f"  {titles[part]:26}{LABELS[name]:14}{row['median']:10.2f}{row['p90']:9.2f}"
            if "error" in cost:
                print(f"{text}   {cost['error']}")
                continue
            megabytes = cost["peak_bytes"] / 1e6, cost["model_bytes"] / 1e6
            print(f"{text}{cost['load_ms']:9.1f}{megabytes[0]:9.0f}{megabytes[1]:17.0f}")
        if len(readers) == 2:
            medians = {name: float(np.median(samples[part][name])) for name in readers}
            print(f"  {'':26}Hussar / ONNX Runtime: {medians['hussar'] / medians['ort']:.2f}")


def run(arguments: argparse.Namespace) -> int:
    WORK.mkdir(parents=True, exist_ok=True)
    models = {part: modelzoo.prepare(f"ppocr_{part}").path for part in ("det", "rec")}
    page = reading.render_page()
    if arguments.save_page:
        from PIL import Image

        Image.fromarray(page).save(arguments.save_page)
    letters = reading.alphabet(models["rec"])
    files = {"ort": models}
    if not arguments.reference_only:
        files["hussar"] = build_plans(models, page, arguments.threads)
    order = [name for name in ("hussar", "ort") if name in files]
    readers = {name: Reader(name, files[name], page, letters, arguments.threads) for name in order}
    texts = {name: readers[name].read(page) for name in order}
    right = print_text(LABELS[order[0]], texts[order[0]])
    if texts["ort"] != texts[order[0]]:
        print_text(LABELS["ort"], texts["ort"])
    boxes = reading.find_lines(readers["ort"].detect()[0, 0])
    lines = [reading.cut_line(page, box) for box in boxes]
    close = print_differences(readers["hussar"], readers["ort"], lines) if "hussar" in readers else True
    if lines:
        print_costs(readers, files, page, lines, arguments)
    if not right:
        print("\nThe text is not what was rendered.", file=sys.stderr)
    return 0 if right and close else 1


def main() -> int:
    arguments = parse_arguments()
    try:
        return run(arguments)
    except (modelzoo.Unavailable, OSError) as reason:
        print(f"demo: {reason}", file=sys.stderr)
        return 2
    except (hussar_cli.BuildFailed, RuntimeError) as failure:
        print(f"demo: Hussar failed: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
