#!/usr/bin/env python3
"""What leaving out padding (`hussar build --packed`) brings an encoder on an NVIDIA GPU, at every rung of compression.

    bench/packed_gpu.py                                                   # BERT-Large, 32 sequences of up to 384 tokens
    bench/packed_gpu.py --case minilm:64x256 --mean 100 --rungs fp16

A case is MODEL:BATCHxLENGTH; models, rungs and calibrations are those of bench/compression_table.py. The lengths of the
sequences are drawn from a log-normal distribution (--seed) whose mean, about 180 of 384, and spread are like those of
questions with their paragraphs in SQuAD, cut to [20, LENGTH]; padding is on the right. In every round each plan has a
turn, a process of its own (`hussar bench --load-inputs`); times are medians over the rounds of medians, of the device
alone. Both plans get the same tokens and masks, and outputs are compared where there are tokens: the largest difference
in parts of the output's range. Writes bench/results/packed_gpu.json (--json names another).
Exit status: 0; 1 when a plan cannot be built or run, or is off by more than --tolerance; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import statistics
import sys
import tempfile

import compression_table as table
import numpy

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import machine  # noqa: E402

SPREAD = 0.38  # of the logarithms of lengths
SHORTEST = 20


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="bert_large:32x384", help="MODEL:BATCHxLENGTH")
    parser.add_argument("--models", type=pathlib.Path, help="a folder with MODEL/model.onnx of open batch; default: exports it")
    parser.add_argument("--rungs", default="fp16,int8,int8_24", help="comma-separated")
    parser.add_argument("--mean", type=float, default=180, help="of the lengths, before they are cut")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", default="60s", help="`hussar build --budget`; 0: predicted times decide")
    parser.add_argument("--tolerance", type=float, default=0.1, help="default 0.1: which products are INT8 may differ")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/packed_gpu.json")
    arguments = parser.parse_args()
    arguments.target = "cuda"
    unknown = set(arguments.rungs.split(",")) - set(table.RUNGS)
    if unknown:
        parser.error(f"unknown rungs: {', '.join(unknown)}")
    return arguments


def draw_lengths(batch: int, longest: int, arguments: argparse.Namespace) -> numpy.ndarray:
    center = math.log(arguments.mean) - SPREAD**2 / 2
    lengths = numpy.random.default_rng(arguments.seed).lognormal(center, SPREAD, batch)
    return numpy.clip(lengths.round().astype(int), min(SHORTEST, longest), longest)


def write_inputs(case: table.Case, lengths: numpy.ndarray, path: pathlib.Path) -> None:
    shape = (case.batch, *case.size)
    tokens = numpy.arange(shape[1])[None, :] < lengths[:, None]
    words = numpy.random.default_rng(1).integers(100, 30000, shape)
    numpy.savez(path, input_ids=numpy.where(tokens, words, 0), attention_mask=tokens.astype(numpy.int64),
                token_type_ids=numpy.zeros(shape, numpy.int64))  # fmt: skip


def outputs_of(plan: pathlib.Path, inputs: pathlib.Path, folder: pathlib.Path) -> numpy.ndarray:
    folder.mkdir(exist_ok=True)
    outcome = table.hussar("run", plan, "--input", inputs, "-o", folder)
    if outcome.returncode != 0:
        raise hussar_cli.BuildFailed(outcome.stderr.strip()[-300:])
    return numpy.load(folder / "last_hidden_state.npy")


def difference(padded: numpy.ndarray, packed: numpy.ndarray, lengths: numpy.ndarray) -> float:
    tokens = numpy.arange(padded.shape[1])[None, :] < lengths[:, None]
    if packed[~tokens].any():
        raise hussar_cli.BuildFailed("rows of padding are not zeros")
    return float(numpy.abs(padded[tokens] - packed[tokens]).max() / numpy.ptp(padded[tokens]))


def measure(case: table.Case, arguments: argparse.Namespace) -> dict:
    lengths = draw_lengths(case.batch, case.size[0], arguments)
    inputs = case.folder / "inputs.npz"
    write_inputs(case, lengths, inputs)
    rows = []
    for rung in arguments.rungs.split(","):
        plans = {kind: case.folder / f"{rung}_{kind}.plan" for kind in ("padded", "packed")}
        for kind, plan in plans.items():
            case.build(rung, arguments, plan, extra=("--packed",) if kind == "packed" else ())
        times: dict[str, list[float]] = {kind: [] for kind in plans}
        for _ in range(arguments.rounds):
            for kind, plan in plans.items():
                times[kind].append(table.time_plan(plan, "--load-inputs", inputs)["ms"])
        results = {kind: outputs_of(plan, inputs, case.folder / kind) for kind, plan in plans.items()}
        row = {"rung": rung, "difference": difference(results["padded"], results["packed"], lengths)}
        for kind in plans:
            milliseconds = statistics.median(times[kind])
            row[kind] = {"ms": milliseconds, "sequences_per_second": case.batch / milliseconds * 1e3}
        row["times_as_fast"] = row["padded"]["ms"] / row["packed"]["ms"]
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    tokens, positions = int(lengths.sum()), case.batch * case.size[0]
    return {"case": case.text, "seed": arguments.seed, "mean_length": tokens / case.batch, "tokens": tokens,
            "positions": positions, "rungs": rows}  # fmt: skip


def markdown(report: dict) -> str:
    facts, case = report["machine"], report["case"]
    share = case["tokens"] / case["positions"]
    lines = [f"{report['device']}, {facts['date']}, commit {facts['commit']}; {case['case']}, {case['mean_length']:.0f} tokens a "
             f"sequence on average, {share:.2f} of all positions.", "",
             "| rung | padded, sequences/s | packed | times as fast | difference |", "|---|---|---|---|---|"]  # fmt: skip
    for row in case["rungs"]:
        lines.append(
            f"| {table.RUNGS[row['rung']][0]} | {row['padded']['sequences_per_second']:.4g} | "
            f"{row['packed']['sequences_per_second']:.4g} | {row['times_as_fast']:.2f} | {row['difference']:.1e} |"
        )
    return "\n".join(lines)


def main() -> int:
    arguments = parse_arguments()
    report = {"schema_version": 1, "machine": machine.facts(), "device": table.device_name("cuda")}
    with tempfile.TemporaryDirectory() as folder:
        report["case"] = measure(table.Case(arguments.case, arguments, pathlib.Path(folder)), arguments)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    return int(any(row["difference"] > arguments.tolerance for row in report["case"]["rungs"]))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except hussar_cli.BuildFailed as error:
        sys.exit(f"packed_gpu: {error}")
