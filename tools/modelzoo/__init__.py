"""Real and random-weight ONNX models for demo, tests and benchmarks, prepared into a cache folder.

    prepared = modelzoo.prepare("ppocr_rec")           # downloads and unpacks once
    feeds = modelzoo.make_inputs(prepared.row["inputs"])

A model folder CACHE/<name>/ holds model.onnx and row.json: inputs, provenance, licence and the file's sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from dataclasses import dataclass

from . import packages
from .catalog import Model, all_models
from .inputs import make_inputs
from .packages import Unavailable

__all__ = ["Model", "Prepared", "Unavailable", "all_models", "default_cache", "fix_shapes", "make_inputs", "prepare"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Prepared:
    model: Model
    path: pathlib.Path
    row: dict


def default_cache() -> pathlib.Path:
    """$HUSSAR_MODELS, else .cache/models in the repository."""
    root = pathlib.Path(__file__).resolve().parents[2]
    return pathlib.Path(os.environ.get("HUSSAR_MODELS", root / ".cache/models"))


def recipe(model: Model) -> str:
    """Changes when what the file is made from changes; an old cached file is then made anew."""
    parts = [packages.PACKAGES[name].sha256 for name in model.packages]
    parts.append(json.dumps(model.inputs))
    if model.exported:
        folder = pathlib.Path(__file__).parent
        parts += [(folder / name).read_text() for name in model.code]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def describe(model: Model, sha256: str) -> dict:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": model.name,
        "recipe": recipe(model),
        "sha256": sha256,
        "weights": model.weights,
        "licence": model.licence,
        "packages": [f"{name}=={packages.PACKAGES[name].version}" for name in model.packages],
        "inputs": model.inputs,
        "classes": {str(index): spec for index, spec in model.classes.items()},
        "variants": model.variants,
    }


def prepare(name: str, cache: pathlib.Path | None = None) -> Prepared:
    """Makes the model if the cache does not have it. Raises Unavailable with the reason, KeyError for a wrong name."""
    model = all_models()[name]
    cache = cache or default_cache()
    if model.same_file_as:
        base = prepare(model.same_file_as, cache)
        return Prepared(model, base.path, describe(model, base.row["sha256"]))
    folder = cache / name
    path = folder / "model.onnx"
    row_path = folder / "row.json"
    if row_path.exists() and path.exists():
        row = json.loads(row_path.read_text())
        if row.get("recipe") == recipe(model):
            return Prepared(model, path, describe(model, row["sha256"]))
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial.onnx"
    model.write(cache, partial, model)
    partial.rename(path)
    row = describe(model, packages.sha256_of(path))
    row_path.write_text(json.dumps(row, indent=1) + "\n")
    return Prepared(model, path, row)


def fix_shapes(source: pathlib.Path, target: pathlib.Path, shapes: dict[str, list[int]]) -> None:
    """Writes a copy whose graph inputs have the given fixed shapes and whose other recorded shapes are dropped."""
    import onnx

    model = onnx.load(source)
    for value in model.graph.input:
        if value.name in shapes:
            del value.type.tensor_type.shape.dim[:]
            value.type.tensor_type.shape.SetInParent()
            for extent in shapes[value.name]:
                value.type.tensor_type.shape.dim.add().dim_value = extent
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    onnx.save(model, target)
