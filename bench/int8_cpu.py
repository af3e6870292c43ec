#!/usr/bin/env python3
"""Times INT8 in Hussar, ONNX Runtime and OpenVINO beside Hussar's own FP32, interleaved in one process.

    bench/int8_cpu.py                                    # every benchmark model
    bench/int8_cpu.py --models resnet50,bert_base --rounds 10

All engines calibrate on the same inputs. ONNX Runtime: quantize_static (Q/DQ, weights per channel, minmax) and
quantize_dynamic, of which the faster counts. OpenVINO runs ONNX Runtime's Q/DQ model, and what its own quantizer, NNCF,
makes of the model (tools/venv.sh nncf installs it; --save-nncf keeps its files for machines where it cannot be installed,
--nncf-models takes them). Errors are relative to the range of ONNX Runtime's FP32 outputs: the worst element, and the
signal to noise ratio. Writes bench/results/int8_cpu.json (--json names another).
Exit status: 0; 1 when Hussar fails on some model; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import traceback

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import nncf_peer  # noqa: E402
from modelzoo import agreement  # noqa: E402

COLUMNS = ("fp32", "int8", "all_int8", "ort_fp32", "ort_static", "ort_dynamic", "openvino", "openvino_nncf")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated names (default: all benchmark models)")
    parser.add_argument("--samples", type=int, default=16, help="calibration inputs")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--burst-ms", type=float, default=150)
    parser.add_argument("--pause-ms", type=float, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--nncf-models", type=pathlib.Path, help="folder of NAME.xml and NAME.bin, made by --save-nncf")
    parser.add_argument("--save-nncf", type=pathlib.Path, help="folder that keeps what NNCF makes")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/int8_cpu.json")
    return parser.parse_args()


class Inputs:
    """The calibration inputs, in the form that ONNX Runtime's quantizer reads."""

    def __init__(self, samples: list[dict[str, np.ndarray]]) -> None:
        self.rest = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rest, None)


