"""Models that NNCF, OpenVINO's own quantizer, puts into INT8: a peer of bench/int8_cpu.py.

NNCF is in a set of packages of its own (tools/venv.sh nncf). Where it cannot be installed, files that were made elsewhere
(int8_cpu.py --save-nncf) can be given instead.
"""

from __future__ import annotations

import pathlib

import numpy as np

TRANSFORMERS = ("bert", "minilm", "vit")  # how the names of encoders begin: NNCF has a scheme of its own for them


class Unavailable(Exception):
    """NNCF is not there, and no file that it made."""


def find(folder: pathlib.Path, name: str) -> pathlib.Path:
    path = folder / f"{name}.xml"
    if not path.exists() or not path.with_suffix(".bin").exists():
        raise Unavailable(f"{folder} has no {name}.xml with its .bin: make them with --save-nncf where NNCF is installed")
    return path


def quantize(model: pathlib.Path, target: pathlib.Path, name: str, samples: list[dict[str, np.ndarray]]) -> pathlib.Path:
    """Writes `target` (.xml) and its .bin from an ONNX file. All samples calibrate."""
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed (tools/venv.sh nncf)") from error
    quantized = nncf.quantize(
        openvino.Core().read_model(str(model)), nncf.Dataset(samples), preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if name.startswith(TRANSFORMERS) else None, subset_size=len(samples),
    )  # fmt: skip
    openvino.save_model(quantized, str(target), compress_to_fp16=False)
    return target
