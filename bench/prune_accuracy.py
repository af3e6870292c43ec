#!/usr/bin/env python3
"""What `hussar prune` costs the demo's trained networks: dense beside pruned, on the test pictures of Fashion-MNIST.

    bench/prune_accuracy.py                                           # all models, patterns and methods of the table
    bench/prune_accuracy.py --models vit --patterns 2:4x64 --methods sparsegpt,obc --flags=--no-swaps
    bench/prune_accuracy.py --dense sparse                            # of dense networks that train_sparse.py --retrain left

Pruning sees unlabelled training pictures that no model was trained on, never the test pictures. "magnitude, as it is"
keeps weights and biases as they were; with all other methods they are fitted to the outputs of the dense network. Drops
are in points of top-1 against the dense network in FP32, with paired 95 % intervals; INT8 is of everything.

Writes bench/results/prune_accuracy.json (--json names another); --update-docs writes the table into docs/benchmarks.md.
Exit status: 0; 1 when Hussar fails; 2 when models or data are missing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "demo")]

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import machine  # noqa: E402
import paired  # noqa: E402
import report_section  # noqa: E402
from modelzoo import fashion_mnist, packages  # noqa: E402

MODELS = {"resnet20": "ResNet-20", "vit": "ViT", "mobilenet": "MobileNetV2-like"}
# What `--methods` may name: flags of hussar prune.
METHODS = {
    "magnitude_kept": ("magnitude, as it is", ["--method", "magnitude", "--keep-weights"]),
    "magnitude": ("magnitude", ["--method", "magnitude"]),
    "wanda": ("wanda", ["--method", "wanda"]),
    "sparsegpt": ("sparsegpt", ["--method", "sparsegpt"]),
    "obc": ("obc", ["--method", "obc"]),
}
TOGETHER = 100  # pictures in one run
CALIBRATION = 500  # pictures for INT8


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet20,vit", help=f"comma-separated, of {', '.join(MODELS)}")
    parser.add_argument("--patterns", default="2:4,2:4x16,2:4x64", help="comma-separated")
    parser.add_argument("--methods", default="magnitude_kept,sparsegpt", help=f"comma-separated, of {', '.join(METHODS)}")
    parser.add_argument("--flags", default="", help="further flags of hussar prune, separated by blanks")
    parser.add_argument("--samples", type=int, default=2048, help="unlabelled pictures")
    parser.add_argument("--draws", type=int, default=1, help="everything so many times, each with other unlabelled pictures")
    parser.add_argument("--data", type=pathlib.Path, default=fashion_mnist.FOLDER, help="folder of Fashion-MNIST")
    parser.add_argument("--dense", type=pathlib.Path, help="prune every NAME_seedS_dense.onnx of this folder (demo/train_sparse.py)")
    parser.add_argument("--fine-tuned", type=pathlib.Path, help="judge NAME_seedS.onnx of this folder (demo/train_sparse.py) instead, "
                        "each against its own dense network where that lies beside it")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/prune_accuracy.json")
    parser.add_argument("--update-docs", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    for name, known in (("models", MODELS), ("methods", METHODS)):
        if unknown := [word for word in getattr(arguments, name).split(",") if word not in known]:
            parser.error(f"--{name}: there is no {unknown[0]!r}; there are {', '.join(known)}")
    if not 8 <= arguments.samples <= fashion_mnist.HELD_OUT:
        parser.error(f"--samples takes 8 to {fashion_mnist.HELD_OUT}")
    return arguments


def prune(model: pathlib.Path, pruned: pathlib.Path, data: pathlib.Path, flags: list[str]) -> dict:
    command = [str(hussar_cli.program()), "prune", str(model), "-o", str(pruned), "--data", str(data), *flags, "--json"]
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode != 0:
        raise hussar_cli.BuildFailed(f"hussar prune ended with status {outcome.returncode}: {outcome.stderr.strip()}")
    return json.loads(outcome.stdout)


def classes(model: pathlib.Path, pictures: np.ndarray, plan: pathlib.Path, threads: int, calibration: pathlib.Path | None = None) -> np.ndarray:
    """Of every picture. calibration: pictures for INT8, of everything."""
    int8 = ["--int8", "--calib", str(calibration)] if calibration else []
    hussar_cli.build(model, plan, shapes={"x": [TOGETHER, *pictures.shape[1:]]}, threads=threads,
                     more=["--budget", "0", "--self-check", "off", *int8])  # fmt: skip
    engine = engines.open_engine("hussar", plan, {"x": pictures[:TOGETHER]}, threads)
    answers = []
    for first in range(0, len(pictures), TOGETHER):
        engine.bind({"x": pictures[first : first + TOGETHER]})
        engine.call()
        answers.append(engine.outputs()[0].argmax(1))
    return np.concatenate(answers)


class Judge:
    """A dense network, and what others lose against it."""

    def __init__(self, name: str, model: pathlib.Path, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.name, self.model, self.arguments, self.folder = name, model, arguments, folder
        if not self.model.exists():
            raise packages.Unavailable(f"{self.model} does not exist")
        self.held_out, _ = fashion_mnist.read("held_out", arguments.data)
        test, self.labels = fashion_mnist.read("test", arguments.data)
        self.data, self.calibration = folder / "x.npy", folder / "calibration.npy"
        self.draw(0)
        self.pictures = fashion_mnist.normalise(test)
        self.dense = classes(self.model, self.pictures, folder / "dense.plan", arguments.threads)

    def draw(self, seed: int) -> None:
        """Other unlabelled pictures."""
        chosen = np.random.default_rng(seed).permutation(len(self.held_out))[: self.arguments.samples]
        np.save(self.data, fashion_mnist.normalise(self.held_out[chosen]))
        np.save(self.calibration, fashion_mnist.normalise(self.held_out[chosen[:CALIBRATION]]))

    def row(self, pruned: pathlib.Path, pattern: str, method: str) -> dict:
        row = {"model": self.name, "network": seed_of(self.model), "pattern": pattern, "method": method,
               "dense": self.top1(self.dense)}  # fmt: skip
        for kind, calibration in (("pruned", None), ("int8", self.calibration)):
            plan = self.folder / "pruned.plan"
            answers = classes(pruned, self.pictures, plan, self.arguments.threads, calibration)
            row[kind] = {"top1": self.top1(answers), **paired.compare(self.labels, self.dense, answers).to_json()}
        return row

    def top1(self, answers: np.ndarray) -> float:
        return 100 * float((answers == self.labels).mean())


def seed_of(model: pathlib.Path) -> str:
    """"seed2" of vit_seed2_dense.onnx and vit_seed2.onnx; empty for the network of the demo."""
    return next((word for word in model.stem.split("_") if word.startswith("seed")), "")


def fine_tuned(name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    rows, committed = [], ROOT / f"demo/models/{name}.onnx"
    judge = None
    for path in sorted(set(arguments.fine_tuned.glob(f"{name}_seed*.onnx")) - set(arguments.fine_tuned.glob("*_dense.onnx"))):
        own = path.with_name(f"{path.stem}_dense.onnx")
        dense = own if own.exists() else committed
        if judge is None or judge.model != dense:
            judge = Judge(name, dense, arguments, folder)
        rows.append(judge.row(path, "2:4x64", f"fine-tuned, {seed_of(path)}"))
        say(rows[-1])
    return rows


def run_model(name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    if arguments.fine_tuned:
        return fine_tuned(name, arguments, folder)
    models = [ROOT / f"demo/models/{name}.onnx"]
    if arguments.dense and not (models := sorted(arguments.dense.glob(f"{name}_seed*_dense.onnx"))):
        raise packages.Unavailable(f"{arguments.dense} has no {name}_seedS_dense.onnx (demo/train_sparse.py --retrain)")
    return [row for model in models for row in prune_model(Judge(name, model, arguments, folder))]


def prune_model(judge: Judge) -> list[dict]:
    rows, arguments = [], judge.arguments
    for draw, pattern, method in itertools.product(range(arguments.draws), arguments.patterns.split(","), arguments.methods.split(",")):
        judge.draw(draw)
        rows.append(one_shot(judge, pattern, method) | {"draw": draw})
        say(rows[-1])
    return rows


def one_shot(judge: Judge, pattern: str, method: str) -> dict:
    arguments, pruned = judge.arguments, judge.folder / "pruned.onnx"
    flags = ["--pattern", pattern, "--samples", str(arguments.samples), *METHODS[method][1], *arguments.flags.split()]
    report = prune(judge.model, pruned, judge.data, [*flags, "--threads", str(arguments.threads)])
    layers = [layer for layer in report["layers"] if layer["eligible"]]
    return judge.row(pruned, pattern, METHODS[method][0]) | {
        "layers": len(layers), "products": len(report["layers"]),
        "flops_part": sum(layer["flops_part"] for layer in layers), "output_error": report["output_error"],
        "worst_layer_error": max(layer["error"] for layer in layers), "seconds": report["seconds"],
    }  # fmt: skip


def say(row: dict) -> None:
    print(f"{row['model']} {row['pattern']} {row['method']}: {row['pruned']['top1']:.2f}, in INT8 {row['int8']['top1']:.2f}, "
          f"of {row['dense']:.2f}", file=sys.stderr, flush=True)  # fmt: skip


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    lines = [
        f"{facts['cpu']}, {facts['date']}, commit {facts['commit']}; {settings['samples']} unlabelled pictures"
        + (f", flags {settings['flags']}." if settings["flags"] else "."),
        "",
        "| model | pattern | method | dense top-1 % | pruned | drop | 95 % interval | pruned, INT8 | drop | 95 % interval | pruned products | FLOP | outputs differ by | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        method = row["method"] + (f", draw {row['draw']}" if settings["draws"] > 1 else "")
        network = ", ".join(filter(None, [MODELS[row["model"]], row.get("network", "")]))
        cells = [network, row["pattern"], method, f"{row['dense']:.2f}"]
        for kind in ("pruned", "int8"):
            low, high = row[kind]["interval_points"]
            cells += [f"{row[kind]['top1']:.2f}", f"{row[kind]['drop_points']:.2f}", f"{low:.2f} to {high:.2f}"]
        if "layers" in row:
            cells += [f"{row['layers']} of {row['products']}", f"{row['flops_part']:.0%}", f"{row['output_error']:.1%}",
                      f"{row['seconds']:.0f}"]  # fmt: skip
        else:
            cells += ["-"] * 4
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> int:
    settings = {key: getattr(arguments, key) for key in ("samples", "draws", "threads", "flags")}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings, "rows": []}
    for name in arguments.models.split(","):
        with tempfile.TemporaryDirectory(prefix="hussar-prune-") as folder:
            report["rows"] += run_model(name, arguments, pathlib.Path(folder))
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    if arguments.update_docs:
        name = "prune_fine_tuned" if arguments.fine_tuned else "prune_accuracy"
        report_section.update(name, "bench/prune_accuracy.py", "2:4 sparsity", markdown(report))
    return 0


def main() -> int:
    arguments = parse_arguments()
    try:
        return run(arguments)
    except (packages.Unavailable, OSError) as reason:
        print(f"prune_accuracy: {reason}", file=sys.stderr)
        return 2
    except (hussar_cli.BuildFailed, RuntimeError) as failure:
        print(f"prune_accuracy: Hussar failed: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
