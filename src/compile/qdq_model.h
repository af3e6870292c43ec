// A model whose products are to be quantized where they stand in the ONNX file, beside what hussar makes of them.
#pragma once
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "compile/compile.h"
#include "graph/graph.h"
#include "onnx/proto.h"
#include "ops/product_weights.h"

namespace hussar {

// A Conv, MatMul or Gemm of the main graph with constant weights.
struct QdqProduct {
  size_t index = 0;             // in the proto's nodes
  const Node* node = nullptr;   // as imported, constants folded
  ProductWeights weights = {};  // in the order of the file
  int64_t axis = 0;             // of the weights: output channels
  // What computes it when the passes have run; null: nothing that has an INT8 form.
  const Node* compiled = nullptr;
  // Where the channels begin among those of `compiled`; nullopt: its weights are others.
  std::optional<int64_t> first_channel;
  // What those are multiplied by there: passes move the factors of what follows (BatchNormalization) into weights.
  std::vector<float> factors;

  std::string_view name() const { return node->name; }
};

struct QdqModel {
  std::shared_ptr<const MappedFile> file;
  onnx::ModelProto proto;
  int64_t opset = 0;
  std::string fingerprint;  // model_fingerprint
  Graph imported, compiled;
  std::vector<QdqProduct> products;  // in the order of the file
};

// The model as it is, without products. Refuses those that are quantized already.
Result<QdqModel> read_qdq_model(const std::string& path);
// With its products and what hussar compiles.
Result<QdqModel> open_qdq_model(const std::string& path, const NamedShapes& shapes);

// A node that computes with integers that a quantizer made, in bodies, too; null: there is none.
const Node* quantized_node(const Graph& graph);
// Weights that the model computes become constants; everything else stays as the file has it.
Status fold_constants(Graph& graph);

// The value that is counted for what `product` reads, of the graph that was compiled: not a copy in another layout.
const Value* counted_input(const Node& product);

// Every name that the graph or one of its nodes' bodies mentions.
Result<std::set<std::string_view>> names_of(const onnx::GraphProto& graph);
// Those that bodies of the node mention.
Result<std::set<std::string_view>> names_in_bodies(const onnx::NodeProto& node);

// Fails unless per-channel DequantizeLinear works in the model, whose opset may have to be raised: then gives that of
// the file that is written.
Result<int64_t> opset_for_qdq(const QdqModel& model);

}  // namespace hussar
