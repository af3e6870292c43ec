#include "passes/support/mask_watch.h"

#include <algorithm>

#include "base/error.h"
#include "passes/support/fake_quantize.h"
#include "tactics/tactic.h"
#include "tensor/mask_width.h"

namespace hussar {
namespace {

// Gemm has no kernel for sparse weights before it becomes a MatMul.
bool is_watched(const Node& node) {
  const Value* weights = node.input(1);
  const bool is_gemm = node.op == "Gemm" && weights != nullptr && weights->is_constant() && weights->rank() == 2;
  return is_gemm || has_weight_form(node);
}

std::string name_of(int64_t width) { return width == 0 ? "not 2:4" : spell_mask_width(width); }

}  // namespace

void MaskWatch::look(const Graph& graph) {
  std::map<std::pair<const Value*, const void*>, int64_t> known;
  known.swap(of_weights_);
  of_products_.clear();
  for (const auto& node : graph.nodes()) {
    if (!is_watched(*node)) continue;
    const Value* weights = node->inputs[1];
    const std::pair<const Value*, const void*> key(weights, weights->constant->raw());
    auto [it, is_new] = of_weights_.try_emplace(key, 0);
    if (is_new) {
      const auto before = known.find(key);
      it->second = before != known.end() ? before->second : mask_width(*weights->constant, weight_form(*node));
    }
    auto [product, is_first] = of_products_.try_emplace(node->name, it->second);
    if (!is_first) product->second = std::min(product->second, it->second);
  }
}

Status MaskWatch::check(const Graph& graph, std::string_view pass) {
  const auto before = of_products_;
  look(graph);
  for (const auto& node : graph.nodes()) {
    const auto it = before.find(node->name);
    if (it == before.end() || it->second == 0 || !is_watched(*node) || node->note == kQuantizedInModel) continue;
    const int64_t now = of_products_.at(node->name);
    HUSSAR_CHECK(
        now >= it->second, ErrorCode::kRunFailed,
        "node '{}': its weights were {} and are {} after the pass {}; factors that are not finite do that, else "
        "it is a mistake of the pass: --disable-pass {} builds without it",
        node->name, name_of(it->second), name_of(now), pass, pass);
  }
  return {};
}

}  // namespace hussar
