"""A thin ctypes binding of the C interface (include/hussar/hussar.h) for the demo, the benchmarks and the tests.

    library = Library()                       # $HUSSAR_LIBRARY, else build/lib/libhussar.so
    plan = library.load("model.plan")
    session = plan.session(threads=2)
    outputs = session.run({"x": array})       # name -> array
    session.enqueue({"x": tensor}, {"y": result}, stream)  # tensors of PyTorch or CuPy on the GPU

As a program, for callers that must survive a crash of the library:

    hussar_ctypes.py PLAN IN.npz OUT.npz [--threads N]
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]

# numpy names by the values of ONNX's TensorProto.DataType. bfloat16 (16) travels as its bits.
NUMPY_BY_DTYPE = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 16: "uint16",
}  # fmt: skip
DTYPE_BY_NUMPY = {name: value for value, name in NUMPY_BY_DTYPE.items() if value != 16}


class HussarError(RuntimeError):
    """A failed call; `code` is the hussar_code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message or f"hussar_code {code}")
        self.code = code


class TensorStruct(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("place", ctypes.c_int),
    ]


def describe(struct: TensorStruct, name: str, array) -> list:
    """Fills the struct with an array of numpy or with one on a GPU; returns what must live as long as the struct."""
    if hasattr(array, "__cuda_array_interface__"):
        facts = array.__cuda_array_interface__
        shape, dtype, data, place = facts["shape"], np.dtype(facts["typestr"]), facts["data"][0], 1
        if facts.get("strides") is not None:
            raise HussarError(2, f"{name} is not contiguous")
    else:
        array = np.ascontiguousarray(array).reshape(array.shape)
        shape, dtype, data, place = array.shape, array.dtype, array.ctypes.data, 0
    dims = (ctypes.c_int64 * max(1, len(shape)))(*shape)
    struct.name, struct.dtype, struct.rank = name.encode(), DTYPE_BY_NUMPY[dtype.name], len(shape)
    struct.dims, struct.data, struct.place = dims, data, place
    struct.bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return [dims, array]


def default_library() -> pathlib.Path:
    return pathlib.Path(os.environ.get("HUSSAR_LIBRARY", ROOT / "build/lib/libhussar.so"))


class Library:
    def __init__(self, path: pathlib.Path | str | None = None) -> None:
        """Raises OSError when the shared library cannot be loaded."""
        self.native = ctypes.CDLL(str(path or default_library()))
        pointer, text, index = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
        signatures = {
            "hussar_version": (text, []),
            "hussar_last_error": (text, []),
            "hussar_build": (ctypes.c_int, [text, text, text]),
            "hussar_plan_load": (ctypes.c_int, [text, ctypes.POINTER(pointer)]),
            "hussar_plan_destroy": (None, [pointer]),
            "hussar_plan_input_count": (index, [pointer]),
            "hussar_plan_output_count": (index, [pointer]),
            "hussar_plan_input_name": (text, [pointer, index]),
            "hussar_plan_output_name": (text, [pointer, index]),
            "hussar_session_create": (ctypes.c_int, [pointer, ctypes.c_int32, ctypes.POINTER(pointer)]),
            "hussar_session_destroy": (None, [pointer]),
            "hussar_session_create_on_device": (
                ctypes.c_int,
                [pointer, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(pointer)],
            ),
            "hussar_session_run": (
                ctypes.c_int,
                [pointer, ctypes.POINTER(TensorStruct), index, ctypes.POINTER(TensorStruct), index],
            ),
            "hussar_session_enqueue": (
                ctypes.c_int,
                [pointer, ctypes.POINTER(TensorStruct), index, ctypes.POINTER(TensorStruct), index, pointer],
            ),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self.native, name)
            function.restype, function.argtypes = result, arguments

    @property
    def version(self) -> str:
        return self.native.hussar_version().decode()

    def check(self, code: int) -> None:
        if code != 0:
            raise HussarError(code, self.native.hussar_last_error().decode(errors="replace"))

    def build(self, model: pathlib.Path | str, plan: pathlib.Path | str, options_json: str | None = None) -> None:
        options = options_json.encode() if options_json else None
        self.check(self.native.hussar_build(os.fsencode(model), os.fsencode(plan), options))

    def load(self, path: pathlib.Path | str) -> Plan:
        pointer = ctypes.c_void_p()
        self.check(self.native.hussar_plan_load(os.fsencode(path), ctypes.byref(pointer)))
        return Plan(self, pointer)