class ModelRun:
    def __init__(self, name: str, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.name, self.arguments, self.folder = name, arguments, folder
        self.prepared = modelzoo.prepare(name)
        rows = self.prepared.row["inputs"]
        self.shapes = {row["name"]: row["shape"] for row in rows}
        self.feeds = modelzoo.make_inputs(rows)
        self.samples = [modelzoo.make_inputs(rows, seed=100 + index) for index in range(arguments.samples)]
        self.static = folder / "static.onnx"
        modelzoo.fix_shapes(self.prepared.path, self.static, self.shapes)
        data = folder / "data"
        data.mkdir()
        for index, sample in enumerate(self.samples):
            np.savez(data / f"{index:03}.npz", **sample)
        self.row = {"model": name, "weights": self.prepared.model.weights, "engines": {}}

    def hussar(self, kind: str):
        plan = self.folder / f"{kind}.plan"
        cache = self.folder / "calibration.json"
        more = ["--self-check", "off"]
        if kind != "fp32":
            more += ["--int8", "--calib", str(self.folder / "data"), "--calib-cache", str(cache)]
        if kind == "all_int8":
            more += ["--budget", "0"]
        report = self.folder / f"{kind}.json"
        seconds = hussar_cli.build(self.prepared.path, plan, shapes=self.shapes, threads=self.arguments.threads,
                                   more=[*more, "--json", str(report)])  # fmt: skip
        counts = json.loads(report.read_text())["precision_counts"]
        facts = {"build_seconds": seconds, "plan_bytes": plan.stat().st_size, "precision_counts": counts}
        return engines.open_engine("hussar", plan, self.feeds, self.arguments.threads), facts

    def quantized(self, kind: str) -> pathlib.Path:
        from onnxruntime import quantization

        path = self.folder / f"{kind}.onnx"
        if kind == "ort_dynamic":
            quantization.quantize_dynamic(self.static, path, per_channel=True)
        elif not path.exists():
            quantization.quantize_static(self.static, path, Inputs(self.samples), per_channel=True)
        return path

    def quantized_by_nncf(self) -> pathlib.Path:
        if self.arguments.nncf_models:
            return nncf_peer.find(self.arguments.nncf_models, self.name)
        folder = self.arguments.save_nncf or self.folder
        folder.mkdir(parents=True, exist_ok=True)
        return nncf_peer.quantize(self.static, folder / f"{self.name}.xml", self.name, self.samples)

    def peer(self, kind: str):
        if kind == "openvino_nncf":
            path = self.quantized_by_nncf()
        else:
            path = self.static if kind == "ort_fp32" else self.quantized("ort_static" if kind == "openvino" else kind)
        name = "openvino" if kind.startswith("openvino") else "ort"
        engine = engines.open_engine(name, path, self.feeds, self.arguments.threads)
        weights = path.with_suffix(".bin")  # of OpenVINO's own format, whose .xml has none
        return engine, {"model_bytes": path.stat().st_size + (weights.stat().st_size if weights.exists() else 0)}

    def open(self, kind: str):
        """The loaded engine, or None with the reason in the row."""
        entry = self.row["engines"].setdefault(kind, {})
        try:
            engine, facts = self.hussar(kind) if kind in ("fp32", "int8", "all_int8") else self.peer(kind)
            engine.call()
        except Exception as error:  # whatever a peer makes of a model, the table goes on
            entry["error"] = f"{type(error).__name__}: {' '.join(str(error).strip().splitlines()[-1:])}"
            return None
        entry.update(facts)
        return engine

    def run(self) -> dict:
        kinds = COLUMNS[:3] if self.arguments.no_peers else COLUMNS
        opened = {kind: engine for kind in kinds if (engine := self.open(kind)) is not None}
        reference = opened.get("ort_fp32", opened.get("fp32"))
        wanted = reference.outputs() if reference else []
        for kind, engine in opened.items():
            pairs = list(zip(wanted, engine.outputs()))
            self.row["engines"][kind]["error"] = max(agreement.relative_error(a, b) for a, b in pairs)
            self.row["engines"][kind]["sqnr_db"] = min(sqnr(a, b) for a, b in pairs)
        samples = engines.interleave(opened, self.arguments.rounds, self.arguments.burst_ms, self.arguments.pause_ms)
        for kind, values in samples.items():
            self.row["engines"][kind]["latency_ms"] = engines.summary(values)
        return self.row


def sqnr(reference: np.ndarray, result: np.ndarray) -> float:
    noise = float(np.square(reference.astype(np.float64) - result).sum())
    return 10 * float(np.log10(np.square(reference.astype(np.float64)).sum() / noise)) if noise > 0 else 200.0


def markdown(report: dict) -> str:
    facts = report["machine"]
    lines = [f"{facts['cpu']}, {facts['cores']} cores, {facts['date']}, commit {facts['commit']}"]
    lines += ["", "| model | " + " | ".join(COLUMNS) + " | FP32 / INT8 | INT8 / ORT's best INT8 | INT8 / OpenVINO's best INT8 | plan | SQNR dB |",
              "|" + "---|" * (len(COLUMNS) + 6)]  # fmt: skip
    for row in report["models"]:
        median = {kind: entry["latency_ms"]["median"] for kind, entry in row["engines"].items() if "latency_ms" in entry}
        cells = [f"{median[kind]:.3g}" if kind in median else "-" for kind in COLUMNS]
        own = median.get("int8")
        best, openvino = (min((median[kind] for kind in kinds if kind in median), default=None)
                          for kinds in (("ort_static", "ort_dynamic"), ("openvino", "openvino_nncf")))  # fmt: skip
        ratios = [median["fp32"] / own if own and "fp32" in median else None, own / best if own and best else None,
                  own / openvino if own and openvino else None]  # fmt: skip
        cells += [f"{ratio:.2f}" if ratio else "-" for ratio in ratios]
        plans = [row["engines"].get(kind, {}).get("plan_bytes") for kind in ("all_int8", "fp32")]
        cells.append(f"{plans[0] / plans[1]:.0%}" if all(plans) else "-")
        cells.append(f"{row['engines'].get('int8', {}).get('sqnr_db', float('nan')):.1f}")
        star = "*" if row.get("weights") == "random" else ""
        lines.append(f"| {row['model']}{star} | " + " | ".join(cells) + " |")
    missing = [f"- {row['model']}, {kind}: {entry['error']}" for row in report["models"]
               for kind, entry in row["engines"].items() if isinstance(entry.get("error"), str)]  # fmt: skip
    return "\n".join(lines + (["", "Not measured:", *missing] if missing else []))


def main() -> int:
    arguments = parse_arguments()
    known = modelzoo.all_models()
    wanted = [name for name in arguments.models.split(",") if name]
    wanted = wanted or [name for name, model in known.items() if model.bench]
    if any(name not in known for name in wanted):
        print("unknown model; tools/fetch_models.py --list names them", file=sys.stderr)
        return 2
    settings = {key: getattr(arguments, key) for key in ("samples", "rounds", "burst_ms", "pause_ms", "threads")}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings, "models": []}
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="hussar-int8-") as folder:
            try:
                report["models"].append(ModelRun(name, arguments, pathlib.Path(folder)).run())
            except Exception:
                traceback.print_exc()
                report["models"].append({"model": name, "engines": {}})
        print(markdown({**report, "models": report["models"][-1:]}).splitlines()[4], file=sys.stderr, flush=True)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    failed = any("latency_ms" not in row["engines"].get("int8", {}) for row in report["models"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
