#!/usr/bin/env python3
"""Times models on an NVIDIA GPU, in FP16, BF16 or TF32, beside PyTorch, interleaved: torch.compile with a CUDA graph, and a
graph alone.

    bench/peers_gpu.py                                                     # all cases
    bench/peers_gpu.py --cases bert_large:1x128,resnet50:8 --rounds 9 --precision tf32

A case is a model and its batch, with the sequence for encoders. Needs a GPU, NVRTC, torch with CUDA, transformers and
torchvision. Weights are random: time does not depend on them. In every round each engine has a turn: Hussar's is a
process of its own (`hussar bench`, "on the device alone"), the peers' a few dozen replays of their graph. The figures are
medians over the rounds, in milliseconds, without copies of inputs and outputs. Writes bench/results/peers_gpu.json
(--json names another).
Exit status: 0; 1 when a plan cannot be built or run; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
import machine  # noqa: E402

CASES = ("bert_large:1x128,bert_large:8x128,bert_large:32x128,bert_large:128x128,bert_large:1x384,bert_large:32x384,"
         "resnet50:1,resnet50:8,resnet50:32,resnet50:128,yolov8n:1,yolov8n:16,vit_b16:1,vit_b16:32,"
         "minilm:1x128,minilm:64x128")  # fmt: skip
SIDES = {"yolov8n": 640}  # of pictures; others have 224
ENGINES = ("hussar", "torch_compile", "torch_graph")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES, help="comma-separated: MODEL:BATCH[xSEQUENCE]")
    parser.add_argument("--models", type=pathlib.Path, help="a folder with MODEL/model.onnx of open batch; default: exports them")
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma-separated")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", choices=("fp16", "bf16", "tf32"), default="fp16")
    parser.add_argument("--budget", default="60s", help="`hussar build --budget`; 0: predicted times decide")
    parser.add_argument("--seconds", type=float, default=0, help="begin no further case after so long; 0: all")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "bench/results/peers_gpu.json")
    return parser.parse_args()


OUTLIERS = "_outliers"  # of a name: with planted outliers


def is_encoder(model: str) -> bool:
    return model.removesuffix(OUTLIERS) in ("bert_large", "minilm")


def export(model: str, path: pathlib.Path) -> None:
    """The model as ONNX, with an open batch and, of encoders, an open sequence."""
    from modelzoo import catalog, encoders, exports, outliers

    path.parent.mkdir(parents=True, exist_ok=True)
    outputs, axes = ["logits"], {input_of(model): {0: "batch"}}
    inputs = catalog.image(picture_of(model, 1), input_of(model), mean=[0.5] * 3, std=[0.5] * 3)
    if is_encoder(model):
        module, inputs = encoders.encoder(model.removesuffix(OUTLIERS)), catalog.encoder_inputs(1, 128)
        module = outliers.plant(module) if model.endswith(OUTLIERS) else module
        outputs, axes = ["last_hidden_state"], catalog.ENCODER_AXES
    elif model == "vit_b16":
        module = exports.vit_b16("sdpa")
    elif model == "yolov8n":
        from modelzoo import detectors

        module = detectors.yolov8n(inputs, 7)
    else:
        module = exports.convolutional("AlexNet" if model == "alexnet" else "ResNet50", inputs, 7)
    exports.export(module, path, inputs, outputs, "torchscript", axes, exports.DEFAULT_OPSET["torchscript"])


def model_file(model: str, folder: pathlib.Path) -> pathlib.Path:
    """FOLDER/MODEL/model.onnx, exported where it is not there."""
    path = folder / model / "model.onnx"
    if not path.exists():
        export(model, path)
    return path


def input_of(model: str) -> str:
    return "pixel_values" if model == "vit_b16" else "x"


def picture_of(model: str, batch: int) -> list[int]:
    return [batch, 3, *[SIDES.get(model, 224)] * 2]


def shapes_of(model: str, dims: list[int]) -> dict[str, list[int]]:
    if is_encoder(model):
        return {name: dims for name in ("input_ids", "attention_mask", "token_type_ids")}
    return {input_of(model): picture_of(model, *dims)}


class Peers:
    """PyTorch's models on the GPU, in FP16, BF16 or in FP32 with products in TF32."""

    def __init__(self, precision: str) -> None:
        import torch

        self.torch = torch
        self.dtype = {"fp16": torch.half, "bf16": torch.bfloat16}.get(precision, torch.float)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        self.modules: dict[tuple[str, bool], object] = {}

    def module(self, model: str, compiled: bool):
        if (model, compiled) in self.modules:
            return self.modules[model, compiled]
        if compiled:
            module = self.torch.compile(self.module(model, False), dynamic=False)
        elif is_encoder(model):
            from modelzoo import encoders

            module = encoders.bert_model(model, "sdpa").eval().to(self.dtype).cuda()
        elif model == "vit_b16":
            from transformers import ViTConfig, ViTForImageClassification

            module = ViTForImageClassification(ViTConfig(num_labels=1000, attn_implementation="sdpa"))
            module = module.eval().to(self.dtype).cuda()
        elif model == "yolov8n":
            from modelzoo import detectors

            module = detectors.YOLOv8n().eval().to(self.dtype).cuda().to(memory_format=self.torch.channels_last)
        else:
            import torchvision

            module = torchvision.models.resnet50(weights=None).eval().to(self.dtype).cuda()
            module = module.to(memory_format=self.torch.channels_last)
        self.modules[model, compiled] = module
        return module

    def graph(self, model: str, dims: list[int], compiled: bool):
        """A function that runs the model once, by replaying a graph."""
        torch, module = self.torch, self.module(model, compiled)
        if is_encoder(model):
            tokens = torch.randint(0, 30000, dims, device="cuda")
            call = lambda: module(input_ids=tokens).last_hidden_state  # noqa: E731
        else:
            picture = torch.randn(picture_of(model, *dims), device="cuda", dtype=self.dtype)
            picture = picture.to(memory_format=torch.channels_last)
            call = lambda: module(picture)  # noqa: E731
        stream = torch.cuda.Stream()
        with torch.inference_mode(), torch.cuda.stream(stream):
            for _ in range(3):
                call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph):
            call()
        return graph.replay

    def time(self, replay) -> float:
        for _ in range(3):
            replay()
        self.torch.cuda.synchronize()
        begin, count = time.perf_counter(), 0
        while count < 20 or (time.perf_counter() - begin < 0.05 and count < 200):
            replay()
            count += 1
        self.torch.cuda.synchronize()
        return (time.perf_counter() - begin) / count * 1e3


