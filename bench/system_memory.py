#!/usr/bin/env python3
"""Memory of a loaded model: the arena beside its lower bound, the peak of a process, what two processes share.

    bench/system_memory.py                     # every benchmark model
    bench/system_memory.py --models resnet50

`build/bin/memory_probe`, a C program without anything else in it, opens the plan and runs it. Program is what it takes by
itself: the touched code of the library, libc and so on, and the inputs. Weights are the pages of the plan file that the
runs touched; model = peak - program. The second process is started while the first one still holds the same plan; its
own share is Pss. Writes bench/results/system_memory.json and, with --update-docs, the table in docs/benchmarks.md.
Exit status: 0; 1 when a bar is missed (arena 1.05 x its lower bound; model 1.1 x (weights + arena) where these take
10 MB or more).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import report_section  # noqa: E402
from hussar_ctypes import DTYPE_BY_NUMPY  # noqa: E402

ARENA_BAR, MODEL_BAR = 1.05, 1.1
LARGE = 10e6  # bytes of weights and arena from which on the constant costs of a model do not count


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated names (default: all benchmark models)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/system_memory.json")
    parser.add_argument("--update-docs", action="store_true", help="replace the table in docs/benchmarks.md")
    return parser.parse_args()


class Probe:
    """A running memory_probe; `figures` is what it printed when its runs were done."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.figures = self.read()

    def read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"memory_probe ended with status {self.process.wait()}")
        return json.loads(line)

    def again(self) -> dict:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def write_inputs(feeds: dict[str, np.ndarray], folder: pathlib.Path) -> list[str]:
    """The arguments that name the inputs to memory_probe."""
    words = []
    for index, (name, array) in enumerate(feeds.items()):
        path = folder / f"input{index}.raw"
        path.write_bytes(np.ascontiguousarray(array).tobytes())
        words += [name, str(DTYPE_BY_NUMPY[array.dtype.name]), "x".join(map(str, array.shape)), str(path)]
    return words


def measure(name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> dict:
    prepared = modelzoo.prepare(name)
    rows = prepared.row["inputs"]
    plan = folder / "model.plan"
    shapes = {row["name"]: row["shape"] for row in rows}
    hussar_cli.build(prepared.path, plan, shapes=shapes, threads=arguments.threads)
    feeds = modelzoo.make_inputs(rows)
    report = folder / "bench.json"
    np.savez(folder / "inputs.npz", **feeds)
    command = [str(hussar_cli.program()), "bench", str(plan), "--load-inputs", str(folder / "inputs.npz"),
               "--iterations", "3", "--threads", str(arguments.threads), "--json", str(report)]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True)
    bench = json.loads(report.read_text())
    probe = [str(ROOT / "build/bin/memory_probe"), str(plan), str(arguments.threads), "3"]
    probe += write_inputs(feeds, folder)
    samples = []
    for _ in range(arguments.repeats):
        alone = Probe(probe)
        alone.end()
        samples.append(alone.figures)
    first, second = Probe(probe), Probe(probe)
    shared = [first.again(), second.figures]
    first.end()
    second.end()
    row = {key: float(np.median([sample[key] for sample in samples])) for key in samples[0]}
    row |= {"model": name, "plan_bytes": plan.stat().st_size, "arena_bytes": bench["arena_bytes"],
            "arena_lower_bound_bytes": bench["arena_lower_bound_bytes"]}  # fmt: skip
    row["pss_of_two_bytes"] = [figures["pss_bytes"] for figures in shared]
    row["plan_pss_of_two_bytes"] = [figures["plan_pss_bytes"] for figures in shared]
    row["model_bytes"] = row["peak_bytes"] - row["program_bytes"]
    row["arena_ratio"] = row["arena_bytes"] / max(1, row["arena_lower_bound_bytes"])
    row["model_ratio"] = row["model_bytes"] / (row["plan_resident_bytes"] + row["arena_bytes"])
    return row


def missed(row: dict) -> bool:
    is_large = row["plan_resident_bytes"] + row["arena_bytes"] >= LARGE
    return row["arena_ratio"] > ARENA_BAR or (is_large and row["model_ratio"] > MODEL_BAR)


def megabytes(value: float) -> str:
    return f"{value / 1e6:.0f}" if value >= 1e8 else f"{value / 1e6:.3g}"


def markdown(report: dict) -> str:
    facts = report["machine"]
    head = ["model", "plan MB", "load ms", "arena MB", "/ lower bound", "weights touched MB", "program MB", "peak MB",
            "(peak - program) / (weights + arena)", "Pss alone MB", "Pss of each of two MB",
            "of it the plan MB"]  # fmt: skip
    lines = [
        f"Measured {facts['date']} at commit {facts['commit']} on {facts['cpu']} ({facts['cpu_family_model']}), "
        f"kernel {facts['kernel']}; medians of {report['repeats']} processes, {report['threads']} threads.",
        "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head),
    ]  # fmt: skip
    for row in report["models"]:
        cells = [row["model"], megabytes(row["plan_bytes"]), f"{row['load_ms']:.2f}", megabytes(row["arena_bytes"])]
        cells += [f"{row['arena_ratio']:.3f}", megabytes(row["plan_resident_bytes"]), megabytes(row["program_bytes"])]
        cells += [megabytes(row["peak_bytes"]), f"{row['model_ratio']:.3f}", megabytes(row["pss_bytes"])]
        cells += [", ".join(map(megabytes, row["pss_of_two_bytes"]))]
        cells += [", ".join(map(megabytes, row["plan_pss_of_two_bytes"]))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    arguments = parse_arguments()
    wanted = [name for name in arguments.models.split(",") if name]
    wanted = wanted or [name for name, model in modelzoo.all_models().items() if model.bench]
    rows = []
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="hussar-bench-") as folder:
            try:
                rows.append(measure(name, arguments, pathlib.Path(folder)))
            except modelzoo.Unavailable as reason:
                print(f"{name}: skipped, {reason}", file=sys.stderr)
                continue
        row = rows[-1]
        print(f"{name}: arena {row['arena_ratio']:.3f}, model {row['model_ratio']:.3f}", file=sys.stderr, flush=True)
    report = {"schema_version": 1, "machine": machine.facts(), "threads": arguments.threads,
              "repeats": arguments.repeats, "models": rows}  # fmt: skip
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    print(text)
    if arguments.update_docs:
        report_section.update("system_memory", "bench/system_memory.py", "CPU: memory and load", text)
    return 1 if any(missed(row) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
