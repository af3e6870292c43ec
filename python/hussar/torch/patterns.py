"""The pattern 2:4, and the masks that follow it.

Of each four consecutive input channels two are zero, per output channel and per tap of a convolution: `2:4`. In `2:4xC`
blocks of C consecutive output channels agree about which two; the last block may have fewer channels. Every 2:4xC
weight is a 2:4 weight, too.

Weights are (outputs, inputs) of a Linear or (outputs, inputs, height, width) of a Conv2d, inputs a multiple of 4. Masks
have the shape of the weight, and are true where it becomes zero.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

GROUP = 4
KEPT = 2
SPELLING = re.compile(r"2:4(?:x([1-9][0-9]*))?")


@dataclass(frozen=True)
class Pattern:
    shared: int = 1  # output channels that have one mask

    def __post_init__(self) -> None:
        if self.shared < 1:
            raise ValueError(f"a mask cannot be shared by {self.shared} output channels; 1 is the least")

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """From `2:4` or `2:4xC`. Raises ValueError."""
        match = SPELLING.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a pattern; write 2:4, or 2:4xC with C from 1, such as 2:4x64")
        return cls(int(match[1] or 1))

    def __str__(self) -> str:
        return "2:4" if self.shared == 1 else f"2:4x{self.shared}"

    def is_legal(self, weight: Tensor) -> bool:
        """Whether every group has two zeros, the same ones in a block of output channels."""
        if not fits(weight):
            return False
        used = self._sums(to_groups(weight.detach() != 0).float()) > 0
        return bool((used.sum(-1) <= KEPT).all())

    def choose(self, scores: Tensor, fraction: float = 1.0, before: Tensor | None = None) -> Tensor:
        """The mask of the lowest scores.

        scores: of the weight's shape, not negative. fraction: the share of the groups that get zeros at all, those that
        lose least first. before: an earlier mask, whose groups stay as they are.
        """
        sums = self._sums(to_groups(scores))
        # Sorted stably, so that equal scores give the same mask on every device and every process.
        order = sums.sort(dim=-1, descending=True, stable=True).indices
        zeros = torch.ones_like(sums, dtype=torch.bool).scatter_(-1, order[..., :KEPT], False)
        lost = sums.masked_fill(~zeros, 0).sum(-1)
        least = 0
        if before is not None:
            earlier = to_groups(before)[:: self._block(scores)]
            decided = earlier.any(-1)
            zeros = torch.where(decided[..., None], earlier, zeros)
            lost = lost.masked_fill(decided, -1)
            least = int(decided.sum())
        count = max(least, math.ceil(fraction * lost.numel() - 1e-6))
        if count < lost.numel():
            chosen = torch.zeros(lost.numel(), dtype=torch.bool, device=lost.device)
            chosen[lost.flatten().sort(stable=True).indices[:count]] = True
            zeros = zeros & chosen.view_as(lost)[..., None]
        rows = zeros.repeat_interleave(self._block(scores), 0)[: scores.shape[0]]
        return from_groups(rows, scores.shape)

    def _block(self, weight: Tensor) -> int:
        return min(self.shared, weight.shape[0])

    def _sums(self, groups: Tensor) -> Tensor:
        """(outputs, taps, groups, 4) -> (blocks, taps, groups, 4)"""
        block = self._block(groups)
        missing = -groups.shape[0] % block
        padded = torch.cat([groups, groups.new_zeros(missing, *groups.shape[1:])]) if missing else groups
        return padded.reshape(-1, block, *groups.shape[1:]).sum(1)


def fits(weight: Tensor) -> bool:
    """Whether a pattern can be asked for at all."""
    return weight.ndim >= 2 and weight.numel() > 0 and weight.shape[1] % GROUP == 0


def to_groups(weight: Tensor) -> Tensor:
    """(outputs, inputs, ...) -> (outputs, taps, inputs / 4, 4): what a mask decides about lies in the last dimension."""
    outputs, inputs = weight.shape[:2]
    return weight.reshape(outputs, inputs, -1).transpose(1, 2).reshape(outputs, -1, inputs // GROUP, GROUP)


def from_groups(groups: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of to_groups."""
    outputs, inputs = shape[:2]
    return groups.reshape(outputs, -1, inputs).transpose(1, 2).reshape(shape)