class Plan:
    def __init__(self, binding: Library, pointer: ctypes.c_void_p) -> None:
        self.binding, self.pointer = binding, pointer
        native = binding.native
        self.inputs = [
            native.hussar_plan_input_name(pointer, i).decode() for i in range(native.hussar_plan_input_count(pointer))
        ]
        self.outputs = [
            native.hussar_plan_output_name(pointer, i).decode() for i in range(native.hussar_plan_output_count(pointer))
        ]

    def session(self, threads: int = 0, device: int = 0) -> Session:
        pointer = ctypes.c_void_p()
        create = self.binding.native.hussar_session_create_on_device
        self.binding.check(create(self.pointer, threads, device, ctypes.byref(pointer)))
        return Session(self, pointer)

    def __del__(self) -> None:
        self.binding.native.hussar_plan_destroy(self.pointer)


class Session:
    """Keeps its plan alive. One thread at a time."""

    def __init__(self, plan: Plan, pointer: ctypes.c_void_p) -> None:
        self.plan, self.pointer = plan, pointer
        self.output_structs = (TensorStruct * len(plan.outputs))()

    def __del__(self) -> None:
        self.plan.binding.native.hussar_session_destroy(self.pointer)

    def bind(self, feeds: dict[str, np.ndarray]):
        """A function without arguments that runs with these arrays and returns nothing; outputs() then has the result.

        The arrays are read again on every call, so they must not be freed; the function holds references.
        """
        structs = (TensorStruct * len(feeds))()
        keep = [describe(struct, name, array) for struct, (name, array) in zip(structs, feeds.items())]
        function, pointer, binding = self.plan.binding.native.hussar_session_run, self.pointer, self.plan.binding
        count, outputs, output_count = len(feeds), self.output_structs, len(self.output_structs)

        def call(held=keep) -> None:
            code = function(pointer, structs, count, outputs, output_count)
            if code != 0:
                binding.check(code)

        return call

    def outputs(self) -> dict[str, np.ndarray]:
        """Copies of the outputs of the latest run, in plan order."""
        arrays = {}
        for name, struct in zip(self.plan.outputs, self.output_structs):
            if struct.dtype not in NUMPY_BY_DTYPE:
                raise HussarError(1, f"output {name}: no numpy type for ONNX dtype {struct.dtype}")
            dtype = np.dtype(NUMPY_BY_DTYPE[struct.dtype])
            shape = tuple(struct.dims[axis] for axis in range(struct.rank))
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            content = ctypes.string_at(struct.data, size) if size else b""
            arrays[name] = np.frombuffer(content, dtype).reshape(shape).copy()
        return arrays

    def enqueue(self, feeds: dict, results: dict, stream: int = 0) -> None:
        """A run as a piece of work of a CUDA stream (torch.cuda.current_stream().cuda_stream).

        Feeds and results are arrays of PyTorch or CuPy on the session's GPU, or of numpy; there is a result for each
        output, and all must live until the stream is done.
        """
        inputs, outputs = (TensorStruct * len(feeds))(), (TensorStruct * len(self.plan.outputs))()
        keep = [describe(struct, name, array) for struct, (name, array) in zip(inputs, feeds.items())]
        keep += [describe(struct, name, results[name]) for struct, name in zip(outputs, self.plan.outputs)]
        native = self.plan.binding.native
        self.plan.binding.check(
            native.hussar_session_enqueue(self.pointer, inputs, len(inputs), outputs, len(outputs), stream)
        )

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.bind(feeds)()
        return self.outputs()


def main(arguments: list[str]) -> int:
    if len(arguments) not in (3, 5):
        print(__doc__, file=sys.stderr)
        return 2
    threads = int(arguments[4]) if len(arguments) == 5 else 0
    with np.load(arguments[1]) as stored:
        feeds = {name: stored[name] for name in stored.files}
    try:
        outputs = Library().load(arguments[0]).session(threads).run(feeds)
    except HussarError as error:
        print(error, file=sys.stderr)
        return error.code
    np.savez(arguments[2], **{f"{index}": array for index, array in enumerate(outputs.values())})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
