// Changes to an ONNX model, as bytes: whatever a change does not name stays as it is, fields that nobody here knows
// included.
#pragma once
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/status.h"
#include "hussar/tensor.h"
#include "onnx/wire.h"

namespace hussar::onnx {

// Of the main graph, nodes by their index in it.
struct ModelEdit {
  std::map<size_t, std::vector<std::string>> inputs;        // instead of those that the node has
  std::map<size_t, std::vector<std::string>> nodes_before;  // NodeProtos that come right before the node
  std::set<size_t> dropped_nodes;
  // Initializers, also where they are listed as inputs, and what is said of values.
  std::set<std::string, std::less<>> dropped_values;
  std::map<std::string, std::string, std::less<>> replaced_initializers;  // by name: the TensorProto that comes instead
  std::vector<std::string> initializers;                                  // TensorProtos that are added
  int64_t opset = 0;                                                      // of ONNX's own operators; 0: as it is
  int64_t least_ir_version = 0;                                           // of the format; a later one stays
};

// The file in pieces, which view the model, the edit, and what is held here.
struct EditedModel {
  std::vector<Bytes> pieces;
  std::deque<std::string> held;

  uint64_t size() const;
};

Result<EditedModel> edit_model(Bytes model, const ModelEdit& edit);

// A NodeProto with integer attributes.
std::string encode_node(std::string_view op, std::string_view name, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs,
                        const std::vector<std::pair<std::string, int64_t>>& attributes = {});
// A TensorProto; the dtype has at least 8 bits.
std::string encode_tensor(std::string_view name, const Tensor& tensor);

}  // namespace hussar::onnx
