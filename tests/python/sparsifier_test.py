from __future__ import annotations

import copy
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import torch
from hussar.torch import LearningRate, Pattern, Recipe, RecipeError, Sparsifier, Sparsity, format_report, kept_energy, sparsify
from networks import ANY_SIZE, SPARSE, Small, train
from torch import nn

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
}


def zeros_of(model) -> dict[str, torch.Tensor]:
    return {name: model.get_submodule(name).weight.detach() == 0 for name in SPARSE}


def same(first: dict, second: dict) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


class Eligibility(unittest.TestCase):
    def reasons(self, model, *modifiers) -> dict[str, str]:
        return {row.name: row.reason for row in Sparsifier(model, Recipe(modifiers)).report()}

    def test_every_skip_has_a_reason(self):
        reasons = self.reasons(Small(), Sparsity(least_outputs=20, least_k=24, exclude="hid*"))
        self.assertEqual(
            reasons,
            {
                "stem": "3 input channels are not a multiple of 4",
                "first": "",
                "depthwise": "a convolution of 24 groups",
                "second": "",
                "hidden": "excluded by 'hid*'",
                "head": "the last layer",
            },
        )

    def test_small_layers_stay_dense_unless_asked(self):
        model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 64), nn.Linear(64, 48), nn.Linear(48, 64), nn.Linear(64, 64), nn.Linear(64, 4))
        reasons = self.reasons(model, Sparsity())
        expected = ["the first layer", "k = 8, less than 64", "48 output channels, fewer than 64", "k = 48, less than 64", "", "the last layer"]
        self.assertEqual(list(reasons.values()), expected)
        self.assertEqual(set(self.reasons(model, Sparsity(first_and_last=True, **ANY_SIZE)).values()), {""})

    def test_k_counts_the_taps(self):
        model = nn.Sequential(nn.Conv2d(4, 16, 1), nn.Conv2d(16, 64, 2), nn.Conv2d(64, 4, 1))
        self.assertEqual(self.reasons(model, Sparsity())["1"], "")

    def test_other_parameters(self):
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.words, self.out = nn.Embedding(16, 8), nn.Linear(8, 16)
                self.out.weight = self.words.weight
                self.middle = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
                self.plain, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

        reasons = self.reasons(Odd(), Sparsity(first_and_last=True, include=("out", "middle", "last"), **ANY_SIZE))
        self.assertEqual(reasons["out"], "shares its weight with words")
        self.assertEqual(reasons["middle"], "its weight is computed from other parameters")
        self.assertEqual(reasons["plain"], "no modifier includes it")
        self.assertEqual(reasons["middle.parametrizations.weight.original1"], "not the weight of a Conv2d or Linear")
        self.assertEqual(reasons["last"], "")

    def test_wrappers_do_not_change_names(self):
        rows = Sparsifier(torch.compile(Small()), Sparsity(include="hidden", **ANY_SIZE)).report()
        self.assertEqual([row.name for row in rows if row.eligible], ["hidden"])

    def test_a_name_that_fits_nothing_is_an_error(self):
        with self.assertRaisesRegex(RecipeError, "'feature.*' fits no Conv2d or Linear; the layers are stem, first"):
            Sparsifier(Small(), Sparsity(include="feature.*"))

    def test_the_first_modifier_that_includes_a_layer_counts(self):
        model = Small()
        sparsifier = Sparsifier(model, Recipe((Sparsity(include="first", **ANY_SIZE), Sparsity(pattern="2:4x4", **ANY_SIZE))))
        self.assertEqual([row.pattern for row in sparsifier.report() if row.eligible], ["2:4", "2:4x4", "2:4x4"])
        self.assertFalse(Pattern(4).is_legal(model.first.weight))
        self.assertTrue(Pattern(4).is_legal(model.second.weight))


