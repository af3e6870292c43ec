"""Calls the `hussar` program from Python: where it is, and how shapes are spelled for it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


class BuildFailed(Exception):
    """`hussar build` ended with a status other than 0; the message has the status and the last lines of stderr."""


def program() -> pathlib.Path:
    """$HUSSAR, else build/bin/hussar."""
    return pathlib.Path(os.environ.get("HUSSAR", ROOT / "build/bin/hussar"))


def spell_shapes(shapes: dict[str, list[int]]) -> str:
    """"x:1x3x224x224,y:1x5". Scalars have no extent to give and are left out."""
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items() if shape)


def computes_in(half: str) -> bool:
    """Whether plans that `hussar build --fp16`, or --bf16, makes here can have steps in it. OSError without the program."""
    outcome = subprocess.run([str(program()), "doctor", "--json"], capture_output=True, text=True)
    if outcome.returncode != 0:
        return False
    device = json.loads(outcome.stdout)["device"]
    if half == "fp16":
        return device["isa_active"] in ("avx512fp16", "amx")
    return device["isa_active"].startswith(("avx512", "amx")) and "avx512_bf16" in device["cpu_flags"]


def build(model: pathlib.Path, plan: pathlib.Path, *, shapes=None, bounds=None, threads: int = 2, more=()) -> float:
    """Seconds that `hussar build MODEL -o PLAN` took. Raises BuildFailed, or OSError without the program.

    shapes: fixed input shapes. bounds: (min, opt, max) shapes instead. Neither: the model's own symbolic shapes.
    """
    command = [str(program()), "build", str(model), "-o", str(plan), "--threads", str(threads), *more]
    if bounds:
        for flag, profile in zip(("--min-shapes", "--opt-shapes", "--max-shapes"), bounds):
            command += [flag, spell_shapes(profile)]
    elif shapes:
        command += ["--shapes", spell_shapes(shapes)]
    start = time.perf_counter()
    outcome = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if outcome.returncode != 0:
        tail = " | ".join((outcome.stderr.strip() or outcome.stdout.strip()).splitlines()[-3:])
        raise BuildFailed(f"hussar build ended with status {outcome.returncode}: {tail}")
    return seconds
