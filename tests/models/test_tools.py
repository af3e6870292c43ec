#!/usr/bin/env python3
"""Checks of the Python around Hussar that the model tests, the demo and the benchmark rely on."""

from __future__ import annotations

import gzip
import json
import pathlib
import sys
import tempfile
import time
import unittest
from unittest import mock

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "demo", "bench", "tests")]

import classify  # noqa: E402
import engines  # noqa: E402
import hussar_cli  # noqa: E402
import kernels_cpu  # noqa: E402
import labelled_tasks  # noqa: E402
import modelzoo  # noqa: E402
import paired  # noqa: E402
import peers_table  # noqa: E402
import reading  # noqa: E402
import run_all  # noqa: E402
import where_time_goes  # noqa: E402
from modelzoo import agreement, fashion_mnist, pasted  # noqa: E402


class Agreement(unittest.TestCase):
    def test_error_is_relative_to_the_range(self):
        reference = np.array([0, 10], np.float32)
        self.assertAlmostEqual(agreement.relative_error(reference, np.array([0.5, 10], np.float32)), 0.05)

    def test_other_shape_dtype_or_nan_is_infinitely_wrong(self):
        reference = np.zeros((2, 2), np.float32)
        for wrong in (np.zeros(4, np.float32), np.zeros((2, 2)), np.full((2, 2), np.nan, np.float32)):
            self.assertEqual(agreement.relative_error(reference, wrong), float("inf"))

    def test_missing_output_is_unacceptable(self):
        self.assertFalse(agreement.acceptable(agreement.compare([np.zeros(3)], [], {})))

    def test_flip_beyond_a_tie_counts(self):
        reference = np.array([[0, 1, 5], [5, 4.999, 0]], np.float32)
        result = np.array([[0, 6, 5], [5, 5.001, 0]], np.float32)
        self.assertEqual(agreement.argmax_flips(reference, result, {"axis": -1}), (2, 2, 1))

    def test_entries_before_from_do_not_decide(self):
        reference = np.array([[9.0], [1.0], [2.0]])
        result = np.array([[-9.0], [2.0], [1.0]])
        self.assertEqual(agreement.argmax_flips(reference, result, {"axis": 0, "from": 1}), (1, 1, 1))

    def test_threshold_decides_every_element(self):
        reference, result = np.array([0.0, 0.2999, 1.0]), np.array([0.0, 0.3001, 0.1])
        self.assertEqual(agreement.argmax_flips(reference, result, {"threshold": 0.3}), (3, 2, 1))


class Reading(unittest.TestCase):
    def test_components_join_diagonally_and_late(self):
        mask = np.array([[1, 0, 1, 0, 0], [1, 0, 1, 0, 0], [0, 1, 0, 0, 1]], bool)
        self.assertEqual(sorted(reading.component_boxes(mask)), [(0, 0, 3, 3), (4, 2, 5, 3)])

    def test_lines_grow_and_stay_on_the_page(self):
        probability = np.zeros((40, 100), np.float32)
        probability[0:10, 20:80] = 0.9
        probability[30:32, 2:4] = 0.9  # too small
        # growth = 1.6 * 60 * 10 / (2 * 70) = 6.86
        self.assertEqual(reading.find_lines(probability), [(13, 0, 87, 17)])

    def test_decoding_merges_repeats_and_drops_blanks(self):
        scores = np.eye(3)[[1, 1, 0, 1, 2, 2]][None]
        self.assertEqual(reading.decode(scores, ["", "a", "b"]), "aab")


