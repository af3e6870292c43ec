"""Lists every backend test that the installed onnx package ships, and decides which of them are out of scope.

A skip is decided from the model alone, never from a list of test names, so that nobody can hide a failure by naming
it. The only admissible reasons are the values of SKIP_REASONS.
"""

from __future__ import annotations

import functools
import pathlib
from dataclasses import dataclass

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

PINNED_ONNX = "1.20.1"
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")

SKIP_REASONS = {
    "string": "uses the string type",
    "sequence": "uses a sequence type",
    "optional": "uses an optional type",
    "training": "training operator",
    "random": "random generator",
    "image": "ImageDecoder",
}

TRAINING_DOMAINS = ("ai.onnx.training", "ai.onnx.preview.training")
RANDOM_OPS = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
STRING_PREFIXES = ("tensor(string)", "seq(tensor(string))")


@dataclass(frozen=True)
class Case:
    """One backend test: a folder with model.onnx and test_data_set_*; skip is "" or a value of SKIP_REASONS."""

    folder: pathlib.Path
    rtol: float
    atol: float
    skip: str

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def manifest_line(self) -> str:
        return "\t".join((str(self.folder), repr(self.rtol), repr(self.atol), self.skip)).rstrip("\t") + "\n"


def type_reason(type_proto: TypeProto) -> str:
    """The skip key of a value's type, or ""."""
    kind = type_proto.WhichOneof("value")
    if kind == "sequence_type":
        return "sequence"
    if kind == "optional_type":
        return "optional"
    if kind == "tensor_type" and type_proto.tensor_type.elem_type == TensorProto.STRING:
        return "string"
    return ""


@functools.cache
def schema_reason(op_type: str, domain: str, version: int) -> str:
    """The skip key of an operator that cannot be used without a string, sequence or optional value, or ""."""
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return ""
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    for parameter in (*schema.inputs, *schema.outputs):
        types = allowed.get(parameter.type_str, [parameter.type_str])
        if all(spelling.startswith(STRING_PREFIXES) for spelling in types):
            return "string"
        if all(spelling.startswith(("seq(", "optional(")) for spelling in types):
            return "optional" if any(spelling.startswith("optional(") for spelling in types) else "sequence"
    return ""


class Scan:
    """Walks one model, including subgraphs and model-local functions, and collects skip keys."""

    def __init__(self, model: ModelProto, folder: pathlib.Path) -> None:
        self.folder = folder
        self.model = model
        self.versions = {entry.domain: entry.version for entry in model.opset_import}
        self.constants: dict[str, TensorProto] = {}
        self.keys: set[str] = set()
        self.visit_graph(model.graph)
        for function in model.functions:
            self.visit_nodes(function.node)

    def visit_graph(self, graph: GraphProto) -> None:
        for value in (*graph.input, *graph.output, *graph.value_info):
            self.keys.add(type_reason(value.type))
        for tensor in graph.initializer:
            self.constants[tensor.name] = tensor
            if tensor.data_type == TensorProto.STRING:
                self.keys.add("string")
        self.visit_nodes(graph.node)

    def visit_nodes(self, nodes) -> None:
        for node in nodes:
            self.visit_node(node)

    def visit_node(self, node: NodeProto) -> None:
        self.keys.add(schema_reason(node.op_type, node.domain, self.versions.get(node.domain, 1)))
        if node.domain in TRAINING_DOMAINS:
            self.keys.add("training")
        if node.domain == "" and node.op_type in RANDOM_OPS:
            self.keys.add("random")
        if node.domain == "" and node.op_type == "ImageDecoder":
            self.keys.add("image")
        if node.domain == "" and node.op_type == "Dropout" and self.dropout_is_random(node):
            self.keys.add("random")
        for attribute in node.attribute:
            self.visit_attribute(node, attribute)

    def visit_attribute(self, node: NodeProto, attribute: AttributeProto) -> None:
        if attribute.type == AttributeProto.GRAPH:
            self.visit_graph(attribute.g)
        if attribute.type == AttributeProto.TENSOR:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = attribute.t
            if attribute.t.data_type == TensorProto.STRING:
                self.keys.add("string")
        if node.op_type == "Constant" and attribute.name in ("value_string", "value_strings"):
            self.keys.add("string")
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.STRING:
            self.keys.add("string")

    def dropout_is_random(self, node: NodeProto) -> bool:
        """True when a Dropout (opset 12 on) drops anything: training mode with a ratio above zero."""
        training = self.scalar(node.input[2]) if len(node.input) > 2 and node.input[2] else False
        ratio = self.scalar(node.input[1]) if len(node.input) > 1 and node.input[1] else 0.5
        return bool(training) and float(ratio) > 0.0

    def scalar(self, name: str):
        """The value of a scalar input: a constant of the model, or what the test's data set feeds."""
        if name in self.constants:
            return numpy_helper.to_array(self.constants[name]).item()
        for index, value in enumerate(self.model.graph.input):
            if value.name == name:
                tensor = TensorProto()
                tensor.ParseFromString((self.folder / "test_data_set_0" / f"input_{index}.pb").read_bytes())
                return numpy_helper.to_array(tensor).item()
        raise ValueError(f"{self.folder}: no value known for Dropout input {name!r}")

    def reason(self) -> str:
        """The first reason in the order of SKIP_REASONS, or ""."""
        return next((text for key, text in SKIP_REASONS.items() if key in self.keys), "")


def all_cases() -> list[Case]:
    """Every case of KINDS, by name within its kind."""
    if onnx.__version__ != PINNED_ONNX:
        raise SystemExit(f"conformance is defined by onnx {PINNED_ONNX}, but {onnx.__version__} is installed")
    cases = []
    for kind in KINDS:
        for test in sorted(load_model_tests(kind=kind), key=lambda item: item.name):
            folder = pathlib.Path(test.model_dir)
            model = onnx.load(folder / "model.onnx")
            cases.append(Case(folder, test.rtol, test.atol, Scan(model, folder).reason()))
    return cases
