"""Seeded inputs of realistic range: one function per kind, named by the `fill` of a model's input row."""

from __future__ import annotations

import numpy as np

PAGE_LINES = ("Light cavalry carries", "one sabre and no cannon.", "Invoice 2047, 19 March", "Total: 318.50 EUR")
SOURCE_TEXT = """#include <stdio.h>
#include <string.h>

/* Counts the words of the standard input. */
int main(void) {
  char line[4096];
  unsigned long words = 0;
  while (fgets(line, sizeof line, stdin)) {
    for (char* word = strtok(line, " \\t\\n"); word; word = strtok(NULL, " \\t\\n")) ++words;
  }
  printf("%lu\\n", words);
  return 0;
}
"""


def smooth_picture(generator: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Pictures (count, height, width, 3) in [0, 1]: coloured blobs of several sizes with a little sensor noise."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    picture = np.full((count, height, width, 3), 0.45, np.float32)
    for image in picture:
        for _ in range(24):
            row, column = generator.uniform(0, height), generator.uniform(0, width)
            radius = generator.uniform(0.04, 0.35) * min(height, width)
            blob = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * radius**2))
            image += blob[..., None] * generator.uniform(-0.5, 0.5, 3).astype(np.float32)
    picture += generator.normal(0, 0.02, picture.shape).astype(np.float32)
    return np.clip(picture, 0, 1)


def drawn_text(height: int, width: int, lines, size: int) -> np.ndarray:
    """Black text on a white page (height, width, 3) in [0, 1], in the font that Pillow carries."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=size)
    for index, line in enumerate(lines):
        draw.text((size // 3, size // 8 + index * size * 2), line, fill="black", font=font)
    return np.asarray(page, np.float32) / 255


def fill_picture(generator, shape, options):
    channels_last = options.get("channels_last", False)
    count, height, width = (shape[0], shape[1], shape[2]) if channels_last else (shape[0], shape[2], shape[3])
    picture = smooth_picture(generator, count, height, width)
    normalised = (picture - np.asarray(options["mean"])) / np.asarray(options["std"])
    return normalised if channels_last else normalised.transpose(0, 3, 1, 2)


def fill_page(generator, shape, options):
    picture = np.stack([drawn_text(shape[2], shape[3], PAGE_LINES, max(12, shape[3] // 16))] * shape[0])
    picture = picture - 0.1 * smooth_picture(generator, shape[0], shape[2], shape[3])
    return ((picture - 0.5) / 0.5).transpose(0, 3, 1, 2)


def fill_line(generator, shape, options):
    text = " ".join(PAGE_LINES)[: max(3, shape[3] // 20)]
    picture = np.stack([drawn_text(shape[2], shape[3], [text], shape[2] * 3 // 4)] * shape[0])
    picture = picture - 0.1 * smooth_picture(generator, shape[0], shape[2], shape[3])
    return ((picture - 0.5) / 0.5).transpose(0, 3, 1, 2)


def fill_tokens(generator, shape, options):
    return generator.integers(options.get("low", 1000), options["high"], shape)


def fill_mask(generator, shape, options):
    """Attention mask: ones in the first row, a shorter prefix in every further row."""
    lengths = [max(1, shape[1] - row * shape[1] // 4) for row in range(shape[0])]
    return (np.arange(shape[1])[None, :] < np.asarray(lengths)[:, None]).astype(np.int64)


def fill_constant(generator, shape, options):
    return np.full(shape, options["value"])


def fill_uniform(generator, shape, options):
    return generator.uniform(options["low"], options["high"], shape)


def fill_audio(generator, shape, options):
    """Voiced sound at 16 kHz: harmonics of 120 Hz under two formants, with noise; amplitude about 0.3."""
    time = np.arange(shape[-1]) / 16000.0
    sound = np.zeros(shape)
    for harmonic in range(1, 30):
        frequency = 120.0 * harmonic
        strength = np.exp(-(((frequency - 600) / 300) ** 2)) + 0.5 * np.exp(-(((frequency - 1700) / 400) ** 2))
        phase = generator.uniform(0, 2 * np.pi, (*shape[:-1], 1))
        sound += strength * np.sin(2 * np.pi * frequency * time + phase)
    return 0.1 * sound + generator.normal(0, 0.005, shape)


def fill_file(generator, shape, options):
    """The first and last half of a small source file as byte values, padded with 256 (magika's layout)."""
    text = np.frombuffer(SOURCE_TEXT.encode(), np.uint8).astype(np.int64)
    half = shape[1] // 2
    row = np.full(shape[1], 256, np.int64)
    row[: min(half, text.size)] = text[:half]
    row[shape[1] - min(half, text.size) :] = text[-half:]
    return np.tile(row, (shape[0], 1))


FILLS = {
    "picture": fill_picture,
    "page": fill_page,
    "line": fill_line,
    "tokens": fill_tokens,
    "mask": fill_mask,
    "constant": fill_constant,
    "uniform": fill_uniform,
    "audio": fill_audio,
    "file": fill_file,
}


def make_inputs(input_rows: list[dict], shapes: dict | None = None, seed: int = 1) -> dict[str, np.ndarray]:
    """name -> array for the rows {"name", "dtype", "shape", "fill", ...}; `shapes` replaces some of the shapes."""
    arrays = {}
    for position, row in enumerate(input_rows):
        shape = tuple((shapes or {}).get(row["name"], row["shape"]))
        generator = np.random.default_rng([seed, position])
        array = FILLS[row["fill"]](generator, shape, row)
        arrays[row["name"]] = np.array(array, dtype=row["dtype"], order="C")
    return arrays