class Inputs(unittest.TestCase):
    def test_inputs_repeat_and_follow_the_rows(self):
        for model in modelzoo.all_models().values():
            first, second = modelzoo.make_inputs(model.inputs), modelzoo.make_inputs(model.inputs)
            for row in model.inputs:
                array = first[row["name"]]
                self.assertEqual((list(array.shape), array.dtype.name), (row["shape"], row["dtype"]), model.name)
                self.assertTrue(np.array_equal(array, second[row["name"]]), model.name)
                self.assertTrue(np.isfinite(array).all())

    def test_variants_lie_within_the_bounds(self):
        for model in modelzoo.all_models().values():
            for variant in model.variants if model.bounds else []:
                for name, shape in variant.items():
                    low, high = model.bounds[0][name], model.bounds[1][name]
                    inside = all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
                    self.assertTrue(inside, f"{model.name} {name} {shape}")

    def test_shapes_are_spelled_for_the_command_line(self):
        self.assertEqual(hussar_cli.spell_shapes({"x": [1, 3], "sr": [], "y:0": [2]}), "x:1x3,y:0:2")


class FashionMnist(unittest.TestCase):
    """With files of the real sizes and known contents."""

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        for prefix, count in (("train", 60_000), ("t10k", 10_000)):
            pictures = np.zeros((count, 28, 28), np.uint8)
            pictures[:, 0, :2] = np.arange(count, dtype=">u2").view(np.uint8).reshape(count, 2)
            cls.write(f"{prefix}-images-idx3-ubyte.gz", pictures)
            cls.write(f"{prefix}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    @classmethod
    def write(cls, name, array):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (cls.folder / name).write_bytes(gzip.compress(header + array.tobytes(), 1))

    def test_parts_are_the_documented_pictures(self):
        for part, first, count in (("train", 0, 55_000), ("held_out", 55_000, 5_000), ("test", 0, 10_000)):
            pictures, labels = fashion_mnist.read(part, self.folder)
            number = pictures[:, 0, :2].astype(int) @ [256, 1]
            self.assertTrue(np.array_equal(number, np.arange(first, first + count)), part)
            self.assertTrue(np.array_equal(labels, np.arange(first, first + count) % 10), part)

    def test_normalised_pictures_have_the_shape_of_the_input(self):
        x = fashion_mnist.normalise(np.full((2, 28, 28), 255, np.uint8))
        self.assertEqual((x.shape, x.dtype), ((2, 1, 28, 28), np.float32))
        self.assertAlmostEqual(float(x[0, 0, 0, 0]), (1 - 0.2860) / 0.3530, places=5)

    def test_absent_cut_and_foreign_files_are_named(self):
        whole = gzip.compress(bytes(8 + 10_000))
        path = self.folder / "other.gz"
        for data in (None, whole, whole[:-20], whole[:12] + bytes(20), b"no gzip"):
            if data is not None:
                path.write_bytes(data)
            with self.assertRaisesRegex(modelzoo.Unavailable, "other.gz"):
                fashion_mnist.read_idx(path, (10_000,))


class Paired(unittest.TestCase):
    def test_difference_counts_lost_won_and_flips(self):
        labels = np.zeros(1000, np.uint8)
        first, second = np.zeros(1000, np.uint8), np.zeros(1000, np.uint8)
        first[:10], second[10:40] = 1, 1  # won 10, lost 30
        first[990:], second[990:] = 1, 2  # wrong either way
        difference = paired.compare(labels, first, second)
        self.assertEqual((difference.lost, difference.won, difference.flips), (30, 10, 50))
        self.assertAlmostEqual(difference.drop, 2.0)
        # sqrt(40 - 20^2 / 1000) / 1000 = 0.629 points
        self.assertAlmostEqual(difference.half_width, 1.959964 * 0.629285, places=4)
        low, high = difference.interval
        self.assertAlmostEqual((low + high) / 2, 2.0)

    def test_interval_covers_the_true_difference(self):
        generator = np.random.default_rng(1)
        labels, covered = np.zeros(2000, np.uint8), 0
        for _ in range(400):
            draw = generator.random(2000)
            first, second = (draw < 0.02).astype(np.uint8), ((draw >= 0.02) & (draw < 0.05)).astype(np.uint8)
            low, high = paired.compare(labels, first, second).interval
            covered += low <= 1.0 <= high
        self.assertTrue(0.92 <= covered / 400 <= 0.98, covered)

    def test_no_flip_is_no_proof_of_equality(self):
        same = np.arange(300) % 10
        difference = paired.compare(same, same, same)
        self.assertEqual((difference.drop, difference.flips), (0, 0))
        self.assertAlmostEqual(difference.half_width, 1.0)

    def test_unequal_numbers_do_not_pair(self):
        for labels in (np.zeros(0), np.zeros(3)):
            with self.assertRaises(ValueError):
                paired.compare(labels, labels, np.zeros(2))


    def test_resampling_agrees_with_the_formula_for_a_mean(self):
        labels, first, second = np.zeros(2000), np.zeros(2000), np.zeros(2000)
        first[:20], second[20:80] = 1, 1
        wanted = paired.compare(labels, first, second).interval
        found = paired.resampled_interval(2000, lambda weights: 100 * float((weights * (second - first)).sum()) / 2000)
        np.testing.assert_allclose(found, wanted, atol=0.15)


class Pasted(unittest.TestCase):
    """Boxes of 10 x 10 pixels on two canvases."""

    TRUTH = [np.array([[3, 0, 0, 10, 10], [3, 50, 50, 60, 60]], np.float32), np.array([[3, 20, 20, 30, 30]], np.float32)]

    def score(self, *found: list) -> float:
        answers = [np.array(rows, np.float32).reshape(-1, 6) for rows in found]
        return pasted.Evaluation(self.TRUTH, answers).mean_average_precision()

    def test_all_objects_found_is_100(self):
        self.assertAlmostEqual(self.score([[3, 0, 0, 10, 10, 1], [3, 50, 50, 60, 60, 2]], [[3, 20, 20, 30, 30, 0]]), 100)

    def test_shifted_boxes_and_other_classes_are_wrong(self):
        self.assertEqual(self.score([[3, 5, 5, 15, 15, 1], [4, 50, 50, 60, 60, 2]], []), 0)

    def test_an_object_is_found_once_and_wrong_answers_above_it_cost(self):
        # In the order of the scores: right, the same object again, right; the third object is never found.
        found = [[3, 0, 0, 10, 10, 3], [3, 0, 1, 10, 10, 2], [3, 50, 50, 60, 60, 1]]
        self.assertAlmostEqual(self.score(found, []), 100 * (1 + 2 / 3) / 3, places=4)

    def test_weights_count_canvases_repeatedly(self):
        evaluation = pasted.Evaluation(self.TRUTH, [np.zeros((0, 6)), np.array([[3, 20, 20, 30, 30, 1]])])
        self.assertAlmostEqual(evaluation.mean_average_precision(np.array([1, 2])), 50)

    def test_peaks_become_boxes(self):
        heat = np.full((1, 10, pasted.GRID, pasted.GRID), -9, np.float32)
        boxes = np.zeros((1, 4, pasted.GRID, pasted.GRID), np.float32)
        heat[0, 7, 5, 6], heat[0, 7, 5, 7] = 2, 1  # the second lies beside the first
        boxes[0, :, 5, 6] = 1, -1, 20, 10
        np.testing.assert_allclose(pasted.decode(heat, boxes)[0], [[7, 17, 16, 37, 26, 2]])

    def test_canvases_show_their_objects(self):
        pictures = np.full((3, 28, 28), 200, np.uint8)
        canvases, objects = pasted.make_from(pictures, np.array([1, 2, 3]), 5, np.random.default_rng(1))
        for canvas, rows in zip(canvases, objects):
            self.assertTrue(len(rows))
            for _, left, top, right, bottom in rows.astype(int):
                self.assertTrue((canvas[top:bottom, left:right] == 200).all())
                self.assertGreaterEqual(right - left, pasted.SIDES[0] - 1)


class Classify(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        patch = mock.patch.object(classify, "WORK", pathlib.Path(folder.name))
        self.addCleanup(patch.stop)
        patch.start()

    def keep(self, key: str) -> classify.Kept:
        kept = classify.Kept("vit", "fp32", key, fresh=False)
        kept.plan.write_bytes(b"plan")
        kept.record.write_text(json.dumps({"plan": classify.digest(b"plan")}))
        np.save(kept.answers, np.arange(3, dtype=np.uint8))
        return kept

    def test_what_is_kept_for_the_same_key_is_found_again(self):
        self.keep("a")
        again = classify.Kept("vit", "fp32", "a", fresh=False)
        self.assertIsNotNone(again.read_record())
        self.assertEqual(again.read_answers().tolist(), [0, 1, 2])

    def test_other_keys_changed_plans_and_fresh_runs_start_anew(self):
        for key, fresh in (("b", False), ("a", True)):
            self.keep("a")
            kept = classify.Kept("vit", "fp32", key, fresh)
            self.assertIsNone(kept.read_record())
            self.assertEqual(len(kept.read_answers()), 0)
        kept = self.keep("a")
        kept.plan.write_bytes(b"another")
        self.assertIsNone(kept.read_record())

    def test_answers_are_those_of_the_first_pictures(self):
        class Engine:
            def __init__(self, _, __, feeds, *___):
                self.picture = feeds["x"]  # not a copy: what it holds is read on every call

            def call(self):
                time.sleep(0.001)

            def outputs(self):
                return [self.picture.reshape(1, -1)]

        pictures = np.eye(10, dtype=np.float32)[np.arange(400) % 10]
        with mock.patch.object(engines, "open_engine", Engine):
            all_answers = classify.ask(pathlib.Path("x.plan"), pictures, 2, 0)
            some_answers = classify.ask(pathlib.Path("x.plan"), pictures, 2, 0.05)
        self.assertEqual(all_answers.tolist(), (np.arange(400) % 10).tolist())
        self.assertTrue(0 < len(some_answers) < 400)
        self.assertEqual(some_answers.tolist(), all_answers[: len(some_answers)].tolist())


class TaskMetrics(unittest.TestCase):
    def test_equal_values_share_their_rank(self):
        self.assertEqual(labelled_tasks.ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist(), [1.5, 0, 1.5, 3])
        self.assertAlmostEqual(labelled_tasks.spearman(np.array([1.0, 2, 3]), np.array([10.0, 100, 1000])), 1)
        self.assertAlmostEqual(labelled_tasks.spearman(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])), -1)

    def test_edit_distance_counts_letters(self):
        for first, second, wanted in (("", "abc", 3), ("kitten", "sitting", 3), ("plan", "plan", 0), ("plan", "pan", 1)):
            self.assertEqual(labelled_tasks.edit_distance(first, second), wanted)

    def test_probe_separates_what_is_separable(self):
        labels = np.arange(200) % 10
        features = np.eye(10)[labels] + np.random.default_rng(1).normal(0, 0.1, (200, 10))
        probe = labelled_tasks.LinearProbe()
        probe.fit(features, labels)
        self.assertEqual(probe.classes(list(features)).tolist(), labels.tolist())

    def test_lines_repeat_and_have_the_shape_of_the_input(self):
        texts, inputs = labelled_tasks.render_lines(3, np.random.default_rng(1))
        self.assertEqual(texts, labelled_tasks.render_lines(3, np.random.default_rng(1))[0])
        self.assertEqual(inputs[0]["x"].shape, (1, 3, reading.LINE_HEIGHT, labelled_tasks.LINE_WIDTH))


