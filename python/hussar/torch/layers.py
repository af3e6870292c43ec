"""Which weights of a model can be made sparse, and why the others stay dense."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.parameter import is_lazy

from .patterns import GROUP
from .recipe import RecipeError, Sparsity


@dataclass(frozen=True)
class Candidate:
    """A matrix of the model: the weight of a layer (by the layer's name), or another parameter (by its own)."""

    name: str
    shape: tuple[int, ...]
    module: nn.Module | None  # where it can be made sparse
    settings: Sparsity | None  # the modifier that speaks of it
    reason: str  # why not; empty where it can


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, where torch.compile or DistributedDataParallel has wrapped it."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return unwrapped(model.module)
    inner = getattr(model, "_orig_mod", None)
    return model if inner is None else unwrapped(inner)


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The Conv2d and Linear layers by name, in the order of definition."""
    return {name: module for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}


def find_candidates(model: nn.Module, modifiers: Sequence[Sparsity]) -> list[Candidate]:
    """One row per parameter with two or more dimensions. Raises RecipeError for a name pattern that fits no layer."""
    layers = layers_of(model)
    for settings in modifiers:
        for pattern in (*settings.include, *settings.exclude):
            if not any(fnmatch.fnmatchcase(name, pattern) for name in layers):
                known = ", ".join(list(layers)[:8]) + (", ..." if len(layers) > 8 else "")
                raise RecipeError(f"include/exclude: {pattern!r} fits no Conv2d or Linear; the layers are {known}")
    rows = []
    users = users_of(model)
    for name, module in layers.items():
        settings = next((one for one in modifiers if matching(name, one.include)), None)
        weight = module._parameters.get("weight")
        reason = refuse(name, module, settings, list(layers)) or refuse_sharing(name, users.get(id(weight), ()))
        shape = () if weight is None or is_lazy(weight) else tuple(weight.shape)
        rows.append(Candidate(name, shape, None if reason else module, settings, reason))
    weights = {id(module._parameters.get("weight")) for module in layers.values()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in weights and not is_lazy(parameter) and parameter.ndim >= 2:
            rows.append(Candidate(name, tuple(parameter.shape), None, None, "not the weight of a Conv2d or Linear"))
    return rows


def users_of(model: nn.Module) -> dict[int, list[str]]:
    """The names of the modules that hold a parameter, by its identity."""
    users: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                users.setdefault(id(parameter), []).append(name)
    return users


def matching(name: str, patterns: Iterable[str]) -> str | None:
    """The first of the patterns that fits."""
    return next((pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)), None)


def refuse(name: str, module: nn.Module, settings: Sparsity | None, order: list[str]) -> str:
    """Why a Conv2d or Linear stays dense; empty where it need not."""
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is computed from other parameters"
    if is_lazy(weight):
        return "its shape is not known before the first batch"
    if getattr(module, "groups", 1) != 1:
        return f"a convolution of {module.groups} groups"
    outputs, inputs = weight.shape[:2]
    if inputs % GROUP:
        return f"{inputs} input channels are not a multiple of {GROUP}"
    if settings is None:
        return "no modifier includes it"
    if pattern := matching(name, settings.exclude):
        return f"excluded by {pattern!r}"
    if not settings.first_and_last and name in (order[0], order[-1]):
        return "the first layer" if name == order[0] else "the last layer"
    if outputs < settings.least_outputs:
        return f"{outputs} output channels, fewer than {settings.least_outputs}"
    k = weight[0].numel()
    return f"k = {k}, less than {settings.least_k}" if k < settings.least_k else ""


def refuse_sharing(name: str, users: Sequence[str]) -> str:
    others = [user for user in users if user != name]
    return f"shares its weight with {others[0]}" if others else ""
