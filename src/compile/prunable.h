// The products of a user's ONNX file as 2:4 sparsity sees them: which can be pruned, why others cannot, and their
// weights as matrices.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "compile/compile.h"
#include "graph/graph.h"
#include "onnx/proto.h"

namespace hussar {

// Smaller products gain nothing from sparse kernels.
constexpr int64_t kFewestPrunedRows = 64, kFewestPrunedColumns = 64;

// Why a product is not pruned.
struct PruneReason {
  std::string code;  // one word for programs: it does not change
  std::string text;  // "": it can be pruned
  bool empty() const { return text.empty(); }
};

// A Conv, MatMul or Gemm of the main graph.
struct PrunableLayer {
  size_t index = 0;            // in the proto's nodes
  const Node* node = nullptr;  // in PrunableModel::graph
  // Output channels, and what each is a sum of: k = (tap, channel). 0 where the weights are not constant.
  int64_t n = 0, taps = 1, channels = 0;
  double flops = 0;  // of one run
  PruneReason reason;
  // The reason is a choice that --layers overrules: first and last products, and small ones.
  bool is_choice = false;

  int64_t k() const { return taps * channels; }
  std::string_view name() const { return node->name; }
};

struct PrunableModel {
  std::shared_ptr<const MappedFile> file;
  onnx::ModelProto proto;
  Graph graph;                        // as imported, shapes fixed, constants folded; in the order of execution
  std::vector<PrunableLayer> layers;  // in the order of the file
  double flops = 0;                   // of all nodes
  // By the name of a value: how often it is read, bodies and outputs of the model included.
  std::map<std::string_view, int64_t> uses;
  // Constant inputs of nodes that are no longer those of the file: (node in the proto's nodes, input), and the node.
  std::map<std::pair<size_t, size_t>, const Node*> changed;
};

// `shapes` has those of all inputs. Refuses models that are quantized.
Result<PrunableModel> open_prunable_model(const std::string& path, const NamedShapes& shapes);

// The weights as [n][k], and back in the order of the file.
std::vector<float> matrix_of_weights(const PrunableLayer& layer);
Tensor weights_of_matrix(const PrunableLayer& layer, const std::vector<float>& matrix);

// What is added to the outputs of a product: an input of the product itself, or of an Add behind it.
struct BiasPlace {
  size_t index = 0;  // of the node, in the proto's nodes
  const Node* node = nullptr;
  size_t input = 0;
  const Value* old = nullptr;  // null: the input is free
};
// nullopt: there is none, and none can be added.
std::optional<BiasPlace> find_bias(const PrunableModel& model, const PrunableLayer& layer);
// What else is added to the outputs of a product and its bias, where branches of the model meet: a value of the
// outputs' shape. nullptr: nothing, or the product is not all of its branch's end.
const Value* value_beside(const PrunableModel& model, const PrunableLayer& layer);
// The constant that the place gets.
Tensor changed_bias(const BiasPlace& place, const std::vector<float>& change);

}  // namespace hussar
