#!/usr/bin/env python3
"""Measures what surrounds a single inference: callers at once, too many threads, busy cores, idleness, fork and join.

    bench/system_cpu.py                                    # every measurement
    bench/system_cpu.py --models resnet50 --only callers   # callers, crowd, idle, region

- callers: two sessions of one plan, --threads each, run in two threads at once against the same runs in turn.
- crowd: latency with 4x as many threads as cores, and with a busy process on one core, against the quiet run.
- idle: processor time of the process over a second after runs, as a share of one core.
- region: nanoseconds to fork and join an empty parallel region (build/bin/region_probe; Hussar only).

ONNX Runtime does the same in the same rounds, with two InferenceSessions of its own thread pools.
Writes bench/results/system_cpu.json and, with --update-docs, the tables in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import report_section  # noqa: E402
import system_table  # noqa: E402

MEASUREMENTS = ("callers", "crowd", "idle", "region")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet50,minilm,ppocr_cls", help="comma-separated names")
    parser.add_argument("--only", default=",".join(MEASUREMENTS), help="comma-separated measurements")
    parser.add_argument("--peers", default="ort", help="ort or none")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--burst-ms", type=float, default=150, help="timed runs per engine and round, about this long")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/system_cpu.json")
    parser.add_argument("--update-docs", action="store_true", help="replace the tables in docs/benchmarks.md")
    return parser.parse_args()


class Subject:
    """One model as files for both engines; open(engine, threads) makes a new session."""

    def __init__(self, name: str, folder: pathlib.Path, threads: int) -> None:
        prepared = modelzoo.prepare(name)
        rows = prepared.row["inputs"]
        shapes = {row["name"]: row["shape"] for row in rows}
        self.feeds = modelzoo.make_inputs(rows)
        self.files = {"hussar": folder / f"{name}.plan", "ort": folder / f"{name}.onnx"}
        modelzoo.fix_shapes(prepared.path, self.files["ort"], shapes)
        hussar_cli.build(prepared.path, self.files["hussar"], shapes=shapes, threads=threads)

    def open(self, engine: str, threads: int):
        return engines.open_engine(engine, self.files[engine], self.feeds, threads)


def milliseconds(call, runs: int) -> float:
    """Per run."""
    start = time.perf_counter()
    for _ in range(runs):
        call()
    return 1e3 * (time.perf_counter() - start) / runs


def runs_for(call, burst_ms: float) -> int:
    call()
    return max(3, min(5000, int(burst_ms / max(1e-3, milliseconds(call, 3)))))


def at_once(calls: list, runs: int) -> float:
    """Milliseconds per run when every call is made `runs` times, each in a thread of its own."""
    gate = threading.Barrier(len(calls) + 1)

    def work(call) -> None:
        gate.wait()
        for _ in range(runs):
            call()

    workers = [threading.Thread(target=work, args=(call,)) for call in calls]
    for worker in workers:
        worker.start()
    gate.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return 1e3 * (time.perf_counter() - start) / (runs * len(calls))


def two_callers(subject: Subject, names: list[str], arguments: argparse.Namespace) -> dict:
    opened = {name: [subject.open(name, arguments.threads) for _ in range(2)] for name in names}
    runs = {name: runs_for(pair[0].call, arguments.burst_ms / 2) for name, pair in opened.items()}
    turn, once = {name: [] for name in names}, {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name, pair in opened.items():
            calls = [engine.call for engine in pair]
            time.sleep(0.06)
            for call in calls:
                call()
            turn[name].append(np.mean([milliseconds(call, runs[name]) for call in calls]))
            once[name].append(at_once(calls, runs[name]))
    return {
        name: {
            "in_turn_ms": float(np.median(turn[name])),
            "at_once_ms": float(np.median(once[name])),
            "cost": float(np.median(np.array(once[name]) / np.array(turn[name]))),
        }
        for name in names
    }


def spin_forever(core: int) -> None:
    os.sched_setaffinity(0, {core})
    while True:
        pass


def crowd(subject: Subject, names: list[str], arguments: argparse.Namespace) -> dict:
    """Latencies: quiet, with many threads, and with a busy process on the last core."""
    cores = sorted(os.sched_getaffinity(0))
    many = 4 * len(cores)
    plain = {name: subject.open(name, arguments.threads) for name in names}
    wide = {name: subject.open(name, many) for name in names}
    runs = {name: runs_for(engine.call, arguments.burst_ms) for name, engine in plain.items()}
    samples = {name: {"quiet": [], "many": [], "busy": []} for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            time.sleep(0.06)
            plain[name].call()
            samples[name]["quiet"].append(milliseconds(plain[name].call, runs[name]))
            samples[name]["many"].append(milliseconds(wide[name].call, runs[name]))
        hog = multiprocessing.get_context("fork").Process(target=spin_forever, args=(cores[-1],), daemon=True)
        hog.start()
        for name in names:
            time.sleep(0.06)
            plain[name].call()
            samples[name]["busy"].append(milliseconds(plain[name].call, runs[name]))
        hog.kill()
        hog.join()
    report = {}
    for name, values in samples.items():
        report[name] = {f"{key}_ms": float(np.median(value)) for key, value in values.items()}
    return {"many_threads": many, "engines": report}


def processor_seconds() -> float:
    """User and system time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def idle(subject: Subject, names: list[str], arguments: argparse.Namespace) -> dict:
    """Share of one core that the process uses in the second after a burst of runs; 0.01 s is the clock's tick."""
    report = {}
    for name in names:
        engine = subject.open(name, arguments.threads)
        milliseconds(engine.call, runs_for(engine.call, arguments.burst_ms))
        before = processor_seconds()
        time.sleep(1)
        report[name] = {"idle_percent": 100 * (processor_seconds() - before)}
        del engine
    return report


def region(arguments: argparse.Namespace) -> dict:
    command = [str(ROOT / "build/bin/region_probe"), str(arguments.threads)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> int:
    arguments = parse_arguments()
    wanted = arguments.only.split(",")
    if unknown := [name for name in wanted if name not in MEASUREMENTS]:
        print(f"unknown measurement {unknown[0]!r}: {', '.join(MEASUREMENTS)}", file=sys.stderr)
        return 2
    names = ["hussar"] + (["ort"] if arguments.peers == "ort" else [])
    facts = machine.facts()
    rows = []
    with tempfile.TemporaryDirectory(prefix="hussar-bench-") as folder:
        for model in arguments.models.split(","):
            subject = Subject(model, pathlib.Path(folder), arguments.threads)
            row = {"model": model}
            for key, function in (("callers", two_callers), ("crowd", crowd), ("idle", idle)):
                if key in wanted:
                    row[key] = function(subject, names, arguments)
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    settings = {key: getattr(arguments, key) for key in ("rounds", "burst_ms", "threads")}
    report = {"schema_version": 1, "machine": facts, "settings": settings, "models": rows}
    if "region" in wanted:
        report["region"] = region(arguments)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    text = system_table.markdown(report)
    print(text)
    if arguments.update_docs:
        report_section.update("system_cpu", "bench/system_cpu.py", "CPU: callers, crowds and idleness", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
