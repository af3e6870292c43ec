#!/usr/bin/env python3
"""What each rung of compression makes of a model: FP32 without fusion, FP32, TF32, FP16, BF16, INT8, FP8; FP16, INT8 and
FP8 with 2:4 weights, too.

    bench/compression_table.py --target cuda --case bert_large:32x128
    bench/compression_table.py --target cpu --case resnet50:1 --rungs fp32,int8 --rounds 9
    bench/compression_table.py --plot bench/results/compression_cuda.json     # SVG and PNG beside it, needs matplotlib

A case is MODEL:BATCH, then the sequence of encoders or the size of pictures where the model leaves it open
(bert_large:32x128, yolov8n:1x640x640). MODEL is one that bench/peers_gpu.py exports (alexnet and bert_large_outliers,
too), a file MODELS/MODEL/model.onnx, or a classifier of demo/models (resnet20, mobilenet, vit).

The weights of exports are random: speed and fidelity, not accuracy. INT8 and FP8 (GPUs from sm_89 on; TF32, BF16 and FP8
are left out on CPUs) are calibrated with 8 samples that are made up; int8_dynamic, which --rungs has to name, finds its
ranges in every run. 2:4 weights (on CPUs 2:4x64, which they make use of) are the model's own, pruned by magnitude, and are
held against the pruned model in FP32: what pruning itself costs is a question of training (bench/prune_accuracy.py). The classifiers are
trained: 500 real pictures calibrate, the 2:4x64 weights are fine-tuned, and top-1 is of 10,000 labelled pictures.

In every round each rung has a turn, a process of its own (`hussar bench`); times are medians over the rounds of medians,
of the device alone where there is one. Fidelity: the largest error of an output, in parts of its range, and the cosine,
on one batch of inputs of the kind that calibrates, but others.
Writes bench/results/compression.json (--json names another).
Exit status: 0; 1 when a plan cannot be built or run; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import hussar_ctypes  # noqa: E402
import machine  # noqa: E402
import peers_gpu  # noqa: E402
from modelzoo import fashion_mnist  # noqa: E402

CLASSIFIERS = ("resnet20", "mobilenet", "vit")  # of demo/models
# What is built, from which weights, and with which flags. "unfused": every operator is a step.
FUSING = ("fuse_pointwise", "fuse_inverted_residual", "recognise_attention", "recognise_gelu", "recognise_silu",
          "recognise_layer_norm", "recognise_softmax", "recognise_hard_swish", "merge_qkv", "fold_batch_norm")  # fmt: skip
RUNGS = {
    "unfused": ("FP32, unfused", "dense", [f"--disable-pass={name}" for name in FUSING]),
    "fp32": ("FP32", "dense", []),
    "tf32": ("TF32", "dense", ["--tf32"]),
    "fp16": ("FP16", "dense", ["--fp16"]),
    "bf16": ("BF16", "dense", ["--bf16"]),
    "int8": ("INT8", "dense", ["--fp16", "--int8"]),
    "int8_dynamic": ("INT8, dynamic", "dense", ["--fp16", "--int8", "--dynamic"]),
    "fp8": ("FP8", "dense", ["--fp16", "--fp8"]),
    "fp16_24": ("FP16, 2:4", "pruned", ["--fp16"]),
    "int8_24": ("INT8, 2:4", "pruned", ["--fp16", "--int8"]),
    "fp8_24": ("FP8, 2:4", "pruned", ["--fp16", "--fp8"]),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--case", action="append", default=[], help="MODEL:BATCH[xSEQUENCE]; repeatable")
    parser.add_argument("--models", type=pathlib.Path, help="a folder with MODEL/model.onnx of open batch; default: exports them")
    parser.add_argument("--rungs", default=",".join(name for name in RUNGS if name != "int8_dynamic"),
                        help="comma-separated; RUNG:BUDGET has a budget of its own (int8_24:30s)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", default="60s", help="`hussar build --budget`; 0: predicted times decide")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/compression.json")
    parser.add_argument("--plot", type=pathlib.Path, help="draws what a JSON file says, and measures nothing")
    arguments = parser.parse_args()
    words = [word.partition(":") for word in arguments.rungs.split(",")]
    arguments.rungs = {rung: budget for rung, _, budget in words}
    unknown = set(arguments.rungs) - set(RUNGS)
    if unknown or not (arguments.case or arguments.plot):
        parser.error(f"unknown rungs: {', '.join(unknown)}" if unknown else "--case or --plot is needed")
    return arguments


def hussar(*words) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in (hussar_cli.program(), *words)], capture_output=True, text=True)


def report_of(path: pathlib.Path, *words) -> dict:
    outcome = hussar(*words, "--json", path)
    if not path.exists():
        raise hussar_cli.BuildFailed(outcome.stderr.strip()[-300:])
    return json.loads(path.read_text())


def write_samples(case: Case, path: pathlib.Path, count: int = 8, seed: int = 1) -> None:
    """To calibrate with; others of the same kind with another seed."""
    import numpy

    random = numpy.random.default_rng(seed)
    if case.model in CLASSIFIERS:
        pictures, _ = fashion_mnist.read("held_out" if seed == 1 else "test")
        numpy.savez(path, x=fashion_mnist.normalise(pictures[: 500 if seed == 1 else count]))
        return
    shapes = case.shapes(count)
    if peers_gpu.is_encoder(case.model):
        shape = shapes["input_ids"]
        arrays = {"input_ids": random.integers(100, 30000, shape), "attention_mask": numpy.ones(shape, numpy.int64),
                  "token_type_ids": numpy.zeros(shape, numpy.int64)}  # fmt: skip
    else:
        arrays = {name: random.standard_normal(shape, numpy.float32) for name, shape in shapes.items()}
    numpy.savez(path, **arrays)


class Case:
    """A model at one shape: its weights dense and pruned, with their calibrations."""

    def __init__(self, text: str, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.model, _, size = text.partition(":")
        self.batch, *self.size = [int(number) for number in size.split("x")]
        self.folder, self.text = folder, text
        self.pattern = "2:4" if arguments.target == "cuda" else "2:4x64"
        self.dense = (arguments.models or folder) / self.model / "model.onnx"
        if self.model in CLASSIFIERS:
            self.dense = ROOT / "demo/models" / f"{self.model}.onnx"
        elif not self.dense.exists():
            peers_gpu.export(self.model, self.dense)

    def shapes(self, batch: int) -> dict[str, list[int]]:
        if peers_gpu.is_encoder(self.model):
            return peers_gpu.shapes_of(self.model, [batch, *self.size])
        import onnx

        picture = onnx.load(self.dense, load_external_data=False).graph.input[0]
        channels, *size = [dim.dim_value for dim in picture.type.tensor_type.shape.dim][1:]
        return {picture.name: [batch, channels, *(self.size or size)]}

    def onnx(self, weights: str) -> pathlib.Path:
        if weights == "dense":
            return self.dense
        if self.model in CLASSIFIERS:
            return self.dense.with_name(f"{self.model}_2of4x64.onnx")
        pruned = self.folder / f"{self.model}_24.onnx"
        if not pruned.exists():
            outcome = hussar("prune", self.dense, "-o", pruned, "--pattern", self.pattern, "--method", "magnitude")
            if outcome.returncode != 0:
                raise hussar_cli.BuildFailed(outcome.stderr.strip()[-300:])
        return pruned

    def calibration(self, weights: str) -> pathlib.Path:
        """Of one sample at a time: ranges do not depend on the batch."""
        samples = self.folder / f"{self.model}_{'x'.join(map(str, self.size))}.npz"
        path = samples.with_name(f"{samples.stem}_{weights}.json")
        if not samples.exists():
            write_samples(self, samples)
        if not path.exists():
            shapes = hussar_cli.spell_shapes(self.shapes(1))
            outcome = hussar("calibrate", self.onnx(weights), "--calib", samples, "-o", path, "--shapes", shapes)
            if outcome.returncode != 0:
                raise hussar_cli.BuildFailed(outcome.stderr.strip()[-300:])
        return path

    def build(self, rung: str, arguments: argparse.Namespace, plan: pathlib.Path, extra: tuple[str, ...] = (),
              budget: str = "") -> float:  # fmt: skip
        _, weights, flags = RUNGS[rung]
        flags = [*flags, *extra]
        more = ["--target", arguments.target, "--budget", budget or arguments.budget, "--self-check", "off", *flags]
        more += ["--timing-cache", self.folder / "timings.txt"]  # problems are measured once
        if ("--int8" in flags or "--fp8" in flags) and "--dynamic" not in flags:
            more += ["--calib-cache", self.calibration(weights)]
        begin = time.monotonic()
        hussar_cli.build(self.onnx(weights), plan, shapes=self.shapes(self.batch), more=map(str, more))
        return time.monotonic() - begin


def time_plan(plan: pathlib.Path, *more) -> dict:
    report = report_of(plan.with_suffix(".bench.json"), "bench", plan, "--iterations", "3", "--warmup", "2", *more)
    return {
        "ms": report.get("device_latency_ms", report["latency_ms"])["median"],
        "plan_bytes": report["plan_bytes"],
        "memory_bytes": report["plan_bytes"] + report.get("device_arena_bytes", report["arena_bytes"]),
    }


def fidelity(case: Case, reference: pathlib.Path, plan: pathlib.Path) -> dict:
    """Of the output that is worst. The comparison ends with status 4 over its tolerance: here it is a figure.

    On inputs like those that calibrated: tokens that hussar makes up are few and of both types, which no range is of."""
    inputs = case.folder / f"{case.text.replace(':', '_')}_compared.npz"
    if not inputs.exists():
        write_samples(case, inputs, case.batch, seed=2)
    more = ["--tolerance", "1", "--load-inputs", inputs]
    report = report_of(plan.with_suffix(".compare.json"), "compare", reference, plan, *more)
    outputs = [output for pair in report["comparisons"] for output in pair["outputs"]]
    return {"relative_error": max(output["error"] for output in outputs),
            "cosine": min(output["cosine"] for output in outputs)}  # fmt: skip


def top1(plan: pathlib.Path, case: Case) -> float:
    """Percent of the 10,000 labelled pictures."""
    import numpy

    pictures, labels = fashion_mnist.read("test")
    pictures = fashion_mnist.normalise(pictures)
    session = hussar_ctypes.Library().load(plan).session()
    right = 0
    for begin in range(0, len(labels), case.batch):
        batch = pictures[begin : begin + case.batch]
        missing = case.batch - len(batch)  # of the last one
        answers = session.run({"x": numpy.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))})
        classes = next(iter(answers.values())).argmax(axis=1)[: len(batch)]
        right += int((classes == labels[begin : begin + case.batch]).sum())
    return 100 * right / len(labels)


def measure(case: Case, arguments: argparse.Namespace) -> dict:
    rungs = list(arguments.rungs)
    if arguments.target == "cpu":
        lacks = {"tf32", "fp8", "fp8_24", *(half for half in ("fp16", "bf16") if not hussar_cli.computes_in(half))}
        lacks |= {f"{half}_24" for half in lacks}
        rungs = [rung for rung in rungs if rung not in lacks]
    plans = {rung: case.folder / f"{rung}.plan" for rung in rungs}
    rows = {}
    for rung, plan in plans.items():
        seconds = case.build(rung, arguments, plan, budget=arguments.rungs[rung])
        rows[rung] = {"rung": rung, "budget": arguments.rungs[rung] or arguments.budget, "build_seconds": seconds}
    times: dict[str, list[float]] = {rung: [] for rung in rungs}
    for _ in range(arguments.rounds):
        for rung, plan in plans.items():
            turn = time_plan(plan)
            times[rung].append(turn.pop("ms"))
            rows[rung].update(turn)
    for rung in rungs:
        rows[rung]["ms"] = statistics.median(times[rung])
        rows[rung]["per_second"] = case.batch / rows[rung]["ms"] * 1e3
        weights = RUNGS[rung][1]
        # The model itself would take minutes on the CPU for a large batch: plans are held against plans.
        reference = plans.get("fp32") if weights == "dense" else pruned_reference(case, arguments)
        if reference is not None and rung != "fp32":
            rows[rung].update(fidelity(case, reference, plans[rung]))
        if case.model in CLASSIFIERS:
            rows[rung]["top1"] = top1(plans[rung], case)
    return {"case": case.text, "target": arguments.target, "rungs": list(rows.values())}


def pruned_reference(case: Case, arguments: argparse.Namespace) -> pathlib.Path:
    plan = case.folder / "pruned_fp32.plan"
    more = ("--target", arguments.target, "--budget", "0s", "--self-check", "off", "--sparsity", "off")
    hussar_cli.build(case.onnx("pruned"), plan, shapes=case.shapes(case.batch), more=more)
    return plan


def markdown(report: dict) -> str:
    facts = report["machine"]
    lines = [f"{report['device']}, {facts['date']}, commit {facts['commit']}."]
    for case in report["cases"]:
        slowest = case["rungs"][0]["ms"]
        is_labelled = "top1" in case["rungs"][0]
        head = "| rung | ms | per second | times as fast | plan MB | memory MB | error | cosine |" + " top-1 |" * is_labelled
        lines += ["", f"{case['case']}, {case['target']}:", "", head, "|---" * (8 + is_labelled) + "|"]
        for row in case["rungs"]:
            error = f"{row['relative_error']:.1e} | {row['cosine']:.5f}" if "cosine" in row else "- | -"
            lines.append(
                f"| {label(row, case)} | {row['ms']:.3g} | {row['per_second']:.4g} | {slowest / row['ms']:.2f} | "
                f"{row['plan_bytes'] / 1e6:.3g} | {row['memory_bytes'] / 1e6:.3g} | {error} |"
                + (f" {row['top1']:.2f} |" if is_labelled else "")
            )
    return "\n".join(lines)


def label(row: dict, case: dict) -> str:
    name = RUNGS[row["rung"]][0]
    return name + "x64" if name.endswith("2:4") and case["target"] == "cpu" else name


def plot(path: pathlib.Path) -> None:
    """One bar per rung: how many times as fast as the first it is, for every case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    report = json.loads(path.read_text())
    cases = report["cases"]
    figure, axes = pyplot.subplots(1, len(cases), figsize=(4.2 * len(cases), 3.4), squeeze=False, layout="constrained")
    for axis, case in zip(axes[0], cases):
        rows = case["rungs"]
        speeds = [rows[0]["ms"] / row["ms"] for row in rows]
        bars = axis.barh([label(row, case) for row in rows], speeds, color="#3b6ea5")
        axis.bar_label(bars, [f"{speed:.1f}x, {row['ms']:.3g} ms" for speed, row in zip(speeds, rows)], padding=3)
        axis.invert_yaxis()
        axis.set_title(f"{case['case']} ({case['target']})")
        axis.set_xlabel(f"times as fast as {RUNGS[rows[0]['rung']][0]}")
        axis.set_xlim(0, max(speeds) * 1.5)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(report["device"])
    for suffix in (".svg", ".png"):
        figure.savefig(path.with_suffix(suffix), dpi=120)


def device_name(target: str) -> str:
    doctor = json.loads(hussar("doctor", "--json").stdout)
    if target == "cpu":
        return doctor["device"]["cpu_model"]
    import torch

    return torch.cuda.get_device_name()


def main() -> int:
    arguments = parse_arguments()
    if arguments.plot:
        plot(arguments.plot)
        return 0
    report = {"schema_version": 1, "machine": machine.facts(), "device": device_name(arguments.target), "cases": []}
    with tempfile.TemporaryDirectory() as folder:
        for text in arguments.case:
            report["cases"].append(measure(Case(text, arguments, pathlib.Path(folder)), arguments))
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except hussar_cli.BuildFailed as error:
        sys.exit(f"compression_table: {error}")
