#!/usr/bin/env python3
"""Kernels for 2:4 weights beside the best dense kernel, on the same weights.

    bench/sparse_kernels.py                                   # every level of this machine from AVX2 up
    bench/sparse_kernels.py --levels avx512 --columns 16,32,64 --update-docs

Problems of bench/problems/sparse.txt have weights whose masks are shared by 64 output channels (--columns: by other
numbers) or, where they have few rows, a mask in every channel; dense kernels multiply them like any others. Those whose
names begin with fp16 allow FP16, and are left out where the level has none; on avx512fp16 only they run. `hussar bench
--problem` times all kernels of a problem in turns; every round is a process of its own. The ratio is that of the fastest
dense kernel (Winograd included) to the fastest sparse one, the median over the rounds, and that of their least times.
Writes JSON and, with --update-docs, the table in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import machine  # noqa: E402
import report_section  # noqa: E402

PROBLEMS = ROOT / "bench/problems/sparse.txt"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", default="", help="comma-separated (default: all of this machine from avx2 up)")
    parser.add_argument("--columns", default="64", help="comma-separated: channels that share a mask")
    parser.add_argument("--only", default="", help="problems whose names contain this")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="per problem and round")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/sparse_kernels.json")
    parser.add_argument("--update-docs", action="store_true", help="replace the table in docs/benchmarks.md")
    return parser.parse_args()


def levels(wanted: str) -> list[str]:
    if wanted:
        return wanted.split(",")
    facts = json.loads(subprocess.run([hussar_cli.program(), "doctor", "--json"], check=True, capture_output=True).stdout)
    known = facts["levels"][: facts["levels"].index(facts["device"]["isa_active"]) + 1]
    return [level for level in known if level != "scalar"]


def is_new(name: str, level: str) -> bool:
    """Whether the level has kernels of its own for the problem."""
    return level in ("avx512fp16", "amx") if name.startswith("fp16") else level != "avx512fp16"


def measure(problem: str, level: str, may_be_half: bool, arguments: argparse.Namespace) -> dict:
    command = [hussar_cli.program(), "bench", "--problem", problem, "--threads", arguments.threads,
               "--duration", arguments.seconds, "--json", *(["--fp16"] if may_be_half else [])]  # fmt: skip
    environment = {**os.environ, "HUSSAR_ISA": level}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{problem}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def best(rivals: list[dict], is_sparse: bool, field: str) -> dict | None:
    able = [r for r in rivals if r["us"] and r["kernel"] != "reference" and ("_sparse" in r["kernel"]) == is_sparse]
    return min(able, key=lambda rival: rival[field], default=None)


def row_of(name: str, problem: str, level: str, columns: str, arguments: argparse.Namespace) -> dict:
    spelled, is_half = problem.replace(":2:4x64", f":2:4x{columns}"), name.startswith("fp16")
    rounds = [measure(spelled, level, is_half, arguments) for _ in range(arguments.rounds)]
    pairs = [(best(r["rivals"], False, "us"), best(r["rivals"], True, "us")) for r in rounds]
    if any(dense is None or sparse is None for dense, sparse in pairs):
        raise SystemExit(f"{name}: no sparse kernel took it")
    least = [min(best(r["rivals"], is_sparse, "least_us")["least_us"] for r in rounds) for is_sparse in (False, True)]
    return {
        "name": name, "level": level, "columns": int(columns), "dense_kernel": pairs[0][0]["kernel"],
        "dense_us": statistics.median(d["us"] for d, _ in pairs), "sparse_us": statistics.median(s["us"] for _, s in pairs),
        "ratio": statistics.median(d["us"] / s["us"] for d, s in pairs),
        "dense_least_us": least[0], "sparse_least_us": least[1], "least_ratio": least[0] / least[1],
    }  # fmt: skip


def table(rows: list[dict], threads: int) -> str:
    lines = ["| problem | level | channels | dense kernel | dense us | sparse us | ratio | of the least times |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        lines.append(f"| {row['name']} | {row['level']} | {row['columns']} | {row['dense_kernel']} | {row['dense_us']:.0f} | "
                     f"{row['sparse_us']:.0f} | {row['ratio']:.2f} | {row['least_ratio']:.2f} |")  # fmt: skip
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["name"].split()[0], row["level"], row["columns"]), []).append(row)
    lines.append("")
    for (dtype, level, columns), members in groups.items():
        ratios = statistics.median(row["ratio"] for row in members), statistics.median(r["least_ratio"] for r in members)
        pattern = f"2:4x{columns}" if columns > 1 else "2:4"
        lines.append(f"- Median of {dtype} on {level}, {pattern}, {threads} thread{'s' if threads > 1 else ''}: "
                     f"{ratios[0]:.2f}, of the least times {ratios[1]:.2f}.")  # fmt: skip
    return "\n".join(lines)


def machine_line(facts: dict) -> str:
    return f"{facts['cpu']}, {facts['date']}, commit {facts['commit'][:12]}."


def main() -> None:
    arguments = parse_arguments()
    lines = [line.split(": ", 1) for line in PROBLEMS.read_text().splitlines() if line and not line.startswith("#")]
    rows = []
    for level in levels(arguments.levels):
        for columns in [*arguments.columns.split(","), "1"]:
            for name, problem in lines:
                takes = arguments.only in name and is_new(name, level)
                if takes and (":2:4x64" in problem) == (columns != "1"):
                    rows.append(row_of(name, problem, level, columns, arguments))
                    print(f"{name}, {level}, 2:4x{columns}: {rows[-1]['ratio']:.2f}", file=sys.stderr)
    result = {"machine": machine.facts(), "threads": arguments.threads, "rounds": arguments.rounds, "rows": rows}
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    text = table(rows, arguments.threads)
    print(text)
    if arguments.update_docs:
        heading = machine_line(result["machine"])
        report_section.update("sparse_kernels", "bench/sparse_kernels.py", "2:4 kernels", f"{heading}\n\n{text}")


if __name__ == "__main__":
    main()
