"""Calls the program under test in a folder of its own and checks what every call must satisfy."""

from __future__ import annotations

import ast
import json
import os
import pathlib
import struct
import subprocess
from collections.abc import Sequence

import tiny_onnx

OK, FAILED, USAGE, MODEL, ACCURACY, DEVICE, PLAN = 0, 1, 2, 3, 4, 6, 7


class Outcome:
    def __init__(self, words: Sequence[str], finished: subprocess.CompletedProcess) -> None:
        self.words, self.code = words, finished.returncode
        self.out, self.err = finished.stdout, finished.stderr

    def __repr__(self) -> str:
        return f"hussar {' '.join(self.words)}\nstatus {self.code}\nstdout: {self.out}\nstderr: {self.err}"

    @property
    def json(self) -> dict:
        return json.loads(self.out)


class Program:
    def __init__(self, path: pathlib.Path, folder: pathlib.Path) -> None:
        self.path, self.folder = path, folder

    def __call__(self, *words, code: int = OK, says: str = "", stdout=None, before=None, **environment: str) -> Outcome:
        """Runs `hussar words...`; fails unless it ends with `code` and its stderr contains `says`."""
        words = [str(word) for word in words]
        finished = subprocess.run(
            [str(self.path), *words], cwd=self.folder, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=120, preexec_fn=before, env={**os.environ, **environment}, errors="replace",
        )  # fmt: skip
        outcome = Outcome(words, finished)
        assert outcome.code == code, f"status {code} was expected\n{outcome!r}"
        assert says in outcome.err, f"{says!r} was expected on stderr\n{outcome!r}"
        for trace in ("terminate called", "Aborted", "Segmentation", "what():"):
            assert trace not in outcome.err, outcome
        if code != OK:
            assert "error:" in outcome.err, f"a failure without a message\n{outcome!r}"
        return outcome

    def model(self, name: str = "chain", content: bytes | None = None) -> str:
        """Writes a model and returns its file name."""
        file = f"{name}.onnx"
        (self.folder / file).write_bytes(content if content is not None else getattr(tiny_onnx, name)())
        return file

    def plan(self, name: str = "chain", *flags: str) -> str:
        self("build", self.model(name), "-o", f"{name}.plan", *flags)
        return f"{name}.plan"

    def verbs(self) -> list[str]:
        """Those that the program has, by its help."""
        listed = self("--help").out.split("Verbs:\n")[1].split("\n\n")[0]
        return [line.split()[0] for line in listed.splitlines()]

    def files(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


def write_npy(path: pathlib.Path, dims: Sequence[int], values: Sequence[float], dtype: str = "<f4") -> None:
    codes = {"<f4": "f", "<f8": "d", "<i8": "q", "|u1": "B"}
    shape = "(" + "".join(f"{dim}, " for dim in dims) + ")"
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    content = struct.pack(f"<{len(values)}{codes[dtype]}", *values)
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content)


def read_npy(path: pathlib.Path) -> tuple[tuple[int, ...], list]:
    content = path.read_bytes()
    assert content[:6] == b"\x93NUMPY", path
    length = struct.unpack("<H", content[8:10])[0]
    assert (10 + length) % 64 == 0 and content[9 + length : 10 + length] == b"\n", "the header must end at 64 bytes"
    header = ast.literal_eval(content[10 : 10 + length].decode())
    code = {"<f4": "f", "<i8": "q"}[header["descr"]]
    data = content[10 + length :]
    return header["shape"], list(struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data))
