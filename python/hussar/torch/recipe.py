"""Recipes: what is made sparse, when, and what helps the training meanwhile.

A recipe file is YAML (or JSON, for which PyYAML is not needed) with a list of modifiers:

    modifiers:
      - type: sparsity
        pattern: 2:4x64
      - type: distillation
        temperature: 2
        end_epoch: 6
      - type: learning_rate
        rate: 0.05
        end_epoch: 6

    recipe = load_recipe("recipe.yaml")

The keys of a modifier are the fields of the class of its type, with the same defaults. All epochs count from the start
of the fine-tuning and may be fractions. Several sparsity modifiers may name different layers.
"""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from .patterns import Pattern


class RecipeError(ValueError):
    """A recipe cannot be used; the message names the key, the cause and the next step."""


def number(low: float, high: float = math.inf, above: bool = False) -> Callable[[Any], float]:
    """above: `low` itself is not allowed."""
    allowed = f"a number {'above' if above else 'from'} {low:g}" + ("" if high == math.inf else f" to {high:g}")

    def read(value: Any) -> float:
        try:
            read_value = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            read_value = math.nan
        if not (low <= read_value <= high and math.isfinite(read_value)) or (above and read_value == low):
            raise ValueError(f"{value!r} is not {allowed}; write one")
        return read_value

    return read


