// ONNX model -> Graph.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "hussar/status.h"
#include "onnx/proto.h"

namespace hussar::onnx {

struct ImportedModel {
  Graph graph;  // canonical operators, functions inlined, captures explicit, sorted; shapes not yet inferred
  int64_t opset = 0;
  std::string producer;
};

// Reads the model at `path`; external data must lie in the folder of the model or below it. A model that uses anything
// unsupported is refused with one message that lists every such thing, with the nodes that inference refuses;
// `refused_ops` gets the operators of these.
Result<ImportedModel> import_file(const std::string& path, std::vector<std::string>* refused_ops = nullptr);
// The same for a model in memory. `folder` is where external data may be ("" forbids it). The bytes must stay valid as
// long as `owner` lives.
Result<ImportedModel> import_bytes(Bytes bytes, std::shared_ptr<const void> owner, const std::string& folder,
                                   std::vector<std::string>* refused_ops = nullptr);

// Reads a TensorProto (a .pb file of the ONNX test data, or an initializer).
Result<Tensor> load_tensor(const TensorProto& proto, std::shared_ptr<const void> owner, const std::string& folder);

}  // namespace hussar::onnx
