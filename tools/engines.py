"""The engines that the demo and the benchmark time, behind one small interface.

An engine object is made by open_engine(name, model, feeds, threads); making it loads the model (load_ms). call() runs
once with the bound inputs and leaves the outputs in the engine; outputs() copies them out. Inputs are bound once and
outputs are not copied while timing, for every engine alike.
"""

from __future__ import annotations

import pathlib
import time

import numpy as np

NAMES = ("hussar", "hussar_fp16", "hussar_bf16", "ort", "openvino_f32", "openvino")


class Hussar:
    """`model` is a plan file."""

    def __init__(self, model: pathlib.Path, feeds: dict[str, np.ndarray], threads: int) -> None:
        import hussar_ctypes

        library = hussar_ctypes.Library()
        start = time.perf_counter()
        plan = library.load(model)
        self.session = plan.session(threads)
        self.load_ms = 1e3 * (time.perf_counter() - start)
        self.facts = {"version": library.version}
        self.bind(feeds)

    def bind(self, feeds: dict[str, np.ndarray]) -> None:
        self.call = self.session.bind(feeds)

    def outputs(self) -> list[np.ndarray]:
        return list(self.session.outputs().values())


class OnnxRuntime:
    """Default session options but for the thread count; idle workers spin for some 40 ms after a run."""

    def __init__(self, model: pathlib.Path, feeds: dict[str, np.ndarray], threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        start = time.perf_counter()
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.load_ms = 1e3 * (time.perf_counter() - start)
        self.facts = {"version": onnxruntime.__version__, "allow_spinning": True}
        self.bind(feeds)

    def bind(self, feeds: dict[str, np.ndarray]) -> None:
        binding = self.session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for output in self.session.get_outputs():
            binding.bind_output(output.name, "cpu")
        self.binding, self.feeds = binding, feeds
        self.call = lambda: self.session.run_with_iobinding(binding)

    def outputs(self) -> list[np.ndarray]:
        return self.binding.copy_outputs_to_cpu()


class OpenVino:
    """Latency mode, one stream. precision: "f32", or "" for what OpenVINO chooses (bf16 where the CPU has it)."""

    def __init__(self, model: pathlib.Path, feeds: dict[str, np.ndarray], threads: int, precision: str) -> None:
        import openvino

        options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if precision:
            options["INFERENCE_PRECISION_HINT"] = precision
        start = time.perf_counter()
        compiled = openvino.Core().compile_model(str(model), "CPU", options)
        self.request = compiled.create_infer_request()
        self.load_ms = 1e3 * (time.perf_counter() - start)
        effective = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.facts = {"version": openvino.__version__, "precision": effective}
        self.openvino = openvino
        self.bind(feeds)

    def bind(self, feeds: dict[str, np.ndarray]) -> None:
        self.feeds = feeds
        for name, array in feeds.items():
            self.request.set_tensor(name, self.openvino.Tensor(array, shared_memory=True))
        self.call = self.request.infer

    def outputs(self) -> list[np.ndarray]:
        return [np.array(tensor.data) for tensor in self.request.output_tensors]


def open_engine(name: str, model: pathlib.Path, feeds: dict[str, np.ndarray], threads: int):
    """Raises what the engine raises when it cannot load the model."""
    if name.startswith("hussar"):
        return Hussar(model, feeds, threads)
    if name == "ort":
        return OnnxRuntime(model, feeds, threads)
    if name == "openvino_f32":
        return OpenVino(model, feeds, threads, "f32")
    if name == "openvino":
        return OpenVino(model, feeds, threads, "")
    raise ValueError(f"unknown engine {name!r}; known are {', '.join(NAMES)}")


def interleave(engines: dict, rounds: int, burst_ms: float, pause_ms: float) -> dict[str, list[float]]:
    """Milliseconds of every timed call, by engine.

    Each round visits the engines in rotating order: a pause in which the other engines' worker threads fall asleep,
    one untimed call that brings this engine's data back into the caches, then about burst_ms of timed calls (three at
    least).
    """
    samples: dict[str, list[float]] = {name: [] for name in engines}
    bursts = {}
    for name, engine in engines.items():
        time.sleep(pause_ms / 1e3)
        engine.call()
        start = time.perf_counter()
        engine.call()
        bursts[name] = max(3, min(2000, int(burst_ms / max(1e-3, 1e3 * (time.perf_counter() - start)))))
    names = list(engines)
    for round_index in range(rounds):
        shift = round_index % len(names)
        for name in names[shift:] + names[:shift]:
            call, sink = engines[name].call, samples[name]
            time.sleep(pause_ms / 1e3)
            call()
            for _ in range(bursts[name]):
                start = time.perf_counter_ns()
                call()
                sink.append((time.perf_counter_ns() - start) * 1e-6)
    return samples


def summary(samples: list[float]) -> dict[str, float]:
    values = np.asarray(samples)
    return {
        "median": float(np.median(values)),
        "min": float(values.min()),
        "p90": float(np.percentile(values, 90)),
        "count": len(samples),
    }
