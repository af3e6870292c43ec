"""Compact PyTorch definitions of the architectures that are benchmarked with random weights, and the randomising.

The layer shapes follow the papers (and so the parameter counts of the usual implementations): ResNet-50 v1.5 (He et
al. 2015, stride in the 3x3 convolution), AlexNet (Krizhevsky 2014, "one weird trick"), MobileNetV3-Large (Howard et
al. 2019).
"""

from __future__ import annotations

import torch
from torch import nn


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution with same-style padding, then batch norm."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.reduce = convolution(inputs, width, 1)
        self.spatial = convolution(width, width, 3, stride)
        self.expand = convolution(width, outputs, 1)
        changes = stride != 1 or inputs != outputs
        self.shortcut = convolution(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x):
        y = torch.relu(self.reduce(x))
        y = torch.relu(self.spatial(y))
        return torch.relu(self.expand(y) + self.shortcut(x))


class ResNet50(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        inputs = 64
        for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            for block in range(depth):
                layers.append(Bottleneck(inputs, width, 2 if block == 0 and stage > 0 else 1))
                inputs = 4 * width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


class AlexNet(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = round_channels(channels // 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x):
        return x * self.gate(self.expand(torch.relu(self.reduce(self.pool(x)))))


def round_channels(channels: int) -> int:
    """The nearest multiple of 8 that is not more than 10 % smaller."""
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class InvertedResidual(nn.Module):
    def __init__(self, inputs, kernel, expanded, outputs, excite, activation, stride) -> None:
        super().__init__()
        layers = [convolution(inputs, expanded, 1), activation()] if expanded != inputs else []
        layers += [convolution(expanded, expanded, kernel, stride, groups=expanded), activation()]
        layers += [SqueezeExcitation(expanded)] if excite else []
        self.body = nn.Sequential(*layers, convolution(expanded, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV3Large(nn.Module):
    # kernel, expanded channels, output channels, squeeze-excitation, hard-swish instead of ReLU, stride
    ROWS = (
        (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1),
        (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
        (3, 184, 80, 0, 1, 1), (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2),
        (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1),
    )  # fmt: skip

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, 16, 3, 2), nn.Hardswish()]
        inputs = 16
        for kernel, expanded, outputs, excite, swish, stride in self.ROWS:
            activation = nn.Hardswish if swish else nn.ReLU
            layers.append(InvertedResidual(inputs, kernel, expanded, outputs, excite, activation, stride))
            inputs = outputs
        layers += [convolution(inputs, 960, 1), nn.Hardswish()]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(960, 1280), nn.Hardswish(), nn.Dropout(), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


def randomise(model: nn.Module, seed: int) -> nn.Module:
    """Random parameters that keep activations of unit order through any depth, and no parameter at a neutral value.

    Weights are scaled by fan-in; norms and biases get a spread, because ones and zeros would hide mistakes in folding
    them. Batch norm statistics must be measured afterwards (measure_statistics).
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(parameter: torch.Tensor, std: float) -> None:
        parameter.data.normal_(0.0, std, generator=generator)

    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            normal(module.bias, 0.2)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0
            normal(module.weight, (gain / module.weight[0].numel()) ** 0.5)
            if module.bias is not None:
                normal(module.bias, 0.1)
        elif isinstance(module, nn.Embedding):
            normal(module.weight, 1.0)
    return model


def measure_statistics(model: nn.Module, picture: torch.Tensor, seed: int) -> nn.Module:
    """Sets the running mean and variance of every batch norm from noisy copies of one picture (1, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((8, *picture.shape[1:]), generator=generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # cumulative average
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    with torch.no_grad():
        model(picture + 0.5 * noise)
    return model.eval()
