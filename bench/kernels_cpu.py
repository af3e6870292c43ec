#!/usr/bin/env python3
"""The ladder of every kernel family: the reference evaluator, then each instruction set level and algorithm, then threads.

    bench/kernels_cpu.py                                  # all files of bench/problems
    bench/kernels_cpu.py --families convolution --update-docs

A rung is the fastest kernel of its kind that can do the problem, as `hussar bench --problem` times it: alone, its inputs
just written. Rungs: the reference evaluator, scalar code, AVX2, AVX-512 and, where the machine has them, FP16 and AMX;
kernels of another algorithm (Winograd) are rungs of their own; all on one thread, then the best on all threads.
Writes bench/results/kernels_cpu.json and, with --update-docs, the tables in docs/kernel_ladders.md.
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
    rungs, entry, seen = [], {}, set()
    for level in levels():
        entry = measure(problem, level, 1, arguments.seconds)
        for rival in entry["rivals"]:
            if rival["us"] is None:
                continue
            is_reference = rival["kernel"] == "reference"
            # What a level has no code of its own for is no news.
            key = "reference" if is_reference else (rival["kernel"], level)
            if key not in seen:
                seen.add(key)
                label = "reference" if is_reference else f"{rival['kernel']}, {level}"
                rungs.append({"rung": label, "us": rival["us"], "least_us": rival["least_us"], "roofline_us": entry["roofline_us"]})
    rungs.sort(key=lambda rung: -rung["us"])
    # Rungs that another one of a lower level beats are left out of the climb, not of the JSON.
    both = measure(problem, levels()[-1], arguments.threads, arguments.seconds)
    best = min((rival for rival in both["rivals"] if rival["us"]), key=lambda rival: rival["us"])
    if arguments.threads > 1:
        rungs.append({"rung": f"{best['kernel']}, {arguments.threads} threads", "us": best["us"],
                      "least_us": best["least_us"], "roofline_us": both["roofline_us"]})  # fmt: skip
    return {"problem": both["problem"], "flops": both["flops"], "bytes": both["bytes"], "rungs": rungs, "peaks": both["peaks"]}


def markdown(report: dict) -> str:
    facts = report["machine"]
    lines = [f"Measured {facts['date']} at commit {facts['commit']} on {facts['cpu']} ({facts['cpu_family_model']}). "
             "Medians in microseconds, one thread unless said; the roofline is of the level's own multiply-adds, for "
             "INT8 kernels of those of bytes, else of FP32 in vector registers: an algorithm that multiplies less, or a "
             "matrix unit, can exceed 100 %."]  # fmt: skip
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


def main() -> int:
    arguments = parse_arguments()
    families = [name for name in arguments.families.split(",") if name] or sorted(p.stem for p in PROBLEMS.glob("*.txt"))
    report = {"schema_version": 1, "machine": machine.facts(), "settings": {"threads": arguments.threads}, "families": {}}
    for family in families:
        report["families"][family] = {}
        for name, problem in read_problems(family):
            print(f"{family}: {name}", file=sys.stderr, flush=True)
            report["families"][family][name] = ladder(problem, arguments)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    print(text)
    if arguments.update_docs:
        report_section.update("kernels_cpu", "bench/kernels_cpu.py", "Ladders", text, ROOT / "docs/kernel_ladders.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
