#!/usr/bin/env python3
"""Trains the three Fashion-MNIST classifiers of the demo and writes each as ONNX.

    demo/train_fashion_mnist.py --out models --minutes 8.5           # on a GPU: all three
    demo/train_fashion_mnist.py --out models --only vit --epochs 12  # or on a CPU, slowly
    demo/train_fashion_mnist.py --out models --export-only weights   # ONNX from saved weights, no training

--out receives, per network, NAME.onnx (opset 17, input x: N x 1 x 28 x 28 float32, output logits: N x 10) and NAME.pt
(the weights), and training.json with seed, epochs, accuracy and the versions. Pictures are normalised as
tools/modelzoo/fashion_mnist.py says: (byte / 255 - 0.2860) / 0.3530. Its held-out pictures take no part in training.

The number of epochs follows from the measured speed and --minutes; --epochs repeats a training of a known length. What
is exported are the averaged weights at the end: nothing is chosen by the test pictures, which are looked at once.
Exit status: 0; 2 when PyTorch, the data or saved weights are missing.
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
from dataclasses import dataclass

import numpy as np

START = time.perf_counter()
ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from modelzoo import Unavailable, exports, fashion_mnist  # noqa: E402

try:
    import torch
    from fashion_networks import NETWORKS
except ImportError as error:
    print(f"train_fashion_mnist: {error.name} is not installed (tools/requirements-export.txt)", file=sys.stderr)
    sys.exit(2)

OPSET = 17
REPORT = "training.json"
PADDING = 2
SMOOTHING = 0.1
WARM_UP = 0.05  # of the training
USUAL_BATCH = 512  # what the learning rates below are for
STEPS_OF_AVERAGE = 500  # how far the average of the weights looks back, at most


@dataclass(frozen=True)
class Recipe:
    share: float  # of the time
    most_epochs: int
    optimizer: str
    rate: float
    decay: float  # of weights; biases, norms and positions have none


RECIPES = {
    "resnet20": Recipe(0.3, 120, "sgd", 0.4, 5e-4),
    "mobilenet": Recipe(0.35, 120, "sgd", 0.3, 2e-4),
    "vit": Recipe(0.35, 250, "adamw", 1.5e-3, 0.05),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=fashion_mnist.FOLDER, help="folder of the idx files")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.5, help="for everything, from the start of the program")
    parser.add_argument("--epochs", type=float, help="instead of what --minutes allows; fractions are fine")
    parser.add_argument("--only", choices=NETWORKS, action="append", help="train this one; repeatable")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="default: 512 on a GPU, 128 on a CPU")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--export-only", type=pathlib.Path, metavar="FOLDER", help="holds NAME.pt and training.json")
    arguments = parser.parse_args()
    if arguments.minutes <= 0 or (arguments.epochs is not None and arguments.epochs <= 0):
        parser.error("--minutes and --epochs must be above zero")
    arguments.batch = arguments.batch or (USUAL_BATCH if arguments.device.startswith("cuda") else 128)
    if not 0 < arguments.batch <= 10_000:
        parser.error("--batch must lie between 1 and 10000")
    return arguments


class Batches:
    """Augmented batches of the training pictures, made on the device: shifted, mirrored, and partly erased."""

    def __init__(self, folder: pathlib.Path, device: str, batch: int, seed: int, limit: int | None = None) -> None:
        """limit: how many of the pictures take part; None: all."""
        pictures, labels = (array[:limit] for array in fashion_mnist.read("train", folder))
        normalised = torch.from_numpy(fashion_mnist.normalise(pictures)).to(device)
        black = -fashion_mnist.MEAN / fashion_mnist.STD
        self.pictures = torch.nn.functional.pad(normalised[:, 0], [PADDING] * 4, value=black)
        self.labels = torch.from_numpy(labels).to(device)
        self.ramp = torch.arange(fashion_mnist.SIZE, device=device)
        self.batch, self.steps, self.device = batch, len(labels) // batch, device
        self.restart(seed)

    def restart(self, seed: int) -> None:
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.step = 0

    def uniform(self, low: float, high: float, count: int) -> torch.Tensor:
        return low + (high - low) * torch.rand((count, 1), generator=self.generator, device=self.device)

    def erased(self, count: int) -> torch.Tensor:
        """(count, 28, 28): true inside a rectangle of 2 to 25 % of the area, in half of the pictures."""
        size = fashion_mnist.SIZE
        area = self.uniform(0.02, 0.25, count) * size**2
        aspect = torch.exp(self.uniform(-1.2, 1.2, count))
        rows = (self.ramp - self.uniform(0, size, count)).abs() < torch.sqrt(area * aspect) / 2
        columns = (self.ramp - self.uniform(0, size, count)).abs() < torch.sqrt(area / aspect) / 2
        chosen = self.uniform(0, 1, count) < 0.5
        return (rows & chosen)[:, :, None] & columns[:, None, :]

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        place = self.step % self.steps
        if place == 0:
            self.order = torch.randperm(len(self.labels), generator=self.generator, device=self.device)
        self.step += 1
        chosen = self.order[place * self.batch : (place + 1) * self.batch]
        shifts = [
            torch.randint(2 * PADDING + 1, (self.batch, 1), generator=self.generator, device=self.device)
            for _ in range(2)
        ]
        mirrored = self.uniform(0, 1, self.batch) < 0.5
        rows = shifts[0] + self.ramp
        columns = shifts[1] + torch.where(mirrored, self.ramp.flip(0), self.ramp)
        pictures = self.pictures[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        pictures = pictures.masked_fill(self.erased(self.batch), 0.0)
        return pictures[:, None], self.labels[chosen]


class Trainer:
    """One network with its optimizer; `advance` takes one step."""

    def __init__(self, model, recipe: Recipe, batches: Batches, layout: torch.memory_format) -> None:
        self.model = model.to(batches.device, memory_format=layout).train()
        self.batches, self.layout = batches, layout
        self.on_gpu = batches.device.startswith("cuda")
        self.rate = highest_rate(recipe, batches.batch)
        self.optimizer = make_optimizer(model, recipe, self.rate)

    def advance(self, progress: float) -> torch.Tensor:
        """progress: 0 at the first step, 1 at the end; decides the learning rate. Returns the loss."""
        warm = min(1.0, (progress + 1e-3) / WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * warm * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        pictures, labels = self.batches.next()
        pictures = pictures.contiguous(memory_format=self.layout)
        with torch.autocast(self.batches.device.split(":")[0], torch.bfloat16, enabled=self.on_gpu):
            logits = self.model(pictures)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=SMOOTHING)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimizer.step()
        return loss.detach()

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()


def highest_rate(recipe: Recipe, batch: int) -> float:
    scale = batch / USUAL_BATCH
    return recipe.rate * (scale if recipe.optimizer == "sgd" else scale**0.5)


def make_optimizer(model, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    matrices = [parameter for name, parameter in model.named_parameters() if decays(name, parameter)]
    others = [parameter for name, parameter in model.named_parameters() if not decays(name, parameter)]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def decays(name: str, parameter: torch.Tensor) -> bool:
    return parameter.ndim > 1 and name != "positions"


def measure_step(model, recipe: Recipe, batches: Batches, layout: torch.memory_format) -> float:
    """Seconds of one step, on a copy of the model."""
    trainer = Trainer(copy.deepcopy(model), recipe, batches, layout)
    warm, timed = (5, 20) if trainer.on_gpu else (1, 2)
    for _ in range(warm):
        trainer.advance(0.5)
    trainer.wait()
    begin = time.perf_counter()
    for _ in range(timed):
        trainer.advance(0.5)
    trainer.wait()
    return (time.perf_counter() - begin) / timed


def train(name: str, batches: Batches, seconds: float, epochs: float | None, seed: int) -> tuple:
    """The averaged model and what to report. Without `epochs`, as many as fit into `seconds`."""
    begin = time.perf_counter()
    recipe = RECIPES[name]
    torch.manual_seed(seed)
    model = NETWORKS[name]()
    # Which layout is faster depends on the device and, for depthwise convolutions, on the libraries.
    layouts = [torch.contiguous_format] + ([] if name == "vit" else [torch.channels_last])
    layout = layouts[-1]
    if epochs is None:
        times = {candidate: measure_step(model, recipe, batches, candidate) for candidate in layouts}
        layout = min(times, key=times.get)
        left = seconds - (time.perf_counter() - begin)
        epochs = min(float(recipe.most_epochs), max(left, 0) / times[layout] / batches.steps)
        if epochs > 2:
            epochs = math.floor(epochs)
        print(f"{name}: {times[layout] * 1e3:.1f} ms a step, {epochs:.4g} epochs", flush=True)
    else:
        seconds = math.inf
    total = max(1, round(epochs * batches.steps))
    batches.restart(seed)
    trainer = Trainer(model, recipe, batches, layout)
    follow = torch.optim.swa_utils.get_ema_multi_avg_fn(max(0.0, 1 - 1 / min(STEPS_OF_AVERAGE, 1 + total / 20)))
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
    step, said = 0, 0
    while step < total:
        # Where steps are slower than measured, the schedule ends earlier instead of being cut off.
        progress = max(step / total, (time.perf_counter() - begin) / seconds)
        if progress >= 1 and step > 0:
            break
        loss = trainer.advance(progress)
        average.update_parameters(model)
        step += 1
        if step % batches.steps == 0:
            trainer.wait()
        if progress * 10 >= said:
            print(f"{name}: step {step} of {total}, loss {loss.item():.3f}", flush=True)
            said = math.floor(progress * 10) + 1
    trainer.wait()
    row = {
        "seed": seed,
        "epochs": round(step / batches.steps, 3),
        "steps": step,
        "batch": batches.batch,
        "seconds": round(time.perf_counter() - begin, 1),
    }
    return average.module.eval(), row


@torch.no_grad()
def answers(model, pictures: np.ndarray, device: str) -> np.ndarray:
    """The class of each picture (N, 28, 28), computed in FP32."""
    count = 1000 if device.startswith("cuda") else 100
    found = []
    for begin in range(0, len(pictures), count):
        x = torch.from_numpy(fashion_mnist.normalise(pictures[begin : begin + count])).to(device)
        found.append(model(x).argmax(1).cpu().numpy())
    return np.concatenate(found)


def accuracy(model, part: str, folder: pathlib.Path, device: str) -> float:
    """Percent of the part's pictures whose largest logit is the label's."""
    pictures, labels = fashion_mnist.read(part, folder)
    return 100 * float((answers(model, pictures, device) == labels).mean())


def export(model, target: pathlib.Path) -> dict:
    """Writes the ONNX file by the TorchScript exporter, which needs no other package than onnx."""
    plain = copy.deepcopy(model).to("cpu", memory_format=torch.contiguous_format).float().eval()
    example = torch.zeros(2, 1, fashion_mnist.SIZE, fashion_mnist.SIZE)
    with torch.no_grad(), exports.quiet():
        torch.onnx.export(
            plain, (example,), str(target), input_names=["x"], output_names=["logits"],
            dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    data = target.read_bytes()
    return {"file": target.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "opset": OPSET}


def read_report(folder: pathlib.Path) -> dict:
    path = folder / REPORT
    if path.exists():
        return json.loads(path.read_text())
    normalisation = {"mean": fashion_mnist.MEAN, "std": fashion_mnist.STD}
    return {"schema_version": 1, "data": "dataset-fashion-mnist", "normalisation": normalisation, "models": {}}


def write_report(folder: pathlib.Path, report: dict) -> None:
    (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n")


def export_saved(arguments: argparse.Namespace) -> None:
    report = read_report(arguments.export_only)
    for name in arguments.only or NETWORKS:
        path = arguments.export_only / f"{name}.pt"
        if not path.exists():
            raise Unavailable(f"{path} does not exist; --only names the networks to export")
        model = NETWORKS[name]()
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        row = report["models"].setdefault(name, {})
        row.update(export(model, arguments.out / f"{name}.onnx"), exported_by=str(torch.__version__))
        print(f"{arguments.out / row['file']}: {row['bytes'] / 1e6:.2f} MB")
    write_report(arguments.out, report)


def train_all(arguments: argparse.Namespace) -> None:
    device = arguments.device
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False  # steps are in bfloat16 anyway; accuracy is stated for FP32
    batches = Batches(arguments.data, device, arguments.batch, arguments.seed)
    names = list(arguments.only or NETWORKS)
    report = read_report(arguments.out)
    on = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    for index, name in enumerate(names):
        left = 60 * arguments.minutes * 0.94 - (time.perf_counter() - START)
        seconds = left * RECIPES[name].share / sum(RECIPES[other].share for other in names[index:])
        model, row = train(name, batches, seconds, arguments.epochs, arguments.seed)
        weights = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
        torch.save(weights, arguments.out / f"{name}.pt")
        row["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        row["held_out_top1"] = round(accuracy(model, "held_out", arguments.data, device), 3)
        row["test_top1"] = round(accuracy(model, "test", arguments.data, device), 3)
        row.update(torch=str(torch.__version__), device=on)
        row.update(export(model, arguments.out / f"{name}.onnx"), exported_by=str(torch.__version__))
        report["models"][name] = row
        write_report(arguments.out, report)
    print(f"\n{'network':12}{'epochs':>8}{'seconds':>9}{'MB':>7}{'held out':>10}{'test top-1':>12}")
    for name in names:
        row = report["models"][name]
        times = f"{row['epochs']:8.4g}{row['seconds']:9.0f}{row['bytes'] / 1e6:7.2f}"
        print(f"{name:12}{times}{row['held_out_top1']:10.2f}{row['test_top1']:12.2f}")
    print(f"{time.perf_counter() - START:.0f} s in all on {on}, torch {torch.__version__}")


def main() -> int:
    arguments = parse_arguments()
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        export_saved(arguments) if arguments.export_only else train_all(arguments)
    except (Unavailable, OSError) as reason:
        print(f"train_fashion_mnist: {reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
