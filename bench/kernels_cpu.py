#!/usr/bin/env python3
"""The ladder of every kernel family: what can do a problem on every instruction set level, then on all threads.

    bench/kernels_cpu.py                                  # all files of bench/problems but *_gpu
    bench/kernels_cpu.py --families convolution --update-docs
    bench/kernels_cpu.py --table bench/results/FILE.json  # the tables of an earlier run

Rungs: the reference evaluator, every kernel that can do the problem on every level of the machine (scalar, AVX2, AVX-512,
AVX-512 with FP16 and AMX, where the machine has them), each in its usual and in its other configurations, on one thread;
the slowest first. Last the fastest of the highest level on all threads. `hussar bench --problem` times them: alone, their
inputs just written. It measures the peaks of the level with every problem, and those are the roofline of its rungs (for
the reference evaluator, those of the lowest level).
Writes bench/results/kernels_cpu.json and, with --update-docs, the tables in docs/kernel_ladders.md (those of int8 alone
into a section of their own).
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import machine  # noqa: E402
import report_section  # noqa: E402

PROBLEMS = ROOT / "bench/problems"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="", help="comma-separated names of files in bench/problems (default: all)")
    parser.add_argument("--threads", type=int, default=2, help="of the last rung")
    parser.add_argument("--seconds", type=float, default=0.4, help="per problem and level")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/kernels_cpu.json")
    parser.add_argument("--table", type=pathlib.Path, metavar="JSON", help="measure nothing: the tables of an earlier run")
    parser.add_argument("--update-docs", action="store_true", help="replace the tables in docs/kernel_ladders.md")
    return parser.parse_args()


def read_problems(family: str) -> list[tuple[str, str]]:
    lines = (PROBLEMS / f"{family}.txt").read_text().splitlines()
    pairs = (line.split(": ", 1) for line in lines if line and not line.startswith("#"))
    return [(name, problem) for name, problem in pairs]


def levels() -> list[str]:
    """The levels of this machine, the lowest first."""
    facts = json.loads(subprocess.run([hussar_cli.program(), "doctor", "--json"], check=True, capture_output=True).stdout)
    return facts["levels"][: facts["levels"].index(facts["device"]["isa_active"]) + 1]


def measure(problem: str, level: str, threads: int, seconds: float) -> dict:
    command = [hussar_cli.program(), "bench", "--problem", problem, "--threads", threads, "--duration", seconds, "--json"]
    environment = {**os.environ, "HUSSAR_ISA": level}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{problem}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def ladder(problem: str, arguments: argparse.Namespace) -> dict:
    rungs, peaks = [], {}
    for level in levels():
        entry = measure(problem, level, 1, arguments.seconds)
        peaks[level] = entry["peaks"]
        for rival in entry["rivals"]:
            is_reference = rival["kernel"] == "reference"
            # The reference evaluator is the same code on every level.
            if rival["us"] is None or (is_reference and len(peaks) > 1):
                continue
            label = "reference" if is_reference else f"{rival['kernel']}, {level}"
            rungs.append(rung_of(label, level, rival, entry))
    rungs.sort(key=lambda rung: -rung["us"])
    both = measure(problem, levels()[-1], arguments.threads, arguments.seconds)
    best = min((rival for rival in both["rivals"] if rival["us"]), key=lambda rival: rival["us"])
    if arguments.threads > 1:
        rungs.append(rung_of(f"{best['kernel']}, {arguments.threads} threads", levels()[-1], best, both))
    return {"problem": both["problem"], "flops": both["flops"], "bytes": both["bytes"], "rungs": rungs,
            "level_peaks": peaks, "peaks": both["peaks"]}  # fmt: skip


def rung_of(label: str, level: str, rival: dict, entry: dict) -> dict:
    return {"rung": label, "level": level, "us": rival["us"], "least_us": rival["least_us"], "roofline_us": entry["roofline_us"]}


def roofline_text(report: dict) -> str:
    """What the shares of a report are shares of."""
    entries = [entry for problems in report["families"].values() for entry in problems.values()]
    note = ("(multiply-adds of bytes for INT8 kernels, else of FP32 in vector registers): an algorithm that multiplies "
            "less, or a matrix unit, can exceed 100 %.")  # fmt: skip
    if report["schema_version"] >= 2:
        return f"the roofline is that of each rung's own level and threads {note}"
    one_thread = [{rung["roofline_us"] for rung in entry["rungs"] if "threads" not in rung["rung"]} for entry in entries]
    whose = "of each rung's own level" if any(len(times) > 1 for times in one_thread) else "of the highest level for every rung"
    return (f"the roofline is that {whose} {note} Bytes count constants as the first kernel packs them, for "
            "depthwise problems many times what they have: GB/s and shares of those with many channels mean nothing.")  # fmt: skip


def markdown(report: dict) -> str:
    facts = report["machine"]
    lines = [f"Measured {facts['date']} at commit {facts['commit']} on {facts['cpu']} ({facts['cpu_family_model']}). "
             f"Medians in microseconds, one thread unless said; {roofline_text(report)}"]  # fmt: skip
    for family, problems in report["families"].items():
        lines += ["", f"**{family}**", "", "| problem | rung | us | gain | GFLOP/s | GB/s | of the roofline |", "|---|---|---|---|---|---|---|"]
        for name, entry in problems.items():
            before = None
            for rung in entry["rungs"]:
                gain = f"{before / rung['us']:.2f}x" if before else ""
                lines.append(f"| {name if before is None else ''} | {rung['rung']} | {rung['us']:.4g} | {gain} "
                             f"| {entry['flops'] / rung['us'] / 1e3:.3g} | {entry['bytes'] / rung['us'] / 1e3:.3g} "
                             f"| {100 * rung['roofline_us'] / rung['us']:.0f} % |")  # fmt: skip
                before = rung["us"]
    return "\n".join(lines)


def measure_all(arguments: argparse.Namespace) -> dict:
    for_cpu = sorted(path.stem for path in PROBLEMS.glob("*.txt") if not path.stem.endswith("_gpu"))
    families = [name for name in arguments.families.split(",") if name] or for_cpu
    report = {"schema_version": 2, "machine": machine.facts(), "settings": {"threads": arguments.threads}, "families": {}}
    for family in families:
        report["families"][family] = {}
        for name, problem in read_problems(family):
            print(f"{family}: {name}", file=sys.stderr, flush=True)
            report["families"][family][name] = ladder(problem, arguments)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return report


def main() -> int:
    arguments = parse_arguments()
    report = json.loads(arguments.table.read_text()) if arguments.table else measure_all(arguments)
    text = markdown(report)
    print(text)
    if arguments.update_docs:
        section, heading = ("kernels_int8", "INT8") if set(report["families"]) == {"int8"} else ("kernels_cpu", "Ladders")
        report_section.update(section, "bench/kernels_cpu.py", heading, text, ROOT / "docs/kernel_ladders.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
