"""What weights are worth: the less, the sooner they are masked."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def scores_of(weight: Tensor, energy: Tensor | None) -> Tensor:
    """Squares of the weights, times the mean square of their input channel where that is known: (outputs, inputs, ...)"""
    squares = weight.detach().float().square()
    if energy is None:
        return squares
    return squares * energy.to(squares.device).view(1, -1, *[1] * (squares.ndim - 2))


@torch.no_grad()
def input_energy(model: nn.Module, layers: dict[str, nn.Module], batches: Iterable) -> dict[str, Tensor]:
    """The mean square of every input channel, (inputs,) by layer name, over all batches.

    batches: tensors, tuples of positional arguments, or dictionaries of named ones. Raises ValueError for none, and for
    values that are not finite.
    """
    sums: dict[str, Tensor] = {}

    def listen(name: str, axis: int):
        def add(module: nn.Module, arguments: tuple) -> None:
            last = arguments[0].detach().float().movedim(axis, -1)
            rows = last.reshape(-1, last.shape[-1])
            total = torch.cat([rows.square().sum(0).double(), rows.new_tensor([len(rows)], dtype=torch.double)])
            sums[name] = sums[name] + total if name in sums else total

        return add

    hooks = [module.register_forward_pre_hook(listen(name, -3 if isinstance(module, nn.Conv2d) else -1))
             for name, module in layers.items()]  # fmt: skip
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        for batch in batches:
            if isinstance(batch, dict):
                model(**batch)
            else:
                model(*batch) if isinstance(batch, (tuple, list)) else model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return {name: mean_square(name, sums.get(name)) for name in layers}


def mean_square(name: str, total: Tensor | None) -> Tensor:
    """total: the sums of squares, and how many there were. Over all processes of a distributed training."""
    if total is None:
        raise ValueError(f"no calibration batch reaches {name}; give at least one, or score: magnitude")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
    result = total[:-1] / total[-1]
    if not bool(result.isfinite().all()):
        raise ValueError(f"the input of {name} is not finite in the calibration batches; look for NaN in the data")
    return result