class Masks(unittest.TestCase):
    def test_survive_optimizers_with_momentum_and_decay(self):
        for name, make in OPTIMIZERS.items():
            for pattern in ("2:4", "2:4x16"):
                with self.subTest(optimizer=name, pattern=pattern):
                    model = Small()
                    optimizer = make(model.parameters())
                    train(model, optimizer, Sparsifier(Small(), Sparsity(start_epoch=9)), 3)  # momentum of dense training
                    sparsifier = Sparsifier(model, Sparsity(pattern=pattern, **ANY_SIZE))
                    before, weight = zeros_of(model), model.first.weight.detach().clone()
                    train(model, optimizer, sparsifier, 6)
                    self.assertTrue(same(before, zeros_of(model)))
                    self.assertFalse(torch.equal(weight, model.first.weight))
                    self.assertTrue(all(row.legal for row in sparsifier.finalize() if row.eligible))

    def test_state_dict_is_that_of_the_dense_model(self):
        model = Small()
        names = list(model.state_dict())
        sparsifier = Sparsifier(model, Sparsity(pattern="2:4x16", **ANY_SIZE))
        train(model, OPTIMIZERS["adam"](model.parameters()), sparsifier, 2)
        self.assertEqual(list(model.state_dict()), names)
        other = Small(seed=1)
        other.load_state_dict(model.state_dict())
        self.assertTrue(same(zeros_of(model), zeros_of(other)))
        self.assertTrue(same(zeros_of(model), zeros_of(copy.deepcopy(model))))

    def test_averages_of_weights_keep_the_zeros(self):
        model = Small()
        sparsifier = Sparsifier(model, Sparsity(**ANY_SIZE))
        average = torch.optim.swa_utils.AveragedModel(model)
        for _ in range(3):
            train(model, OPTIMIZERS["sgd"](model.parameters()), sparsifier, 1)
            average.update_parameters(model)
        self.assertTrue(same(zeros_of(model), zeros_of(average.module)))

    def test_gradients_of_masked_weights(self):
        model = Small()
        sparsifier = Sparsifier(model, Sparsity(**ANY_SIZE))
        model(torch.randn(2, 3, 8, 8)).sum().backward()
        sparsifier.mask_gradients()
        self.assertEqual(float(model.second.weight.grad[model.second.weight == 0].abs().sum()), 0)
        self.assertGreater(float(model.second.weight.grad.abs().sum()), 0)

    def test_a_run_that_was_cut_off_goes_on(self):
        for settings in (Sparsity(**ANY_SIZE), Sparsity(schedule="cubic", end_epoch=8, update_every=1, **ANY_SIZE),
                         Sparsity(schedule="layers", parts=3, end_epoch=8, **ANY_SIZE),
                         Sparsity(method="sr_ste", end_epoch=8, **ANY_SIZE), Sparsity(method="sr_ste", end_epoch=2, **ANY_SIZE)):  # fmt: skip
            with self.subTest(settings=settings):
                model = Small()
                optimizer = OPTIMIZERS["adam"](model.parameters())
                sparsifier = Sparsifier(model, settings)
                train(model, optimizer, sparsifier, 4)
                file = io.BytesIO()
                torch.save([part.state_dict() for part in (sparsifier, model, optimizer)], file)
                file.seek(0)
                states = torch.load(file, weights_only=True)
                other = Small(seed=3)
                other_optimizer = OPTIMIZERS["adam"](other.parameters())
                other_sparsifier = Sparsifier(other, settings)
                for part, state in zip((other_sparsifier, other, other_optimizer), states):
                    part.load_state_dict(state)
                train(model, optimizer, sparsifier, 6)
                train(other, other_optimizer, other_sparsifier, 6)
                self.assertEqual(sparsifier.finalize(), other_sparsifier.finalize())
                for name, value in model.state_dict().items():
                    self.assertTrue(torch.equal(value, other.state_dict()[name]), name)

    def test_states_of_other_recipes_are_refused(self):
        state = Sparsifier(Small(), Sparsity(**ANY_SIZE)).state_dict()
        with self.assertRaisesRegex(ValueError, "this run has 2:4x4 .*use the same recipe"):
            Sparsifier(Small(), Sparsity(pattern="2:4x4", **ANY_SIZE)).load_state_dict(state)
        with self.assertRaisesRegex(ValueError, "hidden is masked in one of them only"):
            Sparsifier(Small(), Sparsity(exclude="hidden", **ANY_SIZE)).load_state_dict(state)
        with self.assertRaisesRegex(ValueError, "version"):
            Sparsifier(Small(), Sparsity(**ANY_SIZE)).load_state_dict({"version": 0})


