"""2:4 sparsity in the training of PyTorch models, so that `hussar build` finds weights that it can run faster.

    import hussar.torch as ht

    report = ht.sparsify(model, "2:4x64")                  # at once; or, with fine-tuning:
    sparsifier = ht.Sparsifier(model, ht.load_recipe("recipe.yaml"), steps_per_epoch=len(loader), optimizer=optimizer)
    ...                                                    # sparsifier.step() after each optimizer.step()
    sparsifier.finalize()
    ht.export_onnx(model, example, "model.onnx")

Needs PyTorch 2 or later; onnx for the export, PyYAML for recipes in YAML. `sparsifier.py` has a whole training loop.
"""

from .distillation import Distiller
from .export import ExportedLayer, ExportError, export_onnx
from .patterns import Pattern
from .recipe import Distillation, LearningRate, Recipe, RecipeError, Sparsity, load_recipe
from .sparsifier import LayerReport, Sparsifier, format_report, kept_energy, sparsify

__all__ = [
    "Distillation", "Distiller", "ExportError", "ExportedLayer", "LayerReport", "LearningRate", "Pattern", "Recipe",
    "RecipeError", "Sparsifier", "Sparsity", "export_onnx", "format_report", "kept_energy", "load_recipe", "sparsify",
]  # fmt: skip
