#!/usr/bin/env python3
"""Which calibration method keeps a detector's boxes: FP32 beside INT8 by every --calib-method.

    bench/int8_detection.py
    bench/int8_detection.py --canvases 500 --methods auto,entropy

The task is made so that entropy fails: in demo/models/detector.onnx (demo/train_detector.py) the distances to the edges
of an object are a few large numbers in a tensor of small ones. Items of the Fashion-MNIST test pictures are pasted on
canvases, so classes and boxes are known by construction: this is mAP@0.5 of that task, not COCO's. Calibration canvases
have items that training did not see. All products compute in INT8 (--budget 0), whether that is faster or not.

Intervals: drop against FP32 on the same canvases, 95 %, canvases drawn with replacement. Writes
bench/results/int8_detection.json (--json names another); --update-docs writes the table into docs/benchmarks.md.
Exit status: 0; 1 when Hussar fails or `auto` loses more than one point; 2 when data are missing.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import paired  # noqa: E402
import report_section  # noqa: E402
from modelzoo import fashion_mnist, pasted  # noqa: E402

MODEL = ROOT / "demo/models/detector.onnx"
METHODS = ("auto", "mse", "minmax", "percentile", "entropy")
SHAPES = {"x": [1, 1, pasted.SIZE, pasted.SIZE]}
MOST_DROP = 1.0  # points that `auto` may lose
CALIBRATION_SEED, TEST_SEED = 3, 4


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=MODEL)
    parser.add_argument("--data", type=pathlib.Path, default=fashion_mnist.FOLDER, help="folder of the idx files")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated, of those of `hussar build --help`")
    parser.add_argument("--canvases", type=int, default=2000, help="to test on")
    parser.add_argument("--samples", type=int, default=300, help="calibration canvases")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/int8_detection.json")
    parser.add_argument("--update-docs", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.canvases < 1 or arguments.samples < 8:
        parser.error("--canvases starts at 1, --samples at 8")
    return arguments


def find(plan: pathlib.Path, canvases: np.ndarray, threads: int) -> list[np.ndarray]:
    engine = engines.open_engine("hussar", plan, {"x": fashion_mnist.normalise(canvases[:1])}, threads)
    found = []
    for index in range(len(canvases)):
        engine.bind({"x": fashion_mnist.normalise(canvases[index : index + 1])})
        engine.call()
        found += pasted.decode(*engine.outputs())
    return found


def mean_overlap(objects: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Of every object with the best box around it, whatever its class: how good the boxes are without the classes."""
    best = []
    for truth, answers in zip(objects, found):
        for row in truth:
            best.append(pasted.overlaps(row[1:], answers[:, 1:5]).max() if len(answers) else 0.0)
    return float(np.mean(best))


class Trial:
    """One plan: built, run on all canvases, judged."""

    def __init__(self, name: str, flags: list[str], folder: pathlib.Path, arguments: argparse.Namespace, data) -> None:
        canvases, objects = data
        plan, report = folder / f"{name}.plan", folder / f"{name}.json"
        hussar_cli.build(arguments.model, plan, shapes=SHAPES, threads=arguments.threads,
                         more=[*flags, "--budget", "0", "--json", str(report)])  # fmt: skip
        counts = json.loads(report.read_text())["precision_counts"]
        found = find(plan, canvases, arguments.threads)
        self.evaluation = pasted.Evaluation(objects, found)
        self.row = {
            "name": name, "flags": flags, "plan_bytes": plan.stat().st_size, "precision_counts": counts,
            "map50": self.evaluation.mean_average_precision(), "mean_overlap": mean_overlap(objects, found),
        }  # fmt: skip

    def compare(self, base: Trial) -> None:
        def drop(weights: np.ndarray) -> float:
            return base.evaluation.mean_average_precision(weights) - self.evaluation.mean_average_precision(weights)

        count = len(self.evaluation.counts)
        self.row["drop_points"] = drop(np.ones(count))
        self.row["interval_points"] = list(paired.resampled_interval(count, drop))


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    lines = [
        f"{facts['cpu']}, {facts['date']}, commit {facts['commit']}. {settings['canvases']} canvases with "
        f"{report['objects']} objects; {settings['samples']} others to calibrate on.",
        "",
        "| plan | steps in INT8 | plan MB | mAP@0.5 | mean overlap of the boxes | drop, points | 95 % interval |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        title = "FP32" if row["name"] == "fp32" else f"INT8, {row['name']}"
        drop = ("-", "-")
        if "drop_points" in row:
            low, high = row["interval_points"]
            drop = f"{row['drop_points']:.2f}", f"{low:.2f} to {high:.2f}"
        cells = [title, str(row["precision_counts"].get("int8", 0)), f"{row['plan_bytes'] / 1e6:.2f}",
                 f"{row['map50']:.2f}", f"{row['mean_overlap']:.3f}", *drop]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> int:
    data = pasted.make("test", arguments.canvases, TEST_SEED, arguments.data)
    calibration, _ = pasted.make("held_out", arguments.samples, CALIBRATION_SEED, arguments.data)
    settings = {key: getattr(arguments, key) for key in ("canvases", "samples", "threads")}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings}
    report["objects"] = sum(map(len, data[1]))
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="hussar-detection-") as name:
        folder = pathlib.Path(name)
        samples = folder / "calibration.npz"
        np.savez(samples, x=fashion_mnist.normalise(calibration))
        for method in ("fp32", *filter(None, arguments.methods.split(","))):
            flags = [] if method == "fp32" else ["--int8", "--calib", str(samples), "--calib-method", method]
            trials.append(Trial(method, flags, folder, arguments, data))
            trials[-1].row["flags"] = [flag if flag != str(samples) else samples.name for flag in flags]
            print(f"{method}: mAP@0.5 {trials[-1].row['map50']:.2f}", file=sys.stderr, flush=True)
    for trial in trials[1:]:
        trial.compare(trials[0])
    report["rows"] = [trial.row for trial in trials]
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    if arguments.update_docs:
        report_section.update("int8_detection", "bench/int8_detection.py", "INT8", markdown(report))
    lost = max((row["drop_points"] for row in report["rows"] if row["name"] == "auto"), default=0.0)
    if lost > MOST_DROP:
        print(f"auto loses {lost:.2f} points", file=sys.stderr)
    return 1 if lost > MOST_DROP else 0


def main() -> int:
    arguments = parse_arguments()
    try:
        return run(arguments)
    except (modelzoo.Unavailable, OSError) as reason:
        print(f"int8_detection: {reason}", file=sys.stderr)
        return 2
    except (hussar_cli.BuildFailed, RuntimeError) as failure:
        print(f"int8_detection: Hussar failed: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
