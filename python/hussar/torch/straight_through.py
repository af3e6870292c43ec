"""SR-STE (Zhou et al., 2021): all weights are trained while the forward pass sees the masked ones.

The gradient of the masked weight is taken as that of the weight, and weights that are masked at the moment are pulled to
zero, so that masks settle. The decay is part of the gradient; where a GradScaler multiplies the loss, it does not
multiply the decay.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .patterns import Pattern
from .scores import scores_of


class MaskAndDecay(torch.autograd.Function):
    @staticmethod
    def forward(context, weight: Tensor, mask: Tensor, decay: float) -> Tensor:
        context.save_for_backward(weight, mask)
        context.decay = decay
        return weight.masked_fill(mask, 0)

    @staticmethod
    def backward(context, gradient: Tensor):
        weight, mask = context.saved_tensors
        return gradient + context.decay * weight.masked_fill(~mask, 0), None, None


class StraightThrough(nn.Module):
    """A parametrization of a weight: of any shape that the pattern fits, and the same out."""

    def __init__(self, pattern: Pattern, decay: float, energy: Tensor | None) -> None:
        super().__init__()
        self.pattern, self.decay = pattern, decay
        self.register_buffer("energy", energy, persistent=False)

    def mask(self, weight: Tensor) -> Tensor:
        return self.pattern.choose(scores_of(weight, self.energy))

    def forward(self, weight: Tensor) -> Tensor:
        return MaskAndDecay.apply(weight, self.mask(weight), self.decay)
