"""Reading text with the PP-OCR pair: a rendered page, the detector's post-processing, and the recogniser's decoding.

Arrays: a page is (height, width, 3) uint8, text boxes are (left, top, right, bottom) in pixels, right and bottom
exclusive. Boxes are axis-aligned: the page is rendered straight.
"""

from __future__ import annotations

import pathlib

import numpy as np

FONT = pathlib.Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
LINES = (
    "Hussar reads this page",
    "Light cavalry, fast plans",
    "Order 4783 of 28 March 2025",
    "Total: 1,299.50 EUR",
    "ONNX in, text out",
)
PAGE_SIZE = (544, 832)  # height, width: multiples of 32, as the detector wants
BINARY_THRESHOLD = 0.3
BOX_THRESHOLD = 0.5
UNCLIP_RATIO = 1.6
MAXIMUM_BOXES = 64
LINE_HEIGHT = 48
LINE_WIDTHS = (16, 1600)  # the recogniser is never asked for a line outside of this


def render_page(lines=LINES) -> np.ndarray:
    """Black text on white, one line below the other; in DejaVu Sans when installed, else in Pillow's own font."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = PAGE_SIZE
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.truetype(str(FONT), 36) if FONT.exists() else ImageFont.load_default(size=36)
    step = height // (len(lines) + 1)
    for index, line in enumerate(lines):
        draw.text((64, step // 2 + index * step), line, fill="black", font=font)
    return np.asarray(page)


def normalise(pixels: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 -> (1, 3, height, width) float32 in [-1, 1]."""
    scaled = (pixels.astype(np.float32) / 255 - 0.5) / 0.5
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def row_runs(row: np.ndarray) -> list[tuple[int, int]]:
    """Half-open intervals of the true entries."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(np.int8), [0]))))
    return list(zip(edges[0::2].tolist(), edges[1::2].tolist()))


def component_boxes(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Bounding boxes of the 8-connected components of a (height, width) bool mask, by union-find over row runs."""
    parents: list[int] = []
    boxes: list[list[int]] = []

    def root(label: int) -> int:
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    previous: list[tuple[int, int, int]] = []
    for top, row in enumerate(mask):
        current = []
        for left, right in row_runs(row):
            label = len(parents)
            parents.append(label)
            boxes.append([left, top, right, top + 1])
            for other_left, other_right, other in previous:
                if other_left <= right and left <= other_right:
                    winner, loser = sorted((root(other), root(label)))
                    parents[loser] = winner
                    merged = zip(boxes[winner], boxes[loser], (min, min, max, max))
                    boxes[winner] = [choose(a, b) for a, b, choose in merged]
            current.append((left, right, label))
        previous = current
    return [tuple(boxes[label]) for label in range(len(parents)) if parents[label] == label]


def find_lines(probability: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Text boxes from the detector's map (height, width), top to bottom.

    Post-processing of DB (Liao et al. 2020): threshold, components, mean score inside the box, and growth of the box
    by area * ratio / perimeter, which undoes the shrinking of the training labels.
    """
    height, width = probability.shape
    mask = probability > BINARY_THRESHOLD
    found = []
    for left, top, right, bottom in component_boxes(mask):
        if min(right - left, bottom - top) < 3:
            continue
        inside = mask[top:bottom, left:right]
        if probability[top:bottom, left:right][inside].mean() < BOX_THRESHOLD:
            continue
        growth = UNCLIP_RATIO * (right - left) * (bottom - top) / (2 * (right - left + bottom - top))
        grow = int(round(growth))
        found.append((max(0, left - grow), max(0, top - grow), min(width, right + grow), min(height, bottom + grow)))
    found.sort(key=lambda box: (box[1] + box[3], box[0]))
    return found[:MAXIMUM_BOXES]


def cut_line(page: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """The box as recogniser input (1, 3, 48, width), width in proportion."""
    from PIL import Image

    left, top, right, bottom = box
    width = round(LINE_HEIGHT * (right - left) / (bottom - top))
    width = min(max(width, LINE_WIDTHS[0]), LINE_WIDTHS[1])
    crop = Image.fromarray(page[top:bottom, left:right]).resize((width, LINE_HEIGHT), Image.Resampling.BILINEAR)
    return normalise(np.asarray(crop))


def alphabet(model: pathlib.Path) -> list[str]:
    """Class index -> text, from the recogniser's metadata: the CTC blank, the dictionary, the space."""
    import onnx

    metadata = {entry.key: entry.value for entry in onnx.load(model, load_external_data=False).metadata_props}
    return ["", *metadata["character"].splitlines(), " "]


def decode(scores: np.ndarray, letters: list[str]) -> str:
    """Greedy CTC: the best class per step of (1, steps, classes), repeats merged, blanks dropped."""
    best = scores[0].argmax(-1)
    fresh = np.concatenate(([True], best[1:] != best[:-1]))
    return "".join(letters[index] for index in best[fresh] if index < len(letters))