class Schedules(unittest.TestCase):
    def test_masks_grow_and_nothing_returns(self):
        for settings in (Sparsity(pattern="2:4x8", schedule="cubic", start_epoch=1, end_epoch=3, update_every=2, **ANY_SIZE),
                         Sparsity(schedule="steps", start_epoch=1, end_epoch=3, **ANY_SIZE)):  # fmt: skip
            model = Small()
            sparsifier = Sparsifier(model, settings, steps_per_epoch=6)
            optimizer = OPTIMIZERS["adam"](model.parameters())
            seen = [0.0]
            before = zeros_of(model)
            for _ in range(20):
                train(model, optimizer, sparsifier, 1)
                seen.append(float(zeros_of(model)["first"].float().mean()))
                after = zeros_of(model)
                self.assertTrue(all(bool((after[name] | ~before[name]).all()) for name in SPARSE))
                before = after
            self.assertEqual(seen, sorted(seen))
            self.assertEqual((seen[5], seen[18]), (0.0, 0.5))
            self.assertGreater(len(set(seen)), 5)

    def test_layers_one_after_another(self):
        model = Small()
        with torch.no_grad():
            model.second.weight[:, ::2] *= 1e-3  # loses next to nothing
        sparsifier = Sparsifier(model, Sparsity(schedule="layers", parts=3, end_epoch=3, **ANY_SIZE))
        optimizer = OPTIMIZERS["sgd"](model.parameters())
        masked = []
        for _ in range(3):
            masked.append([row.name for row in sparsifier.report() if row.masked == 1])
            train(model, optimizer, sparsifier, 1)
        self.assertEqual(masked[0], ["second"])
        self.assertEqual([len(names) for names in masked], [1, 2, 3])

    def test_finalize_completes_a_schedule(self):
        sparsifier = Sparsifier(Small(), Sparsity(schedule="cubic", end_epoch=9, **ANY_SIZE))
        self.assertTrue(all(row.legal and row.masked == 1 for row in sparsifier.finalize() if row.eligible))
        with self.assertRaisesRegex(RuntimeError, "after finalize"):
            sparsifier.step()

    def test_learning_rate(self):
        model = Small()
        optimizer = OPTIMIZERS["sgd"](model.parameters())
        recipe = Recipe((Sparsity(**ANY_SIZE),), learning_rate=LearningRate(rate=0.5, end_epoch=2, shape="linear"))
        sparsifier = Sparsifier(model, recipe, steps_per_epoch=2, optimizer=optimizer)
        rates = [optimizer.param_groups[0]["lr"]]
        for _ in range(4):
            train(model, optimizer, sparsifier, 1)
            rates.append(optimizer.param_groups[0]["lr"])
        self.assertEqual(rates, [0.5, 0.375, 0.25, 0.125, 0.0])
        with self.assertRaisesRegex(RecipeError, "learning_rate: there is no optimizer"):
            Sparsifier(Small(), recipe)


class StraightThrough(unittest.TestCase):
    def test_masks_change_until_they_are_fixed(self):
        model = Small()
        parameter, outputs = model.first.weight, model(torch.ones(1, 3, 8, 8)).shape
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        sparsifier = Sparsifier(model, Sparsity(pattern="2:4x4", method="sr_ste", end_epoch=12, decay=0.01, **ANY_SIZE))
        first = zeros_of(model)
        self.assertTrue(Pattern(4).is_legal(model.first.weight))
        self.assertEqual(int((parameter == 0).sum()), 0)
        train(model, optimizer, sparsifier, 10)
        self.assertFalse(same(first, zeros_of(model)))
        self.assertTrue(all(row.legal for row in sparsifier.report() if row.eligible))
        self.assertTrue(same(zeros_of(model), zeros_of(copy.deepcopy(model))))
        train(model, optimizer, sparsifier, 2)
        fixed = zeros_of(model)
        self.assertIs(model.first.weight, parameter)
        self.assertIs(type(model.first), nn.Conv2d)
        train(model, optimizer, sparsifier, 3)
        self.assertTrue(same(fixed, zeros_of(model)))
        self.assertEqual(model(torch.ones(1, 3, 8, 8)).shape, outputs)

    def test_gradient_is_that_of_the_masked_weight_and_the_decay(self):
        layer = nn.Linear(8, 6, bias=False)
        Sparsifier(layer_in(layer), Sparsity(include="0", method="sr_ste", end_epoch=1, decay=0.25, first_and_last=True, **ANY_SIZE))
        weight, x = layer.parametrizations.weight.original, torch.randn(3, 8)
        (layer(x) ** 2).sum().backward()
        masked = layer.weight.detach()
        expected = 2 * (x @ masked.T).T @ x + 0.25 * weight.detach() * (masked == 0)
        torch.testing.assert_close(weight.grad, expected)

    def test_decay_pulls_masked_weights_to_zero(self):
        layer = nn.Linear(8, 6, bias=False)
        Sparsifier(layer_in(layer), Sparsity(include="0", method="sr_ste", end_epoch=1, decay=0.25, first_and_last=True, **ANY_SIZE))
        weight = layer.parametrizations.weight.original
        masked = layer.weight.detach() == 0
        before = weight.detach().clone()
        (layer(torch.randn(3, 8)) * 0).sum().backward()
        torch.optim.SGD([weight], lr=1.0).step()
        torch.testing.assert_close(weight[masked], 0.75 * before[masked])
        torch.testing.assert_close(weight[~masked], before[~masked])


def layer_in(layer) -> nn.Module:
    return nn.Sequential(layer, nn.ReLU())