class Interleaving(unittest.TestCase):
    def test_every_engine_is_timed_in_every_round(self):
        class Counter:
            calls = 0

            def call(self):
                self.calls += 1

        counters = {"a": Counter(), "b": Counter()}
        samples = engines.interleave(counters, rounds=3, burst_ms=0, pause_ms=0)
        self.assertEqual({name: len(values) for name, values in samples.items()}, {"a": 9, "b": 9})
        # two calls to size the burst, then per round one untimed and three timed
        self.assertEqual(counters["a"].calls, 2 + 3 * 4)


class BenchTables(unittest.TestCase):
    def test_the_ratio_to_openvino_is_to_its_fastest_acceptable_setting(self):
        def row(own: float, f32: tuple, default: tuple) -> dict:
            entries = {name: {"latency_ms": {"median": ms}, "agreement": {"acceptable": ok}}
                       for name, (ms, ok) in (("openvino_f32", f32), ("openvino", default))}  # fmt: skip
            return {"engines": {"hussar": {"latency_ms": {"median": own}}, **entries}}

        self.assertEqual(peers_table.openvino_ratio(row(6, (12, True), (10, True))), 0.6)
        self.assertEqual(peers_table.openvino_ratio(row(6, (12, True), (3, False))), 0.5)
        self.assertIsNone(peers_table.openvino_ratio(row(6, (12, False), (3, False))))
        self.assertIsNone(peers_table.openvino_ratio({"engines": {"hussar": {}, "openvino": {"error": "no"}}}))

    def test_ladders_say_whose_roofline_it_is(self):
        def report(version: int, rooflines: tuple) -> dict:
            rungs = [{"rung": str(i), "roofline_us": roof} for i, roof in enumerate(rooflines)]
            return {"schema_version": version, "families": {"f": {"p": {"rungs": rungs}}}}

        self.assertIn("each rung's own level and threads", kernels_cpu.roofline_text(report(2, (5, 5))))
        self.assertIn("of each rung's own level (", kernels_cpu.roofline_text(report(1, (5, 6))))
        self.assertIn("of the highest level for every rung", kernels_cpu.roofline_text(report(1, (5, 5))))

    def test_time_is_summed_by_family(self):
        def layer(op: str, kernel: str, us: float, share: float) -> dict:
            return {"op": op, "kernel": kernel, "us": us, "roofline_share": share, "flops": 1e6, "bytes": 1e5}

        layers = [layer("Conv", "conv_winograd4", 10, 1.5), layer("Conv", "conv_tile", 30, 0.5), layer("Reshape", "view", 0, 0),
                  layer("Conv", "conv_fp16", 10, 1), layer("hussar.Reformat", "transpose", 5, 0.2), layer("Odd", "odd", 1, 0)]  # fmt: skip
        found = where_time_goes.families({"layers": layers})
        self.assertEqual([entry["family"] for entry in found], ["convolutions, direct", "convolutions, Winograd", "conversions", "odd"])
        self.assertEqual((found[0]["steps"], found[0]["us"], found[0]["roof_us"]), (2, 40, 25))
        text = where_time_goes.family_table([{"model": "m", "weights": "random", "layers": layers}])
        self.assertTrue(text[2].startswith("| m* | all | 5 | 0.056 | 100.0 % |"), text[2])


class WorkAhead(unittest.TestCase):
    def test_stage_waits_for_its_work_and_repeats_what_failed(self):
        with tempfile.TemporaryDirectory() as folder:
            built = pathlib.Path(folder) / "built"
            read = ["sh", "-c", f"cat {built} && echo '2 passed, 0 failed'"]
            slow = ["sh", "-c", f"sleep 0.3; echo built > {built}"]
            stages = [
                run_all.Stage("early", [["true"]]),
                run_all.Stage("late", [read], ahead=[slow]),
                run_all.Stage("broken", [["false"], read], ahead=[["false"], ["rm", built]]),
            ]
            with mock.patch("builtins.print"):
                outcomes = run_all.run_stages(stages)
            self.assertTrue(built.exists())
        self.assertEqual([(o.passed, o.failed) for o in outcomes.values()], [(0, 0), (2, 0), (0, 1)])


def main() -> int:
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(verbosity=1).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
