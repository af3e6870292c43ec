"""Keeps a model sparse while it is trained.

    dense = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    sparsifier = Sparsifier(model, load_recipe("recipe.yaml"), steps_per_epoch=len(loader), optimizer=optimizer)
    distiller = Distiller(dense, model, sparsifier.recipe.distillation)
    for inputs, labels in batches:
        logits = model(inputs)
        loss = distiller.loss(inputs, logits, cross_entropy(logits, labels), sparsifier.epoch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sparsifier.step()
    print(format_report(sparsifier.finalize()))
    export_onnx(model, example, "model.onnx")

Masks are applied in place, after every optimizer step: parameters, their names and the state_dict stay those of the dense
model, so copies, averages of weights, DistributedDataParallel and exporters see an ordinary model with zeros in it. Only
`sr_ste` needs all weights, and parametrizes the layers until its masks are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .layers import Candidate, find_candidates, unwrapped
from .recipe import Recipe, RecipeError, Sparsity
from .scores import input_energy, scores_of
from .straight_through import StraightThrough

STATE_VERSION = 1


@dataclass(frozen=True)
class LayerReport:
    name: str
    shape: tuple[int, ...]
    eligible: bool
    reason: str  # why it stays dense; empty for eligible layers
    pattern: str  # empty for others
    masked: float  # share of the groups that have their zeros
    kept_energy: float | None  # share of the squares of the weights that the mask leaves; None before there is one
    total_energy: float  # of which that is a share
    legal: bool  # whether the weights obey the pattern now


class MaskedLayer:
    """The mask of one layer. `mask` is true where the weight becomes zero."""

    def __init__(self, candidate: Candidate, energy: Tensor | None) -> None:
        self.name, self.module, self.settings = candidate.name, candidate.module, candidate.settings
        self.energy = energy
        self.mask = torch.zeros_like(self.weight, dtype=torch.bool)
        self.fraction = 0.0
        self.lost = self.kept = 0.0  # energy, the square sum of the weights

    @property
    def trains_all(self) -> bool:
        return parametrize.is_parametrized(self.module, "weight")

    @property
    def weight(self) -> nn.Parameter:
        """The parameter that the optimizer changes."""
        return self.module.parametrizations.weight.original if self.trains_all else self.module.weight

    @property
    def scores(self) -> Tensor:
        return scores_of(self.weight, self.energy)

    def lost_share(self) -> float:
        """Of the scores, were the whole layer masked now."""
        scores = self.scores
        lost = scores[self.settings.pattern.choose(scores)].sum()
        return float(lost / scores.sum().clamp_min(torch.finfo(scores.dtype).tiny))

    def choose(self, fraction: float) -> None:
        """Masks that share of the groups; those that are masked stay so."""
        mask = self.settings.pattern.choose(self.scores, fraction, self.mask if self.fraction > 0 else None)
        self.mask = agreed(mask)
        self.fraction = fraction
        self.lost += self.energy_of(self.mask)
        self.kept = self.energy_of(~self.mask)
        self.apply()

    def energy_of(self, chosen: Tensor) -> float:
        return float(self.weight.detach()[chosen].double().square().sum())

    @torch.no_grad()
    def apply(self) -> None:
        if self.fraction == 0:
            return
        self.mask = self.mask.to(self.weight.device)
        self.weight.masked_fill_(self.mask, 0)

    def train_all(self) -> None:
        parametrization = StraightThrough(self.settings.pattern, self.settings.decay, self.energy)
        parametrize.register_parametrization(self.module, "weight", parametrization)

    def settle(self) -> None:
        """Ends train_all; the parameter stays the same object, unmasked."""
        if self.trains_all:
            parametrize.remove_parametrizations(self.module, "weight", leave_parametrized=False)

    def report(self, candidate: Candidate) -> LayerReport:
        lost, kept, masked = self.lost, self.kept, self.fraction
        if self.trains_all:
            mask = self.settings.pattern.choose(self.scores)
            lost, kept, masked = self.energy_of(mask), self.energy_of(~mask), 1.0
        if masked == 0:
            lost, kept = 0.0, self.energy_of(~self.mask)
        share = None if masked == 0 else kept / (kept + lost) if kept + lost > 0 else 1.0
        legal = self.settings.pattern.is_legal(self.module.weight)
        return LayerReport(self.name, candidate.shape, True, "", str(self.settings.pattern), masked, share, kept + lost, legal)


def agreed(mask: Tensor) -> Tensor:
    """The mask of the first process in a distributed training."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mask
    numbers = mask.to(torch.uint8).contiguous()
    torch.distributed.broadcast(numbers, 0)
    return numbers.bool()