class Scores(unittest.TestCase):
    def test_activations_decide(self):
        model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 3, padding=1))
        with torch.no_grad():
            model[1].weight.fill_(1.0)
            model[1].weight[:, 0] = 2.0
            model[0].weight.copy_(torch.eye(4)[:, :, None, None])
            model[0].bias.zero_()
        pictures = torch.ones(2, 4, 6, 6) * torch.tensor([0.1, 1, 2, 3])[:, None, None]
        settings = {"include": "1", "first_and_last": True, **ANY_SIZE}
        rows = sparsify(copy.deepcopy(model), Sparsity(score="activations", **settings), calibration=[pictures, (pictures,), {"input": pictures}])
        self.assertAlmostEqual(next(row.kept_energy for row in rows if row.eligible), 2 / 7)
        sparse = copy.deepcopy(model).train()
        sparsify(sparse, Sparsity(score="activations", **settings), calibration=[pictures])
        self.assertEqual(sparse[1].weight[0, :, 1, 1].tolist(), [0, 0, 1, 1])
        self.assertTrue(sparse.training)
        self.assertFalse(sparse[0]._forward_pre_hooks)
        sparsify(model, Sparsity(**settings))
        self.assertEqual(model[1].weight[0, :, 1, 1].tolist(), [2, 1, 0, 0])

    def test_data_that_do_not_do(self):
        settings = Sparsity(score="activations", **ANY_SIZE)
        with self.assertRaisesRegex(RecipeError, "calibration=batches"):
            Sparsifier(Small(), settings)
        with self.assertRaisesRegex(ValueError, "no calibration batch reaches first"):
            Sparsifier(Small(), settings, calibration=[])
        with self.assertRaisesRegex(ValueError, "first is not finite"):
            Sparsifier(Small(), settings, calibration=[torch.full((1, 3, 8, 8), float("nan"))])


class Reports(unittest.TestCase):
    def test_kept_energy(self):
        model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.ReLU())
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([[1.0, 2, 3, 4], [4, 3, 2, 1]]))
        for pattern, kept in (("2:4", 50 / 60), ("2:4x2", 34 / 60)):
            rows = sparsify(copy.deepcopy(model), Sparsity(pattern=pattern, first_and_last=True, **ANY_SIZE))
            self.assertAlmostEqual(rows[0].kept_energy, kept)
            self.assertAlmostEqual(kept_energy(rows), kept)
        self.assertIn("2:4x2, keeps 56.7% of the energy", format_report(rows))

    def test_growing_masks_add_up(self):
        model, once = Small(), sparsify(Small(), Sparsity(**ANY_SIZE))
        sparsifier = Sparsifier(model, Sparsity(schedule="steps", end_epoch=10, **ANY_SIZE))
        self.assertIsNone(kept_energy(Sparsifier(Small(), Sparsity(start_epoch=1, **ANY_SIZE)).report()))
        for _ in range(10):
            sparsifier.step()
        self.assertAlmostEqual(kept_energy(sparsifier.report()), kept_energy(once), places=6)

    def test_no_negative_zero_is_left(self):
        model = Small()
        with torch.no_grad():
            model.first.weight.view(-1)[::3] = -0.0
        sparsify(model, Sparsity(**ANY_SIZE))
        self.assertFalse(bool((torch.signbit(model.first.weight) & (model.first.weight == 0)).any()))


class Distributed(unittest.TestCase):
    SCRIPT = """
import sys, torch
from torch import distributed
from hussar.torch import Sparsifier, Sparsity
from networks import ANY_SIZE, Small, train
torch.set_num_threads(1)
rank = int(sys.argv[2])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=rank, world_size=2)

def check_equal(what, tensors):
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    other = flat.clone()
    distributed.broadcast(other, 0)
    assert torch.equal(flat, other), what

def check(model, sparsifier):
    train(model, torch.optim.Adam(model.parameters(), lr=0.01), sparsifier, 3)
    assert all(row.legal for row in sparsifier.finalize() if row.eligible)
    check_equal("weights differ", model.parameters())

model = torch.nn.parallel.DistributedDataParallel(Small())
data = [torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(rank))]
sparsifier = Sparsifier(model, Sparsity(pattern="2:4x8", score="activations", **ANY_SIZE), calibration=data)
check_equal("norms of inputs differ", [layer.energy for layer in sparsifier.layers.values()])
check(model, sparsifier)
model = Small(seed=rank)
sparsifier = Sparsifier(model, Sparsity(pattern="2:4x8", **ANY_SIZE))
check(torch.nn.parallel.DistributedDataParallel(model), sparsifier)
distributed.barrier()
distributed.destroy_process_group()
"""

    def test_processes_agree(self):
        if not torch.distributed.is_available():
            self.skipTest("this PyTorch has no torch.distributed")
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            command = [sys.executable, "-c", self.SCRIPT, str(pathlib.Path(folder) / "meet")]
            processes = [subprocess.Popen([*command, str(rank)], env=environment, text=True, stderr=subprocess.PIPE) for rank in range(2)]
            for process in processes:
                _, errors = process.communicate(timeout=120)
                self.assertEqual(process.returncode, 0, errors)
