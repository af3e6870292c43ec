from __future__ import annotations

import unittest

import torch
from hussar.torch import Pattern
from hussar.torch.patterns import from_groups, to_groups

SHAPES = ((1, 4), (3, 8), (10, 12), (64, 64), (130, 20), (5, 4, 3, 3), (48, 16, 1, 1), (65, 32, 2, 3), (7, 8, 1, 5))
SPELLINGS = ("2:4", "2:4x2", "2:4x3", "2:4x16", "2:4x32", "2:4x64")


def random(shape, seed=0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slow_mask(weight: torch.Tensor, shared: int) -> torch.Tensor:
    """By the definition, element by element."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    flat, flat_mask = weight.reshape(*weight.shape[:2], -1), mask.view(*weight.shape[:2], -1)
    for begin in range(0, weight.shape[0], shared):
        for group in range(0, weight.shape[1], 4):
            for tap in range(flat.shape[2]):
                sums = flat[begin : begin + shared, group : group + 4, tap].square().sum(0)
                for place in sums.argsort()[:2].tolist():
                    flat_mask[begin : begin + shared, group + place, tap] = True
    return mask


class Masks(unittest.TestCase):
    def test_every_pattern_and_shape_as_defined(self):
        for shape in SHAPES:
            for spelling in SPELLINGS:
                with self.subTest(shape=shape, pattern=spelling):
                    pattern, weight = Pattern.parse(spelling), random(shape)
                    mask = pattern.choose(weight.square())
                    self.assertTrue(torch.equal(mask, slow_mask(weight, pattern.shared)))
                    self.assertEqual(float(mask.float().mean()), 0.5)
                    sparse = weight.masked_fill(mask, 0)
                    self.assertTrue(pattern.is_legal(sparse))
                    self.assertTrue(Pattern().is_legal(sparse))
                    self.assertFalse(pattern.is_legal(weight))

    def test_a_mask_per_channel_is_not_shared(self):
        weight = random((16, 16))
        sparse = weight.masked_fill(Pattern().choose(weight.square()), 0)
        self.assertFalse(Pattern(16).is_legal(sparse))

    def test_blocks_begin_at_multiples_of_their_size(self):
        weight = torch.zeros(6, 4)
        weight[:3, :2] = weight[3:, 2:] = 1
        self.assertTrue(Pattern(3).is_legal(weight))
        self.assertFalse(Pattern(2).is_legal(weight))
        self.assertFalse(Pattern(4).is_legal(weight))

    def test_equal_scores_are_decided_by_place(self):
        mask = Pattern(2).choose(torch.ones(4, 8))
        self.assertEqual(mask[0].tolist(), [False, False, True, True] * 2)

    def test_layout_in_memory_does_not_matter(self):
        weight = random((8, 8, 3, 3))
        last = weight.to(memory_format=torch.channels_last)
        self.assertTrue(torch.equal(Pattern(4).choose(weight.square()), Pattern(4).choose(last.square())))

    def test_groups_and_back(self):
        weight = random((3, 8, 2, 3))
        self.assertEqual(to_groups(weight).shape, (3, 6, 2, 4))
        self.assertTrue(torch.equal(from_groups(to_groups(weight), weight.shape), weight))

    def test_what_does_not_fit_is_not_legal(self):
        self.assertFalse(Pattern().is_legal(torch.zeros(4, 6)))
        self.assertFalse(Pattern().is_legal(torch.zeros(4)))


class Fractions(unittest.TestCase):
    def test_the_groups_that_lose_least_come_first_and_stay(self):
        for spelling in ("2:4", "2:4x16"):
            pattern, weight, before = Pattern.parse(spelling), random((40, 16, 1, 2)), None
            counts = []
            for fraction in (0.1, 0.3, 0.3, 0.75, 1.0):
                mask = pattern.choose(weight.square(), fraction, before)
                if before is not None:
                    self.assertTrue(bool((mask | ~before).all()), "a masked weight came back")
                groups = to_groups(mask).any(-1)
                counts.append(float(groups.float().mean()))
                weight, before = weight.masked_fill(mask, 0), mask
            self.assertEqual(counts, sorted(counts))
            self.assertGreater(counts[3], counts[0])
            self.assertTrue(pattern.is_legal(weight))

    def test_lowest_loss(self):
        scores = torch.tensor([[9.0, 9, 5, 5, 9, 9, 1, 1, 9, 9, 3, 3]])
        mask = Pattern().choose(scores, 1 / 3)
        self.assertEqual(mask[0].nonzero().flatten().tolist(), [6, 7])
        more = Pattern().choose(scores, 2 / 3, mask)
        self.assertEqual(more[0].nonzero().flatten().tolist(), [6, 7, 10, 11])

    def test_an_earlier_mask_stays_when_the_scores_change(self):
        for spelling in ("2:4", "2:4x8"):
            pattern = Pattern.parse(spelling)
            before = pattern.choose(random((20, 16)).square(), 0.5)
            for fraction in (0.5, 0.2, 0.8):
                after = pattern.choose(random((20, 16), seed=1).square(), fraction, before)
                decided = to_groups(before).any(-1)
                self.assertTrue(torch.equal(to_groups(after)[decided], to_groups(before)[decided]))
                self.assertEqual(bool((to_groups(after).any(-1) & ~decided).any()), fraction > 0.5)

    def test_none(self):
        self.assertFalse(bool(Pattern().choose(torch.ones(4, 4), 0.0).any()))


class Spelling(unittest.TestCase):
    def test_both_ways(self):
        for spelling in SPELLINGS:
            self.assertEqual(str(Pattern.parse(spelling)), spelling)

    def test_others_are_refused(self):
        for spelling in ("", "1:4", "2:4x", "2:4x0", "2:4x-1", "2:4x64 ", "2:8", "2:4X64"):
            with self.assertRaisesRegex(ValueError, "write 2:4"):
                Pattern.parse(spelling)
        with self.assertRaises(ValueError):
            Pattern(0)
