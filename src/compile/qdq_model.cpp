#include "compile/qdq_model.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/memory.h"
#include "compile/optimize.h"
#include "compile/precision.h"
#include "onnx/import.h"
#include "quantize/calibration.h"

namespace hussar {
namespace {

std::optional<QdqProduct> product_of(const Node& node) {
  const auto weights = node.op == "Gemm" ? gemm_weights(node) : product_weights(node);
  if (!weights || node.inputs[0]->is_constant()) return std::nullopt;
  QdqProduct product;
  product.node = &node;
  product.weights = *weights;
  product.axis = node.op == "Conv" || node.attributes.get_int("transB", 0) != 0 ? 0 : 1;
  return product;
}

bool is_channel(const ProductWeights& whole, int64_t at, const ProductWeights& part, int64_t channel) {
  for (int64_t i = 0; i < part.elements; ++i) {
    if (whole.at(at, i) != part.at(channel, i)) return false;
  }
  return true;
}

// What the channel is multiplied by in `whole`; nullopt: it is another one.
std::optional<float> factor_of(const ProductWeights& whole, const ProductWeights& part, int64_t channel) {
  int64_t largest = 0;
  for (int64_t i = 1; i < part.elements; ++i) {
    if (std::fabs(part.at(channel, i)) > std::fabs(part.at(channel, largest))) largest = i;
  }
  const float extreme = part.at(channel, largest);
  // Where nothing is summed up, nothing is corrected.
  const bool is_empty = whole.at(channel, largest) == 0;
  const float factor = is_empty ? 0 : whole.at(channel, largest) / extreme;
  if (!is_empty && !std::isnormal(factor)) return std::nullopt;
  const float tolerance = 1e-5F * std::fabs(factor * extreme);
  for (int64_t i = 0; i < part.elements; ++i) {
    if (!(std::fabs(whole.at(channel, i) - factor * part.at(channel, i)) <= tolerance)) return std::nullopt;
  }
  return is_empty ? 1 : factor;
}

// Of all channels; empty when they are others.
std::vector<float> find_factors(const ProductWeights& whole, const ProductWeights& part) {
  std::vector<float> factors;
  if (whole.elements != part.elements || whole.channels != part.channels) return {};
  for (int64_t channel = 0; channel < part.channels; ++channel) {
    const auto factor = factor_of(whole, part, channel);
    if (!factor) return {};
    factors.push_back(*factor);
  }
  return factors;
}

// Where the channels of `part` lie side by side in `whole`.
std::optional<int64_t> find_channels(const ProductWeights& whole, const ProductWeights& part) {
  if (whole.elements != part.elements) return std::nullopt;
  for (int64_t first = 0; first + part.channels <= whole.channels; ++first) {
    int64_t channel = 0;
    while (channel < part.channels && is_channel(whole, first + channel, part, channel)) ++channel;
    if (channel == part.channels) return first;
  }
  return std::nullopt;
}

// Finds what computes each product: by the name of its node, or by its weights among those that passes have merged.
void find_compiled(QdqModel& model) {
  struct Candidate {
    const Node* node;
    ProductWeights weights;
    bool is_named = false;
  };
  std::vector<Candidate> candidates;
  for (const auto& node : model.compiled.nodes()) {
    if (auto weights = product_weights(*node)) candidates.push_back({node.get(), *weights});
  }
  for (const QdqProduct& product : model.products) {
    for (Candidate& candidate : candidates)
      candidate.is_named = candidate.is_named || names_part(candidate.node->name, product.name());
  }
  auto take = [](QdqProduct& product, const Candidate& candidate, bool is_merged) {
    auto first = find_channels(candidate.weights, product.weights);
    std::vector<float> factors;
    if (!first && !is_merged) factors = find_factors(candidate.weights, product.weights);
    if (!factors.empty()) first = 0;
    if (!first && (is_merged || product.compiled != nullptr)) return;
    product.compiled = candidate.node;
    product.first_channel = first;
    product.factors = std::move(factors);
  };
  for (QdqProduct& product : model.products) {
    for (const Candidate& candidate : candidates) {
      if (product.first_channel) break;
      if (names_part(candidate.node->name, product.name())) take(product, candidate, false);
    }
    for (const Candidate& candidate : candidates) {
      if (product.compiled != nullptr) break;
      if (!candidate.is_named) take(product, candidate, true);
    }
  }
}

}  // namespace

const Node* quantized_node(const Graph& graph) {
  for (const auto& node : graph.nodes()) {
    for (const char* part : {"QuantizeLinear", "DequantizeLinear", "QLinear", "MatMulInteger", "ConvInteger"}) {
      if (node->op.find(part) != std::string::npos) return node.get();
    }
    for (const Body& body : node->bodies) {
      if (const Node* found = quantized_node(*body.graph)) return found;
    }
  }
  return nullptr;
}

Status fold_constants(Graph& graph) {
  PipelineOptions options;
  for (std::string_view pass : pipeline_order()) {
    if (pass != "fold_constants") options.disabled.emplace_back(pass);
  }
  HUSSAR_TRY(run_pipeline(graph, options));
  return {};
}

const Value* counted_input(const Node& product) {
  const Value* value = product.inputs[0];
  while (value->producer != nullptr && value->producer->op == "hussar.Reformat") value = value->producer->inputs[0];
  return value;
}

static Result<QdqModel> read_unguarded(const std::string& path) {
  QdqModel model;
  model.file = HUSSAR_TRY(MappedFile::open(path));
  model.proto = HUSSAR_TRY(onnx::parse_model(model.file->bytes()));
  onnx::ImportedModel imported = HUSSAR_TRY(onnx::import_file(path));
  model.opset = imported.opset;
  model.fingerprint = model_fingerprint(imported.graph);
  if (const Node* node = quantized_node(imported.graph)) {
    return fail(ErrorCode::kUsage,
                "the model is quantized already ({}): its integers are what `hussar build` takes, and there is "
                "nothing to export; give the FP32 model that it was made from",
                describe(*node));
  }
  model.imported = std::move(imported.graph);
  return model;
}

static Result<QdqModel> open_quantized(const std::string& path, const NamedShapes& shapes) {
  QdqModel model = HUSSAR_TRY(read_unguarded(path));
  CompileOptions options;
  options.shapes = shapes;
  // As in calibrations, where every convolution is a step of its own.
  options.disabled_passes = {"fuse_inverted_residual"};
  model.compiled = HUSSAR_TRY(optimize_graph(model.imported.clone(), options));
  HUSSAR_TRY(fix_shapes(model.imported, shapes));
  HUSSAR_TRY(fold_constants(model.imported));
  std::map<std::string_view, const Node*> producers;
  for (const auto& node : model.imported.nodes()) {
    if (node->output() != nullptr) producers[node->output()->name] = node.get();
  }
  const auto& nodes = model.proto.graph.nodes;
  for (size_t index = 0; index < nodes.size(); ++index) {
    const onnx::NodeProto& node = nodes[index];
    auto it = node.outputs.empty() ? producers.end() : producers.find(node.outputs[0]);
    // What a function computes goes by the name of the call and more.
    if (it == producers.end() || it->second->name != (node.name.empty() ? node.outputs[0] : node.name)) continue;
    auto product = product_of(*it->second);
    if (!product) continue;
    product->index = index;
    model.products.push_back(*product);
  }
  find_compiled(model);
  return model;
}

// With the path before what is wrong, where it is not there yet.
static Result<QdqModel> with_path(Result<QdqModel> model, const std::string& path) {
  if (model) return model;
  const std::string& message = model.error().message;
  if (message.starts_with(path + ":") || message.find("'" + path + "'") != std::string::npos) return model;
  return fail(model.error().code, "{}: {}", path, message);
}

Result<QdqModel> read_qdq_model(const std::string& path) {
  return with_path(catching("read the model", [&] { return read_unguarded(path); }), path);
}

Result<QdqModel> open_qdq_model(const std::string& path, const NamedShapes& shapes) {
  return with_path(catching("read the model", [&] { return open_quantized(path, shapes); }), path);
}

}  // namespace hussar
