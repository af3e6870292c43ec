from __future__ import annotations

import copy
import unittest

import torch
from hussar.torch import Distillation, Distiller, RecipeError, Sparsifier, Sparsity
from hussar.torch.distillation import feature_loss, soft_loss
from networks import ANY_SIZE, Small, train
from torch.nn import functional


class Losses(unittest.TestCase):
    def test_soft_loss_by_its_definition(self):
        student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
        wanted, own = torch.softmax(teacher / 4, -1), torch.softmax(student / 4, -1)
        expected = (wanted * (wanted / own).log()).sum(-1).mean() * 16
        torch.testing.assert_close(soft_loss(student, teacher, 4.0), expected)
        self.assertAlmostEqual(float(soft_loss(teacher, teacher, 2.0)), 0.0, places=6)

    def test_feature_loss_does_not_depend_on_the_scale(self):
        student, teacher = torch.randn(4, 8), torch.randn(4, 8)
        torch.testing.assert_close(feature_loss(10 * student, 10 * teacher), feature_loss(student, teacher))
        self.assertEqual(float(feature_loss(teacher, teacher)), 0.0)


class Distilling(unittest.TestCase):
    def losses(self, settings: Distillation, steps: int = 40) -> list[float]:
        model = Small()
        teacher = copy.deepcopy(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        sparsifier = Sparsifier(model, Sparsity(pattern="2:4x8", **ANY_SIZE))
        distiller = Distiller(teacher, model, settings)
        seen = []

        def loss_of(pictures, logits):
            loss = distiller.loss(pictures, logits, torch.zeros(()), sparsifier.epoch)
            seen.append(float(loss.detach()))
            return loss

        train(model, optimizer, sparsifier, steps, loss_of)
        self.assertFalse(any(parameter.requires_grad for parameter in teacher.parameters()))
        distiller.close()
        self.assertFalse(model.second._forward_hooks)
        return seen

    def test_loss_falls(self):
        for settings in (Distillation(weight=1.0, temperature=1.0), Distillation(weight=1.0, features="second")):
            seen = self.losses(settings)
            self.assertLess(sum(seen[-5:]), 0.7 * sum(seen[:5]))

    def test_mixture_with_the_task(self):
        model = Small().eval()
        teacher = Small(seed=1)
        pictures, labels = torch.randn(4, 3, 8, 8), torch.arange(4)
        distiller = Distiller(teacher, model, Distillation(weight=0.25, start_epoch=1, end_epoch=2))
        logits = model(pictures)
        task = functional.cross_entropy(logits, labels)
        expected = 0.75 * task + 0.25 * soft_loss(logits, teacher(pictures), 2.0)
        torch.testing.assert_close(distiller.loss(pictures, logits, task, 1.5), expected)
        for epoch in (0.5, 2.0):
            self.assertIs(distiller.loss(pictures, logits, task, epoch), task)
        self.assertIs(Distiller(teacher, model, None).loss(pictures, logits, task), task)

    def test_arguments_may_be_named(self):
        model, pictures = Small().eval(), torch.randn(2, 3, 8, 8)
        distiller = Distiller(Small(seed=1), model, Distillation(weight=1.0))
        logits = model(pictures)
        single = distiller.loss(pictures, logits, torch.zeros(()))
        for inputs in ((pictures,), {"x": pictures}):
            torch.testing.assert_close(distiller.loss(inputs, logits, torch.zeros(())), single)

    def test_mistakes(self):
        model = Small()
        with self.assertRaisesRegex(ValueError, "copy.deepcopy"):
            Distiller(model, model, None)
        with self.assertRaisesRegex(RecipeError, "features: the teacher has no module 'third'"):
            Distiller(Small(), model, Distillation(features="third"))
        distiller = Distiller(Small(), model, Distillation(features="second"))
        with self.assertRaisesRegex(RuntimeError, "has not computed second"):
            distiller.loss(torch.randn(1, 3, 8, 8), torch.randn(1, 5), torch.zeros(()))
