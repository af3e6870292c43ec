"""ONNX files in which the zeros are proven to be."""

from __future__ import annotations

import copy
import inspect
import logging
import pathlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from .layers import layers_of
from .patterns import Pattern


class ExportError(RuntimeError):
    """The file does not hold what it should; the message names the layer, the cause and the next step."""


@dataclass(frozen=True)
class ExportedLayer:
    name: str
    initializer: str
    zeros: int
    weights: int


def export_onnx(
    model: nn.Module,
    example: Any,
    path: str | pathlib.Path,
    *,
    layers: Iterable[str] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: dict | None = None,
    opset: int = 17,
) -> list[ExportedLayer]:
    """Writes the model (after Sparsifier.finalize) and checks that the file's initializers have its 2:4 zeros.

    example: inputs of the model, a tensor or a tuple. layers: names of those that have to be sparse; None: all that are.
    Batch norms are folded into weights by the exporter, which may make -0.0 of zeros: the file gets +0.0. The model
    itself stays as it is. Raises ExportError.
    """
    if parametrized := [name for name, module in model.named_modules() if parametrize.is_parametrized(module)]:
        raise ExportError(f"{parametrized[0]} is parametrized; call Sparsifier.finalize before the export")
    masks = sparse_masks(model)
    wanted = list(masks) if layers is None else list(layers)
    for name in wanted:
        if name not in masks:
            raise ExportError(f"{name} has no 2:4 zeros; call Sparsifier.finalize before the export")
    if not wanted:
        raise ExportError("no layer has 2:4 zeros; make the model sparse, or export it by torch.onnx.export")
    path = pathlib.Path(path)
    examples = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    write(model, examples, path, input_names, output_names, dynamic_axes, opset)
    clear_negative_zeros(path)
    matrices = read_matrices(path)
    return [find(name, masks[name], matrices, path) for name in wanted]


def sparse_masks(model: nn.Module) -> dict[str, np.ndarray]:
    """Where the layers with two zeros in every group have them, by name; none of a layer without any weight left."""
    masks = {}
    for name, layer in layers_of(model).items():
        if Pattern().is_legal(layer.weight) and bool((layer.weight != 0).any()):
            masks[name] = (layer.weight.detach() == 0).cpu().numpy()
    return masks


def write(model, examples: tuple, path: pathlib.Path, input_names, output_names, dynamic_axes, opset: int) -> None:
    """By the TorchScript exporter where there is a choice: it needs no other package than onnx."""
    plain = copy.deepcopy(model).to("cpu", memory_format=torch.contiguous_format).eval()
    examples = tuple(one.cpu() if isinstance(one, torch.Tensor) else one for one in examples)
    chosen = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                plain, examples, str(path), input_names=input_names, output_names=output_names,
                dynamic_axes=dynamic_axes, opset_version=opset, **chosen,
            )  # fmt: skip
    finally:
        logging.disable(level)


def onnx_module():
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError:
        raise ExportError("the package onnx is not installed; install it to export and to read the file back") from None
    return onnx


def clear_negative_zeros(path: pathlib.Path) -> None:
    onnx = onnx_module()
    model = onnx.load(path)
    changed = False
    for tensor in model.graph.initializer:
        if len(tensor.dims) < 2 or tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if bool((np.signbit(values) & (values == 0)).any()):
            tensor.CopyFrom(onnx.numpy_helper.from_array(values + values.dtype.type(0), tensor.name))
            changed = True
    if changed:
        onnx.save(model, path)


def read_matrices(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The initializers with two or more dimensions."""
    onnx = onnx_module()
    tensors = onnx.load(path).graph.initializer
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors if len(tensor.dims) >= 2}


def find(name: str, zeros: np.ndarray, matrices: dict[str, np.ndarray], path: pathlib.Path) -> ExportedLayer:
    """The initializer of a layer: exporters rename weights, transpose those of Linear and scale rows by batch norms.

    It has to be zero wherever the layer is, and nowhere else but where a batch norm has a factor of zero.
    """
    best, most = None, (zeros.size - int(zeros.sum())) // 2
    for initializer, values in matrices.items():
        for candidate in (values, values.T) if values.ndim == 2 else (values,):
            if candidate.shape != zeros.shape or bool((candidate[zeros] != 0).any()):
                continue
            common = int((candidate != 0).sum())
            if common > most:
                best, most = initializer, common
    if best is None:
        raise ExportError(f"{path}: no initializer has the zeros of {name}; export with the constant folding of PyTorch on, "
                          "and without passes that change weights")  # fmt: skip
    return ExportedLayer(name, best, zeros.size - most, zeros.size)
