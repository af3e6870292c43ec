"""Fashion-MNIST (Debian's package dataset-fashion-mnist) with a fixed split; needs NumPy only.

    pictures, labels = fashion_mnist.read("test")
    feeds = {"x": fashion_mnist.normalise(pictures)}

Three parts: "train" (the first 55,000 of the training pictures), "held_out" (the last 5,000: models never see them in
training, so calibration and choices may use them) and "test" (10,000: for reported numbers only).
"""

from __future__ import annotations

import gzip
import pathlib
import zlib

import numpy as np

from .packages import Unavailable

FOLDER = pathlib.Path("/usr/share/datasets/fashion-mnist")
SIZE = 28
CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
# Of the pixels of all 60,000 training pictures, scaled to 0..1.
MEAN, STD = 0.2860, 0.3530
HELD_OUT = 5_000
# part -> prefix of the file names, how many pictures the files have, which of them belong to the part
PARTS = {
    "train": ("train", 60_000, slice(0, 60_000 - HELD_OUT)),
    "held_out": ("train", 60_000, slice(60_000 - HELD_OUT, 60_000)),
    "test": ("t10k", 10_000, slice(0, 10_000)),
}
UNSIGNED_BYTE = 8  # the only element type of these files


def read_idx(path: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array of bytes in a gzip-compressed idx file of the given shape. Raises Unavailable."""
    try:
        with gzip.open(path, "rb") as stream:
            data = stream.read()
    except FileNotFoundError as error:
        raise Unavailable(f"{path} does not exist (tools/install_deps.sh demo installs it)") from error
    except (OSError, EOFError, zlib.error) as error:
        raise Unavailable(f"{path} cannot be read: {error}") from error
    header = bytes([0, 0, UNSIGNED_BYTE, len(shape)]) + np.array(shape, ">u4").tobytes()
    if not data.startswith(header) or len(data) != len(header) + int(np.prod(shape)):
        raise Unavailable(f"{path} is not an idx file of {'x'.join(map(str, shape))} bytes")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def read(part: str, folder: pathlib.Path = FOLDER) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 28, 28) as bytes and labels (N,) as int64 of one part. Raises Unavailable, KeyError for a wrong part."""
    prefix, count, chosen = PARTS[part]
    pictures = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", (count, SIZE, SIZE))[chosen]
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", (count,))[chosen].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise Unavailable(f"{folder} has the label {labels.max()}; there are {len(CLASSES)} classes")
    return pictures, labels


def normalise(pictures: np.ndarray) -> np.ndarray:
    """What the models expect: bytes (N, 28, 28) -> float32 (N, 1, 28, 28), (byte / 255 - MEAN) / STD."""
    scaled = pictures.astype(np.float32) / np.float32(255)
    return ((scaled - np.float32(MEAN)) / np.float32(STD))[:, None]
