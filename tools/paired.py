"""How far two programs that answered the same questions are apart, and how sure that is.

Both answers to a question count as a pair: what both get right or wrong says nothing about the difference, so its error
is much smaller than the error of either accuracy. Differences are in points (percent of the questions), positive where
the second program is worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NORMAL_95 = 1.959964  # half the width of the central 95 % of a normal distribution, in standard deviations
NONE_OF = 3.0  # what happened in none of n trials happens in less than 3 / n of all, 95 % sure


@dataclass(frozen=True)
class Difference:
    count: int
    lost: int  # right by the first, wrong by the second
    won: int
    flips: int  # answered otherwise, right or wrong

    @property
    def drop(self) -> float:
        return 100 * (self.lost - self.won) / self.count

    @property
    def half_width(self) -> float:
        """Of the 95 % interval around `drop`."""
        if self.lost + self.won == 0:
            return 100 * NONE_OF / self.count
        variance = self.lost + self.won - (self.lost - self.won) ** 2 / self.count
        return 100 * NORMAL_95 * math.sqrt(variance) / self.count

    @property
    def interval(self) -> tuple[float, float]:
        return self.drop - self.half_width, self.drop + self.half_width

    def to_json(self) -> dict:
        counts = {"count": self.count, "lost": self.lost, "won": self.won, "flips": self.flips}
        return {**counts, "drop_points": self.drop, "interval_points": list(self.interval)}


def compare(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Difference:
    """The answers of two programs to the questions with these labels. Raises ValueError for none or unequal numbers."""
    if not 0 < len(labels) == len(first) == len(second):
        raise ValueError(f"{len(labels)} labels, {len(first)} and {len(second)} answers do not pair")
    first_right, second_right = first == labels, second == labels
    return Difference(
        count=len(labels),
        lost=int((first_right & ~second_right).sum()),
        won=int((~first_right & second_right).sum()),
        flips=int((first != second).sum()),
    )


def resampled_interval(count: int, drop: Callable[[np.ndarray], float], resamples: int = 500, seed: int = 1) -> tuple[float, float]:
    """95 % interval of a difference that is no mean over the questions, by drawing questions with replacement.

    drop(weights): the difference when question i counts weights[i] times.
    """
    generator = np.random.default_rng(seed)
    draws = (np.bincount(generator.integers(0, count, count), minlength=count) for _ in range(resamples))
    low, high = np.percentile([drop(weights) for weights in draws], (2.5, 97.5))
    return float(low), float(high)
