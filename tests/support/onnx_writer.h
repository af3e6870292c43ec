// Writes ONNX bytes field by field, well-formed or not: what the tests of bad input are made with.
//
// Field numbers: onnx/onnx.proto of onnx 1.20.1.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/tensor.h"

namespace hussar::tests {

class Message {
 public:
  Message& varint(int id, uint64_t value) {
    put_varint(static_cast<uint64_t>(id) << 3);
    put_varint(value);
    return *this;
  }
  Message& integer(int id, int64_t value) { return varint(id, static_cast<uint64_t>(value)); }
  Message& real(int id, float value) {
    put_varint(static_cast<uint64_t>(id) << 3 | 5);
    char bytes[4];
    std::memcpy(bytes, &value, 4);
    text_.append(bytes, 4);
    return *this;
  }
  Message& text(int id, std::string_view value) {
    put_varint(static_cast<uint64_t>(id) << 3 | 2);
    put_varint(value.size());
    text_ += value;
    return *this;
  }
  Message& message(int id, const Message& value) { return text(id, value.text_); }
  Message& append(std::string_view raw) {
    text_ += raw;
    return *this;
  }
  const std::string& str() const { return text_; }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(text_)); }

 private:
  void put_varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_ += static_cast<char>(value | 0x80);
    text_ += static_cast<char>(value);
  }
  std::string text_;
};

using Names = std::vector<std::string>;

inline Message node(std::string_view op, const Names& inputs, const Names& outputs,
                    const std::vector<Message>& attributes = {}, std::string_view domain = "") {
  Message node;
  for (const std::string& name : inputs) node.text(1, name);
  for (const std::string& name : outputs) node.text(2, name);
  node.text(3, std::string(op) + "_node").text(4, op);
  for (const Message& attribute : attributes) node.message(5, attribute);
  if (!domain.empty()) node.text(7, domain);
  return node;
}

inline Message attribute(std::string_view name, int64_t value) {
  return Message().text(1, name).integer(3, value).varint(20, 2);
}
inline Message attribute(std::string_view name, const std::vector<int64_t>& values) {
  Message message;
  message.text(1, name).varint(20, 7);
  for (int64_t value : values) message.integer(8, value);
  return message;
}
inline Message graph_attribute(std::string_view name, const Message& graph) {
  return Message().text(1, name).message(6, graph).varint(20, 5);
}
inline Message tensor_attribute(std::string_view name, const Message& tensor) {
  return Message().text(1, name).message(5, tensor).varint(20, 4);
}

// dims: integers, or symbols.
struct Extent {
  Extent(int64_t value) : value(value) {}
  Extent(const char* symbol) : symbol(symbol) {}
  int64_t value = 0;
  std::string symbol;
};
inline Message value(std::string_view name, const std::vector<Extent>& dims, DType dtype = DType::kFloat32) {
  Message shape;
  for (const Extent& dim : dims) {
    shape.message(1, dim.symbol.empty() ? Message().integer(1, dim.value) : Message().text(2, dim.symbol));
  }
  Message tensor = Message().varint(1, static_cast<uint64_t>(dtype)).message(2, shape);
  return Message().text(1, name).message(2, Message().message(1, tensor));
}
inline Message any_shape(std::string_view name, DType dtype = DType::kFloat32) {
  return Message().text(1, name).message(2, Message().message(1, Message().varint(1, static_cast<uint64_t>(dtype))));
}

inline Message tensor(std::string_view name, DType dtype, const std::vector<int64_t>& dims, std::string_view raw) {
  Message message;
  for (int64_t dim : dims) message.integer(1, dim);
  return message.varint(2, static_cast<uint64_t>(dtype)).text(8, name).text(9, raw);
}
template <class T>
Message tensor_of(std::string_view name, DType dtype, const std::vector<int64_t>& dims, const std::vector<T>& values) {
  return tensor(name, dtype, dims, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
}
// A tensor whose data lies in another file.
inline Message external(std::string_view name, const std::vector<int64_t>& dims, std::string_view location,
                        std::string_view offset = "", std::string_view length = "") {
  Message message;
  for (int64_t dim : dims) message.integer(1, dim);
  message.varint(2, 1).text(8, name).varint(14, 1);
  auto entry = [&](std::string_view key, std::string_view text) {
    if (!text.empty()) message.message(13, Message().text(1, key).text(2, text));
  };
  entry("location", location);
  entry("offset", offset);
  entry("length", length);
  return message;
}

struct GraphParts {
  std::vector<Message> nodes, inputs, outputs, initializers;
};
inline Message graph(const GraphParts& parts) {
  Message message;
  for (const Message& part : parts.nodes) message.message(1, part);
  message.text(2, "g");
  for (const Message& part : parts.initializers) message.message(5, part);
  for (const Message& part : parts.inputs) message.message(11, part);
  for (const Message& part : parts.outputs) message.message(12, part);
  return message;
}

inline Message model(const Message& graph, int64_t opset = 18, const std::vector<Message>& functions = {}) {
  Message message = Message().varint(1, 9).text(2, "test").message(7, graph);
  message.message(8, Message().integer(2, opset));
  message.message(8, Message().text(1, "local").integer(2, 1));
  message.message(8, Message().text(1, "com.microsoft").integer(2, 1));
  for (const Message& function : functions) message.message(25, function);
  return message;
}
inline Message function(std::string_view name, const Names& inputs, const Names& outputs,
                        const std::vector<Message>& nodes) {
  Message message;
  message.text(1, name);
  for (const std::string& input : inputs) message.text(4, input);
  for (const std::string& output : outputs) message.text(5, output);
  for (const Message& part : nodes) message.message(7, part);
  message.message(9, Message().integer(2, 18)).message(9, Message().text(1, "local").integer(2, 1));
  return message.text(10, "local");
}

}  // namespace hussar::tests
