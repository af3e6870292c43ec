"""Detection with labels by construction: Fashion-MNIST items of 14 to 80 pixels pasted on black 128 x 128 canvases.

    canvases, objects = pasted.make("test", 500, seed=7)
    found = pasted.decode(heat, boxes)                # what demo/models/detector.onnx answers
    evaluation = pasted.Evaluation(objects, found)
    evaluation.mean_average_precision()

An object is a row (class, left, top, right, bottom) in pixels; what was found has the score as a sixth entry. Needs NumPy
and Pillow only.
"""

from __future__ import annotations

import pathlib

import numpy as np

from . import fashion_mnist

SIZE = 128
STRIDE = 4  # pixels per cell of the detector's outputs
GRID = SIZE // STRIDE
SIDES = (14, 80)  # of items; smaller ones are more frequent
MOST_OBJECTS = 3
MOST_FOUND = 16  # per canvas
LEAST_LOGIT = -3.0  # of what counts as found
LEAST_OVERLAP = 0.5


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of (N, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.clip(sides, 0, None).prod(1)
    areas = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(1)
    return common / np.maximum(np.clip(box[2:] - box[:2], 0, None).prod() + areas - common, 1e-9)


def tight_box(item: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is not black."""
    rows, columns = np.flatnonzero(item.max(1) > 24), np.flatnonzero(item.max(0) > 24)
    if not len(rows) or not len(columns):
        return 0, 0, item.shape[1], item.shape[0]
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def paste(canvas: np.ndarray, item: np.ndarray, generator: np.random.Generator, taken: list) -> tuple | None:
    """Pastes at a place where the item hardly covers another one; None when there is none."""
    from PIL import Image

    side = round(SIDES[0] * (SIDES[1] / SIDES[0]) ** generator.random() ** 1.5)
    scaled = np.asarray(Image.fromarray(item).resize((side, side), Image.Resampling.BILINEAR))
    box = np.array(tight_box(scaled))
    for _ in range(8):
        left, top = generator.integers(0, SIZE - side + 1, 2)
        place = box + (left, top, left, top)
        if taken and overlaps(place.astype(np.float64), np.array(taken)[:, 1:].astype(np.float64)).max() > 0.05:
            continue
        region = canvas[top : top + side, left : left + side]
        np.maximum(region, scaled, out=region)
        return tuple(int(edge) for edge in place)
    return None


def make_from(pictures: np.ndarray, labels: np.ndarray, count: int, generator: np.random.Generator) -> tuple:
    canvases = np.zeros((count, SIZE, SIZE), np.uint8)
    objects = []
    for canvas in canvases:
        placed: list[tuple] = []
        for index in generator.integers(0, len(labels), generator.integers(1, MOST_OBJECTS + 1)):
            place = paste(canvas, pictures[index], generator, placed)
            if place is not None:
                placed.append((int(labels[index]), *place))
        objects.append(np.array(placed, np.float32))
    return canvases, objects


def make(part: str, count: int, seed: int, folder: pathlib.Path = fashion_mnist.FOLDER) -> tuple:
    """`count` canvases (bytes) with the items of one part of Fashion-MNIST, and their objects. Raises Unavailable."""
    return make_from(*fashion_mnist.read(part, folder), count, np.random.default_rng(seed))


def decode(heat: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """What the detector found on each canvas: (objects, 6).

    heat: logits (N, classes, GRID, GRID); cells that are the largest of the 5 x 5 around them count. boxes: offset of
    the centre from that of the cell, width and height, all in pixels (N, 4, GRID, GRID).
    """
    padded = np.pad(heat, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(2, 3))
    peaks = (heat >= windows.max((4, 5))) & (heat > LEAST_LOGIT)
    found = []
    for logits, mask, box in zip(heat, peaks, boxes):
        kind, row, column = np.nonzero(mask)
        scores = logits[kind, row, column]
        best = np.argsort(-scores, kind="stable")[:MOST_FOUND]
        kind, row, column = kind[best], row[best], column[best]
        offset_x, offset_y, width, height = box[:, row, column]
        x, y = (column + 0.5) * STRIDE + offset_x, (row + 0.5) * STRIDE + offset_y
        edges = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        found.append(np.stack([kind, *edges, scores[best]], 1).astype(np.float32))
    return found


class Evaluation:
    """Matches what was found with what is there: best score first, each object once, overlap 0.5 or more."""

    def __init__(self, objects: list[np.ndarray], found: list[np.ndarray]) -> None:
        rows = []  # class, canvas, score, right
        self.counts = np.zeros((len(objects), len(fashion_mnist.CLASSES)))
        for canvas, (truth, answers) in enumerate(zip(objects, found)):
            np.add.at(self.counts[canvas], truth[:, 0].astype(int), 1)
            free = np.ones(len(truth), bool)
            for kind, *edges, score in sorted(answers.tolist(), key=lambda answer: -answer[5]):
                overlap = np.where(free & (truth[:, 0] == kind), overlaps(np.array(edges), truth[:, 1:]), 0)
                best = int(overlap.argmax())
                right = overlap[best] >= LEAST_OVERLAP
                free[best] &= not right
                rows.append((kind, canvas, score, right))
        table = np.array(rows, np.float64).reshape(-1, 4)
        table = table[np.argsort(-table[:, 2], kind="stable")]
        self.by_class = [table[table[:, 0] == kind] for kind in range(len(fashion_mnist.CLASSES))]

    def mean_average_precision(self, weights: np.ndarray | None = None) -> float:
        """Percent: mean over the classes of the area below the precision that falls with the recall.

        weights: how often each canvas counts (default: once), for resampling.
        """
        weights = np.ones(len(self.counts)) if weights is None else weights
        areas = []
        for kind, table in enumerate(self.by_class):
            total = (self.counts[:, kind] * weights).sum()
            if total == 0:
                continue
            weight = weights[table[:, 1].astype(int)]
            right = np.cumsum(table[:, 3] * weight)
            precision = right / np.maximum(np.cumsum(weight), 1e-9)
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            areas.append(float((np.diff(right, prepend=0.0) * precision).sum() / total))
        return 100 * float(np.mean(areas)) if areas else 0.0
