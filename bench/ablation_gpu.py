#!/usr/bin/env python3
"""Times plans for an NVIDIA GPU with the engine's own kernels, with NVIDIA's libraries, and with both as rivals.

    bench/ablation_gpu.py                                              # all cases, FP16
    bench/ablation_gpu.py --cases bert_large:8x128 --rounds 9 --rungs tf32
    bench/ablation_gpu.py --cases bert_large:32x128 --rungs fp8,int8,fp16_24,int8_24,fp8_24

A case is a model and its batch, with the sequence for encoders; a rung a precision, with 2:4 weights where its name ends
with _24: those of bench/compression_table.py, which says how they are pruned and calibrated. For each case and rung three
plans are built: `--libraries off`, `only` (cuBLASLt, cuDNN and cuSPARSELt do whatever they can) and `on` (measurements
choose). Needs a GPU, NVRTC, cuBLASLt, cuDNN and, for 2:4 weights, cuSPARSELt (`hussar doctor` says where they are), and
torch, transformers and torchvision where no --models are given. Weights are random: time does not depend on them. In every
round each plan has a turn, a process of its own (`hussar bench`, "on the device alone"). The figures are medians over the
rounds, in milliseconds, without copies of inputs and outputs. Writes bench/results/ablation_gpu.json (--json names
another).
Exit status: 0; 1 when a plan cannot be built or run; 2 for wrong usage; 3, with one line, without a GPU or a library.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import compression_table  # noqa: E402
import hussar_cli  # noqa: E402
import machine  # noqa: E402
import peers_gpu  # noqa: E402

CASES = "bert_large:1x128,bert_large:8x128,bert_large:32x128,resnet50:1,resnet50:8,resnet50:128"
WAYS = {"own": "off", "libraries": "only", "both": "on"}
# Each library, and the kernel whose steps call it.
LIBRARIES = {"cuBLASLt": "cuda_product_cublaslt", "cuDNN": "cuda_conv_cudnn", "cuSPARSELt": "cuda_product_cusparselt"}
OF_SPARSE_WEIGHTS = "cuSPARSELt"  # not needed for other rungs


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES, help="comma-separated: MODEL:BATCH[xSEQUENCE]")
    parser.add_argument("--models", type=pathlib.Path, help="a folder with MODEL/model.onnx of open batch; default: exports them")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rungs", default="fp16", help=f"comma-separated, of {', '.join(compression_table.RUNGS)}")
    parser.add_argument("--budget", default="60s", help="`hussar build --budget`; 0: predicted times decide")
    parser.add_argument("--seconds", type=float, default=0, help="begin no further case after so long; 0: all")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/ablation_gpu.json")
    arguments = parser.parse_args()
    arguments.target = "cuda"
    if unknown := set(arguments.rungs.split(",")) - set(compression_table.RUNGS):
        parser.error(f"unknown rungs: {', '.join(sorted(unknown))}")
    return arguments


def is_sparse(rung: str) -> bool:
    return compression_table.RUNGS[rung][1] == "pruned"


def find_gpu(rungs: list[str]) -> dict:
    """The GPU, its driver and the libraries, as `hussar doctor` finds them; "missing": why nothing can be timed."""
    command = [str(hussar_cli.program()), "doctor", "--json"]
    gpu = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["gpu"]
    needed = [name for name in LIBRARIES if name != OF_SPARSE_WEIGHTS or any(map(is_sparse, rungs))]
    lines = {name: gpu["libraries"][name] for name in ("NVRTC", *needed)}
    absent = [line for line in lines.values() if "not found" in line]
    missing = "there is no GPU" if not gpu["devices"] else absent[0] if absent else None
    return {"device": gpu["devices"][0] if gpu["devices"] else None, "driver_cuda": gpu.get("driver_cuda"),
            "libraries": {name: line.partition(",")[0] for name, line in lines.items()}, "missing": missing}  # fmt: skip


def library_steps(plan: pathlib.Path) -> dict[str, int]:
    """How many steps of the plan call each library."""
    command = [str(hussar_cli.program()), "inspect", str(plan), "--json"]
    regions = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["regions"]
    counts = collections.Counter(region["kernel"] for region in regions)
    return {"steps": len(regions), **{name: counts[kernel] for name, kernel in LIBRARIES.items()}}


def measure(case: compression_table.Case, rung: str, arguments: argparse.Namespace) -> dict:
    folder = case.folder
    row: dict = {"case": case.text, "rung": rung}
    for name, libraries in WAYS.items():
        plan = folder / f"{name}.plan"
        # All three measure what they share once.
        seconds = case.build(rung, arguments, plan, ("--libraries", libraries))
        row[name] = {"build_seconds": seconds, **library_steps(plan)}
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(arguments.rounds):
        for name, turns in times.items():
            turns.append(peers_gpu.time_hussar(folder / f"{name}.plan"))
    for name, turns in times.items():
        row[name] |= {"median_ms": statistics.median(turns), "min_ms": min(turns)}
    return row


def markdown(report: dict) -> str:
    gpu, facts = report["gpu"], report["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in gpu["libraries"].items())
    lines = [f"{gpu['device']['name']}, driver for CUDA {gpu['driver_cuda']}, {libraries}; {facts['date']}, commit "
             f"{facts['commit']}; milliseconds. Library steps: {' + '.join(LIBRARIES)}.", "",
             "| case | rung | own kernels | libraries only | both | libraries / own | both / own | library steps of only; both |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in report["cases"]:
        own, libraries, both = (row[name]["median_ms"] for name in WAYS)
        only, chosen = (" + ".join(str(row[way][name]) for name in LIBRARIES) for way in ("libraries", "both"))
        steps = f"{only}; {chosen} of {row['both']['steps']}"
        rung = compression_table.RUNGS[row["rung"]][0]
        lines.append(f"| {row['case']} | {rung} | {own:.3g} | {libraries:.3g} | {both:.3g} | {libraries / own:.2f} | "
                     f"{both / own:.2f} | {steps} |")  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    arguments = parse_arguments()
    rungs = arguments.rungs.split(",")
    gpu = find_gpu(rungs)
    if missing := gpu.pop("missing"):
        print(f"nothing is timed: {missing}", file=sys.stderr)
        return 3
    report = {"schema_version": 2, "machine": machine.facts(), "gpu": gpu, "cases": []}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for text in arguments.cases.split(","):
            try:
                case = compression_table.Case(text, arguments, pathlib.Path(folder))
                for rung in rungs:
                    if arguments.seconds and time.monotonic() - begin > arguments.seconds:
                        print(f"{text} {rung}: left out, the time is over", file=sys.stderr)
                        continue
                    report["cases"].append(measure(case, rung, arguments))
                    print(json.dumps(report["cases"][-1]), file=sys.stderr, flush=True)
                    arguments.json.parent.mkdir(parents=True, exist_ok=True)
                    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
            except (hussar_cli.BuildFailed, subprocess.CalledProcessError) as error:
                print(f"{text}: {error}", file=sys.stderr)
                return 1
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
