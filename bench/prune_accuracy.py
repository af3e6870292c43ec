#!/usr/bin/env python3
"""What `hussar prune` costs the demo's trained networks: dense beside pruned, on the test pictures of Fashion-MNIST.

    bench/prune_accuracy.py                                           # all models, patterns and methods of the table
    bench/prune_accuracy.py --models vit --patterns 2:4x64 --methods sparsegpt,obc --flags=--swaps

Pruning sees unlabelled training pictures that no model was trained on, never the test pictures. "magnitude, as it is"
keeps weights and biases as they were; with all other methods they are fitted to the outputs of the dense network. Drops
are in points of top-1 with paired 95 % intervals; flips are pictures that get another class than from the dense network.

Writes bench/results/prune_accuracy.json (--json names another); --update-docs writes the table into docs/benchmarks.md.
Exit status: 0; 1 when Hussar fails; 2 when models or data are missing.
"""

from __future__ import annotations

import argparse
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
    "sparsegpt_reordered": ("sparsegpt, channels reordered", ["--method", "sparsegpt", "--reorder"]),
}
TOGETHER = 100  # pictures in one run


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet20,vit", help=f"comma-separated, of {', '.join(MODELS)}")
    parser.add_argument("--patterns", default="2:4,2:4x16,2:4x64", help="comma-separated")
    parser.add_argument("--methods", default="magnitude_kept,sparsegpt", help=f"comma-separated, of {', '.join(METHODS)}")
    parser.add_argument("--flags", default="", help="further flags of hussar prune, separated by blanks")
    parser.add_argument("--samples", type=int, default=2048, help="unlabelled pictures")
    parser.add_argument("--data", type=pathlib.Path, default=fashion_mnist.FOLDER, help="folder of Fashion-MNIST")
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


def classes(model: pathlib.Path, pictures: np.ndarray, plan: pathlib.Path, threads: int) -> np.ndarray:
    hussar_cli.build(model, plan, shapes={"x": [TOGETHER, *pictures.shape[1:]]}, threads=threads,
                     more=["--budget", "0", "--self-check", "off"])  # fmt: skip
    engine = engines.open_engine("hussar", plan, {"x": pictures[:TOGETHER]}, threads)
    answers = []
    for first in range(0, len(pictures), TOGETHER):
        engine.bind({"x": pictures[first : first + TOGETHER]})
        engine.call()
        answers.append(engine.outputs()[0].argmax(1))
    return np.concatenate(answers)


def run_model(name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    model = ROOT / f"demo/models/{name}.onnx"
    if not model.exists():
        raise packages.Unavailable(f"{model} does not exist")
    held_out, _ = fashion_mnist.read("held_out", arguments.data)
    test, labels = fashion_mnist.read("test", arguments.data)
    data = folder / "x.npy"
    np.save(data, fashion_mnist.normalise(held_out[: arguments.samples]))
    pictures = fashion_mnist.normalise(test)
    dense = classes(model, pictures, folder / "dense.plan", arguments.threads)
    rows = []
    for pattern in arguments.patterns.split(","):
        for method in arguments.methods.split(","):
            pruned = folder / "pruned.onnx"
            flags = ["--pattern", pattern, "--samples", str(arguments.samples), *METHODS[method][1], *arguments.flags.split()]
            report = prune(model, pruned, data, [*flags, "--threads", str(arguments.threads)])
            answers = classes(pruned, pictures, folder / "pruned.plan", arguments.threads)
            layers = [layer for layer in report["layers"] if layer["eligible"]]
            rows.append({
                "model": name, "pattern": pattern, "method": method, "dense": 100 * float((dense == labels).mean()),
                "pruned": 100 * float((answers == labels).mean()), **paired.compare(labels, dense, answers).to_json(),
                "layers": len(layers), "products": len(report["layers"]),
                "flops_part": sum(layer["flops_part"] for layer in layers), "output_error": report["output_error"],
                "worst_layer_error": max(layer["error"] for layer in layers), "seconds": report["seconds"],
            })  # fmt: skip
            print(f"{name} {pattern} {method}: {rows[-1]['pruned']:.2f} of {rows[-1]['dense']:.2f}, "
                  f"outputs differ by {100 * report['output_error']:.1f} %, {report['seconds']:.1f} s",
                  file=sys.stderr, flush=True)  # fmt: skip
    return rows


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    lines = [
        f"{facts['cpu']}, {facts['date']}, commit {facts['commit']}; {settings['samples']} unlabelled pictures"
        + (f", flags {settings['flags']}." if settings["flags"] else "."),
        "",
        "| model | pattern | method | dense top-1 % | pruned | drop, points | 95 % interval | flips | pruned products | FLOP | outputs differ by | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        low, high = row["interval_points"]
        cells = [MODELS[row["model"]], row["pattern"], METHODS[row["method"]][0], f"{row['dense']:.2f}", f"{row['pruned']:.2f}",
                 f"{row['drop_points']:.2f}", f"{low:.2f} to {high:.2f}", str(row["flips"]),
                 f"{row['layers']} of {row['products']}", f"{row['flops_part']:.0%}", f"{row['output_error']:.1%}",
                 f"{row['seconds']:.0f}"]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> int:
    settings = {key: getattr(arguments, key) for key in ("samples", "threads", "flags")}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings, "rows": []}
    for name in arguments.models.split(","):
        with tempfile.TemporaryDirectory(prefix="hussar-prune-") as folder:
            report["rows"] += run_model(name, arguments, pathlib.Path(folder))
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    if arguments.update_docs:
        report_section.update("prune_accuracy", "bench/prune_accuracy.py", "2:4 sparsity", markdown(report))
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
