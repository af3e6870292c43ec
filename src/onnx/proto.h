// The ONNX messages that import needs, as views into the file's bytes.
//
// Field numbers: onnx/onnx.proto of onnx 1.20.1. Parsing checks structure only; meaning is checked by import.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/status.h"
#include "onnx/wire.h"

namespace hussar::onnx {

struct TensorProto {
  std::string_view name;
  std::vector<int64_t> dims;
  int64_t data_type = 0;
  int64_t data_location = 0;  // 1: external
  std::map<std::string_view, std::string_view> external;
  Bytes raw;
  bool has_raw = false;
  // Typed data. Packed spans are decoded by load_tensor.
  std::vector<Field> floats, ints32, ints64, doubles, uints64;
  size_t strings = 0;
};

struct Dimension {
  bool has_value = false;
  int64_t value = 0;
  std::string_view symbol;
};

struct TypeProto {
  std::string_view kind;  // "tensor", "sequence", "map", "sparse_tensor", "optional", or "" when undeclared
  int64_t element_type = 0;
  bool has_shape = false;
  std::vector<Dimension> dims;
};

struct ValueProto {
  std::string_view name;
  TypeProto type;
};

struct NodeProto;
struct GraphProto;

struct AttributeProto {
  std::string_view name, reference;
  int64_t type = 0;  // AttributeProto.AttributeType
  float f = 0;
  int64_t i = 0;
  Bytes s;
  Bytes tensor, graph, sparse_tensor;
  bool has_tensor = false, has_graph = false, has_sparse = false;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string_view> strings;
};

struct NodeProto {
  std::string_view name, op_type, domain, overload;
  std::vector<std::string_view> inputs, outputs;
  std::vector<AttributeProto> attributes;
};

struct GraphProto {
  std::string_view name;
  std::vector<NodeProto> nodes;
  std::vector<TensorProto> initializers;
  std::vector<Bytes> sparse_initializers;
  std::vector<ValueProto> inputs, outputs;
};

struct FunctionProto {
  std::string_view name, domain, overload;
  std::vector<std::string_view> inputs, outputs, attributes;
  std::vector<AttributeProto> defaults;
  std::vector<NodeProto> nodes;
  std::map<std::string, int64_t> opsets;
};

struct ModelProto {
  int64_t ir_version = 0;
  std::string_view producer;
  std::map<std::string, int64_t> opsets;  // by domain
  std::map<std::string_view, std::string_view> metadata;
  std::vector<FunctionProto> functions;
  GraphProto graph;
  bool has_graph = false;
};

Result<ModelProto> parse_model(Bytes bytes);
Result<GraphProto> parse_graph(Bytes bytes);
Result<TensorProto> parse_tensor(Bytes bytes);
Result<ValueProto> parse_value(Bytes bytes);

}  // namespace hussar::onnx
