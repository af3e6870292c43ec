#!/usr/bin/env python3
"""Times Hussar, ONNX Runtime and OpenVINO on the same models, inputs, threads and machine, interleaved in one process.

    bench/peers_cpu.py                                  # every benchmark model
    bench/peers_cpu.py --models resnet50,minilm --rounds 20 --peers ort
    bench/peers_cpu.py --cost-only --peers ort          # sizes, build and load times, memory; plans are not tuned

Fixed shapes known to every engine, inputs bound once, outputs not copied. Latencies are medians over all
timed calls of all rounds; load time and peak memory come from processes of their own, medians of three. The error
columns compare with ONNX Runtime: max |a - b| / (max b - min b), and decisions (argmax) that differ beyond a tie.
Writes bench/results/peers_cpu.json (--json names another); bench/peers_table.py puts such files into docs/benchmarks.md.
Exit status: 0; 1 when Hussar misses on some model (no build, or outside the error tolerance); 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
import traceback

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import machine  # noqa: E402
import measure_child  # noqa: E402
import modelzoo  # noqa: E402
import peers_table  # noqa: E402
from modelzoo import agreement  # noqa: E402

REFERENCE = "ort"
# Built with --fp16 and --bf16, where this machine can compute in them.
HALVES = {"hussar_fp16": "fp16", "hussar_bf16": "bf16"}
ALONE = "hussar_1"  # a plan of its own for one thread: what is fastest on two need not be on one


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated names (default: all benchmark models)")
    parser.add_argument("--peers", default="ort,openvino", help="ort, openvino (stands for f32 and default), none")
    parser.add_argument("--no-hussar", action="store_true", help="time the peers alone")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--burst-ms", type=float, default=150, help="timed calls per engine and round, about this long")
    parser.add_argument("--pause-ms", type=float, default=60, help="before each burst; ORT's workers spin for 40 ms")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-scaling", action="store_true", help="skip the session with one thread")
    parser.add_argument("--no-memory", action="store_true", help="skip the processes for load time and memory")
    parser.add_argument("--cost-only", action="store_true",
                        help="time no runs: sizes, build and load times and memory only, with plans that are not tuned")  # fmt: skip
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/peers_cpu.json")
    return parser.parse_args()


def engine_names(arguments: argparse.Namespace) -> list[str]:
    halves = [] if arguments.cost_only else [name for name, half in HALVES.items() if hussar_cli.computes_in(half)]
    names = [] if arguments.no_hussar else ["hussar", *halves]
    for peer in filter(None, arguments.peers.split(",")):
        names += {"ort": ["ort"], "openvino": ["openvino_f32", "openvino"], "none": []}.get(peer, [peer])
    unknown = [name for name in names if name not in engines.NAMES]
    if unknown:
        raise SystemExit(f"unknown peer {unknown[0]!r}: ort, openvino, openvino_f32 or none")
    return names


def last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip()[:300] if lines else ''}"


class ModelRun:
    """One model in every engine: files, loaded engines, and the row of the report."""

    def __init__(self, name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.arguments, self.folder = arguments, folder
        self.prepared = modelzoo.prepare(name)
        inputs = self.prepared.row["inputs"]
        self.shapes = {row["name"]: row["shape"] for row in inputs}
        self.feeds = modelzoo.make_inputs(inputs)
        self.static = folder / "static.onnx"
        modelzoo.fix_shapes(self.prepared.path, self.static, self.shapes)
        self.files: dict[str, pathlib.Path] = {}
        self.inputs_file = folder / "inputs.npz"
        np.savez(self.inputs_file, **self.feeds)
        self.row = {
            "model": name, "weights": self.prepared.model.weights, "shapes": self.shapes,
            "onnx_bytes": self.prepared.path.stat().st_size, "engines": {},
        }  # fmt: skip

    def open_peer(self, name: str):
        """The engine with the fixed-shape copy; with the model as it is where the peer cannot take the copy."""
        for path in (self.static, self.prepared.path):
            self.files[name] = path
            try:
                return engines.open_engine(name, path, self.feeds, self.arguments.threads)
            except Exception:
                if path == self.prepared.path:
                    raise

    def build(self, name: str, threads: int, *more: str) -> float:
        """Seconds; the plan is the file of the engine `name`."""
        plan = self.files[name] = self.folder / f"{name}.plan"
        return hussar_cli.build(self.prepared.path, plan, shapes=self.shapes, threads=threads, more=more)

    def open_hussar(self, name: str, entry: dict):
        threads = self.arguments.threads
        if name == "hussar":
            entry["build_seconds_untuned"] = self.build(name, threads, "--budget", "0")
        if not self.arguments.cost_only:
            entry["build_seconds"] = self.build(name, threads, *([f"--{HALVES[name]}"] if name in HALVES else []))
        entry["plan_bytes"] = self.files[name].stat().st_size
        return engines.open_engine(name, self.files[name], self.feeds, threads)

    def open(self, name: str):
        """The loaded engine, or None with the reason in the row."""
        entry = self.row["engines"].setdefault(name, {})
        try:
            engine = self.open_hussar(name, entry) if name == "hussar" or name in HALVES else self.open_peer(name)
            engine.call()
        except Exception as error:  # a peer may refuse a model in any way it likes; the table must say so and go on
            entry["error"] = last_line(error)
            return None
        entry.update(engine.facts, file=self.files[name].name)
        return engine

    def judge(self, opened: dict) -> None:
        if REFERENCE not in opened:
            return
        references = opened[REFERENCE].outputs()
        for name, engine in opened.items():
            if name != REFERENCE:
                report = agreement.compare(references, engine.outputs(), self.prepared.row["classes"])
                self.row["engines"][name]["agreement"] = {**report, "acceptable": agreement.acceptable(report)}

    def time(self, opened: dict) -> None:
        arguments = self.arguments
        subjects = dict(opened)
        if "hussar" in opened and not arguments.no_scaling and arguments.threads > 1:
            self.build(ALONE, 1)
            subjects[ALONE] = engines.open_engine("hussar", self.files[ALONE], self.feeds, 1)
        samples = engines.interleave(subjects, arguments.rounds, arguments.burst_ms, arguments.pause_ms)
        alone = samples.pop(ALONE, None)
        for name, values in samples.items():
            self.row["engines"][name]["latency_ms"] = engines.summary(values)
        if "hussar" in samples:
            own = self.row["engines"]["hussar"]["latency_ms"]["median"]
            if alone:
                one = engines.summary(alone)
                self.row["scaling"] = {"one_thread_ms": one, "speedup": one["median"] / own}
            medians = {name: self.row["engines"][name]["latency_ms"]["median"] for name in samples}
            self.row["ratio"] = {name: own / medians[name] for name in samples if name != "hussar" and name not in HALVES}
            for name, half in HALVES.items():
                if name in medians:
                    self.row[f"{half}_ratio"] = medians[name] / own

    def memory(self, opened: dict) -> None:
        for name in opened:
            if name in HALVES:
                continue
            figures = measure_child.measure(name, self.files[name], self.inputs_file, self.arguments.threads)
            self.row["engines"][name]["process"] = figures

    def run(self, names: list[str]) -> dict:
        opened = {name: engine for name in names if (engine := self.open(name)) is not None}
        self.judge(opened)
        if opened and not self.arguments.cost_only:
            self.time(opened)
        if not self.arguments.no_memory:
            self.memory(opened)
        return self.row


def run_model(name: str, names: list[str], arguments: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory(prefix="hussar-bench-") as folder:
        try:
            return ModelRun(name, arguments, pathlib.Path(folder)).run(names)
        except modelzoo.Unavailable as reason:
            return {"model": name, "unavailable": str(reason), "engines": {}}
        except Exception:
            traceback.print_exc()
            return {"model": name, "unavailable": "the benchmark itself failed, see stderr", "engines": {}}


def missed(row: dict) -> bool:
    own = row["engines"].get("hussar")
    return own is not None and ("error" in own or not own.get("agreement", {}).get("acceptable", True))


def main() -> int:
    arguments = parse_arguments()
    known = modelzoo.all_models()
    wanted = [name for name in arguments.models.split(",") if name]
    wanted = wanted or [name for name, model in known.items() if model.bench]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"unknown model {unknown[0]!r}; tools/fetch_models.py --list names them", file=sys.stderr)
        return 2
    names = engine_names(arguments)
    facts = machine.facts()
    rows = []
    for name in wanted:
        rows.append(run_model(name, names, arguments))
        print(peers_table.progress_line(rows[-1]), file=sys.stderr, flush=True)
    settings = {key: getattr(arguments, key) for key in ("rounds", "burst_ms", "pause_ms", "threads", "cost_only")}
    report = {"schema_version": 1, "machine": facts, "settings": settings, "models": rows}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(peers_table.markdown(report))
    return 1 if any(missed(row) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
