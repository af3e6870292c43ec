// Parsing of the ONNX messages.
#include "onnx/proto.h"

#include "base/error.h"

namespace hussar::onnx {
namespace {

constexpr size_t kMaxItems = 1000000;  // of one kind in a graph

tl::unexpected<Error> damaged(std::string_view message) {
  return fail(ErrorCode::kInvalidModel,
              "not a valid ONNX file: its {} is truncated or damaged; export or download the model again", message);
}

// Walks the fields of a message and hands each to `take`, which returns Status.
template <class Take>
Status each_field(Bytes bytes, std::string_view message, Take&& take) {
  WireReader reader(bytes);
  Field field;
  while (reader.next(field)) HUSSAR_TRY(take(field));
  if (reader.failed()) return damaged(message);
  return {};
}

// Repeated numbers come packed (one length-delimited field) or one by one.
template <class Append>
Status numbers(const Field& field, uint32_t wire_type, std::string_view message, Append&& append) {
  if (!field.is_bytes()) {
    append(field);
    return {};
  }
  WireReader reader(field.bytes);
  Field item;
  item.wire_type = wire_type;
  while (!reader.empty()) {
    bool ok = wire_type == 0 ? reader.read_varint(item.number) : reader.read_fixed(wire_type == 5 ? 4 : 8, item.number);
    if (!ok) return damaged(message);
    append(item);
  }
  return {};
}

Result<std::pair<std::string_view, std::string_view>> parse_entry(Bytes bytes) {
  std::pair<std::string_view, std::string_view> entry;
  HUSSAR_TRY(each_field(bytes, "StringStringEntryProto", [&](const Field& field) -> Status {
    if (field.id == 1) entry.first = as_text(field.bytes);
    if (field.id == 2) entry.second = as_text(field.bytes);
    return {};
  }));
  return entry;
}

Status parse_opset(Bytes bytes, std::map<std::string, int64_t>& opsets) {
  std::string domain;
  int64_t version = 0;
  HUSSAR_TRY(each_field(bytes, "OperatorSetIdProto", [&](const Field& field) -> Status {
    if (field.id == 1) domain = as_text(field.bytes);
    if (field.id == 2) version = field.integer();
    return {};
  }));
  opsets[domain == "ai.onnx" ? std::string() : domain] = version;
  return {};
}

Result<Dimension> parse_dimension(Bytes bytes) {
  Dimension dimension;
  HUSSAR_TRY(each_field(bytes, "TensorShapeProto", [&](const Field& field) -> Status {
    if (field.id == 1) {
      dimension.has_value = true;
      dimension.value = field.integer();
    }
    if (field.id == 2) dimension.symbol = as_text(field.bytes);
    return {};
  }));
  return dimension;
}

Result<TypeProto> parse_type(Bytes bytes) {
  TypeProto type;
  auto take_shape = [&](const Field& field) -> Status {
    if (field.id == 1) type.dims.push_back(HUSSAR_TRY(parse_dimension(field.bytes)));
    return {};
  };
  auto take_tensor = [&](const Field& field) -> Status {
    if (field.id == 1) type.element_type = field.integer();
    if (field.id == 2) {
      type.has_shape = true;
      HUSSAR_TRY(each_field(field.bytes, "TensorShapeProto", take_shape));
    }
    return {};
  };
  HUSSAR_TRY(each_field(bytes, "TypeProto", [&](const Field& field) -> Status {
    switch (field.id) {
      case 1: type.kind = "tensor"; return each_field(field.bytes, "TypeProto.Tensor", take_tensor);
      case 4: type.kind = "sequence"; break;
      case 5: type.kind = "map"; break;
      case 8: type.kind = "sparse_tensor"; break;
      case 9: type.kind = "optional"; break;
      default: break;
    }
    return {};
  }));
  return type;
}

Result<AttributeProto> parse_attribute(Bytes bytes) {
  AttributeProto attribute;
  constexpr std::string_view kName = "AttributeProto";
  HUSSAR_TRY(each_field(bytes, kName, [&](const Field& field) -> Status {
    switch (field.id) {
      case 1: attribute.name = as_text(field.bytes); break;
      case 2: attribute.f = field.real(); break;
      case 3: attribute.i = field.integer(); break;
      case 4: attribute.s = field.bytes; break;
      case 5:
        attribute.tensor = field.bytes;
        attribute.has_tensor = true;
        break;
      case 6:
        attribute.graph = field.bytes;
        attribute.has_graph = true;
        break;
      case 7: return numbers(field, 5, kName, [&](const Field& item) { attribute.floats.push_back(item.real()); });
      case 8: return numbers(field, 0, kName, [&](const Field& item) { attribute.ints.push_back(item.integer()); });
      case 9: attribute.strings.push_back(as_text(field.bytes)); break;
      case 20: attribute.type = field.integer(); break;
      case 21: attribute.reference = as_text(field.bytes); break;
      case 22:
        attribute.sparse_tensor = field.bytes;
        attribute.has_sparse = true;
        break;
      default: break;
    }
    return {};
  }));
  return attribute;
}

Result<NodeProto> parse_node(Bytes bytes) {
  NodeProto node;
  HUSSAR_TRY(each_field(bytes, "NodeProto", [&](const Field& field) -> Status {
    switch (field.id) {
      case 1: node.inputs.push_back(as_text(field.bytes)); break;
      case 2: node.outputs.push_back(as_text(field.bytes)); break;
      case 3: node.name = as_text(field.bytes); break;
      case 4: node.op_type = as_text(field.bytes); break;
      case 5: node.attributes.push_back(HUSSAR_TRY(parse_attribute(field.bytes))); break;
      case 7: node.domain = as_text(field.bytes); break;
      case 8: node.overload = as_text(field.bytes); break;
      default: break;
    }
    return {};
  }));
  if (node.domain == "ai.onnx") node.domain = "";
  return node;
}

Result<FunctionProto> parse_function(Bytes bytes) {
  FunctionProto function;
  HUSSAR_TRY(each_field(bytes, "FunctionProto", [&](const Field& field) -> Status {
    switch (field.id) {
      case 1: function.name = as_text(field.bytes); break;
      case 4: function.inputs.push_back(as_text(field.bytes)); break;
      case 5: function.outputs.push_back(as_text(field.bytes)); break;
      case 6: function.attributes.push_back(as_text(field.bytes)); break;
      case 7: function.nodes.push_back(HUSSAR_TRY(parse_node(field.bytes))); break;
      case 9: return parse_opset(field.bytes, function.opsets);
      case 10: function.domain = as_text(field.bytes); break;
      case 11: function.defaults.push_back(HUSSAR_TRY(parse_attribute(field.bytes))); break;
      case 13: function.overload = as_text(field.bytes); break;
      default: break;
    }
    return {};
  }));
  return function;
}

}  // namespace

Result<ValueProto> parse_value(Bytes bytes) {
  ValueProto value;
  HUSSAR_TRY(each_field(bytes, "ValueInfoProto", [&](const Field& field) -> Status {
    if (field.id == 1) value.name = as_text(field.bytes);
    if (field.id == 2) value.type = HUSSAR_TRY(parse_type(field.bytes));
    return {};
  }));
  return value;
}

Result<TensorProto> parse_tensor(Bytes bytes) {
  TensorProto tensor;
  constexpr std::string_view kName = "TensorProto";
  HUSSAR_TRY(each_field(bytes, kName, [&](const Field& field) -> Status {
    switch (field.id) {
      case 1: return numbers(field, 0, kName, [&](const Field& item) { tensor.dims.push_back(item.integer()); });
      case 2: tensor.data_type = field.integer(); break;
      case 4: tensor.floats.push_back(field); break;
      case 5: tensor.ints32.push_back(field); break;
      case 6: ++tensor.strings; break;
      case 7: tensor.ints64.push_back(field); break;
      case 8: tensor.name = as_text(field.bytes); break;
      case 9:
        tensor.raw = field.bytes;
        tensor.has_raw = true;
        break;
      case 10: tensor.doubles.push_back(field); break;
      case 11: tensor.uints64.push_back(field); break;
      case 13: tensor.external.insert(HUSSAR_TRY(parse_entry(field.bytes))); break;
      case 14: tensor.data_location = field.integer(); break;
      default: break;
    }
    return {};
  }));
  return tensor;
}

Result<GraphProto> parse_graph(Bytes bytes) {
  GraphProto graph;
  HUSSAR_TRY(each_field(bytes, "GraphProto", [&](const Field& field) -> Status {
    switch (field.id) {
      case 1: graph.nodes.push_back(HUSSAR_TRY(parse_node(field.bytes))); break;
      case 2: graph.name = as_text(field.bytes); break;
      case 5: graph.initializers.push_back(HUSSAR_TRY(parse_tensor(field.bytes))); break;
      case 11: graph.inputs.push_back(HUSSAR_TRY(parse_value(field.bytes))); break;
      case 12: graph.outputs.push_back(HUSSAR_TRY(parse_value(field.bytes))); break;
      case 15: graph.sparse_initializers.push_back(field.bytes); break;
      default: break;
    }
    // An empty message takes two bytes in the file and a hundred times that here.
    bool ok = graph.nodes.size() <= kMaxItems && graph.initializers.size() <= kMaxItems &&
              graph.inputs.size() <= kMaxItems && graph.outputs.size() <= kMaxItems;
    HUSSAR_CHECK(ok, ErrorCode::kInvalidModel, "graph '{}' has more than {} nodes, tensors, inputs or outputs",
                 graph.name, kMaxItems);
    return {};
  }));
  return graph;
}

Result<ModelProto> parse_model(Bytes bytes) {
  ModelProto model;
  HUSSAR_TRY(each_field(bytes, "ModelProto", [&](const Field& field) -> Status {
    switch (field.id) {
      case 1: model.ir_version = field.integer(); break;
      case 2: model.producer = as_text(field.bytes); break;
      case 7:
        model.graph = HUSSAR_TRY(parse_graph(field.bytes));
        model.has_graph = true;
        break;
      case 8: return parse_opset(field.bytes, model.opsets);
      case 14: model.metadata.insert(HUSSAR_TRY(parse_entry(field.bytes))); break;
      case 25: model.functions.push_back(HUSSAR_TRY(parse_function(field.bytes))); break;
      default: break;
    }
    return {};
  }));
  if (!model.has_graph) return damaged("ModelProto (it has no graph)");
  return model;
}

}  // namespace hussar::onnx
