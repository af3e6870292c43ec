"""YOLOv8n in PyTorch, for measurements with random weights.

The layers follow the published table of the architecture (Jocher et al. 2023, "YOLOv8", depth 0.33 and width 0.25; 3.2
million parameters with 80 classes): C2f stages, pyramid pooling, a neck that goes up and down, and a head of 16 bins per
side of a box (distribution focal loss, Li et al. 2020), decoded in the graph.
"""

from __future__ import annotations

import torch
from torch import nn

from .architectures import convolution, measure_statistics, randomise
from .inputs import make_inputs

STRIDES = (8, 16, 32)
BINS = 16


def activated(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs, kernel, stride), nn.SiLU())


class Residual(nn.Module):
    def __init__(self, channels: int, adds: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(activated(channels, channels, 3), activated(channels, channels, 3))
        self.adds = adds

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


class C2f(nn.Module):
    """Half of the channels goes through `depth` blocks; the results of all of them are joined."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1, adds: bool = False) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = activated(inputs, outputs)
        self.blocks = nn.ModuleList(Residual(half, adds) for _ in range(depth))
        self.leave = activated((2 + depth) * half, outputs)

    def forward(self, x):
        parts = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class PyramidPool(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = activated(channels, channels // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = activated(2 * channels, channels)

    def forward(self, x):
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Head(nn.Module):
    """Boxes (centre, width and height in pixels) and class probabilities: (N, 4 + classes, places)."""

    def __init__(self, widths: tuple[int, ...], classes: int, side: int) -> None:
        super().__init__()
        box, score = max(16, widths[0] // 4, 4 * BINS), max(widths[0], min(classes, 100))
        self.boxes = nn.ModuleList(self.branch(width, box, 4 * BINS) for width in widths)
        self.scores = nn.ModuleList(self.branch(width, score, classes) for width in widths)
        centres, strides = [], []
        for stride in STRIDES:
            line = torch.arange(side // stride) + 0.5
            y, x = torch.meshgrid(line, line, indexing="ij")
            centres.append(torch.stack([x.flatten(), y.flatten()]))
            strides.append(torch.full((1, line.numel() ** 2), float(stride)))
        self.register_buffer("centres", torch.cat(centres, 1)[None])
        self.register_buffer("strides", torch.cat(strides, 1)[None])
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float)[None, :, None, None])

    @staticmethod
    def branch(inputs: int, width: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(activated(inputs, width, 3), activated(width, width, 3), nn.Conv2d(width, outputs, 1))

    def forward(self, pyramid):
        boxes = torch.cat([branch(level).flatten(2) for branch, level in zip(self.boxes, pyramid)], 2)
        scores = torch.cat([branch(level).flatten(2) for branch, level in zip(self.scores, pyramid)], 2)
        bins = boxes.unflatten(1, (4, BINS)).transpose(1, 2).softmax(1)
        distances = (bins * self.bins).sum(1)
        low, high = self.centres - distances[:, :2], self.centres + distances[:, 2:]
        return torch.cat([(low + high) / 2 * self.strides, (high - low) * self.strides, scores.sigmoid()], 1)


class YOLOv8n(nn.Module):
    def __init__(self, classes: int = 80, side: int = 640) -> None:
        super().__init__()
        self.stride_8 = nn.Sequential(
            activated(3, 16, 3, 2), activated(16, 32, 3, 2), C2f(32, 32, 1, True),
            activated(32, 64, 3, 2), C2f(64, 64, 2, True),
        )  # fmt: skip
        self.stride_16 = nn.Sequential(activated(64, 128, 3, 2), C2f(128, 128, 2, True))
        self.stride_32 = nn.Sequential(activated(128, 256, 3, 2), C2f(256, 256, 1, True), PyramidPool(256))
        self.up = nn.Upsample(scale_factor=2)
        self.up_16, self.up_8 = C2f(384, 128), C2f(192, 64)
        self.shrink_8, self.down_16 = activated(64, 64, 3, 2), C2f(192, 128)
        self.shrink_16, self.down_32 = activated(128, 128, 3, 2), C2f(384, 256)
        self.head = Head((64, 128, 256), classes, side)

    def forward(self, x):
        level_8 = self.stride_8(x)
        level_16 = self.stride_16(level_8)
        level_32 = self.stride_32(level_16)
        up_16 = self.up_16(torch.cat([self.up(level_32), level_16], 1))
        up_8 = self.up_8(torch.cat([self.up(up_16), level_8], 1))
        down_16 = self.down_16(torch.cat([self.shrink_8(up_8), up_16], 1))
        down_32 = self.down_32(torch.cat([self.shrink_16(down_16), level_32], 1))
        return self.head([up_8, down_16, down_32])


def yolov8n(input_rows: list[dict], seed: int) -> nn.Module:
    """With random weights and measured batch norm statistics, for pictures of the first input's size."""
    torch.manual_seed(seed)
    model = randomise(YOLOv8n(side=input_rows[0]["shape"][-1]), seed)
    return measure_statistics(model, torch.from_numpy(make_inputs(input_rows)[input_rows[0]["name"]]), seed)
