#!/usr/bin/env python3
"""One encoder, quantized by ONNX Runtime in many ways: how fast Hussar is with each placement of Q/DQ nodes.

    bench/int8_placements.py                              # BERT-base
    bench/int8_placements.py --model minilm --rounds 5
    bench/int8_placements.py --placements 'MatMul;all' --keep /tmp/models

Every placement has the same ranges (minmax of the same inputs). A plan runs what the model says, so no placement should
be slower than another by more than a tenth: the ratio is to the fastest of them. Placements are run in turn. --clock cpu
counts processor time of one thread, medians over the rounds, and plans are not tuned: what other work on the machine does
hardly matters. --clock wall tunes and times --threads threads. SQNR is of the outputs against ONNX Runtime without its
optimizations, on the same file and on the FP32 model; where the ranges are poor, a file is far from both.
Writes bench/results/int8_placements.json (--json names another); --update-docs writes the table into docs/benchmarks.md.
Exit status: 0; 1 when Hussar fails on some placement; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import logging
import pathlib
import sys
import tempfile
import time
import traceback

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import engines  # noqa: E402
import hussar_cli  # noqa: E402
import int8_cpu  # noqa: E402
import machine  # noqa: E402
import modelzoo  # noqa: E402
import report_section  # noqa: E402

PRODUCTS = {"op_types_to_quantize": ["MatMul", "Gemm"]}
BYTES = ("QuantizeLinear", "DequantizeLinear")


def extra(**options) -> dict:
    return {"extra_options": options}


# Arguments of quantize_static beside per_channel=True, and attention: whether products of two activations are quantized,
# too. "all" quantizes every operator that ONNX Runtime knows how to. uint8 weights have zero points.
PLACEMENTS = {
    "MatMul": PRODUCTS,
    "MatMul, per tensor": {**PRODUCTS, "per_channel": False},
    "MatMul, inputs only": {**PRODUCTS, **extra(OpTypesToExcludeOutputQuantization=["MatMul", "Gemm"])},
    "MatMul with weights": {**PRODUCTS, "attention": False},
    "MatMul with weights, inputs only": {
        **PRODUCTS, "attention": False, **extra(OpTypesToExcludeOutputQuantization=["MatMul", "Gemm"])},
    "MatMul, Add, LayerNormalization": {"op_types_to_quantize": ["MatMul", "Gemm", "Add", "LayerNormalization"]},
    "all": {},
    "all, per tensor": {"per_channel": False},
    "all, no MatMul outputs": extra(OpTypesToExcludeOutputQuantization=["MatMul"]),
    "all, no outputs of MatMul, Softmax, Mul": extra(OpTypesToExcludeOutputQuantization=["MatMul", "Softmax", "Mul"]),
    "all, int8": {"activation": "int8"},
    "all, int8 symmetric": {"activation": "int8", **extra(ActivationSymmetric=True)},
    "all, a pair for each reader": extra(DedicatedQDQPair=True),
    "all, removable kept": extra(QDQKeepRemovableActivations=True),
    "all, biases in FP32": extra(QuantizeBias=False),
    "MatMul, QOperator": {**PRODUCTS, "format": "QOperator"},
    "all, QOperator": {"format": "QOperator"},
    "MatMul, per tensor, uint8 weights": {**PRODUCTS, "per_channel": False, "weights": "uint8"},
    "all, per tensor, uint8 weights": {"per_channel": False, "weights": "uint8"},
    # Ranges of every run: quantize_dynamic, for products with weights, and of two activations, too.
    "dynamic, per tensor": {"per_channel": False, "dynamic": True},
    "dynamic, per tensor, uint8 weights": {"per_channel": False, "dynamic": True, "weights": "uint8"},
    "dynamic, per tensor, attention": {"per_channel": False, "dynamic": True, **extra(MatMulConstBOnly=False)},
}  # fmt: skip


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bert_base", help="of the benchmark models")
    parser.add_argument("--placements", default="", help="names, separated by ';' (default: all; --list prints them)")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--samples", type=int, default=8, help="calibration inputs")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of --clock wall")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the models and plans (default: a temporary one)")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/int8_placements.json")
    parser.add_argument("--update-docs", action="store_true", help="write the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    if arguments.clock == "cpu":
        arguments.threads = 1
    return arguments


class Encoder:
    """The FP32 model, its inputs, and what ONNX Runtime makes of them."""

    def __init__(self, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        prepared = modelzoo.prepare(arguments.model)
        rows = prepared.row["inputs"]
        self.arguments, self.folder = arguments, folder
        self.shapes = {row["name"]: row["shape"] for row in rows}
        self.feeds = modelzoo.make_inputs(rows)
        self.samples = [modelzoo.make_inputs(rows, seed=100 + index) for index in range(arguments.samples)]
        self.model = folder / "fp32.onnx"
        modelzoo.fix_shapes(prepared.path, self.model, self.shapes)
        self.outputs = self.reference(self.model)

    def reference(self, model: pathlib.Path) -> list[np.ndarray]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return session.run(None, self.feeds)

    def attention_products(self) -> list[str]:
        import onnx

        graph = onnx.load(self.model).graph
        constants = {tensor.name for tensor in graph.initializer}
        return [node.name for node in graph.node if node.op_type == "MatMul" and not constants & set(node.input)]

    def quantize(self, placement: dict, path: pathlib.Path) -> None:
        from onnxruntime import quantization

        options = {"per_channel": True, **placement}
        symbols = quantization.QuantType
        activation = symbols.QInt8 if options.pop("activation", "") == "int8" else symbols.QUInt8
        weights = symbols.QUInt8 if options.pop("weights", "") == "uint8" else symbols.QInt8
        if options.pop("dynamic", False):
            quantization.quantize_dynamic(self.model, path, weight_type=weights, **options)
            return
        form = getattr(quantization.QuantFormat, options.pop("format", "QDQ"))
        if not options.pop("attention", True):
            options["nodes_to_exclude"] = self.attention_products()
        quantization.quantize_static(self.model, path, int8_cpu.Inputs(self.samples), quant_format=form,
                                     activation_type=activation, weight_type=weights, **options)  # fmt: skip


def prepare(encoder: Encoder, name: str) -> tuple[dict, object]:
    """The row of a placement, and its loaded plan; None where something failed."""
    import onnx

    stem = "".join(letter if letter.isalnum() else "_" for letter in name)
    path, plan = encoder.folder / f"{stem}.onnx", encoder.folder / f"{stem}.plan"
    row: dict = {"placement": name}
    try:
        if not path.exists():
            encoder.quantize(PLACEMENTS[name], path)
        nodes = onnx.load(path, load_external_data=False).graph.node
        row["quantizing_nodes"] = sum(node.op_type in BYTES or node.op_type.startswith(("QLinear", "QGemm")) for node in nodes)
        report = encoder.folder / f"{stem}.json"
        tuning = ["--budget", "0"] if encoder.arguments.clock == "cpu" else ["--timing-cache", str(encoder.folder / "times")]
        hussar_cli.build(path, plan, shapes=encoder.shapes, threads=encoder.arguments.threads,
                         more=[*tuning, "--json", str(report), "--self-check", "off"])  # fmt: skip
        facts = json.loads(report.read_text())
        row |= {"products_int8": facts["int8"]["quantized_in_model"], "steps": facts["steps"]}
        engine = engines.open_engine("hussar", plan, encoder.feeds, encoder.arguments.threads)
        engine.call()
        results, wanted = engine.outputs(), encoder.reference(path)
        row["sqnr_db"] = min(int8_cpu.sqnr(a, b) for a, b in zip(wanted, results))
        row["sqnr_fp32_db"] = min(int8_cpu.sqnr(a, b) for a, b in zip(encoder.outputs, results))
        row["ort_sqnr_fp32_db"] = min(int8_cpu.sqnr(a, b) for a, b in zip(encoder.outputs, wanted))
    except Exception as error:
        traceback.print_exc()
        row["failure"] = f"{type(error).__name__}: {' '.join(str(error).strip().splitlines()[-1:])}"
        return row, None
    return row, engine


def markdown(report: dict) -> str:
    facts, settings = report["machine"], report["settings"]
    clock = "processor time of one thread" if settings["clock"] == "cpu" else f"{settings['threads']} threads"
    lines = [f"{settings['model']} on {facts['cpu']}, {', '.join(facts['features'])}, {facts['date']}, commit "
             f"{facts['commit']}; {clock}, medians of {settings['rounds']} rounds, ranges from {settings['samples']} inputs.", "",
             "| placement | Q/DQ nodes | products in INT8 | steps | ms | of the fastest | SQNR dB to ORT, same file "
             "| SQNR dB to FP32: Hussar, ORT |", "|" + "---|" * 8]  # fmt: skip
    for row in report["placements"]:
        if "failure" in row:
            lines.append(f"| {row['placement']} | {row['failure']} |" + " |" * 6)
            continue
        cells = [row["placement"], row["quantizing_nodes"], row["products_int8"], row["steps"], f"{row['ms']:.4g}",
                 f"{row['ratio']:.2f}", f"{row['sqnr_db']:.1f}",
                 f"{row['sqnr_fp32_db']:.1f}, {row['ort_sqnr_fp32_db']:.1f}"]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def measure(arguments: argparse.Namespace, names: list[str], folder: pathlib.Path) -> list[dict]:
    encoder = Encoder(arguments, folder)
    rows, opened = [], {}
    for name in names:
        row, engine = prepare(encoder, name)
        rows.append(row)
        if engine is not None:
            opened[name] = engine
        print(f"{name}: {row.get('failure', 'built')}", file=sys.stderr, flush=True)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(arguments.rounds):
        for name, engine in opened.items():
            engine.call()  # brings its data back into the caches
            start = clock()
            engine.call()
            times[name].append(1e3 * (clock() - start))
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for row in rows:
        if row["placement"] in medians:
            row["ms"] = medians[row["placement"]]
            row["ratio"] = row["ms"] / min(medians.values())
    return rows


def main() -> int:
    arguments = parse_arguments()
    names = [name.strip() for name in arguments.placements.split(";") if name.strip()] or list(PLACEMENTS)
    if arguments.list:
        print("\n".join(PLACEMENTS))
        return 0
    if any(name not in PLACEMENTS for name in names) or arguments.model not in modelzoo.all_models():
        print("unknown placement or model; --list and tools/fetch_models.py --list name them", file=sys.stderr)
        return 2
    logging.getLogger().setLevel(logging.ERROR)  # quantize_static recommends its own preparations
    settings = {key: getattr(arguments, key) for key in ("model", "samples", "rounds", "clock", "threads")}
    report = {"schema_version": 1, "machine": machine.facts(), "settings": settings}
    with tempfile.TemporaryDirectory(prefix="hussar-placements-") as temporary:
        folder = arguments.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report["placements"] = measure(arguments, names, folder)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    print(text)
    if arguments.update_docs:
        name = f"int8_placements_{arguments.model}"
        report_section.update(name, "bench/int8_placements.py", "INT8: placements of Q/DQ", text)
    return 1 if any("failure" in row for row in report["placements"]) else 0


if __name__ == "__main__":
    sys.exit(main())
