// Copies a model field by field, with the changes.
#include "onnx/edit.h"

#include "base/error.h"

namespace hussar::onnx {
namespace {

// Of ModelProto, GraphProto and NodeProto.
constexpr uint32_t kIrVersion = 1, kGraph = 7, kOpset = 8;
constexpr uint32_t kNode = 1, kInitializer = 5, kInput = 11, kValueInfo = 13;
constexpr uint32_t kNodeInput = 1;

// Walks the fields of a message; `take` gets each with its bytes, tag included.
template <class Take>
Status each_field(Bytes message, Take&& take) {
  WireReader reader(message);
  Field field;
  Bytes before = reader.rest();
  while (reader.next(field)) {
    HUSSAR_TRY(take(field, before.first(before.size() - reader.rest().size())));
    before = reader.rest();
  }
  HUSSAR_CHECK(!reader.failed(), ErrorCode::kInvalidModel,
               "not a valid ONNX file: it is truncated or damaged; export or download the model again");
  return {};
}

// The name of a TensorProto (field 8) or of a ValueInfoProto (field 1).
Result<std::string_view> name_in(Bytes message, uint32_t id) {
  std::string_view name;
  HUSSAR_TRY(each_field(message, [&](const Field& field, Bytes) -> Status {
    if (field.id == id) name = as_text(field.bytes);
    return {};
  }));
  return name;
}

class Editor {
 public:
  explicit Editor(const ModelEdit& edit) : edit_(edit) {}

  Result<EditedModel> run(Bytes model) {
    int graphs = 0;
    HUSSAR_TRY(each_field(model, [&](const Field& field, Bytes whole) -> Status {
      if (field.id == kGraph) {
        HUSSAR_CHECK(++graphs == 1, ErrorCode::kInvalidModel, "the file has several graphs; no tool writes that");
        return add_graph(field.bytes);
      }
      if (field.id == kIrVersion && field.integer() < edit_.least_ir_version) {
        add(WireWriter().integer(kIrVersion, edit_.least_ir_version).message());
        return {};
      }
      if (edit_.opset != 0 && field.id == kOpset) return add_opset(field.bytes);
      result_.pieces.push_back(whole);
      return {};
    }));
    return std::move(result_);
  }

 private:
  void add(std::string bytes) {
    result_.held.push_back(std::move(bytes));
    result_.pieces.push_back(std::as_bytes(std::span(result_.held.back())));
  }

  void add_message(uint32_t id, const std::string& message) {
    add(WireWriter().begin(id, message.size()).message());
    result_.pieces.push_back(std::as_bytes(std::span(message)));
  }

  Status add_opset(Bytes bytes) {
    std::string_view domain;
    WireWriter writer;
    HUSSAR_TRY(each_field(bytes, [&](const Field& field, Bytes whole) -> Status {
      if (field.id == 1) domain = as_text(field.bytes);
      if (field.id != 2) writer.fields(whole);
      return {};
    }));
    if (!domain.empty() && domain != "ai.onnx") {
      add(WireWriter().text(kOpset, as_text(bytes)).message());
      return {};
    }
    add(WireWriter().text(kOpset, writer.integer(2, edit_.opset).message()).message());
    return {};
  }

  // The length of the graph comes before it, and is known when its pieces are.
  Status add_graph(Bytes graph) {
    std::vector<Bytes> before;
    std::swap(before, result_.pieces);
    size_t node = 0;
    HUSSAR_TRY(each_field(graph, [&](const Field& field, Bytes whole) -> Status {
      if (field.id == kNode) return add_node(node++, field.bytes, whole);
      const bool is_named = field.id == kInitializer || field.id == kInput || field.id == kValueInfo;
      if (is_named && !(edit_.dropped_values.empty() && edit_.replaced_initializers.empty())) {
        const auto name = HUSSAR_TRY(name_in(field.bytes, field.id == kInitializer ? 8 : 1));
        if (edit_.dropped_values.count(name) > 0) return {};
        const auto replaced = edit_.replaced_initializers.find(name);
        if (field.id == kInitializer && replaced != edit_.replaced_initializers.end()) {
          add_message(kInitializer, replaced->second);
          return {};
        }
      }
      result_.pieces.push_back(whole);
      return {};
    }));
    for (const std::string& initializer : edit_.initializers) add_message(kInitializer, initializer);
    const uint64_t size = result_.size();
    std::swap(before, result_.pieces);
    add(WireWriter().begin(kGraph, size).message());
    result_.pieces.insert(result_.pieces.end(), before.begin(), before.end());
    return {};
  }

  Status add_node(size_t index, Bytes node, Bytes whole) {
    if (auto it = edit_.nodes_before.find(index); it != edit_.nodes_before.end()) {
      for (const std::string& added : it->second) add_message(kNode, added);
    }
    if (edit_.dropped_nodes.count(index) > 0) return {};
    auto inputs = edit_.inputs.find(index);
    if (inputs == edit_.inputs.end()) {
      result_.pieces.push_back(whole);
      return {};
    }
    WireWriter writer;
    for (const std::string& input : inputs->second) writer.text(kNodeInput, input);
    HUSSAR_TRY(each_field(node, [&](const Field& field, Bytes bytes) -> Status {
      if (field.id != kNodeInput) writer.fields(bytes);
      return {};
    }));
    add(WireWriter().text(kNode, writer.message()).message());
    return {};
  }

  const ModelEdit& edit_;
  EditedModel result_;
};

}  // namespace

uint64_t EditedModel::size() const {
  uint64_t size = 0;
  for (Bytes piece : pieces) size += piece.size();
  return size;
}

Result<EditedModel> edit_model(Bytes model, const ModelEdit& edit) { return Editor(edit).run(model); }

std::string encode_node(std::string_view op, std::string_view name, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs,
                        const std::vector<std::pair<std::string, int64_t>>& attributes) {
  WireWriter node;
  for (const std::string& input : inputs) node.text(1, input);
  for (const std::string& output : outputs) node.text(2, output);
  node.text(3, name).text(4, op);
  constexpr int64_t kInt = 2;  // AttributeProto.AttributeType
  for (const auto& [key, value] : attributes)
    node.text(5, WireWriter().text(1, key).integer(3, value).integer(20, kInt).message());
  return node.message();
}

std::string encode_tensor(std::string_view name, const Tensor& tensor) {
  WireWriter writer;
  for (int64_t dim : tensor.shape().dims()) writer.integer(1, dim);
  writer.integer(2, static_cast<int64_t>(tensor.dtype())).text(8, name);
  return writer.text(9, {reinterpret_cast<const char*>(tensor.raw()), tensor.bytes()}).message();
}

}  // namespace hussar::onnx
