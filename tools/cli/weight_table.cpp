#include "tools/cli/weight_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tensor/convert.h"
#include "tensor/mask_width.h"
#include "tools/cli/console.h"

namespace hussar::cli {
namespace {

constexpr int64_t kFourWeights = 4;

struct FoundWeights {
  const Value* value = nullptr;
  WeightForm form = WeightForm::kMatrix;
};

FoundWeights weights_of(const Node& node) {
  constexpr std::string_view kOps[] = {"Conv",          "MatMul",      "Gemm",         "ConvInteger",
                                       "MatMulInteger", "QLinearConv", "QLinearMatMul"};
  if (std::find(std::begin(kOps), std::end(kOps), node.op) == std::end(kOps)) return {};
  const Value* value = node.input(node.op.starts_with("QLinear") ? 3 : 1);
  if (value != nullptr && value->producer != nullptr && value->producer->op == "DequantizeLinear")
    value = value->producer->input(0);
  const bool is_conv = node.op.find("Conv") != std::string::npos;
  if (value == nullptr || !value->is_constant()) return {};
  const int rank = value->constant->shape().rank();
  if (is_conv ? rank < 3 : rank != 2) return {};
  const bool is_turned = node.op == "Gemm" && node.attributes.get_int("transB", 0) != 0;
  return {value, is_conv ? WeightForm::kFilter : is_turned ? WeightForm::kTransposed : WeightForm::kMatrix};
}

void count_zeros(const MatrixView<const float>& weights, ProductWeightFacts& facts) {
  int64_t zeros = 0, fits = 0;
  const int64_t groups = weights.k / kFourWeights;
  for (int64_t column = 0; column < weights.n; ++column) {
    int64_t in_group = 0;
    for (int64_t row = 0; row < weights.k; ++row) {
      const bool is_zero = weights.row(row)[column * weights.column_stride] == 0;
      zeros += is_zero ? 1 : 0;
      in_group = row % kFourWeights == 0 ? int64_t{is_zero} : in_group + int64_t{is_zero};
      fits += row % kFourWeights == kFourWeights - 1 && in_group >= 2 ? 1 : 0;
    }
  }
  facts.zeros_part = static_cast<double>(zeros) / static_cast<double>(std::max<int64_t>(weights.k * weights.n, 1));
  facts.groups_part = static_cast<double>(fits) / static_cast<double>(std::max<int64_t>(groups * weights.n, 1));
}

// Whether the zeros lie along the output channels instead. Only matrices tell.
bool is_along_outputs(const Tensor& weights, WeightForm form) {
  if (form == WeightForm::kFilter) return false;
  const bool is_turned = form == WeightForm::kTransposed;
  return mask_width(weights, is_turned ? WeightForm::kMatrix : WeightForm::kTransposed) > 0;
}

void explain(const Node& node, const Tensor& weights, WeightForm form, ProductWeightFacts& facts) {
  auto say = [&](const char* code, std::string reason) {
    facts.code = code;
    facts.reason = std::move(reason);
  };
  const int64_t last = facts.width > 1 ? facts.n % facts.width : 0;
  if (node.attributes.get_int("group", 1) != 1) return say("grouped", "grouped convolution: no sparse kernel takes it");
  if (last != 0) return say("short_last_block", fmt::format("the last {} of {} channels fill no block", last, facts.n));
  if (facts.width == 1) return say("mask_not_shared", "no 16 output channels share masks, as CPUs want it");
  if (facts.width > 0) return say("fits", facts.width == facts.n ? "all output channels share one mask" : "");
  if (facts.k % kFourWeights != 0)
    return say("k_not_multiple_of_4", fmt::format("k = {} is no multiple of 4", facts.k));
  const DType dtype = weights.dtype();
  if (dtype != DType::kFloat32 && !is_half(dtype) && dtype != DType::kInt8)
    return say("weights_type", fmt::format("weights are {}", dtype_name(dtype)));
  if (is_along_outputs(weights, form))
    return say("wrong_axis", "2:4 along the output channels: zeros must lie along the input channels");
  say("not_2_of_4", "");
}

}  // namespace

std::vector<ProductWeightFacts> product_weight_facts(const Graph& graph) {
  std::vector<ProductWeightFacts> products;
  for (const auto& node : graph.nodes()) {
    if (const FoundWeights found = weights_of(*node); found.value != nullptr) {
      const Tensor& weights = *found.value->constant;
      ProductWeightFacts facts;
      facts.node = node->name;
      facts.op = node->op;
      facts.weights = found.value->name;
      facts.dtype = weights.dtype();
      facts.shape = weights.shape();
      std::vector<float> numbers(static_cast<size_t>(weights.elements()));
      if (!numbers.empty()) load_elements<float>(weights, 0, weights.elements(), numbers.data());
      const auto view = view_weights(std::as_const(numbers).data(), weights.shape(), found.form);
      facts.n = view.n;
      facts.k = view.k;
      count_zeros(view, facts);
      facts.width = mask_width(weights, found.form);
      explain(*node, weights, found.form, facts);
      products.push_back(std::move(facts));
    }
    for (const Body& body : node->bodies) {
      for (ProductWeightFacts& inner : product_weight_facts(*body.graph)) products.push_back(std::move(inner));
    }
  }
  return products;
}

std::string product_weights_text(const std::vector<ProductWeightFacts>& products) {
  if (products.empty()) return "";
  Table table({"weights of products", "op", "shape", ">zeros %", ">2:4 groups %", "widest pattern", ""});
  for (const ProductWeightFacts& product : products) {
    table.add({product.node, product.op, product.shape.to_string(), fmt::format("{:.1f}", 100 * product.zeros_part),
               fmt::format("{:.1f}", 100 * product.groups_part),
               product.width == 0 ? "-" : spell_mask_width(product.width), product.reason});
  }
  return table.to_string();
}

Json product_weights_json(const std::vector<ProductWeightFacts>& products) {
  Json list = Json::array();
  for (const ProductWeightFacts& product : products) {
    Json entry = Json::object(), shape = Json::array();
    for (int64_t extent : product.shape) shape.push(extent);
    entry.set("node", product.node).set("op", product.op).set("weights", product.weights);
    entry.set("dtype", dtype_name(product.dtype)).set("shape", std::move(shape)).set("k", product.k);
    entry.set("n", product.n).set("zeros_share", product.zeros_part).set("groups_2_4_share", product.groups_part);
    entry.set("pattern", product.width == 0 ? Json() : Json(spell_mask_width(product.width)));
    list.push(std::move(
        entry.set("channels_sharing", product.width).set("reason", product.reason).set("code", product.code)));
  }
  return list;
}

}  // namespace hussar::cli
