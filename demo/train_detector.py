#!/usr/bin/env python3
"""Trains the small detector of bench/int8_detection.py on pasted Fashion-MNIST items and writes it as ONNX.

    demo/train_detector.py --out models --minutes 8        # on a CPU

One scale, a cell for every 4 x 4 pixels: class logits with a peak at the centre of an object (Zhou et al. 2019), and the
distances from that cell to the four edges in pixels. Away from objects the distances are taught to be zero, so a tensor
of small numbers has a few large ones, and they matter. The last product turns distances into centre, width and height,
as detectors that decode in the graph do: its input is what calibration has to get right.

--out receives detector.onnx (opset 17; x: N x 1 x 128 x 128 normalised as fashion_mnist.py says; heat: N x 10 x 32 x 32;
boxes: N x 4 x 32 x 32), detector.pt and detector.json with seed, steps and versions.
Exit status: 0; 2 when PyTorch or the data are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import numpy as np  # noqa: E402
from modelzoo import Unavailable, exports, fashion_mnist, pasted  # noqa: E402

try:
    import torch
    from modelzoo.architectures import convolution
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    print(f"train_detector: {error.name} is not installed (tools/requirements-export.txt)", file=sys.stderr)
    sys.exit(2)

OPSET = 17
CLASSES = len(fashion_mnist.CLASSES)
WARM_UP = 0.05  # of the training
PIXELS = 8.0  # an error of so many counts as one in the loss of the distances
BACKGROUND = 3.0  # weight of distances that should be zero


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs, 3, stride), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = block(width, width), convolution(width, width, 3)

    def forward(self, x):
        return torch.relu(x + self.second(self.first(x)))


class Detector(nn.Module):
    """0.1 million parameters, 24 million multiply-adds."""

    NARROW, WIDE = 24, 48

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(1, 16, 2), block(16, self.NARROW, 2))
        self.deep = nn.Sequential(
            block(self.NARROW, self.WIDE, 2), block(self.WIDE, self.WIDE, 2), Residual(self.WIDE), Residual(self.WIDE),
        )  # fmt: skip
        self.narrow = convolution(self.WIDE, self.NARROW, 1)
        self.class_tower, self.box_tower = block(self.NARROW, self.NARROW), block(self.NARROW, self.NARROW)
        self.classes = nn.Conv2d(self.NARROW, CLASSES, 1)
        self.distances = nn.Conv2d(self.NARROW, 4, 1)
        self.decode = nn.Conv2d(4, 4, 1, bias=False)
        # Left, top, right, bottom -> offset of the centre, width, height.
        rows = [[-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5], [1, 0, 1, 0], [0, 1, 0, 1]]
        self.decode.weight = nn.Parameter(torch.tensor(rows)[:, :, None, None], requires_grad=False)
        nn.init.constant_(self.classes.bias, -4.0)

    def raw(self, x):
        fine = self.stem(x)
        coarse = functional.interpolate(self.narrow(self.deep(fine)), scale_factor=4.0, mode="nearest")
        joined = torch.relu(fine + coarse)
        return self.classes(self.class_tower(joined)), self.distances(self.box_tower(joined))

    def forward(self, x):
        heat, distances = self.raw(x)
        return heat, self.decode(distances)


def targets(objects: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """heat: 1 at centres and less around them; distances; near: cells with distances; far: cells where they are 0."""
    count, grid = len(objects), pasted.GRID
    heat = np.zeros((count, CLASSES, grid, grid), np.float32)
    distances = np.zeros((count, 4, grid, grid), np.float32)
    near, far = np.zeros((count, grid, grid), bool), np.ones((count, grid, grid), bool)
    centres = (np.arange(grid) + 0.5) * pasted.STRIDE
    for index, rows in enumerate(objects):
        for kind, left, top, right, bottom in rows:
            x, y = (left + right) / 2 / pasted.STRIDE, (top + bottom) / 2 / pasted.STRIDE
            column, row = min(int(x), grid - 1), min(int(y), grid - 1)
            square = (np.arange(grid)[:, None] - row) ** 2 + (np.arange(grid) - column) ** 2
            bump = np.exp(-square / 2.0)
            heat[index, int(kind)] = np.maximum(heat[index, int(kind)], bump)
            cells = square <= 1
            edges = (centres[None] - left, centres[:, None] - top, right - centres[None], bottom - centres[:, None])
            distances[index] = np.where(cells, np.stack(np.broadcast_arrays(*edges)), distances[index])
            near[index] |= cells
            far[index] &= square > 4
    arrays = {"heat": heat, "distances": distances, "near": near, "far": far}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def loss_of(model: Detector, x: torch.Tensor, wanted: dict[str, torch.Tensor]) -> torch.Tensor:
    logits, distances = model.raw(x)
    probability, heat = torch.sigmoid(logits), wanted["heat"]
    centre = heat == 1
    found = (1 - probability) ** 2 * functional.logsigmoid(logits)
    absent = (1 - heat) ** 4 * probability**2 * functional.logsigmoid(-logits)
    count = centre.sum().clamp(min=1)
    heat_loss = -torch.where(centre, found, absent).sum() / count
    error = (distances - wanted["distances"]).abs().mean(1) / PIXELS
    near = (error * wanted["near"]).sum() / wanted["near"].sum().clamp(min=1)
    far = (error * wanted["far"]).sum() / wanted["far"].sum()
    return heat_loss + near + BACKGROUND * far


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=fashion_mnist.FOLDER, help="folder of the idx files")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--steps", type=int, help="instead of what --minutes allows: repeats a training")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, help="of PyTorch; 1 is fastest where other work shares the cores")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def train(arguments: argparse.Namespace) -> tuple[Detector, int]:
    torch.manual_seed(arguments.seed)
    generator = np.random.default_rng(arguments.seed)
    pictures, labels = fashion_mnist.read("train", arguments.data)
    model = Detector().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    begin, seconds, step, said = time.perf_counter(), 60 * arguments.minutes, 0, 0.0
    while True:
        progress = step / arguments.steps if arguments.steps else (time.perf_counter() - begin) / seconds
        if progress >= 1:
            return model.eval(), step
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (progress + 1e-3) / WARM_UP) * max(1 - progress, 0.01)
        canvases, objects = pasted.make_from(pictures, labels, arguments.batch, generator)
        x = torch.from_numpy(fashion_mnist.normalise(canvases)).contiguous(memory_format=torch.channels_last)
        loss = loss_of(model, x, targets(objects))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        step += 1
        if progress >= said:
            print(f"step {step}, {100 * progress:.0f} %, loss {loss.item():.3f}", flush=True)
            said += 0.05
            torch.save(model.state_dict(), arguments.out / "detector.pt")  # what a run that is cut off leaves


def export(model: Detector, target: pathlib.Path) -> dict:
    plain = model.to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, 1, pasted.SIZE, pasted.SIZE)
    names = ["heat", "boxes"]
    with torch.no_grad(), exports.quiet():
        torch.onnx.export(
            plain, (example,), str(target), input_names=["x"], output_names=names,
            dynamic_axes={name: {0: "N"} for name in ["x", *names]}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    data = target.read_bytes()
    return {"file": target.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "opset": OPSET}


def held_out_precision(model: Detector, folder: pathlib.Path) -> float:
    canvases, objects = pasted.make("held_out", 500, seed=2, folder=folder)
    found = []
    with torch.no_grad():
        for begin in range(0, len(canvases), 50):
            x = torch.from_numpy(fashion_mnist.normalise(canvases[begin : begin + 50]))
            found += pasted.decode(*(output.numpy() for output in model(x)))
    return pasted.Evaluation(objects, found).mean_average_precision()


def main() -> int:
    arguments = parse_arguments()
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        begin = time.perf_counter()
        model, steps = train(arguments)
        seconds = time.perf_counter() - begin
        torch.save(model.state_dict(), arguments.out / "detector.pt")
        row = {"seed": arguments.seed, "steps": steps, "batch": arguments.batch, "seconds": round(seconds, 1)}
        row["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        row["held_out_map50"] = round(held_out_precision(model, arguments.data), 2)
        row.update(torch=str(torch.__version__), **export(model, arguments.out / "detector.onnx"))
        (arguments.out / "detector.json").write_text(json.dumps(row, indent=1) + "\n")
        print(json.dumps(row))
    except (Unavailable, OSError) as reason:
        print(f"train_detector: {reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
