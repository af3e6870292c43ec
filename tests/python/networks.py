"""Small networks for the tests."""

from __future__ import annotations

import torch
from torch import nn


class Small(nn.Module):
    """(N, 3, 8, 8) -> (N, 5), with a grouped convolution and batch norms of both signs."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first = nn.Conv2d(16, 24, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(24)
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.second = nn.Conv2d(24, 20, 1)
        self.hidden = nn.Linear(20, 12)
        self.head = nn.Linear(12, 5)
        with torch.no_grad():
            self.norm.weight.copy_(torch.linspace(-1, 1, 24))

    def forward(self, x):
        x = torch.relu(self.norm(self.first(torch.relu(self.stem(x)))))
        x = torch.relu(self.second(self.depthwise(x))).mean((2, 3))
        return self.head(torch.relu(self.hidden(x)))


SPARSE = ("first", "second", "hidden")
# Everything that can be masked at all.
ANY_SIZE = {"least_outputs": 1, "least_k": 1}


def train(model, optimizer, sparsifier, steps: int, loss_of=None) -> None:
    generator = torch.Generator().manual_seed(5)
    for _ in range(steps):
        pictures = torch.randn(8, 3, 8, 8, generator=generator)
        logits = model(pictures)
        loss = loss_of(pictures, logits) if loss_of else (logits - pictures.mean((2, 3)) @ torch.ones(3, 5)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        sparsifier.mask_gradients()
        optimizer.step()
        sparsifier.step()
