#!/usr/bin/env python3
"""What INT8 costs three trained models on labelled tasks: FP32 beside INT8, with paired intervals.

    bench/int8_accuracy.py                                  # all, as many questions as there are
    bench/int8_accuracy.py --tasks words,lines --most 300

The tasks are those of labelled_tasks.py. All products compute in INT8 (--budget 0), whether that is faster or not;
answers are judged by the labels, so plans are built without the self-check on random inputs. Calibration data are none of
the questions. Drops are in points of the metric, with 95 % intervals: paired counts for top-1, questions drawn with
replacement for the rest.

Writes bench/results/int8_accuracy.json (--json names another); --update-docs writes the table into docs/benchmarks.md.
Exit status: 0; 1 when Hussar fails or a drop is above half a point; 2 when models or data are missing.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "demo")]

import hussar_cli  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import report_section  # noqa: E402
from labelled_tasks import TASKS, ask, judge  # noqa: E402
from modelzoo import fashion_mnist  # noqa: E402

MOST_DROP = 0.5  # points


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated (default: all)")
    parser.add_argument("--data", type=pathlib.Path, default=fashion_mnist.FOLDER, help="folder of Fashion-MNIST")
    parser.add_argument("--most", type=int, default=10_000, help="questions per task")
    parser.add_argument("--probe-training", type=int, default=5_000, help="pictures that the linear classifier is fitted on")
    parser.add_argument("--samples", type=int, default=200, help="calibration inputs")
    parser.add_argument("--calib-method", default="auto")
    parser.add_argument("--rounding", choices=("nearest", "adaptive"), default="nearest")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/int8_accuracy.json")
    parser.add_argument("--update-docs", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.tasks.split(",") if name not in TASKS]:
        parser.error(f"no task {unknown[0]!r}; the tasks are {', '.join(TASKS)}")
    if arguments.samples < 8 or arguments.most < 1 or arguments.probe_training < 100:
        parser.error("--samples starts at 8, --most at 1, --probe-training at 100")
    return arguments


def run_task(name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> dict:
    task = TASKS[name](arguments)
    data = folder / "data"
    data.mkdir()
    for index, sample in enumerate(task.calibration):
        np.savez(data / f"{index:04}.npz", **sample)
    shapes = {key: list(array.shape) for key, array in task.questions[0].items()}
    answers, row = {}, {"task": name, "title": task.title, "plan_bytes": {}, "precision_counts": {}}
    int8 = ["--int8", "--calib", str(data), "--calib-method", arguments.calib_method, "--rounding", arguments.rounding]
    for kind, flags in (("fp32", []), ("int8", int8)):
        plan, report = folder / f"{kind}.plan", folder / f"{kind}.json"
        hussar_cli.build(task.model, plan, shapes=shapes, threads=arguments.threads,
                         more=[*flags, "--budget", "0", "--self-check", "off", "--json", str(report)])  # fmt: skip
        row["plan_bytes"][kind] = plan.stat().st_size
        row["precision_counts"][kind] = json.loads(report.read_text())["precision_counts"]
        if kind == "fp32" and task.fit is not None:
            task.fit(lambda inputs: ask(plan, task, inputs, arguments.threads))
        answers[kind] = ask(plan, task, task.questions, arguments.threads)
        print(f"{task.title}: {kind} answered {len(task.questions)} questions", file=sys.stderr, flush=True)
    row["metrics"] = [judge(metric, answers["fp32"], answers["int8"], "int8") for metric in task.metrics]
    return row


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    lines = [
        f"{facts['cpu']}, {facts['date']}, commit {facts['commit']}; {settings['samples']} calibration inputs, "
        f"method {settings['calib_method']}, rounding {settings['rounding']}; the probe is fitted on {settings['probe_training']} pictures.",
        "",
        "| model | metric | questions | FP32 | INT8 | drop, points | 95 % interval | plan |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["tasks"]:
        size = row["plan_bytes"]["int8"] / row["plan_bytes"]["fp32"]
        for metric in row["metrics"]:
            low, high = metric["interval_points"]
            cells = [row["title"], metric["metric"], str(metric["questions"]), f"{metric['fp32']:.2f}",
                     f"{metric['int8']:.2f}", f"{metric['drop_points']:.2f}", f"{low:.2f} to {high:.2f}",
                     f"{size:.0%}"]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> int:
    names = ("most", "probe_training", "samples", "calib_method", "rounding", "threads")
    settings = {key: getattr(arguments, key) for key in names}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings, "tasks": []}
    for name in arguments.tasks.split(","):
        with tempfile.TemporaryDirectory(prefix="hussar-accuracy-") as folder:
            report["tasks"].append(run_task(name, arguments, pathlib.Path(folder)))
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    if arguments.update_docs:
        report_section.update("int8_accuracy", "bench/int8_accuracy.py", "INT8", markdown(report))
    worst = max(metric["drop_points"] for row in report["tasks"] for metric in row["metrics"])
    if worst > MOST_DROP:
        print(f"a drop of {worst:.2f} points is above {MOST_DROP}", file=sys.stderr)
    return 1 if worst > MOST_DROP else 0


def main() -> int:
    arguments = parse_arguments()
    try:
        return run(arguments)
    except (modelzoo.Unavailable, OSError) as reason:
        print(f"int8_accuracy: {reason}", file=sys.stderr)
        return 2
    except (hussar_cli.BuildFailed, RuntimeError) as failure:
        print(f"int8_accuracy: Hussar failed: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
