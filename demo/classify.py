#!/usr/bin/env python3
"""Three Fashion-MNIST classifiers, made lighter step by step: what each step costs and brings, on labelled pictures.

    demo/classify.py
    demo/classify.py --models vit --reference-seconds 0     # the reference path answers every picture, too

Plans answer one picture at a time. INT8 calibrates on pictures of the training set that the models never saw. Plans and
answers are kept in .cache/demo while model, program and data stay the same, and the table marks what was kept; latency
and memory are measured anew. The reference path is slow: each run adds some of its answers to those that are kept. The result is also written to .cache/demo/fashion_mnist.json (or --json).

Exit status: 0; 1 when Hussar fails or a precision loses more than one point of top-1; 2 when data are missing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "bench")]

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import hussar_ctypes  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import paired  # noqa: E402
import report_section  # noqa: E402
from modelzoo import fashion_mnist  # noqa: E402

WORK = ROOT / ".cache/demo"
MODELS = {
    path.stem: path for path in (ROOT / "demo/models" / f"{name}.onnx" for name in ("resnet20", "mobilenet", "vit"))
}
TITLES = {
    "resnet20": "ResNet-20: 3x3 convolutions, residual sums",
    "mobilenet": "MobileNetV2-like: depthwise convolutions, hard-swish",
    "vit": "ViT: attention, layer norms, GELU",
}
MOST_DROP = 1.0  # points of top-1
PICTURES = 10_000
PRUNING = 2048  # unlabelled pictures for the weights that `hussar prune` keeps
BLOCK = 4  # pictures that a worker takes at a time
SHAPES = {"x": [1, 1, fashion_mnist.SIZE, fashion_mnist.SIZE]}


@dataclass(frozen=True)
class Row:
    title: str
    flags: tuple[str, ...]
    precision: str = ""  # of the steps that the row is about
    calibrated: bool = False
    weights: str = ""  # "fine-tuned": 2:4x64, from demo/models; "one shot": 2:4, by `hussar prune`


ROWS = {
    # Every step has one kernel here, so there is nothing to measure.
    "reference": Row("FP32 reference path",
                     ("--target", "cpu:scalar", "--disable-pass", "all", "--self-check", "off", "--budget", "0")),
    "fp32": Row("FP32 fused", ()),
    "fp16": Row("FP16", ("--fp16",), "float16"),
    "int8": Row("INT8 where faster", ("--int8",), "int8", calibrated=True),
    "all_int8": Row("INT8 everywhere", ("--int8", "--budget", "0"), "int8", calibrated=True),
    "fine_tuned": Row("2:4x64, fine-tuned, INT8 where faster", ("--int8",), "int8", calibrated=True, weights="fine-tuned"),
    "one_shot": Row("2:4, one shot, INT8 everywhere", ("--int8", "--budget", "0"), "int8", calibrated=True, weights="one shot"),
}

LEGEND = """
  FP32 reference path  no passes, scalar code, the definition of each operator where no scalar kernel is there
  FP32 fused           hussar build MODEL.onnx
  FP16                 hussar build MODEL.onnx --fp16{fp16}
  INT8 where faster    hussar build MODEL.onnx --int8 --calib data.npz      ({samples} held-out training pictures)
  INT8 everywhere      the same with --budget 0: nothing is measured, all that has a known range is INT8
  2:4x64, fine-tuned   of every four weights two are zero, the same for 64 output channels; trained on (demo/train_sparse.py)
  2:4, one shot        hussar prune MODEL.onnx -o PRUNED.onnx --data pictures.npz   ({pruning} training pictures, no labels)

  plan MB     size of the plan file
  peak MB     peak memory of a process that does nothing but load and run the plan (hussar bench)
  ms          latency of one picture, median of interleaved rounds, {threads} threads
  x ref       how many times as fast as the reference path
  x FP32      how many times as fast as FP32 fused
  low steps   steps that compute in FP16 or INT8, of all that compute
  top-1 %     right answers, in percent of the pictures counted in the next column
  drop        top-1 lost against FP32 fused on the same pictures, in points, with its paired 95 % interval
  flips       pictures that got another answer than from FP32 fused"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="comma-separated (default: all three)")
    parser.add_argument("--data", type=pathlib.Path, default=fashion_mnist.FOLDER, help="folder of the idx files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=500, help="calibration pictures")
    parser.add_argument("--rounds", type=int, default=7, help="of the interleaved timing")
    parser.add_argument("--reference-seconds", type=float, default=5,
                        help="that the reference path answers pictures of a model in one run; 0: until it has answered all")  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="use nothing that an earlier run has kept")
    parser.add_argument("--json", type=pathlib.Path, default=WORK / "fashion_mnist.json")
    parser.add_argument("--update-docs", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    arguments.models = arguments.models.split(",")
    if unknown := [name for name in arguments.models if name not in MODELS]:
        parser.error(f"no model {unknown[0]!r}; the models are {', '.join(MODELS)}")
    if arguments.threads < 1 or arguments.rounds < 1 or not 8 <= arguments.samples <= fashion_mnist.HELD_OUT:
        parser.error(f"--threads and --rounds start at 1, --samples at 8 and ends at {fashion_mnist.HELD_OUT}")
    return arguments


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def digest(*parts: bytes) -> str:
    sums = "".join(hashlib.sha256(part).hexdigest() for part in parts)
    return hashlib.sha256(sums.encode()).hexdigest()[:16]


class Kept:
    """The plan of one row with its report and answers, in .cache/demo under what they depend on."""

    def __init__(self, model: str, kind: str, key: str, fresh: bool) -> None:
        stem = f"{model}_{kind}"
        self.plan = WORK / f"{stem}_{key}.plan"
        self.answers = self.plan.with_suffix(".npy")
        self.record = self.plan.with_suffix(".json")
        for path in WORK.glob(f"{stem}_*"):
            if fresh or key not in path.name:
                path.unlink()

    def read_record(self) -> dict | None:
        try:
            record = json.loads(self.record.read_text())
            return record if record["plan"] == digest(self.plan.read_bytes()) else None
        except (OSError, ValueError, KeyError):
            return None

    def read_answers(self) -> np.ndarray:
        """Of the first pictures; none where none are kept."""
        try:
            return np.load(self.answers)
        except (OSError, ValueError):
            return np.zeros(0, np.uint8)


class Study:
    """The rows of one model."""

    def __init__(self, name: str, arguments: argparse.Namespace, data: dict[str, np.ndarray], common: str) -> None:
        self.name, self.arguments, self.data, self.common = name, arguments, data, common
        self.rows: dict[str, dict] = {}
        self.plans: dict[str, pathlib.Path] = {}
        self.answers: dict[str, np.ndarray] = {}

    def model_of(self, row: Row) -> pathlib.Path:
        dense = MODELS[self.name]
        if row.weights == "fine-tuned":
            return dense.with_name(f"{self.name}_2of4x64.onnx")
        if row.weights != "one shot":
            return dense
        pruned = WORK / f"{self.name}_pruned_{digest(dense.read_bytes(), self.common.encode())}.onnx"
        if self.arguments.fresh or not pruned.exists():
            for path in WORK.glob(f"{self.name}_pruned_*"):
                path.unlink()
            command = [hussar_cli.program(), "prune", dense, "-o", pruned, "--data", WORK / "pruning.npz"]
            outcome = subprocess.run([str(word) for word in command], capture_output=True, text=True)
            if outcome.returncode != 0:
                raise RuntimeError(f"hussar prune ended with status {outcome.returncode}: {outcome.stderr.strip()}")
        return pruned

    def build(self, kind: str) -> Kept:
        row, arguments = ROWS[kind], self.arguments
        more, model = list(row.flags), self.model_of(row)
        if row.calibrated:
            # The data go through the command line as a user's would; the second row finds the first one's statistics.
            more += ["--calib", str(WORK / "calibration.npz"), "--calib-cache", str(WORK / f"{model.stem}_ranges.json")]
        key = digest(model.read_bytes(), " ".join(more).encode(), self.common.encode())
        kept = Kept(self.name, kind, key, arguments.fresh)
        record = kept.read_record()
        known = record is not None
        if record is None:
            kept.answers.unlink(missing_ok=True)
            report = WORK / "build.json"
            seconds = hussar_cli.build(model, kept.plan, shapes=SHAPES, threads=arguments.threads,
                                       more=[*more, "--json", str(report)])  # fmt: skip
            counts = json.loads(report.read_text())["precision_counts"]
            record = {"plan": digest(kept.plan.read_bytes()), "precision_counts": counts, "build_seconds": seconds}
            record["built"] = now()
            kept.record.write_text(json.dumps(record, indent=1) + "\n")
        counts = record["precision_counts"]
        low = counts.get(row.precision, 0) if row.precision else 0
        self.plans[kind] = kept.plan
        self.rows[kind] = {
            "title": row.title, "flags": list(row.flags), "plan_bytes": kept.plan.stat().st_size, "plan_kept": known,
            "build_seconds": record["build_seconds"], "built": record["built"], "low_steps": low,
            # QuantizeLinear and its like are conversions: they compute nothing.
            "computing_steps": sum(count for dtype, count in counts.items() if dtype != "uint8"),
        }  # fmt: skip
        return kept

    def answer(self, kind: str, kept: Kept) -> None:
        """The answers of a plan: those kept, and the missing ones."""
        pictures, row = self.data["pictures"], self.rows[kind]
        row["answers_from"] = kind
        if ROWS[kind].precision and not ROWS[kind].weights and not row["low_steps"]:
            row["answers_from"], row["answers_kept"] = "fp32", self.rows["fp32"]["answers_kept"]
            self.answers[kind] = self.answers["fp32"]
            return
        answers = kept.read_answers()
        row["answers_kept"] = len(answers)
        if len(answers) < len(pictures):
            begin = time.perf_counter()
            limit = self.arguments.reference_seconds if kind == "reference" else 0
            fresh = ask(kept.plan, pictures[len(answers) :], self.arguments.threads, limit)
            say(f"  {ROWS[kind].title}: {len(fresh)} pictures in {time.perf_counter() - begin:.1f} s")
            answers = np.concatenate([answers, fresh])
            np.save(kept.answers, answers)
        self.answers[kind] = answers

    def judge(self) -> None:
        labels, fused = self.data["labels"], self.answers["fp32"]
        for kind, answers in self.answers.items():
            count, row = len(answers), self.rows[kind]
            row["top1"] = 100 * float((answers == labels[:count]).mean())
            row["pictures"] = count
            row["against_fp32"] = paired.compare(labels[:count], fused[:count], answers).to_json()

    def measure(self) -> None:
        """Latency in interleaved rounds, and the peak memory of processes of their own."""
        feeds = {"x": self.data["pictures"][:1]}
        opened = {
            kind: engines.open_engine("hussar", plan, feeds, self.arguments.threads) for kind, plan in self.plans.items()
        }
        for kind, samples in engines.interleave(opened, self.arguments.rounds, 80, 20).items():
            self.rows[kind]["latency_ms"] = engines.summary(samples)
        for kind, plan in self.plans.items():
            self.rows[kind]["peak_bytes"] = peak_bytes(plan, self.arguments.threads)
        for row in self.rows.values():
            for name, base in (("times_reference", "reference"), ("times_fp32", "fp32")):
                row[name] = self.rows[base]["latency_ms"]["median"] / row["latency_ms"]["median"]

    def run(self) -> dict:
        say(f"{self.name}:")
        for kind in ROWS:
            self.answer(kind, self.build(kind))
        self.judge()
        self.measure()
        return {"model": self.name, "model_bytes": MODELS[self.name].stat().st_size, "rows": self.rows}


def ask(plan: pathlib.Path, pictures: np.ndarray, workers: int, seconds: float) -> np.ndarray:
    """Classes of the pictures, one at a time, `workers` at once. seconds: when to stop asking; 0: never."""
    answers = np.zeros(len(pictures), np.uint8)
    begins = iter(range(0, len(pictures), BLOCK))
    lock, stop = threading.Lock(), time.monotonic() + seconds

    def work() -> int:
        picture = pictures[:1].copy()  # bound once: what it holds is read anew on every call
        engine = engines.open_engine("hussar", plan, {"x": picture}, 1)
        end = 0
        while True:
            # A block that was taken is finished, so the answers are always those of the first pictures.
            with lock:
                begin = next(begins, None) if not seconds or time.monotonic() < stop else None
            if begin is None:
                return end
            end = min(begin + BLOCK, len(pictures))
            for index in range(begin, end):
                picture[0] = pictures[index]
                engine.call()
                answers[index] = engine.outputs()[0].argmax()

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        ends = list(pool.map(lambda _: work(), range(workers)))
    return answers[: max(ends)]


def peak_bytes(plan: pathlib.Path, threads: int) -> int:
    command = [str(hussar_cli.program()), "bench", str(plan), "--threads", str(threads), "--warmup", "0"]
    outcome = subprocess.run([*command, "--iterations", "5", "--json"], capture_output=True, text=True)
    if outcome.returncode != 0:
        raise RuntimeError(f"hussar bench ended with status {outcome.returncode}: {outcome.stderr.strip()}")
    return json.loads(outcome.stdout)["peak_rss_bytes"]


HEADINGS = ("", "plan MB", "peak MB", "ms", "x ref", "x FP32", "low steps", "top-1 % ", "pictures", "drop", "95 % interval", "flips")


def points(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no negative zero


def cells(row: dict) -> list[str]:
    difference = row["against_fp32"]
    compared = row["answers_from"] != "fp32"
    baseline = row["title"] == ROWS["fp32"].title
    mark = "=" if not compared and not baseline else "*" if row["answers_kept"] else " "
    speed = row["times_reference"], row["times_fp32"]
    return [
        row["title"],
        f"{row['plan_bytes'] / 1e6:.2f}",
        f"{row['peak_bytes'] / 1e6:.1f}",
        f"{row['latency_ms']['median']:.3g}",
        *(f"{value:.0f}" if value >= 10 else f"{value:.2g}" for value in speed),
        f"{row['low_steps']}/{row['computing_steps']}",
        f"{row['top1']:.2f}{mark}",
        f"{row['pictures']:,}",
        points(difference["drop_points"]) if compared else "-",
        " to ".join(map(points, difference["interval_points"])) if compared else "-",
        str(difference["flips"]) if compared else "-",
    ]


def print_table(report: dict) -> None:
    table = [(None, list(HEADINGS))]
    for model in report["models"]:
        table += [(model["model"], cells(row)) for row in model["rows"].values()]
    widths = [max(len(line[column]) for _, line in table) for column in range(len(HEADINGS))]
    facts = report["machine"]
    print(f"\n{facts['cpu']}, {facts['cores']} cores, {report['settings']['threads']} threads, {facts['date']}")
    previous = None
    for name, line in table:
        if name != previous:
            print(f"\n{TITLES[name]}")
        previous = name
        print("  " + line[0].ljust(widths[0]) + "".join("  " + text.rjust(width) for text, width in zip(line[1:], widths[1:])))


def print_legend(report: dict) -> None:
    settings = report["settings"]
    fp16 = "" if settings["computes_in_fp16"] else "   (this CPU has no AVX512-FP16: all of it stays FP32)"
    print(LEGEND.format(fp16=fp16, samples=settings["samples"], threads=settings["threads"], pruning=PRUNING))
    rows = [row for model in report["models"] for row in model["rows"].values()]
    if any(row["answers_from"] == "fp32" for row in rows if row["title"] != ROWS["fp32"].title):
        print("  =           no step in lower precision here: the answers of FP32 fused stand for this row")
    if any(row["answers_kept"] for row in rows):
        print("  *           answers kept from an earlier run (all or some): same model, program and data; --fresh asks again")
    if kept := sum(row["plan_kept"] for row in rows):
        print(f"  {kept} of {len(rows)} plans were kept in .cache/demo from an earlier run, for the same reason")
    if any(row["pictures"] < PICTURES for row in rows):
        print(f"  The reference path takes too long for all pictures: each run answers {settings['reference_seconds']:g} s more"
              " of them\n  (--reference-seconds 0: all). The other rows answer all 10,000 test pictures.")  # fmt: skip


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    text = f"{facts['cpu']}, {facts['cores']} cores, {settings['threads']} threads, {facts['date']}, commit {facts['commit']}; "
    text += f"{settings['samples']} calibration pictures."
    if not settings["computes_in_fp16"]:
        text += " No AVX512-FP16 here: the plans of `--fp16` compute in FP32."
    lines = [text, "", "| model | " + " | ".join(["row", *HEADINGS[1:]]) + " |", "|" + "---|" * (len(HEADINGS) + 1)]
    for model in report["models"]:
        for row in model["rows"].values():
            lines.append(f"| {model['model']} | " + " | ".join(cell.rstrip("* ") for cell in cells(row)) + " |")
    return "\n".join(lines)


def read_data(arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    pictures, labels = fashion_mnist.read("test", arguments.data)
    held_out, _ = fashion_mnist.read("held_out", arguments.data)
    calibration = fashion_mnist.normalise(held_out[: arguments.samples])
    pruning = fashion_mnist.normalise(held_out[-PRUNING:])
    return {"pictures": fashion_mnist.normalise(pictures), "labels": labels, "calibration": calibration, "pruning": pruning}


def run(arguments: argparse.Namespace) -> int:
    WORK.mkdir(parents=True, exist_ok=True)
    data = read_data(arguments)
    for name in ("calibration", "pruning"):
        np.savez(WORK / f"{name}.npz", x=data[name])
    programs = [path.read_bytes() for path in (hussar_cli.program(), hussar_ctypes.default_library())]
    facts = machine.facts()
    settings = {key: getattr(arguments, key) for key in ("threads", "samples", "rounds", "reference_seconds")}
    settings["computes_in_fp16"] = hussar_cli.computes_in("fp16")
    arrays = [data[name].tobytes() for name in ("pictures", "labels", "calibration", "pruning")]
    limits = f"{arguments.threads} {facts['cpu']} {facts['features']} {os.environ.get('HUSSAR_ISA')}"
    common = digest(*programs, *arrays, limits.encode())
    for path in WORK.glob("*_ranges.json"):
        path.unlink()
    report = {"schema_version": 1, "machine": facts, "settings": settings, "models": []}
    for name in arguments.models:
        report["models"].append(Study(name, arguments, data, common).run())
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print_table(report)
    print_legend(report)
    if arguments.update_docs:
        report_section.update("fashion_mnist", "demo/classify.py", "INT8", markdown(report))
    drops = [row["against_fp32"]["drop_points"] for model in report["models"] for row in model["rows"].values()]
    if max(drops) > MOST_DROP:
        print(f"\nA precision loses {max(drops):.2f} points of top-1.", file=sys.stderr)
    return 1 if max(drops) > MOST_DROP else 0


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
