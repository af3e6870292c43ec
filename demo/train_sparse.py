#!/usr/bin/env python3
"""Fine-tunes the Fashion-MNIST classifiers of the demo with 2:4 masks, and writes each as ONNX.

    demo/train_sparse.py --output sparse                                      # on a GPU: all three, three seeds
    demo/train_sparse.py --output sparse --models resnet20 --seeds 0 --epochs 1 --limit 2000    # on a CPU, a try

The dense network (the committed ONNX file, or --retrain: trained with the same seed as demo/train_fashion_mnist.py does
it) is the start, and the teacher. Masks are chosen once, by magnitude, and stay. The control is fine-tuned the same way
without masks, so that the extra epochs are not credited to sparsity.

--output receives NAME_seedS.onnx (opset 17, the same inputs and outputs as the dense files; its zeros are read back),
with --retrain NAME_seedS_dense.onnx, too, and sparse.json: top-1 of the dense, control and sparse networks on the 10,000
test pictures with paired intervals, kept energy, and per layer what is masked and why not. The test pictures choose
nothing. Needs PyTorch, NumPy and onnx only.

Exit status: 0; 1 when a file has not the zeros of its network; 2 when a package or the data are missing.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tools")]

import paired  # noqa: E402
from modelzoo import Unavailable, fashion_mnist  # noqa: E402

try:
    import dense_weights
    import hussar.torch as ht
    import torch
    import train_fashion_mnist as dense_training
    from fashion_networks import NETWORKS
except ImportError as error:
    print(f"train_sparse: {error.name} is not installed (tools/requirements-export.txt)", file=sys.stderr)
    sys.exit(2)

MODELS = ROOT / "demo/models"
REPORT = "sparse.json"
# Of the highest rate of the dense training.
RATE_SHARE = {"sgd": 1 / 8, "adamw": 1 / 5}
WARM_UP = 1 / 6  # of the epochs
MOST_GRADIENT = 1.0  # norm
NORM_BATCHES = 20


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=fashion_mnist.FOLDER, help="folder of the idx files")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--models", default=",".join(NETWORKS), help="comma-separated (default: all three)")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated; of the order of pictures and their changes")
    parser.add_argument("--pattern", default="2:4x64", help="2:4, or 2:4xC")
    parser.add_argument("--least", type=int, default=64, help="layers with fewer output channels or a smaller k stay dense")
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--batch", type=int, help="default: 512 on a GPU, 128 on a CPU")
    parser.add_argument("--limit", type=int, help="train on, and ask about, at most so many pictures: a try")
    parser.add_argument("--retrain", action="store_true", help="train dense networks, one per seed, instead of reading them")
    parser.add_argument("--no-control", action="store_true", help="without the network that is fine-tuned without masks")
    parser.add_argument("--dense-epochs", type=float, help="of --retrain (default: as many as the committed networks had)")
    arguments = parser.parse_args()
    arguments.models = arguments.models.split(",")
    if unknown := [name for name in arguments.models if name not in NETWORKS]:
        parser.error(f"no model {unknown[0]!r}; the models are {', '.join(NETWORKS)}")
    if not all(seed.isdecimal() for seed in arguments.seeds.split(",")):
        parser.error(f"--seeds {arguments.seeds}: write whole numbers from 0, with commas between them")
    arguments.seeds = [int(seed) for seed in arguments.seeds.split(",")]
    try:
        arguments.pattern = ht.Pattern.parse(arguments.pattern)
    except ValueError as error:
        parser.error(f"--pattern: {error}")
    on_gpu = arguments.device.startswith("cuda")
    arguments.batch = arguments.batch or (dense_training.USUAL_BATCH if on_gpu else 128)
    if arguments.epochs <= 0 or arguments.least < 1 or not 0 < arguments.batch <= (arguments.limit or 10_000):
        parser.error("--epochs and --least must be above zero, --batch between 1 and --limit (or 10000)")
    return arguments


def read_dense(name: str, seed: int, batches: dense_training.Batches, arguments: argparse.Namespace) -> torch.nn.Module:
    """In evaluation, on the device."""
    if arguments.retrain:
        committed = json.loads((MODELS / dense_training.REPORT).read_text())["models"][name]["epochs"]
        epochs = arguments.dense_epochs or committed
        model, _ = dense_training.train(name, batches, math.inf, epochs, seed)
        return model
    model = dense_weights.read(name, MODELS / f"{name}.onnx").to(batches.device)
    batches.restart(seed)
    dense_weights.measure_norms(model, (batches.next()[0] for _ in range(min(NORM_BATCHES, batches.steps))))
    return model


def make_recipe(name: str, arguments: argparse.Namespace, sparse: bool) -> ht.Recipe:
    """What fine_tune_2of4x64.yaml says, with the rate of the network. Without `sparse`, that of the control."""
    training = dense_training.RECIPES[name]
    rate = dense_training.highest_rate(training, arguments.batch) * RATE_SHARE[training.optimizer]
    sparsity = ht.Sparsity(pattern=arguments.pattern, least_outputs=arguments.least, least_k=arguments.least)
    return ht.Recipe(
        sparsity=(sparsity,) if sparse else (),
        distillation=ht.Distillation(temperature=2, weight=0.5),
        learning_rate=ht.LearningRate(rate=rate, warm_up=WARM_UP * arguments.epochs, end_epoch=arguments.epochs),
    )


def fine_tune(name: str, dense: torch.nn.Module, batches: dense_training.Batches, recipe: ht.Recipe, seed: int) -> tuple:
    """The model, in evaluation, and the rows of its report."""
    torch.manual_seed(seed)
    batches.restart(seed)
    on_gpu = batches.device.startswith("cuda")
    layout = torch.channels_last if on_gpu and name != "vit" else torch.contiguous_format
    model = copy.deepcopy(dense).requires_grad_(True).to(memory_format=layout).train()
    optimizer = dense_training.make_optimizer(model, dense_training.RECIPES[name], recipe.learning_rate.rate)
    sparsifier = ht.Sparsifier(model, recipe, steps_per_epoch=batches.steps, optimizer=optimizer)
    distiller = ht.Distiller(copy.deepcopy(dense).to(memory_format=layout), model, recipe.distillation)
    total = max(1, round(recipe.learning_rate.end_epoch * batches.steps))
    for step in range(total):
        pictures, labels = batches.next()
        pictures = pictures.contiguous(memory_format=layout)
        with torch.autocast(batches.device.split(":")[0], torch.bfloat16, enabled=on_gpu):
            logits = model(pictures)
            task = torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=dense_training.SMOOTHING)
            loss = distiller.loss(pictures, logits, task, sparsifier.epoch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        sparsifier.mask_gradients()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
        optimizer.step()
        sparsifier.step()
        if (step + 1) % max(1, total // 3) == 0:
            print(f"    step {step + 1} of {total}, loss {loss.item():.3f}", flush=True)
    return model.eval(), sparsifier.finalize()


def export(model: torch.nn.Module, rows: list[ht.LayerReport], target: pathlib.Path) -> dict:
    example = torch.zeros(2, 1, fashion_mnist.SIZE, fashion_mnist.SIZE)
    axes = {"x": {0: "N"}, "logits": {0: "N"}}
    masked = [row.name for row in rows if row.eligible]
    ht.export_onnx(model.float(), example, target, layers=masked, input_names=["x"], output_names=["logits"],
                   dynamic_axes=axes, opset=dense_training.OPSET)  # fmt: skip
    data = target.read_bytes()
    return {"file": target.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def describe(row: ht.LayerReport) -> dict:
    if not row.eligible:
        return {"name": row.name, "shape": row.shape, "dense_because": row.reason}
    return {"name": row.name, "shape": row.shape, "pattern": row.pattern, "kept_energy": round(row.kept_energy, 4)}


def study(name: str, seed: int, batches: dense_training.Batches, test: tuple, arguments: argparse.Namespace) -> dict:
    """The row of one model and seed."""
    pictures, labels = test
    begin = time.perf_counter()
    print(f"{name}, seed {seed}: {'training' if arguments.retrain else 'reading'} the dense network", flush=True)
    networks = {"dense": read_dense(name, seed, batches, arguments)}
    result = {"model": name, "seed": seed}
    if arguments.retrain:
        result["dense_file"] = dense_training.export(networks["dense"], arguments.output / f"{name}_seed{seed}_dense.onnx")
    rows: list[ht.LayerReport] = []
    for kind in ("sparse",) if arguments.no_control else ("control", "sparse"):
        print(f"  {kind}", flush=True)
        recipe = make_recipe(name, arguments, kind == "sparse")
        networks[kind], rows = fine_tune(name, networks["dense"], batches, recipe, seed)
    found = {kind: dense_training.answers(network, pictures, batches.device) for kind, network in networks.items()}
    result |= {f"{kind}_top1": 100 * float((answer == labels).mean()) for kind, answer in found.items()}
    for kind in found.keys() - {"sparse"}:
        result[f"sparse_against_{kind}"] = paired.compare(labels, found[kind], found["sparse"]).to_json()
    result["kept_energy"] = ht.kept_energy(rows)
    weights = sum(math.prod(row.shape) for row in rows)
    result["masked_share_of_weights"] = sum(math.prod(row.shape) for row in rows if row.eligible) / weights
    result["layers"] = [describe(row) for row in rows]
    result |= export(networks["sparse"], rows, arguments.output / f"{name}_seed{seed}.onnx")
    result["seconds"] = round(time.perf_counter() - begin, 1)
    return result


def print_table(rows: list[dict]) -> None:
    print(f"\n{'network':12}{'seed':>5}{'dense':>8}{'control':>9}{'sparse':>8}{'drop':>7}{'95 % interval':>17}{'kept energy':>13}{'masked':>8}")
    for row in rows:
        difference = row["sparse_against_dense"]
        low, high = difference["interval_points"]
        control = f"{row['control_top1']:9.2f}" if "control_top1" in row else f"{'-':>9}"
        top1 = f"{row['dense_top1']:8.2f}{control}{row['sparse_top1']:8.2f}{difference['drop_points']:7.2f}"
        interval = f"{low:.2f} to {high:.2f}"
        print(f"{row['model']:12}{row['seed']:5}{top1}{interval:>17}{row['kept_energy']:13.3f}{row['masked_share_of_weights']:8.0%}")


def run(arguments: argparse.Namespace) -> None:
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False  # steps are in bfloat16 anyway; accuracy is stated for FP32
    device = arguments.device
    batches = dense_training.Batches(arguments.data, device, arguments.batch, arguments.seeds[0], arguments.limit)
    test = tuple(array[: arguments.limit] for array in fashion_mnist.read("test", arguments.data))
    settings = {key: getattr(arguments, key) for key in ("epochs", "batch", "limit", "least", "retrain", "dense_epochs")}
    report = {
        "schema_version": 1, "data": "dataset-fashion-mnist", "pictures": len(test[1]), "pattern": str(arguments.pattern),
        "settings": settings, "torch": str(torch.__version__), "rows": [],
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
    }  # fmt: skip
    for name in arguments.models:
        for seed in arguments.seeds:
            report["rows"].append(study(name, seed, batches, test, arguments))
            (arguments.output / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    print_table(report["rows"])


def main() -> int:
    arguments = parse_arguments()
    try:
        run(arguments)
    except (Unavailable, OSError) as reason:
        print(f"train_sparse: {reason}", file=sys.stderr)
        return 2
    except ht.ExportError as failure:
        print(f"train_sparse: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
