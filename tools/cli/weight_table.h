// The weights of a model's products, one by one: how many are zero, and the widest 2:4 pattern that they have.
#pragma once
#include <string>
#include <vector>

#include "graph/graph.h"
#include "tools/cli/json.h"

namespace hussar::cli {

struct ProductWeightFacts {
  std::string node, op, weights;
  DType dtype = DType::kUndefined;
  Shape shape;
  int64_t n = 0, k = 0;  // output channels, and what each is a sum of
  double zeros_part = 0;
  double groups_part = 0;  // of four weights along k: those with two zeros or more
  int64_t width = 0;       // mask_width()
  // Why they have no pattern, or what is worth knowing of the one that they have; and the same as one word.
  std::string reason, code;
};

// Of all products of the graph as imported, also those in bodies, whose weights are constant; integers that are
// dequantized before are looked at as such.
std::vector<ProductWeightFacts> product_weight_facts(const Graph& graph);

std::string product_weights_text(const std::vector<ProductWeightFacts>& products);
Json product_weights_json(const std::vector<ProductWeightFacts>& products);

}  // namespace hussar::cli
