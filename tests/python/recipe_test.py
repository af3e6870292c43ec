from __future__ import annotations

import pathlib
import sys
import tempfile
import unittest
from unittest import mock

import hussar.torch
from hussar.torch import Distillation, LearningRate, Pattern, RecipeError, Sparsity, load_recipe

RECIPES = sorted((pathlib.Path(hussar.torch.__file__).parent / "recipes").glob("*.yaml"))

# text of the modifiers -> what the message has to name: the key, the cause, the next step
WRONG = {
    "": ("modifiers: missing", "begin with"),
    "modifiers: 3": ("modifiers: missing, or not a list",),
    "modifiers: []": ("none makes anything sparse", "type: sparsity"),
    "modifiers: [7]": ("modifiers[0].type: missing", "'7'", "write `type: sparsity`"),
    "modifiers: [{pattern: 2:4}]": ("modifiers[0].type: None", "write sparsity, distillation, learning_rate"),
    "modifiers: [{type: [sparsity]}]": ("modifiers[0].type: ['sparsity']", "write sparsity"),
    "modifiers: [{type: pruning}]": ("modifiers[0].type: 'pruning'", "write sparsity"),
    "modifiers: [{type: sparsity}]\nstart: 1": ("start: not a key", "into one of the modifiers"),
    "modifiers: [{type: sparsity, patern: 2:4}]": ("modifiers[0].patern", "no such key", "pattern, start_epoch"),
    "modifiers: [{type: sparsity, pattern: 2:5}]": ("modifiers[0].pattern: '2:5'", "write 2:4"),
    "modifiers: [{type: sparsity, start_epoch: soon}]": ("modifiers[0].start_epoch: 'soon'", "a number from 0"),
    "modifiers: [{type: sparsity, start_epoch: -1}]": ("modifiers[0].start_epoch: '-1'", "a number from 0"),
    "modifiers: [{type: sparsity, end_epoch: 3}]": ("modifiers[0].end_epoch", "stays", "schedule: cubic"),
    "modifiers: [{type: sparsity, schedule: cubic}]": ("modifiers[0].end_epoch: cubic needs an end", "write when"),
    "modifiers: [{type: sparsity, schedule: steps, start_epoch: 3, end_epoch: 3}]": ("end_epoch: steps needs", "start_epoch 3"),
    "modifiers: [{type: sparsity, schedule: fast}]": ("modifiers[0].schedule: 'fast'", "once or cubic"),
    "modifiers: [{type: sparsity, schedule: steps, parts: 2.5, end_epoch: 1}]": ("modifiers[0].parts: '2.5'", "a whole number"),
    "modifiers: [{type: sparsity, method: sr_ste}]": ("modifiers[0].end_epoch: sr_ste needs",),
    "modifiers: [{type: sparsity, method: sr_ste, schedule: cubic, end_epoch: 1}]": ("modifiers[0].schedule", "leave schedule out"),
    "modifiers: [{type: sparsity, first_and_last: maybe}]": ("modifiers[0].first_and_last: 'maybe'", "true nor false"),
    "modifiers: [{type: sparsity, include: {a: b}}]": ("modifiers[0].include", "not a list of names"),
    "modifiers: [{type: sparsity}, {type: distillation, temperature: 0}]": ("modifiers[1].temperature: '0'", "above 0"),
    "modifiers: [{type: sparsity}, {type: distillation, weight: 1.5}]": ("modifiers[1].weight: '1.5'", "from 0 to 1"),
    "modifiers: [{type: sparsity}, {type: learning_rate, end_epoch: 1}]": ("modifiers[1].rate", "above 0"),
    "modifiers: [{type: sparsity}, {type: learning_rate, rate: .nan}]": ("modifiers[1].rate: '.nan'", "above 0"),
    "modifiers: [{type: sparsity}, {type: learning_rate, rate: 1e-3}]": ("modifiers[1].end_epoch: cosine needs", "write the epoch"),
    "modifiers: [{type: sparsity}, {type: distillation}, {type: distillation}]": ("distillation is there 2 times", "keep one"),
    "modifiers:\n  - type: sparsity\n    parts: 2\n    parts: 3": ("parts: written 2 times from line 2", "keep one"),
    "modifiers: [": ("not YAML", "correct that place"),
}  # fmt: skip


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def load(self, text: str, name: str = "recipe.yaml"):
        path = self.folder / name
        path.write_text(text)
        return load_recipe(path)

    def test_errors_name_file_key_cause_and_next_step(self):
        for text, parts in WRONG.items():
            with self.subTest(text=text):
                with self.assertRaises(RecipeError) as caught:
                    self.load(text)
                for part in ("recipe.yaml: ", *parts):
                    self.assertIn(part, str(caught.exception))

    def test_yaml_without_quotes(self):
        recipe = self.load("""
modifiers:
  - type: sparsity
    pattern: 2:4
    include: [features.*, head]
    exclude: features.0
    first_and_last: true
    least_k:
""")
        (sparsity,) = recipe.sparsity
        self.assertEqual(sparsity, Sparsity(pattern=Pattern(1), include=("features.*", "head"), exclude=("features.0",), first_and_last=True))
        self.assertIsNone(recipe.distillation)

    def test_json_needs_no_package(self):
        text = '{"modifiers": [{"type": "sparsity", "pattern": "2:4x16", "end_epoch": null}, {"type": "learning_rate", "rate": 1e-3, "end_epoch": 2}]}'
        with mock.patch.dict(sys.modules, yaml=None):
            recipe = self.load(text, "recipe.json")
            with self.assertRaisesRegex(RecipeError, "PyYAML is not installed; install it, or write the recipe as JSON"):
                self.load("modifiers: []")
        self.assertEqual(recipe.sparsity[0].pattern, Pattern(16))
        self.assertEqual(recipe.learning_rate, LearningRate(rate=1e-3, end_epoch=2))
        with self.assertRaisesRegex(RecipeError, "not JSON"):
            self.load("{", "other.json")
        with self.assertRaisesRegex(RecipeError, r"modifiers\[0\].pattern: 124 .*in quotes"):
            self.load('{"modifiers": [{"type": "sparsity", "pattern": 124}]}', "number.json")

    def test_several_sparsities(self):
        recipe = self.load("modifiers: [{type: sparsity, include: a}, {type: sparsity, pattern: 2:4x64}]")
        self.assertEqual([str(one.pattern) for one in recipe.sparsity], ["2:4", "2:4x64"])

    def test_committed_recipes(self):
        self.assertTrue(RECIPES)
        for path in RECIPES:
            recipe = load_recipe(path)
            self.assertEqual(recipe.sparsity[0].pattern, Pattern(64))
            self.assertEqual(recipe.distillation, Distillation())
            self.assertEqual(recipe.learning_rate.end_epoch, 6)

    def test_a_file_that_is_not_there(self):
        with self.assertRaises(OSError):
            load_recipe(self.folder / "none.yaml")