def whole(low: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        try:
            result = number(low)(value)
        except ValueError:
            result = math.inf
        if not result.is_integer():
            raise ValueError(f"{value!r} is not a whole number from {low}; write one")
        return int(result)

    return read


def optional(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else reader(value)


def one_of(*names: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(f"{value!r} is not known; write {' or '.join(names)}")
        return value

    return read


def flag(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError(f"{value!r} is neither true nor false; write one of them")
    return text == "true"


def names(value: Any) -> tuple[str, ...]:
    parts = (value,) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f"{value!r} is not a list of names; write [features.*, head] or a single name")
    return tuple(parts)


def pattern(value: Any) -> Pattern:
    if isinstance(value, Pattern):
        return value
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not a pattern; write "2:4" or "2:4x64", in quotes')
    return Pattern.parse(value)


def setting(default: Any, reader: Callable[[Any], Any]) -> Any:
    return field(default=default, metadata={"read": reader})


class Settings:
    """Base of the modifiers: every field is read, from YAML's text too, by the reader that it names."""

    def __post_init__(self) -> None:
        for one in fields(self):
            try:
                object.__setattr__(self, one.name, one.metadata["read"](getattr(self, one.name)))
            except ValueError as error:
                raise RecipeError(f"{one.name}: {error}") from None
        self.check()

    def check(self) -> None:
        """What single fields cannot tell. Raises RecipeError."""


@dataclass(frozen=True)
class Sparsity(Settings):
    """Which layers get which pattern, and when.

    schedule: `once` masks everything at start_epoch; `cubic` masks a share of each layer's groups that grows to all of
    them at end_epoch, fast first; `steps` does so in `parts` equal steps; `layers` masks whole layers in `parts` steps, those
    first that lose least.
    method: `fixed` masks stay; `sr_ste` trains all weights, chooses the mask anew in every forward pass and pulls masked
    weights to zero with `decay`, until end_epoch fixes the mask.
    score: `magnitude`, or `activations`: |weight| times the norm of its input channel in the calibration batches.
    include, exclude: patterns of module names with * and ?.
    """

    pattern: Pattern | str = setting("2:4", pattern)
    start_epoch: float = setting(0.0, number(0))
    end_epoch: float | None = setting(None, optional(number(0)))
    schedule: str = setting("once", one_of("once", "cubic", "steps", "layers"))
    parts: int = setting(10, whole(1))
    update_every: int = setting(10, whole(1))  # optimizer steps between two growths of a cubic mask
    method: str = setting("fixed", one_of("fixed", "sr_ste"))
    decay: float = setting(2e-4, number(0))
    score: str = setting("magnitude", one_of("magnitude", "activations"))
    include: tuple[str, ...] = setting(("*",), names)
    exclude: tuple[str, ...] = setting((), names)
    first_and_last: bool = setting(False, flag)  # whether these may be masked, too
    least_outputs: int = setting(64, whole(1))  # layers with fewer output channels stay dense
    least_k: int = setting(64, whole(1))  # and those with fewer weights per output channel

    def check(self) -> None:
        lasting = "sr_ste" if self.method == "sr_ste" else self.schedule if self.schedule != "once" else ""
        if self.method == "sr_ste" and self.schedule != "once":
            raise RecipeError(f"schedule: sr_ste chooses all masks anew, so {self.schedule} has no meaning; leave schedule out")
        if lasting and (self.end_epoch is None or self.end_epoch <= self.start_epoch):
            raise RecipeError(f"end_epoch: {lasting} needs an end after start_epoch {self.start_epoch:g}; write when it is done")
        if not lasting and self.end_epoch is not None:
            raise RecipeError("end_epoch: a mask that is chosen once stays; leave end_epoch out, or write schedule: cubic")

    def fraction(self, epoch: float) -> float:
        """The share of the groups (of the layers for `layers`) that is masked at `epoch`."""
        if epoch < self.start_epoch:
            return 0.0
        if self.schedule == "once" or epoch >= self.end_epoch:
            return 1.0
        progress = (epoch - self.start_epoch) / (self.end_epoch - self.start_epoch)
        if self.schedule == "cubic":
            return 1 - (1 - progress) ** 3
        return (math.floor(progress * self.parts + 1e-9) + 1) / self.parts


@dataclass(frozen=True)
class Distillation(Settings):
    """How the dense model teaches: loss = (1 - weight) task + weight KL at the temperature + feature_weight MSE.

    features: names of modules whose outputs are compared, too; their mean squared error is relative to the teacher's
    mean square.
    """

    start_epoch: float = setting(0.0, number(0))
    end_epoch: float | None = setting(None, optional(number(0)))  # None: to the end
    temperature: float = setting(2.0, number(0, above=True))
    weight: float = setting(0.5, number(0, 1))
    features: tuple[str, ...] = setting((), names)
    feature_weight: float = setting(1.0, number(0))

    def check(self) -> None:
        check_end(self)

    def active(self, epoch: float) -> bool:
        return self.start_epoch <= epoch and (self.end_epoch is None or epoch < self.end_epoch)


@dataclass(frozen=True)
class LearningRate(Settings):
    """The rate of all parameter groups: up from zero during warm_up epochs, then from `rate` down to final_rate at end_epoch."""

    rate: float = setting(0.0, number(0, above=True))
    start_epoch: float = setting(0.0, number(0))
    end_epoch: float | None = setting(None, optional(number(0)))
    warm_up: float = setting(0.0, number(0))
    final_rate: float = setting(0.0, number(0))
    shape: str = setting("cosine", one_of("cosine", "linear", "constant"))

    def check(self) -> None:
        if self.end_epoch is None and self.shape != "constant":
            raise RecipeError(f"end_epoch: {self.shape} needs an end; write the epoch at which the training is over")
        check_end(self)

    def at(self, epoch: float) -> float | None:
        """None before start_epoch: the rate is somebody else's then."""
        if epoch < self.start_epoch:
            return None
        gone = epoch - self.start_epoch
        if gone < self.warm_up:
            return self.rate * gone / self.warm_up
        if self.shape == "constant":
            return self.rate
        length = self.end_epoch - self.start_epoch - self.warm_up
        progress = min(1.0, (gone - self.warm_up) / length) if length > 0 else 1.0
        left = 1 - progress if self.shape == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
        return self.final_rate + (self.rate - self.final_rate) * left


def check_end(settings: Distillation | LearningRate) -> None:
    if settings.end_epoch is not None and settings.end_epoch <= settings.start_epoch:
        raise RecipeError(f"end_epoch: {settings.end_epoch:g} is not after start_epoch {settings.start_epoch:g}; write a later epoch")


@dataclass(frozen=True)
class Recipe:
    sparsity: tuple[Sparsity, ...]  # a layer obeys the first one that includes it
    distillation: Distillation | None = None
    learning_rate: LearningRate | None = None


MODIFIERS = {"sparsity": Sparsity, "distillation": Distillation, "learning_rate": LearningRate}


def read_modifier(entry: Any) -> Settings:
    if not isinstance(entry, dict):
        raise RecipeError(f"type: missing, as {entry!r} has no keys; write `type: sparsity` and the keys of that")
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in MODIFIERS:
        raise RecipeError(f"type: {kind!r} is no modifier; write {', '.join(MODIFIERS)}")
    known = [one.name for one in fields(MODIFIERS[kind])]
    values = {key: value for key, value in entry.items() if key != "type"}
    for key in values:
        if key not in known:
            raise RecipeError(f"{key}: {kind} has no such key; the keys are {', '.join(known)}")
    # YAML has an empty text, and JSON null, where nothing was written.
    return MODIFIERS[kind](**{key: value for key, value in values.items() if value not in ("", None)})


def read_recipe(content: Any) -> Recipe:
    """From the content of a recipe file: {"modifiers": [{"type": "sparsity", ...}, ...]}. Raises RecipeError."""
    if not isinstance(content, dict) or not isinstance(content.get("modifiers"), list):
        raise RecipeError("modifiers: missing, or not a list; begin with `modifiers:` and one `- type: sparsity`")
    for key in content:
        if key != "modifiers":
            raise RecipeError(f"{key}: not a key of a recipe; put it into one of the modifiers")
    found: dict[type, list] = {kind: [] for kind in MODIFIERS.values()}
    for index, entry in enumerate(content["modifiers"]):
        try:
            modifier = read_modifier(entry)
        except RecipeError as error:
            raise RecipeError(f"modifiers[{index}].{error}") from None
        found[type(modifier)].append(modifier)
    for name in ("distillation", "learning_rate"):
        if len(found[MODIFIERS[name]]) > 1:
            raise RecipeError(f"modifiers: {name} is there {len(found[MODIFIERS[name]])} times; keep one")
    if not found[Sparsity]:
        raise RecipeError("modifiers: none makes anything sparse; add one with `type: sparsity`")
    single = {name: next(iter(found[MODIFIERS[name]]), None) for name in ("distillation", "learning_rate")}
    return Recipe(tuple(found[Sparsity]), **single)


def parse(text: str, path: pathlib.Path) -> Any:
    if path.suffix == ".json":
        return json.loads(text)
    try:
        import yaml
    except ImportError:
        raise RecipeError("PyYAML is not installed; install it, or write the recipe as JSON in a .json file") from None

    # All values as text: YAML's own types would make 124 of 2:4 (base 60) and text of 1e-3.
    class Loader(yaml.BaseLoader):
        def construct_mapping(self, node, deep=False):
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise RecipeError(f"{key}: written {keys.count(key)} times from line {node.start_mark.line + 1} on; keep one")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def load_recipe(path: str | pathlib.Path) -> Recipe:
    """Reads a .yaml or .json file. Raises RecipeError for what is wrong in it, OSError when it cannot be read."""
    path = pathlib.Path(path)
    try:
        return read_recipe(parse(path.read_text(encoding="utf-8"), path))
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise RecipeError(f"{path}: not {kind}: {error}; correct that place") from None
