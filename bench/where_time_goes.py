#!/usr/bin/env python3
"""Where the time of models goes: by family of kernels and layer, with what each reaches of the roofline.

    bench/where_time_goes.py                                   # the models whose goals are missed (docs/benchmarks.md)
    bench/where_time_goes.py --models resnet50,bert_base --layers 5 --update-docs SECTION

Builds a plan of every model (tuned, fixed shapes) and times its steps with `hussar bench --per-layer`. The roofline of a
family is the sum of the times that the measured peaks allow its steps. Prints two markdown tables, the families and the
slowest layers. Writes bench/results/where_time_goes.json (--json names another) and, with --update-docs, the section of
that name in docs/benchmarks.md. Exit status: 0; 1 when a model could not be measured; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import report_section  # noqa: E402

MISSED = "resnet50,bert_base,vit_b16,mobilenet_v3,efficientnet_lite0,yolov8n,yolov8n_640,minilm,minilm_s16,minilm_b8,minilm_s16_b8,ppocr_rec"
# The first family with a prefix of the kernel's name takes it; what none takes is a family of its own.
FAMILIES = {
    "convolutions, Winograd": ("conv_winograd",),
    "depthwise convolutions": ("conv_depthwise",),
    "grouped convolutions": ("conv_grouped",),
    "transposed convolutions": ("conv_transpose",),
    "inverted residuals": ("inverted_residual",),
    "convolutions, direct": ("conv_",),
    "products": ("matmul",),
    "attention": ("attention",),
    "normalisation and softmax": ("layer_norm", "norm", "softmax"),
    "element-wise": ("pointwise", "binary", "where", "logical_not", "cast"),
    "pooling and reductions": ("pool", "reduce", "arg_extreme", "average_bytes", "average_pool_bytes"),
    "resizing": ("resize",),
    "conversions": ("quantize", "dynamic_quantize"),
    "moving data": ("concat", "split", "slice", "pad", "expand", "transpose", "depth_to_space", "gather", "scatter", "copy"),
    "reference code": ("reference",),
}  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MISSED, help=f"comma-separated names (default: {MISSED})")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3, help="of whole runs per model; then its steps are timed")
    parser.add_argument("--layers", type=int, default=3, help="the slowest ones of every model; 0: no such table")
    parser.add_argument("--build-flags", default="", help="more arguments of hussar build, such as '--budget 0'")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/where_time_goes.json")
    parser.add_argument("--table", type=pathlib.Path, metavar="JSON", help="measure nothing: the tables of an earlier run")
    parser.add_argument("--update-docs", metavar="SECTION", help="the name between the markers, such as where_time_goes_amx")
    return parser.parse_args()


def family_of(layer: dict) -> str:
    if layer["op"] == "hussar.Reformat":
        return "conversions"
    for family, prefixes in FAMILIES.items():
        if layer["kernel"].startswith(prefixes):
            return family
    return layer["kernel"]


def measure(name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> dict:
    prepared = modelzoo.prepare(name)
    shapes = {row["name"]: row["shape"] for row in prepared.row["inputs"]}
    plan = folder / f"{name}.plan"
    hussar_cli.build(prepared.path, plan, shapes=shapes, threads=arguments.threads, more=arguments.build_flags.split())
    command = [hussar_cli.program(), "bench", plan, "--duration", arguments.seconds, "--per-layer", "--json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    bench = json.loads(done.stdout)
    plan.unlink()
    keys = ("threads", "latency_ms", "layers", "peaks", "conversions")
    return {"model": name, "weights": prepared.model.weights, **{key: bench[key] for key in keys}}


def families(row: dict) -> list[dict]:
    """By time, the largest first. Views take none."""
    sums: dict[str, dict] = {}
    for layer in row["layers"]:
        if layer["kernel"] == "view":
            continue
        total = sums.setdefault(family_of(layer), {"steps": 0, "us": 0.0, "flops": 0.0, "bytes": 0.0, "roof_us": 0.0})
        total["steps"] += 1
        total["roof_us"] += layer["roofline_share"] * layer["us"]
        for key in ("us", "flops", "bytes"):
            total[key] += layer[key]
    return sorted(({"family": name, **total} for name, total in sums.items()), key=lambda entry: -entry["us"])


def figures(entry: dict, all_us: float) -> str:
    """Milliseconds, share of the time, GFLOP/s, GB/s, share of the roofline."""
    us = max(entry["us"], 1e-9)
    return (f"{entry['us'] / 1e3:.3g} | {100 * entry['us'] / max(all_us, 1e-9):.1f} % | {entry['flops'] / us / 1e3:.3g} "
            f"| {entry['bytes'] / us / 1e3:.3g} | {100 * entry['roof_us'] / us:.0f} %")  # fmt: skip


def family_table(rows: list[dict]) -> list[str]:
    lines = ["| model | kernels | steps | ms | share | GFLOP/s | GB/s | of the roofline |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        entries = families(row)
        total = {key: sum(entry[key] for entry in entries) for key in ("steps", "us", "flops", "bytes", "roof_us")}
        name = row["model"] + ("*" if row["weights"] == "random" else "")
        for entry in [{"family": "all", **total}, *entries]:
            lines.append(f"| {name} | {entry['family']} | {entry['steps']} | {figures(entry, total['us'])} |")
            name = ""
    return lines


def layer_table(rows: list[dict], count: int) -> list[str]:
    lines = ["| model | slowest layers | output | kernel | ms | share | GFLOP/s | GB/s | of the roofline |", "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        name = row["model"]
        all_us = sum(layer["us"] for layer in row["layers"])
        for layer in sorted(row["layers"], key=lambda layer: -layer["us"])[:count]:
            step = layer["step"] if len(layer["step"]) <= 40 else layer["step"][:37] + "..."
            text = figures({**layer, "roof_us": layer["roofline_share"] * layer["us"]}, all_us)
            lines.append(f"| {name} | {step} | {layer['output']} | {layer['kernel']} | {text} |")
            name = ""
    return lines


def markdown(report: dict, layers: int) -> str:
    facts, rows = report["machine"], [row for row in report["models"] if "layers" in row]
    lines = [f"Measured {facts['date']} at commit {facts['commit']} on {facts['cpu']} ({facts['cpu_family_model']}), "
             f"{report['settings']['threads']} threads; load average at the start {facts['load_average']}. Sums of the medians of "
             "every step; the roofline is of multiply-adds in vector registers and of the bandwidth where a step's operands "
             "fit: Winograd and a matrix unit can exceed 100 %. * = random weights."]  # fmt: skip
    lines += ["", *family_table(rows)]
    if layers > 0:
        lines += ["", *layer_table(rows, layers)]
    failed = [f"- {row['model']}: {row['error']}" for row in report["models"] if "error" in row]
    return "\n".join([*lines, *(["", "Not measured:", *failed] if failed else [])])


def measure_all(names: list[str], arguments: argparse.Namespace) -> dict:
    report = {"schema_version": 1, "machine": machine.facts(), "settings": {"threads": arguments.threads}, "models": []}
    with tempfile.TemporaryDirectory(prefix="hussar-bench-") as folder:
        for name in names:
            print(name, file=sys.stderr, flush=True)
            try:
                report["models"].append(measure(name, arguments, pathlib.Path(folder)))
            except Exception as error:  # one model must not take the others' figures with it
                report["models"].append({"model": name, "error": f"{type(error).__name__}: {str(error)[:300]}"})
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return report


def main() -> int:
    arguments = parse_arguments()
    names = [name for name in arguments.models.split(",") if name]
    known = modelzoo.all_models()
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        print(f"unknown model {unknown[0] if unknown else ''!r}; tools/fetch_models.py --list names them", file=sys.stderr)
        return 2
    report = json.loads(arguments.table.read_text()) if arguments.table else measure_all(names, arguments)
    text = markdown(report, arguments.layers)
    print(text)
    if arguments.update_docs:
        heading = f"Where the time goes: {report['machine']['cpu']}"
        report_section.update(arguments.update_docs, "bench/where_time_goes.py", heading, text)
    return 1 if any("error" in row for row in report["models"]) else 0


if __name__ == "__main__":
    sys.exit(main())
