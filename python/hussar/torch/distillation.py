"""Knowledge distillation: the dense model teaches the sparse one (Hinton et al., 2015), with features where named."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import unwrapped
from .recipe import Distillation, RecipeError


def logits_of(output: Any) -> Tensor:
    """Models may return logits, or an object that has them."""
    return getattr(output, "logits", output)


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL of logits (..., classes) at the temperature, times its square: gradients are of the size of the task's then."""
    classes = student.shape[-1]
    own = functional.log_softmax(student.float().reshape(-1, classes) / temperature, 1)
    wanted = functional.log_softmax(teacher.float().reshape(-1, classes) / temperature, 1)
    return functional.kl_div(own, wanted, reduction="batchmean", log_target=True) * temperature**2


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared error, relative to the teacher's mean square."""
    wanted = teacher.float()
    return functional.mse_loss(student.float(), wanted) / wanted.square().mean().clamp_min(torch.finfo(torch.float32).tiny)


class Distiller:
    """teacher: the dense model, which is put into evaluation and no longer trained; a copy made before the Sparsifier.
    student: the model in training, wrapped or not. settings: None for a loss that is the task's alone.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module, settings: Distillation | None) -> None:
        student = unwrapped(student)
        if teacher is student:
            raise ValueError("teacher and student are the same object; make the teacher by copy.deepcopy before masking")
        self.teacher = teacher.eval().requires_grad_(False)
        self.settings = settings
        self._seen: dict[str, dict[str, Tensor]] = {"teacher": {}, "student": {}}
        self._hooks = []
        for name in settings.features if settings is not None else ():
            for role, model in (("teacher", teacher), ("student", student)):
                self._listen(role, model, name)

    def _listen(self, role: str, model: nn.Module, name: str) -> None:
        try:
            module = model.get_submodule(name)
        except AttributeError:
            raise RecipeError(f"features: the {role} has no module {name!r}; write names of model.named_modules()") from None

        def keep(_: nn.Module, __: tuple, output: Tensor) -> None:
            self._seen[role][name] = output

        self._hooks.append(module.register_forward_hook(keep))

    def loss(self, inputs: Any, logits: Any, task_loss: Tensor, epoch: float = 0.0) -> Tensor:
        """The loss to be minimised.

        inputs: what the student was just given: a tensor, a tuple, or a dictionary. logits: (..., classes), what it
        returned. task_loss: a scalar, such as the cross entropy with the labels.
        """
        if self.settings is None or not self.settings.active(epoch):
            return task_loss
        with torch.no_grad():
            if isinstance(inputs, dict):
                taught = self.teacher(**inputs)
            else:
                taught = self.teacher(*inputs) if isinstance(inputs, (tuple, list)) else self.teacher(inputs)
        settings = self.settings
        soft = soft_loss(logits_of(logits), logits_of(taught), settings.temperature)
        total = (1 - settings.weight) * task_loss + settings.weight * soft
        for name in settings.features:
            if name not in self._seen["student"]:
                raise RuntimeError(f"the student has not computed {name} since the last loss; call loss once after each forward pass")
            error = feature_loss(self._seen["student"].pop(name), self._seen["teacher"].pop(name))
            total = total + settings.feature_weight / len(settings.features) * error
        return total

    def close(self) -> None:
        """Stops listening to the features."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