def as_recipe(recipe: Recipe | Sparsity | str) -> Recipe:
    if isinstance(recipe, str):
        recipe = Sparsity(pattern=recipe)
    return Recipe((recipe,)) if isinstance(recipe, Sparsity) else recipe


class Sparsifier:
    """Obeys a recipe: call `step` after every optimizer step, and `finalize` in the end.

    model: torch.compile or DistributedDataParallel may have wrapped it. recipe: a Recipe, a Sparsity, or a pattern such as "2:4x64".
    steps_per_epoch: how many calls of `step` make an epoch. optimizer: whose rate a learning_rate modifier sets.
    calibration: batches for `score: activations`: tensors, tuples or dictionaries that `model` takes.

    Masks that start at epoch 0 are there when the constructor returns. Raises RecipeError where recipe and model or
    arguments do not go together.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe | Sparsity | str,
        *,
        steps_per_epoch: int = 1,
        optimizer: torch.optim.Optimizer | None = None,
        calibration: Iterable | None = None,
    ) -> None:
        if steps_per_epoch < 1:
            raise ValueError(f"an epoch has {steps_per_epoch} steps; give how many batches one has, from 1")
        self.recipe = as_recipe(recipe)
        self.steps_per_epoch, self.optimizer = steps_per_epoch, optimizer
        self.steps, self.finished = 0, False
        if self.recipe.learning_rate is not None and optimizer is None:
            raise RecipeError("learning_rate: there is no optimizer to set it for; give optimizer=, or leave the modifier out")
        model = unwrapped(model)
        self.candidates = find_candidates(model, self.recipe.sparsity)
        chosen = [candidate for candidate in self.candidates if candidate.module is not None]
        asking = {one.name: one.module for one in chosen if one.settings.score == "activations"}
        if asking and calibration is None:
            raise RecipeError("score: activations needs data; give calibration=batches, or write score: magnitude")
        energies = input_energy(model, asking, calibration) if asking else {}
        self.layers = {one.name: MaskedLayer(one, energies.get(one.name)) for one in chosen}
        self._orders: dict[int, list[MaskedLayer]] = {}
        self._obey()

    @property
    def epoch(self) -> float:
        return self.steps / self.steps_per_epoch

    def mask_gradients(self) -> None:
        """Between backward and the clipping of gradients: those of masked weights are no part of their norm then."""
        for layer in self.layers.values():
            if layer.fraction > 0 and layer.weight.grad is not None:
                layer.weight.grad.masked_fill_(layer.mask, 0)

    def step(self) -> None:
        if self.finished:
            raise RuntimeError("step after finalize: the masks are no longer kept; make a new Sparsifier to train on")
        self.steps += 1
        for layer in self.layers.values():
            layer.apply()
        self._obey()

    def finalize(self) -> list[LayerReport]:
        """Masks what is not masked yet, whatever the schedule, makes +0.0 of -0.0, and removes every parametrization.

        The model is an ordinary one afterwards. Raises RuntimeError for a layer that does not obey its pattern.
        """
        for layer in self.layers.values():
            layer.settle()
            layer.apply()
            if layer.fraction < 1:
                layer.choose(1.0)
            with torch.no_grad():
                layer.weight.add_(0.0)
        self.finished = True
        rows = self.report()
        for row in rows:
            if row.eligible and not row.legal:
                raise RuntimeError(f"{row.name} does not obey {row.pattern}; was its weight replaced after the Sparsifier was made?")
        return rows

    def report(self) -> list[LayerReport]:
        """One row per matrix of the model; those that stay dense say why."""
        rows = []
        for one in self.candidates:
            if one.module is not None:
                rows.append(self.layers[one.name].report(one))
            else:
                rows.append(LayerReport(one.name, one.shape, False, one.reason, "", 0.0, None, 0.0, False))
        return rows

    def state_dict(self) -> dict:
        """What a later run needs to go on, beside the states of model and optimizer."""
        layers = {
            name: {"mask": layer.mask.cpu(), "fraction": layer.fraction, "lost": layer.lost, "kept": layer.kept,
                   "pattern": str(layer.settings.pattern)}
            for name, layer in self.layers.items()
        }  # fmt: skip
        orders = {index: [layer.name for layer in order] for index, order in self._orders.items()}
        return {"version": STATE_VERSION, "steps": self.steps, "finished": self.finished, "layers": layers, "orders": orders}

    def load_state_dict(self, state: dict) -> None:
        """Load this before the state of the model: with `sr_ste` it decides about the names there. Raises ValueError."""
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"state of version {state.get('version')}, not {STATE_VERSION}; start the fine-tuning anew")
        if missing := set(state["layers"]) ^ set(self.layers):
            raise ValueError(f"the state is of another model or recipe: {sorted(missing)[0]} is masked in one of them only")
        for name, layer in self.layers.items():
            saved = state["layers"][name]
            if saved["pattern"] != str(layer.settings.pattern) or saved["mask"].shape != layer.weight.shape:
                raise ValueError(f"the state of {name} is of {saved['pattern']} and shape {tuple(saved['mask'].shape)}; "
                                 f"this run has {layer.settings.pattern} and {tuple(layer.weight.shape)}: use the same recipe")  # fmt: skip
        for name, layer in self.layers.items():
            saved = state["layers"][name]
            layer.mask = saved["mask"].to(layer.weight.device)
            layer.fraction, layer.lost, layer.kept = saved["fraction"], saved["lost"], saved["kept"]
            if layer.fraction > 0:
                layer.settle()
            layer.apply()
        self._orders = {index: [self.layers[name] for name in order] for index, order in state["orders"].items()}
        self.steps, self.finished = state["steps"], state["finished"]
        if not self.finished:
            self._obey()

    def _obey(self) -> None:
        """Does what the recipe says for the present epoch."""
        for index, settings in enumerate(self.recipe.sparsity):
            layers = [layer for layer in self.layers.values() if layer.settings is settings]
            if self.epoch < settings.start_epoch or not layers:
                continue
            if settings.method == "sr_ste":
                follow_straight_through(settings, layers, self.epoch)
            elif settings.schedule == "layers":
                order = self._orders.setdefault(index, sorted(layers, key=MaskedLayer.lost_share))
                self._mask_whole(order[: math.ceil(settings.fraction(self.epoch) * len(order) - 1e-6)])
            else:
                self._grow(settings, layers)
        rate = self.recipe.learning_rate.at(self.epoch) if self.recipe.learning_rate is not None else None
        for group in self.optimizer.param_groups if rate is not None else ():
            group["lr"] = rate

    def _mask_whole(self, layers: list[MaskedLayer]) -> None:
        for layer in layers:
            if layer.fraction < 1:
                layer.choose(1.0)

    def _grow(self, settings: Sparsity, layers: list[MaskedLayer]) -> None:
        fraction = settings.fraction(self.epoch)
        due = fraction >= 1 or settings.schedule != "cubic" or self.steps % settings.update_every == 0
        for layer in layers:
            if due and fraction > layer.fraction:
                layer.choose(fraction)


def follow_straight_through(settings: Sparsity, layers: list[MaskedLayer], epoch: float) -> None:
    for layer in layers:
        if epoch < settings.end_epoch:
            if not layer.trains_all:
                layer.train_all()
        elif layer.fraction < 1:
            layer.settle()
            layer.choose(1.0)


def sparsify(model: nn.Module, recipe: Recipe | Sparsity | str, *, calibration: Iterable | None = None) -> list[LayerReport]:
    """Makes the model sparse at once, without training: what Sparsifier does at its end. Returns its report."""
    return Sparsifier(model, Recipe(as_recipe(recipe).sparsity), calibration=calibration).finalize()


def kept_energy(rows: Iterable[LayerReport]) -> float | None:
    """Of all masked layers together; None where nothing is masked."""
    masked = [row for row in rows if row.kept_energy is not None]
    total = sum(row.total_energy for row in masked)
    return sum(row.kept_energy * row.total_energy for row in masked) / total if total > 0 else None


def format_report(rows: Iterable[LayerReport]) -> str:
    """A table: what each layer keeps, or why it stays dense."""
    lines = []
    for row in rows:
        shape = "x".join(map(str, row.shape))
        kept = f"keeps {row.kept_energy:.1%} of the energy" if row.kept_energy is not None else "not masked yet"
        said = f"{row.pattern}{'' if row.legal else ', not yet legal'}, {kept}" if row.eligible else f"dense: {row.reason}"
        lines.append((row.name, shape, said))
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(2)]
    return "\n".join(f"{name:{widths[0]}}  {shape:{widths[1]}}  {said}" for name, shape, said in lines)
