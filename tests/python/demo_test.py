from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import pathlib
import tempfile
import unittest

import dense_weights
import hussar.torch as ht
import onnxruntime
import torch
import train_sparse
from modelzoo import Unavailable

PICTURES = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(3))


class DenseWeights(unittest.TestCase):
    def test_networks_compute_what_their_files_do(self):
        for name in train_sparse.NETWORKS:
            with self.subTest(model=name):
                path = train_sparse.MODELS / f"{name}.onnx"
                session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
                expected = torch.from_numpy(session.run(None, {"x": PICTURES.numpy()})[0])
                network = dense_weights.read(name, path)
                with torch.no_grad():
                    torch.testing.assert_close(network(PICTURES), expected, rtol=1e-3, atol=1e-3)
                    dense_weights.measure_norms(network, [PICTURES[:8], PICTURES[8:]])
                    torch.testing.assert_close(network(PICTURES), expected, rtol=1e-3, atol=1e-3)
                    # Statistics of these very pictures: training mode computes the same.
                    difference = (network.train()(PICTURES) - expected).abs().max()
                self.assertLess(float(difference), 0.05)

    def test_files_of_other_networks_are_refused(self):
        with self.assertRaisesRegex(Unavailable, "is not the network vit"):
            dense_weights.read("vit", train_sparse.MODELS / "resnet20.onnx")


class Batches:
    """Random pictures in place of the data set."""

    steps, device, batch = 2, "cpu", 8

    def restart(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def next(self):
        return torch.randn(8, 1, 28, 28, generator=self.generator), torch.arange(8)


def quietly(function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments)


class FineTuning(unittest.TestCase):
    def setUp(self):
        pattern = ht.Pattern(64)
        self.arguments = argparse.Namespace(pattern=pattern, least=64, epochs=1.0, batch=8, retrain=False)

    def test_one_epoch_to_a_file(self):
        dense = train_sparse.read_dense("mobilenet", 0, Batches(), self.arguments)
        before = copy.deepcopy(dense.state_dict())
        recipe = train_sparse.make_recipe("mobilenet", self.arguments, True)
        model, rows = quietly(train_sparse.fine_tune, "mobilenet", dense, Batches(), recipe, 0)
        for key, value in dense.state_dict().items():
            self.assertTrue(torch.equal(value, before[key]), f"{key} of the dense network has changed")
        masked = [row for row in rows if row.eligible]
        self.assertTrue(masked)
        self.assertTrue(all(row.legal for row in masked))
        with tempfile.TemporaryDirectory() as folder:
            result = train_sparse.export(model, rows, pathlib.Path(folder) / "sparse.onnx")
            self.assertEqual(result["bytes"], (pathlib.Path(folder) / "sparse.onnx").stat().st_size)
        json.dumps([train_sparse.describe(row) for row in rows])

    def test_the_control_has_no_masks(self):
        dense = train_sparse.read_dense("resnet20", 0, Batches(), self.arguments)
        recipe = train_sparse.make_recipe("resnet20", self.arguments, False)
        model, rows = quietly(train_sparse.fine_tune, "resnet20", dense, Batches(), recipe, 0)
        self.assertFalse(any(row.eligible for row in rows))
        self.assertFalse(ht.Pattern().is_legal(model.features[6].first[0].weight))

    def test_the_recipe_is_the_committed_one(self):
        self.arguments.epochs, self.arguments.batch = 6, 512
        recipe = train_sparse.make_recipe("resnet20", self.arguments, True)
        committed = ht.load_recipe(pathlib.Path(ht.__file__).parent / "recipes/fine_tune_2of4x64.yaml")
        self.assertEqual(recipe, committed)
