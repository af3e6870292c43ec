"""The three small classifiers of Fashion-MNIST: N x 1 x 28 x 28 normalised pictures in, N x 10 logits out.

Each makes low precision hard in a way of its own: residual sums (ResNet-20, He et al. 2015), depthwise convolutions with
ReLU6 and hard-swish (after MobileNetV2, Sandler et al. 2018), and layer norms, softmax and GELU (ViT, Dosovitskiy et
al. 2020). Channels are multiples of 16.
"""

from __future__ import annotations

import torch
from modelzoo.architectures import InvertedResidual, convolution
from torch import nn

CLASSES = 10


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, 3, stride)
        self.second = convolution(outputs, outputs, 3)
        changes = stride != 1 or inputs != outputs
        self.shortcut = convolution(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x):
        y = torch.relu(self.first(x))
        return torch.relu(self.second(y) + self.shortcut(x))


class ResNet20(nn.Module):
    """Three stages of three blocks at 14, 7 and 4 pixels; 1.1 million parameters, 31 million multiply-adds."""

    WIDTHS = (32, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        inputs = self.WIDTHS[0]
        layers: list[nn.Module] = [convolution(1, inputs, 3, 2), nn.ReLU()]
        for stage, width in enumerate(self.WIDTHS):
            for block in range(3):
                layers.append(BasicBlock(inputs, width, 2 if block == 0 and stage > 0 else 1))
                inputs = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, CLASSES)

    def forward(self, x):
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


class MobileNet(nn.Module):
    """Inverted residuals without squeeze-excitation; ReLU6 at 28 and 14 pixels, hard-swish at 7."""

    # expansion, output channels, hard-swish instead of ReLU6, stride
    ROWS = (
        (1, 32, 0, 1), (6, 32, 0, 1),
        (6, 48, 0, 2), (6, 48, 0, 1), (6, 48, 0, 1),
        (6, 96, 1, 2), (6, 96, 1, 1), (6, 96, 1, 1), (6, 96, 1, 1),
        (6, 128, 1, 1), (6, 128, 1, 1),
    )  # fmt: skip
    STEM, HEAD = 32, 384

    def __init__(self) -> None:
        super().__init__()
        inputs = self.STEM
        layers: list[nn.Module] = [convolution(1, inputs, 3), nn.ReLU6()]
        for expansion, outputs, swish, stride in self.ROWS:
            activation = nn.Hardswish if swish else nn.ReLU6
            layers.append(InvertedResidual(inputs, 3, expansion * inputs, outputs, False, activation, stride))
            inputs = outputs
        layers += [convolution(inputs, self.HEAD, 1), nn.Hardswish()]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(self.HEAD, CLASSES)

    def forward(self, x):
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


class Attention(nn.Module):
    """Written in single steps: the exporter writes MatMul, Mul, Softmax and MatMul, as most exported models have them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        """(N, tokens, width) -> (N, heads, tokens, size)"""
        return x.reshape(-1, VisionTransformer.TOKENS, self.heads, self.size).transpose(1, 2)

    def forward(self, x):
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        weights = torch.softmax(query @ key.transpose(2, 3) * self.size**-0.5, dim=-1)
        joined = (weights @ value).transpose(1, 2).reshape(-1, VisionTransformer.TOKENS, self.heads * self.size)
        return self.output(joined)


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mixer = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x):
        x = x + self.attention(self.first_norm(x))
        return x + self.mixer(self.second_norm(x))


class VisionTransformer(nn.Module):
    """Norms first, the mean of the tokens instead of a class token; 1.0 million parameters."""

    PATCH = 4
    TOKENS = (28 // PATCH) ** 2
    WIDTH, HEADS, HIDDEN, LAYERS = 128, 4, 384, 6

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, self.WIDTH, self.PATCH, self.PATCH)
        self.positions = nn.Parameter(torch.zeros(1, self.TOKENS, self.WIDTH))
        layers = (EncoderLayer(self.WIDTH, self.HEADS, self.HIDDEN) for _ in range(self.LAYERS))
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(self.WIDTH)
        self.classifier = nn.Linear(self.WIDTH, CLASSES)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5 / 2)
                nn.init.zeros_(module.bias)

    def forward(self, x):
        tokens = self.patches(x).reshape(-1, self.WIDTH, self.TOKENS).transpose(1, 2)
        return self.classifier(self.norm(self.layers(tokens + self.positions)).mean(1))


NETWORKS = {"resnet20": ResNet20, "mobilenet": MobileNet, "vit": VisionTransformer}
