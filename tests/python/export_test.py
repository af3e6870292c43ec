from __future__ import annotations

import pathlib
import tempfile
import unittest

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from hussar.torch import ExportError, Sparsifier, Sparsity, export_onnx, sparsify
from hussar.torch.export import find, read_matrices
from networks import ANY_SIZE, SPARSE, Small, train
from onnx.reference import ReferenceEvaluator
from torch import nn

EXAMPLE = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)


class Export(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "model.onnx"

    def trained(self, settings: Sparsity) -> nn.Module:
        model = Small()
        sparsifier = Sparsifier(model, settings)
        train(model, torch.optim.Adam(model.parameters(), lr=0.01), sparsifier, 4)
        sparsifier.finalize()
        return model

    def test_zeros_are_in_the_file(self):
        for settings in (Sparsity(pattern="2:4x16", **ANY_SIZE), Sparsity(method="sr_ste", end_epoch=9, **ANY_SIZE)):
            model = self.trained(settings).train()
            names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "N"}, "y": {0: "N"}}}
            rows = export_onnx(model, EXAMPLE, self.path, layers=SPARSE, **names)
            self.assertEqual([row.name for row in rows], list(SPARSE))
            self.assertTrue(all(row.zeros == row.weights // 2 for row in rows))
            self.assertEqual(len({row.initializer for row in rows}), 3)
            self.assertTrue(model.training)
            file = onnx.load(self.path)
            stored = {one.name: onnx.numpy_helper.to_array(one) for one in file.graph.initializer}
            first = stored[rows[0].initializer]
            self.assertTrue(np.array_equal(first == 0, model.first.weight.detach().numpy() == 0))
            self.assertFalse(np.array_equal(first, model.first.weight.detach().numpy()), "the batch norm is not folded")
            self.assertFalse(any((np.signbit(array) & (array == 0)).any() for array in stored.values() if array.ndim > 1))
            found = ReferenceEvaluator(file).run(None, {"x": EXAMPLE[:1].numpy()})[0]
            np.testing.assert_allclose(found, model.eval()(EXAMPLE[:1]).detach().numpy(), rtol=1e-3, atol=1e-5)

    def test_products_of_three_dimensions_are_stored_transposed(self):
        model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        sparsify(model, Sparsity(pattern="2:4x4", first_and_last=True, **ANY_SIZE))
        rows = export_onnx(model, torch.randn(2, 3, 8), self.path)
        self.assertEqual([row.name for row in rows], ["0", "2"])
        stored = read_matrices(self.path)[rows[1].initializer]
        np.testing.assert_array_equal(stored.T, model[2].weight.detach().numpy())

    def test_what_cannot_be_proven_is_an_error(self):
        model = Small()
        with self.assertRaisesRegex(ExportError, "no layer has 2:4 zeros"):
            export_onnx(model, EXAMPLE, self.path)
        with self.assertRaisesRegex(ExportError, "first has no 2:4 zeros; call Sparsifier.finalize"):
            export_onnx(model, EXAMPLE, self.path, layers=["first"])
        Sparsifier(model, Sparsity(method="sr_ste", end_epoch=9, **ANY_SIZE))
        with self.assertRaisesRegex(ExportError, "first is parametrized; call Sparsifier.finalize"):
            export_onnx(model, EXAMPLE, self.path)

    def test_lost_zeros_are_found(self):
        zeros = np.tile([True, False, True, False], (4, 2))
        kept = np.where(zeros, 0, 1.0)
        scaled = kept * np.array([-2, 0, 1, 3])[:, None]
        self.assertEqual(find("layer", zeros, {"a": np.ones((4, 8)), "b": scaled.T}, self.path).initializer, "b")
        for wrong in (np.ones((4, 8)), np.roll(kept, 1, 1), np.zeros((4, 8)), kept[:2]):
            with self.assertRaisesRegex(ExportError, "no initializer has the zeros of layer"):
                find("layer", zeros, {"a": wrong}, self.path)
