"""Runs models of one or two nodes with the `hussar` program and compares with ONNX Runtime.

ONNX Runtime works in a forked process: it crashes on some of the odd models. A case that it does not take is skipped
when the program runs it, and fails when the program does not.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import hussar_cli  # noqa: E402
from modelzoo import agreement  # noqa: E402

TOLERANCE = 1e-5
LIMIT_SECONDS = 120
OPSETS = {"": 17, "com.microsoft": 1}


@dataclass
class Case:
    name: str
    nodes: list[onnx.NodeProto]
    inputs: dict[str, np.ndarray]
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    symbolic: bool = False  # the first dimension of every input has a name instead of a number
    # The domain under which ONNX Runtime knows the operator, when that is another one.
    reference_domain: str | None = None
    tolerance: float = TOLERANCE

    def model(self, for_reference: bool = False) -> onnx.ModelProto:
        inputs = []
        for name, array in self.inputs.items():
            dims = [f"{name}_0" if self.symbolic and axis == 0 else extent for axis, extent in enumerate(array.shape)]
            inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), dims))
        read = {name for node in self.nodes for name in node.input}
        results = [name for node in self.nodes for name in node.output if name and name not in read]
        outputs = [onnx.ValueInfoProto(name=name) for name in results]
        weights = [numpy_helper.from_array(array, name) for name, array in self.weights.items()]
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self.nodes]
        if for_reference and self.reference_domain is not None:
            nodes[0].domain = self.reference_domain
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        graph = helper.make_graph(nodes, self.name, inputs, outputs, weights)
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def random(name: str) -> np.random.Generator:
    """The same numbers in every run, and others for every case."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def compute_reference(model: bytes, feeds: dict[str, np.ndarray], path: pathlib.Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    np.savez(path, **dict(zip(names, session.run(names, feeds))))


def quietly(function: Callable, *arguments) -> None:
    """For a process of its own, whose status alone is of interest."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    with contextlib.suppress(Exception):
        function(*arguments)
        os._exit(0)
    os._exit(1)


def reference(case: Case, folder: pathlib.Path) -> dict[str, np.ndarray] | None:
    """What ONNX Runtime computes; None when it refuses the model, or crashes."""
    path = folder / "reference.npz"
    model = case.model(for_reference=True).SerializeToString()
    arguments = (compute_reference, model, case.inputs, path)
    child = multiprocessing.get_context("fork").Process(target=quietly, args=arguments)
    child.start()
    child.join(LIMIT_SECONDS)
    if child.exitcode is None:
        child.kill()
    if child.exitcode != 0:
        return None
    with np.load(path) as stored:
        return dict(stored)


def run_case(case: Case, folder: pathlib.Path) -> tuple[str, str]:
    """"passed", "failed" or "skipped", and a line that says why."""
    onnx.save(case.model(), folder / "model.onnx")
    np.savez(folder / "inputs.npz", **case.inputs)
    command = [hussar_cli.program(), "run", "model.onnx", "-i", "inputs.npz", "-o", "out", "-q"]
    try:
        finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return "failed", f"no result within {LIMIT_SECONDS} s"
    if finished.returncode != 0:
        return "failed", f"hussar run ended with status {finished.returncode}: {finished.stderr.strip()}"
    wanted = reference(case, folder)
    if wanted is None:
        return "skipped", "ONNX Runtime does not take the model"
    worst = 0.0
    for name, array in wanted.items():
        result = np.load(folder / "out" / f"{name}.npy")
        if result.shape != array.shape or result.dtype != array.dtype:
            return "failed", f"'{name}' is {result.dtype}{result.shape}, not {array.dtype}{array.shape}"
        worst = max(worst, agreement.relative_error(array, result))
    return "passed" if worst <= case.tolerance else "failed", f"relative error {worst:.1e}"


def main(cases: Iterable[Case], description: str) -> int:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these cases")
    arguments = parser.parse_args()
    known = {case.name: case for case in cases}
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        print(f"no case {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for name in arguments.names or known:
        with tempfile.TemporaryDirectory(prefix="hussar-operator-") as folder:
            outcome, text = run_case(known[name], pathlib.Path(folder))
        count[outcome] += 1
        if outcome != "passed":
            print(f"{'FAIL' if outcome == 'failed' else 'SKIP'} {name}: {text}", flush=True)
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] else 0