class Schedules(unittest.TestCase):
    def test_fractions_grow_from_start_to_end(self):
        for schedule in ("cubic", "steps", "layers"):
            settings = Sparsity(schedule=schedule, start_epoch=1, end_epoch=3)
            values = [settings.fraction(epoch / 16) for epoch in range(65)]
            self.assertEqual(values, sorted(values))
            self.assertEqual((values[15], values[48]), (0.0, 1.0))
        self.assertEqual(Sparsity(schedule="cubic", end_epoch=2).fraction(1), 0.875)

    def test_steps_of_a_tenth(self):
        settings = Sparsity(schedule="steps", end_epoch=1)
        self.assertEqual([round(settings.fraction(tenth / 10), 6) for tenth in range(11)], [*(part / 10 for part in range(1, 11)), 1.0])

    def test_once(self):
        settings = Sparsity(start_epoch=0.5)
        self.assertEqual((settings.fraction(0.4), settings.fraction(0.5)), (0.0, 1.0))

    def test_rates(self):
        rate = LearningRate(rate=0.4, start_epoch=1, warm_up=1, end_epoch=4, final_rate=0.1)
        self.assertIsNone(rate.at(0.5))
        self.assertEqual((rate.at(1), rate.at(1.5), rate.at(2), rate.at(9)), (0.0, 0.2, 0.4, 0.1))
        self.assertAlmostEqual(rate.at(3), 0.25)
        self.assertAlmostEqual(LearningRate(rate=0.4, end_epoch=4, shape="linear").at(1), 0.3)
        self.assertEqual(LearningRate(rate=0.4, shape="constant").at(100), 0.4)