def time_hussar(plan: pathlib.Path) -> float:
    report = plan.with_suffix(".json")
    command = [hussar_cli.program(), "bench", plan, "--iterations", "3", "--json", report]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return json.loads(report.read_text())["device_latency_ms"]["median"]


def measure(case: str, arguments: argparse.Namespace, peers: Peers, folder: pathlib.Path) -> dict:
    model, _, size = case.partition(":")
    dims = [int(number) for number in size.split("x")]
    path = model_file(model, arguments.models or folder)
    names = arguments.engines.split(",")
    turns = {}
    row = {"case": case}
    if "hussar" in names:
        plan = folder / "case.plan"
        more = ("--target", "cuda", f"--{arguments.precision}", "--budget", arguments.budget, "--self-check", "off")
        row["build_seconds"] = hussar_cli.build(path, plan, shapes=shapes_of(model, dims), more=more)
        turns["hussar"] = lambda: time_hussar(plan)
    for name in ("torch_compile", "torch_graph"):
        if name in names:
            replay = peers.graph(model, dims, name == "torch_compile")
            turns[name] = lambda replay=replay: peers.time(replay)
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(arguments.rounds):
        for name, turn in turns.items():
            times[name].append(turn())
    for name, list_of_times in times.items():
        row[name] = {"median_ms": statistics.median(list_of_times), "min_ms": min(list_of_times)}
    return row


def markdown(report: dict) -> str:
    names = [name for name in ENGINES if any(name in row for row in report["cases"])]
    facts, precision = report["machine"], report["precision"].upper()
    lines = [f"{report['gpu']}, {facts['date']}, commit {facts['commit']}; {precision}, milliseconds.", ""]
    lines.append(f"| case | {' | '.join(names)} | hussar / torch_compile |")
    lines.append("|---" * (len(names) + 2) + "|")
    for row in report["cases"]:
        cells = [f"{row[name]['median_ms']:.3g}" if name in row else "-" for name in names]
        both = "hussar" in row and "torch_compile" in row
        ratio = f"{row['hussar']['median_ms'] / row['torch_compile']['median_ms']:.2f}" if both else "-"
        lines.append(f"| {row['case']} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


def main() -> int:
    arguments = parse_arguments()
    peers = Peers(arguments.precision)
    report = {"schema_version": 1, "machine": machine.facts(), "gpu": peers.torch.cuda.get_device_name(),
              "precision": arguments.precision, "cases": []}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases.split(","):
            if arguments.seconds and time.monotonic() - begin > arguments.seconds:
                print(f"{case}: left out, the time is over", file=sys.stderr)
                continue
            report["cases"].append(measure(case, arguments, peers, pathlib.Path(folder)))
            print(json.dumps(report["cases"][-1]), file=sys.stderr, flush=True)
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
